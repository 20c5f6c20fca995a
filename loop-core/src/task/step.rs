//! One step of a task, and how a task ends.
//!
//! A step polls the coroutine once, in the task's context. If a cancellation request stood when the step began and
//! still stands when the coroutine suspends, nobody took it: the coroutine is dropped, here, on the loop's thread,
//! and the task is cancelled. A coroutine that returns with a request standing is cancelled too; one that was never
//! started is not polled for it. A panic is the task's outcome; a fatal one is stored *and* leaves the loop.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::Context as TaskContext;

use tracing::span::EnteredSpan;

use crate::context::{self, Entered};
use crate::error::{Cancelled, Panicked, TaskError};
use crate::exception::{ExceptionContext, Finally, is_fatal};
use crate::inner::Inner;
use crate::task::header::{Extras, Flag, Header, TaskPtr};
use crate::task::{Scheduled, TaskRef, waker};

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

enum Ended {
    NotYet,
    Returned,
    Dropped(TaskError),
    Fatal(Box<dyn std::any::Any + Send>),
}

impl Inner {
    /// Runs one step of a task that came out of the ready queue.
    pub(crate) fn step(self: &Rc<Self>, scheduled: Scheduled) {
        let task = scheduled.into_task();
        // SAFETY: a scheduled task is held by the loop at least until its step.
        let header = unsafe { task.as_ref() };
        let local = &header.local;
        if local.has(Flag::Done) {
            // It ended while it was in the queue: the hold that the loop kept for that goes now.
            // SAFETY: the loop's hold, given up once: the flag was set.
            unsafe { super::release(task) };
            return;
        }
        if local.has(Flag::Ending) {
            // A destructor of the coroutine runs the loop: the task's end gives the hold up.
            return;
        }
        self.run_step(task);
    }

    /// The first step of a task that nobody has queued, within whatever runs now.
    pub(crate) fn step_now(self: &Rc<Self>, task: &TaskRef) {
        self.run_step(task.as_ptr());
    }

    /// The task is held, not done, and not in its step.
    fn run_step(self: &Rc<Self>, task: TaskPtr) {
        let ended = {
            let _current = Current::enter(self, task);
            // SAFETY: as above, and this is the loop's thread.
            unsafe { self.poll(task) }
        };
        match ended {
            Ended::NotYet => {}
            Ended::Returned => self.finish(task, None),
            Ended::Dropped(error) => self.finish(task, Some(error)),
            Ended::Fatal(payload) => {
                let error = Panicked::new(Box::new("a fatal error left the loop"));
                // SAFETY: held until `finish` is through.
                unsafe { task.as_ref() }.local.set(Flag::Retrieved);
                self.finish(task, Some(TaskError::Panicked(error)));
                std::panic::resume_unwind(payload);
            }
        }
    }

    /// # Safety
    ///
    /// The task is alive and not done, and this is its loop's thread.
    unsafe fn poll(self: &Rc<Self>, task: TaskPtr) -> Ended {
        // SAFETY: the caller's.
        let header = unsafe { task.as_ref() };
        let local = &header.local;
        local.clear(Flag::Fresh);
        if local.has(Flag::Cancel) && !local.has(Flag::Started) {
            return Ended::Dropped(TaskError::Cancelled(header.cancellation()));
        }
        local.set(Flag::Started);
        local.set(Flag::Running);
        let scope = Scoped::enter(header);
        let result = catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: the task is held by the loop for this step; the vtable is its own.
            unsafe {
                let waker = waker::borrowed(task);
                (header.vtable.poll)(task, &mut TaskContext::from_waker(&waker))
            }
        }));
        scope.leave(header);
        local.clear(Flag::Running);
        match result {
            Ok(true) if local.has(Flag::Cancel) => Ended::Dropped(TaskError::Cancelled(header.cancellation())),
            Ok(true) => Ended::Returned,
            Ok(false) if local.has(Flag::Failing) => Ended::Dropped(header.failure()),
            Ok(false) if local.has(Flag::Cancel) && !local.has(Flag::Fresh) => {
                Ended::Dropped(TaskError::Cancelled(header.cancellation()))
            }
            Ok(false) => Ended::NotYet,
            Err(payload) if is_fatal(&*payload) => Ended::Fatal(payload),
            Err(payload) => Ended::Dropped(TaskError::Panicked(Panicked::new(payload))),
        }
    }

    /// The task ends: with the value its coroutine returned, or with this error in the coroutine's place.
    pub(crate) fn finish(self: &Rc<Self>, task: TaskPtr, error: Option<TaskError>) {
        // SAFETY: the loop's hold, which is given up at the end.
        let header = unsafe { task.as_ref() };
        let local = &header.local;
        let mut finally = Finally::new(self);
        // Not listed from here on: the destructors of the coroutine may close the loop.
        local.set(Flag::Ending);
        // SAFETY: held.
        unsafe { self.tasks.remove(task) };
        if let Some(error) = error {
            let cancelled = error.is_cancelled();
            self.drop_coroutine(task, Some(error), &mut finally);
            if cancelled {
                local.set(Flag::Cancelled);
            }
        }
        local.clear(Flag::Cancel);
        local.clear(Flag::Fresh);
        local.set(Flag::Done);
        header.waiters.notify(&mut finally, |callback| callback.bind_any(&TaskRef::hold(task)));
        if local.handles.get() == 0 {
            self.drop_outcome(task, &mut finally);
        }
        if !local.has(Flag::Scheduled) {
            // SAFETY: the loop's hold, given up once: a task ends once.
            unsafe { super::release(task) };
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
            || unsafe { (header.vtable.replace)(task, error) },
            || ExceptionContext::new("Exception in the destructor of a task's coroutine").task(TaskRef::hold(task)),
        );
        scope.leave(header);
    }

    /// Nobody can ask for the outcome any more: it and the rest that is not `Send` goes, here, on the loop's thread.
    pub(crate) fn drop_outcome(self: &Rc<Self>, task: TaskPtr, finally: &mut Finally<'_>) {
        // SAFETY: held by the caller.
        let header = unsafe { task.as_ref() };
        if !header.local.has(Flag::Retrieved) && !header.local.has(Flag::Cancelled) {
            // SAFETY: held, and this is its thread.
            let error = unsafe { (header.vtable.error)(task) };
            let context = ExceptionContext::new("Task exception was never retrieved");
            let context = match error {
                Some(TaskError::Panicked(panic)) => Some(context.exception(panic)),
                Some(TaskError::Failed(error)) => Some(context.exception(TaskError::Failed(error))),
                _ => None,
            };
            if let Some(context) = context {
                header.local.set(Flag::Retrieved);
                finally.report(&context.detail("task", Header::display(task)).detail("created", header.source));
            }
        }
        let message = || ExceptionContext::new("Exception in the destructor of a task's result");
        // SAFETY: held, and this is its thread.
        finally.run(|| unsafe { (header.vtable.replace)(task, None) }, message);
        finally.run(|| header.waiters.clear(), message);
        finally.run(|| drop(header.extras.take()), message);
    }
}

/// The task's context, entered for one step and put back where it is kept; and its span, if it has one.
struct Scoped {
    context: Option<Entered>,
    /// Boxed, as hardly any task has one, and every step makes this.
    _span: Option<Box<EnteredSpan>>,
}

impl Scoped {
    fn enter(header: &Header) -> Self {
        let mut extras = header.extras.borrow_mut();
        let snapshot = match extras.as_deref_mut() {
            Some(Extras { shared_context: Some(context), .. }) => context.to_snapshot(),
            Some(extras) => extras.context.take(),
            None => None,
        };
        // A subscriber is anybody's code.
        drop(extras);
        let span = if header.local.has(Flag::Traced) { header.enter_span() } else { None };
        Self { context: Some(Entered::new(snapshot)), _span: span }
    }

    fn leave(mut self, header: &Header) {
        let Some(after) = self.context.take().map(Entered::leave) else { return };
        let mut extras = header.extras.borrow_mut();
        let old = match extras.as_deref_mut() {
            Some(Extras { shared_context: Some(context), .. }) => context.replace_snapshot(after),
            Some(extras) => std::mem::replace(&mut extras.context, after),
            // Extras are made only where there is something to keep.
            None if after.is_none() => None,
            None => {
                *extras = Some(Box::new(Extras { context: after, ..Extras::default() }));
                None
            }
        };
        drop(extras);
        drop(old);
    }
}

impl Header {
    /// The standing request as an error.
    pub(crate) fn cancellation(&self) -> Cancelled {
        match self.extras.borrow().as_ref().and_then(|extras| extras.message.clone()) {
            Some(message) => Cancelled::with_message(message),
            None => Cancelled::new(),
        }
    }

    /// The error that the task ends with of its own accord.
    fn failure(&self) -> TaskError {
        self.local.clear(Flag::Failing);
        let failure = self.extras.borrow_mut().as_mut().and_then(|extras| extras.failure.take());
        failure.unwrap_or(TaskError::Abandoned)
    }

    pub(crate) fn with_extras<R>(&self, f: impl FnOnce(&mut Extras) -> R) -> R {
        f(self.extras.borrow_mut().get_or_insert_default())
    }

    /// The context that the task's next step runs in.
    pub(crate) fn context(&self) -> context::Context {
        match self.extras.borrow().as_deref() {
            Some(Extras { shared_context: Some(context), .. }) => context.clone(),
            // In its own step, the task's values are the current ones.
            _ if self.local.has(Flag::Running) => context::Context::copy(),
            Some(extras) => context::Context::from_snapshot(extras.context.clone()),
            None => context::Context::new(),
        }
    }
}
