//! Cancelling a task: a request that somebody takes, or that ends the coroutine.
//!
//! `cancel` raises a request and queues a step. That step polls the coroutine once more with the request standing;
//! the innermost library await or scope that takes cancellation takes it. If nobody has when the poll comes back
//! pending, the loop drops the coroutine and the task is cancelled. What takes it: [`catch_cancelled`], Python's
//! `except CancelledError`; awaiting a task, which passes it on and waits; and the scopes built on these. How an await looks
//! at the request and takes it is [`cancellation`](crate::cancellation).
//!
//! A library await that had suspended and sees a request standing stays pending even if its result is there, so that
//! the request is not overtaken by a result (asyncio throws into the await in the same way); one that has no need to
//! suspend does not notice it.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::cancellation;
use crate::error::Cancelled;

/// Runs a future, and resolves to `Err` when a cancellation of the task reaches it (Python's
/// `try: ... except CancelledError`): the future is dropped, the request is taken, and the coroutine may await its
/// clean-up and go on, or pass the cancellation on with [`Cancelled::raise`].
///
/// The count of requests stays; `uncancel` takes one back (asyncio: `Task.uncancel`).
///
/// ```
/// # use loop_core::{catch_cancelled, Cancelled};
/// async fn transfer(rollback: impl Future<Output = ()>, work: impl Future<Output = u32>) -> u32 {
///     match catch_cancelled(work).await {
///         Ok(receipt) => receipt,
///         Err(cancelled) => {
///             rollback.await;
///             cancelled.raise().await
///         }
///     }
/// }
/// ```
pub fn catch_cancelled<F: Future>(future: F) -> CatchCancelled<F> {
    CatchCancelled { future: Some(future) }
}

/// The future of [`catch_cancelled`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct CatchCancelled<F> {
    future: Option<F>,
}

impl<F: Future> Future for CatchCancelled<F> {
    type Output = Result<F::Output, Cancelled>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: the future is pinned with this: it is not moved, only dropped in place by `set(None)`.
        let mut future = unsafe { self.map_unchecked_mut(|this| &mut this.future) };
        let Some(inner) = future.as_mut().as_pin_mut() else { return Poll::Pending };
        if let Poll::Ready(value) = inner.poll(context) {
            return Poll::Ready(Ok(value));
        }
        match cancellation::take() {
            Some(cancelled) => {
                future.set(None);
                Poll::Ready(Err(cancelled))
            }
            None => Poll::Pending,
        }
    }
}

impl Cancelled {
    /// Passes the cancellation on (Python's bare `raise`): never returns; the next scope outward takes it, else the
    /// task ends cancelled. Outside a task it waits for ever.
    pub fn raise<T>(self) -> Raise<T> {
        Raise { cancelled: Some(self), _never: PhantomData }
    }
}

/// The future of [`Cancelled::raise`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Raise<T> {
    cancelled: Option<Cancelled>,
    _never: PhantomData<fn() -> T>,
}

impl<T> Future for Raise<T> {
    // Never completes: it stands where a value of any type is wanted.
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(cancelled) = self.cancelled.take() {
            cancellation::raise(&cancelled);
        }
        // Whoever takes it drops this, or lets it wait for ever.
        Poll::Pending
    }
}
