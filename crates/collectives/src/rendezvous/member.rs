//! A rank's end of the rendezvous.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Place;
use super::frame::Frame;
use crate::error::Error;

/// What a rank that has failed waits for the true reason: the neighbour of a dead rank sees its
/// connection break, the coordinator knows who died.
const GRACE: Duration = Duration::from_millis(500);

/// A rank's connection to its group.
pub struct Session {
    place: Place,
    stream: TcpStream,
    exchanges: Receiver<Vec<Vec<u8>>>,
    /// Set once: why all ranks must stop.
    stop: Arc<OnceLock<String>>,
    patience: Duration,
    /// In a rank that has the coordinator: its thread.
    coordinator: Option<JoinHandle<()>>,
}

impl Session {
    /// Says hello over a fresh connection. `Ok(None)`: this is not the coordinator of our group.
    ///
    /// `middle` is who coordinates, for messages.
    pub fn join(
        mut stream: TcpStream,
        cookie: u64,
        place: Place,
        middle: &'static str,
        patience: Duration,
    ) -> io::Result<Option<Session>> {
        stream.set_nodelay(true)?;
        let (rank, ranks) = (place.rank as u32, place.ranks as u32);
        // A stranger on this port may never answer.
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        Frame::Hello { cookie, rank, ranks }.write(&mut stream)?;
        match Frame::read(&mut stream) {
            Ok(Some(Frame::Welcome)) => {}
            _ => return Ok(None),
        }
        stream.set_read_timeout(None)?;
        let stop = Arc::new(OnceLock::new());
        let (give, exchanges) = channel();
        let mut reader = stream.try_clone()?;
        let reader_stop = Arc::clone(&stop);
        thread::spawn(move || {
            loop {
                match Frame::read(&mut reader) {
                    Ok(Some(Frame::All(parts))) => {
                        if give.send(parts).is_err() {
                            return;
                        }
                    }
                    Ok(Some(Frame::Stop(reason))) => {
                        let _ = reader_stop.set(reason);
                        return;
                    }
                    _ => {
                        let _ = reader_stop.set(format!("{middle} is gone"));
                        return;
                    }
                }
            }
        });
        Ok(Some(Session { place, stream, exchanges, stop, patience, coordinator: None }))
    }

    /// Keeps the coordinator's thread: this rank must not end before it.
    pub fn with_coordinator(self, thread: JoinHandle<()>) -> Session {
        Session { coordinator: Some(thread), ..self }
    }

    /// Where this rank stands.
    pub fn place(&self) -> Place {
        self.place
    }

    /// How long nothing may move.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// An error once all ranks must stop. Cheap.
    pub fn check(&self) -> Result<(), Error> {
        self.stop.get().map_or(Ok(()), |reason| Err(Error::Lost(reason.clone())))
    }

    /// Gives a part and gets those of all ranks, in order.
    pub fn exchange(&self, part: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        let sent = Frame::Part(part.to_owned()).write(&mut &self.stream);
        if sent.is_err() {
            return Err(self.reason(Error::Lost("the rendezvous is closed".to_owned())));
        }
        let parts = self.exchanges.recv_timeout(self.patience).map_err(|error| match error {
            RecvTimeoutError::Timeout => Error::Stalled {
                seconds: self.patience.as_secs(),
                what: "waiting for the other ranks".to_owned(),
            },
            // The reader has ended, and has said why.
            RecvTimeoutError::Disconnected => {
                self.reason(Error::Lost("the rendezvous is closed".to_owned()))
            }
        })?;
        if parts.len() != self.place.ranks {
            return Err(Error::Rendezvous("an exchange with parts of too few ranks".to_owned()));
        }
        Ok(parts)
    }

    /// Waits for all ranks.
    pub fn barrier(&self) -> Result<(), Error> {
        self.exchange(&[]).map(drop)
    }

    /// Exchanges one number.
    pub fn numbers(&self, number: u64) -> Result<Vec<u64>, Error> {
        let parts = self.exchange(&number.to_le_bytes())?;
        let number = |part: Vec<u8>| part.try_into().map(u64::from_le_bytes);
        parts
            .into_iter()
            .map(number)
            .collect::<Result<_, _>>()
            .map_err(|_| Error::Rendezvous("an exchange of something else".to_owned()))
    }

    /// Ends this rank's part: all is well, or not. Gives the reason to show: the group's, if it has
    /// one, as that is the cause and ours the consequence.
    pub fn end(mut self, result: Result<(), Error>) -> Result<(), Error> {
        let result = result.map_err(|error| self.reason(error));
        match &result {
            // Who hears neither of these is gone.
            Ok(()) => {
                let _ = Frame::Bye.write(&mut &self.stream);
                let _ = self.stream.shutdown(Shutdown::Write);
            }
            Err(error) if self.stop.get().is_none() => {
                let text = format!("rank {}: {error}", self.place.rank);
                let _ = Frame::Failed(text).write(&mut &self.stream);
                self.wait_for_stop();
            }
            Err(_) => {}
        }
        if let Some(coordinator) = self.coordinator.take() {
            let deadline = Instant::now() + self.patience;
            while !coordinator.is_finished() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(1));
            }
        }
        result
    }

    /// The group's reason if there is one soon, else `own`.
    fn reason(&self, own: Error) -> Error {
        self.wait_for_stop();
        self.stop.get().map_or(own, |reason| Error::Lost(reason.clone()))
    }

    fn wait_for_stop(&self) {
        let step = Duration::from_millis(5);
        for _ in 0..GRACE.as_millis() / step.as_millis() {
            if self.stop.get().is_some() {
                return;
            }
            thread::sleep(step);
        }
    }
}
