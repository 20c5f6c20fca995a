//! The await that a task group is.
//!
//! While the body runs, a failure of a task interrupts it: the scope makes a request to cancel, which is counted while the
//! body is polled. From when the body has ended, the scope waits for the tasks. A request from elsewhere ends the body and
//! cancels the tasks, and goes on outward when all have ended; where there are failures too, they are the outcome, and the
//! request stands for the next suspension. A panic of the body is a failure; one that leaves the loop does so when the tasks
//! have ended.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use loop_core::{Cancelled, Error as LoopError, Fatal, Panicked, TaskError, cancellation};
use pin_project_lite::pin_project;

use super::{GroupError, Phase, State, TaskGroup};

impl<E: From<TaskError> + 'static> TaskGroup<E> {
    /// Runs a body that is given a group, and ends when the body and all tasks of the group have ended (asyncio:
    /// `async with TaskGroup() as group`).
    ///
    /// ```
    /// use loop_api::{Error, TaskGroup, sleep};
    ///
    /// async fn fetch(page: u32) -> Result<String, Error> {
    ///     sleep(0.001).await?;
    ///     Ok(format!("page {page}"))
    /// }
    ///
    /// # fn main() -> loop_api::Result<()> {
    /// # loop_api::run(async {
    /// let (one, two) = TaskGroup::scope(async |group| {
    ///     let (one, two) = (group.create_task(fetch(1))?, group.create_task(fetch(2))?);
    ///     Ok::<_, Error>((one, two))
    /// })
    /// .await?;
    /// // All are done.
    /// assert_eq!((one.await?, two.await?), ("page 1".into(), "page 2".into()));
    ///
    /// let failed = TaskGroup::scope(async |group| {
    ///     group.create_task(async { Err::<(), _>(Error::TimedOut) })?;
    ///     sleep(3600.0).await?;
    ///     Ok::<_, Error>(())
    /// })
    /// .await;
    /// assert!(matches!(failed.unwrap_err().errors(), [Error::TimedOut]));
    /// # Ok::<_, loop_api::Error>(())
    /// # })?
    /// # }
    /// ```
    ///
    /// Cancelling the await cancels the body and the tasks, and waits for them. Dropping it half-way cancels the tasks, which
    /// the loop then finishes.
    ///
    /// # Errors
    ///
    /// [`GroupError`] with every failure: of the tasks, and of the body, a panic of which counts as one. Outside of a task, with
    /// [`LoopError::InvalidState`](crate::LoopError::InvalidState), and the body is not run.
    pub async fn scope<B, T>(body: B) -> Result<T, GroupError<E>>
    where
        B: AsyncFnOnce(Self) -> Result<T, E>,
    {
        if !cancellation::in_task() {
            let error = LoopError::InvalidState("a task group has to be used inside a task");
            return Err(GroupError::new(vec![E::from(error.into())]));
        }
        let group = Self::new();
        let state = Rc::clone(&group.0);
        let scope = Scope {
            body: Some(body(group)),
            value: None,
            error: None,
            fatal: None,
            before: cancellation::cancelling(),
            interrupted: false,
            waits: false,
            cancelled: None,
            group: Guard(state),
        };
        scope.await
    }
}

pin_project! {
    struct Scope<B, T, E>
    where
        E: From<TaskError>,
        E: 'static,
    {
        // Until it has ended.
        #[pin]
        body: Option<B>,
        value: Option<T>,
        error: Option<E>,
        // What the body left the loop with.
        fatal: Option<Box<dyn Any + Send>>,
        // The task's count of requests at the beginning.
        before: u32,
        // The body was interrupted.
        interrupted: bool,
        // It has suspended to wait for the tasks.
        waits: bool,
        // A request from elsewhere, taken here, that is to go on.
        cancelled: Option<Cancelled>,
        group: Guard<E>,
    }
}

/// Whatever ends the scope ends the tasks.
struct Guard<E: From<TaskError> + 'static>(Rc<State<E>>);

impl<E: From<TaskError> + 'static> Drop for Guard<E> {
    fn drop(&mut self) {
        self.0.phase.set(Phase::Finished);
        self.0.cancel_all();
    }
}

impl<B, T, E> Future for Scope<B, T, E>
where
    B: Future<Output = Result<T, E>>,
    E: From<TaskError> + 'static,
{
    type Output = Result<T, GroupError<E>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.as_mut().poll_body(context).is_pending() || self.as_mut().poll_tasks(context).is_pending() {
            self.project().group.0.keep_waker(context);
            return Poll::Pending;
        }
        let this = self.project();
        let state = &this.group.0;
        state.phase.set(Phase::Finished);
        if let Some(payload) = this.fatal.take() {
            resume_unwind(payload);
        }
        let mut errors = state.errors.take();
        errors.extend(this.error.take());
        match (this.cancelled.take(), this.value.take()) {
            (None, Some(value)) if errors.is_empty() => Poll::Ready(Ok(value)),
            (Some(cancelled), _) if errors.is_empty() => {
                // Whoever takes it drops this.
                cancellation::raise(&cancelled);
                Poll::Pending
            }
            (cancelled, _) => {
                if let Some(cancelled) = cancelled {
                    cancellation::rearm(&cancelled);
                }
                Poll::Ready(Err(GroupError::new(errors)))
            }
        }
    }
}

impl<B, T, E> Scope<B, T, E>
where
    B: Future<Output = Result<T, E>>,
    E: From<TaskError> + 'static,
{
    fn poll_body(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let state = &this.group.0;
        let Some(body) = this.body.as_mut().as_pin_mut() else { return Poll::Ready(()) };
        if state.phase.get() == Phase::Aborting && !*this.interrupted {
            *this.interrupted = cancellation::interrupt();
        }
        let counted = this.interrupted.then(cancellation::counted);
        // A body that panicked is not polled again.
        let polled = catch_unwind(AssertUnwindSafe(|| body.poll(context)));
        drop(counted);
        let taken = match polled {
            Ok(Poll::Ready(Ok(value))) => {
                *this.value = Some(value);
                None
            }
            Ok(Poll::Ready(Err(error))) => {
                *this.error = Some(error);
                None
            }
            Err(payload) if payload.is::<Fatal>() => {
                *this.fatal = Some(payload);
                None
            }
            Err(payload) => {
                *this.error = Some(E::from(TaskError::Panicked(Panicked::new(payload))));
                None
            }
            Ok(Poll::Pending) => match cancellation::take() {
                Some(cancelled) => Some(cancelled),
                None => {
                    // A task that was started within the body has failed within it: the body is interrupted next.
                    if state.phase.get() == Phase::Aborting && !*this.interrupted {
                        context.waker().wake_by_ref();
                    }
                    return Poll::Pending;
                }
            },
        };
        this.body.set(None);
        let ours_alone = *this.interrupted && cancellation::cancelling() <= *this.before;
        if ours_alone {
            // What still stands was ours.
            _ = cancellation::take();
        } else {
            *this.cancelled = taken;
        }
        if this.value.is_none() {
            state.abort();
        }
        Poll::Ready(())
    }

    fn poll_tasks(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let state = &this.group.0;
        // Where it need not suspend, it does not notice a request.
        if !*this.waits && state.tasks.borrow().is_empty() {
            return Poll::Ready(());
        }
        if let Some(cancelled) = cancellation::take() {
            *this.cancelled = Some(cancelled);
            state.abort();
        }
        if state.tasks.borrow().is_empty() {
            return Poll::Ready(());
        }
        *this.waits = true;
        Poll::Pending
    }
}

impl<E> State<E> {
    fn keep_waker(&self, context: &Context<'_>) {
        if self.waker.borrow().as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            return;
        }
        let old = self.waker.replace(Some(context.waker().clone()));
        drop(old);
    }
}
