//! run and Runner: what is done for a program, and what is left when it ends.

use std::cell::RefCell;
use std::future::pending;
use std::rc::Rc;

use loop_api::{
    ContextVar, EventLoop, LoopError, LoopTask, Runner, catch_cancelled, create_task, current_task, get_running_loop,
    run, yield_now,
};

use crate::stage::{Raised, Show, attempt, bare, on_a_loop, raise, reports};

/// Refuses to end at once when it is cancelled.
async fn stubborn(name: &'static str, passes: u32) {
    if catch_cancelled(pending::<()>()).await.is_err() {
        for _ in 0..passes {
            yield_now().await;
        }
        trace!("{name} has cleaned up");
    }
}

/// RUN-01
#[test]
fn run_gives_the_value() {
    bare(|| {
        let main = async {
            trace!("main");
            yield_now().await;
            7
        };
        attempt("run", run(main));
        Ok(())
    });
}

/// RUN-01
#[test]
fn run_raises_the_error_and_closes_the_loop() {
    bare(|| {
        let mut event_loop = None;
        let main = async {
            event_loop = get_running_loop().ok();
            Err::<(), _>(Raised("ValueError: x"))
        };
        attempt("run", run(main)?);
        trace!("closed: {}", event_loop.is_some_and(|event_loop: EventLoop| event_loop.is_closed()).show());
        Ok(())
    });
}

/// RUN-03
#[test]
fn run_within_a_running_loop_is_refused() {
    on_a_loop(|lp| {
        let stops = lp.clone();
        lp.call_soon(move || {
            attempt("run", run(async { trace!("never") }));
            stops.stop();
        })?;
        lp.run_forever()?;
        Ok(())
    });
}

/// RUN-04
#[test]
fn what_is_left_is_cancelled_and_awaited() {
    bare(|| {
        let mut tasks = Vec::new();
        let main = async {
            tasks.push(create_task(stubborn("one", 3))?);
            tasks.push(create_task(stubborn("two", 1))?);
            yield_now().await;
            trace!("main ends");
            Ok::<_, LoopError>(())
        };
        run(main)??;
        trace!("done: {} {}", tasks[0].done().show(), tasks[1].done().show());
        Ok(())
    });
}

/// RUN-05
#[test]
fn what_is_left_is_cancelled_also_when_main_fails() {
    bare(|| {
        let main = async {
            create_task(stubborn("one", 2)).unwrap();
            yield_now().await;
            Err::<(), _>(Raised("ValueError: x"))
        };
        attempt("run", run(main)?);
        Ok(())
    });
}

/// RUN-06
#[test]
fn a_left_over_task_that_fails_is_reported() {
    bare(|| {
        let main = async {
            reports(&get_running_loop()?);
            create_task(async {
                _ = catch_cancelled(pending::<()>()).await;
                raise("ValueError: x")
            })
            .map(|_: LoopTask<()>| ())?;
            yield_now().await;
            Ok::<_, LoopError>(1)
        };
        attempt("run", run(main)?);
        Ok(())
    });
}

/// RUN-08
#[test]
fn callbacks_that_are_left_are_dropped() {
    bare(|| {
        let main = async {
            get_running_loop()?.call_later(60.0, || trace!("never"))?;
            get_running_loop()?.call_later(3600.0, || trace!("never"))?;
            trace!("main ends");
            Ok::<_, LoopError>(())
        };
        run(main)??;
        trace!("after run");
        Ok(())
    });
}

/// RUN-11
#[test]
fn a_main_that_was_cancelled_leaves_run_as_that() {
    bare(|| {
        let main = async {
            current_task().unwrap().unwrap().cancel();
            yield_now().await;
            trace!("never");
        };
        attempt("run", run(main));
        Ok(())
    });
}

/// RUN-09
#[test]
fn debug_is_set_for_the_run() {
    bare(|| {
        for debug in [true, false] {
            let main = async { trace!("debug: {}", get_running_loop().unwrap().get_debug().show()) };
            Runner::builder().debug(debug).run(main)?;
        }
        Ok(())
    });
}

/// RUN-16
#[test]
fn a_runner_keeps_its_loop_and_its_context() {
    bare(|| {
        let variable = ContextVar::new("variable");
        let task: RefCell<Option<LoopTask<()>>> = RefCell::default();
        let mut runner = Runner::new();
        let one = runner.run(async {
            variable.set("set by the first");
            let background = create_task(async {
                yield_now().await;
                yield_now().await;
                trace!("background ends");
            });
            task.replace(background.ok());
            get_running_loop()
        })??;
        trace!("between the runs");
        let two = runner.run(async {
            trace!("variable: {}", variable.get().show());
            let background = task.take().unwrap();
            background.await.unwrap();
            get_running_loop()
        })??;
        trace!("same loop: {} {}", one.is_same(&two).show(), runner.get_loop()?.is_same(&one).show());
        Ok(())
    });
}

/// RUN-18
#[test]
fn a_closed_runner_is_of_no_use() {
    bare(|| {
        let mut runner = Runner::new();
        runner.get_loop()?;
        attempt("close", runner.close());
        attempt("again", runner.close());
        attempt("run", runner.run(async { trace!("never") }));
        attempt("get_loop", runner.get_loop().map(|_| "a loop"));
        Ok(())
    });
}

/// RUN-19
#[test]
fn closing_an_unused_runner_does_nothing() {
    bare(|| {
        let mut runner = Runner::new();
        attempt("close", runner.close());
        attempt("run", runner.run(async { trace!("main") }));
        runner.close()?;
        Ok(())
    });
}

/// RUN-17
#[test]
fn a_runner_within_a_running_loop_is_refused() {
    bare(|| {
        run(async {
            let mut inner = Runner::new();
            inner.get_loop().unwrap();
            attempt("run", inner.run(async { trace!("never") }));
        })?;
        Ok(())
    });
}

/// RUN-01, LIFE-17
#[test]
fn a_stop_ends_main_before_its_time() {
    bare(|| {
        let main = async {
            get_running_loop().unwrap().stop();
            pending::<()>().await;
        };
        attempt("run", run(main));
        Ok(())
    });
}

/// RUN-04, RUN-07
#[test]
fn what_refuses_to_end_is_waited_for() {
    bare(|| {
        let task: Rc<RefCell<Option<LoopTask<()>>>> = Rc::default();
        let made = Rc::clone(&task);
        let main = async {
            let future = get_running_loop()?.create_future();
            let refuses = create_task(async move {
                if catch_cancelled(pending::<()>()).await.is_err() {
                    trace!("refuses");
                    let sets = future.clone();
                    get_running_loop().unwrap().call_soon(move || sets.set_result(()).unwrap()).unwrap();
                    future.await.unwrap();
                    trace!("ends of its own");
                }
            })?;
            made.replace(Some(refuses));
            yield_now().await;
            Ok::<_, LoopError>(())
        };
        run(main)??;
        trace!("cancelled: {}", task.take().unwrap().cancelled().show());
        Ok(())
    });
}
