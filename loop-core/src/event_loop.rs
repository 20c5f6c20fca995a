//! The event loop: its state, its life cycle, and what is called on it.
//!
//! `new` → `run_forever` / `run_until_complete`, any number of times, each ended by `stop` → `close`. The loop belongs to
//! the thread that made it; [`LoopHandle`](crate::LoopHandle) is what other threads get.
//!
//! Ownership: an [`EventLoop`] that a program made, and its clones, own the loop; what runs inside gets a handle that
//! does not (`get_running_loop`, the argument of callbacks). When the last owner goes, an unclosed loop closes itself
//! with a warning, so that what is pending, which may hold handles of the loop, does not keep it alive for ever.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::at_close::AtCloseList;
use crate::backend::{Backend, Capabilities};
use crate::builder::LoopBuilder;
use crate::context::Context;
use crate::default_executor::DefaultExecutor;
use crate::delay::Delay;
use crate::driver::{Driver, Flush};
use crate::error::{Error, Result};
use crate::exception::{ExceptionContext, ExceptionHandler, Finally};
use crate::future::LoopFuture;
use crate::handle::{Callback, CallbackHandle, Handle, Scope, TimerHandle};
use crate::loop_handle::{LoopHandle, RemoteHandle};
use crate::op::Completion;
use crate::pace::Pace;
use crate::ready::{Ready, ReadyQueue};
use crate::running::{RunningSlot, is_any_running, with_running};
use crate::shared::{AnchorPool, Shared};
use crate::task::{Flag, LoopTask, TaskList, TaskPtr, TaskRef};
use crate::timers::{Target, Timers};

/// An event loop of this thread (asyncio: `AbstractEventLoop`). A cheap clone, and not `Send`.
pub struct EventLoop {
    pub(crate) inner: Rc<Inner>,
    /// Whether this handle keeps the loop from closing itself.
    owner: bool,
}

pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) anchors: AnchorPool,
    pub(crate) ready: ReadyQueue,
    pub(crate) pace: Pace,
    pub(crate) timers: RefCell<Timers>,
    pub(crate) tasks: TaskList,
    pub(crate) current_task: Cell<Option<TaskPtr>>,
    /// None once closed.
    pub(crate) driver: RefCell<Option<Driver>>,
    /// Completions whose entries in the ready queue did not come up yet, in their order.
    pub(crate) arrived: RefCell<VecDeque<Completion>>,
    /// The vector that polls fill, kept for its capacity.
    pub(crate) scratch: RefCell<Vec<Completion>>,
    /// What has bytes to send at the end of the pass.
    pub(crate) dirty: RefCell<Vec<Rc<dyn Flush>>>,
    /// Emptied send buffers, the one used last on top.
    spare: RefCell<Vec<Vec<u8>>>,
    pub(crate) stopping: Cell<bool>,
    pub(crate) closed: Cell<bool>,
    pub(crate) exception_handler: RefCell<Option<ExceptionHandler>>,
    pub(crate) executor: DefaultExecutor,
    pub(crate) watches: crate::watch::Watches,
    /// Open connections and servers.
    pub(crate) at_close: AtCloseList,
    pub(crate) debug: Cell<bool>,
    slow_callback: Cell<Duration>,
    running: Cell<bool>,
    runs: Cell<u64>,
    passes: Cell<u64>,
    owners: Cell<usize>,
    backend_name: &'static str,
    capabilities: Capabilities,
    /// When it was closed: on its own clock, and on the machine's.
    closed_at: Cell<Option<(Duration, Instant)>>,
}

impl Inner {
    /// Whether the clock must be told when other threads work for the loop.
    pub(crate) fn holds_clock(&self) -> bool {
        self.capabilities.virtual_time
    }

    pub(crate) fn now(&self) -> Duration {
        if let Some(driver) = &*self.driver.borrow() {
            return driver.backend().now();
        }
        match self.closed_at.get() {
            Some((then, at)) if !self.capabilities.virtual_time => then + at.elapsed(),
            Some((then, _)) => then,
            None => Duration::ZERO,
        }
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed.get() { Err(Error::Closed) } else { Ok(()) }
    }

    /// Refuses a run before any state is touched.
    pub(crate) fn check_runnable(&self) -> Result<()> {
        self.check_open()?;
        if self.running.get() {
            return Err(Error::AlreadyRunning);
        }
        if is_any_running() {
            return Err(Error::OtherLoopRunning);
        }
        Ok(())
    }

    /// Passes until `stop`.
    pub(crate) fn run(self: &Rc<Self>) -> Result<()> {
        self.check_runnable()?;
        let _unowned = Unowned(self);
        let _run = Run::begin(self);
        // What was written between runs has no pass to end with.
        self.flush_writes();
        loop {
            self.passes.set(self.passes.get() + 1);
            self.run_pass()?;
            if self.stopping.get() {
                return Ok(());
            }
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.get()
    }

    /// The number of the run that is, or is to come.
    pub(crate) fn run_ticket(&self) -> u64 {
        self.runs.get()
    }

    pub(crate) fn run_entry(self: &Rc<Self>, entry: Ready) {
        if self.debug.get() {
            self.run_entry_timed(entry);
        } else {
            self.run_entry_now(entry);
        }
    }

    fn run_entry_now(self: &Rc<Self>, entry: Ready) {
        match entry {
            Ready::Task(task) => self.step(task),
            Ready::Handle(handle) => self.run_handle(handle),
            Ready::Wake(waker) => {
                self.guard(|| waker.wake(), || ExceptionContext::new("Exception in a foreign waker"));
            }
            Ready::Completion => self.dispatch_completion(),
            Ready::Watch(watch) => watch.run(self),
            Ready::Job(token) => self.job_done(token),
        }
    }

    fn run_handle(self: &Rc<Self>, handle: Rc<dyn Handle>) {
        let event_loop = EventLoop::of(self);
        self.guard(
            || {
                if !handle.cancelled() {
                    handle.run(&event_loop);
                }
            },
            || {
                let message = format!("Exception in callback {}", handle.describe());
                let context = ExceptionContext::new(message).handle(Rc::clone(&handle));
                match handle.source() {
                    Some(source) if self.debug.get() => context.detail("source", source),
                    _ => context,
                }
            },
        );
        self.dispose(handle);
    }

    /// Debug mode: whatever takes too long is logged.
    #[cold]
    fn run_entry_timed(self: &Rc<Self>, entry: Ready) {
        let what = match &entry {
            Ready::Task(task) => format!("{:?}", task.display()),
            Ready::Handle(handle) => format!("{handle:?}"),
            Ready::Wake(_) => String::from("a waker"),
            Ready::Completion | Ready::Watch(_) => String::from("an I/O callback"),
            Ready::Job(_) => String::from("an executor's result"),
        };
        let start = Instant::now();
        self.run_entry_now(entry);
        let took = start.elapsed();
        if took >= self.slow_callback.get() {
            tracing::warn!("Executing {what} took {:.3} seconds", took.as_secs_f64());
        }
    }

    /// Sends what was written. What protocols write when they are told to resume leaves with it: nothing written waits for
    /// another pass, which might be long in coming. (That ends: only a writer that was paused is told to resume.)
    pub(crate) fn flush_writes(self: &Rc<Self>) {
        while !self.dirty.borrow().is_empty() {
            let mut dirty = self.dirty.take();
            let mut finally = Finally::new(self);
            for flush in dirty.drain(..) {
                finally
                    .run(|| flush.flush(self), || ExceptionContext::new("Exception while what was written was sent"));
            }
            let mut place = self.dirty.borrow_mut();
            if place.is_empty() {
                // Kept for its capacity.
                *place = dirty;
            }
            drop(place);
            finally.end();
        }
    }

    fn push_callback<F: FnOnce() + 'static>(
        &self,
        function: F,
        scope: Scope,
        source: &'static Location<'static>,
    ) -> Result<CallbackHandle> {
        self.check_open()?;
        let handle = CallbackHandle(Callback::new(function, scope, source));
        self.ready.push(Ready::Handle(Rc::clone(&handle.0)));
        Ok(handle)
    }

    fn set_timer<F: FnOnce() + 'static>(
        self: &Rc<Self>,
        when: Duration,
        function: F,
        scope: Scope,
        source: &'static Location<'static>,
    ) -> Result<TimerHandle> {
        self.check_open()?;
        let handle = CallbackHandle(Callback::new(function, scope, source));
        let key = self.timers.borrow_mut().insert(when, Target::Handle(Rc::clone(&handle.0)));
        Ok(TimerHandle::new(handle, key, when, Rc::clone(self)))
    }

    /// A loop that nobody owns closes itself, once it does not run.
    fn close_unowned(self: &Rc<Self>) {
        if self.owners.get() == 0 && !self.closed.get() && !self.running.get() {
            tracing::warn!("unclosed event loop {:?}: closing it", EventLoop::of(self));
            self.close();
        }
    }

    /// Whatever the destructors on the way do, the loop is closed when this returns.
    fn close(self: &Rc<Self>) {
        let _span = tracing::debug_span!("close", backend = self.backend_name).entered();
        let mut finally = Finally::new(self);
        self.closed.set(true);
        self.shared.closed.store(true, Ordering::Release);
        for node in self.shared.queue.close() {
            // SAFETY: taken from the queue, alive, released once.
            finally.run(|| unsafe { ((*node).vtable.release)(node) }, destructor);
        }
        finally.run(|| self.executor.stop(), || ExceptionContext::new("Exception while the executor was stopped"));
        self.ready.take().into_iter().for_each(|entry| finally.dispose(entry));
        let timers = self.timers.borrow_mut().clear();
        timers.into_iter().for_each(|target| finally.dispose(target));
        self.orphan_tasks(&mut finally);
        self.watches.take().into_iter().for_each(|watch| finally.dispose(watch));
        self.at_close.take().into_iter().for_each(|it| it.loop_closed(&mut finally));
        self.dirty.take().into_iter().for_each(|flush| finally.dispose(flush));
        self.closed_at.set(Some((self.now(), Instant::now())));
        self.close_driver(&mut finally);
        // Destructors may have queued more.
        self.ready.take().into_iter().for_each(|entry| finally.dispose(entry));
        self.executor.take_waiting().into_iter().for_each(|job| finally.dispose(job));
        self.shared.drop_unparker();
        finally.end();
    }
}

fn destructor() -> ExceptionContext {
    ExceptionContext::new("Exception in a destructor")
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.set_local(std::ptr::null());
        if !self.closed.get() {
            // Only where building the loop failed half-way: the last owner closes it otherwise.
            drop(self.shared.queue.close());
        }
    }
}

/// A run: the loop is marked, and the thread's slot taken, until dropped.
struct Run<'a> {
    inner: &'a Inner,
    _slot: RunningSlot,
}

impl<'a> Run<'a> {
    fn begin(inner: &'a Rc<Inner>) -> Self {
        inner.running.set(true);
        inner.shared.running.store(true, Ordering::Release);
        inner.pace.reset();
        Self { inner, _slot: RunningSlot::take(inner) }
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.inner.stopping.set(false);
        self.inner.running.set(false);
        self.inner.runs.set(self.inner.runs.get() + 1);
        self.inner.shared.running.store(false, Ordering::Release);
    }
}

/// At the end of a run: whether the last owner went meanwhile.
struct Unowned<'a>(&'a Rc<Inner>);

impl Drop for Unowned<'_> {
    fn drop(&mut self) {
        self.0.close_unowned();
    }
}

impl EventLoop {
    /// A loop on a backend of one's own, with defaults for the rest; see [`LoopBuilder`]. Programs usually take
    /// `loop_api::new_event_loop`, which picks the backend.
    #[must_use]
    pub fn new(backend: Box<dyn Backend>) -> Self {
        LoopBuilder::new(backend).build()
    }

    pub(crate) fn build(backend: Box<dyn Backend>, debug: bool, executor: DefaultExecutor) -> Self {
        let driver = Driver::new(backend);
        let shared = Shared::new(driver.backend().unparker());
        let capabilities = driver.capabilities();
        let inner = Rc::new(Inner {
            anchors: AnchorPool::new(&shared),
            shared,
            ready: ReadyQueue::default(),
            pace: Pace::new(capabilities.free_poll),
            timers: RefCell::default(),
            tasks: TaskList::default(),
            current_task: Cell::new(None),
            backend_name: driver.backend().name(),
            driver: RefCell::new(Some(driver)),
            arrived: RefCell::default(),
            scratch: RefCell::default(),
            dirty: RefCell::default(),
            spare: RefCell::default(),
            stopping: Cell::new(false),
            closed: Cell::new(false),
            exception_handler: RefCell::new(None),
            executor,
            watches: crate::watch::Watches::default(),
            at_close: AtCloseList::default(),
            debug: Cell::new(debug),
            slow_callback: Cell::new(Duration::from_millis(100)),
            running: Cell::new(false),
            runs: Cell::new(0),
            passes: Cell::new(0),
            owners: Cell::new(1),
            capabilities,
            closed_at: Cell::new(None),
        });
        inner.shared.set_local(Rc::as_ptr(&inner));
        tracing::debug!(backend = inner.backend_name, "event loop made");
        Self { inner, owner: true }
    }

    /// A handle that does not own the loop.
    pub(crate) fn of(inner: &Rc<Inner>) -> Self {
        Self { inner: Rc::clone(inner), owner: false }
    }

    /// The loop that runs in this thread (asyncio: `get_running_loop`).
    ///
    /// # Errors
    ///
    /// [`Error::NoRunningLoop`].
    pub fn running() -> Result<Self> {
        with_running(|running| running.map(Self::of)).ok_or(Error::NoRunningLoop)
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
            self.inner.stopping.set(true);
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
        LoopFuture::new(&self.inner)
    }

    /// Makes a task that drives a coroutine (asyncio: `create_task`). Its first step is in the next pass; tasks begin in
    /// the order of their creation.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`]; the coroutine is dropped.
    #[track_caller]
    pub fn create_task<F>(&self, coroutine: F) -> Result<LoopTask<F::Output>>
    where
        F: Future + 'static,
    {
        let source = Location::caller();
        self.inner.check_open()?;
        let task = self.inner.new_task(coroutine, false, source);
        // SAFETY: just made, by this loop, on its thread; its output is the coroutine's.
        unsafe {
            crate::task::schedule(task);
            Ok(LoopTask::new(TaskRef::adopt(task)))
        }
    }

    /// Like [`create_task`](Self::create_task), with every step in an explicit context, which the task shares.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`]; the coroutine is dropped.
    #[track_caller]
    pub fn create_task_in<F>(&self, context: &Context, coroutine: F) -> Result<LoopTask<F::Output>>
    where
        F: Future + 'static,
    {
        let task = self.create_task(coroutine)?;
        task.header().with_extras(|extras| extras.shared_context = Some(context.clone()));
        Ok(task)
    }

    /// The task whose step runs now, none in a plain callback (asyncio: `current_task`).
    #[must_use]
    pub fn current_task(&self) -> Option<TaskRef> {
        crate::root::reveal(&self.inner);
        self.inner.current_task.get().map(TaskRef::hold)
    }

    /// The unfinished tasks, in the order of their creation (asyncio: `all_tasks`).
    #[must_use]
    pub fn all_tasks(&self) -> Vec<TaskRef> {
        crate::root::reveal(&self.inner);
        let handles = self.inner.tasks.iter().map(TaskRef::hold);
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

/// Send buffers kept for the next writer: so many, of so much capacity at the most.
const SPARE_BUFFERS: usize = 64;
const SPARE_CAPACITY: usize = 64 * 1024;

impl Inner {
    /// An empty buffer to gather what is written in.
    pub(crate) fn spare_buffer(&self) -> Vec<u8> {
        self.spare.borrow_mut().pop().unwrap_or_default()
    }

    /// A buffer that was sent: connections hold none while they are idle.
    pub(crate) fn recycle_buffer(&self, mut buffer: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        if buffer.capacity() > 0 && buffer.capacity() <= SPARE_CAPACITY && spare.len() < SPARE_BUFFERS {
            buffer.clear();
            spare.push(buffer);
        }
    }

    /// Whether bytes can be moved in the caller's own call.
    pub(crate) fn is_synchronous(&self) -> bool {
        self.capabilities.synchronous
    }

    /// A delay from now on, as a time. The fresh look at the clock also tells the pass how far time has come.
    pub(crate) fn deadline(&self, delay: Duration) -> Duration {
        let now = self.now();
        self.pace.sample(now, None);
        now.saturating_add(delay)
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
