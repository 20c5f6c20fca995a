//! [`LoopFuture`]: a result that somebody sets and anybody awaits (asyncio: `Future`).

use std::cell::Cell;
use std::fmt;
use std::future::IntoFuture;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::pin::Pin;
use std::ptr::NonNull;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

use crate::awaiting::{Next, Refusal};
use crate::cancellation;
use crate::concurrent::ConcurrentFuture;
use crate::counted::Counted;
use crate::done::DoneCallback;
use crate::error::{Cancelled, Error, Result, TaskError};
use crate::event_loop::EventLoop;
use crate::exception::{ExceptionContext, Finally};
use crate::future::Future;
use crate::future::state::{Outcome, State};
use crate::future_ref::FutureRef;
use crate::inner::Inner;
use crate::placed::Placed;
use crate::probe;
use crate::ready::Ready;
use crate::running::{if_running, with_running};
use crate::task::TaskPtr;
use crate::waiters::{CallbackId, Place, Seat, Waiters};

pub(super) struct FutureCell<T> {
    inner: Rc<Inner>,
    outcome: Outcome<T>,
    waiters: Waiters,
    /// Another thread's work for it, until that is delivered.
    pub(super) thread: Cell<Option<ConcurrentFuture<T>>>,
    /// Somebody looked at the outcome: a failure is not reported as never retrieved.
    retrieved: Cell<bool>,
    source: &'static Location<'static>,
}

/// A future of a loop (asyncio: `Future`), made by [`EventLoop::create_future`]. Clones stand for the same future.
///
/// Awaiting it moves the value out; `(&future).await` clones the value and leaves it, for any number of waiters.
/// Waiters wake in the order in which they began to wait, a pass after the completion, never within `set_result`.
///
/// Cancelling a task that awaits it cancels the future too, as in asyncio.
pub struct LoopFuture<T> {
    /// A `Counted<FutureCell<T>>`, and where this handle's await waits, once it has suspended.
    cell: Placed,
    owns: PhantomData<Counted<FutureCell<T>>>,
}

impl<T> LoopFuture<T> {
    #[inline(always)]
    pub(super) fn of_cell(cell: Counted<FutureCell<T>>) -> Self {
        Self { cell: Placed::new(cell.into_raw()), owns: PhantomData }
    }

    #[inline(always)]
    pub(super) fn cell(&self) -> &FutureCell<T> {
        // SAFETY: from `of_cell`, and given up in `drop`.
        unsafe { Counted::at(self.cell.target()) }
    }

    /// This handle's own, which it keeps.
    #[inline(always)]
    pub(super) fn counted(&self) -> ManuallyDrop<Counted<FutureCell<T>>> {
        // SAFETY: as above; it is not dropped.
        ManuallyDrop::new(unsafe { Counted::from_raw(self.cell.target()) })
    }

    /// A handle that points there, does not wait and holds nothing.
    fn bare(target: NonNull<()>) -> ManuallyDrop<Self> {
        ManuallyDrop::new(Self { cell: Placed::new(target), owns: PhantomData })
    }
}

impl<T: 'static> LoopFuture<T> {
    pub(crate) fn new(inner: &Rc<Inner>, source: &'static Location<'static>) -> Self {
        Self::with(inner, None, source)
    }

    /// One that waits for another thread's: it is told by what [`waiting`](Self::waiting) gives.
    #[track_caller]
    pub(crate) fn of_thread(inner: &Rc<Inner>, thread: ConcurrentFuture<T>) -> Self {
        Self::with(inner, Some(thread), Location::caller())
    }

    fn with(inner: &Rc<Inner>, thread: Option<ConcurrentFuture<T>>, source: &'static Location<'static>) -> Self {
        let is_apart = thread.is_some();
        let make = || FutureCell {
            inner: Rc::clone(inner),
            outcome: Outcome::pending(),
            waiters: Waiters::default(),
            thread: Cell::new(thread),
            retrieved: Cell::new(false),
            source,
        };
        // A job comes and goes with an allocation of its own.
        let cell = if is_apart { Counted::apart_with(make) } else { Counted::new_with(make) };
        Self::of_cell(cell)
    }

    /// Whether it has an outcome: a value, an error or a cancellation.
    #[must_use]
    pub fn done(&self) -> bool {
        !self.cell().outcome.is_pending()
    }

    /// Whether its outcome is a cancellation.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.cell().outcome.is_cancelled()
    }

    /// Whether two handles stand for the same future.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.cell.target() == other.cell.target()
    }

    /// The loop it belongs to.
    #[must_use]
    pub fn get_loop(&self) -> EventLoop {
        EventLoop::of(&self.cell().inner)
    }

    /// Its error, or none where it has a value.
    ///
    /// # Errors
    ///
    /// [`TaskError::NotReady`] while it is pending; [`TaskError::Cancelled`] where it was cancelled.
    pub fn exception(&self) -> Result<Option<TaskError>, TaskError> {
        if !self.done() {
            return Err(TaskError::NotReady);
        }
        match self.cell().outcome.error() {
            Some(error @ TaskError::Cancelled(_)) => Err(error),
            other => {
                self.cell().retrieved.set(true);
                Ok(other)
            }
        }
    }

    /// A clone of the value, any number of times.
    ///
    /// # Errors
    ///
    /// [`TaskError::NotReady`] while it is pending; its own error where it has one; [`TaskError::Taken`] where an await
    /// moved the value out.
    pub fn result(&self) -> Result<T, TaskError>
    where
        T: Clone,
    {
        // Taken out meanwhile: a clone is user code, which may look at this future.
        struct PutBack<'a, T>(&'a FutureCell<T>, State<T>);
        impl<T> Drop for PutBack<'_, T> {
            fn drop(&mut self) {
                self.0.outcome.replace(std::mem::replace(&mut self.1, State::Taken));
            }
        }
        if !self.done() {
            return Err(TaskError::NotReady);
        }
        self.cell().retrieved.set(true);
        match &PutBack(self.cell(), self.cell().outcome.replace(State::Taken)).1 {
            State::Value(value) => Ok(value.clone()),
            State::Error(error) => Err(error.clone()),
            State::Pending | State::Taken => Err(TaskError::Taken),
        }
    }

    /// Moves the value out, without waiting.
    ///
    /// # Errors
    ///
    /// As for [`result`](Self::result).
    #[inline(always)]
    pub fn take_result(&self) -> Result<T, TaskError> {
        self.cell().take_result()
    }

    /// Gives it its value.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidState`] where it is done already, and nothing is changed; [`Error::Closed`] where it has
    /// callbacks and its loop is closed: the value is set then all the same.
    #[inline]
    pub fn set_result(&self, value: T) -> Result<()> {
        self.complete(State::Value(value))
    }

    /// Gives it an error.
    ///
    /// # Errors
    ///
    /// As for [`set_result`](Self::set_result).
    pub fn set_exception(&self, error: impl Into<TaskError>) -> Result<()> {
        let error = error.into();
        self.complete(State::Error(error))
    }

    /// Cancels it; false where it is done already.
    pub fn cancel(&self) -> bool {
        self.cancel_with(None)
    }

    /// Cancels it with a message, which awaits of it see; false where it is done already.
    pub fn cancel_with(&self, message: Option<&str>) -> bool {
        if self.done() {
            self.cell().retrieved.set(true);
            return false;
        }
        let cancelled = message.map_or_else(Cancelled::new, Cancelled::with_message);
        // A closed loop cannot run the callbacks; the state is set all the same.
        let _ = self.complete(State::Error(TaskError::Cancelled(cancelled)));
        if let Some(thread) = self.cell().thread.take() {
            // It stays, for what comes of it to be dropped here.
            self.cell().thread.set(Some(thread.clone()));
            thread.cancel_for_loop();
        }
        true
    }

    /// A part of whoever completes it, so that the outcome is made where it belongs. Nearly always one task of the loop waits.
    #[inline(always)]
    fn complete(&self, outcome: State<T>) -> Result<()> {
        let cell = self.cell();
        if !cell.outcome.is_pending() {
            return Err(Error::InvalidState("the future is done already"));
        }
        cell.outcome.fill(outcome);
        if cell.waiters.notify_plainly(&cell.inner) { Ok(()) } else { self.tell_crowd() }
    }

    #[inline(never)]
    fn tell_crowd(&self) -> Result<()> {
        let mut finally = Finally::new(&self.cell().inner);
        let told = self.cell().waiters.notify(&mut finally, |callback| callback.bind_any(&self.clone()));
        finally.end();
        if told { Ok(()) } else { Err(Error::Closed) }
    }

    fn poll_next(&self, place: &dyn Seat, context: &TaskContext<'_>) -> Next {
        let is_foreign = with_running(|running| running.is_some_and(|inner| !Rc::ptr_eq(inner, &self.cell().inner)));
        if is_foreign {
            return Next::Refuse(Refusal::WrongLoop);
        }
        if !self.done() {
            self.cell().waiters.wait(place, context.waker());
            if cancellation::is_pending() {
                // Whoever was to set it learns of it; the request itself goes on outward.
                self.cancel();
            }
            return Next::Wait;
        }
        if place.get().is_some() && cancellation::is_pending() {
            cancellation::come_back(context);
            return Next::Wait;
        }
        // Whoever waited was told.
        place.clear();
        Next::Take
    }

    /// Calls a function with the future when it is done, through the ready queue, in the context that is current now:
    /// never before this returns, also where the future is done already.
    #[track_caller]
    pub fn add_done_callback(&self, function: impl FnOnce(&Self) + 'static) -> CallbackId {
        let id = CallbackId::next();
        let callback = DoneCallback::new(function, Location::caller());
        if !self.done() {
            self.cell().waiters.add_callback(id, callback);
        } else if !self.cell().inner.closed.get() {
            callback.bind(self.clone());
            self.cell().inner.ready.push(Ready::Handle(callback));
        }
        id
    }

    /// Takes a callback off; true where it was still there. One that is queued already runs.
    pub fn remove_done_callback(&self, id: CallbackId) -> bool {
        self.cell().waiters.remove_callback(id)
    }
}

impl<T> Clone for LoopFuture<T> {
    fn clone(&self) -> Self {
        Self::of_cell(Counted::clone(&self.counted()))
    }
}

impl<T> Drop for LoopFuture<T> {
    #[inline]
    fn drop(&mut self) {
        if self.cell.has_place() {
            self.leave();
        } else {
            // SAFETY: from `of_cell`, given up once.
            drop(unsafe { Counted::<FutureCell<T>>::from_raw(self.cell.target()) });
        }
    }
}

impl<T> LoopFuture<T> {
    /// The end of a handle that waits.
    #[inline(never)]
    fn leave(&mut self) {
        // SAFETY: from `of_cell`, given up once. It goes last, whatever the waker does that it lets go of.
        let cell = unsafe { Counted::<FutureCell<T>>::from_raw(self.cell.target()) };
        let place = self.cell.place();
        cell.waiters.leave(&place);
        place.clear();
    }
}

// A future is a counted pointer: pinning one pins nothing.
impl<T> Unpin for LoopFuture<T> {}

impl<T: 'static> std::future::Future for LoopFuture<T> {
    type Output = Result<T, TaskError>;

    // A part of the coroutine that awaits, so that the outcome need not be copied. Nearly always the future's loop runs, the task
    // that awaits is not being cancelled, and either is the first to wait, for the first time, or comes for a value.
    #[inline(always)]
    fn poll(self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Some(target) = this.cell.plain_target() else { return this.poll_whatever(context) };
        // SAFETY: this handle's, which stays.
        let cell = unsafe { Counted::<FutureCell<T>>::at(target) };
        let Some(current) = cell.awaiting_plainly() else { return this.poll_whatever(context) };
        if let Some(value) = cell.outcome.take_value() {
            cell.retrieved.set(true);
            this.cell.set(target, false);
            return Poll::Ready(Ok(value));
        }
        let waits =
            cell.outcome.is_pending() && !this.cell.has_place() && cell.waiters.wait_plainly(context.waker(), current);
        if !waits {
            return this.poll_whatever(context);
        }
        this.cell.set(target, true);
        Poll::Pending
    }
}

impl<T: 'static> LoopFuture<T> {
    #[inline(never)]
    fn poll_whatever(&mut self, context: &TaskContext<'_>) -> Poll<Result<T, TaskError>> {
        let target = self.cell.target();
        // Where it waits changes meanwhile, not where it points to.
        let bare = Self::bare(target);
        if probe::answer::<Self>(&bare.cell().waiters, || FutureRef::of_future(&bare)) {
            return Poll::Pending;
        }
        let place = self.cell.place();
        match bare.poll_next(&place, context) {
            Next::Take => Poll::Ready(bare.take_result()),
            Next::Wait => Poll::Pending,
            Next::Refuse(refusal) => Poll::Ready(Err(refusal.into())),
        }
    }
}

/// An await of a future that clones the value and leaves it: `(&future).await`.
#[must_use = "futures do nothing unless awaited"]
pub struct Shared<'a, T> {
    future: &'a LoopFuture<T>,
    place: Place,
}

impl<T> Drop for Shared<'_, T> {
    fn drop(&mut self) {
        self.future.cell().waiters.leave(&self.place);
    }
}

impl<T: Clone + 'static> std::future::Future for Shared<'_, T> {
    type Output = Result<T, TaskError>;

    fn poll(self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let cell = self.future.cell();
        if let Some(current) = cell.awaiting_plainly()
            && cell.outcome.is_pending()
            && self.place.is_clear()
            && cell.waiters.wait_plainly(context.waker(), current)
        {
            self.place.set_alone();
            return Poll::Pending;
        }
        if probe::answer::<Self>(&cell.waiters, || FutureRef::of_future(self.future)) {
            return Poll::Pending;
        }
        match self.future.poll_next(&self.place, context) {
            Next::Take => Poll::Ready(self.future.result()),
            Next::Wait => Poll::Pending,
            Next::Refuse(refusal) => Poll::Ready(Err(refusal.into())),
        }
    }
}

impl<'a, T: Clone + 'static> IntoFuture for &'a LoopFuture<T> {
    type Output = Result<T, TaskError>;
    type IntoFuture = Shared<'a, T>;

    fn into_future(self) -> Shared<'a, T> {
        Shared { future: self, place: Place::default() }
    }
}

impl<T> fmt::Debug for Shared<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.future.fmt(f)
    }
}

impl<T> fmt::Debug for LoopFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cell().describe())
    }
}

impl<T> FutureCell<T> {
    /// The task that polls now, where its loop is the future's, it is not asked to end, and nothing else is asked.
    #[inline(always)]
    fn awaiting_plainly(&self) -> Option<TaskPtr> {
        if_running(&self.inner).and_then(Inner::current_task_left_alone).filter(|_| !probe::is_asked())
    }

    #[inline(always)]
    fn take_result(&self) -> Result<T, TaskError> {
        match self.outcome.take_value() {
            Some(value) => {
                self.retrieved.set(true);
                Ok(value)
            }
            None => Err(self.no_value()),
        }
    }

    #[cold]
    fn no_value(&self) -> TaskError {
        if self.outcome.is_pending() {
            return TaskError::NotReady;
        }
        match self.outcome.error() {
            Some(error) => {
                self.retrieved.set(true);
                error
            }
            None => TaskError::Taken,
        }
    }

    fn describe(&self) -> String {
        let state = match () {
            () if self.outcome.is_pending() => "pending",
            () if self.outcome.is_cancelled() => "cancelled",
            () => "finished",
        };
        format!("<Future {state} created at {}>", self.source)
    }
}

impl<T> Drop for FutureCell<T> {
    #[inline]
    fn drop(&mut self) {
        if !self.retrieved.get() {
            self.report_error();
        }
    }
}

impl<T> FutureCell<T> {
    /// Of an outcome that nobody looked at.
    #[inline(never)]
    fn report_error(&self) {
        if let Some(error) = self.outcome.error()
            && !error.is_cancelled()
        {
            let context = ExceptionContext::new("Future exception was never retrieved").exception(error);
            self.inner.report(&context.detail("future", fmt::from_fn(|f| f.write_str(&self.describe()))));
        }
    }
}

impl<T: 'static> Future for LoopFuture<T> {
    type Value = T;

    fn done(&self) -> bool {
        Self::done(self)
    }

    fn cancelled(&self) -> bool {
        Self::cancelled(self)
    }

    fn cancel_with(&self, message: Option<&str>) -> bool {
        Self::cancel_with(self, message)
    }

    fn result(&self) -> Result<T, TaskError>
    where
        T: Clone,
    {
        Self::result(self)
    }

    fn exception(&self) -> Result<Option<TaskError>, TaskError> {
        Self::exception(self)
    }

    fn set_result(&self, value: T) -> Result<()> {
        Self::set_result(self, value)
    }

    fn set_exception(&self, error: TaskError) -> Result<()> {
        Self::set_exception(self, error)
    }

    fn add_done_callback(&self, function: Box<dyn FnOnce(&Self)>) -> CallbackId {
        Self::add_done_callback(self, function)
    }

    fn remove_done_callback(&self, id: CallbackId) -> bool {
        Self::remove_done_callback(self, id)
    }

    fn get_loop(&self) -> Option<EventLoop> {
        Some(Self::get_loop(self))
    }
}
