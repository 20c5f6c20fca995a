//! What the loop's own thread knows of a task: flags, and plain counts.

use std::cell::Cell;

/// What the loop's own thread works with: plain numbers.
pub(crate) struct Local {
    flags: Flags,
    /// What the stage holds.
    pub(super) held: Cell<Held>,
    /// Holds taken on the loop's thread, less those given up there: see `state`.
    pub(crate) holds: Cell<i32>,
    /// Handles of the task; together they are one of the holders.
    pub(crate) handles: Cell<u32>,
    /// Cancellation requests that were not taken back (asyncio: `cancelling`).
    pub(crate) cancelling: Cell<u32>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Held {
    #[default]
    Coroutine,
    Outcome,
    Nothing,
}

/// A flag of [`Local`].
#[derive(Clone, Copy)]
#[repr(u16)]
pub(crate) enum Flag {
    // Those that every step looks at, and every task comes to have:
    /// In the ready queue.
    Scheduled = 1,
    /// In its step.
    Running = 1 << 1,
    /// It ended; the outcome is there, or was taken.
    Done = 1 << 2,
    /// Its coroutine was polled at least once.
    Started = 1 << 3,
    /// In the loop's list of unfinished tasks.
    Listed = 1 << 4,
    /// It is ending: its coroutine's destructors may run.
    Ending = 1 << 5,
    /// The loop does not hold it any more: holders are counted by the state alone.
    Merged = 1 << 6,
    /// The loop was closed before the task ended: it stays pending for ever, without its coroutine.
    Orphaned = 1 << 7,
    // And others:
    /// A cancellation request stands: nobody has taken it yet.
    Cancel = 1 << 8,
    /// The request was raised during the step that runs now; awaits before it did not see it, so the next step
    /// shows it to all of them.
    Fresh = 1 << 9,
    /// The outcome is a cancellation.
    Cancelled = 1 << 10,
    /// Somebody looked at the outcome: a failure is not reported as never retrieved.
    Retrieved = 1 << 11,
    /// A stand-in for a future that `run_until_complete` was given: not a task that anyone asked for.
    Hidden = 1 << 12,
    /// The error that it ends with is in the extras.
    Failing = 1 << 13,
    /// It has a span.
    Traced = 1 << 14,
    /// It has extras, or had some.
    Extras = 1 << 15,
}

/// Bytes, as single bits are changed by the byte: a wider look at what was changed a moment ago would wait for it to leave for
/// memory.
struct Flags([Cell<u8>; 2]);

impl Flags {
    #[inline(always)]
    fn new<const N: usize>(flags: [Flag; N]) -> Self {
        Self(Self::masks(flags).map(Cell::new))
    }

    #[inline(always)]
    fn masks<const N: usize>(flags: [Flag; N]) -> [u8; 2] {
        flags.iter().fold(0, |all, flag| all | *flag as u16).to_le_bytes()
    }

    #[inline(always)]
    fn has_any<const N: usize>(&self, flags: [Flag; N]) -> bool {
        std::iter::zip(&self.0, Self::masks(flags)).any(|(byte, mask)| mask != 0 && byte.get() & mask != 0)
    }

    #[inline(always)]
    fn change<const N: usize, const M: usize>(&self, cleared: [Flag; N], set: [Flag; M]) {
        let (cleared, set) = (Self::masks(cleared), Self::masks(set));
        for ((byte, cleared), set) in self.0.iter().zip(cleared).zip(set) {
            if cleared | set != 0 {
                byte.set(byte.get() & !cleared | set);
            }
        }
    }
}

impl Local {
    /// Of a task that has its coroutine, and is held by its loop and by one handle.
    #[inline(always)]
    pub(crate) fn new<const N: usize>(flags: [Flag; N]) -> Self {
        Self {
            flags: Flags::new(flags),
            held: Cell::default(),
            holds: Cell::new(2),
            handles: Cell::new(1),
            cancelling: Cell::new(0),
        }
    }

    #[inline(always)]
    pub(crate) fn has(&self, flag: Flag) -> bool {
        self.flags.has_any([flag])
    }

    #[inline(always)]
    pub(crate) fn set(&self, flag: Flag) {
        self.flags.change([], [flag]);
    }

    #[inline(always)]
    pub(crate) fn clear(&self, flag: Flag) {
        self.flags.change([flag], []);
    }

    /// Whether one of these stands.
    #[inline(always)]
    pub(crate) fn has_any<const N: usize>(&self, flags: [Flag; N]) -> bool {
        self.flags.has_any(flags)
    }

    /// Some go and some come, at once.
    #[inline(always)]
    pub(crate) fn change<const N: usize, const M: usize>(&self, cleared: [Flag; N], set: [Flag; M]) {
        self.flags.change(cleared, set);
    }
}

impl Local {
    /// There is neither a coroutine nor an outcome.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.get() == Held::Nothing
    }

    /// The outcome that `lend` gave is in its place, unless it was never there.
    pub(crate) fn give_back(&self) {
        self.held.set(Held::Outcome);
    }
}
