//! gather, wait, as_completed and shield.

use loop_api::{
    LoopTask, ReturnWhen, TaskError, as_completed, catch_cancelled, create_task, current_task, gather, gather_outcomes,
    get_running_loop, shield, wait, yield_now,
};

use crate::stage::{Show, attempt, in_a_task, outcome, raise};

/// Gives a value after some passes.
async fn after<T: Show>(passes: u32, value: T) -> T {
    for _ in 0..passes {
        yield_now().await;
    }
    trace!("{} ends", value.show());
    value
}

async fn fails(passes: u32, error: &'static str) -> &'static str {
    for _ in 0..passes {
        yield_now().await;
    }
    raise(error)
}

async fn forever(name: &'static str) -> &'static str {
    let future = get_running_loop().unwrap().create_future::<&'static str>();
    match catch_cancelled(future).await {
        Ok(value) => value.unwrap(),
        Err(cancelled) => {
            trace!("{name} is cancelled");
            cancelled.raise().await
        }
    }
}

/// A task that is cancelled in the next pass.
fn cancel_soon<T>(task: &LoopTask<T>) {
    let cancels = task.as_task_ref().clone();
    get_running_loop().unwrap().call_soon(move || _ = cancels.cancel()).unwrap();
}

/// CH-04
#[test]
fn gathering_nothing_gives_nothing() {
    in_a_task(async || {
        let nothing: [LoopTask<i32>; 0] = [];
        let values = gather(nothing).await.map(|values| values.len());
        assert_eq!(values.as_ref().ok(), Some(&0));
        attempt("gather", values.map(|_| Vec::<i32>::new()));
        Ok(())
    });
}

/// CH-05
#[test]
fn results_come_in_the_order_of_the_arguments() {
    in_a_task(async || {
        let (slow, quick, middling) = gather((after(3, "slow"), after(1, "quick"), after(2, "middling"))).await?;
        trace!("{slow} {quick} {middling}");
        Ok(())
    });
}

/// CH-06
#[test]
fn the_first_failure_ends_the_gather_and_not_the_others() {
    in_a_task(async || {
        let task = create_task(after(5, "other"))?;
        attempt("gather", gather((task.clone(), fails(1, "ValueError: x"))).await.map(|_| ()));
        outcome("other", &task);
        task.await?;
        Ok(())
    });
}

/// CH-07
#[test]
fn failures_can_be_gathered_too() {
    in_a_task(async || {
        let cancelled = create_task(forever("third"))?;
        cancel_soon(&cancelled);
        let children = (after(1, "first"), fails(1, "ValueError('x')"), cancelled);
        let (first, second, third) = gather_outcomes(children).await?;
        trace!("str {}", first?);
        let Err(TaskError::Panicked(error)) = second else { unreachable!() };
        trace!("ValueError {}", error.message());
        let Err(TaskError::Cancelled(cancelled)) = third? else { unreachable!() };
        trace!("CancelledError CancelledError('{}')", cancelled.message().unwrap_or_default());
        Ok(())
    });
}

/// CH-08
#[test]
fn a_cancelled_child_fails_the_gather() {
    in_a_task(async || {
        let child = create_task(forever("child"))?;
        cancel_soon(&child);
        let other = create_task(after(5, "other"))?;
        attempt("gather", gather([child, other.clone()]).await.map(|_| ()));
        outcome("other", &other);
        trace!("cancelling: {}", current_task()?.unwrap().cancelling());
        other.await?;
        Ok(())
    });
}

/// CH-09, TASK-10
#[test]
fn cancelling_a_gather_cancels_its_children_and_waits_for_them() {
    in_a_task(async || {
        let task = create_task(async { gather([forever("one"), forever("two")]).await.map(|_| ()) })?;
        yield_now().await;
        yield_now().await;
        task.cancel();
        attempt("task", task.await.map(|_| ()));
        Ok(())
    });
}

/// CH-12
#[test]
fn later_failures_of_a_failed_gather_are_not_reported() {
    in_a_task(async || {
        let children = [fails(1, "ValueError: first"), fails(3, "ValueError: second")];
        attempt("gather", gather(children).await.map(|_| ()));
        for _ in 0..5 {
            yield_now().await;
        }
        trace!("end");
        Ok(())
    });
}

/// CH-14
#[test]
fn wait_tells_who_is_done() {
    in_a_task(async || {
        let tasks = [create_task(after(1, "task 1"))?, create_task(after(2, "task 2"))?];
        let (done, pending) = wait(tasks, None, ReturnWhen::AllCompleted).await?;
        trace!("done: {} pending: {}", done.len(), pending.len());
        Ok(())
    });
}

/// CH-15
#[test]
fn waiting_for_nothing_is_refused() {
    in_a_task(async || {
        let nothing: [LoopTask<()>; 0] = [];
        if let Err(loop_api::LoopError::InvalidArgument(_)) = wait(nothing, None, ReturnWhen::AllCompleted).await {
            trace!("ValueError");
        }
        Ok(())
    });
}

/// CH-16
#[test]
fn a_wait_that_times_out_cancels_nothing() {
    in_a_task(async || {
        let task = create_task(forever("task"))?;
        let (done, pending) = wait([task.clone()], 0.001, ReturnWhen::AllCompleted).await?;
        let cancelled = task.cancelled().show();
        trace!("done: {} pending: {} cancelled: {cancelled}", done.len(), pending.len());
        task.cancel();
        attempt("task", task.await);
        Ok(())
    });
}

/// CH-17
#[test]
fn wait_for_the_first() {
    in_a_task(async || {
        let tasks = [create_task(after(1, "quick"))?, create_task(after(6, "slow"))?];
        let (done, pending) = wait(tasks.clone(), None, ReturnWhen::FirstCompleted).await?;
        trace!("done: {} pending: {}", done.len(), pending.len());
        (&tasks[1]).await?;
        Ok(())
    });
}

/// CH-17
#[test]
fn wait_for_the_first_failure() {
    in_a_task(async || {
        let tasks =
            [create_task(after(1, "quick"))?, create_task(fails(3, "ValueError: x"))?, create_task(after(8, "slow"))?];
        let (done, pending) = wait(tasks.clone(), None, ReturnWhen::FirstException).await?;
        trace!("done: {} pending: {}", done.len(), pending.len());
        outcome("failed", &tasks[1]);
        (&tasks[2]).await?;
        Ok(())
    });
}

/// CH-18
#[test]
fn a_cancelled_wait_leaves_its_tasks() {
    in_a_task(async || {
        let task = create_task(after(6, "task"))?;
        let waits_for = task.clone();
        let waits = create_task(async move { wait([waits_for], None, ReturnWhen::AllCompleted).await.map(|_| ()) })?;
        yield_now().await;
        waits.cancel();
        attempt("wait", waits.await.map(|_| ()));
        outcome("task", &task);
        task.await?;
        Ok(())
    });
}

/// CH-19
#[test]
fn wait_suspends_even_when_all_are_done() {
    in_a_task(async || {
        let task = create_task(after(0, "task"))?;
        (&task).await?;
        get_running_loop()?.call_soon(|| trace!("next pass"))?;
        wait([task], None, ReturnWhen::AllCompleted).await?;
        trace!("waited");
        Ok(())
    });
}

/// CH-38
#[test]
fn a_shield_gives_the_inner_outcome() {
    in_a_task(async || {
        attempt("value", shield(after(1, "inner")).await);
        attempt("error", shield(fails(1, "ValueError: x")).await);
        Ok(())
    });
}

/// CH-39
#[test]
fn a_shield_keeps_the_cancellation_from_the_inner_one() {
    in_a_task(async || {
        let inner = create_task(after(5, "inner"))?;
        let shielded = inner.clone();
        let task = create_task(async move { shield(shielded).await.map(|_| ()) })?;
        yield_now().await;
        task.cancel();
        attempt("task", task.await.map(|_| ()));
        outcome("inner", &inner);
        attempt("inner", inner.await);
        Ok(())
    });
}

/// CH-43
#[test]
fn as_completed_gives_the_first_first() {
    in_a_task(async || {
        let tasks: Result<Vec<_>, _> =
            [6, 1, 3].into_iter().map(|passes| create_task(after(passes, format!("task {passes}")))).collect();
        let completed = as_completed(tasks?, None)?;
        while let Some(task) = completed.next_completed().await {
            trace!("got {}", task?.await?);
        }
        Ok(())
    });
}
