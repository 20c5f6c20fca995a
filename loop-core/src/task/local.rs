//! What the loop's own thread knows of a task: flags, and plain counts.

use std::cell::Cell;

/// What the loop's own thread works with: plain numbers.
pub(crate) struct Local {
    flags: Flags,
    /// What the stage holds.
    pub(super) held: Cell<Held>,
    /// Cancellation requests that were not taken back, if they are fewer than [`MANY`].
    few_cancelling: Cell<u8>,
    /// Holds taken on the loop's thread, less those given up there: see `state`.
    holds: Cell<i8>,
    /// Handles of the task; together they are one of the holders. Where they are many, the extras have most of them.
    handles: Cell<u8>,
}

/// So many handles are moved to the extras, or back, at once.
pub(super) const MOVED: u8 = 1 << 7;

/// As many cancellation requests, or more, are counted in the extras.
const MANY: u8 = u8::MAX;

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
    /// Among the loop's unfinished tasks.
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
            few_cancelling: Cell::new(0),
            holds: Cell::new(2),
            handles: Cell::new(1),
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
    /// One holder more. False where there is no number for it any more: see [`counted`](Self::counted).
    #[inline(always)]
    #[must_use]
    pub(super) fn hold(&self) -> bool {
        self.holds.get().checked_add(1).map(|holds| self.holds.set(holds)).is_some()
    }

    /// One holder less, likewise.
    #[inline(always)]
    #[must_use]
    pub(super) fn release(&self) -> bool {
        self.holds.get().checked_sub(1).map(|holds| self.holds.set(holds)).is_some()
    }

    /// How many holders more than none there are, as far as is known here; they may be fewer than none.
    #[inline(always)]
    pub(super) fn counted(&self) -> i32 {
        self.holds.get().into()
    }

    /// As if so many had been made here and given up elsewhere, or the other way round, but for one.
    #[cfg(all(test, feature = "testing", not(loom)))]
    pub(super) fn drift(&self, up: bool) -> i32 {
        let before = self.counted();
        self.holds.set(if up { i8::MAX } else { i8::MIN });
        self.counted() - before
    }

    /// The state has taken over what was counted: from zero again.
    pub(super) fn count_anew(&self) {
        self.holds.set(0);
    }

    /// Whether there is any handle.
    #[inline(always)]
    pub(super) fn has_handles(&self) -> bool {
        self.handles.get() > 0
    }

    /// One handle more. False where there is no number for it: some are to be moved elsewhere before.
    #[must_use]
    pub(super) fn add_handle(&self) -> bool {
        self.handles.get().checked_add(1).map(|handles| self.handles.set(handles)).is_some()
    }

    /// One handle less. True: there is none left here.
    #[inline(always)]
    #[must_use]
    pub(super) fn drop_handle(&self) -> bool {
        let left = self.handles.get() - 1;
        self.handles.set(left);
        left == 0
    }

    /// So many handles are counted elsewhere from now on.
    pub(super) fn give_handles(&self) {
        self.handles.set(self.handles.get() - MOVED);
    }

    /// So many that were counted elsewhere are counted here again.
    pub(super) fn take_handles(&self) {
        self.handles.set(self.handles.get() + MOVED);
    }

    /// How many cancellation requests were not taken back; none where they are so many that the extras have the number.
    pub(super) fn few_cancelling(&self) -> Option<u32> {
        Some(self.few_cancelling.get()).filter(|few| *few != MANY).map(u32::from)
    }

    /// False where the number is for the extras.
    #[must_use]
    pub(super) fn set_few_cancelling(&self, count: u32) -> bool {
        self.few_cancelling.set(u8::try_from(count).unwrap_or(MANY));
        count < u32::from(MANY)
    }

    /// There is neither a coroutine nor an outcome.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.get() == Held::Nothing
    }

    /// The outcome that `lend` gave is in its place, unless it was never there.
    pub(crate) fn give_back(&self) {
        self.held.set(Held::Outcome);
    }
}
