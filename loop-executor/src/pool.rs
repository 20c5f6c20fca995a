//! [`ThreadPoolExecutor`] and its builder: how jobs get in, and how threads are started.
//!
//! Invariants kept here:
//!
//! * Before a job is queued there is a thread to run it: the first thread is started before the first
//!   push, and threads do not end while the pool is open. So a pool that cannot start any refuses the job
//!   instead of keeping it for ever, and one that has some never fails for want of another.
//! * The workers own the shared part, the handles own the right to submit: when the last handle is
//!   dropped the pool closes, runs what is queued, and its threads end.

use std::error::Error as StdError;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use loop_core::{ConcurrentFuture, Error, Executor, Job, Panicked};
use parking_lot::Mutex;

use crate::park::{Idle, MAX_WORKERS, Wake};
use crate::queue::Queue;
use crate::shutdown::Gate;
use crate::worker;

/// A pool of threads for blocking work (`concurrent.futures.ThreadPoolExecutor`), the default executor
/// of the event loop.
///
/// It starts a thread for a job only while none is idle and the maximum is not reached; threads are
/// reused and stay until the pool is shut down. Jobs are taken in the order they were submitted. A job
/// that panics has that as its outcome, and its thread goes on.
///
/// A cheap clone; all clones are one pool. When the last is dropped the pool shuts down as with
/// `shutdown(false, false)`. Nothing waits for its threads when the process exits: unlike Python,
/// call [`shutdown`](Self::shutdown) to see queued jobs through.
#[derive(Clone)]
pub struct ThreadPoolExecutor {
    owner: Arc<Owner>,
}

/// What only handles hold, so that its drop is the last handle's.
struct Owner {
    shared: Arc<Shared>,
}

/// What handles and workers share.
pub(crate) struct Shared {
    pub(crate) queue: Queue,
    pub(crate) idle: Idle,
    pub(crate) gate: Gate,
    /// Whether the first thread is there, which stays true.
    staffed: AtomicBool,
    threads: Mutex<Threads>,
    /// Held while threads are joined, so that a second `shutdown(true)` does not return before the first.
    joining: Mutex<()>,
    /// Whether a failure to start another thread was logged.
    short_of_threads: AtomicBool,
    options: Options,
}

struct Threads {
    started: usize,
    handles: Vec<JoinHandle<()>>,
}

struct Options {
    max_workers: usize,
    name_prefix: String,
    stack_size: Option<usize>,
    initializer: Option<Initializer>,
}

/// Whether the pool has threads.
enum Staffing {
    /// It has had some before.
    Staffed,
    /// The first was just started.
    Started,
}

type Initializer = Box<dyn Fn() -> Result<(), Box<dyn StdError + Send + Sync>> + Send + Sync>;

/// Builds a [`ThreadPoolExecutor`].
#[must_use = "a builder does nothing until `build`"]
pub struct ThreadPoolBuilder(Options);

impl ThreadPoolExecutor {
    /// A pool with the default settings of a [`builder`](Self::builder). It has no threads yet.
    #[must_use]
    pub fn new() -> Self {
        Self::from_options(ThreadPoolBuilder::new().0)
    }

    /// Starts describing a pool.
    pub fn builder() -> ThreadPoolBuilder {
        ThreadPoolBuilder::new()
    }

    fn from_options(options: Options) -> Self {
        let shared = Arc::new(Shared {
            queue: Queue::new(),
            idle: Idle::new(options.max_workers, options.initializer.is_none()),
            gate: Gate::new(),
            staffed: AtomicBool::new(false),
            threads: Mutex::new(Threads { started: 0, handles: Vec::new() }),
            joining: Mutex::new(()),
            short_of_threads: AtomicBool::new(false),
            options,
        });
        Self { owner: Arc::new(Owner { shared }) }
    }

    /// Queues `f` to be run by a thread of the pool, and gives the future of what it returns.
    ///
    /// # Errors
    ///
    /// As of [`Executor::execute`]; `f` is dropped then.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = loop_executor::ThreadPoolExecutor::new();
    /// let future = pool.submit(|| 6 * 7)?;
    /// assert_eq!(future.result(None)?, 42);
    /// # Ok::<(), loop_core::Error>(())
    /// ```
    pub fn submit<F, R>(&self, f: F) -> Result<ConcurrentFuture<R>, Error>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        let (job, future) = Job::new(f);
        self.owner.shared.execute(job)?;
        Ok(future)
    }

    /// Stops taking jobs. What is queued still runs, or is cancelled if `cancel_futures` says so; what
    /// runs is not interrupted.
    ///
    /// With `wait` this blocks until all threads have ended. Called by one of the pool's own threads it
    /// does not wait, since that thread cannot end before it returns. It may be called any number of times.
    pub fn shutdown(&self, wait: bool, cancel_futures: bool) {
        let shared = &self.owner.shared;
        shared.close(cancel_futures);
        if wait && !worker::is_current(shared) {
            shared.join();
        }
    }

    /// The most threads it may have.
    #[must_use]
    pub fn max_workers(&self) -> usize {
        self.owner.shared.options.max_workers
    }

    /// How many threads it has started so far.
    #[must_use]
    pub fn threads_started(&self) -> usize {
        self.owner.shared.idle.started()
    }
}

impl Default for ThreadPoolExecutor {
    fn default() -> Self {
        Self::new()
    }
}

impl Executor for ThreadPoolExecutor {
    fn execute(&self, job: Job) -> Result<(), Error> {
        self.owner.shared.execute(job)
    }

    fn shutdown(&self, wait: bool, cancel_futures: bool) {
        self.shutdown(wait, cancel_futures);
    }
}

impl fmt::Debug for ThreadPoolExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPoolExecutor")
            .field("name_prefix", &self.owner.shared.options.name_prefix)
            .field("max_workers", &self.max_workers())
            .field("threads_started", &self.threads_started())
            .finish_non_exhaustive()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.close(false);
    }
}

impl Shared {
    fn execute(self: &Arc<Self>, job: Job) -> Result<(), Error> {
        // A job that is refused is dropped on return, outside the gate: its destructor is user code.
        self.gate.enter()?;
        let (refused, outcome) = match self.staff() {
            Ok(staffing) => {
                worker::push(self, job);
                match staffing {
                    Staffing::Staffed => self.announce(),
                    // The first thread was started for this very job; there is no need of a second.
                    Staffing::Started => self.announce_to_sleepers(),
                }
                (None, Ok(()))
            }
            Err(error) => (Some(job), Err(error)),
        };
        if self.gate.leave() {
            self.idle.wake_all();
        }
        drop(refused);
        outcome
    }

    /// Sees to it that someone looks for work.
    pub(crate) fn announce(self: &Arc<Self>) {
        match self.idle.announce(|| self.queue.is_empty()) {
            Wake::Nobody => {}
            Wake::Sleeper(parker) => parker.unpark(),
            Wake::Start => self.start_another(),
        }
    }

    /// Sees to it that there is a thread at all.
    fn staff(self: &Arc<Self>) -> Result<Staffing, Error> {
        if self.staffed.load(Ordering::Acquire) {
            return Ok(Staffing::Staffed);
        }
        let mut threads = self.threads.lock();
        if self.staffed.load(Ordering::Relaxed) {
            return Ok(Staffing::Staffed);
        }
        self.idle.starting();
        if let Err(error) = self.start(&mut threads) {
            self.idle.not_started();
            return Err(error.into());
        }
        self.staffed.store(true, Ordering::Release);
        Ok(Staffing::Started)
    }

    /// Starts a thread that is counted already, if it can be.
    fn start_another(self: &Arc<Self>) {
        let Err(error) = self.start(&mut self.threads.lock()) else { return };
        if self.short_of_threads.swap(true, Ordering::Relaxed) {
            tracing::debug!(%error, "cannot start another thread");
        } else {
            tracing::warn!(%error, "cannot start another thread, so the pool goes on with those it has");
        }
        self.idle.not_started();
        self.announce_to_sleepers();
    }

    /// As `announce`, but starts no thread.
    fn announce_to_sleepers(&self) {
        if let Wake::Sleeper(parker) = self.idle.announce_to_sleepers(|| self.queue.is_empty()) {
            parker.unpark();
        }
    }

    fn start(self: &Arc<Self>, threads: &mut Threads) -> std::io::Result<()> {
        let mut builder = thread::Builder::new().name(format!("{}_{}", self.options.name_prefix, threads.started));
        if let Some(size) = self.options.stack_size {
            builder = builder.stack_size(size);
        }
        let shared = Arc::clone(self);
        let handle = builder.spawn(move || worker::main(shared))?;
        threads.started += 1;
        threads.handles.push(handle);
        Ok(())
    }

    fn close(&self, cancel: bool) {
        self.gate.close(cancel);
        if cancel {
            self.clear();
        }
        self.idle.wake_all();
    }

    /// Empties the queue of a pool that is not to run it.
    fn clear(&self) {
        while let Some(job) = self.queue.take(None) {
            self.gate.dispose(job);
        }
    }

    /// Waits for all threads to end.
    fn join(&self) {
        // After this nobody but a worker starts one, and it does so before it ends itself: so a list that
        // is empty once its last thread was joined stays empty.
        self.gate.wait_over();
        let _turn = self.joining.lock();
        loop {
            let next = self.threads.lock().handles.pop();
            let Some(thread) = next else { return };
            if thread.join().is_err() {
                tracing::error!("a thread of the pool panicked");
            }
        }
    }

    /// Runs the initializer in a new thread. Where it fails, the pool breaks.
    pub(crate) fn initialize(&self) {
        let Some(initializer) = &self.options.initializer else { return };
        if !self.gate.runs() {
            return;
        }
        match catch_unwind(AssertUnwindSafe(initializer)) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => tracing::error!(%error, "the initializer of a thread failed, which breaks the pool"),
            Err(payload) => {
                let panicked = Panicked::new(payload);
                tracing::error!(%panicked, "the initializer of a thread failed, which breaks the pool");
            }
        }
        self.gate.break_down();
        self.clear();
        self.idle.wake_all();
    }
}

impl ThreadPoolBuilder {
    fn new() -> Self {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Self(Options {
            max_workers: (processors + 4).min(32),
            name_prefix: String::from("asyncio"),
            stack_size: None,
            initializer: None,
        })
    }

    /// The most threads the pool may have; by default four more than there are processors, but not more
    /// than 32. Beyond 32,767 it makes no difference.
    pub fn max_workers(mut self, max_workers: usize) -> Self {
        self.0.max_workers = max_workers;
        self
    }

    /// What threads are called: this, an underscore, and a number from 0. By default `asyncio`.
    pub fn thread_name_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.0.name_prefix = prefix.into();
        self
    }

    /// The stack size of the threads in bytes; by default the standard library's.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.0.stack_size = Some(bytes);
        self
    }

    /// What each thread runs before its first job. Where it fails or panics the pool is broken: the jobs
    /// that are queued, and all later ones, fail with [`Error::BrokenPool`].
    pub fn initializer<E>(mut self, initializer: impl Fn() -> Result<(), E> + Send + Sync + 'static) -> Self
    where
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        self.0.initializer = Some(Box::new(move || initializer().map_err(Into::into)));
        self
    }

    /// Makes the pool. It has no threads yet.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if `max_workers` is 0, or if the name prefix has a NUL in it.
    pub fn build(mut self) -> Result<ThreadPoolExecutor, Error> {
        if self.0.max_workers == 0 {
            return Err(Error::InvalidArgument("max_workers must be greater than 0"));
        }
        if self.0.name_prefix.contains('\0') {
            return Err(Error::InvalidArgument("thread_name_prefix must not contain a NUL"));
        }
        self.0.max_workers = self.0.max_workers.min(MAX_WORKERS);
        Ok(ThreadPoolExecutor::from_options(self.0))
    }
}

impl fmt::Debug for ThreadPoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPoolBuilder")
            .field("max_workers", &self.0.max_workers)
            .field("name_prefix", &self.0.name_prefix)
            .field("stack_size", &self.0.stack_size)
            .finish_non_exhaustive()
    }
}
