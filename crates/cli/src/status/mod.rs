//! `flexmig status`: which leaves there are, who holds them, and which are free.
//!
//! | module | part |
//! |---|---|
//! | [`report`] | what is shown: plain data, also as JSON |
//! | `draw` | the picture |
//! | `fold` | how much of many nodes is shown |

mod draw;
mod fold;
pub mod report;
#[cfg(test)]
mod tests;
