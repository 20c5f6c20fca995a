//! The state word of a [`ConcurrentFuture`](super::ConcurrentFuture): who may touch which part of the
//! shared state, decided by one atomic operation each.
//!
//! The word is a phase and five flags.
//!
//! ```text
//!             start             claim
//!   QUEUED ───────────> RUNNING ──────> STORING ──┬──> VALUE ──> TAKEN
//!     │  └──────────────────────────────^         ├──> FAILED
//!     └── cancel ──> CANCELLED <── cancel, if     └──> CANCELLED
//!                                  HOOKED
//! ```
//!
//! Phases:
//!
//! * `QUEUED`: nobody works on it. The closure belongs to whoever moves the word on: `start` gives it
//!   to the runner, `cancel` and `claim` to the caller, who drops it.
//! * `RUNNING`: a job runs, or a completer said that its work began.
//! * `STORING`: the outcome cell belongs to the one that came here, who writes it and then `finish`es.
//! * `VALUE`: the cell holds a value, which belongs to the one that moves on to `TAKEN`.
//! * `FAILED`, `CANCELLED`: the cell holds an error, or nothing for a cancel without a message. It is
//!   never written again and anyone may read it.
//! * `TAKEN`: the value has been moved out.
//!
//! The last four are *done*; nothing leaves them except `VALUE` for `TAKEN`.
//!
//! Flags, which are only ever set:
//!
//! * `HOOKED`: the completer registered a cancel hook, so that `cancel` is accepted while `RUNNING`.
//! * `HEARD`: callbacks, waiting threads or a hook stand in the list under the lock. Set with the lock
//!   held and before the list is waited on; whoever makes the word done and sees it takes the lock and
//!   serves the list. Whoever sets it and finds the word done serves itself.
//! * `CALLBACKS`: as `HEARD`, and among the listeners are done callbacks.
//! * `CLAIMED`: the notifier cell belongs to the one that set this.
//! * `NOTIFIER`: that one has filled the cell, which now belongs to whoever makes the word done; if it
//!   was done already, it stays with the one that set this.
//!
//! Every operation that gives a cell away is a release and every one that gains a cell an acquire. All
//! of them are read-modify-writes of this one word, so of two that meet one sees the other: a notifier
//! is called by exactly one side, and a waiter either finds the word done or is found in the list.

use crate::sync::atomic::{AtomicU32, Ordering};

const PHASE: u32 = 0b111;
const QUEUED: u32 = 0;
const RUNNING: u32 = 1;
const STORING: u32 = 2;
const VALUE: u32 = 3;
const TAKEN: u32 = 4;
const FAILED: u32 = 5;
const CANCELLED: u32 = 6;

const HOOKED: u32 = 1 << 3;
const HEARD: u32 = 1 << 4;
const CLAIMED: u32 = 1 << 5;
const NOTIFIER: u32 = 1 << 6;
const CALLBACKS: u32 = 1 << 7;

/// The word.
#[derive(Debug)]
pub(super) struct State(AtomicU32);

/// What the word said at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Snapshot(u32);

/// The ways to be done that `finish` reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum End {
    /// The cell holds a value.
    Value = VALUE,
    /// The cell holds an error.
    Failed = FAILED,
    /// The cell holds a cancellation.
    Cancelled = CANCELLED,
}

/// The answer to `cancel`.
#[derive(Debug)]
#[must_use]
pub(super) enum Cancel {
    /// It is cancelled by this call: the caller drops the closure, if it was queued, and serves whoever
    /// the snapshot says is listening.
    Done(Snapshot),
    /// It was cancelled before.
    Already,
    /// It runs, or ended otherwise.
    Refused,
}

impl State {
    pub(super) fn new() -> Self {
        Self(AtomicU32::new(QUEUED))
    }

    /// The word now; acquires whatever its phase gives to readers.
    pub(super) fn load(&self) -> Snapshot {
        Snapshot(self.0.load(Ordering::Acquire))
    }

    /// Runner: `QUEUED` to `RUNNING`. On true the closure is the caller's.
    #[must_use]
    pub(super) fn start(&self) -> bool {
        self.step(|now| (now.phase() == QUEUED).then_some(RUNNING)).is_ok()
    }

    /// Completing side: `QUEUED` or `RUNNING` to `STORING`. On success the outcome cell is the caller's,
    /// and the closure too if the snapshot says queued.
    pub(super) fn claim(&self) -> Result<Snapshot, Snapshot> {
        self.step(|now| matches!(now.phase(), QUEUED | RUNNING).then_some(STORING))
    }

    /// `STORING` to a done phase, by whom `claim` gave the cell. The caller serves the listeners.
    #[must_use = "the listeners are to be served"]
    pub(super) fn finish(&self, end: End) -> Snapshot {
        let before = Snapshot(self.0.fetch_xor(STORING ^ end as u32, Ordering::AcqRel));
        debug_assert_eq!(before.phase(), STORING);
        before
    }

    /// Runner: `RUNNING` to a done phase, for a job: without a hook nothing competes for the cell, and
    /// the detour through `STORING` is saved.
    #[must_use = "the listeners are to be served"]
    pub(super) fn finish_run(&self, end: End) -> Snapshot {
        let before = Snapshot(self.0.fetch_xor(RUNNING ^ end as u32, Ordering::AcqRel));
        debug_assert_eq!((before.phase(), before.0 & HOOKED), (RUNNING, 0));
        before
    }

    /// Anyone: to `CANCELLED`.
    pub(super) fn cancel(&self) -> Cancel {
        match self.step(|now| match now.phase() {
            QUEUED => Some(CANCELLED),
            RUNNING if now.0 & HOOKED != 0 => Some(CANCELLED),
            _ => None,
        }) {
            Ok(before) => Cancel::Done(before),
            Err(now) if now.is_cancelled() => Cancel::Already,
            Err(_) => Cancel::Refused,
        }
    }

    /// Anyone: `VALUE` to `TAKEN`. On success the value is the caller's.
    pub(super) fn take(&self) -> Result<Snapshot, Snapshot> {
        self.step(|now| (now.phase() == VALUE).then_some(TAKEN))
    }

    /// Anyone, with the lock held: sets `HEARD`. If the answer is done, nobody will look at the list.
    pub(super) fn listen(&self) -> Snapshot {
        Snapshot(self.0.fetch_or(HEARD, Ordering::AcqRel))
    }

    /// As `listen`, for a done callback.
    pub(super) fn listen_back(&self) -> Snapshot {
        Snapshot(self.0.fetch_or(HEARD | CALLBACKS, Ordering::AcqRel))
    }

    /// Completer, with the lock held: sets `HOOKED`, and `HEARD`, for the hook stands in the list.
    pub(super) fn hook(&self) -> Snapshot {
        Snapshot(self.0.fetch_or(HOOKED | HEARD, Ordering::AcqRel))
    }

    /// Anyone: claims the notifier cell. False if it is claimed already.
    #[must_use]
    pub(super) fn claim_notifier(&self) -> bool {
        self.0.fetch_or(CLAIMED, Ordering::Acquire) & CLAIMED == 0
    }

    /// By whom `claim_notifier` gave the cell: hands it over. If the answer is done, it stays.
    #[must_use]
    pub(super) fn publish_notifier(&self) -> Snapshot {
        Snapshot(self.0.fetch_or(NOTIFIER, Ordering::AcqRel))
    }

    /// Moves the phase as `next` says, leaving the flags; the word before, on success.
    fn step(&self, next: impl Fn(Snapshot) -> Option<u32>) -> Result<Snapshot, Snapshot> {
        let mut now = self.0.load(Ordering::Acquire);
        loop {
            let Some(phase) = next(Snapshot(now)) else { return Err(Snapshot(now)) };
            let new = now & !PHASE | phase;
            match self.0.compare_exchange_weak(now, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(before) => return Ok(Snapshot(before)),
                Err(other) => now = other,
            }
        }
    }
}

impl Snapshot {
    fn phase(self) -> u32 {
        self.0 & PHASE
    }

    pub(super) fn is_queued(self) -> bool {
        self.phase() == QUEUED
    }

    /// At work: running, or just storing the outcome.
    pub(super) fn is_running(self) -> bool {
        matches!(self.phase(), RUNNING | STORING)
    }

    pub(super) fn is_done(self) -> bool {
        self.phase() > STORING
    }

    pub(super) fn is_cancelled(self) -> bool {
        self.phase() == CANCELLED
    }

    /// Done with something else than a value, so that the outcome cell may be read.
    pub(super) fn is_error(self) -> bool {
        matches!(self.phase(), FAILED | CANCELLED)
    }

    /// The notifier cell is filled.
    pub(super) fn has_notifier(self) -> bool {
        self.0 & NOTIFIER != 0
    }

    /// The list under the lock has callbacks.
    pub(super) fn has_callbacks(self) -> bool {
        self.0 & CALLBACKS != 0
    }

    /// The list under the lock is to be served.
    pub(super) fn is_heard(self) -> bool {
        self.0 & HEARD != 0
    }
}
