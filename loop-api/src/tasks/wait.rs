//! `wait`: until some of several tasks or futures are done.
//!
//! A done callback per future counts down a waiter, which the timer releases too. Nothing is cancelled, nothing is taken:
//! all come back, in two lists. Whatever way this ends, the callbacks are taken off again.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use loop_core::{
    CallbackId, Error, Future as LoopFutureTrait, Limit, LoopFuture, Result, TaskError, TimerHandle, cancellation,
};

use crate::policy::get_running_loop;

/// When [`wait`] returns (asyncio: `return_when`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ReturnWhen {
    /// As soon as any is done or was cancelled.
    FirstCompleted,
    /// As soon as any failed: panicked, or was set an error. A cancellation is no failure, nor is a *value* that is an
    /// `Err`. Where none fails this is as `AllCompleted`.
    FirstException,
    /// When all are done.
    #[default]
    AllCompleted,
}

/// Waits for tasks or futures of the loop (asyncio: `wait`), and gives those that are done by then and those that are
/// still pending, each in the order in which they were given. Coroutines have to be made tasks first.
///
/// The time limit ends the wait, and is no error: the rest is pending. No child is cancelled, neither by that nor by a
/// cancellation of this await, and none of their errors is raised: await what is done. It suspends for at least one pass.
///
/// ```
/// use loop_api::{ReturnWhen, create_task, sleep, wait};
///
/// # fn main() -> loop_api::Result<()> {
/// # loop_api::run(async {
/// let tasks = [create_task(async { 1 })?, create_task(async { sleep(3600.0).await.map_or(0, |()| 2) })?];
/// let (done, pending) = wait(tasks, None, ReturnWhen::FirstCompleted).await?;
/// assert_eq!((done.len(), pending.len()), (1, 1));
/// for task in done {
///     assert_eq!(task.await?, 1);
/// }
/// pending[0].cancel();
/// # Ok::<_, loop_api::Error>(())
/// # })?
/// # }
/// ```
///
/// # Errors
///
/// [`LoopError::InvalidArgument`](crate::LoopError::InvalidArgument) for no futures at all, for futures of another loop,
/// and for a limit that is not a number; [`LoopError::NoRunningLoop`](crate::LoopError::NoRunningLoop).
pub async fn wait<F>(
    futures: impl IntoIterator<Item = F>,
    limit: impl Limit,
    return_when: ReturnWhen,
) -> Result<(Vec<F>, Vec<F>)>
where
    F: LoopFutureTrait + 'static,
{
    let event_loop = get_running_loop()?;
    let limit = limit.into_limit()?;
    let futures: Vec<F> = futures.into_iter().collect();
    if futures.is_empty() {
        return Err(Error::InvalidArgument("there has to be something to wait for"));
    }
    if futures.iter().any(|future| future.get_loop().is_some_and(|its| its != event_loop)) {
        return Err(Error::InvalidArgument("the tasks and futures must be of the running loop"));
    }
    let mut waiter = event_loop.create_future::<()>();
    let watch = Watch::new(futures, &waiter, return_when);
    let _timer = Timer::set(limit, &waiter)?;
    // Nobody sets an error, and a cancellation drops this.
    _ = poll_fn(|context| poll_waiter(&mut waiter, context)).await;
    Ok(watch.into_futures().into_iter().partition(LoopFutureTrait::done))
}

/// Futures with a done callback each, taken off at the end.
struct Watch<F: LoopFutureTrait> {
    futures: Vec<F>,
    callbacks: Vec<CallbackId>,
}

impl<F: LoopFutureTrait + 'static> Watch<F> {
    fn new(futures: Vec<F>, waiter: &LoopFuture<()>, return_when: ReturnWhen) -> Self {
        let left = Rc::new(Cell::new(futures.len()));
        let mut callbacks = Vec::with_capacity(futures.len());
        for future in &futures {
            let (waiter, left) = (waiter.clone(), Rc::clone(&left));
            callbacks.push(future.add_done_callback(Box::new(move |future| {
                left.set(left.get() - 1);
                let enough = match return_when {
                    ReturnWhen::FirstCompleted => true,
                    ReturnWhen::FirstException => matches!(future.exception(), Ok(Some(_))),
                    ReturnWhen::AllCompleted => false,
                };
                if enough || left.get() == 0 {
                    release(&waiter);
                }
            })));
        }
        Self { futures, callbacks }
    }

    fn into_futures(mut self) -> Vec<F> {
        self.take_off();
        std::mem::take(&mut self.futures)
    }
}

impl<F: LoopFutureTrait> Watch<F> {
    fn take_off(&mut self) {
        for (future, callback) in self.futures.iter().zip(self.callbacks.drain(..)) {
            future.remove_done_callback(callback);
        }
    }
}

impl<F: LoopFutureTrait> Drop for Watch<F> {
    fn drop(&mut self) {
        self.take_off();
    }
}

/// Polls a waiter that nobody else awaits. A request goes before it, and is not passed on to it: where somebody beside this
/// in the task takes the request, the wait goes on.
pub(super) fn poll_waiter(waiter: &mut LoopFuture<()>, context: &mut Context<'_>) -> Poll<Result<(), TaskError>> {
    if cancellation::is_pending() {
        return cancellation::withhold(context);
    }
    Pin::new(waiter).poll(context)
}

/// Releases a waiter after a while; taken back when it goes.
pub(super) struct Timer(Option<TimerHandle>);

impl Timer {
    pub(super) fn set(limit: Option<Duration>, waiter: &LoopFuture<()>) -> Result<Self> {
        let Some(limit) = limit else { return Ok(Self(None)) };
        let waiter = waiter.clone();
        let timer = get_running_loop()?.call_later(limit, move || release(&waiter))?;
        Ok(Self(Some(timer)))
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(timer) = &self.0 {
            timer.cancel();
        }
    }
}

fn release(waiter: &LoopFuture<()>) {
    if !waiter.done() {
        // Not done, and of the loop that runs this.
        _ = waiter.set_result(());
    }
}
