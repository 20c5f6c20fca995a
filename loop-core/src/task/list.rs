//! The unfinished tasks of a loop: a list through the tasks themselves, in the order of creation. The links of a task that is not
//! in it mean nothing.

use std::cell::Cell;

use crate::task::header::TaskPtr;
use crate::task::local::Flag;

#[derive(Default)]
pub(crate) struct TaskList {
    first: Cell<Option<TaskPtr>>,
    last: Cell<Option<TaskPtr>>,
}

impl TaskList {
    /// Adds a task at the end: one that is not in the list, but said to be.
    ///
    /// # Safety
    ///
    /// The task is alive and stays so until it is removed.
    #[inline(always)]
    pub(crate) unsafe fn append(&self, task: TaskPtr) {
        // SAFETY: the caller's, for this task and for those in the list.
        unsafe {
            let header = task.as_ref();
            let last = self.last.replace(Some(task));
            header.previous.set(last);
            header.next.set(None);
            match last {
                Some(last) => last.as_ref().next.set(Some(task)),
                None => self.first.set(Some(task)),
            }
        }
    }

    /// Takes a task off, if it is listed.
    ///
    /// # Safety
    ///
    /// The task is alive.
    pub(crate) unsafe fn remove(&self, task: TaskPtr) {
        // SAFETY: the caller's.
        unsafe {
            let local = &task.as_ref().local;
            if local.has(Flag::Listed) {
                local.clear(Flag::Listed);
                self.unlink(task);
            }
        }
    }

    /// Takes off one that is listed, though it may not be said to be any more.
    ///
    /// # Safety
    ///
    /// The task is alive, and in the list.
    #[inline(always)]
    pub(crate) unsafe fn unlink(&self, task: TaskPtr) {
        // SAFETY: the caller's; neighbours are listed, hence alive.
        unsafe {
            let header = task.as_ref();
            let (previous, next) = (header.previous.get(), header.next.get());
            match previous {
                Some(previous) => previous.as_ref().next.set(next),
                None => self.first.set(next),
            }
            match next {
                Some(next) => next.as_ref().previous.set(previous),
                None => self.last.set(previous),
            }
        }
    }

    pub(crate) fn first(&self) -> Option<TaskPtr> {
        self.first.get()
    }

    /// Every task, oldest first. The list must not change meanwhile.
    pub(crate) fn iter(&self) -> impl Iterator<Item = TaskPtr> {
        // SAFETY: listed tasks are alive.
        std::iter::successors(self.first.get(), |task| unsafe { task.as_ref() }.next.get())
    }
}
