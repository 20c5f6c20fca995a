//! timeout, timeout_at and wait_for.

use std::error::Error;
use std::time::Duration;

use loop_api::{
    Limit, Timeout, catch_cancelled, create_task, current_task, get_running_loop, timeout, wait_for, yield_now,
};

use crate::stage::{Raised, Show, attempt, in_a_task};

/// A future that nobody completes.
async fn blocked() {
    let _: Result<(), _> = get_running_loop().unwrap().create_future().await;
}

async fn forever() {
    if let Err(cancelled) = catch_cancelled(blocked()).await {
        trace!("cleans up");
        yield_now().await;
        trace!("is clean");
        cancelled.raise().await
    }
}

async fn soon(value: i32) -> i32 {
    yield_now().await;
    value
}

async fn within<F: Future>(limit: impl Limit, future: F) -> loop_api::Result<F::Output> {
    timeout(limit, future).await
}

/// CH-26
#[test]
fn a_timeout_that_passes_cleans_up_first() {
    in_a_task(async || {
        attempt("timeout", within(0.001, forever()).await);
        trace!("cancelling: {}", current_task()?.unwrap().cancelling());
        Ok(())
    });
}

/// CH-26, CH-37
#[test]
fn a_timeout_that_does_not_pass_is_not_noticed() {
    in_a_task(async || {
        attempt("timeout", within(3600.0, soon(1)).await);
        Ok(())
    });
}

/// CH-27
#[test]
fn no_timeout_at_all() {
    in_a_task(async || {
        attempt("timeout", within(None, soon(1)).await);
        Ok(())
    });
}

/// CH-28
#[test]
fn a_deadline_that_has_passed_hits_at_the_first_suspension() {
    in_a_task(async || {
        let scope = Timeout::new(0.0)?;
        scope.run(async { trace!("goes on") }).await?;
        trace!("expired: {}", scope.expired().show());
        attempt("timeout", within(-1.0, forever()).await);
        Ok(())
    });
}

/// CH-29, CH-30
#[test]
fn a_deadline_can_be_moved() {
    in_a_task(async || {
        let scope = Timeout::new(3600.0)?;
        let moved = scope.clone();
        let block = async move {
            trace!("expired: {}", moved.expired().show());
            moved.reschedule(get_running_loop()?.time().saturating_sub(Duration::from_secs(1)))?;
            forever().await;
            Ok::<_, Box<dyn Error>>(())
        };
        if let Err(loop_api::Error::TimedOut) = scope.run(block).await {
            trace!("timed out; expired: {}", scope.expired().show());
        }
        if scope.reschedule(None).is_err() {
            trace!("refused");
        }
        Ok(())
    });
}

/// CH-32
#[test]
fn a_cancellation_from_elsewhere_stays_one() {
    in_a_task(async || {
        let task = create_task(within(3600.0, forever()))?;
        yield_now().await;
        task.cancel();
        let handle = task.as_task_ref().clone();
        attempt("task", task.await.map(|_| ()));
        trace!("cancelled: {} cancelling: {}", handle.cancelled().show(), handle.cancelling());
        Ok(())
    });
}

/// CH-33
#[test]
fn a_block_that_refuses_to_be_timed_out_ends_normally() {
    in_a_task(async || {
        let scope = Timeout::new(0.001)?;
        let block = async {
            if catch_cancelled(blocked()).await.is_err() {
                trace!("refuses");
            }
        };
        scope.run(block).await?;
        let cancelling = current_task()?.unwrap().cancelling();
        trace!("expired: {} cancelling: {cancelling}", scope.expired().show());
        yield_now().await;
        trace!("undisturbed");
        Ok(())
    });
}

/// CH-34
#[test]
fn the_outer_timeout_is_not_the_inner_ones() {
    in_a_task(async || {
        let (outer, inner) = (Timeout::new(0.001)?, Timeout::new(3600.0)?);
        if let Err(loop_api::Error::TimedOut) = outer.run(inner.run(forever())).await {
            trace!("outer: {} inner: {}", outer.expired().show(), inner.expired().show());
        }
        Ok(())
    });
}

/// CH-34
#[test]
fn the_inner_timeout_leaves_the_outer_one() {
    in_a_task(async || {
        let outer = Timeout::new(3600.0)?;
        let block = async {
            attempt("inner", within(0.001, forever()).await);
            trace!("goes on");
        };
        outer.run(block).await?;
        trace!("outer: {}", outer.expired().show());
        Ok(())
    });
}

/// CH-35
#[test]
fn another_error_goes_before_the_timeout() {
    in_a_task(async || {
        let fails = async {
            match catch_cancelled(blocked()).await {
                Ok(()) => Ok(()),
                Err(_) => Err(Raised("ValueError: x")),
            }
        };
        attempt("timeout", within(0.001, fails).await?);
        Ok(())
    });
}

/// CH-20
#[test]
fn wait_for_gives_the_value() {
    in_a_task(async || {
        attempt("value", wait_for(soon(1), 3600.0).await);
        attempt("no limit", wait_for(soon(2), None).await);
        Ok(())
    });
}

/// CH-20
#[test]
fn wait_for_runs_in_the_callers_task() {
    in_a_task(async || {
        let caller = current_task()?;
        let work = async { trace!("same task: {}", (current_task().unwrap() == caller).show()) };
        wait_for(work, 3600.0).await?;
        Ok(())
    });
}

/// CH-21
#[test]
fn wait_for_waits_for_the_clean_up() {
    in_a_task(async || {
        attempt("wait_for", wait_for(forever(), 0.001).await);
        Ok(())
    });
}

/// CH-22
#[test]
fn wait_for_gives_the_value_of_one_that_refuses() {
    in_a_task(async || {
        let refuses = async {
            match catch_cancelled(blocked()).await {
                Ok(()) => "never",
                Err(_) => "refused",
            }
        };
        attempt("wait_for", wait_for(refuses, 0.001).await);
        Ok(())
    });
}

/// CH-23
#[test]
fn wait_for_no_time_at_all() {
    in_a_task(async || {
        let lp = get_running_loop()?;
        let (done, pending) = (lp.create_future(), lp.create_future::<()>());
        done.set_result("ready")?;
        attempt("done", wait_for(done, 0.0).await?);
        attempt("pending", wait_for(pending.clone(), 0.0).await.map(|_| ()));
        trace!("cancelled: {}", pending.cancelled().show());
        Ok(())
    });
}

/// CH-24
#[test]
fn cancelling_the_waiter_cancels_what_it_waits_for() {
    in_a_task(async || {
        let task = create_task(wait_for(forever(), 3600.0))?;
        yield_now().await;
        yield_now().await;
        task.cancel();
        attempt("task", task.await.map(|_| ()));
        Ok(())
    });
}
