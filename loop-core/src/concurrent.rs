//! [`ConcurrentFuture`]: the outcome of work in another thread, for a thread to wait for
//! (asyncio: `concurrent.futures.Future`).
//!
//! It has two kinds of producer. A [`Job`](crate::Job) runs a closure in a pool; a [`Completer`] stands
//! for anything else, such as a coroutine that a loop drives for another thread. It has three kinds
//! of listener: threads that block in [`ConcurrentFuture::result`], done callbacks, and one
//! [`Notify`], the loop's own way, which costs no allocation.
//!
//! Invariants kept here:
//!
//! * It ends exactly once, whatever races: completed, cancelled, or abandoned by its producer.
//! * Each listener hears of it exactly once, also one that comes while it ends, and never with a lock
//!   held.
//! * What is cancelled before it started never runs.
//!
//! [`state`] has the rules that make this so, [`shared`] the memory they guard.

mod arrival;
#[cfg(all(test, loom))]
mod loom;
mod shared;
mod state;
#[cfg(all(test, not(loom)))]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use arrival::Arrived;
pub(crate) use shared::{Called, Rest, Runnable, Shared};

use crate::shared::Anchor;
use crate::{Error, TaskError};

/// The outcome of work in another thread (asyncio: `concurrent.futures.Future`).
///
/// A cheap clone; all clones are one future. The value is moved out by the first who asks for it.
/// Dropping it leaves the work alone; [`cancel`](Self::cancel) is for that.
///
/// # Examples
///
/// ```
/// use loop_core::{ConcurrentFuture, TaskError};
///
/// let (completer, future) = ConcurrentFuture::pair();
/// let worker = std::thread::spawn(move || completer.complete(Ok("done")));
/// assert_eq!(future.result(None)?, "done");
/// assert!(matches!(future.try_take(), Some(Err(TaskError::Taken))));
/// # worker.join().unwrap();
/// # Ok::<(), loop_core::Error>(())
/// ```
pub struct ConcurrentFuture<T> {
    shared: Arc<Shared<T>>,
}

/// Boxed because it waits in a list of its likes.
type Callback<T> = Box<dyn FnOnce(&ConcurrentFuture<T>) + Send>;

/// Who is told that a [`ConcurrentFuture`] is done: an event loop.
pub trait Notify: Send + Sync {
    /// Called once with the token that was registered, in the thread that completes or cancels the
    /// future, with no lock held. It should be short; a panic in it is logged.
    fn notify(&self, token: u64);
}

/// Why [`ConcurrentFuture::result`] gives no value.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WaitError {
    /// The time passed first; the work goes on (`TimeoutError`).
    #[error("the result was not ready in time")]
    TimedOut,
    /// The work did not end with a value.
    #[error(transparent)]
    Task(#[from] TaskError),
}

impl From<WaitError> for Error {
    /// A time-out becomes an [`std::io::ErrorKind::TimedOut`], as Python's `TimeoutError` is an `OSError`.
    fn from(error: WaitError) -> Self {
        match error {
            WaitError::TimedOut => Self::Io(std::io::ErrorKind::TimedOut.into()),
            WaitError::Task(error) => Self::Task(error),
        }
    }
}

impl<T: Send + 'static> ConcurrentFuture<T> {
    /// A future and the side that completes it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use loop_core::ConcurrentFuture;
    /// let (completer, future) = ConcurrentFuture::<u32>::pair();
    /// assert!(future.cancel());
    /// assert!(completer.is_cancelled());
    /// ```
    pub fn pair() -> (Completer<T>, Self) {
        let shared = Shared::for_pair();
        (Completer { shared: Some(Arc::clone(&shared)) }, Self { shared })
    }

    pub(crate) fn from_shared(shared: Arc<Shared<T>>) -> Self {
        Self { shared }
    }

    /// Whether it ended: with a value, an error, or by being cancelled.
    #[must_use]
    pub fn done(&self) -> bool {
        self.snapshot().is_done()
    }

    /// Whether the work has begun and not ended.
    #[must_use]
    pub fn running(&self) -> bool {
        self.snapshot().is_running()
    }

    /// Whether it was cancelled, by [`cancel`](Self::cancel) or by its producer.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.snapshot().is_cancelled()
    }

    /// Cancels it; whether it is cancelled now.
    ///
    /// Work that waits in a queue never runs; its closure is dropped here. Work that runs cannot be
    /// stopped, and the answer is false, unless its producer has registered
    /// [`Completer::on_cancel`]: then the future ends as cancelled at once, and the hook asks the
    /// producer to end the work too.
    pub fn cancel(&self) -> bool {
        self.request_cancel()
    }

    /// Waits until it is done, blocking this thread, and moves the value out. `None` waits for ever.
    ///
    /// # Errors
    ///
    /// [`WaitError::TimedOut`] if the time passes first. [`WaitError::Task`] with the error it ended
    /// with, as often as asked, or with [`TaskError::Taken`] if the value was moved out before.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use loop_core::{ConcurrentFuture, WaitError};
    /// let (completer, future) = ConcurrentFuture::<u32>::pair();
    /// assert!(matches!(future.result(Some(Duration::ZERO)), Err(WaitError::TimedOut)));
    /// # drop(completer);
    /// ```
    pub fn result(&self, timeout: Option<Duration>) -> Result<T, WaitError> {
        self.wait(deadline(timeout));
        match self.try_take() {
            Some(outcome) => Ok(outcome?),
            None => Err(WaitError::TimedOut),
        }
    }

    /// Waits until it is done, blocking this thread, and answers the error it ended with, or `None`
    /// for a value. The value stays.
    ///
    /// # Errors
    ///
    /// [`WaitError::TimedOut`] if the time passes first, [`WaitError::Task`] with
    /// [`TaskError::Cancelled`] if it was cancelled.
    pub fn exception(&self, timeout: Option<Duration>) -> Result<Option<TaskError>, WaitError> {
        if !self.wait(deadline(timeout)) {
            return Err(WaitError::TimedOut);
        }
        match self.error(self.snapshot()) {
            Some(error) if error.is_cancelled() => Err(error.into()),
            other => Ok(other),
        }
    }

    /// Moves the outcome out if it is done, without waiting. A value can be had once; after that the
    /// answer is [`TaskError::Taken`].
    #[must_use = "the value is moved out"]
    pub fn try_take(&self) -> Option<Result<T, TaskError>> {
        self.try_outcome()
    }

    /// Calls `callback` once it is done: in the thread that completes or cancels it, or here and now if
    /// it is done already. Callbacks are called in the order they were added; a panic in one is logged.
    pub fn add_done_callback(&self, callback: impl FnOnce(&Self) + Send + 'static) {
        self.register(Box::new(callback));
    }

    /// Has `notifier` told, with this token, once it is done, or here and now if it is done already.
    ///
    /// The first notifier of a future costs no allocation; further ones are kept as done callbacks.
    pub fn set_notifier(&self, notifier: Arc<dyn Notify>, token: u64) {
        if let Err(notifier) = self.register_notifier(notifier, token) {
            self.add_done_callback(move |_| notifier.notify(token));
        }
    }
}

impl<T: Send + 'static> ConcurrentFuture<T> {
    /// Has the loop of this thread told once it is done, by this token.
    pub(crate) fn notify_loop(&self, anchor: Anchor, token: usize) {
        if let Err(anchor) = self.register_loop(anchor, token) {
            // Another loop waits for it already, or another future of this one: a second future carries the news.
            let (completer, news) = ConcurrentFuture::<()>::pair();
            let taken = news.register_loop(anchor, token);
            debug_assert!(taken.is_ok(), "it is new");
            self.add_done_callback(move |_| _ = completer.complete(Ok(())));
        }
    }
}

impl<T: 'static> ConcurrentFuture<T> {
    /// The outcome, for a loop's future.
    pub(crate) fn take_for_loop(&self) -> Option<Result<T, TaskError>> {
        self.try_outcome()
    }

    /// A loop's future is cancelled.
    pub(crate) fn cancel_for_loop(&self) {
        self.request_cancel();
    }
}

/// A timeout too long for the clock is none.
fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

impl<T> Clone for ConcurrentFuture<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> fmt::Debug for ConcurrentFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ConcurrentFuture").field(&self.shared).finish()
    }
}

/// The side of [`ConcurrentFuture::pair`] that does the work and says how it ended.
///
/// Dropped without that, it ends the future as [`TaskError::Abandoned`].
#[must_use = "a completer that is dropped ends its future as abandoned"]
pub struct Completer<T: Send + 'static> {
    /// `None` only once it has completed.
    shared: Option<Arc<Shared<T, ()>>>,
}

impl<T: Send + 'static> Completer<T> {
    /// Says that the work begins, after which only a completer with a cancel hook can be cancelled.
    /// False if the future was cancelled: then there is nothing to do.
    #[must_use = "on false the work should not be done"]
    pub fn set_running_or_notify_cancel(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.set_running())
    }

    /// Whether the future was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.is_cancelled())
    }

    /// Has `hook` called, once, when the future is cancelled, in the thread that cancels it; here and
    /// now if it was cancelled already. From now on the future can be cancelled until it is done, even
    /// while the work runs. It ends as cancelled at once then: the hook is a request to stop the work,
    /// whose outcome no longer matters.
    ///
    /// There is one hook: a later one replaces it. A panic in it is logged.
    pub fn on_cancel(&self, hook: impl FnOnce() + Send + 'static) {
        if let Some(shared) = &self.shared {
            shared.on_cancel(Box::new(hook));
        }
    }

    /// Ends the future. [`TaskError::Cancelled`] makes it cancelled, with the message.
    ///
    /// False if it had been cancelled: the outcome is dropped then.
    pub fn complete(mut self, outcome: Result<T, TaskError>) -> bool {
        self.shared.take().is_some_and(|shared| shared.complete(outcome))
    }
}

impl<T: Send + 'static> Drop for Completer<T> {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            shared.complete(Err(TaskError::Abandoned));
        }
    }
}

impl<T: Send + 'static> fmt::Debug for Completer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Completer").field(&self.shared).finish()
    }
}
