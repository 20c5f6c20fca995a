//! A loop's life: made, run any number of times, stopped, closed.
//!
//! What a forked or a closing process does with descriptors is in `fork.rs` and `descriptors.rs`.

mod logs;

use std::cell::{Cell, RefCell};
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use loop_api::{
    Error, EventLoop, ExceptionContext, Executor, Fatal, Job, LoopError, LoopFuture, TaskError, fatal,
    get_running_loop, new_event_loop, yield_now,
};

const NEVER: Duration = Duration::from_secs(3600);

/// What happened, in order.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<&'static str>>>);

impl Log {
    fn add(&self, what: &'static str) {
        self.0.borrow_mut().push(what);
    }

    fn adds(&self, what: &'static str) -> impl FnOnce() + 'static {
        let log = self.clone();
        move || log.add(what)
    }

    fn take(&self) -> Vec<&'static str> {
        self.0.take()
    }
}

/// One pass.
fn pass(lp: &EventLoop) {
    lp.stop();
    lp.run_forever().unwrap();
}

/// The loop stops when this is run in it.
fn stopper(lp: &EventLoop) -> impl FnOnce() + 'static {
    let lp = lp.clone();
    move || lp.stop()
}

/// The fatal payload that left `run`.
fn fatal_of<R>(run: impl FnOnce() -> R) -> Fatal {
    let payload = catch_unwind(AssertUnwindSafe(run)).err().expect("a fatal error leaves the run");
    *payload.downcast::<Fatal>().expect("the payload is what fatal was given")
}

/// What the exception handler was given.
fn reports(lp: &EventLoop) -> Rc<RefCell<Vec<ExceptionContext>>> {
    let reports = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::clone(&reports);
    lp.set_exception_handler(Some(Rc::new(move |_, context| kept.borrow_mut().push(context.clone()))));
    reports
}

/// LIFE-01.
#[test]
fn a_loop_runs_while_it_runs() {
    let lp = new_event_loop().unwrap();
    let handle = lp.handle();
    assert!(!lp.is_running() && !handle.is_running());
    let seen = Rc::new(Cell::new((false, false)));
    lp.call_soon({
        let (lp, handle, seen) = (lp.clone(), handle.clone(), Rc::clone(&seen));
        move || {
            let elsewhere = thread::spawn(move || handle.is_running()).join().unwrap();
            seen.set((lp.is_running(), elsewhere));
        }
    })
    .unwrap();
    pass(&lp);
    assert_eq!(seen.get(), (true, true));
    assert!(!lp.is_running() && !handle.is_running());

    lp.stop();
    assert!(lp.run_until_complete(std::future::pending::<()>()).is_err());
    assert!(!lp.is_running() && !handle.is_running(), "after a run that failed");
    lp.call_soon(|| fatal(Fatal::Interrupt)).unwrap();
    fatal_of(|| lp.run_forever());
    assert!(!lp.is_running() && !handle.is_running(), "after a fatal error");
}

/// LIFE-02: nothing is registered, ready or due, and the loop still waits for whoever may come.
#[test]
fn run_forever_goes_on_with_nothing_to_do() {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::spawn(move || {
        let lp = new_event_loop().unwrap();
        let idle = lp.handle();
        lp.call_soon(move || sender.send(idle).unwrap()).unwrap();
        lp.run_forever().unwrap();
        lp.passes()
    });
    let handle = receiver.recv().unwrap();
    for _ in 0..3 {
        // Each finds the loop with nothing to do but this.
        let (done, wait) = mpsc::channel();
        handle.call_soon_threadsafe(move |_| done.send(()).unwrap()).unwrap();
        wait.recv().unwrap();
        assert!(handle.is_running());
    }
    handle.stop();
    assert!(thread.join().unwrap() >= 3);
}

/// LIFE-03, LIFE-04.
#[test]
fn stop_lets_the_pass_end_and_keeps_what_was_queued_meanwhile() {
    let (lp, log) = (new_event_loop().unwrap(), Log::default());
    lp.call_soon(log.adds("before")).unwrap();
    lp.call_soon({
        let (lp, log) = (lp.clone(), log.clone());
        move || {
            lp.stop();
            lp.call_soon(log.adds("queued in the last pass")).unwrap();
        }
    })
    .unwrap();
    lp.call_soon(log.adds("behind the stop")).unwrap();
    lp.run_forever().unwrap();
    assert_eq!(log.take(), ["before", "behind the stop"]);

    lp.call_soon(log.adds("queued between the runs")).unwrap();
    pass(&lp);
    assert_eq!(log.take(), ["queued in the last pass", "queued between the runs"]);
}

/// LIFE-05.
#[test]
fn stop_before_a_run_makes_it_one_pass_that_waits_for_nothing() {
    let (lp, log) = (new_event_loop().unwrap(), Log::default());
    let (reader, mut writer) = UnixStream::pair().unwrap();
    writer.write_all(b"!").unwrap();
    lp.add_reader(&reader, {
        let log = log.clone();
        move || log.add("readable")
    })
    .unwrap();
    lp.call_soon({
        let (lp, log) = (lp.clone(), log.clone());
        move || {
            log.add("ready");
            lp.call_soon(log.adds("next pass")).unwrap();
        }
    })
    .unwrap();
    lp.call_later(Duration::ZERO, log.adds("due")).unwrap();
    lp.call_later(NEVER, log.adds("never")).unwrap();
    let passes = lp.passes();
    pass(&lp);
    assert_eq!(lp.passes() - passes, 1);
    let mut ran = log.take();
    ran.sort_unstable();
    assert_eq!(ran, ["due", "readable", "ready"]);
    lp.remove_reader(&reader).unwrap();
}

/// Runs the loop until it has made `count` passes of its own accord; fails to end if a stop is still pending.
fn runs_on(lp: &EventLoop, count: u32) -> bool {
    let left = Rc::new(Cell::new(count));
    fn step(lp: &EventLoop, left: &Rc<Cell<u32>>) {
        left.set(left.get() - 1);
        if left.get() == 0 {
            return lp.stop();
        }
        let (again, rest) = (lp.clone(), Rc::clone(left));
        lp.call_soon(move || step(&again, &rest)).unwrap();
    }
    let (first, rest) = (lp.clone(), Rc::clone(&left));
    lp.call_soon(move || step(&first, &rest)).unwrap();
    lp.run_forever().unwrap();
    left.get() == 0
}

/// LIFE-06.
#[test]
fn a_stop_does_not_carry_into_a_later_run() {
    let lp = new_event_loop().unwrap();
    pass(&lp);
    assert!(runs_on(&lp, 3), "after an ordinary run");
    lp.call_soon(stopper(&lp)).unwrap();
    lp.call_soon(|| fatal(Fatal::Exit(1))).unwrap();
    fatal_of(|| lp.run_forever());
    assert!(runs_on(&lp, 3), "after a fatal error");
    lp.stop();
    assert!(lp.run_until_complete(std::future::pending::<()>()).is_err());
    assert!(runs_on(&lp, 3), "after a run that was stopped early");
}

/// LIFE-07.
#[test]
fn stop_is_never_refused() {
    let lp = new_event_loop().unwrap();
    lp.stop();
    lp.close().unwrap();
    lp.stop();
    lp.handle().stop();
}

/// LIFE-08: a loop does not leave its thread, so that other threads have only the stop that wakes.
#[test]
fn stop_from_another_thread_wakes_a_loop_that_sleeps() {
    trait NotSend<A> {
        fn assert() {}
    }
    impl<T> NotSend<()> for T {}
    impl<T: Send> NotSend<u8> for T {}
    // Ambiguous, and so refused, if EventLoop were Send.
    <EventLoop as NotSend<_>>::assert();

    let lp = new_event_loop().unwrap();
    let handle = lp.handle();
    let timer = lp.call_later(NEVER, || panic!("an hour passed")).unwrap();
    let (running, wait) = mpsc::channel();
    lp.call_soon(move || running.send(()).unwrap()).unwrap();
    let thread = thread::spawn(move || {
        wait.recv().unwrap();
        handle.stop();
    });
    lp.run_forever().unwrap();
    thread.join().unwrap();
    assert!(!timer.cancelled() && lp.time() < timer.when());
}

/// LIFE-09, LIFE-21.
#[test]
fn a_stopped_loop_keeps_everything_for_the_next_run() {
    let (lp, log) = (new_event_loop().unwrap(), Log::default());
    let (reader, mut writer) = UnixStream::pair().unwrap();
    lp.add_reader(&reader, {
        let log = log.clone();
        move || log.add("reader")
    })
    .unwrap();
    let timer = lp.call_at(lp.time() + Duration::from_millis(5), log.adds("timer")).unwrap();
    let future = lp.create_future::<()>();
    let task = lp.create_task({
        let (log, future) = (log.clone(), future.clone());
        async move {
            log.add("task begins");
            future.await.unwrap();
            log.add("task ends");
        }
    });
    let task = task.unwrap();
    lp.run_until_complete(yield_now()).unwrap();
    assert_eq!(log.take(), ["task begins"]);
    assert!(!task.done() && !timer.cancelled());

    pass(&lp);
    assert!(log.take().is_empty());
    lp.call_soon(log.adds("callback")).unwrap();
    future.set_result(()).unwrap();
    writer.write_all(b"!").unwrap();
    lp.run_until_complete(lp.sleep_until(timer.when())).unwrap();
    let mut ran = log.take();
    assert_eq!(ran[..2], ["callback", "task ends"]);
    assert!(task.done());
    ran.sort_unstable();
    ran.dedup();
    assert_eq!(ran, ["callback", "reader", "task ends", "timer"]);
    lp.remove_reader(&reader).unwrap();
}

/// LIFE-10.
#[test]
fn a_closed_loop_does_not_run() {
    let lp = new_event_loop().unwrap();
    lp.close().unwrap();
    assert!(matches!(lp.run_forever(), Err(LoopError::Closed)));
    let mut polled = false;
    assert!(matches!(lp.run_until_complete(async { polled = true }), Err(LoopError::Closed)));
    assert!(!polled && !lp.is_running());
}

/// LIFE-11, DEF-01.
#[test]
fn a_running_loop_refuses_to_run_again_and_goes_on_undisturbed() {
    let (lp, log) = (new_event_loop().unwrap(), Log::default());
    lp.call_soon({
        let (lp, log) = (lp.clone(), log.clone());
        move || {
            lp.stop();
            assert!(matches!(lp.run_forever(), Err(LoopError::AlreadyRunning)));
            assert!(matches!(lp.run_until_complete(async {}), Err(LoopError::AlreadyRunning)));
            assert!(lp.is_running());
            assert_eq!(get_running_loop().unwrap(), lp);
            log.add("refused");
        }
    })
    .unwrap();
    lp.call_soon(log.adds("the pass goes on")).unwrap();
    lp.run_forever().unwrap();
    assert_eq!(log.take(), ["refused", "the pass goes on"]);
    assert!(!lp.is_running());
}

/// LIFE-12, DEF-01.
#[test]
fn a_second_loop_is_refused_while_one_runs_in_the_thread() {
    let (lp, other, closed) = (new_event_loop().unwrap(), new_event_loop().unwrap(), new_event_loop().unwrap());
    closed.close().unwrap();
    let answer = lp.run_until_complete(async {
        let mut started = false;
        assert!(matches!(other.run_forever(), Err(LoopError::OtherLoopRunning)));
        assert!(matches!(other.run_until_complete(async { started = true }), Err(LoopError::OtherLoopRunning)));
        assert!(matches!(closed.run_forever(), Err(LoopError::Closed)));
        assert!(!started && !other.is_running());
        assert!(lp.is_running());
        assert_eq!(get_running_loop().unwrap(), lp);
        yield_now().await;
        get_running_loop().unwrap() == lp
    });
    assert!(answer.unwrap());
    assert_eq!(other.run_until_complete(async { 7 }).unwrap(), 7, "nothing is left behind in the other loop");
}

/// LIFE-13: the coroutine is a task of this loop, and may borrow.
#[test]
fn run_until_complete_drives_a_coroutine_and_gives_its_value() {
    let lp = new_event_loop().unwrap();
    let text = String::from("borrowed");
    let seen = lp.run_until_complete(async {
        yield_now().await;
        let task = get_running_loop().unwrap().current_task().expect("a coroutine is driven as a task");
        assert_eq!(task.get_loop().unwrap(), lp);
        &*text
    });
    assert_eq!(seen.unwrap(), "borrowed");
    let failed: Result<Result<(), &str>, _> = lp.run_until_complete(async { Err("its own error") });
    assert_eq!(failed.unwrap(), Err("its own error"));
    let panicked = catch_unwind(AssertUnwindSafe(|| lp.run_until_complete(async { panic!("its own panic") })));
    assert_eq!(*panicked.err().unwrap().downcast::<&str>().unwrap(), "its own panic");
    let cancelled = lp.run_until_complete(async {
        loop_api::current_task().unwrap().unwrap().cancel_with(Some("enough"));
        std::future::pending::<()>().await;
    });
    let Err(LoopError::Task(TaskError::Cancelled(cancelled))) = cancelled else { panic!("{cancelled:?}") };
    assert_eq!(cancelled.message(), Some("enough"));
}

/// LIFE-14.
#[test]
fn run_until_complete_gives_the_outcome_of_a_future() {
    let lp = new_event_loop().unwrap();
    let completed = |complete: fn(&LoopFuture<i32>)| {
        let future = lp.create_future();
        lp.call_soon({
            let future = future.clone();
            move || complete(&future)
        })
        .unwrap();
        lp.run_until_complete(future).unwrap()
    };
    assert_eq!(completed(|future| future.set_result(5).unwrap()).unwrap(), 5);
    let failed = completed(|future| future.set_exception(TaskError::failed("no luck")).unwrap());
    assert_eq!(failed.unwrap_err().to_string(), "no luck");
    assert!(completed(|future| assert!(future.cancel())).unwrap_err().is_cancelled());
    let task = lp.create_task(async { 9 }).unwrap();
    assert_eq!(lp.run_until_complete(task).unwrap().unwrap(), 9);
}

/// LIFE-15.
#[test]
fn a_future_that_is_done_already_still_takes_one_pass() {
    let (lp, log) = (new_event_loop().unwrap(), Log::default());
    let future = lp.create_future();
    future.set_result(1).unwrap();
    lp.call_soon({
        let (lp, log) = (lp.clone(), log.clone());
        move || {
            log.add("in the pass");
            lp.call_soon(log.adds("after it")).unwrap();
        }
    })
    .unwrap();
    let passes = lp.passes();
    assert_eq!(lp.run_until_complete(future).unwrap().unwrap(), 1);
    assert_eq!(lp.passes() - passes, 1);
    assert_eq!(log.take(), ["in the pass"]);
}

/// LIFE-16.
#[test]
fn what_is_queued_with_the_completion_still_runs() {
    let (lp, log) = (new_event_loop().unwrap(), Log::default());
    lp.run_until_complete(async {
        lp.call_soon(log.adds("queued by the last step")).unwrap();
    })
    .unwrap();
    assert_eq!(log.take(), ["queued by the last step"]);
}

/// LIFE-16, where the run is for a future or a task that was there before.
#[test]
fn what_is_queued_with_the_completion_of_a_future_still_runs() {
    let (lp, log) = (new_event_loop().unwrap(), Log::default());
    let future = lp.create_future();
    lp.call_soon({
        let (lp, log, future) = (lp.clone(), log.clone(), future.clone());
        move || {
            lp.call_soon(log.adds("just before")).unwrap();
            future.set_result(()).unwrap();
            lp.call_soon(log.adds("just after")).unwrap();
        }
    })
    .unwrap();
    lp.run_until_complete(future).unwrap().unwrap();
    assert_eq!(log.take(), ["just before", "just after"]);

    let task = lp.create_task({
        let (lp, log) = (lp.clone(), log.clone());
        async move {
            lp.call_soon(log.adds("queued by the task's last step")).unwrap();
        }
    });
    lp.run_until_complete(task.unwrap()).unwrap().unwrap();
    assert_eq!(log.take(), ["queued by the task's last step"]);
}

/// LIFE-17.
#[test]
fn a_task_that_stop_interrupted_goes_on_in_a_later_run() {
    let (lp, log) = (new_event_loop().unwrap(), Log::default());
    let mut task = lp
        .create_task({
            let log = log.clone();
            async move {
                log.add("begins");
                yield_now().await;
                yield_now().await;
                log.add("ends");
                11
            }
        })
        .unwrap();
    lp.call_soon(stopper(&lp)).unwrap();
    let stopped = lp.run_until_complete(&mut task);
    assert!(matches!(stopped, Err(LoopError::StoppedBeforeComplete)));
    assert!(!task.done());
    assert_eq!(log.take(), ["begins"]);
    assert_eq!(lp.run_until_complete(task).unwrap().unwrap(), 11);
    assert_eq!(log.take(), ["ends"]);
}

/// LIFE-18.
#[test]
fn with_stop_pending_only_a_single_step_completes() {
    let lp = new_event_loop().unwrap();
    lp.stop();
    assert_eq!(lp.run_until_complete(async { 1 }).unwrap(), 1);
    lp.stop();
    let suspended = lp.run_until_complete(yield_now());
    assert!(matches!(suspended, Err(LoopError::StoppedBeforeComplete)));
}

/// LIFE-19.
#[test]
fn a_future_given_up_earlier_does_not_stop_a_later_run() {
    let (lp, log) = (new_event_loop().unwrap(), Log::default());
    let several = async {
        for _ in 0..4 {
            yield_now().await;
        }
    };
    let (mut future, mut task) = (lp.create_future::<()>(), lp.create_task(several).unwrap());
    lp.stop();
    assert!(lp.run_until_complete(&mut future).is_err());
    lp.stop();
    assert!(lp.run_until_complete(&mut task).is_err());
    lp.run_until_complete({
        let (lp, log) = (lp.clone(), log.clone());
        async move {
            future.set_result(()).unwrap();
            for _ in 0..8 {
                yield_now().await;
            }
            assert!(task.done());
            log.add("went on");
            lp.call_soon(|| ()).unwrap();
        }
    })
    .unwrap();
    assert_eq!(log.take(), ["went on"]);
}

/// LIFE-20.
#[test]
fn a_future_of_another_loop_is_refused() {
    let (lp, other) = (new_event_loop().unwrap(), new_event_loop().unwrap());
    assert!(matches!(lp.run_until_complete(other.create_future::<()>()).unwrap(), Err(TaskError::WrongLoop)));
    let mut task = other.create_task(async { 3 }).unwrap();
    assert!(matches!(lp.run_until_complete(&mut task).unwrap(), Err(TaskError::WrongLoop)));
    assert_eq!(other.run_until_complete(task).unwrap().unwrap(), 3, "its own loop still drives it");
}

/// LIFE-22.
#[test]
fn a_fatal_error_leaves_at_once_and_loses_nothing() {
    let (lp, log) = (new_event_loop().unwrap(), Log::default());
    let reports = reports(&lp);
    lp.call_soon(log.adds("before")).unwrap();
    lp.call_soon(|| fatal(Fatal::Exit(4))).unwrap();
    lp.call_soon(log.adds("behind")).unwrap();
    assert_eq!(fatal_of(|| lp.run_forever()), Fatal::Exit(4));
    assert_eq!(log.take(), ["before"]);
    assert!(!lp.is_running() && get_running_loop().is_err());

    let task = lp.create_task(async { fatal(Fatal::Interrupt) }).unwrap();
    lp.call_soon(log.adds("behind the task")).unwrap();
    assert_eq!(fatal_of(|| lp.run_forever()), Fatal::Interrupt);
    assert_eq!(log.take(), ["behind"]);
    assert!(task.done());
    pass(&lp);
    assert_eq!(log.take(), ["behind the task"]);
    drop(task);
    assert!(reports.borrow().is_empty(), "a fatal error is nobody's to handle: {reports:?}");
}

/// LIFE-23.
#[test]
fn a_fatal_end_of_the_awaited_coroutine_is_raised_once() {
    let lp = new_event_loop().unwrap();
    let reports = reports(&lp);
    assert_eq!(fatal_of(|| lp.run_until_complete(async { fatal(Fatal::Exit(5)) })), Fatal::Exit(5));
    assert!(runs_on(&lp, 3), "no stop is left for the next run");
    let mut task = lp.create_task(async { fatal(Fatal::Exit(6)) }).unwrap();
    assert_eq!(fatal_of(|| lp.run_until_complete(&mut task)), Fatal::Exit(6));
    drop(task);
    assert!(runs_on(&lp, 3));
    assert!(reports.borrow().is_empty(), "{reports:?}");
}

/// LIFE-24, LIFE-26.
#[test]
fn closed_is_for_ever_and_closing_again_does_nothing() {
    let lp = new_event_loop().unwrap();
    let handle = lp.handle();
    assert!(!lp.is_closed() && !handle.is_closed());
    pass(&lp);
    assert!(!lp.is_closed());
    for _ in 0..3 {
        lp.close().unwrap();
        assert!(lp.is_closed() && handle.is_closed());
    }
}

/// LIFE-25.
#[test]
fn a_running_loop_is_not_closed() {
    let (lp, log) = (new_event_loop().unwrap(), Log::default());
    lp.call_soon({
        let (lp, log) = (lp.clone(), log.clone());
        move || {
            assert!(matches!(lp.close(), Err(LoopError::Running)));
            assert!(!lp.is_closed() && lp.is_running());
            lp.call_soon(log.adds("goes on")).unwrap();
        }
    })
    .unwrap();
    lp.run_until_complete(async {
        yield_now().await;
        yield_now().await;
    })
    .unwrap();
    assert_eq!(log.take(), ["goes on"]);
}

/// Counts its own end.
struct Counted(Rc<Cell<u32>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

/// LIFE-27.
#[test]
fn close_drops_what_is_pending_without_running_it() {
    let lp = new_event_loop().unwrap();
    let reports = reports(&lp);
    let dropped = Rc::new(Cell::new(0));
    let counted = || Counted(Rc::clone(&dropped));
    let future = lp.create_future::<()>();
    let started = lp.create_task({
        let (held, future) = (counted(), future.clone());
        async move {
            let _held = held;
            future.await
        }
    });
    let started = started.unwrap();
    pass(&lp);
    let runs = |held: Counted| {
        move || {
            let _held = held;
            panic!("it was run");
        }
    };
    lp.call_soon(runs(counted())).unwrap();
    lp.call_soon_threadsafe(|_| panic!("it was run")).unwrap();
    lp.handle().call_soon_threadsafe(|_| panic!("it was run")).unwrap();
    lp.call_later(Duration::ZERO, runs(counted())).unwrap();
    lp.call_later(NEVER, runs(counted())).unwrap();
    let (reader, _writer) = UnixStream::pair().unwrap();
    lp.add_reader(&reader, {
        let held = counted();
        move || {
            let _held = &held;
        }
    })
    .unwrap();
    future.add_done_callback({
        let held = counted();
        move |_| {
            let _held = held;
            panic!("it was run");
        }
    });
    let unstarted = lp.create_task({
        let held = counted();
        async move {
            let _held = held;
        }
    });
    let unstarted = unstarted.unwrap();
    lp.close().unwrap();
    assert_eq!(dropped.get(), 6, "everything but the future's own callback");
    assert!(!started.done() && !unstarted.done() && !future.done(), "pending for ever");
    assert!(!started.cancelled() && !future.cancelled());
    let pending = reports.borrow().iter().filter(|report| report.report().contains("pending")).count();
    assert_eq!((pending, reports.borrow().len()), (2, 2), "{reports:?}");
}

/// An executor that runs each job in a thread of its own.
struct ThreadPerJob;

impl Executor for ThreadPerJob {
    fn execute(&self, job: Job) -> Result<(), LoopError> {
        thread::spawn(move || job.run());
        Ok(())
    }

    fn shutdown(&self, _: bool, _: bool) {}
}

/// LIFE-28, EXEC-11.
#[test]
fn close_does_not_wait_for_the_executor() {
    let (lp, log) = (new_event_loop().unwrap(), Log::default());
    let ((begun, begins), (release, gate), (ended, ends)) = (mpsc::channel(), mpsc::channel::<()>(), mpsc::channel());
    let future = lp.run_in_executor(None, move || {
        begun.send(()).unwrap();
        gate.recv().unwrap();
        ended.send(()).unwrap();
    });
    let future = future.unwrap();
    future.add_done_callback({
        let log = log.clone();
        move |_| log.add("done")
    });
    begins.recv().unwrap();
    let ((), records) = logs::capture(|| lp.close().unwrap());
    assert!(lp.is_closed() && ends.try_recv().is_err(), "the job is still at work");
    release.send(()).unwrap();
    ends.recv().unwrap();
    assert!(!future.done() && log.take().is_empty(), "its late result is dropped");
    assert!(logs::complaints(&records).is_empty(), "{records:?}");
}

/// LIFE-30.
#[test]
fn a_closed_loop_takes_nothing_more() {
    let lp = new_event_loop().unwrap();
    let handle = lp.handle();
    lp.close().unwrap();
    let dropped = Rc::new(Cell::new(0));
    let refused = |result: Result<(), LoopError>| assert!(matches!(result, Err(LoopError::Closed)), "{result:?}");
    let coroutine = || {
        let held = Counted(Rc::clone(&dropped));
        async move {
            let _held = held;
            panic!("it was run");
        }
    };
    refused(lp.call_soon(|| ()).map(drop));
    refused(lp.call_soon_in(&loop_api::Context::new(), || ()).map(drop));
    refused(lp.call_soon_threadsafe(|_| ()).map(drop));
    refused(handle.call_soon_threadsafe(|_| ()).map(drop));
    refused(lp.call_later(Duration::ZERO, || ()).map(drop));
    refused(lp.call_at(lp.time(), || ()).map(drop));
    refused(lp.create_task(coroutine()).map(drop));
    assert_eq!(dropped.get(), 1, "a refused coroutine is dropped");
    refused(lp.run_in_executor(None, || ()).map(drop));
    let executor: std::sync::Arc<dyn Executor> = std::sync::Arc::new(ThreadPerJob);
    refused(lp.run_in_executor(Some(&executor), || ()).map(drop));
    refused(lp.add_reader(&std::io::stdin(), || ()));
    refused(lp.add_writer(&std::io::stdin(), || ()));
    refused(handle.run_coroutine_threadsafe(|| async {}).map(drop));
}

/// LIFE-31.
#[test]
fn a_closed_loop_still_answers() {
    let lp = new_event_loop().unwrap();
    let before = lp.time();
    lp.close().unwrap();
    assert!(lp.time() >= before);
    assert!(!lp.is_running() && lp.is_closed());
    lp.set_debug(true);
    assert!(lp.get_debug());
    let future = lp.create_future::<u8>();
    assert!(!future.done());
    let reports = reports(&lp);
    lp.call_exception_handler(&ExceptionContext::new("late"));
    assert_eq!(reports.borrow()[0].message.as_deref(), Some("late"));
    lp.set_default_executor(std::sync::Arc::new(ThreadPerJob));
    lp.stop();
    assert!(!lp.remove_reader(&std::io::stdin()).unwrap());
    assert!(!lp.remove_writer(&std::io::stdin()).unwrap());
    assert_eq!(lp.all_tasks().len(), 0);
    assert!(lp.current_task().is_none());
}

/// LIFE-32.
#[test]
fn a_future_with_callbacks_cannot_tell_them_after_the_close() {
    let lp = new_event_loop().unwrap();
    let (lonely, watched) = (lp.create_future(), lp.create_future());
    watched.add_done_callback(|_| panic!("it was run"));
    lp.close().unwrap();
    lonely.set_result(1).unwrap();
    assert!(matches!(watched.set_result(2), Err(LoopError::Closed)));
    assert_eq!((lonely.result().unwrap(), watched.result().unwrap()), (1, 2), "set all the same");
}

/// LIFE-33.
#[test]
fn an_unclosed_loop_that_nobody_holds_warns_and_closes_itself() {
    let lp = new_event_loop().unwrap();
    let (handle, other) = (lp.handle(), lp.clone());
    let dropped = Rc::new(Cell::new(0));
    lp.call_later(NEVER, {
        // A handle of the loop inside the loop: no reason to live for ever.
        let (held, inside) = (Counted(Rc::clone(&dropped)), lp.clone());
        move || drop((held, inside))
    })
    .unwrap()
    .cancel();
    let inside = lp.run_until_complete(async { get_running_loop().unwrap() }).unwrap();
    lp.call_later(NEVER, {
        let held = Counted(Rc::clone(&dropped));
        move || drop((held, inside))
    })
    .unwrap();
    let ((), records) = logs::capture(|| drop(lp));
    assert!(!handle.is_closed() && records.is_empty(), "another owner holds it");
    let ((), records) = logs::capture(|| drop(other));
    assert!(handle.is_closed());
    let complaints = logs::complaints(&records);
    assert!(complaints.len() == 1 && complaints[0].contains("unclosed event loop"), "{records:?}");
    assert_eq!(dropped.get(), 2);
}

/// LIFE-33, the other half.
#[test]
fn a_closed_loop_goes_without_a_word() {
    let lp = new_event_loop().unwrap();
    lp.close().unwrap();
    let ((), records) = logs::capture(|| drop(lp));
    assert!(logs::complaints(&records).is_empty(), "{records:?}");
}

/// The errors of a closed or a busy loop say what to do.
#[test]
fn refusals_are_errors_of_this_crate_too() {
    let lp = new_event_loop().unwrap();
    lp.close().unwrap();
    let error: Error = lp.run_forever().unwrap_err().into();
    assert!(matches!(error, Error::Loop(LoopError::Closed)));
}
