//! One of the two processes of a probe: `flexmig probe-side export|import`, with the socket to the
//! other one as stdin and a report as one line of JSON on stdout.
//!
//! The exporter makes memory on its leaf, fills it, and sends a descriptor of it. The importer maps
//! it, verifies, writes another pattern over it, and says so; the exporter verifies that.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use super::cuda::{Driver, Refused};

/// `flexmig probe-side`.
#[derive(Debug, Args)]
pub struct Side {
    /// Which of the two.
    pub part: Part,
    /// The driver library.
    pub library: PathBuf,
}

/// Which of the two processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Makes the memory.
    Export,
    /// Maps what the other made.
    Import,
}

/// What one process found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Version of the driver's API.
    pub api: String,
    /// Bytes that were shared.
    pub bytes: usize,
    /// The steps that worked.
    pub steps: Vec<String>,
    /// Where it stopped before anything could be learnt about sharing: no library, no device.
    pub untested: Option<String>,
    /// Where sharing failed.
    pub failed: Option<String>,
    /// The other process had stopped first.
    pub left_alone: bool,
}

/// Why a side stops.
enum Stop {
    Untested(String),
    Failed(String),
    LeftAlone,
}

/// Results that say nothing about sharing: the leaf is full (2), or used by somebody else alone (46).
const NOT_ABOUT_SHARING: [i32; 2] = [2, 46];

impl From<Refused> for Stop {
    fn from(refused: Refused) -> Stop {
        match NOT_ABOUT_SHARING.contains(&refused.result) {
            true => Stop::Untested(refused.to_string()),
            false => Stop::Failed(refused.to_string()),
        }
    }
}

/// The two patterns: every byte differs between them.
fn pattern(bytes: usize, second: bool) -> Vec<u8> {
    let byte = |place: usize| (place.wrapping_mul(0x9e37_79b1) >> 13) as u8;
    (0..bytes).map(|place| if second { !byte(place) } else { byte(place) }).collect()
}

/// Runs one side; the report.
pub fn run(args: &Side) -> Found {
    let mut found = Found::default();
    let stdin = io::stdin();
    let stop = match args.part {
        Part::Export => export(args, stdin.as_fd(), &mut found),
        Part::Import => import(args, stdin.as_fd(), &mut found),
    };
    match stop {
        Ok(()) => {}
        Err(Stop::Untested(why)) => found.untested = Some(why),
        Err(Stop::Failed(why)) => found.failed = Some(why),
        Err(Stop::LeftAlone) => found.left_alone = true,
    }
    found
}

fn export(args: &Side, socket: BorrowedFd<'_>, found: &mut Found) -> Result<(), Stop> {
    let untested = |refused: Refused| Stop::Untested(refused.to_string());
    let driver = Driver::load(&args.library).map_err(Stop::Untested)?;
    let device = driver.open().map_err(untested)?;
    found.api = driver.api_version();
    let bytes = device.granularity().map_err(untested)?;
    found.bytes = bytes;
    let mut memory = device.create(bytes)?;
    found.steps.push("create".to_owned());
    memory.map()?;
    memory.write(&pattern(bytes, false))?;
    found.steps.push("map and write".to_owned());
    let fd = memory.export()?;
    found.steps.push("export".to_owned());
    send(socket, bytes as u64, Some(fd.as_fd()))?;
    receive(socket)?;
    if memory.read()? != pattern(bytes, true) {
        return Err(Stop::Failed("what the importer wrote is not what the exporter reads".into()));
    }
    found.steps.push("read what the other wrote".to_owned());
    Ok(())
}

fn import(args: &Side, socket: BorrowedFd<'_>, found: &mut Found) -> Result<(), Stop> {
    let driver = Driver::load(&args.library).map_err(Stop::Untested)?;
    let device = driver.open().map_err(|refused| Stop::Untested(refused.to_string()))?;
    found.api = driver.api_version();
    let (bytes, fd) = receive(socket)?;
    found.bytes = bytes as usize;
    let fd = fd.ok_or(Stop::Failed("the exporter sent no descriptor".to_owned()))?;
    let mut memory = device.import(fd.as_fd(), bytes as usize)?;
    found.steps.push("import".to_owned());
    memory.map()?;
    found.steps.push("map".to_owned());
    if memory.read()? != pattern(bytes as usize, false) {
        return Err(Stop::Failed("what the exporter wrote is not what the importer reads".into()));
    }
    found.steps.push("read what the other wrote".to_owned());
    memory.write(&pattern(bytes as usize, true))?;
    found.steps.push("write".to_owned());
    send(socket, bytes, None)
}

/// One number, with a descriptor if there is one.
fn send(socket: BorrowedFd<'_>, number: u64, fd: Option<BorrowedFd<'_>>) -> Result<(), Stop> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = fd.map(|fd| [fd]);
    if let Some(fds) = &fds {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    let bytes = number.to_le_bytes();
    // A peer that has gone is no reason to die of SIGPIPE.
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)
        .map(drop)
        .map_err(|_| Stop::LeftAlone)
}

fn receive(socket: BorrowedFd<'_>) -> Result<(u64, Option<OwnedFd>), Stop> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 8];
    let received =
        recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC);
    match received {
        Ok(message) if message.bytes == bytes.len() => {}
        // Numbers go as one packet: less is the end.
        _ => return Err(Stop::LeftAlone),
    }
    let mut fd = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = message {
            fd = fds.next();
        }
    }
    Ok((u64::from_le_bytes(bytes), fd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patterns_differ_in_every_byte() {
        let (first, second) = (pattern(5000, false), pattern(5000, true));
        assert!(first.iter().zip(&second).all(|(a, b)| a != b));
        assert_ne!(first[..100], first[100..200]);
    }
}
