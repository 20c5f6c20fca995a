//! Futures of the loop: outcomes, callbacks, awaiting and cancelling.

mod loops;

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};

use loop_api::{ContextVar, Error, EventLoop, LoopError, LoopFuture, TaskError, TaskRef, create_future};
use loops::{Alive, Log, Mine, collect_reports, messages, new_loop, one_pass, quiet_panic};

fn failed(text: &'static str) -> TaskError {
    TaskError::failed(text)
}

/// FUT-01.
#[test]
fn a_new_future_is_pending_and_knows_its_loop() {
    let lp = new_loop();
    let future = lp.create_future::<u32>();
    assert!(!future.done() && !future.cancelled());
    assert_eq!(future.get_loop(), lp);
    lp.close().unwrap();
    assert!(!lp.create_future::<u32>().done(), "also of a closed loop (LIFE-31)");
}

/// FUT-01, of the loop that runs.
#[test]
fn a_future_may_be_made_of_whichever_loop_runs() {
    let lp = new_loop();
    let future = lp.run_until_complete(async { create_future::<u32>() }).unwrap().unwrap();
    assert_eq!(future.get_loop(), lp);
    let made_at = (file!(), line!() - 2);
    assert!(format!("{future:?}").contains(&format!("{}:{}:", made_at.0, made_at.1)), "{future:?}");
    assert!(matches!(create_future::<u32>(), Err(LoopError::NoRunningLoop)));
}

/// FUT-02.
#[test]
fn a_result_queues_the_callbacks_and_runs_none() {
    let lp = new_loop();
    let log = Log::new();
    let future = lp.create_future();
    let seen = log.clone();
    future.add_done_callback(move |future| seen.add(future.result().unwrap()));
    future.set_result(7).unwrap();
    assert!(future.done() && log.len() == 0);
    one_pass(&lp);
    assert_eq!(log, [7]);
}

/// FUT-03.
#[test]
fn an_outcome_is_final() {
    let lp = new_loop();
    let reports = collect_reports(&lp);
    let done = lp.create_future();
    done.set_result(1).unwrap();
    let cancelled = lp.create_future();
    cancelled.cancel();
    let error = lp.create_future::<u32>();
    error.set_exception(failed("no")).unwrap();
    for future in [&done, &cancelled, &error] {
        assert!(matches!(future.set_result(2), Err(LoopError::InvalidState(_))));
        assert!(matches!(future.set_exception(failed("late")), Err(LoopError::InvalidState(_))));
    }
    assert_eq!(done.result().unwrap(), 1);
    assert!(cancelled.cancelled());
    assert_eq!(error.result().unwrap_err().to_string(), "no");
    assert_eq!(reports.len(), 0);
}

/// FUT-04, FUT-05, TASK-28.
#[test]
fn the_outcome_may_be_asked_for_any_number_of_times() {
    let lp = new_loop();
    let future = lp.create_future::<String>();
    assert!(matches!(future.result(), Err(TaskError::NotReady)));
    assert!(matches!(future.exception(), Err(TaskError::NotReady)));
    future.set_result("value".into()).unwrap();
    for _ in 0..2 {
        assert_eq!(future.result().unwrap(), "value");
        assert!(future.exception().unwrap().is_none());
    }
    let cancelled = lp.create_future::<u32>();
    cancelled.cancel();
    assert!(matches!(cancelled.result(), Err(TaskError::Cancelled(_))));
    assert!(matches!(cancelled.exception(), Err(TaskError::Cancelled(_))));
    let error = lp.create_future::<u32>();
    error.set_exception(failed("no")).unwrap();
    for _ in 0..2 {
        assert_eq!(error.exception().unwrap().unwrap().to_string(), "no");
        assert!(matches!(error.result(), Err(TaskError::Failed(_))));
    }
}

/// An await moves the value out; what comes later learns that.
#[test]
fn a_value_is_moved_out_once_and_cloned_any_number_of_times() {
    let lp = new_loop();
    let future = lp.create_future::<Rc<u32>>();
    future.set_result(Rc::new(5)).unwrap();
    let log = Log::new();
    let (seen, future2) = (log.clone(), future.clone());
    lp.run_until_complete(async move {
        seen.add((&future2).await.unwrap());
        seen.add((&future2).await.unwrap());
        seen.add(future2.clone().await.unwrap());
        assert!(matches!((&future2).await, Err(TaskError::Taken)));
        assert!(matches!(future2.await, Err(TaskError::Taken)));
    })
    .unwrap();
    assert!(future.done());
    assert_eq!(Rc::strong_count(&log.take()[0]), 3);
}

/// FUT-06.
#[test]
fn cancel_ends_a_pending_future_and_no_other() {
    let lp = new_loop();
    let log = Log::new();
    let future = lp.create_future::<u32>();
    let seen = log.clone();
    future.add_done_callback(move |future| seen.add(future.cancelled()));
    assert!(future.cancel() && future.cancelled() && future.done());
    assert_eq!(log.len(), 0);
    one_pass(&lp);
    assert_eq!(log, [true]);
    assert!(!future.cancel());
    let done = lp.create_future();
    done.set_result(1).unwrap();
    assert!(!done.cancel() && !done.cancelled());
    assert_eq!(done.result().unwrap(), 1);
}

/// FUT-07.
#[test]
fn whoever_awaits_a_cancelled_future_sees_the_message() {
    let lp = new_loop();
    let future = lp.create_future::<u32>();
    future.cancel_with(Some("why"));
    match lp.run_until_complete(future).unwrap() {
        Err(TaskError::Cancelled(cancelled)) => assert_eq!(cancelled.message(), Some("why")),
        other => panic!("{other:?}"),
    }
}

/// FUT-08.
#[test]
fn callbacks_run_in_order_with_their_future_and_their_context() {
    let lp = new_loop();
    let (log, var) = (Log::new(), Rc::new(ContextVar::new("var")));
    let future = lp.create_future::<u32>();
    for n in 0..5 {
        var.set(n);
        let (log, var, this) = (log.clone(), Rc::clone(&var), future.clone());
        future.add_done_callback(move |future| {
            assert!(future.is_same(&this));
            log.add((n, var.get()));
            var.set(100);
        });
    }
    var.set(99);
    future.set_result(0).unwrap();
    one_pass(&lp);
    assert_eq!(log.take(), (0..5).map(|n| (n, Some(n))).collect::<Vec<_>>());
    assert_eq!(var.get(), Some(99));
}

/// FUT-09.
#[test]
fn a_callback_added_late_waits_for_the_next_pass() {
    let lp = new_loop();
    let log = Log::new();
    let future = lp.create_future::<u32>();
    future.set_result(1).unwrap();
    let adds = log.adds("late");
    future.add_done_callback(|_| adds());
    assert_eq!(log.len(), 0);
    one_pass(&lp);
    assert_eq!(log, ["late"]);
}

/// FUT-10: callbacks are named by an id here, so each is taken off by itself.
#[test]
fn a_callback_can_be_taken_off_until_it_is_queued() {
    let lp = new_loop();
    let log = Log::new();
    let future = lp.create_future::<u32>();
    let ids: Vec<_> = (0..40)
        .map(|n| {
            let log = log.clone();
            future.add_done_callback(move |_| log.add(n))
        })
        .collect();
    for id in ids.iter().step_by(2).rev() {
        assert!(future.remove_done_callback(*id));
        assert!(!future.remove_done_callback(*id));
    }
    let added = log.clone();
    future.add_done_callback(move |_| added.add(40));
    future.set_result(1).unwrap();
    assert!(!future.remove_done_callback(ids[1]), "queued: too late");
    one_pass(&lp);
    let expected: Vec<usize> = (0..40).filter(|n| n % 2 == 1).chain([40]).collect();
    assert_eq!(log.take(), expected);
}

/// HND-01, for done callbacks: what is taken off is dropped, by then outside any borrow.
#[test]
fn a_callback_that_is_taken_off_is_dropped_at_once() {
    struct Looks(LoopFuture<u32>);
    impl Drop for Looks {
        fn drop(&mut self) {
            self.0.add_done_callback(|_| ());
        }
    }
    let lp = new_loop();
    let alive = Alive::none();
    let future = lp.create_future::<u32>();
    let captured = (alive.clone(), Looks(future.clone()));
    let id = future.add_done_callback(move |_| drop(captured));
    assert!(future.remove_done_callback(id));
    assert_eq!(alive.others(), 0);
}

/// FUT-11.
#[test]
fn a_failing_callback_is_reported_and_the_others_run() {
    let lp = new_loop();
    let (log, reports) = (Log::new(), collect_reports(&lp));
    let future = lp.create_future::<u32>();
    future.add_done_callback(|_| quiet_panic("callback"));
    let adds = log.adds("second");
    future.add_done_callback(|_| adds());
    future.set_result(1).unwrap();
    one_pass(&lp);
    assert_eq!(log, ["second"]);
    let report = reports.take().pop().unwrap();
    assert!(report.message.as_deref().unwrap().starts_with("Exception in callback"));
    assert_eq!(report.panic().unwrap().message(), "callback");
}

/// FUT-12.
#[test]
fn awaiting_a_done_future_does_not_suspend() {
    let lp = new_loop();
    let future = lp.create_future::<u32>();
    future.set_result(3).unwrap();
    let polls = Rc::new(Cell::new(0));
    let counted = Rc::clone(&polls);
    let mut body = Box::pin(future);
    let counting = poll_fn(move |context| {
        counted.set(counted.get() + 1);
        body.as_mut().poll(context)
    });
    assert_eq!(lp.run_until_complete(counting).unwrap().unwrap(), 3);
    assert_eq!(polls.get(), 1);
}

/// FUT-13.
#[test]
fn all_who_wait_wake_in_the_order_they_began() {
    let lp = new_loop();
    let log = Log::new();
    let future = lp.create_future::<u32>();
    for n in 0..50 {
        let (seen, future) = (log.clone(), future.clone());
        if n % 5 == 0 {
            future.add_done_callback(move |_| seen.add(n));
        } else {
            lp.create_task(async move {
                (&future).await.unwrap();
                seen.add(n);
            })
            .unwrap();
            one_pass(&lp);
        }
    }
    future.set_result(1).unwrap();
    one_pass(&lp);
    assert_eq!(log.take(), (0..50).collect::<Vec<_>>(), "callbacks and awaits alike");
}

/// TASK-10: whoever was to set the future learns that nobody wants it any more.
#[test]
fn cancelling_a_task_cancels_the_future_it_awaits() {
    let lp = new_loop();
    let future = lp.create_future::<u32>();
    let awaited = future.clone();
    let task = lp.create_task(awaited).unwrap();
    one_pass(&lp);
    task.cancel_with(Some("stop"));
    assert!(!future.cancelled());
    one_pass(&lp);
    assert!(future.cancelled() && task.cancelled());
}

/// FUT-13: awaits that go without cancelling leave the others' places alone.
#[test]
fn those_who_give_up_waiting_do_not_disturb_the_others() {
    let lp = new_loop();
    let log = Log::new();
    let future = lp.create_future::<u32>();
    let give_up = lp.create_future::<()>();
    let _tasks: Vec<_> = (0..50)
        .map(|n| {
            let (log, future, give_up) = (log.clone(), future.clone(), give_up.clone());
            lp.create_task(async move {
                let mut wait = pin!(async { (&future).await.unwrap() });
                let mut stop = pin!(async { (&give_up).await.unwrap() });
                let gave_up = poll_fn(|context| {
                    if wait.as_mut().poll(context).is_ready() {
                        return Poll::Ready(false);
                    }
                    if n % 3 != 0 { stop.as_mut().poll(context).map(|()| true) } else { Poll::Pending }
                });
                if !gave_up.await {
                    log.add(n);
                }
            })
            .unwrap()
        })
        .collect();
    one_pass(&lp);
    give_up.set_result(()).unwrap();
    one_pass(&lp);
    future.set_result(1).unwrap();
    one_pass(&lp);
    assert_eq!(log.take(), (0..50).filter(|n| n % 3 == 0).collect::<Vec<_>>());
}

/// A future that outlives many who waited for it keeps nothing of them.
#[test]
fn a_lasting_future_does_not_collect_those_who_gave_up() {
    let lp = new_loop();
    let shutdown = lp.create_future::<()>();
    struct Witness(#[expect(dead_code, reason = "counted")] Arc<()>);
    impl Wake for Witness {
        fn wake(self: Arc<Self>) {}
    }
    let token = Arc::new(());
    for _ in 0..100 {
        let waker = Arc::new(Witness(Arc::clone(&token))).into();
        let mut wait = pin!(async { (&shutdown).await.unwrap() });
        assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    assert_eq!(Arc::strong_count(&token), 1);
    shutdown.cancel();
}

/// FUT-14, FUT-15.
#[test]
fn an_error_nobody_looked_at_is_reported_when_the_future_goes() {
    let lp = new_loop();
    let reports = collect_reports(&lp);
    let make = || {
        let future = lp.create_future::<u32>();
        future.set_exception(failed("lost")).unwrap();
        future
    };
    drop(make());
    let report = reports.take().pop().unwrap();
    assert_eq!(report.message.as_deref(), Some("Future exception was never retrieved"));
    assert_eq!(report.exception.as_ref().unwrap().to_string(), "lost");
    assert!(report.get("future").unwrap().contains("<Future finished created at"), "{report:?}");

    let looked_at = make();
    let _ = looked_at.result();
    let asked = make();
    let _ = asked.exception();
    let cancelled_after = make();
    assert!(!cancelled_after.cancel());
    let awaited = make();
    let awaited2 = awaited.clone();
    assert!(lp.run_until_complete(awaited2).unwrap().is_err());
    let value = lp.create_future();
    value.set_result(1).unwrap();
    let cancelled = lp.create_future::<u32>();
    cancelled.cancel();
    drop((looked_at, asked, cancelled_after, awaited, value, cancelled));
    assert_eq!(reports.len(), 0);
}

/// FUT-18: an error type of its own, which `?` does not confuse with others.
#[test]
fn a_cancellation_is_told_apart_from_errors() {
    let lp = new_loop();
    let future = lp.create_future::<u32>();
    future.cancel();
    let error = lp.run_until_complete(future).unwrap().unwrap_err();
    assert!(error.is_cancelled() && Error::from(error).is_cancelled());
    assert!(!failed("no").is_cancelled());
}

/// FUT-19.
#[test]
fn a_wrapped_thread_future_takes_its_outcome() {
    let lp = new_loop();
    let (completer, theirs) = loop_api::ConcurrentFuture::pair();
    let wrapped = lp.wrap_future(theirs).unwrap();
    std::thread::spawn(move || completer.complete(Ok(5)));
    assert_eq!(lp.run_until_complete(wrapped).unwrap().unwrap(), 5);

    let (completer, theirs) = loop_api::ConcurrentFuture::<u32>::pair();
    let wrapped = lp.wrap_future(theirs.clone()).unwrap();
    assert!(wrapped.cancel());
    assert!(theirs.cancelled() && completer.is_cancelled(), "cancelling the wrapper asks the other to cancel");
    one_pass(&lp);

    let (completer, theirs) = loop_api::ConcurrentFuture::<u32>::pair();
    let wrapped = lp.wrap_future(theirs.clone()).unwrap();
    assert!(theirs.cancel());
    assert!(lp.run_until_complete(wrapped).unwrap().unwrap_err().is_cancelled());
    drop(completer);

    let (completer, theirs) = loop_api::ConcurrentFuture::<u32>::pair();
    let wrapped = lp.wrap_future(theirs).unwrap();
    lp.close().unwrap();
    assert!(completer.complete(Ok(1)), "dropped silently");
    assert!(!wrapped.done());
}

/// LIFE-32.
#[test]
fn a_future_of_a_closed_loop_can_still_be_completed() {
    let lp = new_loop();
    let (plain, with_callback) = (lp.create_future(), lp.create_future());
    let alive = Alive::none();
    let captured = alive.clone();
    with_callback.add_done_callback(move |_| drop(captured));
    lp.close().unwrap();
    plain.set_result(1).unwrap();
    assert!(matches!(with_callback.set_result(2), Err(LoopError::Closed)));
    assert_eq!((with_callback.result().unwrap(), alive.others()), (2, 0));
    with_callback.add_done_callback(|_| unreachable!("nobody runs it"));
}

/// Callbacks, wakers and outcomes are user code, which may do anything with the future.
#[test]
fn user_code_may_use_the_future_it_is_called_for() {
    struct Clones(LoopFuture<Clones>, Log<String>);
    impl Clone for Clones {
        fn clone(&self) -> Self {
            self.1.add(format!("{:?} {:?}", self.0.done(), self.0.result().map(drop)));
            assert!(self.0.set_exception(failed("late")).is_err());
            self.0.add_done_callback(|_| ());
            Self(self.0.clone(), self.1.clone())
        }
    }
    let lp = new_loop();
    let (future, log) = (lp.create_future(), Log::new());
    future.set_result(Clones(future.clone(), log.clone())).unwrap();
    drop(future.result());
    assert_eq!(log.take(), ["true Err(Taken)"]);
    drop(future.take_result());
    assert!(matches!(future.result(), Err(TaskError::Taken)));
}

#[test]
fn a_clone_that_panics_leaves_the_value_in_place() {
    struct Fickle(Rc<Cell<bool>>);
    impl Clone for Fickle {
        fn clone(&self) -> Self {
            if self.0.get() {
                quiet_panic("clone");
            }
            Self(Rc::clone(&self.0))
        }
    }
    let lp = new_loop();
    let panics = Rc::new(Cell::new(true));
    let (future, task_value) = (lp.create_future(), Fickle(Rc::clone(&panics)));
    future.set_result(Fickle(Rc::clone(&panics))).unwrap();
    let task = lp.create_task(async move { task_value }).unwrap();
    one_pass(&lp);
    let caught = |f: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).is_err();
    assert!(caught(&|| drop(future.result())) && caught(&|| drop(task.result())));
    panics.set(false);
    assert!(future.result().is_ok() && task.result().is_ok());
}

/// Wakers of other libraries may panic: the rest is told all the same.
#[test]
fn a_waker_that_panics_takes_nobody_along() {
    struct Angry;
    impl Wake for Angry {
        fn wake(self: Arc<Self>) {
            quiet_panic("waker");
        }
    }
    let lp = new_loop();
    let (reports, log) = (collect_reports(&lp), Log::new());
    let future = lp.create_future::<u32>();
    let waker = Arc::new(Angry).into();
    let mut first = pin!(async { (&future).await.unwrap() });
    assert!(first.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let adds = log.adds("second");
    future.add_done_callback(|_| adds());
    let mut sleep = pin!(lp.sleep_until(std::time::Duration::ZERO));
    assert!(sleep.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    future.set_result(1).unwrap();
    one_pass(&lp);
    assert_eq!(log, ["second"]);
    assert_eq!(messages(&reports), ["Exception in a foreign waker"; 2]);
}

/// The value goes with the last handle, and its destructor is user code.
#[test]
fn a_value_nobody_took_is_dropped_with_its_future() {
    let lp = new_loop();
    let alive = Alive::none();
    let future = lp.create_future();
    future.set_result(alive.clone()).unwrap();
    let again = future.clone();
    drop(future);
    assert_eq!(alive.others(), 1);
    drop(again);
    assert_eq!(alive.others(), 0);
    let mine = lp.create_future();
    mine.set_result(Mine("value")).unwrap();
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(mine))).is_err());
}

/// TASK-06, for futures.
#[test]
fn a_future_of_another_loop_cannot_be_awaited() {
    let (one, other) = (new_loop(), new_loop());
    let future = other.create_future::<u32>();
    let outcome = one.run_until_complete(future).unwrap();
    assert!(matches!(outcome, Err(TaskError::WrongLoop)));
}

/// LIFE-14, LIFE-15, LIFE-16, LIFE-20: a future given to `run_until_complete` itself.
#[test]
fn a_future_may_be_what_a_run_is_for() {
    let lp = new_loop();
    let log = Log::new();
    let future = lp.create_future();
    let (later, seen, lp2) = (future.clone(), log.clone(), lp.clone());
    lp.call_soon(move || {
        later.set_result(5).unwrap();
        lp2.call_soon(seen.adds("queued with the completion")).unwrap();
    })
    .unwrap();
    assert_eq!(lp.run_until_complete(&future).unwrap().unwrap(), 5);
    assert_eq!(log, ["queued with the completion"]);
    let passes = lp.passes();
    assert_eq!(lp.run_until_complete(&future).unwrap().unwrap(), 5);
    assert_eq!(lp.passes() - passes, 1, "one pass for a future that is done");
    assert_eq!(lp.run_until_complete(future).unwrap().unwrap(), 5);
    assert!(lp.all_tasks().is_empty());
    let foreign = new_loop().create_future::<u32>();
    assert!(matches!(lp.run_until_complete(foreign).unwrap(), Err(TaskError::WrongLoop)));
}

/// The awaiting task is the one whose step polls, whatever library lies between: a waiter in a set of futures too.
#[test]
fn futures_work_within_other_libraries_combinators() {
    let lp = new_loop();
    let futures: Vec<LoopFuture<usize>> = (0..10).map(|_| lp.create_future()).collect();
    let waits = futures.clone();
    for (n, future) in futures.into_iter().enumerate().rev() {
        lp.call_soon(move || future.set_result(n).unwrap()).unwrap();
    }
    let all = lp.run_until_complete(async move { futures_util::future::join_all(waits).await }).unwrap();
    assert_eq!(all.into_iter().map(Result::unwrap).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
}

/// A future completes whatever waits in it: `TaskRef` of the awaiting task is current again.
#[test]
fn the_current_task_is_the_awaiting_one_after_the_wait() {
    let lp = new_loop();
    let future = lp.create_future::<()>();
    let set = future.clone();
    let task = lp
        .create_task(async move {
            let before = EventLoop::running().unwrap().current_task();
            future.await.unwrap();
            (before, EventLoop::running().unwrap().current_task())
        })
        .unwrap();
    one_pass(&lp);
    assert!(lp.current_task().is_none());
    set.set_result(()).unwrap();
    one_pass(&lp);
    let (before, after): (Option<TaskRef>, Option<TaskRef>) = task.take_outcome().unwrap();
    assert_eq!(before.as_ref(), Some(task.as_task_ref()));
    assert_eq!(before, after);
}

/// The trait: what is written for any future of a loop works for this one and for tasks.
#[test]
fn the_trait_covers_futures_and_tasks() {
    fn outcome<F: loop_api::Future<Value = u32>>(future: &F) -> Result<u32, TaskError> {
        assert!(future.get_loop().is_some());
        future.result()
    }
    let lp = new_loop();
    let log = Rc::new(RefCell::new(Vec::new()));
    fn watch<F: loop_api::Future<Value = u32>>(future: &F, log: &Rc<RefCell<Vec<bool>>>) {
        let log = Rc::clone(log);
        let off = loop_api::Future::add_done_callback(future, Box::new(|_| unreachable!("taken off")));
        assert!(future.remove_done_callback(off));
        loop_api::Future::add_done_callback(future, Box::new(move |this: &F| log.borrow_mut().push(this.done())));
    }
    let future = lp.create_future();
    let task = lp.create_task(async { 2 }).unwrap();
    watch(&future, &log);
    watch(&task, &log);
    future.set_result(1).unwrap();
    one_pass(&lp);
    one_pass(&lp);
    assert_eq!((outcome(&future).unwrap(), outcome(&task).unwrap()), (1, 2));
    assert_eq!(*log.borrow(), [true, true]);
    // TASK-22.
    assert!(matches!(loop_api::Future::set_result(&task, 3), Err(LoopError::InvalidState(_))));
    assert!(matches!(loop_api::Future::set_exception(&task, failed("no")), Err(LoopError::InvalidState(_))));
    let never = lp.create_task(pending::<u32>()).unwrap();
    assert!(loop_api::Future::cancel(&never));
}
