//! What is done between the end of the main coroutine and that of the loop, in this order: the tasks that are left are
//! cancelled and awaited; the async generators that are open are closed; the default executor is shut down.
//!
//! A step that fails does not keep the next one from being taken.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use loop_core::{EventLoop, ExceptionContext, TaskError, TaskRef};

use crate::error::Result;

/// Takes every step; answers the first error.
pub(super) fn shut_down(event_loop: &EventLoop, executor_timeout: Duration) -> Result<()> {
    if event_loop.is_closed() {
        return Ok(());
    }
    let tasks = cancel_tasks(event_loop);
    let generators = event_loop.run_until_complete(event_loop.shutdown_asyncgens());
    let executor = shut_down_executor(event_loop, executor_timeout);
    tasks.and(generators.map_err(Into::into)).and(executor)
}

/// Cancels every task and waits for all of them, without a limit: one may take its time over its clean-up, or refuse.
fn cancel_tasks(event_loop: &EventLoop) -> Result<()> {
    let tasks = event_loop.all_tasks();
    if tasks.is_empty() {
        return Ok(());
    }
    let all_done = event_loop.create_future();
    let left = Rc::new(Cell::new(tasks.len()));
    for task in &tasks {
        task.cancel();
        let (all_done, left) = (all_done.clone(), Rc::clone(&left));
        task.add_done_callback(move |_| {
            left.set(left.get() - 1);
            if left.get() == 0 {
                // Refused where the wait was given up meanwhile.
                let _ = all_done.set_result(());
            }
        });
    }
    let waited = event_loop.run_until_complete(all_done);
    for task in &tasks {
        report_failure(event_loop, task);
    }
    Ok(waited??)
}

/// Nobody awaits the task any more: how it failed goes to the exception handler.
fn report_failure(event_loop: &EventLoop, task: &TaskRef) {
    // An error means that it was cancelled, as it should be, or is pending still.
    let Ok(Some(failure)) = task.exception() else { return };
    let context = ExceptionContext::new("unhandled exception during asyncio.run() shutdown").task(task.clone());
    let context = match failure {
        TaskError::Panicked(panic) => context.exception(panic),
        other => context.exception(other),
    };
    event_loop.call_exception_handler(&context);
}

fn shut_down_executor(event_loop: &EventLoop, timeout: Duration) -> Result<()> {
    Ok(event_loop.run_until_complete(event_loop.shutdown_default_executor(Some(timeout)))??)
}
