//! Futures: outcomes, callbacks, and who is told in which order.

use std::rc::Rc;

use loop_api::{ContextVar, LoopFuture, TaskError, create_task, get_running_loop, new_event_loop, sleep, yield_now};

use crate::stage::{Raised, Show, attempt, in_a_task, on_a_loop, one_pass, raise};

fn failure(error: &'static str) -> TaskError {
    TaskError::failed(Raised(error))
}

/// FUT-01, FUT-04, FUT-05
#[test]
fn a_pending_future_has_no_outcome() {
    on_a_loop(|lp| {
        let future = lp.create_future::<i32>();
        trace!("done: {} {}", future.done().show(), future.cancelled().show());
        attempt("result", future.result());
        attempt("exception", future.exception().map(|_| "an error"));
        trace!("loop: {}", future.get_loop().is_same(lp).show());
        Ok(())
    });
}

/// FUT-03
#[test]
fn an_outcome_is_set_once() {
    on_a_loop(|lp| {
        let future = lp.create_future();
        attempt("first", future.set_result(1));
        attempt("second", future.set_result(2));
        attempt("error", future.set_exception(failure("ValueError: x")));
        attempt("kept", future.result());
        Ok(())
    });
}

/// FUT-03, FUT-06
#[test]
fn a_cancelled_future_takes_no_result() {
    on_a_loop(|lp| {
        let future = lp.create_future();
        trace!("cancel: {}", future.cancel().show());
        attempt("set_result", future.set_result(1));
        trace!("cancelled: {}", future.cancelled().show());
        Ok(())
    });
}

/// FUT-04, TASK-28
#[test]
fn a_result_can_be_read_any_number_of_times() {
    on_a_loop(|lp| {
        let future = lp.create_future();
        future.set_result(5)?;
        attempt("first", future.result());
        attempt("second", future.result());
        attempt("exception", future.exception().map(|error| error.map(|_| "an error")));
        Ok(())
    });
}

/// FUT-04, FUT-05
#[test]
fn a_failed_future_gives_its_error() {
    on_a_loop(|lp| {
        let future = lp.create_future::<i32>();
        future.set_exception(failure("ValueError: x"))?;
        attempt("result", future.result());
        attempt("again", future.result());
        trace!("cancelled: {}", future.cancelled().show());
        Ok(())
    });
}

/// FUT-06
#[test]
fn a_done_future_cannot_be_cancelled() {
    on_a_loop(|lp| {
        let future = lp.create_future();
        future.set_result(1)?;
        trace!("cancel: {}", future.cancel().show());
        attempt("kept", future.result());
        let pending = lp.create_future::<i32>();
        trace!("cancel: {}", pending.cancel().show());
        trace!("again: {}", pending.cancel().show());
        attempt("exception", pending.exception().map(|_| "an error"));
        Ok(())
    });
}

/// FUT-07
#[test]
fn a_cancellation_may_carry_a_message() {
    on_a_loop(|lp| {
        let future = lp.create_future::<i32>();
        let cancels = future.clone();
        let task = lp.create_task(async move { attempt("awaited", future.await) })?;
        lp.call_soon(move || _ = cancels.cancel_with(Some("no more need")))?;
        lp.run_until_complete(task)??;
        Ok(())
    });
}

/// FUT-02, FUT-08
#[test]
fn callbacks_are_called_later_and_in_order() {
    on_a_loop(|lp| {
        let future = lp.create_future();
        for name in ["one", "two", "three"] {
            future.add_done_callback(move |future| trace!("{name} {}", future.result().unwrap()));
        }
        future.set_result("value")?;
        trace!("set");
        one_pass(lp)?;
        Ok(())
    });
}

/// FUT-09
#[test]
fn a_callback_added_to_a_done_future_is_called_later_too() {
    on_a_loop(|lp| {
        let future = lp.create_future();
        future.set_result(1)?;
        lp.call_soon(|| trace!("queued before"))?;
        future.add_done_callback(|_| trace!("called"));
        trace!("added");
        one_pass(lp)?;
        Ok(())
    });
}

/// FUT-10
#[test]
fn a_callback_taken_off_is_not_called() {
    on_a_loop(|lp| {
        let future = lp.create_future();
        let callback = future.add_done_callback(|_| trace!("never"));
        future.add_done_callback(|_| trace!("kept"));
        trace!("removed: {}", future.remove_done_callback(callback).show());
        trace!("again: {}", future.remove_done_callback(callback).show());
        future.set_result(1)?;
        one_pass(lp)?;
        Ok(())
    });
}

/// FUT-10
#[test]
fn a_queued_callback_cannot_be_taken_back() {
    on_a_loop(|lp| {
        let future = lp.create_future();
        let callback = future.add_done_callback(|_| trace!("called"));
        future.set_result(1)?;
        trace!("removed: {}", future.remove_done_callback(callback).show());
        one_pass(lp)?;
        Ok(())
    });
}

/// FUT-11
#[test]
fn a_callback_that_fails_does_not_keep_the_others_from_being_called() {
    on_a_loop(|lp| {
        let future = lp.create_future();
        future.add_done_callback(|_| raise("ValueError: x"));
        future.add_done_callback(|_| trace!("called"));
        future.set_result(1)?;
        one_pass(lp)?;
        Ok(())
    });
}

/// FUT-08
#[test]
fn a_callback_runs_in_the_context_it_was_added_in() {
    on_a_loop(|lp| {
        let variable = Rc::new(ContextVar::new("variable"));
        let reads = Rc::clone(&variable);
        let future = lp.create_future();
        variable.set("at adding");
        future.add_done_callback(move |_| trace!("callback: {}", reads.get().show()));
        variable.set("at completion");
        future.set_result(1)?;
        one_pass(lp)?;
        trace!("outside: {}", variable.get().show());
        Ok(())
    });
}

/// FUT-12
#[test]
fn awaiting_a_done_future_does_not_suspend() {
    in_a_task(async || {
        let lp = get_running_loop()?;
        let future = lp.create_future();
        future.set_result(1)?;
        lp.call_soon(|| trace!("next pass"))?;
        trace!("value {}", future.await?);
        sleep(0.0).await?;
        trace!("end");
        Ok(())
    });
}

/// FUT-13
#[test]
fn waiters_wake_in_the_order_they_began_to_wait() {
    in_a_task(async || {
        let future: LoopFuture<&str> = get_running_loop()?.create_future();
        let mut tasks = Vec::new();
        for name in ["one", "two", "three"] {
            let future = future.clone();
            tasks.push(create_task(async move { trace!("{name} {}", (&future).await.unwrap()) })?);
        }
        yield_now().await;
        future.set_result("value")?;
        trace!("set");
        for task in tasks {
            task.await?;
        }
        Ok(())
    });
}

/// FUT-13, FUT-08
#[test]
fn callbacks_and_waiters_share_one_order() {
    in_a_task(async || {
        let future: LoopFuture<&str> = get_running_loop()?.create_future();
        let waiter = |name| {
            let future = future.clone();
            create_task(async move { trace!("{name} {}", (&future).await.unwrap()) })
        };
        let first = waiter("first waiter")?;
        yield_now().await;
        future.add_done_callback(|_| trace!("callback"));
        let second = waiter("second waiter")?;
        yield_now().await;
        future.set_result("value")?;
        first.await?;
        second.await?;
        Ok(())
    });
}

/// FUT-14
#[test]
fn an_error_nobody_reads_is_reported() {
    on_a_loop(|lp| {
        let future = lp.create_future::<i32>();
        future.set_exception(failure("ValueError: x"))?;
        trace!("let go");
        drop(future);
        Ok(())
    });
}

/// FUT-15
#[test]
fn an_error_that_was_read_is_not_reported() {
    on_a_loop(|lp| {
        let [read, cancelled, value] = [(); 3].map(|()| lp.create_future::<i32>());
        read.set_exception(failure("ValueError: read"))?;
        attempt("exception", read.exception().map(|_| ()));
        cancelled.set_exception(failure("ValueError: cancelled afterwards"))?;
        trace!("cancel: {}", cancelled.cancel().show());
        value.set_result(1)?;
        drop((read, cancelled, value));
        trace!("let go");
        Ok(())
    });
}

/// TASK-06
#[test]
fn a_future_of_another_loop_cannot_be_awaited() {
    in_a_task(async || {
        let other = new_event_loop()?;
        attempt("await", other.create_future::<i32>().await);
        trace!("goes on");
        Ok(())
    });
}
