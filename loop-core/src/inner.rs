//! What a loop is made of, and how it runs what is ready: the inside of [`EventLoop`].
//!
//! Everything is behind cells of its own, borrowed for one call at a time and never while user code runs (**I2**): what a
//! destructor, a callback or a handler does finds the loop in order.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::asyncgen::Registry;
use crate::at_close::AtCloseList;
use crate::backend::{Backend, Capabilities};
use crate::buffer::Buffer;
use crate::counted::Counted;
use crate::default_executor::DefaultExecutor;
use crate::driver::{Arrived, Driver};
use crate::error::{Error, Result};
use crate::event_loop::EventLoop;
use crate::exception::{ExceptionContext, ExceptionHandler, Finally};
use crate::flush::{Dirty, Flush};
use crate::handle::{Callback, CallbackHandle, Handle, Scope, TimerHandle};
use crate::lookout::Lookout;
use crate::pace::Pace;
use crate::ready::{Ready, ReadyQueue};
use crate::running::{RunningSlot, is_any_running};
use crate::shared::{AnchorPool, Shared};
use crate::task::{Slabs, TaskPtr};
use crate::timers::{Target, TimerKey, Timers, nanos};

pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) anchors: AnchorPool,
    pub(crate) ready: ReadyQueue,
    pub(crate) pace: Pace,
    pub(crate) timers: RefCell<Timers>,
    pub(crate) tasks: Slabs,
    pub(crate) current_task: Cell<Option<TaskPtr>>,
    /// None once closed.
    pub(crate) driver: RefCell<Option<Driver>>,
    /// The backend was called since the last poll.
    pub(crate) stirred: Cell<bool>,
    pub(crate) arrived: RefCell<Arrived>,
    /// What has bytes to send at the end of the pass.
    pub(crate) dirty: Dirty,
    /// What is received lies here while its protocol looks at it, unless it is the backend's or the protocol's.
    pub(crate) receive_buffer: Cell<Option<Box<Buffer>>>,
    /// Emptied send buffers, the one used last on top.
    pub(crate) spare: RefCell<Vec<Vec<u8>>>,
    /// Whether to watch for other threads before it sleeps.
    pub(crate) lookout: Lookout,
    pub(crate) stopping: Cell<bool>,
    /// There was nothing to do but entries when a pass looked last, and what would change that has not happened since: a call
    /// of the backend, a timer set, something to send, a stop. (Other threads have a queue of their own.)
    pub(crate) quiet: Cell<bool>,
    pub(crate) closed: Cell<bool>,
    pub(crate) exception_handler: RefCell<Option<ExceptionHandler>>,
    pub(crate) executor: DefaultExecutor,
    pub(crate) watches: crate::watch::Watches,
    /// Open connections and servers.
    pub(crate) at_close: AtCloseList,
    pub(crate) signals: crate::signals::Signals,
    pub(crate) task_factory: RefCell<Option<crate::task::TaskFactory>>,
    pub(crate) asyncgens: Registry,
    pub(crate) debug: Cell<bool>,
    pub(crate) slow_callback: Cell<Duration>,
    pub(crate) running: Cell<bool>,
    /// How many runs began, and how many ended: an odd number while one is under way.
    pub(crate) runs: Cell<u64>,
    pub(crate) passes: Cell<u64>,
    pub(crate) owners: Cell<usize>,
    pub(crate) backend_name: &'static str,
    pub(crate) capabilities: Capabilities,
    /// When it was closed: on its own clock, and on the machine's.
    pub(crate) closed_at: Cell<Option<(Duration, Instant)>>,
}

impl Inner {
    /// A loop of this thread, with one owner.
    pub(crate) fn new(backend: Box<dyn Backend>, debug: bool, executor: DefaultExecutor) -> Rc<Self> {
        let driver = Driver::new(backend);
        let shared = Shared::new(driver.backend().unparker());
        let capabilities = driver.capabilities();
        let inner = Rc::new(Self {
            anchors: AnchorPool::new(&shared),
            shared,
            ready: ReadyQueue::default(),
            pace: Pace::new(capabilities.free_poll),
            timers: RefCell::default(),
            tasks: Slabs::new(),
            current_task: Cell::new(None),
            backend_name: driver.backend().name(),
            driver: RefCell::new(Some(driver)),
            stirred: Cell::new(false),
            arrived: RefCell::default(),
            dirty: Dirty::default(),
            lookout: Lookout::default(),
            receive_buffer: Cell::new(None),
            spare: RefCell::default(),
            stopping: Cell::new(false),
            quiet: Cell::new(false),
            closed: Cell::new(false),
            exception_handler: RefCell::new(None),
            executor,
            watches: crate::watch::Watches::default(),
            at_close: AtCloseList::default(),
            signals: crate::signals::Signals::default(),
            task_factory: RefCell::new(None),
            asyncgens: Registry::default(),
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
        inner
    }

    /// Where a loop is wanted as an `Rc`; none if it is gone.
    ///
    /// # Safety
    ///
    /// The pointer is null, or came from [`Shared::local`]; this is the loop's thread.
    pub(crate) unsafe fn rc_of(inner: *const Self) -> Option<Rc<Self>> {
        if inner.is_null() {
            return None;
        }
        // SAFETY: a loop takes its pointer back before it is gone, so this one is alive, and came from Rc::as_ptr.
        unsafe {
            Rc::increment_strong_count(inner);
            Some(Rc::from_raw(inner))
        }
    }

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
            if !self.quiet.get() && self.stopping.get() {
                return Ok(self.flush_backend()?);
            }
        }
    }

    /// Of the run that is, or is to come.
    pub(crate) fn run_ticket(&self) -> u64 {
        self.runs.get() | 1
    }

    /// Runs the next entry, if there is one.
    #[inline(never)]
    pub(crate) fn run_next(self: &Rc<Self>) {
        let Some(entry) = self.ready.pop() else { return };
        if self.debug.get() { self.run_entry_timed(entry) } else { self.run_entry_now(entry) }
    }

    #[inline]
    fn run_entry_now(self: &Rc<Self>, entry: Ready) {
        match entry {
            Ready::Task(task) => self.special_step(task),
            Ready::Callback(handle) => {
                self.run_handle(handle.0, |handle| Rc::new(CallbackHandle(Counted::clone(handle))));
            }
            Ready::Handle(handle) => self.run_handle(handle, Rc::clone),
            Ready::Sleeper(task) => task.wake(),
            Ready::Wake(waker) => {
                self.guard(|| waker.wake(), || ExceptionContext::new("Exception in a foreign waker"));
            }
            // What users gave is guarded where it is called, but its last owner may be dropped anywhere.
            Ready::Completion => {
                self.guard(|| self.dispatch_completion(), destructor);
            }
            Ready::Watch(watch) => {
                self.guard(move || watch.run(self), destructor);
            }
            Ready::Job(arrived) => self.job_done(arrived),
        }
    }

    /// Runs a handle and lets go of it; `shared` is what a report shows of it.
    #[inline]
    fn run_handle<H>(self: &Rc<Self>, handle: H, shared: impl FnOnce(&H) -> Rc<dyn Handle>)
    where
        H: Deref<Target = dyn Handle>,
    {
        let mut held = Some(handle);
        let result = catch_unwind(AssertUnwindSafe(|| {
            if let Some(handle) = &held
                && !handle.cancelled()
            {
                EventLoop::lend(self, |event_loop| handle.run(event_loop));
            }
            // Which may be the end of what it captured.
            held = None;
        }));
        if let Err(payload) = result {
            self.report_panic(payload, || match &held {
                Some(handle) => self.failed(&**handle, shared(handle)),
                None => destructor(),
            });
            self.dispose(held);
        }
    }

    fn failed(&self, handle: &dyn Handle, shared: Rc<dyn Handle>) -> ExceptionContext {
        let message = format!("Exception in callback {}", handle.describe());
        let context = ExceptionContext::new(message).handle(shared);
        match handle.source() {
            Some(source) if self.debug.get() => context.detail("source", source),
            _ => context,
        }
    }

    /// Debug mode: whatever takes too long is logged.
    #[cold]
    pub(crate) fn run_entry_timed(self: &Rc<Self>, entry: Ready) {
        let what = match &entry {
            Ready::Task(task) => format!("{:?}", task.display()),
            Ready::Callback(handle) => format!("{handle:?}"),
            Ready::Handle(handle) => format!("{handle:?}"),
            Ready::Sleeper(_) | Ready::Wake(_) => String::from("a waker"),
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
    #[inline]
    pub(crate) fn flush_writes(self: &Rc<Self>) {
        if !self.dirty.is_empty() {
            self.flush_dirty();
        }
    }

    #[inline(never)]
    fn flush_dirty(self: &Rc<Self>) {
        let mut finally = Finally::new(self);
        while let Some(flush) = self.dirty.next() {
            finally.run(|| flush.flush(self), || ExceptionContext::new("Exception while what was written was sent"));
        }
        finally.end();
    }

    /// Whether what is submitted now is likely to be all that there is until the loop waits: nothing else is ready, and
    /// nobody else has anything to send.
    pub(crate) fn is_lone(&self) -> bool {
        self.ready.is_empty() && self.dirty.is_done_with()
    }

    /// Ends the run after this pass, or has the next one end so.
    pub(crate) fn stop(&self) {
        self.stopping.set(true);
        self.quiet.set(false);
    }

    /// This has something to send at the end of the pass.
    pub(crate) fn add_dirty(&self, flush: Rc<dyn Flush>) {
        self.dirty.add(flush);
        self.quiet.set(false);
    }

    /// The time is in nanoseconds.
    #[inline]
    pub(crate) fn insert_timer(&self, when: u64, target: Target) -> TimerKey {
        self.quiet.set(false);
        self.timers.borrow_mut().insert(when, target)
    }

    pub(crate) fn push_callback<F: FnOnce() + 'static>(
        &self,
        function: F,
        scope: Scope,
        source: &'static Location<'static>,
    ) -> Result<CallbackHandle> {
        self.check_open()?;
        let handle = Callback::handle(function, scope, source);
        let queued = handle.clone();
        self.ready.push_with(|| Ready::Callback(queued));
        Ok(handle)
    }

    pub(crate) fn set_timer<F: FnOnce() + 'static>(
        self: &Rc<Self>,
        when: Duration,
        function: F,
        scope: Scope,
        source: &'static Location<'static>,
    ) -> Result<TimerHandle> {
        self.check_open()?;
        let handle = Callback::handle(function, scope, source);
        let key = self.insert_timer(nanos(when), Target::Callback(handle.clone()));
        Ok(TimerHandle::new(handle, key, when, Rc::clone(self)))
    }

    /// A loop that nobody owns closes itself, once it does not run.
    pub(crate) fn close_unowned(self: &Rc<Self>) {
        if self.owners.get() == 0 && !self.closed.get() && !self.running.get() {
            tracing::warn!("unclosed event loop {:?}: closing it", EventLoop::of(self));
            self.close();
        }
    }

    /// Whatever the destructors on the way do, the loop is closed when this returns.
    pub(crate) fn close(self: &Rc<Self>) {
        let _span = tracing::debug_span!("close", backend = self.backend_name).entered();
        let mut finally = Finally::new(self);
        self.closed.set(true);
        self.shared.closed.store(true, Ordering::Release);
        for node in self.shared.mailbox.queue.close() {
            // SAFETY: taken from the queue, alive, released once.
            finally.run(|| unsafe { ((*node).vtable().release)(node) }, destructor);
        }
        finally.run(|| self.executor.stop(), || ExceptionContext::new("Exception while the executor was stopped"));
        self.ready.take().into_iter().for_each(|entry| finally.dispose(entry));
        let timers = self.timers.borrow_mut().clear();
        timers.into_iter().for_each(|target| finally.dispose(target));
        self.asyncgens.close(&mut finally);
        self.orphan_tasks(&mut finally);
        self.signals.close(&mut finally);
        let factory = self.task_factory.take();
        finally.dispose(factory);
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
            drop(self.shared.mailbox.queue.close());
        }
        self.tasks.forsake(&self.shared);
    }
}

/// A run: the loop is marked, and the thread's slot taken, until dropped.
struct Run<'a> {
    inner: &'a Inner,
    _slot: RunningSlot,
}

impl<'a> Run<'a> {
    pub(crate) fn begin(inner: &'a Rc<Inner>) -> Self {
        inner.running.set(true);
        inner.runs.set(inner.runs.get() + 1);
        inner.shared.running.store(true, Ordering::Release);
        inner.pace.reset();
        inner.quiet.set(false);
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
pub(crate) struct Unowned<'a>(pub(crate) &'a Rc<Inner>);

impl Drop for Unowned<'_> {
    fn drop(&mut self) {
        self.0.close_unowned();
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
        self.quiet.set(false);
        now.saturating_add(delay)
    }
}
