//! The unfinished tasks of a loop: a list through the tasks themselves, in the order of creation.

use std::cell::Cell;

use crate::task::header::{Flag, TaskPtr};

#[derive(Default)]
pub(crate) struct TaskList {
    first: Cell<Option<TaskPtr>>,
    last: Cell<Option<TaskPtr>>,
}

impl TaskList {
    /// Adds a task at the end, unless it is listed.
    ///
    /// # Safety
    ///
    /// The task is alive and stays so until it is removed.
    pub(crate) unsafe fn add(&self, task: TaskPtr) {
        // SAFETY: the caller's, for this task and for those in the list.
        unsafe {
            let header = task.as_ref();
            if header.local.has(Flag::Listed) {
                return;
            }
            header.local.set(Flag::Listed);
            header.previous.set(self.last.get());
            header.next.set(None);
            match self.last.replace(Some(task)) {
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
        // SAFETY: the caller's; neighbours are listed, hence alive.
        unsafe {
            let header = task.as_ref();
            if !header.local.has(Flag::Listed) {
                return;
            }
            header.local.clear(Flag::Listed);
            let (previous, next) = (header.previous.take(), header.next.take());
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
