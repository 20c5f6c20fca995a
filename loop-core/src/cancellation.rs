//! What an await has to know of cancellation: the seam for whoever writes a leaf or a scope of their own.
//!
//! A request to cancel stands in the task until somebody takes it; the step that finds it standing when the coroutine
//! suspends drops the coroutine. So
//!
//! * a **leaf** that had suspended asks [`is_pending`] before it gives its result, and stays pending with [`withhold`] if
//!   so: a request is not overtaken by a result (asyncio throws into the await in the same way). A leaf that has no need
//!   to suspend does not ask. What it holds, it gives back in `Drop`: that is how it learns that it was cancelled;
//! * a **scope** polls what is inside, and if that is pending calls [`take`]: given a request, the scope is the one to act
//!   upon it, and may [`raise`] it again for the next scope outward when it has finished its clean-up.
//!
//! Outside of a task there are no requests: `is_pending` is false, `take` gives none, `raise` does nothing.

use std::task::{Context, Poll};

use crate::error::Cancelled;
use crate::running::with_running;
use crate::task::{Flag, Header};

fn with_current<R>(f: impl FnOnce(&Header) -> R) -> Option<R> {
    with_running(|running| {
        let task = running?.current_task.get()?;
        // SAFETY: the current task is held by the loop for its step.
        Some(f(unsafe { task.as_ref() }))
    })
}

/// Whether a request stands in the current task that awaits are to act on in this step.
#[must_use]
pub fn is_pending() -> bool {
    with_current(|header| header.local.has(Flag::Cancel) && !header.local.has(Flag::Fresh)).unwrap_or(false)
}

/// Whether a request stands that the current task made to itself in this very step: awaits act on it from the next one on.
pub(crate) fn is_fresh() -> bool {
    with_current(|header| header.local.has(Flag::Cancel) && header.local.has(Flag::Fresh)).unwrap_or(false)
}

/// Takes the standing request of the current task, if there is one to act on. The count that `cancelling` gives stays.
#[must_use = "the request is gone from the task: act upon it, or raise it again"]
pub fn take() -> Option<Cancelled> {
    with_current(|header| {
        let local = &header.local;
        if !local.has(Flag::Cancel) || local.has(Flag::Fresh) {
            return None;
        }
        local.clear(Flag::Cancel);
        Some(header.cancellation())
    })
    .flatten()
}

/// Not ready, whatever has come, as a request stands that goes first. The await is polled again in the next step: should
/// somebody beside it have taken the request, there is no other wake to come.
pub fn withhold<T>(context: &Context<'_>) -> Poll<T> {
    context.waker().wake_by_ref();
    Poll::Pending
}

/// Lets a request stand again in the current task, for the next scope outward; its count stays as it is. The caller then
/// stays pending.
pub fn raise(cancelled: &Cancelled) {
    with_current(|header| {
        header.local.set(Flag::Cancel);
        header.local.clear(Flag::Fresh);
        if header.cancellation() != *cancelled {
            header.with_extras(|extras| extras.message = cancelled.message().map(Into::into));
        }
    });
}
