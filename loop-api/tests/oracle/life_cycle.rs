//! A loop's life: run, stop, run again, close.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use loop_api::{
    EventLoop, ExceptionContext, Fatal, LoopFuture, TaskError, fatal, get_running_loop, new_event_loop, yield_now,
};

use crate::names::escaped;
use crate::stage::{End, Raised, Show, attempt, on_a_loop, one_pass};

/// Runs the loop until it stops; what leaves it by unwinding is traced too.
fn run(label: &str, lp: &EventLoop) {
    match catch_unwind(AssertUnwindSafe(|| lp.run_forever())) {
        Ok(ended) => attempt(label, ended),
        Err(payload) => trace!("{label}: {}", escaped(payload)),
    }
}

/// Stops the loop in the pass after the next.
fn stop_in_the_second_pass(lp: &EventLoop) -> End {
    let this = lp.clone();
    lp.call_soon(move || {
        let stops = this.clone();
        let second = move || {
            trace!("second pass");
            stops.stop();
        };
        this.call_soon(second).unwrap();
    })?;
    Ok(())
}

/// LIFE-01, LIFE-24
#[test]
fn a_loop_tells_what_it_does() {
    on_a_loop(|lp| {
        let tell = |lp: &EventLoop, when| trace!("{when}: {} {}", lp.is_running().show(), lp.is_closed().show());
        tell(lp, "new");
        let inside = lp.clone();
        lp.call_soon(move || tell(&inside, "inside"))?;
        one_pass(lp)?;
        tell(lp, "at rest");
        lp.close()?;
        tell(lp, "closed");
        Ok(())
    });
}

/// LIFE-03
#[test]
fn stop_lets_the_pass_end() {
    on_a_loop(|lp| {
        let stops = lp.clone();
        lp.call_soon(|| trace!("before"))?;
        lp.call_soon(move || stops.stop())?;
        lp.call_soon(|| trace!("behind"))?;
        lp.run_forever()?;
        trace!("stopped");
        Ok(())
    });
}

/// LIFE-04
#[test]
fn what_is_queued_while_stopping_runs_first_in_the_next_run() {
    on_a_loop(|lp| {
        let stops = lp.clone();
        lp.call_soon(move || {
            stops.stop();
            stops.call_soon(|| trace!("queued while stopping")).unwrap();
        })?;
        lp.run_forever()?;
        trace!("stopped");
        lp.call_soon(|| trace!("queued at rest"))?;
        one_pass(lp)?;
        Ok(())
    });
}

/// LIFE-05
#[test]
fn stop_before_a_run_makes_it_one_pass() {
    on_a_loop(|lp| {
        fn again(lp: &EventLoop) {
            trace!("ran");
            let next = lp.clone();
            lp.call_soon(move || again(&next)).unwrap();
        }
        again(lp);
        for _ in 0..3 {
            lp.stop();
            lp.run_forever()?;
            trace!("stopped");
        }
        Ok(())
    });
}

/// LIFE-05, TIME-02
#[test]
fn the_one_pass_of_a_stopped_loop_runs_due_timers() {
    on_a_loop(|lp| {
        lp.call_later(0.0, || trace!("due"))?;
        lp.call_later(3600.0, || trace!("not due"))?;
        lp.call_soon(|| trace!("ready"))?;
        one_pass(lp)?;
        trace!("stopped");
        Ok(())
    });
}

/// LIFE-06
#[test]
fn the_request_to_stop_does_not_outlive_a_run() {
    on_a_loop(|lp| {
        lp.stop();
        lp.stop();
        lp.run_forever()?;
        trace!("first run ended");
        stop_in_the_second_pass(lp)?;
        lp.run_forever()?;
        trace!("second run ended");
        Ok(())
    });
}

/// LIFE-06, LIFE-22
#[test]
fn a_fatal_error_takes_the_request_to_stop_with_it() {
    on_a_loop(|lp| {
        let stops = lp.clone();
        lp.call_soon(move || {
            stops.stop();
            fatal(Fatal::Exit(3))
        })?;
        run("first run", lp);
        stop_in_the_second_pass(lp)?;
        run("second run", lp);
        Ok(())
    });
}

/// LIFE-07
#[test]
fn stop_is_never_an_error() {
    on_a_loop(|lp| {
        lp.stop();
        trace!("at rest");
        one_pass(lp)?;
        lp.close()?;
        lp.stop();
        trace!("closed");
        Ok(())
    });
}

/// LIFE-09
#[test]
fn a_stopped_loop_goes_on_where_it_was() {
    on_a_loop(|lp| {
        let stops = lp.clone();
        lp.call_later(Duration::from_millis(300), move || {
            trace!("timer");
            stops.stop();
        })?;
        let task = lp.create_task(async {
            trace!("task begins");
            yield_now().await;
            trace!("task ends");
        })?;
        one_pass(lp)?;
        trace!("first run ended");
        lp.run_forever()?;
        trace!("second run ended {}", task.done().show());
        Ok(())
    });
}

/// LIFE-10
#[test]
fn a_closed_loop_does_not_run() {
    on_a_loop(|lp| {
        lp.close()?;
        run("run_forever", lp);
        attempt("run_until_complete", lp.run_until_complete(lp.create_future::<()>()).map(drop));
        Ok(())
    });
}

/// LIFE-11
#[test]
fn a_running_loop_refuses_another_run() {
    on_a_loop(|lp| {
        let (this, future) = (lp.clone(), lp.create_future::<()>());
        lp.call_soon(move || {
            attempt("run_until_complete", this.run_until_complete(future).map(drop));
            let is_it = get_running_loop().unwrap().is_same(&this);
            trace!("running: {} {}", this.is_running().show(), is_it.show());
            let stops = this.clone();
            this.call_soon(move || stops.stop()).unwrap();
        })?;
        run("outer run", lp);
        Ok(())
    });
}

/// LIFE-12
#[test]
fn another_loop_does_not_run_within_a_running_one() {
    on_a_loop(|lp| {
        let (this, other) = (lp.clone(), new_event_loop()?);
        lp.call_soon(move || {
            attempt("run_until_complete", other.run_until_complete(other.create_future::<()>()).map(drop));
            trace!("other running: {}", other.is_running().show());
            let is_it = get_running_loop().unwrap().is_same(&this);
            trace!("running: {} {}", this.is_running().show(), is_it.show());
            let stops = this.clone();
            this.call_soon(move || stops.stop()).unwrap();
        })?;
        run("outer run", lp);
        Ok(())
    });
}

/// LIFE-13
#[test]
fn a_coroutine_gives_its_value() {
    on_a_loop(|lp| {
        let work = async {
            yield_now().await;
            42
        };
        attempt("value", lp.run_until_complete(work));
        Ok(())
    });
}

/// LIFE-13, TASK-23
#[test]
fn an_error_of_the_coroutine_goes_on_in_the_caller() {
    on_a_loop(|lp| {
        let work = async {
            yield_now().await;
            Err::<(), _>(Raised("ValueError: x"))
        };
        attempt("error", lp.run_until_complete(work)?);
        trace!("running: {}", lp.is_running().show());
        Ok(())
    });
}

/// LIFE-14
#[test]
fn a_future_gives_its_outcome() {
    on_a_loop(|lp| {
        let [value, error, cancelled] = [(); 3].map(|()| lp.create_future::<i32>());
        let (sets, fails, cancels) = (value.clone(), error.clone(), cancelled.clone());
        lp.call_soon(move || sets.set_result(1).unwrap())?;
        attempt("value", lp.run_until_complete(value)?);
        lp.call_soon(move || fails.set_exception(TaskError::failed(Raised("ValueError: x"))).unwrap())?;
        attempt("error", lp.run_until_complete(error)?);
        lp.call_soon(move || _ = cancels.cancel())?;
        attempt("cancelled", lp.run_until_complete(cancelled)?);
        Ok(())
    });
}

/// LIFE-15
#[test]
fn a_future_that_is_done_takes_one_pass() {
    on_a_loop(|lp| {
        let future = lp.create_future();
        future.set_result(7)?;
        let this = lp.clone();
        lp.call_soon(move || {
            trace!("first pass");
            this.call_soon(|| trace!("second pass")).unwrap();
        })?;
        attempt("value", lp.run_until_complete(future)?);
        Ok(())
    });
}

/// LIFE-16
#[test]
fn a_run_ends_one_pass_after_its_coroutine() {
    on_a_loop(|lp| {
        let work = async {
            let this = lp.clone();
            lp.call_soon(move || {
                trace!("next pass");
                this.call_soon(|| trace!("the pass after")).unwrap();
            })?;
            Ok::<_, loop_api::LoopError>(1)
        };
        attempt("value", lp.run_until_complete(work)?);
        one_pass(lp)?;
        Ok(())
    });
}

/// LIFE-16
#[test]
fn what_is_queued_behind_a_completion_still_runs() {
    on_a_loop(|lp| {
        let (future, this) = (lp.create_future(), lp.clone());
        let completes = future.clone();
        lp.call_soon(move || {
            completes.set_result(5).unwrap();
            this.call_soon(|| trace!("queued behind")).unwrap();
        })?;
        attempt("value", lp.run_until_complete(future)?);
        Ok(())
    });
}

/// LIFE-17
#[test]
fn a_task_survives_a_run_that_was_stopped() {
    on_a_loop(|lp| {
        let mut task = lp.create_task(async {
            trace!("begins");
            yield_now().await;
            yield_now().await;
            trace!("ends");
            5
        })?;
        let stops = lp.clone();
        lp.call_soon(move || stops.stop())?;
        attempt("first run", lp.run_until_complete(&mut task).map(|_| 0));
        trace!("done: {}", task.done().show());
        attempt("second run", lp.run_until_complete(task)?);
        Ok(())
    });
}

/// LIFE-18
#[test]
fn one_pass_is_enough_for_a_coroutine_that_does_not_suspend() {
    on_a_loop(|lp| {
        lp.stop();
        attempt("run", lp.run_until_complete(async { 1 }));
        Ok(())
    });
}

/// LIFE-18
#[test]
fn one_pass_is_not_enough_for_a_coroutine_that_suspends() {
    on_a_loop(|lp| {
        let work = async {
            trace!("begins");
            yield_now().await;
            trace!("never");
        };
        lp.stop();
        attempt("run", lp.run_until_complete(work));
        Ok(())
    });
}

/// LIFE-19
#[test]
fn a_future_that_was_given_up_does_not_stop_a_later_run() {
    on_a_loop(|lp| {
        let mut future: LoopFuture<i32> = lp.create_future();
        let (stops, completes) = (lp.clone(), future.clone());
        lp.call_soon(move || stops.stop())?;
        attempt("first run", lp.run_until_complete(&mut future).map(|_| 0));
        lp.call_soon(move || completes.set_result(1).unwrap())?;
        let stops = lp.clone();
        lp.call_later(Duration::from_millis(20), move || {
            trace!("timer");
            stops.stop();
        })?;
        run("second run", lp);
        Ok(())
    });
}

/// LIFE-20
#[test]
fn a_future_of_another_loop_is_refused() {
    on_a_loop(|lp| {
        let other = new_event_loop()?;
        lp.call_soon(|| trace!("not run"))?;
        attempt("run", lp.run_until_complete(other.create_future::<()>()).and_then(|result| Ok(result?)));
        trace!("running: {}", lp.is_running().show());
        Ok(())
    });
}

/// LIFE-21
#[test]
fn other_tasks_are_left_as_they_are() {
    on_a_loop(|lp| {
        let mut task = lp.create_task(async {
            for number in 0..4 {
                trace!("background {number}");
                yield_now().await;
            }
        })?;
        lp.run_until_complete(async {
            yield_now().await;
            trace!("main ends");
        })?;
        trace!("between the runs {}", task.done().show());
        lp.run_until_complete(&mut task)??;
        trace!("after {}", task.done().show());
        Ok(())
    });
}

/// LIFE-22
#[test]
fn a_fatal_error_leaves_the_rest_of_the_pass_queued() {
    on_a_loop(|lp| {
        lp.call_soon(|| trace!("before"))?;
        lp.call_soon(|| fatal(Fatal::Interrupt))?;
        lp.call_soon(|| trace!("behind"))?;
        run("first run", lp);
        trace!("running: {}", lp.is_running().show());
        let stops = lp.clone();
        lp.call_soon(move || stops.stop())?;
        run("second run", lp);
        Ok(())
    });
}

/// LIFE-23, TASK-23
#[test]
fn a_fatal_error_of_the_coroutine_is_raised_once() {
    on_a_loop(|lp| {
        match catch_unwind(AssertUnwindSafe(|| lp.run_until_complete(async { fatal(Fatal::Exit(4)) }))) {
            Ok(ended) => attempt("first run", ended.map(drop::<()>)),
            Err(payload) => trace!("first run: {}", escaped(payload)),
        }
        stop_in_the_second_pass(lp)?;
        run("second run", lp);
        Ok(())
    });
}

/// LIFE-25
#[test]
fn a_running_loop_refuses_to_close() {
    on_a_loop(|lp| {
        let (closes, asks) = (lp.clone(), lp.clone());
        lp.call_soon(move || attempt("close", closes.close()))?;
        lp.call_soon(move || trace!("closed: {}", asks.is_closed().show()))?;
        one_pass(lp)?;
        Ok(())
    });
}

/// LIFE-26
#[test]
fn a_closed_loop_may_be_closed_again() {
    on_a_loop(|lp| {
        attempt("first", lp.close());
        attempt("second", lp.close());
        Ok(())
    });
}

/// LIFE-27
#[test]
fn close_runs_nothing() {
    on_a_loop(|lp| {
        lp.call_soon(|| trace!("never"))?;
        lp.call_later(0.0, || trace!("never"))?;
        let (task, future) = (lp.create_task(async { trace!("never") })?, lp.create_future::<()>());
        lp.close()?;
        trace!("done: {} {}", task.done().show(), future.done().show());
        Ok(())
    });
}

/// LIFE-30
#[test]
fn a_closed_loop_takes_nothing() {
    on_a_loop(|lp| {
        lp.close()?;
        attempt("call_soon", lp.call_soon(|| trace!("never")).map(drop));
        attempt("call_soon_threadsafe", lp.call_soon_threadsafe(|_| trace!("never")).map(drop));
        attempt("call_later", lp.call_later(0.0, || trace!("never")).map(drop));
        attempt("call_at", lp.call_at(0.0, || trace!("never")).map(drop));
        attempt("run_in_executor", lp.run_in_executor(None, || ()).map(drop));
        attempt("create_task", lp.create_task(async { trace!("never") }).map(drop));
        Ok(())
    });
}

/// LIFE-31
#[test]
fn what_still_works_on_a_closed_loop() {
    on_a_loop(|lp| {
        lp.close()?;
        let before = lp.time();
        trace!("time: {}", (lp.time() >= before).show());
        lp.set_debug(true);
        trace!("debug: {}", lp.get_debug().show());
        let future = lp.create_future::<()>();
        trace!("future done: {}", future.done().show());
        lp.call_exception_handler(&ExceptionContext::new("still heard"));
        Ok(())
    });
}

/// LIFE-32
#[test]
fn a_future_of_a_closed_loop_can_be_completed() {
    on_a_loop(|lp| {
        let (alone, watched) = (lp.create_future(), lp.create_future());
        watched.add_done_callback(|_| trace!("never"));
        lp.close()?;
        attempt("without callbacks", alone.set_result(1));
        attempt("with callbacks", watched.set_result(2));
        attempt("alone", alone.result());
        attempt("watched", watched.result());
        Ok(())
    });
}
