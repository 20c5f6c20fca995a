//! What nobody awaits goes to the exception handler; what is fatal leaves the loop. Panics of every kind.

mod logs;
mod loops;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use loop_api::{
    ContextVar, EventLoop, ExceptionContext, Fatal, LoopTask, TaskError, TimerHandle, catch_cancelled, fatal,
};
use loops::{Alive, Log, Mine, collect_reports, messages, new_loop, one_pass, quiet_panic, virtual_loop};

/// The warnings and errors that are logged while `code` runs.
fn logged(code: impl FnOnce()) -> Vec<String> {
    let ((), records) = logs::capture(code);
    logs::complaints(&records).into_iter().map(str::to_owned).collect()
}

/// Runs and gives what left the loop.
fn run_fatal(lp: &EventLoop) -> Fatal {
    let payload = catch_unwind(AssertUnwindSafe(|| lp.run_forever())).expect_err("the fatal panic leaves the run");
    *payload.downcast::<Fatal>().expect("it is the fatal payload")
}

/// EXC-01: one error, the message first, then the keys in order.
#[test]
fn the_default_handler_logs_one_error() {
    let lp = new_loop();
    let lines = logged(|| {
        let context = ExceptionContext::new("it broke").exception("the cause").detail("zeta", 1).detail("alpha", "x");
        lp.call_exception_handler(&context);
    });
    assert_eq!(lines, ["it broke\nalpha: \"x\"\nzeta: 1\nexception: the cause"]);
}

/// EXC-02.
#[test]
fn a_report_without_a_message_gets_one() {
    let lp = new_loop();
    let lines = logged(|| lp.call_exception_handler(&ExceptionContext::default()));
    assert_eq!(lines, ["Unhandled exception in event loop"]);
}

/// EXC-03.
#[test]
fn the_handler_can_be_set_read_and_taken_off() {
    let lp = new_loop();
    assert!(lp.get_exception_handler().is_none());
    let reports = collect_reports(&lp);
    lp.get_exception_handler().unwrap()(&lp, &ExceptionContext::new("called directly"));
    lp.call_exception_handler(&ExceptionContext::new("called by the loop"));
    assert_eq!(messages(&reports), ["called directly", "called by the loop"]);
    lp.set_exception_handler(None);
    assert_eq!(logged(|| lp.call_exception_handler(&ExceptionContext::new("x"))), ["x"]);
}

/// EXC-03: what is replaced may be dropped by itself, and the old one's destructor may look at the loop.
#[test]
fn a_handler_may_replace_itself() {
    struct Looks(EventLoop);
    impl Drop for Looks {
        fn drop(&mut self) {
            assert!(self.0.get_exception_handler().is_none());
        }
    }
    let lp = new_loop();
    let looks = Looks(lp.clone());
    lp.set_exception_handler(Some(Rc::new(move |lp, _| {
        let _ = &looks;
        lp.set_exception_handler(None);
    })));
    lp.call_exception_handler(&ExceptionContext::new("once"));
    assert!(lp.get_exception_handler().is_none());
}

/// EXC-04, TASK-24, TASK-25: what reports carry.
#[test]
fn reports_name_what_they_are_about() {
    let lp = new_loop();
    let reports = collect_reports(&lp);
    let task = lp.create_task(async { quiet_panic("lost") }).unwrap();
    task.set_name("doomed");
    drop(task);
    one_pass(&lp);
    let report = reports.take().pop().unwrap();
    assert_eq!(report.message.as_deref(), Some("Task exception was never retrieved"));
    assert_eq!(report.panic().unwrap().message(), "lost");
    assert!(report.get("task").unwrap().contains("name='doomed'"));
    assert!(report.get("created").unwrap().contains("exceptions.rs"));
    let pending = lp.create_task(std::future::pending::<()>()).unwrap();
    one_pass(&lp);
    lp.close().unwrap();
    let report = reports.take().pop().unwrap();
    assert_eq!(report.message.as_deref(), Some("Task was destroyed but it is pending!"));
    assert!(report.get("task").unwrap().contains("pending"));
    assert!(!pending.done());
}

/// EXC-06: nothing but the fatal payload is special.
#[test]
fn payloads_of_any_type_are_reported() {
    let lp = new_loop();
    let reports = collect_reports(&lp);
    lp.call_soon(|| std::panic::resume_unwind(Box::new(7u64))).unwrap();
    lp.call_soon(|| std::panic::resume_unwind(Box::new(String::from("owned")))).unwrap();
    lp.call_soon(|| std::panic::resume_unwind(Box::new(loop_api::Cancelled::new()))).unwrap();
    one_pass(&lp);
    let texts: Vec<String> = reports.take().iter().map(|report| report.panic().unwrap().message().to_owned()).collect();
    assert_eq!(texts, ["a panic without a text", "owned", "a panic without a text"]);
}

/// EXC-07.
#[test]
fn a_handler_that_fails_falls_back_to_the_default_one() {
    let lp = new_loop();
    lp.set_exception_handler(Some(Rc::new(|_, _| quiet_panic("handler"))));
    let log = Log::new();
    lp.call_soon(|| quiet_panic("callback")).unwrap();
    lp.call_soon(log.adds("after")).unwrap();
    let lines = logged(|| one_pass(&lp));
    assert_eq!(log, ["after"]);
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert!(line.starts_with("Unhandled error in exception handler\ncontext: Exception in callback"), "{line}");
    assert!(line.ends_with("\nexception: panicked: handler"), "{line}");
}

/// EXC-08.
#[test]
fn a_fatal_handler_leaves_the_loop() {
    let lp = new_loop();
    lp.set_exception_handler(Some(Rc::new(|_, _| fatal(Fatal::Exit(3)))));
    lp.call_soon(|| quiet_panic("callback")).unwrap();
    assert_eq!(run_fatal(&lp), Fatal::Exit(3));
    assert!(!lp.is_running());
}

/// EXC-09.
#[test]
fn the_handler_may_be_called_at_any_time() {
    let lp = new_loop();
    let reports = collect_reports(&lp);
    lp.call_exception_handler(&ExceptionContext::new("before"));
    lp.close().unwrap();
    lp.call_exception_handler(&ExceptionContext::new("after"));
    assert_eq!(messages(&reports), ["before", "after"]);
}

/// EXC-10.
#[test]
fn the_handler_runs_in_the_context_of_what_failed() {
    let lp = new_loop();
    let var = Rc::new(ContextVar::new("var"));
    let log = Log::new();
    let (seen, var2) = (log.clone(), Rc::clone(&var));
    lp.set_exception_handler(Some(Rc::new(move |_, _| seen.add(var2.get()))));
    var.set("the callback's");
    lp.call_soon(|| quiet_panic("callback")).unwrap();
    var.set("elsewhere");
    one_pass(&lp);
    assert_eq!(log, [Some("the callback's")]);
}

/// EXC-11.
#[test]
fn a_handler_may_pass_on_to_the_default_one() {
    let lp = new_loop();
    lp.set_exception_handler(Some(Rc::new(|lp, context| lp.default_exception_handler(context))));
    assert_eq!(logged(|| lp.call_exception_handler(&ExceptionContext::new("passed on"))), ["passed on"]);
}

/// LIFE-22, LIFE-06.
#[test]
fn a_fatal_callback_leaves_the_run_and_the_rest_stays_queued() {
    let lp = new_loop();
    let (log, reports) = (Log::new(), collect_reports(&lp));
    lp.call_soon(log.adds("before")).unwrap();
    lp.call_soon({
        let lp = lp.clone();
        move || {
            lp.stop();
            fatal(Fatal::Interrupt)
        }
    })
    .unwrap();
    lp.call_soon(log.adds("after")).unwrap();
    assert_eq!(run_fatal(&lp), Fatal::Interrupt);
    assert!(!lp.is_running() && loop_api::get_running_loop().is_err());
    assert_eq!(log.take(), ["before"]);
    lp.call_soon({
        let lp = lp.clone();
        move || lp.stop()
    })
    .unwrap();
    let passes = lp.passes();
    lp.run_forever().unwrap();
    assert_eq!((log.take(), lp.passes() - passes), (vec!["after"], 1));
    assert!(messages(&reports).is_empty(), "a fatal panic is nobody's to handle");
}

/// TASK-23, LIFE-22.
#[test]
fn a_fatal_task_ends_and_leaves_the_run() {
    let lp = new_loop();
    let reports = collect_reports(&lp);
    let task = lp.create_task(async { fatal(Fatal::Exit(1)) }).unwrap();
    let task: LoopTask<()> = task;
    assert_eq!(run_fatal(&lp), Fatal::Exit(1));
    assert!(task.done() && !task.cancelled());
    assert!(matches!(task.exception(), Ok(Some(TaskError::Panicked(_)))));
    assert!(lp.all_tasks().is_empty());
    drop(task);
    one_pass(&lp);
    assert!(messages(&reports).is_empty());
}

/// LIFE-23.
#[test]
fn a_fatal_main_coroutine_leaves_nothing_behind() {
    let lp = new_loop();
    let reports = collect_reports(&lp);
    let borrowed = String::from("of the caller");
    let caught = catch_unwind(AssertUnwindSafe(|| {
        lp.run_until_complete(async {
            let _uses = &borrowed;
            fatal(Fatal::Exit(2));
        })
    }));
    assert_eq!(*caught.unwrap_err().downcast::<Fatal>().unwrap(), Fatal::Exit(2));
    assert!(messages(&reports).is_empty() && lp.all_tasks().is_empty());
    let log = Log::new();
    let (lp2, seen) = (lp.clone(), log.clone());
    lp.call_soon(move || {
        seen.add("first pass");
        let (lp3, seen) = (lp2.clone(), seen.clone());
        lp2.call_soon(move || {
            seen.add("second pass");
            lp3.stop();
        })
        .unwrap();
    })
    .unwrap();
    lp.run_forever().unwrap();
    assert_eq!(log, ["first pass", "second pass"]);
}

/// A panic of the coroutine of `run_until_complete` goes on in the caller, as it is.
#[test]
fn a_panic_of_the_main_coroutine_goes_on_in_the_caller() {
    let lp = new_loop();
    let caught = catch_unwind(AssertUnwindSafe(|| lp.run_until_complete(async { quiet_panic("main") })));
    assert_eq!(*caught.unwrap_err().downcast::<&str>().unwrap(), "main");
    assert!(!lp.is_running());
    one_pass(&lp);
}

/// A destructor that panics wherever the loop drops something: reported, and everything goes on.
#[test]
fn panicking_destructors_are_reported_wherever_they_run() {
    let (lp, _) = virtual_loop();
    let (log, reports) = (Log::new(), collect_reports(&lp));
    // Of a coroutine that is cancelled, of one that returned, of a result nobody took, of a callback.
    let cancelled = lp
        .create_task(async {
            let _mine = Mine("cancelled");
            std::future::pending::<()>().await;
        })
        .unwrap();
    drop(lp.create_task(async { Mine("result") }).unwrap());
    let returned = Mine("returned");
    let returns = lp
        .create_task(async move {
            let _mine = returned;
            5
        })
        .unwrap();
    lp.call_soon(move || drop(Mine("callback"))).unwrap();
    one_pass(&lp);
    cancelled.cancel();
    lp.call_soon(log.adds("alive")).unwrap();
    one_pass(&lp);
    assert_eq!(log, ["alive"]);
    assert!(cancelled.done() && cancelled.cancelled());
    assert!(matches!(returns.result(), Err(TaskError::Panicked(panic)) if panic.message() == "returned"));
    let mut said: Vec<String> =
        reports.take().iter().map(|report| report.panic().unwrap().message().to_owned()).collect();
    said.sort();
    assert_eq!(said, ["callback", "cancelled", "result"]);
}

/// A payload whose own destructor panics. (What that throws is leaked on purpose, which Miri would report.)
#[test]
#[cfg_attr(miri, ignore)]
fn a_panic_may_carry_a_payload_that_panics() {
    let lp = new_loop();
    let reports = collect_reports(&lp);
    let log = Log::new();
    lp.set_exception_handler(None);
    lp.call_soon(|| std::panic::resume_unwind(Box::new(Mine("payload")))).unwrap();
    lp.call_soon(log.adds("alive")).unwrap();
    logged(|| one_pass(&lp));
    assert_eq!(log, ["alive"]);
    drop(reports);
}

/// Close does all its work, whatever the destructors on the way do.
#[test]
fn close_survives_destructors_that_panic() {
    let lp = new_loop();
    let (reports, alive) = (collect_reports(&lp), Alive::none());
    let load = |lp: &EventLoop| {
        for _ in 0..3 {
            let captured = (Mine("callback"), alive.clone());
            lp.call_soon(move || drop(captured)).unwrap();
            let captured = (Mine("timer"), alive.clone());
            lp.call_later(1.0, move || drop(captured)).unwrap();
            let captured = (Mine("task"), alive.clone());
            drop(lp.create_task(async move { drop(captured) }).unwrap());
            // This one is dropped in this thread, hence may be of it.
            struct Anywhere(Mine);
            // SAFETY: the loop is closed by the thread that made this, which no other touches.
            unsafe impl Send for Anywhere {}
            let captured = Anywhere(Mine("remote"));
            lp.handle().call_soon_threadsafe(move |_| drop({ captured }.0)).unwrap();
        }
    };
    load(&lp);
    lp.close().unwrap();
    assert!(lp.is_closed() && lp.all_tasks().is_empty() && lp.timer_count() == 0);
    assert_eq!(alive.others(), 0);
    let said = reports.take();
    let count = |text| said.iter().filter_map(|report| report.panic()).filter(|panic| panic.message() == text).count();
    assert_eq!((count("callback"), count("timer"), count("task"), count("remote")), (3, 3, 3, 3));
}

/// Panics unless one is under way, fatally.
struct Deadly(u8);

impl Drop for Deadly {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            fatal(Fatal::Exit(self.0.into()));
        }
    }
}

/// A fatal destructor leaves the loop, and what was under way is done first.
#[test]
fn a_fatal_destructor_leaves_everything_consistent() {
    let lp = new_loop();
    let reports = collect_reports(&lp);
    // Of a coroutine that is cancelled: whoever awaits the task is told all the same.
    let task = lp
        .create_task(async {
            let _deadly = Deadly(1);
            std::future::pending::<()>().await;
        })
        .unwrap();
    let log = Log::new();
    let adds = log.adds("told");
    task.add_done_callback(|_| adds());
    one_pass(&lp);
    task.cancel();
    assert_eq!(run_fatal(&lp), Fatal::Exit(1));
    assert!(task.done() && task.cancelled() && lp.all_tasks().is_empty());
    one_pass(&lp);
    assert_eq!(log, ["told"]);
    // At close: the loop is closed when it leaves.
    lp.call_soon({
        let deadly = Deadly(2);
        move || drop(deadly)
    })
    .unwrap();
    let alive = Alive::none();
    let captured = alive.clone();
    drop(lp.create_task(async move { drop(captured) }).unwrap());
    let payload = catch_unwind(AssertUnwindSafe(|| lp.close())).unwrap_err();
    assert_eq!(*payload.downcast::<Fatal>().unwrap(), Fatal::Exit(2));
    assert!(lp.is_closed() && lp.all_tasks().is_empty());
    assert_eq!(alive.others(), 0);
    assert_eq!(messages(&reports), ["Task was destroyed but it is pending!"]);
}

/// What the loop drops may do anything: close another loop, run one, look at the task being dropped.
#[test]
fn destructors_may_use_the_loop_and_their_own_task() {
    struct Meddles {
        lp: EventLoop,
        own: Rc<RefCell<Option<LoopTask<()>>>>,
        log: Log<String>,
    }
    impl Drop for Meddles {
        fn drop(&mut self) {
            self.log.add(format!("{}", self.lp.is_closed()));
            // The last handle of the very task whose coroutine is being dropped.
            if let Some(own) = self.own.take() {
                assert!(!own.done());
                let _ = own.result();
                let _ = own.exception();
                own.cancel();
            }
            let _ = self.lp.create_task(async {});
            let _ = self.lp.call_soon(|| ());
            let _ = self.lp.close();
        }
    }
    for close in [false, true] {
        let lp = new_loop();
        let _ = collect_reports(&lp);
        let (own, log) = (Rc::new(RefCell::new(None)), Log::new());
        let meddles = Meddles { lp: lp.clone(), own: Rc::clone(&own), log: log.clone() };
        let task = lp
            .create_task(async move {
                let _meddles = meddles;
                std::future::pending::<()>().await;
            })
            .unwrap();
        one_pass(&lp);
        let reference = task.as_task_ref().clone();
        own.replace(Some(task));
        if close {
            drop(reference);
            lp.close().unwrap();
        } else {
            reference.cancel();
            one_pass(&lp);
            assert!(reference.cancelled());
        }
        assert_eq!(log.take(), [close.to_string()]);
        lp.close().unwrap();
    }
}

/// The main coroutine's destructors run when its run is over: they may even close the loop, or run it.
#[test]
fn the_main_coroutines_destructors_may_close_or_run_the_loop() {
    struct Runs(EventLoop, bool);
    impl Drop for Runs {
        fn drop(&mut self) {
            assert!(!self.0.is_running());
            if self.1 {
                self.0.close().unwrap();
            } else {
                assert_eq!(self.0.run_until_complete(async { 5 }).unwrap(), 5);
                one_pass(&self.0);
            }
        }
    }
    for closes in [false, true] {
        let lp = new_loop();
        let _ = collect_reports(&lp);
        let runs = Runs(lp.clone(), closes);
        lp.stop();
        let result = lp.run_until_complete(async move {
            let _runs = runs;
            // Woken already when the run ends.
            std::future::poll_fn(|context| {
                context.waker().wake_by_ref();
                std::task::Poll::<()>::Pending
            })
            .await;
        });
        assert!(matches!(result, Err(loop_api::LoopError::StoppedBeforeComplete)));
        assert_eq!(lp.is_closed(), closes);
        if !closes {
            one_pass(&lp);
        }
    }
}

/// The value a task ended with is cloned by user code, which may move it out meanwhile.
#[test]
fn cloning_a_result_may_ask_for_the_result() {
    struct Greedy(Rc<RefCell<Option<LoopTask<Greedy>>>>, Log<&'static str>);
    impl Clone for Greedy {
        fn clone(&self) -> Self {
            if let Some(task) = &*self.0.borrow() {
                assert!(matches!(task.take_outcome(), Err(TaskError::Taken)));
                self.1.add("asked");
            }
            Self(Rc::clone(&self.0), self.1.clone())
        }
    }
    let lp = new_loop();
    let (slot, log) = (Rc::new(RefCell::new(None)), Log::new());
    let value = Greedy(Rc::clone(&slot), log.clone());
    let task = lp.create_task(async move { value }).unwrap();
    one_pass(&lp);
    slot.replace(Some(task.clone()));
    assert!(task.result().is_ok());
    assert_eq!(log, ["asked"]);
    assert!(task.take_outcome().is_ok());
    slot.take();
}

/// What catches a cancellation drops what it caught: that may panic, and is the task's own panic.
#[test]
fn a_destructor_that_panics_within_the_coroutine_is_the_tasks_panic() {
    let lp = new_loop();
    let task = lp
        .create_task(async {
            let _ = catch_cancelled(async {
                let _mine = Mine("within");
                std::future::pending::<()>().await;
            })
            .await;
        })
        .unwrap();
    one_pass(&lp);
    task.cancel();
    one_pass(&lp);
    assert!(matches!(task.exception(), Ok(Some(TaskError::Panicked(panic))) if panic.message() == "within"));
}

/// A timer's callback that panics is reported with its handle.
#[test]
fn a_timer_that_panics_is_reported() {
    let (lp, clock) = virtual_loop();
    let reports = collect_reports(&lp);
    let _timer: TimerHandle = lp.call_later(1.0, || quiet_panic("timer")).unwrap();
    clock.advance(std::time::Duration::from_secs(1));
    one_pass(&lp);
    assert_eq!(reports.take().pop().unwrap().panic().unwrap().message(), "timer");
}
