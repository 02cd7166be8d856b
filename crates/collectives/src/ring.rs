//! A rank's place in the ring: its connections, its memory, and the loop that carries out a plan.

use crate::buffer::Buffer;
use crate::data;
use crate::error::Error;
use crate::plugin::{HANDLE_SIZE, Handle, Link, Net, Registration, Request};
use crate::progress::Progress;
use crate::rendezvous::Session;
use crate::schedule::{Action, Plan};

/// Messages in flight in each direction: NCCL's NCCL_STEPS.
pub const WINDOW: usize = 8;

/// Connects every rank with the next one, several times if wanted: (to the next, from the one
/// before), as many of each as `channels`.
pub(crate) fn connect<'a>(
    net: &'a Net,
    session: &Session,
    channels: usize,
    shared: bool,
) -> Result<(Vec<Link<'a>>, Vec<Link<'a>>), Error> {
    let place = session.place();
    let next = (place.rank + 1) % place.ranks;
    let before = (place.rank + place.ranks - 1) % place.ranks;
    let mut listeners = Vec::with_capacity(channels);
    let mut handles = Vec::with_capacity(channels * HANDLE_SIZE);
    for _ in 0..channels {
        let (listener, handle) = net.listen()?;
        listeners.push(listener);
        handles.extend(handle);
    }
    let all = session.exchange(&handles)?;
    let (theirs, rest) = all[next].as_chunks::<HANDLE_SIZE>();
    if theirs.len() != channels || !rest.is_empty() {
        return Err(Error::Rendezvous(format!("rank {next} has another number of channels")));
    }
    let mut handles: Vec<Handle> = theirs.to_vec();
    let mut sends: Vec<Option<Link>> = (0..channels).map(|_| None).collect();
    let mut receives: Vec<Option<Link>> = (0..channels).map(|_| None).collect();
    let mut progress = Progress::new(session, "connecting", shared);
    loop {
        let mut missing = false;
        for (handle, send) in handles.iter_mut().zip(&mut sends) {
            if send.is_none() {
                *send = net.connect(handle, next)?;
                missing |= send.is_none();
            }
        }
        for (listener, receive) in listeners.iter().zip(&mut receives) {
            if receive.is_none() {
                *receive = listener.accept(before)?;
                missing |= receive.is_none();
            }
        }
        if !missing {
            break;
        }
        progress.idle()?;
    }
    Ok((sends.into_iter().flatten().collect(), receives.into_iter().flatten().collect()))
}

/// One end of the ring's connections with the memory that it may touch.
struct Ends<'a> {
    send: Link<'a>,
    receive: Link<'a>,
    /// The data, for sending and for receiving, and the scratch memory for receiving.
    data_out: Registration,
    data_in: Registration,
    scratch_in: Registration,
}

/// A rank with one connection to the next rank and one from the rank before.
pub struct Ring<'a> {
    net: &'a Net,
    session: &'a Session,
    shared: bool,
    /// None for a single rank. Dropped before the memory.
    ends: Option<Ends<'a>>,
    /// What the operation is about.
    pub data: Buffer,
    /// One slot per message in flight, for what is to be added.
    scratch: Buffer,
    slice: usize,
}

impl<'a> Ring<'a> {
    /// Connects with the neighbours and registers memory for operations of up to `bytes` bytes in
    /// slices of up to `slice` bytes.
    pub fn new(
        net: &'a Net,
        session: &'a Session,
        shared: bool,
        bytes: usize,
        slice: usize,
    ) -> Result<Ring<'a>, Error> {
        let data = Buffer::new(bytes);
        let scratch = Buffer::new(WINDOW * slice);
        let channels = if session.place().ranks > 1 { 1 } else { 0 };
        let (sends, receives) = connect(net, session, channels, shared)?;
        let mut ends = None;
        for (mut send, mut receive) in sends.into_iter().zip(receives) {
            let data_out = send.register(&data)?;
            let data_in = receive.register(&data)?;
            let scratch_in = receive.register(&scratch)?;
            ends = Some(Ends { send, receive, data_out, data_in, scratch_in });
        }
        Ok(Ring { net, session, shared, ends, data, scratch, slice })
    }

    /// Carries out a plan over the data, with up to `window` messages in flight each way; at most
    /// [`WINDOW`] if anything is to be added.
    pub fn run(&mut self, plan: &Plan, window: usize) -> Result<(), Error> {
        let Some(ends) = &self.ends else { return Ok(()) };
        let Plan { sends, receives } = plan;
        let slots = window.max(1);
        let (mut sending, mut receiving) = (vec![None; slots], vec![None; slots]);
        let (mut sent, mut posted_sends) = (0, 0);
        let (mut received, mut posted_receives) = (0, 0);
        let mut progress = Progress::new(self.session, "moving data", self.shared);
        while sent < sends.len() || received < receives.len() {
            let mut moved = false;
            // Receives first: a sender that finds a place for its message need not wait.
            while let Some(next) = receives.get(posted_receives) {
                let slot = posted_receives % slots;
                if posted_receives - received == slots || sent < next.after_sends {
                    break;
                }
                let (at, memory) = match next.action {
                    Action::Add => (self.scratch.address(slot * self.slice), ends.scratch_in),
                    Action::Store => (self.data.address(next.range.start), ends.data_in),
                };
                // SAFETY: the place is registered memory of this ring: a slot that no other receive
                // in flight has, or a range that nothing else uses until the receive is complete, as
                // the plan says (timed loops without a look at the data may repeat a range). Links
                // are dropped before the memory.
                let request = unsafe { ends.receive.irecv(at, next.range.len(), memory, false)? };
                let Some(request) = request else { break };
                receiving[slot] = Some(request);
                posted_receives += 1;
                moved = true;
            }
            while received < posted_receives {
                let slot = received % slots;
                let Some(size) = self.test(receiving[slot], &ends.receive)? else { break };
                let next = &receives[received];
                if size != next.range.len() {
                    let expected = next.range.len();
                    let what = format!("a message of {size} bytes where {expected} were sent");
                    return Err(self.net.broken(what));
                }
                if next.action == Action::Add {
                    let from = slot * self.slice;
                    let from = self.scratch.floats(from..from + size);
                    data::add(self.data.floats_mut(next.range.clone()), from);
                }
                received += 1;
                moved = true;
            }
            while let Some(next) = sends.get(posted_sends) {
                if posted_sends - sent == slots || received < next.after_receives {
                    break;
                }
                let at = self.data.address(next.range.start);
                // SAFETY: registered memory of this ring that the plan does not change before the
                // send is complete. Links are dropped before the memory.
                let request = unsafe { ends.send.isend(at, next.range.len(), ends.data_out)? };
                let Some(request) = request else { break };
                sending[posted_sends % slots] = Some(request);
                posted_sends += 1;
                moved = true;
            }
            while sent < posted_sends {
                if self.test(sending[sent % slots], &ends.send)?.is_none() {
                    break;
                }
                sent += 1;
                moved = true;
            }
            if moved {
                progress.moved();
            } else {
                progress.idle()?;
            }
        }
        Ok(())
    }

    #[inline]
    fn test(&self, request: Option<Request>, link: &Link<'_>) -> Result<Option<usize>, Error> {
        let Some(request) = request else { return Ok(None) };
        // SAFETY: `run` tests a request of its open links until it is complete, then forgets it.
        unsafe { self.net.test(request, link.peer()) }
    }
}
