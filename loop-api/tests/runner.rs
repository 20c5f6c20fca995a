//! `run` and `Runner`: a program from its first coroutine to the end of its loop.

mod logs;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use loop_api::{
    Cancelled, Context, ContextVar, Error, EventLoop, ExceptionContext, Executor, Fatal, Job, LoopError, LoopHandle,
    LoopOptions, Runner, TaskError, all_tasks, catch_cancelled, create_task, current_task, fatal, get_event_loop,
    get_running_loop, new_event_loop, run, set_event_loop, sleep, yield_now,
};

/// What happened, in order, told from any thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Says so when it is dropped.
struct Dropped(Log, &'static str);

impl Drop for Dropped {
    fn drop(&mut self) {
        let slot = if get_event_loop().is_err() { "no loop is current" } else { "a loop is current" };
        self.0.add(format!("{}, {slot}", self.1));
    }
}

/// A default executor that takes no jobs and says when it is shut down.
struct Watched(Log);

impl Executor for Watched {
    fn execute(&self, _: Job) -> Result<(), LoopError> {
        Err(LoopError::PoolShutdown)
    }

    fn shutdown(&self, wait: bool, _: bool) {
        self.0.add(format!("executor shut down, wait: {wait}"));
    }
}

/// Waits for a cancellation, and takes it.
async fn until_cancelled() -> Cancelled {
    let Err(cancelled) = catch_cancelled(pending::<Infallible>()).await;
    cancelled
}

/// Leaves one of everything behind.
fn leave_things_behind(log: &Log) {
    let lp = get_running_loop().unwrap();
    lp.set_default_executor(Arc::new(Watched(log.clone())));
    let timer = Dropped(log.clone(), "timer dropped");
    lp.call_later(Duration::from_secs(3600), move || {
        let _timer = timer;
        panic!("what is left over is not run");
    })
    .unwrap();
    queue_for_ever(&lp, Rc::new(Dropped(log.clone(), "callback dropped")));
    let log = log.clone();
    create_task(async move {
        let cancelled = until_cancelled().await;
        yield_now().await;
        log.add("task cleaned up");
        cancelled.raise::<()>().await
    })
    .unwrap();
}

/// A callback that queues itself anew: there is always one left.
fn queue_for_ever(lp: &EventLoop, held: Rc<Dropped>) {
    let again = lp.clone();
    lp.call_soon(move || queue_for_ever(&again, Rc::clone(&held))).unwrap();
}

const SHUTDOWN: [&str; 5] = [
    "task cleaned up",
    "executor shut down, wait: true",
    "callback dropped, no loop is current",
    "timer dropped, no loop is current",
    "loop closed",
];

/// What the shutdown did, in order.
fn shutdown_of(log: &Log, handle: &LoopHandle) -> Vec<String> {
    let mut log = log.take();
    if handle.is_closed() {
        log.push(String::from("loop closed"));
    }
    log
}

/// RUN-01.
#[test]
fn run_gives_the_value_of_the_coroutine_and_closes_its_loop() {
    let text = String::from("borrowed");
    let (seen, handle) = run(async {
        yield_now().await;
        assert_eq!(get_event_loop().unwrap(), get_running_loop().unwrap());
        (&*text, get_running_loop().unwrap().handle())
    })
    .unwrap();
    assert_eq!(seen, "borrowed");
    assert!(handle.is_closed());
    assert!(get_running_loop().is_err());
    let failed: Result<(), &str> = run(async { Err("its own error") }).unwrap();
    assert_eq!(failed, Err("its own error"));
}

/// RUN-03.
#[test]
fn run_inside_a_running_loop_is_refused_and_starts_nothing() {
    let (lp, polled) = (new_event_loop().unwrap(), Cell::new(false));
    lp.run_until_complete(async {
        let refused = run(async { polled.set(true) });
        assert!(matches!(refused, Err(Error::Loop(LoopError::OtherLoopRunning))), "{refused:?}");
        yield_now().await;
    })
    .unwrap();
    assert!(!polled.get());
}

/// RUN-04, RUN-08.
#[test]
fn after_the_coroutine_everything_is_shut_down_in_order() {
    let log = Log::default();
    let handle = run(async {
        leave_things_behind(&log);
        yield_now().await;
        get_running_loop().unwrap().handle()
    });
    assert_eq!(shutdown_of(&log, &handle.unwrap()), SHUTDOWN);
}

/// RUN-05.
#[test]
fn the_same_shutdown_follows_a_failure_a_cancellation_and_a_stop() {
    let log = Log::default();
    let handle = RefCell::new(None);
    let begin = async || {
        leave_things_behind(&log);
        handle.replace(Some(get_running_loop().unwrap().handle()));
        yield_now().await;
    };
    let shutdown = || shutdown_of(&log, &handle.take().unwrap());

    let failed: Result<Result<(), &str>, Error> = run(async {
        begin().await;
        Err("its own error")
    });
    assert_eq!(failed.unwrap(), Err("its own error"));
    assert_eq!(shutdown(), SHUTDOWN);

    let cancelled = run(async {
        begin().await;
        current_task().unwrap().unwrap().cancel();
        pending::<()>().await;
    });
    assert!(cancelled.unwrap_err().is_cancelled());
    assert_eq!(shutdown(), SHUTDOWN);

    let stopped = run(async {
        begin().await;
        get_running_loop().unwrap().stop();
        pending::<()>().await;
    });
    assert!(matches!(stopped, Err(Error::Loop(LoopError::StoppedBeforeComplete))));
    assert_eq!(shutdown(), SHUTDOWN);

    let panicked = catch_unwind(AssertUnwindSafe(|| {
        run(async {
            begin().await;
            panic!("its own panic");
        })
    }));
    assert_eq!(*panicked.err().unwrap().downcast::<&str>().unwrap(), "its own panic");
    assert_eq!(shutdown(), SHUTDOWN);

    let left = catch_unwind(AssertUnwindSafe(|| {
        run(async {
            begin().await;
            fatal(Fatal::Exit(3));
        })
    }));
    assert_eq!(*left.err().unwrap().downcast::<Fatal>().unwrap(), Fatal::Exit(3));
    assert_eq!(shutdown(), SHUTDOWN);
}

/// RUN-05: how main ended counts for more than how the shutdown went.
#[test]
fn a_failing_shutdown_does_not_hide_how_the_coroutine_ended() {
    let stop_when_cancelled = || {
        create_task(async {
            until_cancelled().await;
            get_running_loop().unwrap().stop();
            yield_now().await;
            yield_now().await;
        })
    };
    let (handle, records) = logs::capture(|| {
        let handle = Cell::new(None);
        let outcome = run(async {
            handle.set(Some(get_running_loop().unwrap().handle()));
            stop_when_cancelled().unwrap();
            yield_now().await;
            current_task().unwrap().unwrap().cancel();
            pending::<()>().await;
        });
        assert!(outcome.unwrap_err().is_cancelled());
        handle.take().unwrap()
    });
    assert!(handle.is_closed());
    assert!(logs::complaints(&records).iter().any(|text| text.contains("shutdown")), "{records:?}");
    let outcome = run(async {
        stop_when_cancelled().unwrap();
        yield_now().await;
    });
    assert!(matches!(outcome, Err(Error::Loop(LoopError::StoppedBeforeComplete))), "{outcome:?}");
}

/// RUN-06.
#[test]
fn a_task_that_fails_while_it_is_cancelled_is_reported() {
    let reports = Rc::new(RefCell::new(Vec::<ExceptionContext>::new()));
    let value = run(async {
        let kept = Rc::clone(&reports);
        let handler = move |_: &EventLoop, context: &ExceptionContext| {
            kept.borrow_mut().push(context.clone());
        };
        get_running_loop().unwrap().set_exception_handler(Some(Rc::new(handler)));
        let failing = create_task(async {
            until_cancelled().await;
            panic!("the clean-up failed");
        });
        failing.unwrap().set_name("failing");
        create_task(pending::<()>()).unwrap();
        yield_now().await;
        8
    });
    assert_eq!(value.unwrap(), 8, "it changes nothing else");
    let reports = reports.borrow();
    assert_eq!(reports.len(), 1, "once, and of that task alone: {reports:?}");
    assert_eq!(reports[0].message.as_deref(), Some("unhandled exception during asyncio.run() shutdown"));
    assert_eq!(reports[0].task.as_ref().unwrap().name(), "failing");
    assert_eq!(reports[0].panic().unwrap().message(), "the clean-up failed");
}

/// RUN-07.
#[test]
fn a_task_that_refuses_to_end_is_waited_for() {
    let ended = Rc::new(Cell::new(false));
    let stubborn = run(async {
        let ended = Rc::clone(&ended);
        let stubborn = create_task(async move {
            until_cancelled().await;
            for _ in 0..20 {
                sleep(Duration::from_micros(50)).await.unwrap();
            }
            ended.set(true);
            "a value after all"
        });
        yield_now().await;
        stubborn
    });
    assert!(ended.get());
    assert_eq!(stubborn.unwrap().unwrap().result().unwrap(), "a value after all");
}

/// RUN-09.
#[test]
fn debug_mode_is_the_loops_own_unless_it_is_set() {
    let own = new_event_loop().unwrap().get_debug();
    let debug = async || get_running_loop().unwrap().get_debug();
    assert_eq!(run(debug()).unwrap(), own);
    assert_eq!(Runner::builder().debug(None).run(debug()).unwrap(), own);
    assert!(Runner::builder().debug(true).run(debug()).unwrap());
    assert!(!Runner::builder().debug(false).run(debug()).unwrap());
    let factory = || LoopOptions::new().debug(true).build();
    assert!(Runner::builder().loop_factory(factory).run(debug()).unwrap());
    assert!(!Runner::builder().loop_factory(factory).debug(false).run(debug()).unwrap());
}

/// RUN-10.
#[test]
fn a_loop_factory_makes_the_loop_and_the_current_one_is_not_touched() {
    let current = new_event_loop().unwrap();
    set_event_loop(Some(&current));
    let (made, kept) = (Rc::new(RefCell::new(None)), Rc::new(Cell::new(0)));
    let factory = {
        let (made, kept) = (Rc::clone(&made), Rc::clone(&kept));
        move || {
            kept.set(kept.get() + 1);
            let lp = new_event_loop()?;
            made.replace(Some(lp.clone()));
            Ok(lp)
        }
    };
    let ran_on = Runner::builder().loop_factory(factory).run(async { get_running_loop().unwrap() }).unwrap();
    assert_eq!(Some(&ran_on), made.borrow().as_ref());
    assert_eq!(kept.get(), 1);
    assert!(ran_on.is_closed());
    assert_eq!(get_event_loop().unwrap(), current);
    assert!(!current.is_closed());
    set_event_loop(None);
}

/// RUN-10: what keeps the factory from making a loop is the answer, and it is asked again.
#[test]
fn a_factory_that_fails_leaves_the_runner_usable() {
    let mut left = 2;
    let mut runner = Runner::builder()
        .loop_factory(move || {
            left -= 1;
            if left > 0 { Err(LoopError::Unsupported("not yet")) } else { new_event_loop() }
        })
        .build();
    assert!(matches!(runner.run(async {}), Err(Error::Loop(LoopError::Unsupported("not yet")))));
    assert_eq!(runner.run(async { 5 }).unwrap(), 5);
}

/// RUN-11.
#[test]
fn a_cancelled_coroutine_is_a_cancellation_for_the_caller() {
    let cancelled = run(async {
        current_task().unwrap().unwrap().cancel_with(Some("enough"));
        pending::<()>().await;
    });
    let Err(Error::Task(TaskError::Cancelled(cancelled))) = cancelled else { panic!("{cancelled:?}") };
    assert_eq!(cancelled.message(), Some("enough"));
}

/// RUN-16.
#[test]
fn the_runs_of_a_runner_share_a_loop_that_is_made_when_it_is_needed() {
    let made = Rc::new(Cell::new(0));
    let factory = {
        let made = Rc::clone(&made);
        move || {
            made.set(made.get() + 1);
            new_event_loop()
        }
    };
    let mut runner = Runner::builder().loop_factory(factory).build();
    assert_eq!(made.get(), 0);
    let lp = runner.get_loop().unwrap();
    assert_eq!(made.get(), 1);
    assert!(!lp.is_running());
    let background = runner.run(async {
        assert_eq!(get_running_loop().unwrap(), lp);
        create_task(async {
            yield_now().await;
            yield_now().await;
            3
        })
    });
    let background = background.unwrap().unwrap();
    assert!(!background.done(), "left as it is between the runs");
    assert_eq!(runner.run(background).unwrap().unwrap(), 3);
    assert_eq!(made.get(), 1);
    runner.close().unwrap();
    assert!(lp.is_closed());
}

/// RUN-16.
#[test]
fn the_runs_of_a_runner_share_a_context() {
    let (var, other) = (ContextVar::new("var"), ContextVar::new("other"));
    var.set(1);
    let mut runner = Runner::new();
    let seen = runner.run(async {
        let before = var.get();
        var.set(2);
        yield_now().await;
        assert_eq!(var.get(), Some(2), "in every step");
        let (lp, later) = (get_running_loop().unwrap(), Rc::new(Cell::new(None)));
        lp.call_soon({
            let (copy, later) = (Context::copy(), Rc::clone(&later));
            move || later.set(Some(copy))
        })
        .unwrap();
        yield_now().await;
        assert_eq!(later.take().unwrap().get(&var), Some(2), "in what it queues");
        var.set(3);
        before
    });
    assert_eq!(seen.unwrap(), Some(1), "a copy of the context it was made in");
    assert_eq!(var.get(), Some(1), "and what it sets stays inside");
    var.set(9);
    assert_eq!(runner.run(async { var.get() }).unwrap(), Some(3), "changes carry over");
    let mine = Context::new();
    let seen = runner.run_in(&mine, async {
        let before = var.get();
        other.set(5);
        before
    });
    assert_eq!((seen.unwrap(), mine.get(&other)), (None, Some(5)));
    assert_eq!(runner.run(async { other.get() }).unwrap(), None);
}

/// RUN-16: the destructors of a coroutine that is dropped run in its context too.
#[test]
fn a_cancelled_coroutine_is_dropped_in_its_context() {
    struct Looks<'a>(&'a ContextVar<u8>, &'a Cell<Option<u8>>);
    impl Drop for Looks<'_> {
        fn drop(&mut self) {
            self.1.set(self.0.get());
        }
    }
    let (var, seen) = (ContextVar::new("var"), Cell::new(None));
    let cancelled = run(async {
        let _looks = Looks(&var, &seen);
        var.set(4);
        current_task().unwrap().unwrap().cancel();
        pending::<()>().await;
    });
    assert!(cancelled.unwrap_err().is_cancelled());
    assert_eq!(seen.get(), Some(4));
}

/// RUN-17.
#[test]
fn a_runner_does_not_run_inside_a_running_loop() {
    let (mut runner, polled) = (Runner::new(), Cell::new(false));
    let lp = new_event_loop().unwrap();
    lp.run_until_complete(async {
        let refused = runner.run(async { polled.set(true) });
        assert!(matches!(refused, Err(Error::Loop(LoopError::OtherLoopRunning))), "{refused:?}");
    })
    .unwrap();
    assert!(!polled.get());
    let inner = runner.get_loop().unwrap();
    lp.run_until_complete(async {
        assert!(matches!(runner.close(), Err(Error::Loop(LoopError::OtherLoopRunning))));
    })
    .unwrap();
    assert!(!inner.is_closed(), "nothing was done");
    assert_eq!(runner.run(async { 1 }).unwrap(), 1);
}

/// RUN-18.
#[test]
fn a_closed_runner_does_nothing_more() {
    let mut runner = Runner::new();
    runner.run(async {}).unwrap();
    runner.close().unwrap();
    let mut polled = false;
    assert!(matches!(runner.run(async { polled = true }), Err(Error::RunnerClosed)));
    assert!(matches!(runner.get_loop(), Err(Error::RunnerClosed)));
    assert!(!polled);
    runner.close().unwrap();
}

/// RUN-19.
#[test]
fn closing_a_runner_that_never_made_its_loop_does_nothing() {
    let mut runner = Runner::new();
    runner.close().unwrap();
    assert_eq!(runner.run(async { 2 }).unwrap(), 2);
}

/// RUN-20.
#[test]
fn an_executor_that_stays_busy_is_warned_of_and_left() {
    let ((begun, begins), (release, gate)) = (mpsc::channel(), mpsc::channel::<()>());
    let (handle, records) = logs::capture(|| {
        Runner::builder().executor_timeout(Duration::from_millis(1)).run(async {
            let lp = get_running_loop().unwrap();
            let job = lp.run_in_executor(None, move || {
                begun.send(()).unwrap();
                let _ = gate.recv();
            });
            drop(job.unwrap());
            begins.recv().unwrap();
            lp.handle()
        })
    });
    assert!(handle.unwrap().is_closed());
    let complaints = logs::complaints(&records);
    assert!(complaints.len() == 1 && complaints[0].contains("executor"), "{records:?}");
    release.send(()).unwrap();
}

/// A runner that is dropped is closed.
#[test]
fn dropping_a_runner_shuts_it_down() {
    let log = Log::default();
    let mut runner = Runner::new();
    let handle = runner.get_loop().unwrap().handle();
    runner.run(async { leave_things_behind(&log) }).unwrap();
    drop(runner);
    assert_eq!(shutdown_of(&log, &handle)[1..], SHUTDOWN[1..]);
    assert!(get_event_loop().is_err());
}

/// Also by a panic, which goes on, whatever else panics meanwhile.
#[test]
fn a_panic_that_drops_a_runner_shuts_it_down() {
    let log = Log::default();
    let mut runner = Runner::new();
    let handle = runner.get_loop().unwrap().handle();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let mut runner = runner;
        let cleaned = log.clone();
        runner
            .run(async {
                create_task(async move {
                    until_cancelled().await;
                    yield_now().await;
                    cleaned.add("cleaned up");
                    panic!("the clean-up failed");
                })
                .unwrap();
                yield_now().await;
            })
            .unwrap();
        panic!("between the runs");
    }));
    assert_eq!(*panicked.err().unwrap().downcast::<&str>().unwrap(), "between the runs");
    assert!(handle.is_closed());
    assert_eq!(log.take(), ["cleaned up"]);
}

/// The main coroutine is a task like any other: it has a name, it is listed, it can be cancelled.
#[test]
fn the_main_coroutine_is_a_task() {
    run(async {
        let main = current_task().unwrap().expect("it runs as a task");
        assert_eq!(all_tasks().unwrap(), [main]);
    })
    .unwrap();
}
