//! Who waits: every queued operation, in lines of one descriptor and direction.
//!
//! The lines are linked through one slab, so that queueing an operation allocates nothing once the slab has
//! grown, and leaving from the middle costs as little as from the front. An operation finds its waiter through
//! its note in the [`OpTable`]; the note outlives the waiter, so it is stamped [`GONE`] on leaving.
//!
//! Invariants: a waiter is in exactly one line; its operation's note names it; nobody else's does.

use loop_core::{FdKey, Interest, OpKey, OpTable};

/// The note of an operation that has left its line.
const GONE: u64 = u64::MAX;

/// No waiter.
const NONE: u32 = u32::MAX;

/// A place in the slab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WaiterId(u32);

/// Which of a descriptor's lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// Operations that move something: only the first may go on, so they keep their order.
    Transfer(Interest),
    /// Operations that only look: all may go on at once.
    Watch(Interest),
}

/// An operation that waits.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) op: OpKey,
    pub(crate) fd: FdKey,
    pub(crate) line: Line,
    /// A resume was scheduled or reported, and `resume` has not been called since.
    pub(crate) announced: bool,
    /// It is noted for the next poll to report, if it is announced then.
    pub(crate) noted: bool,
    /// Connect: the system call was made, what remains is to hear how it ended.
    pub(crate) connecting: bool,
    before: u32,
    behind: u32,
}

/// The ends of one line.
#[derive(Debug)]
pub(crate) struct Queue {
    first: u32,
    last: u32,
}

impl Queue {
    pub(crate) const fn new() -> Self {
        Self { first: NONE, last: NONE }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.first == NONE
    }

    pub(crate) fn first(&self) -> Option<WaiterId> {
        (self.first != NONE).then_some(WaiterId(self.first))
    }
}

/// All waiters of a backend.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    slab: Vec<Waiter>,
    free: Vec<u32>,
}

impl Waiting {
    /// Puts an operation at the end of a line.
    pub(crate) fn push(
        &mut self,
        ops: &mut OpTable,
        queue: &mut Queue,
        (op, fd, line): (OpKey, FdKey, Line),
        connecting: bool,
    ) -> WaiterId {
        let waiter =
            Waiter { op, fd, line, announced: false, noted: false, connecting, before: queue.last, behind: NONE };
        let id = if let Some(id) = self.free.pop() {
            self.slab[id as usize] = waiter;
            id
        } else {
            let id = u32::try_from(self.slab.len()).expect("fewer than 2^32 operations");
            self.slab.push(waiter);
            id
        };
        match queue.last {
            NONE => queue.first = id,
            last => self.slab[last as usize].behind = id,
        }
        queue.last = id;
        if let Some(note) = ops.note_mut(op) {
            *note = u64::from(id) + 1;
        }
        WaiterId(id)
    }

    /// Takes a waiter out of its line, wherever it stands.
    pub(crate) fn leave(&mut self, ops: &mut OpTable, queue: &mut Queue, id: WaiterId) {
        let Waiter { op, before, behind, .. } = self.slab[id.0 as usize];
        match before {
            NONE => queue.first = behind,
            before => self.slab[before as usize].behind = behind,
        }
        match behind {
            NONE => queue.last = before,
            behind => self.slab[behind as usize].before = before,
        }
        self.free.push(id.0);
        if let Some(note) = ops.note_mut(op) {
            *note = GONE;
        }
    }

    /// The waiter of an operation, if it is waiting.
    pub(crate) fn of(&self, ops: &mut OpTable, op: OpKey) -> Option<WaiterId> {
        let id = match *ops.note_mut(op)? {
            0 | GONE => return None,
            note => WaiterId((note - 1) as u32),
        };
        debug_assert_eq!(self.slab[id.0 as usize].op, op, "a note names its own waiter");
        Some(id)
    }

    /// A note is taken up: whether there is still something to report.
    pub(crate) fn take_note(&mut self, id: WaiterId) -> bool {
        let waiter = self.get_mut(id);
        waiter.noted = false;
        waiter.announced
    }

    /// The one behind, in the same line.
    pub(crate) fn behind(&self, id: WaiterId) -> Option<WaiterId> {
        let behind = self.slab[id.0 as usize].behind;
        (behind != NONE).then_some(WaiterId(behind))
    }

    pub(crate) fn get(&self, id: WaiterId) -> &Waiter {
        &self.slab[id.0 as usize]
    }

    pub(crate) fn get_mut(&mut self, id: WaiterId) -> &mut Waiter {
        &mut self.slab[id.0 as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(waiting: &Waiting, queue: &Queue) -> Vec<u64> {
        let mut seen = Vec::new();
        let mut next = queue.first();
        while let Some(id) = next {
            seen.push(waiting.get(id).op.to_u64());
            next = waiting.behind(id);
        }
        seen
    }

    #[test]
    fn whoever_leaves_the_others_keep_their_order() {
        let (mut waiting, mut queue, mut ops) = (Waiting::default(), Queue::new(), OpTable::new());
        let place = |op| (OpKey::from_u64(op), FdKey::new(0, 0), Line::Watch(Interest::Read));
        let ids = [1, 2, 3, 4].map(|op| waiting.push(&mut ops, &mut queue, place(op), false));
        assert_eq!(line(&waiting, &queue), [1, 2, 3, 4]);
        waiting.leave(&mut ops, &mut queue, ids[1]);
        assert_eq!(line(&waiting, &queue), [1, 3, 4]);
        waiting.leave(&mut ops, &mut queue, ids[3]);
        waiting.push(&mut ops, &mut queue, place(5), false);
        assert_eq!(line(&waiting, &queue), [1, 3, 5]);
        waiting.leave(&mut ops, &mut queue, ids[0]);
        waiting.leave(&mut ops, &mut queue, ids[2]);
        assert_eq!(line(&waiting, &queue), [5]);
        assert_eq!(waiting.slab.len(), 4, "places are used again");
    }
}
