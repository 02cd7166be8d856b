//! Ranks on this host: the parent starts them as processes and coordinates them.

use std::env;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use super::{Coordinator, Place, Session};
use crate::error::Error;

/// Tells a started process that it is a rank: `RANK RANKS ADDRESS COOKIE`.
const VARIABLE: &str = "FLEXMIG_BENCH_RANK";
/// Processes start at once; the first use of a plugin may take its time.
const JOINING: Duration = Duration::from_secs(60);
/// What stopped ranks have to end by themselves.
const ENDING: Duration = Duration::from_secs(3);

/// Starts `ranks` processes and serves them until all have ended. The error is one line.
///
/// `command` makes the command of one rank; its environment is completed here.
pub fn launch(ranks: usize, mut command: impl FnMut(usize) -> Command) -> Result<(), String> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| format!("{what}: {error}")
    };
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed("listening on loopback"))?;
    let address = listener.local_addr().map_err(failed("listening on loopback"))?;
    let cookie = random();
    let mut children = Vec::with_capacity(ranks);
    let mut started = Ok(());
    for rank in 0..ranks {
        let mut command = command(rank);
        command.env(VARIABLE, format!("{rank} {ranks} {address} {cookie}"));
        match command.spawn() {
            Ok(child) => children.push((child, None)),
            Err(error) => {
                started = Err(format!("rank {rank} cannot be started: {error}"));
                break;
            }
        }
    }
    let coordinator = Coordinator::new(listener, cookie, ranks, JOINING);
    let served = started.and_then(|()| coordinator.serve(|| died(&mut children)));
    let ended = end(&mut children);
    served.and(ended)
}

type Started = (Child, Option<ExitStatus>);

/// The first process that has ended badly. The others' ends are only noted.
fn died(children: &mut [Started]) -> Option<String> {
    for (rank, (child, ended)) in children.iter_mut().enumerate() {
        if ended.is_none() {
            *ended = child.try_wait().ok().flatten();
        }
        // Status 1 is that of a rank that has told its reason over its connection.
        if let Some(status) = ended.filter(|status| !status.success() && status.code() != Some(1)) {
            return Some(format!("rank {rank} {}", ending(status)));
        }
    }
    None
}

/// Waits for all processes, and kills those that do not end.
fn end(children: &mut [Started]) -> Result<(), String> {
    let deadline = Instant::now() + ENDING;
    let mut result = Ok(());
    for (rank, (child, ended)) in children.iter_mut().enumerate() {
        while ended.is_none() {
            *ended = child.try_wait().ok().flatten();
            if ended.is_none() && Instant::now() > deadline {
                // Gone in this moment is as good.
                let _ = child.kill();
                *ended = child.wait().ok();
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        if let Some(status) = ended.filter(|status| !status.success()) {
            result = result.and(Err(format!("rank {rank} {}", ending(status))));
        }
    }
    result
}

fn ending(status: ExitStatus) -> String {
    match status.signal() {
        Some(signal) => format!("was killed by signal {signal}"),
        None => format!("ended with status {}", status.code().unwrap_or_default()),
    }
}

/// Which ranks of this host are ours: the group of a started process, `None` for any other process.
pub fn member(patience: Duration) -> Result<Option<Session>, Error> {
    let Ok(text) = env::var(VARIABLE) else { return Ok(None) };
    let wrong =
        || Error::Rendezvous(format!("{VARIABLE}={text}: unset it, `flexmig bench` sets it"));
    let (place, address, cookie) = parse(&text).ok_or_else(wrong)?;
    let gone = |error| Error::host("connecting to the parent", error);
    let stream = TcpStream::connect(address).map_err(gone)?;
    let session =
        Session::join(stream, cookie, place, "the process that started the ranks", patience);
    session.map_err(gone)?.ok_or_else(wrong).map(Some)
}

fn parse(text: &str) -> Option<(Place, SocketAddr, u64)> {
    let mut words = text.split(' ');
    let rank = words.next()?.parse().ok()?;
    let ranks = words.next()?.parse().ok()?;
    let address = words.next()?.parse().ok()?;
    let cookie = words.next()?.parse().ok()?;
    (rank < ranks && words.next().is_none()).then_some((Place { rank, ranks }, address, cookie))
}

/// A number that nobody else on this host can guess.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // The standard library keys its hash maps with random numbers of the kernel.
    RandomState::new().hash_one(std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_is_read_or_refused() {
        let (place, address, cookie) = parse("2 4 127.0.0.1:9 77").unwrap();
        assert_eq!((place.rank, place.ranks, address.port(), cookie), (2, 4, 9, 77));
        for wrong in
            ["", "4 4 127.0.0.1:9 77", "1 4 nowhere 7", "1 4 127.0.0.1:9 7 8", "1 4 127.0.0.1:9"]
        {
            assert!(parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_process_that_ends_early_is_named() {
        let error = launch(2, |rank| {
            let mut command = Command::new("sh");
            command.args(["-c", if rank == 1 { "kill -9 $$" } else { "exec sleep 30" }]);
            command
        });
        assert_eq!(error, Err("rank 1 was killed by signal 9".to_owned()));
        let error = launch(1, |_| Command::new("/nowhere/flexmig")).unwrap_err();
        assert!(error.starts_with("rank 0 cannot be started: No such file"), "{error}");
    }
}
