//! The operations in flight: where they live, and for how long.
//!
//! Invariants this file keeps:
//!
//! * a slot never moves: slots lie in pages that are never reallocated, so the kernel may hold pointers into
//!   one (its scratch, its operation's buffer) from submission to final completion;
//! * a slot is freed only after its final completion (**B2**): whoever waited for the result may be dropped or
//!   forgotten, the slot then belongs to nobody, and the completion disposes of it;
//! * a key carries a generation, so a late event misses instead of hitting a stranger;
//! * a table dropped while operations are in flight leaks their pages on purpose: closing a ring does not wait
//!   for the kernel's writes into user memory, so freeing would be a use after free by the kernel.

use std::cell::{OnceCell, UnsafeCell};
use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::rc::{Rc, Weak};
use std::task::Waker;

use crate::op::{Op, Outcome};

/// Slots of a page. A page of 64 is some 9 KiB: an idle loop holds one or none.
const PAGE: usize = 64;

/// No slot.
const NONE: u64 = u64::MAX;

/// Names one operation. Fits into 64 bits, as kernels like it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OpKey {
    index: u32,
    generation: u32,
}

impl OpKey {
    /// As one number, for a completion queue's user data.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// Back from the number.
    #[must_use]
    pub const fn from_u64(bits: u64) -> Self {
        Self { index: bits as u32, generation: (bits >> 32) as u32 }
    }
}

/// Memory beside an operation that the kernel may read and write while it is in flight.
#[derive(Debug)]
pub struct Scratch {
    /// A message header.
    pub message: MaybeUninit<libc::msghdr>,
    /// The header's one vector.
    pub vector: MaybeUninit<libc::iovec>,
}

/// Where an operation's outcome goes. Backends do not see this.
#[derive(Default)]
pub(crate) enum Target {
    /// To nobody: whoever waited is gone, and the outcome is disposed of.
    #[default]
    Nobody,
    /// To a future that waits.
    Future { waker: Option<Waker>, result: Option<io::Result<Outcome>> },
    /// To a transport, a server or a watch.
    Sink(Rc<dyn crate::driver::Sink>),
    /// To one that may be let go of while it waits: a connection that is not reading.
    Loose(Weak<dyn crate::driver::Sink>),
}

struct Slot {
    generation: u32,
    in_flight: bool,
    /// Nobody waits for its outcome: see [`OpTable::is_patient`].
    patient: bool,
    /// Nothing else is submitted with it: see [`OpTable::is_lone`].
    lone: bool,
    /// The backend's own note about the operation. Without one: the next free slot, and [`NONE`] after the last.
    note: u64,
    op: Option<Op>,
    target: Target,
    /// Made when an operation in this slot first wants it, and kept for those that follow.
    scratch: OnceCell<Box<UnsafeCell<Scratch>>>,
}

impl Slot {
    fn new() -> Self {
        Self {
            generation: 0,
            in_flight: false,
            patient: false,
            lone: false,
            note: NONE,
            op: None,
            target: Target::Nobody,
            scratch: OnceCell::new(),
        }
    }
}

/// The operations of one loop, by key. Made and filled by the loop, interpreted by its backend.
#[derive(Default)]
pub struct OpTable {
    pages: Vec<Box<[Slot]>>,
    free: Option<u32>,
    live: usize,
    in_flight: usize,
    /// Somebody came to wait for an operation that was patient.
    haste: bool,
}

impl OpTable {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The operations that somebody awaits.
    pub(crate) fn each_awaited(&self, mut each: impl FnMut(&Op, &Waker)) {
        for slot in self.pages.iter().flatten() {
            if let (Some(op), Target::Future { waker: Some(waker), .. }) = (&slot.op, &slot.target) {
                each(op, waker);
            }
        }
    }

    /// How many operations the table holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// How many are with the backend: queued, and not yet finally completed.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The operation, if it is still there.
    #[must_use]
    pub fn get(&self, key: OpKey) -> Option<&Op> {
        self.slot(key)?.op.as_ref()
    }

    /// The operation, if it is still there.
    pub fn get_mut(&mut self, key: OpKey) -> Option<&mut Op> {
        self.slot_mut(key)?.op.as_mut()
    }

    /// The backend's own note about the operation: 0 at first, any value after.
    pub fn note_mut(&mut self, key: OpKey) -> Option<&mut u64> {
        Some(&mut self.slot_mut(key)?.note)
    }

    /// Where the operation's scratch memory lies; it stays there until the final completion.
    #[must_use]
    pub fn scratch(&self, key: OpKey) -> Option<*mut Scratch> {
        let scratch = self.slot(key)?.scratch.get_or_init(|| {
            let (message, vector) = (MaybeUninit::zeroed(), MaybeUninit::zeroed());
            Box::new(UnsafeCell::new(Scratch { message, vector }))
        });
        Some(scratch.get())
    }

    /// The operations that are with the backend.
    pub fn keys_in_flight(&self) -> impl Iterator<Item = OpKey> {
        let slots = self.pages.iter().flat_map(|page| page.iter()).enumerate();
        slots.filter(|(_, slot)| slot.in_flight).map(|(index, slot)| OpKey {
            index: u32::try_from(index).expect("fewer than 2^32 operations"),
            generation: slot.generation,
        })
    }

    /// Whether the success of this operation may be told late: nobody waits for it, so a wait need not end for its sake, and
    /// it is told with whatever ends the wait. Failure is told at once. Only sends are patient.
    #[must_use]
    pub fn is_patient(&self, key: OpKey) -> bool {
        self.slot(key).is_some_and(|slot| slot.patient)
    }

    /// Whether nothing else is about to be submitted with this operation, as far as the loop can tell: a backend that gathers
    /// what it is given has nothing to gather then.
    #[must_use]
    pub fn is_lone(&self, key: OpKey) -> bool {
        self.slot(key).is_some_and(|slot| slot.lone)
    }

    /// Whether somebody has come to wait for an operation that was patient when it was submitted, since this was last asked:
    /// the next poll does not wait until such have been told.
    #[must_use]
    pub fn take_haste(&mut self) -> bool {
        std::mem::take(&mut self.haste)
    }

    /// Nobody waits for this one.
    pub(crate) fn set_patient(&mut self, key: OpKey) {
        if let Some(slot) = self.slot_mut(key) {
            slot.patient = true;
        }
    }

    /// Nothing else is submitted with this one.
    pub(crate) fn set_lone(&mut self, key: OpKey) {
        if let Some(slot) = self.slot_mut(key) {
            slot.lone = true;
        }
    }

    /// Somebody waits for this one after all.
    pub(crate) fn hurry(&mut self, key: OpKey) {
        if let Some(slot) = self.slot_mut(key)
            && std::mem::take(&mut slot.patient)
        {
            self.haste = true;
        }
    }

    pub(crate) fn insert(&mut self, op: Op, target: Target) -> OpKey {
        let index = self.free.unwrap_or_else(|| self.grow());
        let slot = self.at(index);
        let generation = slot.generation;
        let next = u32::try_from(slot.note).ok();
        slot.op = Some(op);
        slot.target = target;
        slot.note = 0;
        slot.patient = false;
        slot.lone = false;
        self.free = next;
        self.live += 1;
        OpKey { index, generation }
    }

    /// The backend took the operation: from here on its memory stays until the final completion.
    pub(crate) fn set_in_flight(&mut self, key: OpKey) {
        if let Some(slot) = self.slot_mut(key)
            && !slot.in_flight
        {
            slot.in_flight = true;
            self.in_flight += 1;
        }
    }

    /// The final completion arrived: the backend is done with the memory.
    pub(crate) fn set_landed(&mut self, key: OpKey) {
        if let Some(slot) = self.slot_mut(key)
            && slot.in_flight
        {
            slot.in_flight = false;
            self.in_flight -= 1;
        }
    }

    pub(crate) fn is_in_flight(&self, key: OpKey) -> bool {
        self.slot(key).is_some_and(|slot| slot.in_flight)
    }

    pub(crate) fn target_mut(&mut self, key: OpKey) -> Option<&mut Target> {
        Some(&mut self.slot_mut(key)?.target)
    }

    /// Takes out an operation that is not in flight.
    pub(crate) fn remove(&mut self, key: OpKey) -> Option<(Op, Target)> {
        let free = self.free;
        let slot = self.slot_mut(key)?;
        assert!(!slot.in_flight, "an operation is removed only after its final completion");
        let op = slot.op.take()?;
        let target = std::mem::take(&mut slot.target);
        // A slot whose generations are used up is retired rather than wrapped.
        if let Some(next) = slot.generation.checked_add(1) {
            slot.generation = next;
            slot.note = free.map_or(NONE, u64::from);
            self.free = Some(key.index);
        }
        self.live -= 1;
        Some((op, target))
    }

    /// Lets go of every target, so that what waits for operations can be dropped; the operations stay.
    pub(crate) fn take_targets(&mut self) -> Vec<Target> {
        let slots = self.pages.iter_mut().flat_map(|page| page.iter_mut());
        slots.filter(|slot| slot.op.is_some()).map(|slot| std::mem::take(&mut slot.target)).collect()
    }

    fn grow(&mut self) -> u32 {
        let first = u32::try_from(self.pages.len() * PAGE).expect("fewer than 2^32 operations");
        let mut page: Vec<Slot> = (0..PAGE).map(|_| Slot::new()).collect();
        for (place, slot) in page.iter_mut().enumerate().take(PAGE - 1) {
            slot.note = u64::from(first) + place as u64 + 1;
        }
        self.pages.push(page.into_boxed_slice());
        first
    }

    fn at(&mut self, index: u32) -> &mut Slot {
        &mut self.pages[index as usize / PAGE][index as usize % PAGE]
    }

    fn slot(&self, key: OpKey) -> Option<&Slot> {
        let slot = self.pages.get(key.index as usize / PAGE)?.get(key.index as usize % PAGE)?;
        (slot.generation == key.generation && slot.op.is_some()).then_some(slot)
    }

    fn slot_mut(&mut self, key: OpKey) -> Option<&mut Slot> {
        let slot = self.pages.get_mut(key.index as usize / PAGE)?.get_mut(key.index as usize % PAGE)?;
        (slot.generation == key.generation && slot.op.is_some()).then_some(slot)
    }
}

impl Drop for OpTable {
    fn drop(&mut self) {
        if self.in_flight == 0 {
            return;
        }
        tracing::warn!(operations = self.in_flight, "operations still in flight at close: their memory is leaked");
        for page in self.pages.drain(..) {
            if page.iter().any(|slot| slot.in_flight) {
                std::mem::forget(page);
            }
        }
    }
}

impl fmt::Debug for OpTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpTable").field("live", &self.live).field("in_flight", &self.in_flight).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fd::FdKey;

    fn op() -> Op {
        Op::Accept { fd: FdKey::new(0, 0) }
    }

    #[test]
    fn slots_never_move() {
        let mut table = OpTable::new();
        let first = table.insert(op(), Target::Nobody);
        let place = table.scratch(first).unwrap();
        for _ in 0..10 * PAGE {
            table.insert(op(), Target::Nobody);
        }
        assert_eq!(table.scratch(first).unwrap(), place);
        assert_eq!(table.len(), 10 * PAGE + 1);
    }

    #[test]
    fn a_late_key_misses() {
        let mut table = OpTable::new();
        let first = table.insert(op(), Target::Nobody);
        table.set_in_flight(first);
        table.set_landed(first);
        assert!(table.remove(first).is_some());
        let second = table.insert(op(), Target::Nobody);
        assert_ne!(first, second);
        assert!(table.get(first).is_none());
        assert!(table.remove(first).is_none());
        assert_eq!(OpKey::from_u64(second.to_u64()), second);
    }

    #[test]
    fn what_is_in_flight_is_known() {
        let mut table = OpTable::new();
        let keys: Vec<OpKey> = (0..3).map(|_| table.insert(op(), Target::Nobody)).collect();
        table.set_in_flight(keys[1]);
        table.set_in_flight(keys[1]);
        assert_eq!(table.keys_in_flight().collect::<Vec<_>>(), [keys[1]]);
        assert_eq!(table.in_flight(), 1);
        table.set_landed(keys[1]);
        assert_eq!(table.in_flight(), 0);
    }
}
