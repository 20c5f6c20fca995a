//! One step of a task, and how a task ends.
//!
//! A step polls the coroutine once, in the task's context. If a cancellation request stood when the step began and
//! still stands when the coroutine suspends, nobody took it: the coroutine is dropped, here, on the loop's thread,
//! and the task is cancelled. A coroutine that returns with a request standing is cancelled too; one that was never
//! started is not polled for it. A panic is the task's outcome; a fatal one is stored *and* leaves the loop.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use tracing::span::EnteredSpan;

use crate::context::{self, Snapshot};
use crate::error::{Panicked, TaskError};
use crate::exception::{ExceptionContext, Finally, is_fatal};
use crate::inner::Inner;
use crate::task::header::{Header, TaskPtr};
use crate::task::local::Flag;
use crate::task::{Scheduled, TaskRef};

/// The task whose step runs, restored when the step ends in whatever way.
struct Current<'a> {
    inner: &'a Inner,
    before: Option<TaskPtr>,
}

impl<'a> Current<'a> {
    fn enter(inner: &'a Inner, task: TaskPtr) -> Self {
        Self { inner, before: inner.current_task.replace(Some(task)) }
    }
}

impl Drop for Current<'_> {
    fn drop(&mut self) {
        self.inner.current_task.set(self.before);
    }
}

/// What makes a task's step more than a poll of its coroutine.
const SPECIAL: [Flag; 4] = [Flag::Cancel, Flag::Failing, Flag::Traced, Flag::Extras];

impl Inner {
    /// Runs one step of a task that came out of the ready queue. Nearly always there is nothing to it but the coroutine.
    #[inline(always)]
    pub(crate) fn step(self: &Rc<Self>, scheduled: Scheduled) {
        let task = scheduled.as_task();
        // SAFETY: a scheduled task is held by the loop at least until its step.
        let header = unsafe { task.as_ref() };
        let local = &header.local;
        if local.has_any(SPECIAL) || local.has_any([Flag::Done, Flag::Ending]) || context::is_set() {
            return self.special_step(scheduled);
        }
        std::mem::forget(scheduled);
        local.change([Flag::Scheduled], [Flag::Started, Flag::Running]);
        let before = self.current_task.replace(Some(task));
        // SAFETY: the task is held by the loop for this step, and this is its thread.
        let is_over = match catch_unwind(AssertUnwindSafe(|| unsafe { Header::poll(task) })) {
            Ok(is_over) => is_over,
            Err(payload) => return self.became_special(task, before, Err(payload)),
        };
        if local.has_any(SPECIAL) || context::is_set() {
            return self.became_special(task, before, Ok(is_over));
        }
        self.current_task.set(before);
        local.clear(Flag::Running);
        if is_over {
            self.finish_plainly(task);
        }
    }

    /// A step that began as a plain one ends.
    #[cold]
    #[inline(never)]
    fn became_special(self: &Rc<Self>, task: TaskPtr, before: Option<TaskPtr>, result: std::thread::Result<bool>) {
        let current = Current { inner: self, before };
        // SAFETY: as above.
        let header = unsafe { task.as_ref() };
        Scoped { before: None, span: None }.leave(header);
        drop(current);
        self.step_is_over(task, result);
    }

    /// One step of a task, whatever there is to it.
    #[inline(never)]
    pub(crate) fn special_step(self: &Rc<Self>, scheduled: Scheduled) {
        let task = scheduled.into_task();
        // SAFETY: as above.
        let local = unsafe { &task.as_ref().local };
        if !local.has_any([Flag::Done, Flag::Ending]) {
            return self.run_step(task);
        }
        local.clear(Flag::Scheduled);
        if local.has(Flag::Done) {
            // It ended while it was in the queue: the hold that the loop kept for that goes now.
            // SAFETY: the loop's hold, given up once: the flag was set.
            unsafe { super::let_go(task) };
        }
        // Else it is ending: a destructor of its coroutine runs the loop, and its end gives the hold up.
    }

    /// The first step of a task that nobody has queued, within whatever runs now.
    pub(crate) fn step_now(self: &Rc<Self>, task: &TaskRef) {
        self.run_step(task.as_ptr());
    }

    /// The task is held, not done, and not in its step.
    fn run_step(self: &Rc<Self>, task: TaskPtr) {
        // SAFETY: held, and this is the loop's thread.
        let header = unsafe { task.as_ref() };
        let local = &header.local;
        if local.has(Flag::Cancel) && !local.has(Flag::Started) {
            local.clear(Flag::Scheduled);
            return self.stepped(task, Ok(false));
        }
        local.change([Flag::Scheduled, Flag::Fresh], [Flag::Started, Flag::Running]);
        let result = {
            let _current = Current::enter(self, task);
            let scope = Scoped::enter(header);
            // SAFETY: as above.
            let result = catch_unwind(AssertUnwindSafe(|| unsafe { Header::poll(task) }));
            scope.leave(header);
            result
        };
        self.step_is_over(task, result);
    }

    fn step_is_over(self: &Rc<Self>, task: TaskPtr, result: std::thread::Result<bool>) {
        // SAFETY: as above.
        let local = unsafe { &task.as_ref().local };
        local.clear(Flag::Running);
        if !matches!(result, Ok(false)) || local.has_any([Flag::Failing, Flag::Cancel]) {
            self.stepped(task, result);
        }
    }

    /// What became of a step that was not just another one: whether the coroutine returned, or its panic.
    fn stepped(self: &Rc<Self>, task: TaskPtr, result: std::thread::Result<bool>) {
        // SAFETY: as above.
        let header = unsafe { task.as_ref() };
        let local = &header.local;
        let error = match result {
            Ok(true) if !local.has(Flag::Cancel) => None,
            Ok(true) => Some(TaskError::Cancelled(header.cancellation())),
            Ok(false) if local.has(Flag::Failing) => Some(header.failure()),
            // A request that it made to itself in this step is for the next one.
            Ok(false) if local.has(Flag::Fresh) && local.has(Flag::Started) => return,
            Ok(false) => Some(TaskError::Cancelled(header.cancellation())),
            Err(payload) if is_fatal(&*payload) => {
                let error = Panicked::new(Box::new("a fatal error left the loop"));
                local.set(Flag::Retrieved);
                self.finish(task, Some(TaskError::Panicked(error)));
                std::panic::resume_unwind(payload);
            }
            Err(payload) => Some(TaskError::Panicked(Panicked::new(payload))),
        };
        self.finish(task, error);
    }

    /// The task ends with the value that its coroutine returned, and with nothing about it that could run anybody's code: a
    /// task of the loop may wait for it, and its handles keep the value.
    #[inline(always)]
    fn finish_plainly(self: &Rc<Self>, task: TaskPtr) {
        // SAFETY: the loop's hold, which is given up at the end.
        let header = unsafe { task.as_ref() };
        let local = &header.local;
        if header.berth.is_alone() || !local.has_handles() || !header.waiters.is_plain() {
            return self.finish(task, None);
        }
        local.change([Flag::Listed], [Flag::Done]);
        let all = header.waiters.notify_plainly(self);
        debug_assert!(all);
        if !local.has(Flag::Scheduled) {
            // SAFETY: the loop's hold, given up once.
            unsafe { super::let_go(task) };
        }
    }

    /// The task ends: with the value its coroutine returned, or with this error in the coroutine's place.
    #[inline(never)]
    pub(crate) fn finish(self: &Rc<Self>, task: TaskPtr, error: Option<TaskError>) {
        // SAFETY: the loop's hold, which is given up at the end.
        let header = unsafe { task.as_ref() };
        let local = &header.local;
        let mut finally = Finally::new(self);
        // Not listed from here on: the destructors of the coroutine may close the loop.
        if local.has(Flag::Listed) {
            local.clear(Flag::Listed);
            // SAFETY: held, and listed until now.
            unsafe { self.tasks.is_over(task) };
        }
        local.set(Flag::Ending);
        if let Some(error) = error {
            let cancelled = error.is_cancelled();
            self.drop_coroutine(task, Some(error), &mut finally);
            if cancelled {
                local.set(Flag::Cancelled);
            }
        }
        local.change([Flag::Cancel, Flag::Fresh], [Flag::Done]);
        header.waiters.notify(&mut finally, |callback| callback.bind_any(&TaskRef::hold(task)));
        if !local.has_handles() {
            self.drop_outcome(task, &mut finally);
        }
        if !local.has(Flag::Scheduled) {
            // SAFETY: the loop's hold, given up once: a task ends once.
            unsafe { super::let_go(task) };
        }
        finally.end();
    }

    /// Drops the coroutine, as a part of the task: in its context, and as the current task. This error is the outcome
    /// then, if one is given.
    pub(crate) fn drop_coroutine(self: &Rc<Self>, task: TaskPtr, error: Option<TaskError>, finally: &mut Finally<'_>) {
        // SAFETY: held by the caller.
        let header = unsafe { task.as_ref() };
        let _current = Current::enter(self, task);
        let scope = Scoped::enter(header);
        finally.run(
            // SAFETY: the task is held, and this is its thread.
            || unsafe { (header.vtable().replace)(task, error) },
            || ExceptionContext::new("Exception in the destructor of a task's coroutine").task(TaskRef::hold(task)),
        );
        scope.leave(header);
    }

    /// Nobody can ask for the outcome any more: it and the rest that is not `Send` goes, here, on the loop's thread.
    pub(crate) fn drop_outcome(self: &Rc<Self>, task: TaskPtr, finally: &mut Finally<'_>) {
        // SAFETY: held by the caller.
        let header = unsafe { task.as_ref() };
        if !header.local.has(Flag::Retrieved) && !header.local.has(Flag::Cancelled) && !header.local.is_empty() {
            // SAFETY: held, and this is its thread.
            let error = unsafe { (header.vtable().error)(task) };
            let context = ExceptionContext::new("Task exception was never retrieved");
            let context = match error {
                Some(TaskError::Panicked(panic)) => Some(context.exception(panic)),
                Some(TaskError::Failed(error)) => Some(context.exception(TaskError::Failed(error))),
                _ => None,
            };
            if let Some(context) = context {
                header.local.set(Flag::Retrieved);
                finally.report(&context.detail("task", Header::display(task)).detail("created", header.source()));
            }
        }
        let message = || ExceptionContext::new("Exception in the destructor of a task's result");
        if !header.local.is_empty() {
            // SAFETY: held, and this is its thread.
            finally.run(|| unsafe { (header.vtable().replace)(task, None) }, message);
        }
        if header.waiters.holds_any() {
            finally.run(|| header.waiters.clear(), message);
        }
        if header.has_extras() {
            finally.run(|| header.drop_extras(), message);
        }
    }
}

/// The task's context, entered for one step and put back where it is kept; and its span, if it has one. What runs in between
/// is caught if it panics: nothing is restored on unwinding.
struct Scoped {
    before: Snapshot,
    /// Boxed, as hardly any task has one, and every step makes this.
    span: Option<Box<EnteredSpan>>,
}

impl Scoped {
    fn enter(header: &Header) -> Self {
        let snapshot = if header.has_extras() { header.take_context() } else { None };
        let span = if header.local.has(Flag::Traced) { header.enter_span() } else { None };
        Self { before: context::swap(snapshot), span }
    }

    fn leave(self, header: &Header) {
        let after = context::swap(self.before);
        if after.is_some() || header.has_extras() {
            header.keep_context(after);
        }
        // A subscriber is anybody's code: it goes last.
        if let Some(span) = self.span {
            drop(span);
        }
    }
}

impl Header {
    /// Whether there is anything that is to be dropped on the loop's thread.
    pub(crate) fn holds_any(&self) -> bool {
        !self.local.is_empty() || self.waiters.owns_any()
    }
}
