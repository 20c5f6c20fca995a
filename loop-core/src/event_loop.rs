//! The event loop: its state, its life cycle, and what is called on it.
//!
//! `new` → `run_forever` / `run_until_complete`, any number of times, each ended by `stop` → `close`. The loop belongs to
//! the thread that made it; [`LoopHandle`](crate::LoopHandle) is what other threads get.
//!
//! Ownership: an [`EventLoop`] that a program made, and its clones, own the loop; what runs inside gets a handle that
//! does not (`get_running_loop`, the argument of callbacks). When the last owner goes, an unclosed loop closes itself
//! with a warning, so that what is pending, which may hold handles of the loop, does not keep it alive for ever.

use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::{Backend, Capabilities};
use crate::builder::LoopBuilder;
use crate::context::Context;
use crate::default_executor::DefaultExecutor;
use crate::delay::Delay;
use crate::error::{Error, Result};
use crate::exception::{ExceptionContext, ExceptionHandler};
use crate::future::LoopFuture;
use crate::handle::{CallbackHandle, Handle, Scope, TimerHandle};
use crate::inner::Inner;
use crate::loop_handle::{LoopHandle, RemoteHandle};
use crate::ready::Ready;
use crate::running::with_running;
use crate::task::{Flag, TaskRef};

/// An event loop of this thread (asyncio: `AbstractEventLoop`). A cheap clone, and not `Send`.
pub struct EventLoop {
    pub(crate) inner: Rc<Inner>,
    /// Whether this handle keeps the loop from closing itself.
    owner: bool,
}

impl EventLoop {
    /// A loop on a backend of one's own, with defaults for the rest; see [`LoopBuilder`]. Programs usually take
    /// `loop_api::new_event_loop`, which picks the backend.
    #[must_use]
    pub fn new(backend: Box<dyn Backend>) -> Self {
        LoopBuilder::new(backend).build()
    }

    pub(crate) fn build(backend: Box<dyn Backend>, debug: bool, executor: DefaultExecutor) -> Self {
        Self { inner: Inner::new(backend, debug, executor), owner: true }
    }

    /// A handle that does not own the loop.
    pub(crate) fn of(inner: &Rc<Inner>) -> Self {
        Self { inner: Rc::clone(inner), owner: false }
    }

    /// The same for one call, which costs nothing.
    #[inline]
    pub(crate) fn lend<R>(inner: &Rc<Inner>, f: impl FnOnce(&Self) -> R) -> R {
        // SAFETY: one pointer more than is counted, which is not dropped, and does not outlive the one that is.
        let inner = unsafe { Rc::from_raw(Rc::as_ptr(inner)) };
        f(&ManuallyDrop::new(Self { inner, owner: false }))
    }

    /// The loop that runs in this thread (asyncio: `get_running_loop`).
    ///
    /// # Errors
    ///
    /// [`Error::NoRunningLoop`].
    pub fn running() -> Result<Self> {
        with_running(|running| running.map(Self::of)).ok_or_else(|| Error::NoRunningLoop)
    }

    /// Whether this handle and the other one are of the same loop.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.inner, &other.inner)
    }

    /// A clone that keeps the loop from closing itself, also where this handle, got inside the loop, does not.
    #[must_use]
    pub fn to_owner(&self) -> Self {
        self.inner.owners.set(self.inner.owners.get() + 1);
        Self { inner: Rc::clone(&self.inner), owner: true }
    }

    // ---- life cycle ------------------------------------------------------------------------------------------

    /// Runs until [`stop`](Self::stop) (asyncio: `run_forever`), also with nothing to do.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], [`Error::AlreadyRunning`], [`Error::OtherLoopRunning`]: refused before anything is touched.
    /// [`Error::Io`] where the backend cannot go on.
    pub fn run_forever(&self) -> Result<()> {
        self.inner.run()
    }

    /// Ends the run (asyncio: `stop`): the pass in progress is finished, and what is queued during it stays queued and
    /// runs first in the next run. Before a run, it makes that run one pass long. Never an error.
    pub fn stop(&self) {
        if !self.inner.closed.get() {
            self.inner.stop();
        }
    }

    /// Whether the loop runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.inner.running.get()
    }

    /// Whether [`close`](Self::close) was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.closed.get()
    }

    /// Closes the loop (asyncio: `close`): what is queued is dropped unrun, the default executor is told to stop and
    /// not waited for, tasks and futures stay pending for ever, the tasks' coroutines being dropped here. Descriptors of
    /// the loop are closed. Again, it does nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Running`]; nothing is changed.
    pub fn close(&self) -> Result<()> {
        if self.inner.running.get() {
            return Err(Error::Running);
        }
        if !self.inner.closed.get() {
            self.inner.close();
        }
        Ok(())
    }

    // ---- callbacks and timers --------------------------------------------------------------------------------

    /// Runs a function in the next pass, in the current context (asyncio: `call_soon`).
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    #[track_caller]
    pub fn call_soon(&self, function: impl FnOnce() + 'static) -> Result<CallbackHandle> {
        self.inner.push_callback(function, Scope::capture(), Location::caller())
    }

    /// Like [`call_soon`](Self::call_soon), in an explicit context, which the function shares and may change.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    #[track_caller]
    pub fn call_soon_in(&self, context: &Context, function: impl FnOnce() + 'static) -> Result<CallbackHandle> {
        self.inner.push_callback(function, Scope::Shared(context.clone()), Location::caller())
    }

    /// Like [`call_soon`](Self::call_soon), with what other threads use: see
    /// [`LoopHandle::call_soon_threadsafe`](crate::LoopHandle::call_soon_threadsafe). Called here, in the loop's own
    /// thread, it takes its place among the other calls.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    pub fn call_soon_threadsafe<F>(&self, function: F) -> Result<RemoteHandle>
    where
        F: FnOnce(&Self) + Send + 'static,
    {
        self.inner.check_open()?;
        let (handle, entry) = crate::loop_handle::local(function);
        self.inner.ready.push(Ready::Handle(entry));
        Ok(handle)
    }

    /// Puts a handle of one's own into the ready queue, as it is: another language's callback, another kind of task's
    /// step. No allocation beyond the handle's.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    pub fn schedule(&self, handle: Rc<dyn Handle>) -> Result<()> {
        self.inner.check_open()?;
        self.inner.ready.push(Ready::Handle(handle));
        Ok(())
    }

    /// Runs a function after a delay, given as a [`Duration`] or as seconds (asyncio: `call_later`). A delay of zero, or
    /// a negative one, means the next pass, behind what is ready then. Timers fire in the order of their deadlines,
    /// equal ones in the order they were set, never early.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`]; [`Error::InvalidArgument`] for a delay that is not a number.
    #[track_caller]
    pub fn call_later(&self, delay: impl Delay, function: impl FnOnce() + 'static) -> Result<TimerHandle> {
        let source = Location::caller();
        let when = self.inner.deadline(delay.into_duration()?);
        self.inner.set_timer(when, function, Scope::capture(), source)
    }

    /// Like [`call_later`](Self::call_later), in an explicit context.
    ///
    /// # Errors
    ///
    /// As for [`call_later`](Self::call_later).
    #[track_caller]
    pub fn call_later_in(
        &self,
        context: &Context,
        delay: impl Delay,
        function: impl FnOnce() + 'static,
    ) -> Result<TimerHandle> {
        let source = Location::caller();
        let when = self.inner.deadline(delay.into_duration()?);
        self.inner.set_timer(when, function, Scope::Shared(context.clone()), source)
    }

    /// Runs a function at a time on the loop's clock (asyncio: `call_at`); see [`call_later`](Self::call_later).
    ///
    /// # Errors
    ///
    /// As for [`call_later`](Self::call_later).
    #[track_caller]
    pub fn call_at(&self, when: impl Delay, function: impl FnOnce() + 'static) -> Result<TimerHandle> {
        let source = Location::caller();
        self.inner.set_timer(when.into_duration()?, function, Scope::capture(), source)
    }

    /// The loop's clock: monotonic, since an arbitrary moment (asyncio: `time`).
    #[must_use]
    pub fn time(&self) -> Duration {
        self.inner.now()
    }

    // ---- futures and tasks -----------------------------------------------------------------------------------

    /// A pending future of this loop (asyncio: `create_future`). Works on a closed loop too.
    #[must_use]
    #[track_caller]
    pub fn create_future<T: 'static>(&self) -> LoopFuture<T> {
        LoopFuture::new(&self.inner, Location::caller())
    }

    /// [`create_future`](Self::create_future) of the loop that runs in this thread (asyncio: `Future()`).
    ///
    /// # Errors
    ///
    /// [`Error::NoRunningLoop`](crate::Error::NoRunningLoop).
    #[track_caller]
    #[inline]
    pub fn create_future_here<T: 'static>() -> Result<LoopFuture<T>> {
        let source = Location::caller();
        with_running(|running| running.map(|inner| LoopFuture::new(inner, source))).ok_or_else(|| Error::NoRunningLoop)
    }

    /// The task whose step runs now, none in a plain callback (asyncio: `current_task`).
    #[must_use]
    pub fn current_task(&self) -> Option<TaskRef> {
        crate::probe::reveal(&self.inner);
        self.inner.current_task.get().map(TaskRef::hold)
    }

    /// The unfinished tasks, in the order of their creation (asyncio: `all_tasks`).
    #[must_use]
    pub fn all_tasks(&self) -> Vec<TaskRef> {
        crate::probe::reveal(&self.inner);
        let handles = self.inner.tasks.unfinished().into_iter().map(TaskRef::hold);
        handles.filter(|task| !task.header().local.has(Flag::Hidden)).collect()
    }

    // ---- the rest --------------------------------------------------------------------------------------------

    /// The loop as other threads may hold it.
    #[must_use]
    pub fn handle(&self) -> LoopHandle {
        LoopHandle { shared: Arc::clone(&self.inner.shared) }
    }

    /// Which backend this loop is on: `"epoll"`, `"uring"`, ...
    #[must_use]
    pub fn backend_name(&self) -> &'static str {
        self.inner.backend_name
    }

    /// What the backend can do beyond the minimum.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.inner.capabilities
    }

    /// How many passes the loop has made: for tests and for the curious.
    #[must_use]
    pub fn passes(&self) -> u64 {
        self.inner.passes.get()
    }

    /// [`passes`](Self::passes) of the loop that runs in this thread; none where none does. An await that is to give up a
    /// pass tells by it whether it has.
    #[must_use]
    #[inline]
    pub fn running_passes() -> Option<u64> {
        with_running(|running| running.map(|inner| inner.passes.get()))
    }

    /// How many timers are set and not cancelled.
    #[must_use]
    pub fn timer_count(&self) -> usize {
        self.inner.timers.borrow().len()
    }

    /// Whether debug mode is on (asyncio: `get_debug`).
    #[must_use]
    pub fn get_debug(&self) -> bool {
        self.inner.debug.get()
    }

    /// Turns debug mode on or off (asyncio: `set_debug`): callbacks and steps that take long are logged, and reports say
    /// where things were made.
    pub fn set_debug(&self, on: bool) {
        self.inner.debug.set(on);
    }

    /// From how long on debug mode logs a callback or a step (asyncio: `slow_callback_duration`); 100 ms at first.
    #[must_use]
    pub fn slow_callback_duration(&self) -> Duration {
        self.inner.slow_callback.get()
    }

    /// Sets it.
    pub fn set_slow_callback_duration(&self, duration: Duration) {
        self.inner.slow_callback.set(duration);
    }

    /// Sets what is called with errors that nobody awaits; `None` for the default, which logs (asyncio:
    /// `set_exception_handler`).
    pub fn set_exception_handler(&self, handler: Option<ExceptionHandler>) {
        let old = self.inner.exception_handler.replace(handler);
        drop(old);
    }

    /// What was set (asyncio: `get_exception_handler`).
    #[must_use]
    pub fn get_exception_handler(&self) -> Option<ExceptionHandler> {
        self.inner.exception_handler.borrow().clone()
    }

    /// Reports an error (asyncio: `call_exception_handler`). Works at any time, on a closed loop too.
    pub fn call_exception_handler(&self, context: &ExceptionContext) {
        self.inner.report(context);
    }

    /// What is called where no handler is set: logs the report as one error (asyncio: `default_exception_handler`).
    pub fn default_exception_handler(&self, context: &ExceptionContext) {
        crate::exception::default_handler(context);
    }
}

impl Clone for EventLoop {
    fn clone(&self) -> Self {
        if self.owner { self.to_owner() } else { Self::of(&self.inner) }
    }
}

impl Drop for EventLoop {
    fn drop(&mut self) {
        if !self.owner {
            return;
        }
        self.inner.owners.set(self.inner.owners.get() - 1);
        self.inner.close_unowned();
    }
}

impl PartialEq for EventLoop {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other)
    }
}

impl Eq for EventLoop {}

impl fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "<EventLoop {} running={} closed={} debug={}>",
            self.inner.backend_name,
            self.is_running(),
            self.is_closed(),
            self.get_debug()
        )
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Io(error) => error,
            other => Self::other(other),
        }
    }
}
