//! [`LoopTask`]: a task that can be awaited, and the trait [`Task`] that it implements.

use std::fmt;
use std::future::IntoFuture;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
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
use crate::waiters::{CallbackId, Place, Seat};

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
    /// With where this handle's await waits, once it has suspended. Marked if the awaiting task's request was passed on to this one.
    task: TaskRef,
    _value: PhantomData<T>,
}

impl<T> LoopTask<T> {
    /// # Safety
    ///
    /// The task's coroutine has the output `T`.
    pub(crate) unsafe fn new(task: TaskRef) -> Self {
        Self { task, _value: PhantomData }
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
        let task = self.task.as_ptr();
        // SAFETY: held, of this type, and on its thread. An error stays: a failed task fails each time it is awaited.
        unsafe { Self::take_value(task).ok_or_else(|| (header.vtable().error)(task).unwrap_or(TaskError::Taken)) }
    }

    /// The value of this task, taken if it is there.
    ///
    /// # Safety
    ///
    /// The task is held, its output is `T`, and this is its thread.
    #[inline(always)]
    unsafe fn take_value(task: TaskPtr) -> Option<T> {
        // SAFETY: the caller's. A value is moved out, and nobody looks at its place again, as it is not given back.
        unsafe {
            let local = &task.as_ref().local;
            let outcome = Header::lend(task)?.cast::<Result<T, TaskError>>();
            match outcome.as_ref() {
                Ok(value) => {
                    local.set(Flag::Retrieved);
                    Some(std::ptr::read(value))
                }
                Err(_) => {
                    local.give_back();
                    None
                }
            }
        }
    }

    /// The task that polls now, where it is one of this task's loop, other than this one, and not asked to end, and nothing
    /// else is asked.
    #[inline(always)]
    fn awaiting_plainly(task: TaskPtr) -> Option<TaskPtr> {
        // SAFETY: the caller's handle holds it.
        let current = unsafe { Header::running(task) }?.current_task_left_alone()?;
        (current != task && !probe::is_asked()).then_some(current)
    }

    fn poll_next(&self, place: &dyn Seat, context: &TaskContext<'_>) -> Next {
        let (refused, asked_to_end) = with_running(|running| match running {
            Some(inner) => (self.refuse(inner), inner.is_asked_to_end()),
            None => (None, false),
        });
        if let Some(refusal) = refused {
            return Next::Refuse(refusal);
        }
        let header = self.task.header();
        let local = &header.local;
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
        if local.has(Flag::Done) {
            return Next::Take;
        }
        if local.has(Flag::Orphaned) {
            return Next::Refuse(Refusal::Abandoned);
        }
        header.waiters.wait(place, context.waker());
        Next::Wait
    }

    /// What an await gives of the outcome.
    fn give(place: &dyn Seat, context: &TaskContext<'_>, outcome: Result<T, TaskError>) -> Poll<Result<T, TaskError>> {
        match outcome {
            Err(error) => Self::failed(place, context, error),
            value => {
                // Whoever waited was told, and has no place any more.
                place.clear();
                Poll::Ready(value)
            }
        }
    }

    fn failed(place: &dyn Seat, context: &TaskContext<'_>, error: TaskError) -> Poll<Result<T, TaskError>> {
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
        Self { task: self.task.clone(), _value: PhantomData }
    }
}

impl<T> Drop for LoopTask<T> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.task.placed().has_place() {
            self.leave();
        }
    }
}

impl<T> LoopTask<T> {
    /// The end of a handle that waits.
    #[inline(never)]
    fn leave(&mut self) {
        let task = self.task.as_ptr();
        let place = self.task.placed().place();
        // SAFETY: this handle holds it.
        unsafe { task.as_ref() }.waiters.leave(&place);
        place.clear();
    }
}

// A task is a counted pointer: pinning one pins nothing.
impl<T> Unpin for LoopTask<T> {}

impl<T> std::future::Future for LoopTask<T> {
    type Output = Result<T, TaskError>;

    // A part of the coroutine that awaits, so that the outcome need not be copied. Nearly always a task of the same loop awaits this
    // one, is not being cancelled, and either is the first to wait, for the first time, or comes for a value.
    #[inline(always)]
    fn poll(self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Some(target) = this.task.placed().plain_target() else { return this.poll_whatever(context) };
        let task: TaskPtr = target.cast();
        let Some(current) = Self::awaiting_plainly(task) else { return this.poll_whatever(context) };
        // SAFETY: this handle holds it.
        let header = unsafe { task.as_ref() };
        if header.local.has(Flag::Done) {
            // SAFETY: held, of this type, and on its thread.
            return match unsafe { Self::take_value(task) } {
                Some(value) => {
                    this.task.placed().set(target, false);
                    Poll::Ready(Ok(value))
                }
                None => this.poll_whatever(context),
            };
        }
        let waits = !header.local.has(Flag::Orphaned)
            && !this.task.placed().has_place()
            && header.waiters.wait_plainly(context.waker(), current);
        if !waits {
            return this.poll_whatever(context);
        }
        this.task.placed().set(target, true);
        Poll::Pending
    }
}

impl<T> LoopTask<T> {
    #[inline(never)]
    fn poll_whatever(&mut self, context: &TaskContext<'_>) -> Poll<Result<T, TaskError>> {
        // One that does not wait: where this one does changes meanwhile, not which task it is.
        // SAFETY: its output is the same; it is not dropped.
        let bare = ManuallyDrop::new(unsafe { Self::new(TaskRef::adopt(self.task.as_ptr())) });
        if probe::answer::<Self>(&bare.task.header().waiters, || bare.task.clone().into()) {
            return Poll::Pending;
        }
        let place = self.task.placed().place();
        match bare.poll_next(&place, context) {
            Next::Take => Self::give(&place, context, bare.take_outcome()),
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
        let header = self.task.task.header();
        if let Some(current) = LoopTask::<T>::awaiting_plainly(self.task.task.as_ptr())
            && !header.local.has_any([Flag::Done, Flag::Orphaned])
            && self.place.is_clear()
            && header.waiters.wait_plainly(context.waker(), current)
        {
            self.place.set_alone();
            return Poll::Pending;
        }
        if probe::answer::<Self>(&header.waiters, || self.task.task.clone().into()) {
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
