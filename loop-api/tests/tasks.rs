//! Tasks: their steps, their names and contexts, and how they are cancelled.

mod loops;

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use loop_api::{
    Cancelled, Context, ContextVar, EventLoop, LoopError, LoopTask, Task, TaskError, TaskRef, catch_cancelled,
};
use loops::{Alive, Log, collect_reports, messages, new_loop, one_pass, quiet_panic, virtual_loop};

fn running() -> EventLoop {
    EventLoop::running().expect("called from a task")
}

/// The task that asks.
fn current() -> TaskRef {
    running().current_task().expect("called from a task")
}

/// Gives up one pass; takes no cancellation.
async fn one_turn() {
    let mut turned = false;
    poll_fn(|context| {
        if std::mem::replace(&mut turned, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// TASK-01, I5.
#[test]
fn tasks_begin_in_the_order_of_their_creation_and_not_before_the_loop_runs() {
    let lp = new_loop();
    let log = Log::new();
    let tasks: Vec<_> = (0..3)
        .map(|n| {
            let log = log.clone();
            lp.create_task(async move { log.add(n) }).unwrap()
        })
        .collect();
    assert_eq!(log.len(), 0);
    one_pass(&lp);
    assert_eq!(log, [0, 1, 2]);
    assert!(tasks.iter().all(|task| task.done()));
    drop(async { unreachable!("a coroutine that is not driven does nothing") });
}

/// TASK-02.
#[test]
fn a_completion_resumes_its_waiter_a_pass_later() {
    let lp = new_loop();
    let log = Log::new();
    let future = lp.create_future();
    let (waits, seen) = (future.clone(), log.clone());
    lp.create_task(async move {
        waits.await.unwrap();
        seen.add("resumed");
    })
    .unwrap();
    one_pass(&lp);
    let (lp2, seen) = (lp.clone(), log.clone());
    lp.call_soon(move || {
        lp2.call_soon(seen.adds("queued before the completion")).unwrap();
        future.set_result(()).unwrap();
        seen.add("completed");
    })
    .unwrap();
    one_pass(&lp);
    assert_eq!(log, ["completed"]);
    one_pass(&lp);
    assert_eq!(log, ["completed", "queued before the completion", "resumed"]);
}

/// TASK-03.
#[test]
fn tasks_are_named_by_number_or_as_one_likes() {
    let lp = new_loop();
    let number = |task: &LoopTask<()>| task.name().strip_prefix("Task-").unwrap().parse::<u64>().unwrap();
    let (one, two) = (lp.create_task(async {}).unwrap(), lp.create_task(async {}).unwrap());
    assert!(number(&two) > number(&one));
    let elsewhere = std::thread::spawn(move || number(&new_loop().create_task(async {}).unwrap())).join().unwrap();
    assert!(elsewhere > number(&two), "process-wide");
    one.set_name("mine");
    assert_eq!(one.name(), "mine");
    assert!(format!("{one:?}").contains("name='mine'"));
    Task::set_name(&one, "of the trait");
    assert_eq!(Task::name(&one), "of the trait");
}

/// TASK-04.
#[test]
fn every_step_runs_in_the_tasks_own_context() {
    let lp = new_loop();
    let var = Rc::new(ContextVar::new("var"));
    let log = Log::new();
    let body = |name: &'static str| {
        let (var, log) = (Rc::clone(&var), log.clone());
        async move {
            for n in 0..3 {
                log.add((name, var.get()));
                var.set(n);
                one_turn().await;
            }
        }
    };
    var.set(10);
    let captured = lp.create_task(body("captured")).unwrap();
    let own = Context::new();
    let given = lp.create_task_in(&own, body("given")).unwrap();
    var.set(20);
    (0..4).for_each(|_| one_pass(&lp));
    let seen = log.take();
    let of = |name| seen.iter().filter(|entry| entry.0 == name).map(|entry| entry.1).collect::<Vec<_>>();
    assert_eq!(of("captured"), [Some(10), Some(0), Some(1)]);
    assert_eq!(of("given"), [None, Some(0), Some(1)]);
    assert_eq!((var.get(), own.get(&var)), (Some(20), Some(2)));
    assert!(captured.done() && given.done());
}

/// TASK-04, TASK-27: the context can be asked for, in the task's own step too.
#[test]
fn a_task_tells_its_context() {
    let lp = new_loop();
    let var = Rc::new(ContextVar::new("var"));
    var.set(1);
    let inside = Rc::clone(&var);
    let task = lp
        .create_task(async move {
            let own = current().context().unwrap().get(&inside);
            inside.set(2);
            one_turn().await;
            own
        })
        .unwrap();
    assert_eq!(task.context().unwrap().get(&var), Some(1));
    one_pass(&lp);
    assert_eq!(task.context().unwrap().get(&var), Some(2));
    one_pass(&lp);
    assert_eq!(task.result().unwrap(), Some(1));
}

/// TASK-06.
#[test]
fn a_task_of_another_loop_cannot_be_awaited() {
    let (one, other) = (new_loop(), new_loop());
    let foreign = other.create_task(async { 1 }).unwrap();
    let outcome = one.run_until_complete(foreign).unwrap();
    assert!(matches!(outcome, Err(TaskError::WrongLoop)));
}

/// TASK-07.
#[test]
fn a_task_cannot_await_itself() {
    let lp = new_loop();
    let slot: Rc<RefCell<Option<LoopTask<String>>>> = Rc::default();
    let own = Rc::clone(&slot);
    let task = lp
        .create_task(async move {
            let own = own.borrow_mut().take().unwrap();
            format!("{:?}", own.await)
        })
        .unwrap();
    slot.replace(Some(task.clone()));
    one_pass(&lp);
    assert_eq!(task.result().unwrap(), "Err(SelfAwait)");
}

/// TASK-08.
#[test]
fn a_task_that_is_done_cannot_be_cancelled() {
    let lp = new_loop();
    let task = lp.create_task(async { 5 }).unwrap();
    one_pass(&lp);
    assert!(!task.cancel());
    assert_eq!((task.cancelling(), task.cancelled(), task.result().unwrap()), (0, false, 5));
}

/// TASK-09, TASK-18.
#[test]
fn each_request_counts_until_the_body_has_ended() {
    let lp = new_loop();
    let task = lp.create_task(pending::<()>()).unwrap();
    one_pass(&lp);
    assert!(task.cancel() && task.cancel());
    assert_eq!((task.cancelling(), task.cancelled(), task.done()), (2, false, false));
    one_pass(&lp);
    assert_eq!((task.cancelling(), task.cancelled(), task.done()), (2, true, true));
}

/// TASK-10, TASK-20, TASK-21: a chain of tasks ends from the innermost outward.
#[test]
fn cancelling_goes_down_the_chain_and_comes_back_up() {
    let lp = new_loop();
    let log = Log::new();
    let level = |name: &'static str, inner: Option<LoopTask<()>>| {
        let log = log.clone();
        lp.create_task(async move {
            let result = catch_cancelled(async {
                match inner {
                    Some(inner) => inner.await.map_err(drop).unwrap_or(()),
                    None => pending().await,
                }
            })
            .await;
            log.add(name);
            match result {
                Ok(()) => {}
                Err(cancelled) => cancelled.raise().await,
            }
        })
        .unwrap()
    };
    let inner = level("inner", None);
    let middle = level("middle", Some(inner.clone()));
    let outer = level("outer", Some(middle.clone()));
    one_pass(&lp);
    outer.cancel_with(Some("all of you"));
    assert!(!inner.done());
    (0..10).for_each(|_| one_pass(&lp));
    assert_eq!(log, ["inner", "middle", "outer"]);
    for task in [&inner, &middle, &outer] {
        assert!(task.cancelled());
        assert!(
            matches!(task.result(), Err(TaskError::Cancelled(cancelled)) if cancelled.message() == Some("all of you"))
        );
    }
}

/// TASK-11.
#[test]
fn a_task_cancelled_before_its_first_step_never_begins() {
    let lp = new_loop();
    let alive = Alive::none();
    let captured = alive.clone();
    let task = lp
        .create_task(async move {
            let _captured = captured;
            unreachable!("it never begins")
        })
        .unwrap();
    let task: LoopTask<()> = task;
    assert!(task.cancel());
    one_pass(&lp);
    assert!(task.cancelled());
    assert_eq!(alive.others(), 0);
}

/// TASK-12.
#[test]
fn a_request_goes_before_a_result_that_is_there_already() {
    let lp = new_loop();
    let future = lp.create_future();
    let waits = future.clone();
    let task = lp.create_task(async move { catch_cancelled(async { (&waits).await }).await }).unwrap();
    one_pass(&lp);
    future.set_result(5).unwrap();
    task.cancel();
    one_pass(&lp);
    assert!(matches!(task.result(), Ok(Err(_))));
    assert_eq!(future.result().unwrap(), 5, "lost to that await, kept by the future");
}

/// TASK-12, for awaited tasks and sleeps.
#[test]
fn a_request_goes_before_any_result() {
    let (lp, clock) = virtual_loop();
    let inner = lp.create_task(async { 5 }).unwrap();
    let on_task = lp.create_task(async move { catch_cancelled(async { (&inner).await }).await.is_err() }).unwrap();
    let on_sleep =
        lp.create_task(async { catch_cancelled(running().sleep_for(Duration::from_secs(1))).await.is_err() }).unwrap();
    // The inner task is done when the outer one looks at it first, so that one gives its result at once.
    one_pass(&lp);
    assert!(!on_task.result().unwrap());
    let inner = lp.create_task(async { one_turn().await }).unwrap();
    let awaited = inner.clone();
    let on_task = lp.create_task(async move { catch_cancelled(async { (&awaited).await }).await.is_err() }).unwrap();
    one_pass(&lp);
    clock.advance(Duration::from_secs(1));
    one_pass(&lp);
    assert!(inner.done() && !on_task.done() && !on_sleep.done());
    on_task.cancel();
    on_sleep.cancel();
    one_pass(&lp);
    assert!(on_task.result().unwrap() && on_sleep.result().unwrap());
}

/// TASK-13.
#[test]
fn a_task_that_cancels_itself_is_hit_where_it_suspends_next() {
    let lp = new_loop();
    let log = Log::new();
    let (seen, done) = (log.clone(), lp.create_future());
    done.set_result(()).unwrap();
    let task = lp
        .create_task(async move {
            current().cancel();
            seen.add("goes on");
            (&done).await.unwrap();
            seen.add("needs no suspension");
            let caught = catch_cancelled(pending::<()>()).await;
            seen.add(if caught.is_err() { "hit" } else { "missed" });
        })
        .unwrap();
    (0..3).for_each(|_| one_pass(&lp));
    assert_eq!(log, ["goes on", "needs no suspension", "hit"]);
    assert!(task.done() && !task.cancelled());
}

/// TASK-13: awaits that were polled before the request was raised see it too, in the next step.
#[test]
fn a_request_raised_within_a_step_is_shown_to_every_await() {
    let lp = new_loop();
    let child = lp.create_task(pending::<()>()).unwrap();
    let awaited = child.clone();
    let task = lp
        .create_task(async move {
            let raises = async {
                current().cancel();
                pending::<()>().await;
            };
            catch_cancelled(async { futures_util::join!(awaited, raises) }).await.is_err()
        })
        .unwrap();
    (0..4).for_each(|_| one_pass(&lp));
    assert!(child.cancelled(), "the innermost await passes it on first");
    assert!(task.result().unwrap());
}

/// TASK-14.
#[test]
fn a_result_returned_with_a_request_standing_is_thrown_away() {
    let lp = new_loop();
    let alive = Alive::none();
    let value = alive.clone();
    let task = lp
        .create_task(async move {
            current().cancel();
            value
        })
        .unwrap();
    one_pass(&lp);
    assert!(task.cancelled());
    assert_eq!(alive.others(), 0);
}

/// TASK-15.
#[test]
fn a_body_that_catches_and_returns_ends_with_its_value() {
    let lp = new_loop();
    let task = lp
        .create_task(async {
            let cancelled = catch_cancelled(pending::<()>()).await.unwrap_err();
            cancelled.message().map(str::to_owned)
        })
        .unwrap();
    one_pass(&lp);
    task.cancel_with(Some("please"));
    one_pass(&lp);
    assert_eq!(task.result().unwrap().as_deref(), Some("please"));
    assert_eq!((task.cancelled(), task.cancelling()), (false, 1));
}

/// TASK-16.
#[test]
fn what_is_caught_is_over_until_the_next_request() {
    let (lp, _) = virtual_loop();
    let log = Log::new();
    let seen = log.clone();
    let task = lp
        .create_task(async move {
            assert!(catch_cancelled(pending::<()>()).await.is_err());
            running().sleep_for(Duration::from_secs(1)).await;
            seen.add("cleaned up");
            assert!(catch_cancelled(pending::<()>()).await.is_err());
            seen.add("again");
        })
        .unwrap();
    one_pass(&lp);
    task.cancel();
    lp.call_later(5.0, {
        let task = task.clone();
        move || assert!(task.cancel())
    })
    .unwrap();
    lp.run_until_complete(&task).unwrap().unwrap();
    assert_eq!(log, ["cleaned up", "again"]);
    assert_eq!(task.cancelling(), 2);
}

/// TASK-17: `Cancelled` can be made and raised by anybody.
#[test]
fn a_body_may_end_itself_as_cancelled() {
    let lp = new_loop();
    let task = lp.create_task(async { Cancelled::with_message("by myself").raise::<()>().await }).unwrap();
    one_pass(&lp);
    assert!(task.cancelled());
    assert_eq!(task.cancelling(), 0);
    assert_eq!(task.result().unwrap_err().to_string(), "cancelled: by myself");
}

/// A request that is raised again is taken by the next scope outward.
#[test]
fn a_raised_request_goes_to_the_next_scope_outward() {
    let lp = new_loop();
    let log = Log::new();
    let seen = log.clone();
    let task = lp
        .create_task(async move {
            let outer = catch_cancelled(async {
                let inner = catch_cancelled(pending::<()>()).await.unwrap_err();
                seen.add("inner");
                one_turn().await;
                inner.raise::<()>().await;
            })
            .await;
            seen.add("outer");
            outer.unwrap_err().message().map(str::to_owned)
        })
        .unwrap();
    one_pass(&lp);
    task.cancel_with(Some("first"));
    (0..3).for_each(|_| one_pass(&lp));
    assert_eq!(log, ["inner", "outer"]);
    assert_eq!(task.result().unwrap().as_deref(), Some("first"));
}

/// TASK-19.
#[test]
fn uncancel_takes_requests_back() {
    let lp = new_loop();
    let future = lp.create_future();
    let waits = future.clone();
    let task = lp.create_task(async move { (&waits).await }).unwrap();
    one_pass(&lp);
    assert_eq!(task.uncancel(), 0, "not below zero");
    task.cancel();
    task.cancel();
    assert_eq!((task.uncancel(), task.uncancel(), task.cancelling()), (1, 0, 0));
    one_pass(&lp);
    assert!(!task.done() && !future.done(), "a request not yet delivered is taken back");
    future.set_result(3).unwrap();
    one_pass(&lp);
    assert_eq!(task.result().unwrap().unwrap(), 3);
}

/// TASK-20.
#[test]
fn awaiting_a_cancelled_task_is_an_error_to_handle() {
    let lp = new_loop();
    let victim = lp.create_task(pending::<u32>()).unwrap();
    let awaited = victim.clone();
    let awaiter = lp
        .create_task(async move {
            match awaited.await {
                Err(TaskError::Cancelled(cancelled)) => cancelled.message().map(str::to_owned),
                other => panic!("{other:?}"),
            }
        })
        .unwrap();
    one_pass(&lp);
    victim.cancel_with(Some("not you"));
    (0..3).for_each(|_| one_pass(&lp));
    assert_eq!(awaiter.result().unwrap().as_deref(), Some("not you"));
    assert_eq!((awaiter.cancelled(), awaiter.cancelling()), (false, 0));
}

/// TASK-21.
#[test]
fn an_awaiter_waits_for_what_it_passed_the_request_on_to() {
    let (lp, clock) = virtual_loop();
    let start = clock.now();
    let inner = lp
        .create_task(async {
            let _ = catch_cancelled(pending::<()>()).await;
            running().sleep_for(Duration::from_secs(7)).await;
            "swallowed"
        })
        .unwrap();
    let awaited = inner.clone();
    let outer = lp.create_task(async move { awaited.await.unwrap() }).unwrap();
    one_pass(&lp);
    outer.cancel();
    one_pass(&lp);
    assert!(!outer.done());
    assert_eq!(lp.run_until_complete(&outer).unwrap().unwrap(), "swallowed");
    assert_eq!(clock.now() - start, Duration::from_secs(7));
    assert_eq!((inner.cancelling(), outer.cancelling(), outer.cancelled()), (1, 1, false));
}

/// TASK-18, TASK-21: a second request reaches the inner task too.
#[test]
fn each_request_is_passed_on() {
    let lp = new_loop();
    let inner = lp
        .create_task(async {
            let _ = catch_cancelled(pending::<()>()).await;
            let _ = catch_cancelled(pending::<()>()).await;
            "stubborn"
        })
        .unwrap();
    let awaited = inner.clone();
    let outer = lp.create_task(async move { awaited.await.unwrap() }).unwrap();
    one_pass(&lp);
    for wanted in 1..=2 {
        outer.cancel();
        one_pass(&lp);
        one_pass(&lp);
        assert_eq!(inner.cancelling(), wanted);
    }
    (0..3).for_each(|_| one_pass(&lp));
    assert_eq!(outer.result().unwrap(), "stubborn");
}

/// A request that one branch takes must not leave the branch beside it without its wake.
#[test]
fn a_request_taken_by_one_branch_leaves_the_others_going() {
    let (lp, clock) = virtual_loop();
    for order in 0..2 {
        let future = lp.create_future();
        let waits = future.clone();
        let inner = lp.create_task(async { one_turn().await }).unwrap();
        let task = lp
            .create_task(async move {
                let sleep = running().sleep_for(Duration::from_secs(1));
                let catches = catch_cancelled(pending::<()>());
                let results = async { futures_util::join!(sleep, waits, inner) };
                // Polled before, or after, the branch that takes the request.
                if order == 0 {
                    let (results, caught) = futures_util::join!(results, catches);
                    (results.1, results.2, caught)
                } else {
                    let (caught, results) = futures_util::join!(catches, results);
                    (results.1, results.2, caught)
                }
            })
            .unwrap();
        one_pass(&lp);
        one_pass(&lp);
        clock.advance(Duration::from_secs(1));
        // The timer's wake is spent here: all that comes now is one step, in which everything is there at once.
        one_pass(&lp);
        future.set_result(4).unwrap();
        task.cancel();
        assert!(lp.run_until_complete(&task).unwrap().is_ok());
        let (value, of_task, caught) = task.take_outcome().unwrap();
        assert!(matches!(value, Ok(4)) && of_task.is_ok() && caught.is_err());
    }
}

/// TASK-24, decided here: the loop owns its tasks, so nobody need keep a handle.
#[test]
fn a_task_lives_on_without_any_handle() {
    let lp = new_loop();
    let log = Log::new();
    let (future, seen) = (lp.create_future(), log.clone());
    let waits = future.clone();
    drop(lp.create_task(async move { seen.add(waits.await.unwrap()) }).unwrap());
    one_pass(&lp);
    assert_eq!(lp.all_tasks().len(), 1);
    future.set_result(8).unwrap();
    one_pass(&lp);
    assert_eq!(log, [8]);
    assert!(lp.all_tasks().is_empty());
}

/// TASK-25.
#[test]
fn a_failure_nobody_looked_at_is_reported() {
    let lp = new_loop();
    let reports = collect_reports(&lp);
    let fails = || lp.create_task(async { quiet_panic("task") }).map(|task: LoopTask<()>| task).unwrap();
    let (kept, asked, awaited) = (fails(), fails(), fails());
    drop(fails());
    one_pass(&lp);
    assert_eq!(messages(&reports), ["Task exception was never retrieved"], "with no handle, at once");
    drop(kept);
    assert_eq!(messages(&reports), ["Task exception was never retrieved"], "else with the last handle");
    assert!(asked.exception().unwrap().unwrap().is_panic());
    drop(asked);
    assert!(lp.run_until_complete(awaited).unwrap().unwrap_err().is_panic());
    assert_eq!(reports.len(), 0);
    let cancelled = lp.create_task(pending::<()>()).unwrap();
    cancelled.cancel();
    one_pass(&lp);
    drop(cancelled);
    assert_eq!(reports.len(), 0, "a cancellation is no failure");
}

/// TASK-26, CH-60.
#[test]
fn one_task_is_current_during_its_step() {
    let lp = new_loop();
    assert!(lp.current_task().is_none());
    let log = Log::new();
    let seen = log.clone();
    lp.call_soon(move || seen.add(running().current_task().is_none())).unwrap();
    let task = lp.create_task(async { current().id() }).unwrap();
    one_pass(&lp);
    assert_eq!(log, [true]);
    assert_eq!(task.result().unwrap(), task.id());
    // The main coroutine is a task like any other, however small.
    let (name, count) = lp.run_until_complete(async { (current().name(), running().all_tasks().len()) }).unwrap();
    assert!(name.starts_with("Task-") && name != "Task-0", "{name}");
    assert_eq!(count, 1);
}

/// CH-60: while a coroutine's destructors run, its task is current still.
#[test]
fn destructors_of_a_cancelled_coroutine_run_as_its_task() {
    struct Looks(Log<u64>, Rc<ContextVar<u32>>);
    impl Drop for Looks {
        fn drop(&mut self) {
            assert!(!current().cancelled() && !current().done(), "not before the body has ended");
            self.0.add(current().id());
            assert_eq!(self.1.get(), Some(5));
        }
    }
    let lp = new_loop();
    let (log, var) = (Log::new(), Rc::new(ContextVar::new("var")));
    var.set(5);
    let looks = Looks(log.clone(), Rc::clone(&var));
    let task = lp
        .create_task(async move {
            let _looks = looks;
            pending::<()>().await;
        })
        .unwrap();
    var.set(6);
    one_pass(&lp);
    task.cancel();
    one_pass(&lp);
    assert_eq!(log.take(), [task.id()]);
}

/// CH-61.
#[test]
fn all_tasks_are_those_that_have_not_ended() {
    let lp = new_loop();
    let other = new_loop();
    let _foreign = other.create_task(pending::<()>()).unwrap();
    let tasks: Vec<_> = (0..4).map(|_| lp.create_task(pending::<()>()).unwrap()).collect();
    let ends = lp.create_task(async {}).unwrap();
    assert_eq!(lp.all_tasks().len(), 5, "also before their first step");
    one_pass(&lp);
    tasks[1].cancel();
    tasks[3].cancel();
    one_pass(&lp);
    let expected: Vec<TaskRef> = [&tasks[0], &tasks[2]].into_iter().map(|task| task.as_task_ref().clone()).collect();
    assert_eq!(lp.all_tasks(), expected);
    assert!(ends.done());
    drop(other.close());
}

/// TASK-28.
#[test]
fn a_done_task_gives_the_same_outcome_each_time() {
    let lp = new_loop();
    let reports = collect_reports(&lp);
    let value = lp.create_task(async { String::from("same") }).unwrap();
    let failure = lp.create_task(async { quiet_panic("same") }).map(|task: LoopTask<()>| task).unwrap();
    lp.run_until_complete(async {
        for _ in 0..3 {
            assert_eq!((&value).await.unwrap(), "same");
            assert_eq!(failure.clone().await.unwrap_err().to_string(), "panicked: same");
        }
    })
    .unwrap();
    assert_eq!(value.result().unwrap(), "same");
    assert_eq!(value.take_outcome().unwrap(), "same");
    assert!(matches!(value.take_outcome(), Err(TaskError::Taken)));
    assert_eq!(reports.len(), 0);
}

/// Done callbacks of tasks (FUT-08, FUT-09, FUT-10).
#[test]
fn done_callbacks_of_tasks_run_a_pass_later() {
    let lp = new_loop();
    let log = Log::new();
    let task = lp.create_task(async { 5 }).unwrap();
    let (seen, id) = (log.clone(), task.id());
    task.add_done_callback(move |task| {
        assert_eq!(task.id(), id);
        seen.add("first");
    });
    let off = task.add_done_callback(|_| unreachable!("taken off"));
    assert!(task.remove_done_callback(off));
    one_pass(&lp);
    assert!(task.done() && log.len() == 0);
    let seen = log.clone();
    task.add_done_callback(move |_| seen.add("late"));
    one_pass(&lp);
    assert_eq!(log, ["first", "late"]);
}

/// FUT-13, for tasks.
#[test]
fn any_number_of_tasks_may_await_one() {
    let lp = new_loop();
    let log = Log::new();
    let inner = lp.create_task(async { one_turn().await }).unwrap();
    let awaiters: Vec<_> = (0..5)
        .map(|n| {
            let (inner, log) = (inner.clone(), log.clone());
            lp.create_task(async move {
                (&inner).await.unwrap();
                log.add(n);
            })
            .unwrap()
        })
        .collect();
    (0..3).for_each(|_| one_pass(&lp));
    assert_eq!(log, [0, 1, 2, 3, 4]);
    assert!(awaiters.iter().all(|task| task.done()));
}

/// LIFE-17, LIFE-19.
#[test]
fn a_task_that_outlasts_its_run_goes_on_in_the_next() {
    let lp = new_loop();
    let future = lp.create_future();
    let waits = future.clone();
    let mut task = lp.create_task(async move { waits.await.unwrap() }).unwrap();
    lp.call_soon({
        let lp = lp.clone();
        move || lp.stop()
    })
    .unwrap();
    assert!(matches!(lp.run_until_complete(&mut task), Err(LoopError::StoppedBeforeComplete)));
    assert!(!task.done());
    // It ends during a run that is for something else, and does not end that.
    future.set_result(9).unwrap();
    let (lp2, passes) = (lp.clone(), lp.passes());
    lp.call_soon(move || {
        let lp3 = lp2.clone();
        lp2.call_soon(move || {
            drop(lp3.call_soon({
                let lp = lp3.clone();
                move || lp.stop()
            }))
        })
        .unwrap();
    })
    .unwrap();
    lp.run_forever().unwrap();
    assert_eq!(lp.passes() - passes, 3);
    assert_eq!(lp.run_until_complete(&mut task).unwrap().unwrap(), 9);
}

/// LIFE-13, LIFE-16: a run ends one pass after its coroutine did.
#[test]
fn what_is_queued_with_the_end_of_a_coroutine_still_runs() {
    let lp = new_loop();
    let log = Log::new();
    let borrowed = String::from("borrowed");
    let seen = log.clone();
    let length = lp
        .run_until_complete(async {
            running().call_soon(seen.adds("just before the end")).unwrap();
            borrowed.len()
        })
        .unwrap();
    assert_eq!((length, log.take(), lp.passes()), (8, vec!["just before the end"], 2));
}

/// LIFE-18.
#[test]
fn with_stop_called_before_only_a_single_step_fits() {
    let lp = new_loop();
    lp.stop();
    assert_eq!(lp.run_until_complete(async { 1 }).unwrap(), 1);
    lp.stop();
    let alive = Alive::none();
    let captured = alive.clone();
    let result = lp.run_until_complete(async move {
        let _captured = captured;
        one_turn().await;
    });
    assert!(matches!(result, Err(LoopError::StoppedBeforeComplete)));
    assert_eq!(alive.others(), 0);
    assert!(lp.all_tasks().is_empty());
}

/// LIFE-21.
#[test]
fn other_tasks_outlast_a_run_untouched() {
    let lp = new_loop();
    let turns = Rc::new(Cell::new(0));
    let counted = Rc::clone(&turns);
    let background = lp
        .create_task(async move {
            for _ in 0..10 {
                one_turn().await;
                counted.set(counted.get() + 1);
            }
        })
        .unwrap();
    lp.run_until_complete(one_turn()).unwrap();
    let before = turns.get();
    assert!(before > 0 && !background.done());
    lp.run_until_complete(&background).unwrap().unwrap();
    assert_eq!(turns.get(), 10);
}

/// FUT-21, LIFE-30: a refused coroutine is dropped.
#[test]
fn a_closed_loop_refuses_tasks() {
    let lp = new_loop();
    lp.close().unwrap();
    let alive = Alive::none();
    let captured = alive.clone();
    assert!(matches!(lp.create_task(async move { drop(captured) }), Err(LoopError::Closed)));
    assert_eq!(alive.others(), 0);
}

/// LIFE-27: tasks of a closed loop stay pending, and whoever awaits one elsewhere is told.
#[test]
fn tasks_of_a_closed_loop_are_pending_for_ever() {
    let lp = new_loop();
    let _ = collect_reports(&lp);
    let alive = Alive::none();
    let captured = alive.clone();
    let task = lp
        .create_task(async move {
            let _captured = captured;
            pending::<()>().await;
        })
        .unwrap();
    one_pass(&lp);
    lp.close().unwrap();
    assert_eq!(alive.others(), 0, "their coroutines are dropped");
    assert!(!task.done() && !task.cancelled() && !task.cancel());
    assert!(matches!(task.take_outcome(), Err(TaskError::Abandoned)));
    let mut waker_of_nobody = std::task::Context::from_waker(std::task::Waker::noop());
    let mut awaits = pin!(task);
    assert!(matches!(awaits.as_mut().poll(&mut waker_of_nobody), Poll::Ready(Err(TaskError::Abandoned))));
}
