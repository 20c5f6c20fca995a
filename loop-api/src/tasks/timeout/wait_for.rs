//! `wait_for`: a time limit for one future, which is not begun where there is no time.

use std::pin::pin;

use loop_core::{FutureRef, Limit};

use super::timeout;
use crate::error::{Error, Result};

/// Waits for a future, for so long at most (asyncio: `wait_for`). It runs in the caller's own task.
///
/// When the time is over, it is cancelled and waited for; if it gives a value all the same, that is the outcome. With no
/// time at all, a task or future that is done gives what it has, one that is not is cancelled and waited for, and a
/// coroutine is not started.
///
/// Cancelling the await cancels what it waits for. To leave that running, wait for a [`shield`](crate::shield) of it.
///
/// # Errors
///
/// [`Error::TimedOut`]; [`Error::Loop`] for a limit that is not a number, where no loop runs, and outside of a task.
pub async fn wait_for<F: IntoFuture>(future: F, limit: impl Limit) -> Result<F::Output> {
    match limit.into_limit()? {
        None => Ok(future.await),
        Some(limit) if limit.is_zero() => at_once(future.into_future()).await,
        limit => timeout(limit, future).await,
    }
}

async fn at_once<F: Future>(future: F) -> Result<F::Output> {
    let mut future = pin!(future);
    let Some(handle) = FutureRef::of(future.as_mut()) else { return Err(Error::TimedOut) };
    if handle.done() {
        return Ok(future.await);
    }
    handle.cancel();
    let output = future.await;
    if handle.cancelled() { Err(Error::TimedOut) } else { Ok(output) }
}
