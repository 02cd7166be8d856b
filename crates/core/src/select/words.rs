//! Candidates in words.

use std::fmt::{self, Write};

use super::{Candidate, Part, Selection, Unit};
use crate::request::push_number;

impl Candidate<'_> {
    /// The composition: `3 x 1g.10gb`, `1 x 3g.40gb and 2 x 1g.10gb`, `4 leaves`.
    pub fn composition(&self) -> String {
        let mut text = String::new();
        for (place, Part { kind, count }) in self.parts.iter().enumerate() {
            text.push_str(if place == 0 { "" } else { " and " });
            push_number(&mut text, *count);
            match kind {
                Some(kind) => {
                    text.push_str(" x ");
                    text.push_str(kind);
                }
                None => text.push_str(if *count == 1 { " leaf" } else { " leaves" }),
            }
        }
        text
    }

    /// What it takes above what was asked: `4 SMs and 10 GB`, `nothing`.
    pub fn waste_in_words(&self) -> String {
        let waste = &self.waste;
        let unit = match (waste.unit, waste.compute) {
            (Unit::Sms, 1) => "SM",
            (Unit::Sms, _) => "SMs",
            (Unit::Slices | Unit::Unknown, 1) => "slice",
            (Unit::Slices | Unit::Unknown, _) => "slices",
        };
        match (waste.compute, waste.memory_gb) {
            (0, 0) => "nothing".to_owned(),
            (0, memory) => format!("{memory} GB"),
            (compute, 0) => format!("{compute} {unit}"),
            (compute, memory) => format!("{compute} {unit} and {memory} GB"),
        }
    }

    /// Its score in words: `can start now, 3 leaves, nothing above what was asked`.
    pub fn in_words(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> fmt::Result {
        text.push_str(match (self.fits, self.starts_now) {
            (false, _) => "no node holds it",
            (true, Some(true)) if self.left => "other jobs wait for these leaves",
            (true, Some(true)) => "can start now",
            (true, Some(false)) => "has to wait",
            (true, None) => "free leaves not known",
        });
        if self.substitute {
            text.push_str(", composed in place of the type");
        }
        if !self.equal {
            text.push_str(", leaves differ");
        }
        if self.queue > 0 {
            write!(text, ", {} leaves asked for per 1000", self.queue)?;
        }
        let leaves = if self.leaves == 1 { "leaf" } else { "leaves" };
        write!(text, ", {} {leaves}, {} above what was asked", self.leaves, self.waste_in_words())?;
        if self.one_socket == Some(true) {
            text.push_str(", one socket holds it");
        }
        Ok(())
    }

    /// What the first words of its score say.
    fn is_ready(&self) -> (bool, Option<bool>) {
        (self.fits, self.starts_now)
    }

    /// What sets it behind another candidate: the first criterion in which they differ.
    pub fn behind(&self, other: &Candidate) -> &'static str {
        let waste = |candidate: &Candidate| candidate.waste.compute;
        let memory = |candidate: &Candidate| candidate.waste.memory_gb;
        if self.fits != other.fits {
            "no node holds it"
        } else if self.wanted && !other.wanted {
            "wastes leaves that other jobs wait for"
        } else if self.starts_now != other.starts_now {
            "has to wait"
        } else if self.substitute != other.substitute {
            "not the type that was named"
        } else if self.queue != other.queue {
            "a longer queue"
        } else if self.equal != other.equal {
            "leaves differ"
        } else if waste(self) != waste(other) {
            "wastes more compute"
        } else if memory(self) != memory(other) {
            "wastes more memory"
        } else if self.leaves != other.leaves {
            "more leaves"
        } else if self.harm != other.harm {
            "leaves less for larger requests"
        } else if self.one_socket != other.one_socket {
            "on several sockets"
        } else if self.variant != other.variant {
            "another suffix"
        } else {
            "larger or later in order"
        }
    }
}

impl Selection<'_> {
    /// One line per candidate, best first: the score, and what sets it behind the chosen one where
    /// the score does not say so.
    pub fn explained(&self, chosen: usize) -> Vec<String> {
        let best = self.candidates.get(chosen);
        let line = |(place, candidate): (usize, &Candidate)| {
            let (composition, text) = (candidate.composition(), candidate.in_words());
            match best {
                _ if place == chosen => format!("{composition}: chosen: {text}"),
                Some(best) if place > chosen && candidate.is_ready() == best.is_ready() => {
                    format!("{composition}: {text}: {}", candidate.behind(best))
                }
                _ => format!("{composition}: {text}"),
            }
        };
        self.candidates.iter().enumerate().map(line).collect()
    }
}
