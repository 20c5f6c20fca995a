//! `gather`: several awaitables at once, their values in the order in which they were given.
//!
//! Each child is a task of its own, or the task or future that was given. A done callback per child counts; the *gate*
//! opens when all are done, or at the first failure, and whoever awaits goes on a pass later, as in asyncio. Owned here:
//! the count and the order; the children belong to the loop, and go on whatever becomes of the gather.
//!
//! * this file: the functions, and the futures that they give;
//! * [`gate`]: when it is over, and cancelling;
//! * [`children`]: the children as iterators and tuples have them, each with its type.

mod children;
mod gate;

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use loop_core::{Result, TaskError};

use children::Children;
use children::{Lenient, Slots, Strict, TrySlots};
use gate::{Await, Gate};

use crate::policy::get_running_loop;

/// Awaits several at once and gives their values in the order in which they were given (asyncio: `gather`). The children
/// are an iterator of futures of one type, or a tuple of futures of any types; coroutines become tasks of the running
/// loop *now*, tasks and futures of the loop are taken as they are.
///
/// The first child that panics or is cancelled ends the await with its error; the others go on. What children give is
/// not looked at: where they give a `Result` and the first `Err` is to end the await, use [`try_gather`].
///
/// Cancelling the await cancels every child that is not done, and waits for all of them. Dropping it does neither.
///
/// ```
/// # async fn page(number: u32) -> String { format!("page {number}") }
/// # async fn count() -> usize { 3 }
/// # fn main() -> loop_api::Result<()> {
/// # loop_api::run(async {
/// let pages = loop_api::gather((1..=3).map(page)).await?;
/// assert_eq!(pages, ["page 1", "page 2", "page 3"]);
///
/// let (first, number) = loop_api::gather((page(1), count())).await?;
/// assert_eq!((first.as_str(), number), ("page 1", 3));
/// # Ok::<_, loop_api::Error>(())
/// # })?
/// # }
/// ```
///
/// # Errors
///
/// The await gives [`TaskError::Panicked`], [`TaskError::Cancelled`] or whatever else ended a child first;
/// [`TaskError::Failed`] with a [`LoopError`](crate::LoopError) where there is no running loop, or a child is of another
/// one: coroutines that were started are cancelled then, the rest is dropped, and what was given is left alone.
/// [`TaskError::SelfAwait`] where a child is the task that awaits.
#[track_caller]
pub fn gather<C, K>(children: C) -> Gather<C::Slots>
where
    C: Children<K, Lenient>,
{
    Gather(Gathering::start(children, true))
}

/// [`gather`] that waits for all, whatever becomes of them, and gives what each came to (asyncio:
/// `gather(.., return_exceptions=True)`).
///
/// ```
/// # fn main() -> loop_api::Result<()> {
/// # loop_api::run(async {
/// let task = loop_api::create_task(std::future::pending::<u8>())?;
/// task.cancel();
/// let (one, other) = loop_api::gather_outcomes((async { 1 }, task)).await?;
/// assert_eq!(one?, 1);
/// assert!(other?.unwrap_err().is_cancelled());
/// # Ok::<_, loop_api::Error>(())
/// # })?
/// # }
/// ```
///
/// # Errors
///
/// As for [`gather`], but for what becomes of the children: those errors are among the values.
#[track_caller]
pub fn gather_outcomes<C, K>(children: C) -> GatherOutcomes<C::Slots>
where
    C: Children<K, Lenient>,
{
    GatherOutcomes(Gathering::start(children, false))
}

/// [`gather`] of children that give a `Result`: the first `Err` ends the await, and the others go on.
///
/// ```
/// use loop_api::{Error, Result};
///
/// async fn even(number: u32) -> Result<u32> {
///     if number % 2 == 0 { Ok(number) } else { Err(Error::TimedOut) }
/// }
///
/// # fn main() -> loop_api::Result<()> {
/// # loop_api::run(async {
/// assert_eq!(loop_api::try_gather([even(2), even(4)]).await?, [2, 4]);
/// assert!(matches!(loop_api::try_gather((even(2), even(3))).await, Err(Error::TimedOut)));
/// # Ok::<_, loop_api::Error>(())
/// # })?
/// # }
/// ```
///
/// # Errors
///
/// The first error of a child; as for [`gather`] where a child gives no value at all.
#[track_caller]
pub fn try_gather<C, K, E>(children: C) -> TryGather<C::Slots, E>
where
    C: Children<K, Strict>,
    C::Slots: TrySlots<E>,
    E: From<TaskError>,
{
    TryGather(Gathering::start(children, true), PhantomData)
}

/// Children under way, and the await of them.
struct Gathering<S> {
    /// None where they could not be started, and once it is over.
    started: Option<(S, Await)>,
    refused: Option<TaskError>,
}

impl<S> Gathering<S> {
    #[track_caller]
    fn start<C, K, J>(children: C, fails_fast: bool) -> Self
    where
        C: Children<K, J, Slots = S>,
    {
        let started = get_running_loop().and_then(|event_loop| {
            let gate = Gate::new(&event_loop, fails_fast);
            match children.start(&event_loop, &gate) {
                Ok(slots) => {
                    gate.close();
                    Ok((slots, Await::new(gate)))
                }
                Err(error) => {
                    gate.refuse();
                    Err(error)
                }
            }
        });
        match started {
            Ok(started) => Self { started: Some(started), refused: None },
            Err(error) => Self { started: None, refused: Some(error.into()) },
        }
    }

    fn gate(&self) -> Option<&Rc<Gate>> {
        self.started.as_ref().map(|(_, wait)| wait.gate())
    }

    /// Waits until it is over; then there are the slots, and which one failed first.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(S, Option<usize>), TaskError>> {
        if let Some(error) = self.refused.take() {
            return Poll::Ready(Err(error));
        }
        let Some((_, wait)) = &mut self.started else { return Poll::Ready(Err(TaskError::Taken)) };
        let over = ready!(wait.poll(context));
        let Some((slots, wait)) = self.started.take() else { return Poll::Ready(Err(TaskError::Taken)) };
        let failed = wait.gate().first_failed();
        Poll::Ready(over.map(|()| (slots, failed)))
    }
}

macro_rules! handle {
    ($name:ident<$($parameter:ident),*>, $function:literal) => {
        impl<$($parameter),*> $name<$($parameter),*> {
            /// Cancels every child that is not done (asyncio: `cancel`); the await then ends with
            /// [`TaskError::Cancelled`], when all of them have ended. False, and nothing done, where it is over already or
            /// no child could be cancelled.
            pub fn cancel(&self) -> bool {
                self.0.gate().is_some_and(|gate| gate.cancel_with(None))
            }

            /// Whether it is over: awaiting it does not wait.
            #[must_use]
            pub fn done(&self) -> bool {
                self.0.gate().is_none_or(|gate| gate.is_open())
            }
        }

        impl<$($parameter),*> Unpin for $name<$($parameter),*> {}

        impl<$($parameter),*> fmt::Debug for $name<$($parameter),*> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let left = self.0.gate().map_or(0, |gate| gate.left());
                write!(f, "<{} of {left} unfinished children>", stringify!($name))
            }
        }
    };
}

/// The future of [`gather`]. The children run whether or not it is awaited.
#[must_use = "the values are lost unless it is awaited"]
pub struct Gather<S>(Gathering<S>);
handle!(Gather<S>, "gather");

/// The future of [`gather_outcomes`]. The children run whether or not it is awaited.
#[must_use = "the values are lost unless it is awaited"]
pub struct GatherOutcomes<S>(Gathering<S>);
handle!(GatherOutcomes<S>, "gather_outcomes");

/// The future of [`try_gather`]. The children run whether or not it is awaited.
#[must_use = "the values are lost unless it is awaited"]
pub struct TryGather<S, E>(Gathering<S>, PhantomData<fn() -> E>);
handle!(TryGather<S, E>, "try_gather");

impl<S: Slots> Future for Gather<S> {
    type Output = Result<S::Values, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let over = ready!(self.0.poll(context));
        Poll::Ready(over.and_then(|(slots, failed)| match failed {
            Some(place) => Err(slots.error(place)),
            None => slots.values(),
        }))
    }
}

impl<S: Slots> Future for GatherOutcomes<S> {
    type Output = Result<S::Outcomes, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let over = ready!(self.0.poll(context));
        Poll::Ready(over.map(|(slots, _)| slots.outcomes()))
    }
}

impl<S: TrySlots<E>, E: From<TaskError>> Future for TryGather<S, E> {
    type Output = Result<S::Values, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match ready!(self.0.poll(context)) {
            Ok((slots, failed)) => Poll::Ready(slots.try_values(failed)),
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }
}
