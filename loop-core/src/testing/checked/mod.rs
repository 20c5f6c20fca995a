//! A backend that watches another: every call goes through, and a broken invariant is a panic that names it.
//!
//! What is asserted, and how far it can be seen from outside:
//!
//! * **B1** exactly one final completion for each queued operation; nothing for an operation that is over or was
//!   never queued; `More` only from multishot operations, outcomes of the kind the operation has; on drop, that
//!   nothing is left over;
//! * **B2** slot and buffers lie where they lay at submission, until the final completion; a few marked bytes
//!   behind the part of a receive buffer that may be filled are still there;
//! * **B3** a single-shot operation that moved something did not overtake an earlier one of the same descriptor
//!   and direction, unless that one was cancelled. Failures may come early (a bad address is refused at
//!   once), and so may operations on no bytes. Behind a multishot operation nothing is checked;
//! * **B5** a poll that began after an unpark does not sleep. An unpark lost *during* a poll is not visible from
//!   here: it shows as a wait that does not end, which [`Harness`](super::Harness) turns into a failure;
//! * **B6** the clock never goes back, and a virtual one moves only in a wait, and never past its end;
//! * **B7** counts and chunks within their limits;
//! * **keys**: an accepted or opened key is new, a closed one answers nothing but errors.
//!
//! The caller is held to its side too, since a loop that breaks it makes everything else meaningless: in particular, a
//! `Resume` of a single-shot operation is answered within a few polls (a multishot one's may wait for as long as a program
//! pauses it).

mod flight;
mod keys;
mod unparks;

#[cfg(test)]
mod faults;

use std::cell::Cell;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Type};

use crate::backend::{Backend, Capabilities, Unpark, Wait};
use crate::control::{Control, Reply};
use crate::fd::FdKey;
use crate::op::{Completion, Event, Interest, Op, Outcome, Submitted};
use crate::op_table::{OpKey, OpTable};

use flight::{Flight, Footprint};
use keys::Keys;
use unparks::{CheckedUnpark, Unparks};

/// A wait that an unpark should have ended is cut off after this: a lost one then fails instead of hanging.
const SLEPT_THROUGH: Duration = Duration::from_secs(30);

/// The most bytes that a lent chunk may reasonably have.
const LARGEST_CHUNK: usize = 1 << 24;

/// A pass answers what was reported before it. One that is cut short by a fatal error leaves the rest to the next, and so
/// may that one.
const ANSWERED_WITHIN: u32 = 16;

/// Up to this many operations in flight, each poll looks at all of them for **B2**.
const LOOK_AT_ALL: usize = 64;

/// Wraps a backend and panics when it breaks its contract. The message begins with the invariant's name.
///
/// # Panics
///
/// That is the purpose; on drop too, unless the thread is panicking already.
pub struct CheckedBackend {
    inner: Box<dyn Backend>,
    capabilities: Capabilities,
    unparks: Arc<Unparks>,
    latest: Cell<Duration>,
    flights: HashMap<OpKey, Flight>,
    /// Single-shot operations in flight, in the order of their submission.
    lanes: HashMap<(FdKey, Interest), VecDeque<OpKey>>,
    /// Emptied lanes, kept so that what is counted under the checker counts without it too.
    spare: Vec<VecDeque<OpKey>>,
    keys: Keys,
    /// `drain` reported operations that it could not end: they are accounted for.
    gave_up: bool,
    /// The caller is a test that keeps `Resume`s for as long as it likes.
    indulgent: bool,
}

impl CheckedBackend {
    /// Watches `inner`.
    #[must_use]
    pub fn new(inner: Box<dyn Backend>) -> Self {
        let capabilities = inner.capabilities();
        let latest = Cell::new(inner.now());
        Self {
            inner,
            capabilities,
            unparks: Arc::default(),
            latest,
            flights: HashMap::new(),
            lanes: HashMap::new(),
            spare: Vec::new(),
            keys: Keys::default(),
            gave_up: false,
            indulgent: false,
        }
    }

    /// Lets the caller leave a `Resume` unanswered for as long as it likes, which no loop may.
    #[must_use]
    pub fn indulgent(mut self) -> Self {
        self.indulgent = true;
        self
    }

    /// How many operations are queued and not over.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    // ---- B1: one final completion ----

    fn began(&mut self, op: OpKey, flight: Flight) {
        if let Some(lane) = flight.lane {
            let spare = &mut self.spare;
            self.lanes.entry(lane).or_insert_with(|| spare.pop().unwrap_or_default()).push_back(op);
        }
        self.flights.insert(op, flight);
    }

    /// A queued operation is over.
    fn ended(&mut self, ops: &OpTable, key: OpKey, result: &io::Result<Outcome>) {
        let Some(flight) = self.flights.remove(&key) else {
            panic!("B1: a final completion ({result:?}) for {key:?}, which is over already or was never queued");
        };
        flight.footprint.assert_unchanged(ops, key, flight.kind);
        self.judge(&flight, ops.get(key), result, false);
        if let Some(lane) = flight.lane {
            let waiting = self.lanes.get_mut(&lane).expect("a lane lives as long as its operations");
            let place = waiting.iter().position(|other| *other == key).expect("in its lane until the end");
            waiting.remove(place);
            let earlier: Vec<OpKey> = waiting.iter().take(place).copied().collect();
            if waiting.is_empty() {
                self.spare.extend(self.lanes.remove(&lane));
            }
            self.assert_overtakes_none(&flight, &earlier, key, result);
        }
    }

    /// A queued operation goes on.
    fn continued(&mut self, ops: &OpTable, key: OpKey, outcome: &Outcome) {
        let Some(flight) = self.flights.get(&key) else {
            panic!("B1: an outcome ({outcome:?}) for {key:?}, which is over already or was never queued");
        };
        assert!(flight.multishot, "B1: {} {key:?} is not multishot, yet had {outcome:?} and goes on", flight.kind);
        flight.footprint.assert_unchanged(ops, key, flight.kind);
        judge_outcome(flight, ops.get(key), outcome, true);
        self.arrived(outcome);
    }

    fn judge(&mut self, flight: &Flight, op: Option<&Op>, result: &io::Result<Outcome>, more: bool) {
        if let Ok(outcome) = result {
            assert!(!flight.key_was_closed, "keys: {} on a closed or unknown key came to {outcome:?}", flight.kind);
            judge_outcome(flight, op, outcome, more);
            self.arrived(outcome);
        }
    }

    fn arrived(&mut self, outcome: &Outcome) {
        if let Outcome::Accepted(fd) = outcome {
            self.keys.opened(*fd, "accepted");
        }
    }

    // ---- B3: order ----

    fn assert_overtakes_none(&self, flight: &Flight, earlier: &[OpKey], key: OpKey, result: &io::Result<Outcome>) {
        if result.is_err() || flight.cancelled || flight.moves_nothing {
            return;
        }
        for other in earlier {
            let before = &self.flights[other];
            assert!(
                before.cancelled || before.moves_nothing,
                "B3: {} {key:?} came to {result:?} before {} {other:?}, which was submitted earlier",
                flight.kind,
                before.kind
            );
        }
    }

    // ---- B2 ----

    fn assert_footprints(&self, ops: &OpTable) {
        for (key, flight) in &self.flights {
            assert!(
                ops.is_in_flight(*key),
                "caller: {} {key:?} was queued, but is not marked in flight in the table",
                flight.kind
            );
            flight.footprint.assert_unchanged(ops, *key, flight.kind);
        }
    }

    // ---- the caller's side ----

    /// A poll begins: every `Resume` that is not answered grows older.
    fn assert_answers(&mut self) {
        for (key, flight) in &mut self.flights {
            if flight.resumable && !flight.multishot && !flight.cancelled {
                flight.unanswered += 1;
                assert!(
                    flight.unanswered <= ANSWERED_WITHIN,
                    "caller: {} {key:?} was reported ready {ANSWERED_WITHIN} polls ago, and never resumed",
                    flight.kind
                );
            }
        }
    }

    fn read_clock(&self) -> Duration {
        let now = self.inner.now();
        let latest = self.latest.replace(now);
        assert!(now >= latest, "B6: the clock went back from {latest:?} to {now:?}");
        now
    }

    fn assert_clock_after(&self, wait: Wait, entered: Duration) {
        let now = self.read_clock();
        if !self.capabilities.virtual_time {
            return;
        }
        let end = match wait {
            Wait::Until(when) => when.max(entered),
            Wait::Peek | Wait::Now | Wait::Forever => entered,
        };
        assert!(now <= end, "B6: the virtual clock moved from {entered:?} to {now:?} in {wait:?}");
    }
}

/// Whether an outcome fits its operation, and **B7**.
fn judge_outcome(flight: &Flight, op: Option<&Op>, outcome: &Outcome, more: bool) {
    let fits = match outcome {
        Outcome::Done => matches!(flight.kind, "Connect" | "Readiness" | "Shutdown"),
        Outcome::Accepted(_) => matches!(flight.kind, "Accept" | "AcceptMulti"),
        Outcome::Chunk(chunk) => {
            assert!(chunk.len() <= LARGEST_CHUNK, "B7: a chunk of {} bytes", chunk.len());
            assert!(more || chunk.is_empty(), "B1: {} ended with bytes, not with the end of stream", flight.kind);
            flight.kind == "RecvMulti"
        }
        Outcome::Count(count) if flight.kind == "RecvMulti" => {
            assert_eq!(*count, 0, "B7: RecvMulti has no buffer of its own to count bytes in");
            !more
        }
        Outcome::Count(count) => match op.and_then(Op::limit) {
            Some(limit) => {
                assert!(*count <= limit, "B7: {} moved {count} bytes where {limit} were asked for", flight.kind);
                true
            }
            None => false,
        },
    };
    assert!(fits, "B1: {} came to {outcome:?}", flight.kind);
}

// SAFETY: every call goes to the inner backend, whose contract is the same; the wrapper adds no completions and
// swallows none. It writes to an operation's memory (the marks) only before the inner backend has seen it.
unsafe impl Backend for CheckedBackend {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        assert_eq!(self.inner.capabilities(), self.capabilities, "caller: capabilities never change");
        self.capabilities
    }

    fn now(&self) -> Duration {
        self.read_clock()
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::new(CheckedUnpark::new(self.inner.unparker(), Arc::clone(&self.unparks)))
    }

    fn open(&mut self, domain: Domain, kind: Type, protocol: Option<Protocol>) -> io::Result<FdKey> {
        let fd = self.inner.open(domain, kind, protocol)?;
        self.keys.opened(fd, "opened");
        Ok(fd)
    }

    fn adopt(&mut self, fd: OwnedFd) -> io::Result<FdKey> {
        let fd = self.inner.adopt(fd)?;
        self.keys.opened(fd, "adopted");
        Ok(fd)
    }

    fn control(&mut self, fd: FdKey, control: &Control<'_>) -> io::Result<Reply> {
        let reply = self.inner.control(fd, control);
        if !self.keys.is_open(fd) {
            let kind = reply.as_ref().map_err(io::Error::kind);
            assert!(
                matches!(kind, Err(io::ErrorKind::NotConnected)),
                "keys: {control:?} of a closed or unknown key was answered by {kind:?}"
            );
        }
        reply
    }

    fn raw_fd(&self, fd: FdKey) -> Option<RawFd> {
        let raw = self.inner.raw_fd(fd);
        assert!(raw.is_none() || self.keys.is_open(fd), "keys: a closed or unknown key has the number {raw:?}");
        raw
    }

    fn close(&mut self, ops: &mut OpTable, fd: FdKey) {
        for flight in self.flights.values_mut().filter(|flight| flight.fd == Some(fd)) {
            flight.cancelled = true;
        }
        self.inner.close(ops, fd);
        self.keys.closed(fd);
    }

    fn release(&mut self, ops: &mut OpTable, fd: FdKey) -> io::Result<OwnedFd> {
        let busy = self.flights.values().find(|flight| flight.fd == Some(fd)).map(|flight| flight.kind);
        let released = self.inner.release(ops, fd);
        if released.is_ok() {
            assert!(self.keys.is_open(fd), "keys: a closed or unknown key was released");
            assert!(busy.is_none(), "keys: released while {} was in flight on it", busy.unwrap_or_default());
            self.keys.closed(fd);
        }
        released
    }

    fn submit(&mut self, ops: &mut OpTable, key: OpKey) -> Submitted {
        assert!(!self.flights.contains_key(&key), "caller: {key:?} is in flight, and was submitted again");
        let op = ops.get_mut(key).expect("caller: an operation is put into the table before it is submitted");
        let footprint = Footprint::take(op);
        let flight = Flight::new(op, footprint, op.fd().is_some_and(|fd| !self.keys.is_open(fd)));
        let answer = self.inner.submit(ops, key);
        flight.footprint.assert_unchanged(ops, key, flight.kind);
        match &answer {
            Submitted::Done(result) => {
                self.judge(&flight, ops.get(key), result, false);
                if let Some(lane) = flight.lane
                    && let Some(waiting) = self.lanes.get(&lane)
                {
                    let earlier: Vec<OpKey> = waiting.iter().copied().collect();
                    self.assert_overtakes_none(&flight, &earlier, key, result);
                }
            }
            Submitted::More(outcome) => {
                assert!(!flight.key_was_closed, "keys: {} on a closed or unknown key had {outcome:?}", flight.kind);
                self.began(key, flight);
                self.continued(ops, key, outcome);
            }
            Submitted::Queued => self.began(key, flight),
            Submitted::Unsupported => {}
        }
        answer
    }

    fn resume(&mut self, ops: &mut OpTable, key: OpKey) -> Submitted {
        if let Some(flight) = self.flights.get_mut(&key) {
            let told = std::mem::take(&mut flight.resumable);
            assert!(told, "caller: {} {key:?} was resumed without a Resume", flight.kind);
        }
        let answer = self.inner.resume(ops, key);
        match &answer {
            Submitted::Done(result) => self.ended(ops, key, result),
            Submitted::More(outcome) => {
                self.continued(ops, key, outcome);
                // It may be asked for the next outcome at once.
                if let Some(flight) = self.flights.get_mut(&key) {
                    flight.resumable = true;
                }
            }
            Submitted::Queued => {}
            Submitted::Unsupported => panic!("B1: resume answered Unsupported for {key:?}"),
        }
        answer
    }

    fn resume_into(&mut self, ops: &mut OpTable, key: OpKey, buf: &mut [u8]) -> Option<io::Result<usize>> {
        if let Some(flight) = self.flights.get(&key) {
            assert!(flight.resumable, "caller: {} {key:?} was resumed without a Resume", flight.kind);
        }
        let answer = self.inner.resume_into(ops, key, buf);
        if let Some(Ok(count @ 1..)) = answer {
            assert!(count <= buf.len(), "B7: resume_into moved {count} bytes where {} were asked for", buf.len());
            let flight = self.flights.get(&key);
            let flight = flight.unwrap_or_else(|| panic!("B1: bytes for {key:?}, which is over or was never queued"));
            assert!(flight.kind == "RecvMulti", "B1: {} {key:?} does not receive again and again", flight.kind);
            assert!(!flight.key_was_closed, "keys: a receive on a closed or unknown key had {count} bytes");
            flight.footprint.assert_unchanged(ops, key, flight.kind);
        }
        answer
    }

    fn cancel(&mut self, ops: &mut OpTable, key: OpKey) {
        if let Some(flight) = self.flights.get_mut(&key) {
            flight.footprint.assert_unchanged(ops, key, flight.kind);
            flight.cancelled = true;
        }
        self.inner.cancel(ops, key);
    }

    fn recv_now(&mut self, fd: FdKey, buf: &mut [u8]) -> Option<io::Result<usize>> {
        let room = buf.len();
        let answer = self.inner.recv_now(fd, buf);
        self.judge_now(fd, room, answer.as_ref(), "recv_now");
        answer
    }

    fn send_now(&mut self, fd: FdKey, bufs: &[IoSlice<'_>]) -> Option<io::Result<usize>> {
        let answer = self.inner.send_now(fd, bufs);
        self.judge_now(fd, bufs.iter().map(|buf| buf.len()).sum(), answer.as_ref(), "send_now");
        answer
    }

    fn poll(&mut self, ops: &mut OpTable, wait: Wait, out: &mut Vec<Completion>) -> io::Result<()> {
        if self.flights.len() <= LOOK_AT_ALL {
            self.assert_footprints(ops);
            if !self.indulgent {
                self.assert_answers();
            }
        }
        let entered = self.read_clock();
        let before = out.len();

        // B5: with an unpark standing, a wait must not be waited out.
        let cut_off = entered + SLEPT_THROUGH;
        let unparked = self.unparks.standing();
        let wait = if unparked && wait == Wait::Forever { Wait::Until(cut_off) } else { wait };
        self.inner.poll(ops, wait, out)?;
        self.unparks.acknowledge();
        self.assert_clock_after(wait, entered);
        let end = if self.capabilities.virtual_time { entered + Duration::from_nanos(1) } else { cut_off };
        if let Wait::Until(when) = wait
            && unparked
            && when >= end
            && out.len() == before
        {
            assert!(self.inner.now() < when, "B5: poll slept through an unpark, for {:?}", when - entered);
        }

        assert!(out.len() >= before, "B1: poll took completions out of the caller's list");
        for completion in &out[before..] {
            let key = completion.op;
            match &completion.event {
                Event::Resume => {
                    let Some(flight) = self.flights.get_mut(&key) else {
                        panic!("B1: Resume for {key:?}, which is over already or was never queued");
                    };
                    flight.footprint.assert_unchanged(ops, key, flight.kind);
                    flight.resumable = true;
                    flight.unanswered = 0;
                }
                Event::More(outcome) => self.continued(ops, key, outcome),
                Event::Final(result) => self.ended(ops, key, result),
            }
        }
        Ok(())
    }

    fn drain(&mut self, ops: &mut OpTable, limit: Duration) -> usize {
        self.assert_footprints(ops);
        let left = self.inner.drain(ops, limit);
        let known = self.flights.len();
        assert!(left <= known, "B1: drain left {left} operations in flight, where {known} were");
        if left == 0 {
            for (key, flight) in self.flights.drain() {
                flight.footprint.assert_unchanged(ops, key, flight.kind);
            }
            self.lanes.clear();
        } else {
            self.gave_up = true;
        }
        left
    }

    fn flush(&mut self, ops: &mut OpTable) -> io::Result<()> {
        self.inner.flush(ops)
    }

    fn foresee(&mut self, deadline: Duration) {
        self.inner.foresee(deadline);
    }

    fn hold_clock(&mut self, hold: bool) {
        self.inner.hold_clock(hold);
    }
}

impl CheckedBackend {
    fn judge_now(&self, fd: FdKey, room: usize, answer: Option<&io::Result<usize>>, call: &str) {
        let synchronous = self.capabilities.synchronous;
        assert!(answer.is_some() || !synchronous, "caller: {call} always answers where `synchronous` is set");
        if let Some(Ok(count)) = answer {
            assert!(*count <= room, "B7: {call} moved {count} bytes where {room} were asked for");
            assert!(self.keys.is_open(fd), "keys: {call} on a closed or unknown key moved {count} bytes");
        }
    }
}

impl Drop for CheckedBackend {
    fn drop(&mut self) {
        if self.gave_up || std::thread::panicking() {
            return;
        }
        let left: Vec<String> = self.flights.iter().map(|(key, flight)| format!("{} {key:?}", flight.kind)).collect();
        assert!(left.is_empty(), "B1: dropped with operations neither completed nor drained: {}", left.join(", "));
    }
}

impl std::fmt::Debug for CheckedBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CheckedBackend")
            .field("inner", &self.inner.name())
            .field("in_flight", &self.flights.len())
            .finish()
    }
}
