//! What one rank of `flexmig bench` does: for every size warm up, measure, verify.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::data;
use crate::error::Error;
use crate::plugin::Net;
use crate::progress::{shares_processors, timed};
use crate::proxy::Proxy;
use crate::rendezvous::Session;
use crate::ring::{Ring, WINDOW};
use crate::schedule::{self, Action, Collective, Plan, Receive, Send, chunk, plan, second_place};

/// Bytes of a slice of a ring algorithm: one of eight steps of NCCL's 4 MiB buffer.
pub const SLICE: usize = 512 << 10;
/// Most bytes of one operation.
pub const MAX_BYTES: usize = 1 << 30;
/// How long the repetitions of one size take together, about, if their number is not given.
const MEASURE: Duration = Duration::from_millis(200);

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Messages from rank 0 to rank 1, and back for the latency.
    Transport,
    /// A collective operation over the ring.
    Collective(Collective),
    /// As NCCL's proxy drives the plugin.
    Proxy,
}

impl Op {
    /// All of them.
    pub const ALL: [Op; 7] = [
        Op::Transport,
        Op::Collective(Collective::AllReduce),
        Op::Collective(Collective::AllGather),
        Op::Collective(Collective::ReduceScatter),
        Op::Collective(Collective::Broadcast),
        Op::Collective(Collective::SendRecv),
        Op::Proxy,
    ];

    /// As it is typed and printed.
    pub fn name(self) -> &'static str {
        match self {
            Op::Transport => "transport",
            Op::Collective(Collective::AllReduce) => "allreduce",
            Op::Collective(Collective::AllGather) => "allgather",
            Op::Collective(Collective::ReduceScatter) => "reduce-scatter",
            Op::Collective(Collective::Broadcast) => "broadcast",
            Op::Collective(Collective::SendRecv) => "sendrecv",
            Op::Proxy => "proxy",
        }
    }

    /// Whether it adds floats: sizes are multiples of 4 then.
    pub fn adds(self) -> bool {
        matches!(self, Op::Collective(Collective::AllReduce | Collective::ReduceScatter))
    }

    /// Why it cannot run with so many ranks.
    pub fn refuses(self, ranks: usize) -> Option<String> {
        let name = self.name();
        match self {
            Op::Transport if ranks != 2 => {
                Some(format!("{name} runs between two ranks: type -n 2"))
            }
            Op::Proxy | Op::Collective(Collective::SendRecv) if ranks < 2 => {
                Some(format!("{name} needs two ranks: type -n 2 or more"))
            }
            _ if ranks > data::MAX_RANKS => {
                Some(format!("{ranks} ranks: {} are the most", data::MAX_RANKS))
            }
            _ => None,
        }
    }

    /// Bus bandwidth by algorithm bandwidth, as nccl-tests defines it (doc/PERFORMANCE.md there).
    fn bus_factor(self, ranks: usize) -> f64 {
        let ranks = ranks as f64;
        match self {
            Op::Collective(Collective::AllReduce) => 2.0 * (ranks - 1.0) / ranks,
            Op::Collective(Collective::AllGather | Collective::ReduceScatter) => {
                (ranks - 1.0) / ranks
            }
            _ => 1.0,
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What to measure. The same in all ranks.
#[derive(Clone, Debug)]
pub struct Options {
    /// The operation.
    pub op: Op,
    /// Sizes in bytes, as [`Row::bytes`] defines them.
    pub sizes: Vec<usize>,
    /// Channels of [`Op::Proxy`].
    pub channels: usize,
    /// Repetitions; `None`: as many as take about 0.2 s.
    pub iterations: Option<u32>,
}

/// One line of the result.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Size of the whole data: what a rank has in the end (reduce-scatter: in the beginning).
    pub bytes: usize,
    /// Time of one operation on the slowest rank; of a transport half a round trip.
    pub time_us: f64,
    /// `bytes` by time, in GB/s (10^9); of a transport that of a stream of messages one way.
    pub algbw_gbps: f64,
    /// As nccl-tests defines it: comparable with the bandwidth of the hardware.
    pub busbw_gbps: f64,
    /// Wrong elements, of all ranks.
    pub errors: u64,
}

impl Row {
    /// From the seconds of one operation: its time, and that which its bandwidth is computed from.
    fn new(op: Op, ranks: usize, bytes: usize, time: f64, stream: f64) -> Row {
        // A single rank moves nothing, in no time.
        let algbw_gbps = bytes as f64 / stream.max(1e-9) / 1e9;
        Row {
            bytes,
            time_us: time * 1e6,
            algbw_gbps,
            busbw_gbps: algbw_gbps * op.bus_factor(ranks),
            errors: 0,
        }
    }
}

/// NCCL_BUFFSIZE as it comes.
const SIMPLE_BUFFER: usize = 4 << 20;

/// Runs all sizes with the other ranks of the session; `each` sees every row as it is ready.
pub fn run(
    net: &Net,
    session: &Session,
    options: &Options,
    mut each: impl FnMut(&Row),
) -> Result<Vec<Row>, Error> {
    let shared = shares_processors(session)?;
    let largest = options.sizes.iter().copied().max().unwrap_or(0);
    let mut rank: Box<dyn Rank> = match options.op {
        Op::Proxy => Box::new(ProxyRank(Proxy::new(net, session, shared, options.channels)?)),
        Op::Transport => {
            // Room for what comes beside what goes, and whole messages. As large as the buffer of
            // NCCL's Simple protocol at least: peers that promise no order of stores compare with that.
            let room = schedule::buffer_size(Collective::SendRecv, largest).max(SIMPLE_BUFFER);
            let window = net.max_requests().min(16);
            Box::new(TransportRank { ring: Ring::new(net, session, shared, room, 1)?, window })
        }
        Op::Collective(collective) => {
            let room = schedule::buffer_size(collective, largest);
            let ring = Ring::new(net, session, shared, room, SLICE)?;
            Box::new(RingRank { ring, collective })
        }
    };
    let mut rows = Vec::with_capacity(options.sizes.len());
    for (number, &bytes) in options.sizes.iter().enumerate() {
        let row = measure(rank.as_mut(), session, options, bytes, number as u32)?;
        each(&row);
        rows.push(row);
    }
    // Nobody leaves while another still moves data.
    session.barrier()?;
    Ok(rows)
}

/// A rank's part in an operation.
trait Rank {
    /// `count` operations; how long all of them took.
    fn repeat(&mut self, place: &Session, bytes: usize, count: u32) -> Result<Duration, Error>;
    /// The same for bandwidth, where that is another measurement.
    fn stream(&mut self, _: &Session, _: usize, _: u32) -> Result<Option<Duration>, Error> {
        Ok(None)
    }
    /// One operation over known data; wrong elements in this rank.
    fn verify(&mut self, session: &Session, bytes: usize, seed: u32) -> Result<u64, Error>;
}

fn measure(
    rank: &mut dyn Rank,
    session: &Session,
    options: &Options,
    bytes: usize,
    seed: u32,
) -> Result<Row, Error> {
    let ranks = session.place().ranks;
    // The first use of memory and connections is not measured.
    rank.repeat(session, bytes, 2)?;
    let once = rank.repeat(session, bytes, 2)? / 2;
    let count = match options.iterations {
        Some(count) => count,
        None => {
            let fitting = MEASURE.as_nanos() / once.as_nanos().max(1);
            // Rank 0 decides, as each has measured another time.
            let all = session.numbers((fitting as u64).clamp(4, 20_000))?;
            all[0] as u32
        }
    };
    session.barrier()?;
    let time = slowest(session, rank.repeat(session, bytes, count)?)? / f64::from(count);
    session.barrier()?;
    let stream = match rank.stream(session, bytes, count)? {
        Some(stream) => slowest(session, stream)? / f64::from(count),
        None => time,
    };
    let mut row = Row::new(options.op, ranks, bytes, time, stream);
    session.barrier()?;
    row.errors = session.numbers(rank.verify(session, bytes, seed)?)?.into_iter().sum();
    Ok(row)
}

/// Seconds of the slowest rank.
fn slowest(session: &Session, own: Duration) -> Result<f64, Error> {
    let all = session.numbers(own.as_nanos() as u64)?;
    Ok(all.into_iter().max().unwrap_or(0) as f64 / 1e9)
}

struct RingRank<'a> {
    ring: Ring<'a>,
    collective: Collective,
}

impl Rank for RingRank<'_> {
    fn repeat(&mut self, session: &Session, bytes: usize, count: u32) -> Result<Duration, Error> {
        let place = session.place();
        let plan = plan(self.collective, place.rank, place.ranks, bytes, SLICE);
        let (time, ()) = timed(|| (0..count).try_for_each(|_| self.ring.run(&plan, WINDOW)))?;
        Ok(time)
    }

    fn verify(&mut self, session: &Session, bytes: usize, seed: u32) -> Result<u64, Error> {
        let place = session.place();
        let plan = plan(self.collective, place.rank, place.ranks, bytes, SLICE);
        prepare(&mut self.ring, self.collective, session, bytes, seed);
        self.ring.run(&plan, WINDOW)?;
        let wrong = wrong(&self.ring, self.collective, session, bytes, seed);
        // Sums of zeros in the timed loops: no number grows from run to run.
        self.ring.data.bytes_mut(0..schedule::buffer_size(self.collective, bytes)).fill(0);
        Ok(wrong)
    }
}

/// Puts this rank's contribution in place, and wrong bytes wherever something is to arrive.
fn prepare(ring: &mut Ring<'_>, op: Collective, session: &Session, bytes: usize, seed: u32) {
    let (rank, ranks) = (session.place().rank, session.place().ranks);
    let before = (rank + ranks - 1) % ranks;
    match op {
        Collective::AllReduce | Collective::ReduceScatter => {
            data::fill_floats(ring.data.floats_mut(0..bytes), seed, rank);
        }
        Collective::AllGather => {
            for part in 0..ranks {
                let range = chunk(bytes, ranks, part);
                let place = ring.data.bytes_mut(range.clone());
                match part == rank {
                    true => data::fill_bytes(place, range.start, seed, part),
                    false => data::poison_bytes(place, range.start, seed, part),
                }
            }
        }
        Collective::Broadcast => {
            let place = ring.data.bytes_mut(0..bytes);
            match rank {
                0 => data::fill_bytes(place, 0, seed, 0),
                _ => data::poison_bytes(place, 0, seed, 0),
            }
        }
        Collective::SendRecv => {
            data::fill_bytes(ring.data.bytes_mut(0..bytes), 0, seed, rank);
            let second = second_place(bytes);
            data::poison_bytes(ring.data.bytes_mut(second..second + bytes), 0, seed, before);
        }
    }
}

/// Wrong elements of this rank.
fn wrong(ring: &Ring<'_>, op: Collective, session: &Session, bytes: usize, seed: u32) -> u64 {
    let (rank, ranks) = (session.place().rank, session.place().ranks);
    let before = (rank + ranks - 1) % ranks;
    match op {
        Collective::AllReduce => data::wrong_sums(ring.data.floats(0..bytes), 0, seed, ranks),
        Collective::ReduceScatter => {
            let own = chunk(bytes, ranks, rank);
            data::wrong_sums(ring.data.floats(own.clone()), own.start / 4, seed, ranks)
        }
        Collective::AllGather => {
            let part = |part| {
                let range = chunk(bytes, ranks, part);
                data::wrong_bytes(ring.data.bytes(range.clone()), range.start, seed, part)
            };
            (0..ranks).map(part).sum()
        }
        Collective::Broadcast => data::wrong_bytes(ring.data.bytes(0..bytes), 0, seed, 0),
        Collective::SendRecv => {
            let second = second_place(bytes);
            data::wrong_bytes(ring.data.bytes(second..second + bytes), 0, seed, before)
        }
    }
}

/// Whole messages between two ranks.
struct TransportRank<'a> {
    ring: Ring<'a>,
    window: usize,
}

/// A message there, a message back, `count` times.
fn ping_pong(rank: usize, bytes: usize, count: usize) -> Plan {
    let second = second_place(bytes);
    let action = Action::Store;
    let send = |index: usize| Send { range: 0..bytes, after_receives: index + rank };
    let receive = |_| Receive { range: second..second + bytes, action, after_sends: 0 };
    Plan { sends: (0..count).map(send).collect(), receives: (0..count).map(receive).collect() }
}

/// `count` messages from rank 0 to rank 1, and one back when all have arrived.
fn one_way(rank: usize, bytes: usize, count: usize) -> Plan {
    let second = second_place(bytes);
    let action = Action::Store;
    let send = |after_receives| Send { range: 0..bytes, after_receives };
    let receive = || Receive { range: second..second + bytes, action, after_sends: 0 };
    let answer = Send { range: 0..0, after_receives: count };
    let empty = Receive { range: second..second, action, after_sends: 0 };
    match rank {
        0 => Plan { sends: (0..count).map(|_| send(0)).collect(), receives: vec![empty] },
        _ => Plan { sends: vec![answer], receives: (0..count).map(|_| receive()).collect() },
    }
}

impl Rank for TransportRank<'_> {
    /// Half of each round trip.
    fn repeat(&mut self, session: &Session, bytes: usize, count: u32) -> Result<Duration, Error> {
        let plan = ping_pong(session.place().rank, bytes, count as usize);
        let (time, ()) = timed(|| self.ring.run(&plan, self.window))?;
        Ok(time / 2)
    }

    fn stream(
        &mut self,
        session: &Session,
        bytes: usize,
        count: u32,
    ) -> Result<Option<Duration>, Error> {
        let plan = one_way(session.place().rank, bytes, count as usize);
        let (time, ()) = timed(|| self.ring.run(&plan, self.window))?;
        Ok(Some(time))
    }

    fn verify(&mut self, session: &Session, bytes: usize, seed: u32) -> Result<u64, Error> {
        let place = session.place();
        let plan = plan(Collective::SendRecv, place.rank, place.ranks, bytes, bytes.max(1));
        prepare(&mut self.ring, Collective::SendRecv, session, bytes, seed);
        self.ring.run(&plan, self.window)?;
        Ok(wrong(&self.ring, Collective::SendRecv, session, bytes, seed))
    }
}

struct ProxyRank<'a>(Proxy<'a>);

impl Rank for ProxyRank<'_> {
    fn repeat(&mut self, _: &Session, bytes: usize, count: u32) -> Result<Duration, Error> {
        let (time, ()) = timed(|| (0..count).try_for_each(|_| self.0.run(bytes, None).map(drop)))?;
        Ok(time)
    }

    fn verify(&mut self, _: &Session, bytes: usize, seed: u32) -> Result<u64, Error> {
        self.0.run(bytes, Some(seed + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bus_bandwidth_is_that_of_nccl_tests() {
        let row = |op| Row::new(op, 4, 1_000_000_000, 1.0, 1.0);
        let bus = |collective| row(Op::Collective(collective)).busbw_gbps;
        assert_eq!(bus(Collective::AllReduce), 1.5);
        assert_eq!(bus(Collective::AllGather), 0.75);
        assert_eq!(bus(Collective::ReduceScatter), 0.75);
        assert_eq!(bus(Collective::Broadcast), 1.0);
        assert_eq!(row(Op::Proxy).algbw_gbps, 1.0);
        let half = Row::new(Op::Transport, 2, 1000, 1.0, 0.5);
        assert_eq!((half.time_us, half.algbw_gbps), (1e6, 2e-6));
        assert_eq!(Row::new(Op::Transport, 2, 0, 1.0, 1.0).algbw_gbps, 0.0);
        assert!(Row::new(Op::Transport, 1, 64, 0.0, 0.0).algbw_gbps.is_finite());
    }

    #[test]
    fn operations_say_how_many_ranks_they_need() {
        assert!(Op::Transport.refuses(3).unwrap().contains("-n 2"));
        assert_eq!(Op::Transport.refuses(2), None);
        assert!(Op::Proxy.refuses(1).is_some());
        assert_eq!(Op::Collective(Collective::AllReduce).refuses(1), None);
        assert!(Op::Collective(Collective::AllReduce).refuses(257).unwrap().contains("256"));
        for op in Op::ALL {
            assert_eq!(op.refuses(2), None);
        }
    }
}
