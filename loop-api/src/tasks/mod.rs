//! Tasks, from inside the running loop (asyncio: coroutines and tasks).
//!
//! * this file: making tasks, and asking which there are;
//! * `gather`, `wait`, `as_completed` — several at once; `child` is what `gather` and `shield` wait for;
//! * `shield`, `timeout` — keeping a cancellation away, and making one;
//! * `group` — tasks that end together;
//! * `sleep` — giving up time, or one pass;
//! * `to_thread` — work that blocks, out of the loop's way.

mod as_completed;
mod child;
mod gather;
mod group;
mod shield;
mod sleep;
mod timeout;
mod to_thread;
mod wait;

use loop_core::{EventLoop, LoopFuture, LoopTask, Result, TaskOptions, TaskRef};

use crate::policy::get_running_loop;

pub use as_completed::{AsCompleted, NextCompleted, as_completed};
pub use gather::{Gather, GatherOutcomes, TryGather, gather, gather_outcomes, try_gather};
pub use group::{GroupError, TaskGroup};
pub use shield::{Shield, shield};
pub use sleep::{YieldNow, sleep, yield_now};
pub use timeout::{Limited, Timeout, TimeoutFuture, timeout, timeout_at, wait_for};
pub use to_thread::{Carry, to_thread, to_thread_with};
pub use wait::{ReturnWhen, wait};

/// Makes a task of the running loop that drives a coroutine (asyncio: `create_task`). Its first step is in the next
/// pass; it goes on whether or not anybody keeps the handle.
///
/// ```
/// loop_api::run(async {
///     let task = loop_api::create_task(async { 6 * 7 })?;
///     assert_eq!(task.await?, 42);
///     Ok::<_, loop_api::TaskError>(())
/// })??;
/// # Ok::<(), loop_api::Error>(())
/// ```
///
/// # Errors
///
/// [`LoopError::NoRunningLoop`](crate::LoopError::NoRunningLoop) outside of a loop; the coroutine is dropped.
#[track_caller]
#[inline(always)]
pub fn create_task<F>(coroutine: F) -> Result<LoopTask<F::Output>>
where
    F: Future + 'static,
{
    EventLoop::create_task_here(coroutine)
}

/// Makes a pending future of the running loop (asyncio: `Future()`).
///
/// ```
/// loop_api::run(async {
///     let answer = loop_api::create_future()?;
///     answer.set_result(42)?;
///     assert_eq!(answer.await?, 42);
///     Ok::<_, loop_api::Error>(())
/// })??;
/// # Ok::<(), loop_api::Error>(())
/// ```
///
/// # Errors
///
/// [`LoopError::NoRunningLoop`](crate::LoopError::NoRunningLoop) outside of a loop.
#[track_caller]
#[inline]
pub fn create_future<T: 'static>() -> Result<LoopFuture<T>> {
    EventLoop::create_future_here()
}

/// [`create_task`] with options: a name, a context, an eager start.
///
/// # Errors
///
/// As for [`create_task`], and what the loop's task factory refuses with.
#[track_caller]
pub fn create_task_with<F>(options: TaskOptions, coroutine: F) -> Result<LoopTask<F::Output>>
where
    F: Future + 'static,
{
    get_running_loop()?.create_task_with(options, coroutine)
}

/// The task whose step runs, none in a plain callback (asyncio: `current_task`). Of a loop by name, ask
/// [`EventLoop::current_task`](crate::EventLoop::current_task).
///
/// # Errors
///
/// [`LoopError::NoRunningLoop`](crate::LoopError::NoRunningLoop) outside of a loop.
pub fn current_task() -> Result<Option<TaskRef>> {
    Ok(get_running_loop()?.current_task())
}

/// The unfinished tasks of the running loop, in the order of their creation (asyncio: `all_tasks`).
///
/// # Errors
///
/// [`LoopError::NoRunningLoop`](crate::LoopError::NoRunningLoop) outside of a loop.
pub fn all_tasks() -> Result<Vec<TaskRef>> {
    Ok(get_running_loop()?.all_tasks())
}
