//! Waiting by polling: how to be idle, and when to give up.

use std::thread;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::rendezvous::Session;

/// Polls without progress before the processor is given to others, if there is one for each rank.
const SPIN: u32 = 2000;
/// The same if ranks share processors: who waits must let those work that it waits for.
const SPIN_SHARED: u32 = 20;
/// How often the group's state is looked at, in polls.
const LOOK: u32 = 64;
/// How often the clock is looked at, in polls: it costs more.
const CLOCK: u32 = 4096;

/// Watches one loop of polls.
pub(crate) struct Progress<'a> {
    session: &'a Session,
    what: &'static str,
    spin: u32,
    idle: u32,
    since: Option<Instant>,
}

impl<'a> Progress<'a> {
    /// For a loop that does `what`; `shared` says whether ranks share processors.
    pub(crate) fn new(session: &'a Session, what: &'static str, shared: bool) -> Progress<'a> {
        let spin = if shared { SPIN_SHARED } else { SPIN };
        Progress { session, what, spin, idle: 0, since: None }
    }

    /// Something has moved.
    #[inline]
    pub(crate) fn moved(&mut self) {
        self.idle = 0;
        self.since = None;
    }

    /// Nothing has moved: lets others run, and gives up if another rank has, or if it takes too long.
    #[inline]
    pub(crate) fn idle(&mut self) -> Result<(), Error> {
        self.idle = self.idle.wrapping_add(1);
        if self.idle.is_multiple_of(LOOK) {
            self.look()?;
        }
        if self.idle > self.spin {
            thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
        Ok(())
    }

    #[cold]
    fn look(&mut self) -> Result<(), Error> {
        self.session.check()?;
        if !self.idle.is_multiple_of(CLOCK) {
            return Ok(());
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() > self.session.patience() {
            let seconds = self.session.patience().as_secs();
            return Err(Error::Stalled { seconds, what: self.what.to_owned() });
        }
        Ok(())
    }
}

/// Whether the ranks of this host must share processors.
pub(crate) fn shares_processors(session: &Session) -> Result<bool, Error> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let hosts = session.exchange(host.as_bytes())?;
    let here = hosts.iter().filter(|other| other.as_slice() == host.as_bytes()).count();
    Ok(here > thread::available_parallelism().map_or(1, usize::from))
}

/// The time that a closure takes, and its result.
pub(crate) fn timed<T>(run: impl FnOnce() -> Result<T, Error>) -> Result<(Duration, T), Error> {
    let start = Instant::now();
    let result = run()?;
    Ok((start.elapsed(), result))
}
