//! `shield`: awaiting something that a cancellation of the await does not reach.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use loop_core::{CallbackId, EventLoop, ExceptionContext, LoopFuture, TaskError};

use crate::policy::get_running_loop;
use crate::tasks::child::Child;

/// Awaits something that goes on when the await is cancelled (asyncio: `shield`). A coroutine becomes a task of the running
/// loop *now*; a task or future of the loop is taken as it is, and cancelling *that* ends the await too.
///
/// Where the await was cancelled and what is inside fails after that, the loop's exception handler is told, as nobody
/// else is there to be.
///
/// ```
/// use loop_api::{create_task, shield, yield_now};
///
/// # fn main() -> loop_api::Result<()> {
/// # loop_api::run(async {
/// let inner = create_task(async {
///     yield_now().await;
///     "saved"
/// })?;
/// let outer = create_task(shield(inner.clone()))?;
/// yield_now().await;
/// outer.cancel();
/// assert!(outer.await.unwrap_err().is_cancelled());
/// assert_eq!(inner.await?, "saved");
/// # Ok::<_, loop_api::Error>(())
/// # })?
/// # }
/// ```
///
/// # Errors
///
/// The await gives how the task that was made ended, where not with a value; what was given has its errors in its output.
/// [`TaskError::Failed`] with a [`LoopError`](crate::LoopError) where there is no running loop or the future is of another
/// one.
#[track_caller]
pub fn shield<F>(future: F) -> Shield<F::IntoFuture>
where
    F: IntoFuture,
    F::IntoFuture: 'static,
{
    let state = get_running_loop().and_then(|event_loop| {
        let child = Child::new(&event_loop, future.into_future())?;
        Ok(Shielded::new(&event_loop, child))
    });
    Shield(state.map_err(|error| Some(error.into())))
}

/// The future of [`shield`]. What is inside runs whether or not it is awaited.
#[must_use = "the value is lost unless it is awaited"]
pub struct Shield<F: Future>(Result<Shielded<F>, Option<TaskError>>);

struct Shielded<F: Future> {
    /// What is awaited: done a pass after the child is, or cancelled by the awaiting task.
    outer: LoopFuture<()>,
    child: Child<F>,
    callback: Option<CallbackId>,
}

impl<F: Future + 'static> Shielded<F> {
    fn new(event_loop: &EventLoop, child: Child<F>) -> Self {
        let outer = event_loop.create_future();
        let handle = child.handle().clone();
        let mut callback = None;
        if handle.done() {
            // Fresh, and of an open loop.
            _ = outer.set_result(());
        } else {
            let outer = outer.clone();
            let id = handle.add_done_callback_of(event_loop.current_task().as_ref(), move |done| {
                if !outer.done() {
                    _ = outer.set_result(());
                } else if outer.cancelled()
                    && let Ok(Some(error)) = done.exception()
                    && let Some(event_loop) = done.get_loop()
                {
                    let context = ExceptionContext::new("exception in shielded future").exception(error);
                    event_loop.call_exception_handler(&context.detail("future", done));
                }
            });
            callback = Some(id);
        }
        Self { outer, child, callback }
    }
}

impl<F: Future> Drop for Shielded<F> {
    fn drop(&mut self) {
        // After a cancellation a failure is still to be told of. Else nobody is concerned any more, and what is inside may
        // never be done.
        if let Some(callback) = self.callback
            && !self.outer.cancelled()
        {
            self.child.handle().remove_done_callback(callback);
        }
    }
}

impl<F: Future> Shield<F> {
    /// Cancels the await, and not what is inside; false where it is done already.
    pub fn cancel(&self) -> bool {
        self.0.as_ref().is_ok_and(|shielded| shielded.outer.cancel())
    }

    /// Whether awaiting it does not wait.
    #[must_use]
    pub fn done(&self) -> bool {
        self.0.as_ref().map_or(true, |shielded| shielded.outer.done())
    }
}

impl<F: Future> Unpin for Shield<F> {}

impl<F: Future + 'static> Future for Shield<F> {
    type Output = Result<F::Output, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Err(error) => Poll::Ready(Err(error.take().unwrap_or(TaskError::Taken))),
            Ok(shielded) => match std::task::ready!(Pin::new(&mut shielded.outer).poll(context)) {
                Ok(()) => Poll::Ready(shielded.child.take()),
                Err(error) => Poll::Ready(Err(error)),
            },
        }
    }
}

impl<F: Future> fmt::Debug for Shield<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Ok(shielded) => write!(f, "<Shield of {:?}>", shielded.child.handle()),
            Err(_) => f.write_str("<Shield, refused>"),
        }
    }
}
