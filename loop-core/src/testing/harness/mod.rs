//! A stand-in for the loop: enough of one to drive a backend in a test, and nothing of what a loop is for.
//!
//! It keeps its side of the contract as the loop does: an operation is marked in flight when the backend has
//! queued it, its memory is touched only after the final completion, and `Resume` is answered in order.

mod sockets;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use crate::backend::{Backend, Wait};
use crate::fd::FdKey;
use crate::op::{Completion, Event, Op, Outcome, Submitted};
use crate::op_table::{OpKey, OpTable, Target};

pub(crate) use sockets::{loopback, recv_op};

/// How long the harness waits for what must come, by the backend's clock: long enough for a machine that is
/// busy with something else, and at once on a virtual clock.
const PATIENCE: Duration = Duration::from_secs(30);

/// What became of an operation that was submitted.
#[derive(Debug)]
pub enum Started {
    /// It is over already.
    Done(io::Result<Outcome>, Op),
    /// It had a first outcome and stays armed.
    More(OpKey, Outcome),
    /// It is under way.
    Queued(OpKey),
    /// The backend cannot do it.
    Unsupported(Op),
}

/// What happened to an operation.
#[derive(Debug)]
pub enum Arrival {
    /// A multishot operation had an outcome and stays armed.
    More(OpKey, Outcome),
    /// The operation is over, and out of the table.
    Final(OpKey, io::Result<Outcome>, Op),
}

impl Arrival {
    /// The operation.
    #[must_use]
    pub const fn key(&self) -> OpKey {
        match self {
            Self::More(key, _) | Self::Final(key, ..) => *key,
        }
    }

    /// Whether it is the operation's last.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Final(..))
    }
}

/// Owns a backend and an operation table, and plays the loop for them.
///
/// Whatever arrives while something else is waited for is kept until it is asked for. Waits have a deadline on
/// the backend's clock; missing it is a panic that lists what is in flight. Dropping the harness drains the
/// backend and panics if anything stays in flight.
///
/// # Panics
///
/// Like everything in [`testing`](crate::testing), all methods panic when the backend breaks its contract.
///
/// # Example
///
/// ```
/// use loop_core::testing::{Harness, VirtualBackend};
///
/// let mut harness = Harness::new(Box::new(VirtualBackend::new()));
/// let (client, server) = harness.tcp_pair();
/// harness.send_all(client, b"hello");
/// assert_eq!(harness.recv_exact(server, 5), b"hello");
/// ```
pub struct Harness {
    backend: Box<dyn Backend>,
    ops: OpTable,
    kept: VecDeque<Arrival>,
    resumes: VecDeque<OpKey>,
    holds_resumes: bool,
    eager: bool,
    out: Vec<Completion>,
}

impl Harness {
    /// A harness with an empty table.
    #[must_use]
    pub fn new(backend: Box<dyn Backend>) -> Self {
        Self {
            backend,
            ops: OpTable::new(),
            kept: VecDeque::new(),
            resumes: VecDeque::new(),
            holds_resumes: false,
            eager: false,
            out: Vec::new(),
        }
    }

    /// The backend.
    #[must_use]
    pub fn backend(&mut self) -> &mut dyn Backend {
        &mut *self.backend
    }

    /// The operations.
    #[must_use]
    pub fn ops(&self) -> &OpTable {
        &self.ops
    }

    /// Backend and table together, for calls that the harness does not wrap.
    pub fn parts(&mut self) -> (&mut dyn Backend, &mut OpTable) {
        (&mut *self.backend, &mut self.ops)
    }

    /// The backend's clock.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.backend.now()
    }

    // ---- operations ----

    /// Submits an operation.
    pub fn submit(&mut self, op: Op) -> Started {
        let key = self.ops.insert(op, Target::Nobody);
        match self.backend.submit(&mut self.ops, key) {
            Submitted::Done(result) => {
                let op = self.take(key, &result);
                Started::Done(result, op)
            }
            Submitted::More(outcome) => {
                self.ops.set_in_flight(key);
                Started::More(key, outcome)
            }
            Submitted::Queued => {
                self.ops.set_in_flight(key);
                Started::Queued(key)
            }
            Submitted::Unsupported => {
                let (op, _) = self.ops.remove(key).expect("an unsupported operation stays in the table");
                Started::Unsupported(op)
            }
        }
    }

    /// Submits an operation, and keeps what it came to at once with what arrives later: the key names it in
    /// [`run_until`](Self::run_until) and [`next_of`](Self::next_of) even if it is over.
    ///
    /// # Panics
    ///
    /// If the backend does not support the operation.
    pub fn start(&mut self, op: Op) -> OpKey {
        let key = self.ops.insert(op, Target::Nobody);
        match self.backend.submit(&mut self.ops, key) {
            Submitted::Done(result) => {
                let op = self.take(key, &result);
                self.kept.push_back(Arrival::Final(key, result, op));
            }
            Submitted::More(outcome) => {
                self.ops.set_in_flight(key);
                self.kept.push_back(Arrival::More(key, outcome));
            }
            Submitted::Queued => self.ops.set_in_flight(key),
            Submitted::Unsupported => {
                let (op, _) = self.ops.remove(key).expect("an unsupported operation stays in the table");
                panic!("the backend {} does not support {op:?}", self.backend.name());
            }
        }
        key
    }

    /// Starts an operation and runs until it is over.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start) and [`run_until`](Self::run_until).
    pub fn run(&mut self, op: Op) -> (io::Result<Outcome>, Op) {
        let key = self.start(op);
        self.run_until(key)
    }

    /// Asks for an operation to end.
    pub fn cancel(&mut self, key: OpKey) {
        self.backend.cancel(&mut self.ops, key);
    }

    /// Closes a descriptor.
    pub fn close(&mut self, fd: FdKey) {
        self.backend.close(&mut self.ops, fd);
    }

    /// Whether the operation is with the backend.
    #[must_use]
    pub fn is_in_flight(&self, key: OpKey) -> bool {
        self.ops.is_in_flight(key)
    }

    // ---- waiting ----

    /// Polls once, goes on with what can go on, and keeps what arrived. How many arrivals that were.
    pub fn poll(&mut self, wait: Wait) -> usize {
        let before = self.kept.len();
        let mut out = std::mem::take(&mut self.out);
        self.backend.poll(&mut self.ops, wait, &mut out).expect("poll failed");
        for Completion { op: key, event } in out.drain(..) {
            match event {
                Event::Resume if self.holds_resumes => self.resumes.push_back(key),
                Event::Resume => self.go_on(key),
                Event::More(outcome) => {
                    assert!(self.ops.is_in_flight(key), "B1: an outcome for {key:?}, which is not in flight");
                    self.kept.push_back(Arrival::More(key, outcome));
                }
                Event::Final(result) => self.land(key, result),
            }
        }
        self.out = out;
        self.kept.len() - before
    }

    /// From now on, keeps `Resume` events back (`true`), or answers those kept and all that follow at once.
    pub fn hold_resumes(&mut self, hold: bool) {
        self.holds_resumes = hold;
        while !self.holds_resumes
            && let Some(key) = self.resumes.pop_front()
        {
            self.go_on(key);
        }
    }

    /// Goes on with an operation whose `Resume` is kept back, into memory: see [`Backend::resume_into`].
    pub fn resume_into(&mut self, key: OpKey, buf: &mut [u8]) -> Option<io::Result<usize>> {
        let received = self.backend.resume_into(&mut self.ops, key, buf);
        if matches!(received, Some(Ok(1..))) {
            self.resumes.retain(|kept| *kept != key);
        }
        received
    }

    /// From now on, asks a multishot operation for its next outcome right after each (`true`), or only at the next
    /// `Resume`.
    pub fn resume_eagerly(&mut self, eager: bool) {
        self.eager = eager;
    }

    /// Whether a `Resume` of the operation is kept back.
    #[must_use]
    pub fn has_resume(&self, key: OpKey) -> bool {
        self.resumes.contains(&key)
    }

    /// Whether something of the operation has arrived and is kept.
    #[must_use]
    pub fn has_arrival(&self, key: OpKey) -> bool {
        self.kept.iter().any(|arrival| arrival.key() == key)
    }

    /// The next arrival, in order.
    ///
    /// # Panics
    ///
    /// If none comes in time.
    pub fn wait_event(&mut self) -> Arrival {
        self.wait_for("an event", |harness| harness.kept.pop_front())
    }

    /// The operation's next arrival, in order.
    ///
    /// # Panics
    ///
    /// If none comes in time.
    pub fn next_of(&mut self, key: OpKey) -> Arrival {
        self.wait_for(&format!("an event of {key:?}"), |harness| harness.take_arrival(|arrival| arrival.key() == key))
    }

    /// Runs until the operation is over. Outcomes of a multishot operation stay kept for
    /// [`next_of`](Self::next_of).
    ///
    /// # Panics
    ///
    /// If it is not over in time.
    pub fn run_until(&mut self, key: OpKey) -> (io::Result<Outcome>, Op) {
        let last = self.wait_for(&format!("the final completion of {key:?}"), |harness| {
            harness.take_arrival(|arrival| arrival.key() == key && arrival.is_final())
        });
        match last {
            Arrival::Final(_, result, op) => (result, op),
            Arrival::More(..) => unreachable!("a final arrival was asked for"),
        }
    }

    /// Polls until `ready` gives something.
    ///
    /// # Panics
    ///
    /// If it does not in time; the message says that `what` did not come, and lists what is in flight.
    pub fn wait_for<T>(&mut self, what: &str, mut ready: impl FnMut(&mut Self) -> Option<T>) -> T {
        let deadline = self.backend.now() + PATIENCE;
        loop {
            if let Some(found) = ready(self) {
                return found;
            }
            if self.backend.now() >= deadline {
                panic!("{what} did not come within {PATIENCE:?} on {}.{}", self.backend.name(), self.in_flight());
            }
            self.poll(Wait::Until(deadline));
        }
    }

    /// Takes the first kept arrival of an operation, without polling.
    pub fn kept(&mut self, key: OpKey) -> Option<Arrival> {
        self.take_arrival(|arrival| arrival.key() == key)
    }

    /// Takes the next arrival, in order, if one is kept, without polling.
    pub fn take_kept(&mut self) -> Option<Arrival> {
        self.kept.pop_front()
    }

    fn take_arrival(&mut self, wanted: impl Fn(&Arrival) -> bool) -> Option<Arrival> {
        let place = self.kept.iter().position(wanted)?;
        self.kept.remove(place)
    }

    fn go_on(&mut self, key: OpKey) {
        loop {
            match self.backend.resume(&mut self.ops, key) {
                Submitted::Done(result) => self.land(key, result),
                Submitted::More(outcome) => {
                    self.kept.push_back(Arrival::More(key, outcome));
                    if self.eager {
                        continue;
                    }
                }
                Submitted::Queued => {}
                Submitted::Unsupported => panic!("resume answered Unsupported for {key:?}, which had been queued"),
            }
            return;
        }
    }

    fn land(&mut self, key: OpKey, result: io::Result<Outcome>) {
        assert!(self.ops.is_in_flight(key), "B1: a final completion for {key:?}, which is not in flight");
        self.ops.set_landed(key);
        let op = self.take(key, &result);
        self.kept.push_back(Arrival::Final(key, result, op));
    }

    /// Takes out an operation that is over, with its received bytes counted in.
    fn take(&mut self, key: OpKey, result: &io::Result<Outcome>) -> Op {
        let (mut op, _) = self.ops.remove(key).expect("B2: the operation left the table before its final completion");
        let Ok(Outcome::Count(count)) = *result else { return op };
        if let Some(limit) = op.limit() {
            assert!(count <= limit, "B7: {count} bytes reported where {limit} were asked for: {op:?}");
        }
        if let Op::Recv { buf, .. } | Op::RecvFrom { buf, .. } | Op::ReadAt { buf, .. } = &mut op {
            let len = buf.len() + count;
            assert!(len <= buf.capacity(), "B7: {count} bytes reported, more than the buffer holds");
            // SAFETY: within the capacity, as asserted, and a backend's counts are true (the contract of the
            // unsafe trait, B7): these bytes are initialised.
            unsafe { buf.set_len(len) };
        }
        op
    }

    fn in_flight(&self) -> String {
        let mut list = String::from(" In flight:");
        let mut none = true;
        for key in self.ops.keys_in_flight().take(16) {
            none = false;
            let _ = write!(list, "\n  {key:?} {}", self.ops.get(key).map_or("(gone)", kind_of));
        }
        if none {
            list.push_str(" nothing");
        }
        list
    }

    // ---- the end ----

    /// Drains the backend, which must leave nothing in flight, and empties the table.
    ///
    /// # Panics
    ///
    /// If something stays in flight.
    pub fn drain(&mut self) {
        let left = self.backend.drain(&mut self.ops, PATIENCE);
        assert_eq!(left, 0, "drain left operations in flight.{}", self.in_flight());
        let landed: Vec<OpKey> = self.ops.keys_in_flight().collect();
        for key in landed {
            self.ops.set_landed(key);
            let removed = self.ops.remove(key);
            assert!(removed.is_some(), "B2: {key:?} left the table while in flight");
        }
        self.resumes.clear();
        assert!(self.ops.is_empty(), "the table holds operations that are not in flight");
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.drain();
        }
    }
}

impl std::fmt::Debug for Harness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Harness").field("backend", &self.backend.name()).field("ops", &self.ops).finish()
    }
}

/// The operation's name, for messages.
pub(crate) fn kind_of(op: &Op) -> &'static str {
    match op {
        Op::Accept { .. } => "Accept",
        Op::AcceptMulti { .. } => "AcceptMulti",
        Op::Connect { .. } => "Connect",
        Op::Recv { .. } => "Recv",
        Op::RecvMulti { .. } => "RecvMulti",
        Op::RecvFrom { .. } => "RecvFrom",
        Op::Send { .. } => "Send",
        Op::SendVectored { .. } => "SendVectored",
        Op::SendTo { .. } => "SendTo",
        Op::Readiness { .. } => "Readiness",
        Op::Shutdown { .. } => "Shutdown",
        Op::ReadAt { .. } => "ReadAt",
        Op::WriteAt { .. } => "WriteAt",
    }
}
