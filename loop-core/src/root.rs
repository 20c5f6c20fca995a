//! `run_until_complete`: the future that a run is for.
//!
//! The future may borrow from the caller's stack, so the task that drives it must not outlive the call: a guard takes
//! the coroutine out of it on every way out. A task or future of the loop is awaited through a hidden task that stands
//! for nobody: it is not among `all_tasks`, and the run ends in the pass in which it sees the outcome, as asyncio's
//! done callback would. A coroutine is a task like any other, and ends the run one pass after it ended.
//!
//! Which of the two it is, the future is asked when it is first polled (see `probe`).

use std::cell::Cell;
use std::future::{Future, IntoFuture};
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::error::{Error, Result, TaskError};
use crate::event_loop::EventLoop;
use crate::exception::{ExceptionContext, Finally};
use crate::inner::Inner;
use crate::probe;
use crate::task::{Flag, LoopTask, TaskPtr, TaskRef};

/// The future of a run.
struct Root<'a, F> {
    future: F,
    inner: &'a Inner,
    task: &'a Cell<Option<TaskPtr>>,
    direct: &'a Cell<bool>,
    polled: bool,
}

impl<F: Future> Future for Root<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: `future` is pinned with this, and never moved out; the other fields are not pinned.
        let this = unsafe { self.get_unchecked_mut() };
        let first = !std::mem::replace(&mut this.polled, true);
        // SAFETY: as above.
        let future = unsafe { Pin::new_unchecked(&mut this.future) };
        let (result, direct) = probe::poll_direct(future, context);
        let mut stops = true;
        if let Some(done_in_run) = direct {
            this.direct.set(true);
            // A done callback would have been queued when it was done: its turn is in the next pass, as this task's is.
            stops = !(first && done_in_run);
        }
        if first
            && !this.direct.get()
            && let Some(task) = this.task.get()
        {
            TaskRef::hold(task).header().show();
        }
        if result.is_ready() && this.direct.get() && stops {
            this.inner.stop();
        }
        result
    }
}

impl crate::task::Header {
    /// A task that was taken for a stand-in is a coroutine's own.
    pub(crate) fn show(&self) {
        if self.local.has(Flag::Hidden) {
            self.local.clear(Flag::Hidden);
            self.set_id(crate::task::next_id());
        }
    }
}

/// Takes the coroutine out of the root task, whatever happens.
struct Guard<'a> {
    inner: &'a Rc<Inner>,
    task: TaskRef,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let (header, task) = (self.task.header(), self.task.as_ptr());
        header.local.set(Flag::Retrieved);
        let mut finally = Finally::new(self.inner);
        if !self.task.done() {
            finally.run(
                || self.inner.finish(task, Some(TaskError::Abandoned)),
                || ExceptionContext::new("Exception in the destructor of a task's coroutine"),
            );
        }
        // An outcome that was not taken may borrow from the caller too.
        self.inner.drop_outcome(task, &mut finally);
        finally.end();
    }
}

impl EventLoop {
    /// Runs until the future is done, and gives its output (asyncio: `run_until_complete`).
    ///
    /// A coroutine is driven as a task; it may borrow from the caller's stack. A [`LoopTask`] or
    /// [`LoopFuture`](crate::LoopFuture) is awaited; pass `&mut task` to keep it. Other tasks and callbacks are left as
    /// they are when this returns, and go on in the next run. A panic of the coroutine goes on in the caller.
    ///
    /// # Errors
    ///
    /// [`Error::StoppedBeforeComplete`] where `stop` ended the run first: a task passed as `&mut task` stays pending and
    /// goes on in the next run, while a coroutine passed by value is dropped. [`Error::Task`] where the coroutine was
    /// cancelled. [`Error::Closed`], [`Error::AlreadyRunning`], [`Error::OtherLoopRunning`]: nothing was started.
    #[track_caller]
    pub fn run_until_complete<F: IntoFuture>(&self, future: F) -> Result<F::Output> {
        let inner = &self.inner;
        inner.check_runnable()?;
        let (place, direct) = (Cell::new(None), Cell::new(false));
        let root = Root { future: future.into_future(), inner, task: &place, direct: &direct, polled: false };
        // A future of the loop is a pointer or two; until its first poll, nothing that small is shown as a task.
        let maybe_direct = size_of::<F::IntoFuture>() <= 2 * size_of::<usize>();
        let task = inner.new_task(root, maybe_direct, Location::caller());
        place.set(Some(task));
        let guard = Guard { inner, task: TaskRef::adopt(task) };
        // SAFETY: held, and this is the loop's thread.
        unsafe { crate::task::schedule(task) };
        // A coroutine ends the run from its done callback, one pass after it ended. The ticket keeps a callback that is
        // queued when the run ends otherwise from ending a later run.
        let (weak, ticket) = (Rc::downgrade(inner), inner.run_ticket());
        let stopper = guard.task.add_done_callback(move |_| {
            if let Some(inner) = weak.upgrade()
                && inner.run_ticket() == ticket
            {
                inner.stop();
            }
        });
        let run = inner.run();
        guard.task.remove_done_callback(stopper);
        run?;
        // SAFETY: the task's coroutine is the root, whose output this is.
        let typed: LoopTask<F::Output> = unsafe { LoopTask::new(guard.task.clone()) };
        match typed.take_outcome() {
            Ok(value) => Ok(value),
            Err(TaskError::NotReady) => Err(Error::StoppedBeforeComplete),
            Err(TaskError::Panicked(panic)) => match panic.take_payload() {
                Some(payload) => std::panic::resume_unwind(payload),
                None => Err(Error::Task(TaskError::Panicked(panic))),
            },
            Err(error) => Err(Error::Task(error)),
        }
    }
}
