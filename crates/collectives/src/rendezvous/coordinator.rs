//! The middle of a group: collects every rank's part and gives all of them to all.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::frame::Frame;

/// How often somebody looks whether a process has died, or more ranks have come.
const LOOK: Duration = Duration::from_millis(20);
/// What a rank whose connection is closed has for its process to be seen dead, which says more.
const GRACE: Duration = Duration::from_millis(200);
/// What a stranger on our port has to say hello.
const HELLO: Duration = Duration::from_millis(500);

/// Waits for a group's ranks and serves them until all are done.
pub struct Coordinator {
    listener: TcpListener,
    cookie: u64,
    joining: Duration,
    streams: Vec<Option<TcpStream>>,
}

enum Event {
    Frame(Frame),
    Gone,
}

impl Coordinator {
    /// For `ranks` ranks that know the cookie; all must come within `joining`.
    pub fn new(listener: TcpListener, cookie: u64, ranks: usize, joining: Duration) -> Coordinator {
        let streams = (0..ranks).map(|_| None).collect();
        Coordinator { listener, cookie, joining, streams }
    }

    /// Serves until all ranks have said good-bye. The error is why all were stopped, one line.
    ///
    /// `watch` is asked every now and then whether a process has died.
    pub fn serve(mut self, mut watch: impl FnMut() -> Option<String>) -> Result<(), String> {
        let result = self.assemble(&mut watch).and_then(|()| self.run(&mut watch));
        if let Err(reason) = &result {
            self.send(&Frame::Stop(reason.clone()));
        }
        result
    }

    fn assemble(&mut self, watch: &mut impl FnMut() -> Option<String>) -> Result<(), String> {
        let failed = |error: io::Error| format!("rendezvous: {error}");
        self.listener.set_nonblocking(true).map_err(failed)?;
        let deadline = Instant::now() + self.joining;
        while self.streams.iter().any(Option::is_none) {
            if let Some(reason) = watch() {
                return Err(reason);
            }
            if Instant::now() > deadline {
                return Err(self.missing());
            }
            match self.listener.accept() {
                Ok((stream, _)) => self.welcome(stream)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_millis(1));
                }
                // A connection that broke before it was taken is no reason to stop.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }

    /// Hears who has come. Strangers are turned away without a word.
    fn welcome(&mut self, mut stream: TcpStream) -> Result<(), String> {
        let count = self.streams.len();
        let hello = (|| {
            stream.set_nonblocking(false)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(HELLO))?;
            let hello = Frame::read(&mut stream)?;
            stream.set_read_timeout(None)?;
            io::Result::Ok(hello)
        })();
        let Ok(Some(Frame::Hello { cookie, rank, ranks })) = hello else { return Ok(()) };
        if cookie != self.cookie {
            return Ok(());
        }
        match self.streams.get_mut(rank as usize) {
            // A rank that gave up waiting for its welcome, on a busy machine, comes again.
            Some(place) if ranks as usize == count && place.as_ref().is_none_or(is_closed) => {
                if Frame::Welcome.write(&mut stream).is_ok() {
                    *place = Some(stream);
                }
                Ok(())
            }
            _ => Err(format!(
                "rendezvous: a second rank {rank}, or one of {ranks} ranks where {count} are expected"
            )),
        }
    }

    fn missing(&self) -> String {
        let absent = self.streams.iter().enumerate().filter(|(_, stream)| stream.is_none());
        let absent: Vec<String> = absent.map(|(rank, _)| rank.to_string()).collect();
        format!(
            "rendezvous: no word from rank {} for {} s: look at its output; a firewall between the \
             nodes can be the reason",
            absent.join(", "),
            self.joining.as_secs()
        )
    }

    fn run(&mut self, watch: &mut impl FnMut() -> Option<String>) -> Result<(), String> {
        let events = self.readers()?;
        let ranks = self.streams.len();
        let mut parts: Vec<Option<Vec<u8>>> = vec![None; ranks];
        let mut done = vec![false; ranks];
        while done.contains(&false) {
            match events.recv_timeout(LOOK) {
                Ok((rank, Event::Frame(Frame::Part(part)))) => {
                    parts[rank] = Some(part);
                    if parts.iter().all(Option::is_some) {
                        let all = parts.iter_mut().map(|part| part.take().unwrap_or_default());
                        let all = Frame::All(all.collect());
                        self.send(&all);
                    }
                }
                Ok((rank, Event::Frame(Frame::Bye))) => done[rank] = true,
                Ok((_, Event::Frame(Frame::Failed(reason)))) => return Err(reason),
                Ok((rank, Event::Frame(_))) => return Err(format!("rank {rank}: a strange frame")),
                Ok((rank, Event::Gone)) if !done[rank] => return Err(cause(rank, watch)),
                Ok((_, Event::Gone)) => {}
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(reason) = watch() {
                        return Err(reason);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        Ok(())
    }

    fn readers(&self) -> Result<Receiver<(usize, Event)>, String> {
        let (give, events) = channel();
        for (rank, stream) in self.streams.iter().flatten().enumerate() {
            let stream = stream.try_clone().map_err(|error| format!("rendezvous: {error}"))?;
            let give = give.clone();
            thread::spawn(move || read(rank, stream, &give));
        }
        Ok(events)
    }

    /// To all ranks; who is gone does not hear it, and is noticed by its reader.
    fn send(&self, frame: &Frame) {
        for mut stream in self.streams.iter().flatten() {
            let _ = frame.write(&mut stream);
        }
    }
}

fn read(rank: usize, mut stream: TcpStream, give: &Sender<(usize, Event)>) {
    loop {
        let event = match Frame::read(&mut stream) {
            Ok(Some(frame)) => Event::Frame(frame),
            _ => Event::Gone,
        };
        let last = matches!(event, Event::Gone);
        if give.send((rank, event)).is_err() || last {
            return;
        }
    }
}

/// Why a rank has gone without a word: what is known of its process, if that comes soon.
fn cause(rank: usize, watch: &mut impl FnMut() -> Option<String>) -> String {
    let deadline = Instant::now() + GRACE;
    loop {
        if let Some(reason) = watch() {
            return reason;
        }
        if Instant::now() > deadline {
            return format!("rank {rank} is gone: look for its own message");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether the other side has closed its connection.
fn is_closed(stream: &TcpStream) -> bool {
    let looked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
    let closed = match looked {
        Ok(bytes) => bytes == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    };
    closed || stream.set_nonblocking(false).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A coordinator of two ranks, its address, and how it ended.
    fn coordinator() -> (std::net::SocketAddr, thread::JoinHandle<Result<(), String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let coordinator = Coordinator::new(listener, 1, 2, Duration::from_secs(10));
        (address, thread::spawn(move || coordinator.serve(|| None)))
    }

    /// Rank `rank` says hello and is welcome.
    fn hello(address: std::net::SocketAddr, rank: u32) -> TcpStream {
        let mut stream = TcpStream::connect(address).unwrap();
        Frame::Hello { cookie: 1, rank, ranks: 2 }.write(&mut stream).unwrap();
        assert!(matches!(Frame::read(&mut stream), Ok(Some(Frame::Welcome))));
        stream
    }

    #[test]
    fn a_rank_that_gave_up_waiting_may_come_again() {
        let (address, served) = coordinator();
        drop(hello(address, 1));
        let mut ranks = [hello(address, 1), hello(address, 0)];
        for stream in &mut ranks {
            Frame::Bye.write(stream).unwrap();
        }
        assert_eq!(served.join().unwrap(), Ok(()));
    }

    #[test]
    fn two_of_one_rank_are_refused() {
        let (address, served) = coordinator();
        let _first = hello(address, 1);
        let mut second = TcpStream::connect(address).unwrap();
        Frame::Hello { cookie: 1, rank: 1, ranks: 2 }.write(&mut second).unwrap();
        let reason = served.join().unwrap().unwrap_err();
        assert!(reason.starts_with("rendezvous: a second rank 1"), "{reason}");
    }
}
