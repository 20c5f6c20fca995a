//! What the loop needs of a thread pool, and the unit it hands over: [`Executor`] and [`Job`].
//!
//! The loop knows no pool. `loop-executor` implements [`Executor`] for its own, and so may any other
//! crate: an implementation has to do two things, run each accepted job once on a thread that may
//! block, and say so when it accepts no more.
//!
//! Invariants kept here:
//!
//! * A job's closure runs at most once, whoever holds the job and whatever they do with it.
//! * Every job completes its future: by running, by [`Job::cancel`], by [`Job::fail`], or by being
//!   dropped, which counts as abandoned.
//! * No method of a job unwinds: a panic of the closure is the outcome, one in a destructor or a
//!   listener is logged. A pool's thread needs no `catch_unwind` of its own.

use std::fmt;
use std::sync::Arc;

use crate::concurrent::{Called, ConcurrentFuture, Rest, Runnable, Shared};
use crate::{Error, TaskError};

/// A pool of threads for blocking work (asyncio: `concurrent.futures.Executor`).
///
/// # Examples
///
/// An executor with a thread for every job:
///
/// ```
/// use loop_core::{Error, Executor, Job};
///
/// struct ThreadPerJob;
///
/// impl Executor for ThreadPerJob {
///     fn execute(&self, job: Job) -> Result<(), Error> {
///         std::thread::Builder::new().spawn(move || job.run())?;
///         Ok(())
///     }
///     fn shutdown(&self, _wait: bool, _cancel_futures: bool) {}
/// }
///
/// let (job, future) = Job::new(|| 6 * 7);
/// ThreadPerJob.execute(job)?;
/// assert_eq!(future.result(None)?, 42);
/// # Ok::<(), Error>(())
/// ```
pub trait Executor: Send + Sync + 'static {
    /// Queues a job. Does not wait for a free thread, however full the pool is.
    ///
    /// # Errors
    ///
    /// [`Error::PoolShutdown`] after [`shutdown`](Self::shutdown), [`Error::BrokenPool`] if the pool
    /// can run nothing any more, or [`Error::Io`] if it has no thread and cannot start one. The job is
    /// dropped unrun then.
    fn execute(&self, job: Job) -> Result<(), Error>;

    /// Stops taking jobs. Those already queued still run, unless `cancel_futures` asks for
    /// [`Job::cancel`] on each of them; running ones finish in any case.
    ///
    /// With `wait` the call returns once all threads have ended, blocking the caller until then. It
    /// may be called any number of times, also with other arguments than before.
    fn shutdown(&self, wait: bool, cancel_futures: bool);
}

/// A closure to be run once by an [`Executor`], its type erased.
///
/// Closure, outcome and completion lie in a single allocation, which the job shares with its
/// [`ConcurrentFuture`]. Dropping a job unrun ends its future as [`TaskError::Abandoned`].
#[must_use = "a job that is dropped ends its future as abandoned"]
pub struct Job(Option<Arc<dyn Runnable>>);

impl Job {
    /// A job that runs `f`, and the future of what it returns.
    pub fn new<F, R>(f: F) -> (Self, ConcurrentFuture<R>)
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        let shared = Shared::for_job(f);
        (Self(Some(Arc::clone(&shared) as _)), ConcurrentFuture::from_shared(shared))
    }

    /// Runs the closure in this thread and completes the future with its value, or with
    /// [`TaskError::Panicked`]. Does nothing if the future was cancelled meanwhile.
    pub fn run(self) {
        drop(self.call());
    }

    /// The first step of [`run`](Self::run), for a pool that wants to count its thread as free before
    /// anyone can see the outcome and hand in the next job: runs the closure and keeps the outcome to
    /// itself.
    pub fn call(mut self) -> Ended {
        Ended(self.0.take().map(|shared| {
            let called = shared.call();
            (shared, called)
        }))
    }

    /// Drops the closure unrun and ends the future as cancelled: what a pool does with its queue when
    /// it is told to cancel it.
    pub fn cancel(mut self) {
        if let Some(shared) = self.0.take() {
            shared.cancel();
        }
    }

    /// Drops the closure unrun and ends the future with this error: what a broken pool does with its
    /// queue.
    pub fn fail(mut self, error: TaskError) {
        if let Some(shared) = self.0.take() {
            shared.fail(error);
        }
    }

    /// Whether the future was cancelled, so that running this job would do nothing.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| shared.is_cancelled())
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            shared.fail(TaskError::Abandoned);
        }
    }
}

/// A job whose closure has returned, while nobody knows of it yet; see [`Job::call`].
///
/// Dropping it takes the remaining steps.
#[must_use = "the outcome becomes known when this is dropped"]
pub struct Ended(Option<(Arc<dyn Runnable>, Called)>);

/// What is left of a job when its outcome is known: the user's callbacks and destructors, which may take
/// their time. Dropping it runs them.
#[must_use = "the callbacks run when this is dropped"]
pub struct Aftermath(Option<Rest>);

impl Ended {
    /// Whether done callbacks were added so far, so that [`tell`](Self::tell) will not be the end of it.
    #[must_use]
    pub fn has_callbacks(&self) -> bool {
        self.0.as_ref().is_some_and(|(shared, _)| shared.has_callbacks())
    }

    /// The second step: completes the future, and tells its notifier and the threads that wait. This does
    /// not take long. If there is more to do, it is in the answer.
    pub fn tell(mut self) -> Option<Aftermath> {
        let (shared, called) = self.0.take()?;
        shared.tell(called).map(|rest| Aftermath(Some(rest)))
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        if let Some((shared, called)) = self.0.take() {
            drop(shared.tell(called).map(|rest| Aftermath(Some(rest))));
        }
    }
}

impl Drop for Aftermath {
    fn drop(&mut self) {
        if let Some(rest) = self.0.take() {
            rest();
        }
    }
}

impl fmt::Debug for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ended").finish_non_exhaustive()
    }
}

impl fmt::Debug for Aftermath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aftermath").finish_non_exhaustive()
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}
