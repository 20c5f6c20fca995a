//! The ready queue: what runs next, first in, first out.
//!
//! A queue of plain entries behind one cell. Nothing here runs user code: entries are pushed and popped, and an
//! entry that is dropped is dropped by the caller, outside (**I2**). So the queue is never entered twice, which is why it is
//! looked at without a borrow flag: each entry goes through here twice.

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;

use crate::concurrent::Arrived;
use crate::handle::Handle;
use crate::task::{LocalWaker, Scheduled};
use crate::watch::Watch;

/// One entry.
pub(crate) enum Ready {
    /// A step of a task.
    Task(Scheduled),
    /// A callback, ours or a foreign one.
    Handle(Rc<dyn Handle>),
    /// A task whose timer came: its step is queued at its turn, as by any other wake.
    Sleeper(LocalWaker),
    /// Somebody else whose timer came.
    Wake(Waker),
    /// The oldest completion that was not looked at yet.
    Completion,
    /// A reader or writer whose descriptor was found ready.
    Watch(Rc<Watch>),
    /// The outcome of another thread's work.
    Job(Arrived),
}

#[derive(Default)]
pub(crate) struct ReadyQueue(UnsafeCell<VecDeque<Ready>>);

impl ReadyQueue {
    #[inline]
    fn with<R>(&self, f: impl FnOnce(&mut VecDeque<Ready>) -> R) -> R {
        // SAFETY: of one thread, as the cell is, and this is private: the functions below call nothing but the queue, which
        // drops no entry.
        f(unsafe { &mut *self.0.get() })
    }

    #[inline]
    pub(crate) fn push(&self, entry: Ready) {
        self.with(|queue| queue.push_back(entry));
    }

    #[inline]
    pub(crate) fn pop(&self) -> Option<Ready> {
        self.with(VecDeque::pop_front)
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.with(|queue| queue.len())
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.with(|queue| queue.is_empty())
    }

    /// Everything, for the caller to drop.
    pub(crate) fn take(&self) -> VecDeque<Ready> {
        self.with(std::mem::take)
    }
}
