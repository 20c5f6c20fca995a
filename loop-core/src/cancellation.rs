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
//! * a scope that ends what is inside for reasons of its own (a deadline, a sibling that failed) makes a request with
//!   [`interrupt`] before it polls, and takes it when it comes back. Until what is inside has ended, it is [`counted`]
//!   for the length of each poll: those inside see it as any other, those beside it see nothing. What is counted at the
//!   end beyond what [`cancelling`] told at the beginning is somebody else's: the scope raises it.
//!
//! Outside of a task there are no requests: `is_pending` is false, `take` gives none, `raise` does nothing.

use std::marker::PhantomData;
use std::task::{Context, Poll};
use std::thread::panicking;

use crate::error::Cancelled;
use crate::inner::Inner;
use crate::running::with_running;
use crate::task::{Flag, Header, TaskPtr};

pub(crate) fn with_current<R>(f: impl FnOnce(&Header) -> R) -> Option<R> {
    with_running(|running| {
        let task = running?.current_task.get()?;
        // SAFETY: the current task is held by the loop for its step.
        Some(f(unsafe { task.as_ref() }))
    })
}

impl Inner {
    /// The current task, unless a request stands in it, if only for its next step.
    #[inline(always)]
    pub(crate) fn current_task_left_alone(&self) -> Option<TaskPtr> {
        // SAFETY: the current task is held by the loop for its step.
        self.current_task.get().filter(|task| !unsafe { task.as_ref() }.local.has(Flag::Cancel))
    }

    /// Whether a request stands in the current task that awaits are to act on in this step.
    #[inline]
    pub(crate) fn is_asked_to_end(&self) -> bool {
        // SAFETY: the current task is held by the loop for its step.
        self.current_task.get().is_some_and(|task| unsafe { task.as_ref() }.is_asked_to_end())
    }
}

impl Header {
    #[inline]
    fn is_asked_to_end(&self) -> bool {
        self.local.has(Flag::Cancel) && !self.local.has(Flag::Fresh)
    }
}

/// Whether a task's step runs: outside of one there is nobody to cancel.
#[must_use]
pub fn in_task() -> bool {
    with_current(|_| ()).is_some()
}

/// Whether a request stands in the current task that awaits are to act on in this step.
#[must_use]
#[inline]
pub fn is_pending() -> bool {
    with_running(|running| running.is_some_and(|inner| inner.is_asked_to_end()))
}

/// Whether a request stands that the current task made to itself in this very step: awaits act on it from the next one on.
pub(crate) fn is_fresh() -> bool {
    with_current(|header| header.local.has(Flag::Cancel) && header.local.has(Flag::Fresh)).unwrap_or(false)
}

/// Takes the standing request of the current task, if there is one to act on. The count that `cancelling` gives stays.
#[must_use = "the request is gone from the task: act upon it, or raise it again"]
pub fn take() -> Option<Cancelled> {
    with_current(|header| {
        if !header.is_asked_to_end() {
            return None;
        }
        header.local.clear(Flag::Cancel);
        Some(header.cancellation())
    })
    .flatten()
}

/// Not ready, whatever has come, as a request stands that goes first. The await is polled again in the next step: should
/// somebody beside it have taken the request, there is no other wake to come.
pub fn withhold<T>(context: &Context<'_>) -> Poll<T> {
    come_back(context);
    Poll::Pending
}

/// Has what awaits polled again in the next step.
pub(crate) fn come_back(context: &Context<'_>) {
    context.waker().wake_by_ref();
}

/// Lets a request stand again in the current task, for the next scope outward; its count stays as it is. The caller then
/// stays pending.
pub fn raise(cancelled: &Cancelled) {
    with_current(|header| {
        header.local.set(Flag::Cancel);
        header.local.clear(Flag::Fresh);
        if header.cancellation() != *cancelled {
            header.with_extras(|extras| extras.request = cancelled.clone());
        }
    });
}

/// A request of the current task to itself that what is polled next sees in this very step: how a scope interrupts what is
/// inside. It is not counted, which is for [`counted`]. False outside of a task.
#[must_use = "outside of a task, nobody is interrupted"]
pub fn interrupt() -> bool {
    with_current(|header| {
        let local = &header.local;
        if header.has_extras() {
            header.with_extras(|extras| extras.request = Cancelled::new());
        }
        local.set(Flag::Cancel);
        local.clear(Flag::Fresh);
    })
    .is_some()
}

/// How many requests the current task has that were not taken back (asyncio: `current_task().cancelling()`).
#[must_use]
pub fn cancelling() -> u32 {
    with_current(Header::cancelling).unwrap_or(0)
}

/// Counts one request more for as long as the guard lives: that of a scope, while it polls what it has interrupted. Where a
/// panic ends that, the request goes with it.
///
/// Counting ends with the poll, so that a scope beside this one in the same task is not misled, and one that is dropped
/// leaves nothing behind.
pub fn counted() -> Counted {
    _ = with_current(|header| {
        header.set_cancelling(header.cancelling().saturating_add(1));
    });
    Counted { panicked_before: panicking(), _this_thread: PhantomData }
}

/// The guard of [`counted`].
#[derive(Debug)]
#[must_use = "it counts as long as it lives"]
pub struct Counted {
    panicked_before: bool,
    _this_thread: PhantomData<*const ()>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        _ = with_current(|header| {
            if panicking() && !self.panicked_before {
                // Nobody takes it any more.
                header.uncancel();
            } else {
                header.set_cancelling(header.cancelling().saturating_sub(1));
            }
        });
    }
}

/// Lets a request stand again in the current task for the *next* time it suspends, as if it had cancelled itself; its
/// count stays as it is. For a scope that has something to return first.
pub fn rearm(cancelled: &Cancelled) {
    raise(cancelled);
    with_running(|running| {
        let Some(task) = running.and_then(|inner| inner.current_task.get()) else { return };
        // SAFETY: the current task is held by the loop for its step, which is of this thread.
        unsafe {
            task.as_ref().local.set(Flag::Fresh);
            // The step that shows the request to what the task waits for by then.
            crate::task::schedule(task);
        }
    });
}
