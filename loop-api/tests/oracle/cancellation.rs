//! Cancelling tasks: who is told, when, and what they may do about it.

use std::future::pending;

use loop_api::{LoopTask, catch_cancelled, create_task, current_task, get_running_loop, sleep, yield_now};

use crate::stage::{Show, attempt, in_a_task, on_a_loop, raise};

/// Waits for nothing.
async fn forever() {
    let _: Result<(), _> = get_running_loop().unwrap().create_future().await;
    pending().await
}

/// TASK-08
#[test]
fn a_done_task_cannot_be_cancelled() {
    in_a_task(async || {
        let task = create_task(yield_now())?;
        (&task).await?;
        trace!("cancel: {} cancelling: {}", task.cancel().show(), task.cancelling());
        trace!("cancelled: {}", task.cancelled().show());
        Ok(())
    });
}

/// TASK-09
#[test]
fn a_request_is_counted_at_once_and_seen_later() {
    in_a_task(async || {
        let task = create_task(forever())?;
        yield_now().await;
        let cancel = task.cancel().show();
        trace!("cancel: {cancel} cancelling: {} cancelled: {}", task.cancelling(), task.cancelled().show());
        attempt("await", (&task).await);
        trace!("cancelled: {}", task.cancelled().show());
        Ok(())
    });
}

/// TASK-10
#[test]
fn cancelling_a_task_cancels_the_future_it_awaits() {
    in_a_task(async || {
        let future = get_running_loop()?.create_future::<()>();
        let awaits = future.clone();
        let task = create_task(async move { _ = awaits.await })?;
        yield_now().await;
        task.cancel();
        trace!("requested: {}", task.cancelling());
        attempt("await", task.await);
        trace!("future cancelled: {}", future.cancelled().show());
        Ok(())
    });
}

/// TASK-10, TASK-21
#[test]
fn a_request_goes_down_the_chain_and_comes_back_up() {
    in_a_task(async || {
        let inner = create_task(async {
            if let Err(cancelled) = catch_cancelled(forever()).await {
                trace!("inner cancelled");
                cancelled.raise().await
            }
        })?;
        let awaits = inner.clone();
        let middle = create_task(async move {
            if let Err(cancelled) = catch_cancelled(awaits).await {
                trace!("middle cancelled");
                cancelled.raise().await
            }
        })?;
        yield_now().await;
        middle.cancel();
        attempt("await", (&middle).await);
        trace!("inner: {} middle: {}", inner.cancelled().show(), middle.cancelled().show());
        Ok(())
    });
}

/// TASK-11
#[test]
fn a_task_cancelled_before_it_begins_never_runs() {
    in_a_task(async || {
        let task = create_task(async { trace!("never") })?;
        task.cancel();
        attempt("await", task.await);
        Ok(())
    });
}

/// TASK-12
#[test]
fn a_request_wins_over_a_result_that_is_there() {
    in_a_task(async || {
        let future = get_running_loop()?.create_future();
        let awaits = future.clone();
        let task = create_task(async move {
            match catch_cancelled(async { (&awaits).await }).await {
                Ok(value) => trace!("never {}", value.unwrap()),
                Err(_) => trace!("cancelled"),
            }
            "ends"
        })?;
        yield_now().await;
        future.set_result("lost")?;
        task.cancel();
        attempt("await", task.await);
        attempt("the future keeps it", future.result());
        Ok(())
    });
}

/// TASK-13
#[test]
fn a_task_that_cancels_itself_is_hit_at_its_next_suspension() {
    in_a_task(async || {
        let task = create_task(async {
            current_task().unwrap().unwrap().cancel();
            trace!("goes on");
            if catch_cancelled(forever()).await.is_err() {
                trace!("cancelled");
            }
        })?;
        task.await?;
        Ok(())
    });
}

/// TASK-13, FUT-12
#[test]
fn an_await_that_does_not_suspend_delivers_nothing() {
    in_a_task(async || {
        let done = get_running_loop()?.create_future();
        done.set_result(1)?;
        let task = create_task(async move {
            current_task().unwrap().unwrap().cancel();
            trace!("done future: {}", done.await.unwrap());
            match catch_cancelled(yield_now()).await {
                Ok(()) => trace!("never"),
                Err(_) => trace!("cancelled at the suspension"),
            }
        })?;
        task.await?;
        Ok(())
    });
}

/// TASK-14
#[test]
fn a_task_that_cancels_itself_and_returns_is_cancelled() {
    in_a_task(async || {
        let task = create_task(async {
            current_task().unwrap().unwrap().cancel();
            5
        })?;
        attempt("await", (&task).await);
        trace!("cancelled: {}", task.cancelled().show());
        Ok(())
    });
}

/// TASK-15
#[test]
fn a_task_may_refuse_to_end() {
    in_a_task(async || {
        let task = create_task(async {
            if catch_cancelled(forever()).await.is_err() {
                trace!("refused");
            }
            5
        })?;
        yield_now().await;
        task.cancel();
        attempt("await", (&task).await);
        trace!("cancelled: {} cancelling: {}", task.cancelled().show(), task.cancelling());
        Ok(())
    });
}

/// TASK-16
#[test]
fn cleaning_up_may_await() {
    in_a_task(async || {
        let task = create_task(async {
            if let Err(cancelled) = catch_cancelled(forever()).await {
                trace!("cleaning up");
                yield_now().await;
                trace!("half way");
                yield_now().await;
                trace!("clean");
                cancelled.raise().await
            }
        })?;
        yield_now().await;
        task.cancel();
        attempt("await", task.await);
        Ok(())
    });
}

/// TASK-18
#[test]
fn a_second_request_interrupts_the_clean_up() {
    in_a_task(async || {
        let task = create_task(async {
            if catch_cancelled(forever()).await.is_err() {
                trace!("cleaning up");
                if let Err(again) = catch_cancelled(forever()).await {
                    trace!("interrupted");
                    again.raise().await
                }
            }
        })?;
        yield_now().await;
        task.cancel();
        yield_now().await;
        yield_now().await;
        trace!("done: {}", task.done().show());
        task.cancel();
        trace!("cancelling: {}", task.cancelling());
        attempt("await", task.await);
        Ok(())
    });
}

/// TASK-18
#[test]
fn two_requests_at_once_are_delivered_once() {
    in_a_task(async || {
        let task = create_task(async {
            if catch_cancelled(forever()).await.is_err() {
                trace!("cancelled");
            }
            yield_now().await;
            trace!("goes on undisturbed");
        })?;
        yield_now().await;
        task.cancel();
        task.cancel();
        trace!("cancelling: {}", task.cancelling());
        attempt("await", task.await);
        Ok(())
    });
}

/// TASK-19
#[test]
fn uncancel_counts_down_and_not_below_zero() {
    in_a_task(async || {
        let task = create_task(async {
            _ = catch_cancelled(forever()).await;
            let this = current_task().unwrap().unwrap();
            trace!("uncancel: {}", this.uncancel());
            trace!("uncancel: {}", this.uncancel());
            trace!("uncancel: {}", this.uncancel());
        })?;
        yield_now().await;
        task.cancel();
        task.cancel();
        task.await?;
        Ok(())
    });
}

/// TASK-19
#[test]
fn uncancel_takes_back_what_was_not_delivered() {
    in_a_task(async || {
        let task = create_task(async {
            let this = current_task().unwrap().unwrap();
            this.cancel();
            trace!("uncancel: {}", this.uncancel());
            yield_now().await;
            trace!("undisturbed");
        })?;
        task.await?;
        Ok(())
    });
}

/// TASK-20
#[test]
fn the_cancellation_of_an_awaited_task_is_an_error_of_the_await() {
    in_a_task(async || {
        let inner = create_task(forever())?;
        let awaits = inner.clone();
        let task = create_task(async move {
            if awaits.await.is_err_and(|error| error.is_cancelled()) {
                trace!("seen {}", current_task().unwrap().unwrap().cancelling());
            }
            "goes on"
        })?;
        yield_now().await;
        inner.cancel();
        attempt("await", task.await);
        Ok(())
    });
}

/// TASK-21
#[test]
fn a_canceller_waits_for_the_inner_one_to_clean_up() {
    in_a_task(async || {
        let inner = create_task(async {
            if let Err(cancelled) = catch_cancelled(forever()).await {
                yield_now().await;
                yield_now().await;
                trace!("inner is clean");
                cancelled.raise().await
            }
        })?;
        let outer = create_task(async { _ = inner.await })?;
        yield_now().await;
        outer.cancel();
        yield_now().await;
        yield_now().await;
        trace!("outer done: {}", outer.done().show());
        attempt("await", outer.await);
        Ok(())
    });
}

/// TASK-21
#[test]
fn an_inner_one_that_refuses_gives_its_value_to_the_outer() {
    in_a_task(async || {
        let inner = create_task(async {
            if catch_cancelled(forever()).await.is_err() {
                trace!("inner refuses");
            }
            "value"
        })?;
        let outer = create_task(async { inner.await.unwrap() })?;
        yield_now().await;
        outer.cancel();
        attempt("await", (&outer).await);
        trace!("outer cancelled: {} {}", outer.cancelled().show(), outer.cancelling());
        Ok(())
    });
}

/// FUT-07, TASK-09
#[test]
fn a_request_may_carry_a_message() {
    in_a_task(async || {
        let task = create_task(async {
            if let Err(cancelled) = catch_cancelled(forever()).await {
                trace!("told: {}", cancelled.message().show());
                cancelled.raise().await
            }
        })?;
        yield_now().await;
        task.cancel_with(Some("no more need"));
        attempt("await", task.await);
        Ok(())
    });
}

/// CH-02, TASK-12
#[test]
fn a_sleeper_is_woken_by_its_cancellation() {
    in_a_task(async || {
        let task = create_task(async {
            if catch_cancelled(sleep(3600.0)).await.is_err() {
                trace!("woken");
            }
        })?;
        yield_now().await;
        task.cancel();
        attempt("await", task.await);
        Ok(())
    });
}

/// TASK-15, TASK-25
#[test]
fn an_error_in_the_clean_up_is_the_tasks_outcome() {
    in_a_task(async || {
        let task: LoopTask<()> = create_task(async {
            _ = catch_cancelled(forever()).await;
            raise("ValueError: clean-up failed")
        })?;
        yield_now().await;
        task.cancel();
        attempt("await", (&task).await);
        trace!("cancelled: {}", task.cancelled().show());
        Ok(())
    });
}

/// TASK-10, FUT-08
#[test]
fn done_callbacks_see_a_cancelled_task() {
    in_a_task(async || {
        let task = create_task(forever())?;
        task.add_done_callback(|task| trace!("callback: {}", task.cancelled().show()));
        yield_now().await;
        task.cancel();
        attempt("await", task.await);
        Ok(())
    });
}

/// LIFE-14, TASK-11
#[test]
fn a_run_of_a_cancelled_task_gives_its_cancellation() {
    on_a_loop(|lp| {
        let task = lp.create_task(forever())?;
        let cancels = task.clone();
        lp.call_soon(move || _ = cancels.cancel())?;
        attempt("run", lp.run_until_complete(&task)?);
        trace!("cancelled: {}", task.cancelled().show());
        Ok(())
    });
}
