//! [`LoopTask`]: a task that can be awaited, and the trait [`Task`] that it implements.

use std::fmt;
use std::future::IntoFuture;
use std::marker::PhantomData;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context as TaskContext, Poll};

use crate::awaiting::{Next, Refusal};
use crate::cancellation;
use crate::context::Context;
use crate::error::{Error, Result, TaskError};
use crate::event_loop::EventLoop;
use crate::future::Future;
use crate::inner::Inner;
use crate::probe;
use crate::running::with_running;
use crate::task::TaskRef;
use crate::task::header::{Header, TaskPtr};
use crate::task::local::Flag;
use crate::task::slab::Slab;
use crate::waiters::{CallbackId, Place, Seat, Waiters};

/// asyncio's `Task`: a [`Future`] that drives a coroutine.
///
/// [`LoopTask`] implements it. A loop can drive tasks of other kinds through
/// [`schedule`](EventLoop::schedule): a step is a [`Handle`](crate::Handle) too.
pub trait Task: Future {
    /// Its name: `Task-N` unless it was given one.
    fn name(&self) -> String;
    /// Gives it a name.
    fn set_name(&self, name: &str);
    /// The context that its steps run in (asyncio: `get_context`).
    fn context(&self) -> Option<Context>;
    /// How many cancellation requests were made and not taken back.
    fn cancelling(&self) -> u32;
    /// Takes one request back and tells how many are left; at zero a request that was not delivered yet is gone.
    fn uncancel(&self) -> u32;
}

/// A task and its outcome (asyncio: `Task`). Clones stand for the same task; what a task can do whatever its type is
/// [`TaskRef`]'s, to which this dereferences.
///
/// Awaiting it gives `Result<T, TaskError>`: the value is moved out, so a second await of the value gives
/// [`TaskError::Taken`], while `(&task).await` clones it and leaves it, any number of times. Cancelling the task that
/// awaits cancels this one and waits for it.
pub struct LoopTask<T> {
    task: TaskRef,
    /// Where this handle's await waits, once it has suspended. Marked if the awaiting task's request was passed on to this one.
    place: Place,
    _value: PhantomData<T>,
}

impl<T> LoopTask<T> {
    /// # Safety
    ///
    /// The task's coroutine has the output `T`.
    pub(crate) unsafe fn new(task: TaskRef) -> Self {
        Self { task, place: Place::default(), _value: PhantomData }
    }

    /// The task without its type.
    #[must_use]
    pub fn as_task_ref(&self) -> &TaskRef {
        &self.task
    }

    /// A clone of the outcome, any number of times (asyncio: `result`).
    ///
    /// # Errors
    ///
    /// [`TaskError::NotReady`] while it is pending; its own error where it did not end with a value;
    /// [`TaskError::Taken`] where an await moved the value out.
    pub fn result(&self) -> Result<T, TaskError>
    where
        T: Clone,
    {
        if !self.task.done() {
            return Err(TaskError::NotReady);
        }
        let header = self.task.header();
        header.local.set(Flag::Retrieved);
        // A clone is user code, which may ask this very task: the outcome is nobody else's until it is given back.
        struct Lent<'a>(&'a Header);
        impl Drop for Lent<'_> {
            fn drop(&mut self) {
                self.0.local.give_back();
            }
        }
        // SAFETY: done, held, and on its thread.
        let lent: Option<NonNull<()>> = unsafe { Header::lend(self.task.as_ptr()) };
        let Some(outcome) = lent else { return Err(TaskError::Taken) };
        let _lent = Lent(header);
        // SAFETY: the task's output is T, and what is lent stays where it is.
        unsafe { outcome.cast::<Result<T, TaskError>>().as_ref() }.clone()
    }

    /// Moves the outcome out, without waiting.
    ///
    /// # Errors
    ///
    /// As for [`result`](Self::result).
    #[inline(always)]
    pub fn take_outcome(&self) -> Result<T, TaskError> {
        let header = self.task.header();
        if header.local.has(Flag::Orphaned) {
            return Err(TaskError::Abandoned);
        }
        if !self.task.done() {
            return Err(TaskError::NotReady);
        }
        header.local.set(Flag::Retrieved);
        // SAFETY: done, held, and on its thread.
        let lent: Option<NonNull<()>> = unsafe { Header::lend(self.task.as_ptr()) };
        let Some(outcome) = lent else { return Err(TaskError::Taken) };
        let outcome = outcome.cast::<Result<T, TaskError>>();
        // SAFETY: the task's output is T. A value is moved out, and nobody looks at its place again, as it is not given back.
        unsafe {
            match outcome.as_ref() {
                Ok(value) => Ok(std::ptr::read(value)),
                // An error stays: a failed task fails each time it is awaited.
                Err(error) => {
                    let error = error.clone();
                    header.local.give_back();
                    Err(error)
                }
            }
        }
    }

    /// A part of the coroutine that awaits, as is the taking, so that the outcome need not be copied. Nearly always a task of
    /// the same loop awaits this one, and is not being cancelled.
    #[inline(always)]
    fn poll_next(&self, place: &Place, context: &TaskContext<'_>) -> Next {
        let awaiting = with_running(|running| running.and_then(|inner| self.awaited_plainly(inner)));
        let Some(awaiting) = awaiting else { return self.poll_specially(place, context) };
        self.take_or_wait(|waiters| waiters.wait_in_task(place, context.waker(), awaiting))
    }

    #[inline(always)]
    fn take_or_wait(&self, wait: impl FnOnce(&Waiters)) -> Next {
        let header = self.task.header();
        if header.local.has(Flag::Done) {
            return Next::Take;
        }
        if header.local.has(Flag::Orphaned) {
            return Next::Refuse(Refusal::Abandoned);
        }
        wait(&header.waiters);
        Next::Wait
    }

    #[inline(never)]
    fn poll_specially(&self, place: &Place, context: &TaskContext<'_>) -> Next {
        let (refused, asked_to_end) = with_running(|running| match running {
            Some(inner) => (self.refuse(inner), inner.is_asked_to_end()),
            None => (None, false),
        });
        if let Some(refusal) = refused {
            return Next::Refuse(refusal);
        }
        let local = &self.task.header().local;
        if asked_to_end && local.has(Flag::Done) && place.get().is_some() {
            cancellation::come_back(context);
            return Next::Wait;
        }
        if asked_to_end
            && !local.has_any([Flag::Done, Flag::Orphaned])
            && let Some(request) = cancellation::take()
        {
            place.mark();
            self.task.cancel_with(request.message());
        }
        self.take_or_wait(|waiters| waiters.wait(place, context.waker()))
    }

    /// What an await gives of the outcome.
    #[inline(always)]
    fn give(place: &Place, context: &TaskContext<'_>, outcome: Result<T, TaskError>) -> Poll<Result<T, TaskError>> {
        match outcome {
            Err(error) => Self::failed(place, context, error),
            value => {
                // Whoever waited was told, and has no place any more.
                place.clear();
                Poll::Ready(value)
            }
        }
    }

    #[inline(never)]
    fn failed(place: &Place, context: &TaskContext<'_>, error: TaskError) -> Poll<Result<T, TaskError>> {
        if let TaskError::Cancelled(cancelled) = &error
            && place.take_mark()
        {
            // It ended by our own request, passed on: the request goes on outward.
            cancellation::raise(cancelled);
            return cancellation::withhold(context);
        }
        place.set(None);
        Poll::Ready(Err(error))
    }

    /// The task that polls now, where it is one of this loop, other than this one, and not asked to end.
    #[inline(always)]
    fn awaited_plainly(&self, running: &Inner) -> Option<TaskPtr> {
        let current = running.current_task_left_alone()?;
        // SAFETY: this handle holds the task.
        let is_of = unsafe { Slab::of(self.task.as_ptr()) }.is_of(running);
        (current != self.task.as_ptr() && is_of).then_some(current)
    }

    /// Why the task that polls now cannot await this one.
    fn refuse(&self, running: &Inner) -> Option<Refusal> {
        // SAFETY: this handle holds the task, and never leaves its loop's thread.
        if !std::ptr::eq(unsafe { Slab::of(self.task.as_ptr()) }.inner(), running) {
            return Some(Refusal::WrongLoop);
        }
        (running.current_task.get() == Some(self.task.as_ptr())).then_some(Refusal::SelfAwait)
    }
}

impl<T> std::ops::Deref for LoopTask<T> {
    type Target = TaskRef;

    fn deref(&self) -> &TaskRef {
        &self.task
    }
}

impl<T> Clone for LoopTask<T> {
    fn clone(&self) -> Self {
        Self { task: self.task.clone(), place: Place::default(), _value: PhantomData }
    }
}

impl<T> Drop for LoopTask<T> {
    fn drop(&mut self) {
        self.task.header().waiters.leave(&self.place);
    }
}

// A task is a counted pointer: pinning one pins nothing.
impl<T> Unpin for LoopTask<T> {}

impl<T> std::future::Future for LoopTask<T> {
    type Output = Result<T, TaskError>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Self::Output> {
        if probe::answer::<Self>(&self.task.header().waiters, || self.task.clone().into()) {
            return Poll::Pending;
        }
        match self.poll_next(&self.place, context) {
            Next::Take => Self::give(&self.place, context, self.take_outcome()),
            Next::Wait => Poll::Pending,
            Next::Refuse(refusal) => Poll::Ready(Err(refusal.into())),
        }
    }
}

/// An await of a task that clones the value and leaves it: `(&task).await`.
#[must_use = "futures do nothing unless awaited"]
pub struct Outcome<'a, T> {
    task: &'a LoopTask<T>,
    place: Place,
}

impl<T> Drop for Outcome<'_, T> {
    fn drop(&mut self) {
        self.task.header().waiters.leave(&self.place);
    }
}

impl<T: Clone> std::future::Future for Outcome<'_, T> {
    type Output = Result<T, TaskError>;

    fn poll(self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Self::Output> {
        if probe::answer::<Self>(&self.task.task.header().waiters, || self.task.task.clone().into()) {
            return Poll::Pending;
        }
        match self.task.poll_next(&self.place, context) {
            Next::Take => LoopTask::give(&self.place, context, self.task.result()),
            Next::Wait => Poll::Pending,
            Next::Refuse(refusal) => Poll::Ready(Err(refusal.into())),
        }
    }
}

impl<'a, T: Clone> IntoFuture for &'a LoopTask<T> {
    type Output = Result<T, TaskError>;
    type IntoFuture = Outcome<'a, T>;

    fn into_future(self) -> Outcome<'a, T> {
        Outcome { task: self, place: Place::default() }
    }
}

impl<T> fmt::Debug for Outcome<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.task.fmt(f)
    }
}

impl<T> fmt::Debug for LoopTask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.task.fmt(f)
    }
}

impl<T: 'static> Future for LoopTask<T> {
    type Value = T;

    fn done(&self) -> bool {
        self.task.done()
    }

    fn cancelled(&self) -> bool {
        self.task.cancelled()
    }

    fn cancel_with(&self, message: Option<&str>) -> bool {
        self.task.cancel_with(message)
    }

    fn result(&self) -> Result<T, TaskError>
    where
        T: Clone,
    {
        Self::result(self)
    }

    fn exception(&self) -> Result<Option<TaskError>, TaskError> {
        self.task.exception()
    }

    fn set_result(&self, _: T) -> Result<()> {
        Err(Error::InvalidState("a task does not support set_result: its coroutine gives the result"))
    }

    fn set_exception(&self, _: TaskError) -> Result<()> {
        Err(Error::InvalidState("a task does not support set_exception: its coroutine gives the result"))
    }

    fn add_done_callback(&self, function: Box<dyn FnOnce(&Self)>) -> CallbackId {
        self.task.add_done_callback(move |task| {
            // SAFETY: it is this very task, whose output is T.
            function(&unsafe { Self::new(task.clone()) });
        })
    }

    fn remove_done_callback(&self, id: CallbackId) -> bool {
        self.task.remove_done_callback(id)
    }

    fn get_loop(&self) -> Option<EventLoop> {
        self.task.get_loop()
    }
}

impl<T: 'static> Task for LoopTask<T> {
    fn name(&self) -> String {
        self.task.name()
    }

    fn set_name(&self, name: &str) {
        self.task.set_name(name);
    }

    fn context(&self) -> Option<Context> {
        self.task.context()
    }

    fn cancelling(&self) -> u32 {
        self.task.cancelling()
    }

    fn uncancel(&self) -> u32 {
        self.task.uncancel()
    }
}
