//! Ending a task with an error of its own.
//!
//! A coroutine gives a value, and a task of it ends with that value, a panic or a cancellation. In asyncio it may also
//! raise: this is the same for whoever wraps the coroutines of others, and would give their errors to whoever awaits the
//! task rather than to whoever takes its value.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::cancellation::with_current;
use crate::error::TaskError;
use crate::task::Flag;

/// Ends the current task with an error (an exception that leaves the coroutine, in asyncio): never returns. The
/// coroutine is dropped at the end of this step, and every await of the task gives the error.
///
/// No scope stops it, unless it drops the await within the same step and goes on. Outside a task it waits for ever.
///
/// ```
/// # use loop_core::{EventLoop, TaskError, fail, testing::VirtualBackend};
/// # let lp = EventLoop::new(Box::new(VirtualBackend::new()));
/// let task = lp.create_task(async { fail::<u32>(TaskError::failed("no such file")).await })?;
/// let error = lp.run_until_complete(task)?.unwrap_err();
/// assert_eq!(error.to_string(), "no such file");
/// # lp.close()?;
/// # Ok::<(), loop_core::Error>(())
/// ```
pub fn fail<T>(error: impl Into<TaskError>) -> Fail<T> {
    Fail { error: Some(error.into()), _never: PhantomData }
}

/// The future of [`fail`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Fail<T> {
    error: Option<TaskError>,
    _never: PhantomData<fn() -> T>,
}

impl<T> Future for Fail<T> {
    // Never completes: it stands where a value of any type is wanted.
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<T> {
        if let Some(error) = self.error.take() {
            let old = with_current(|header| {
                header.local.set(Flag::Failing);
                header.with_extras(|extras| extras.failure.replace(error))
            });
            drop(old);
        }
        Poll::Pending
    }
}

impl<T> Drop for Fail<T> {
    fn drop(&mut self) {
        // Polled, and dropped before the step ended: somebody goes on instead. At the end of the task this finds nothing.
        if self.error.is_none() {
            let failure = with_current(|header| {
                header.local.clear(Flag::Failing);
                header.look_at_extras(|extras| extras.failure.take())
            });
            drop(failure);
        }
    }
}
