//! The ready queue: what runs next, first in, first out.
//!
//! A queue of plain entries behind one cell. Nothing here runs user code: entries are pushed and popped, and an
//! entry that is dropped is dropped by the caller, outside (**I2**).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;

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
    /// The result of another thread, by its token.
    Job(usize),
}

#[derive(Default)]
pub(crate) struct ReadyQueue(RefCell<VecDeque<Ready>>);

impl ReadyQueue {
    pub(crate) fn push(&self, entry: Ready) {
        self.0.borrow_mut().push_back(entry);
    }

    pub(crate) fn pop(&self) -> Option<Ready> {
        self.0.borrow_mut().pop_front()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Everything, for the caller to drop.
    pub(crate) fn take(&self) -> VecDeque<Ready> {
        self.0.take()
    }
}
