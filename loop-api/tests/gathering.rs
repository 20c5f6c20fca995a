//! `gather`, `shield`, `wait` and `as_completed` beyond what the scenarios show: rows CH-10 to CH-12, CH-40 to CH-45.

mod loops;

use std::cell::RefCell;
use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use loop_api::{
    EventLoop, Fatal, LoopError, LoopTask, ReturnWhen, TaskError, TaskGroup, as_completed, catch_cancelled,
    create_task, gather, get_running_loop, new_event_loop, shield, sleep, wait, yield_now,
};
use loops::{Log, virtual_loop};

/// What the exception handler is told.
fn reports(event_loop: &EventLoop) -> Rc<RefCell<Vec<String>>> {
    let reports = Rc::new(RefCell::new(Vec::new()));
    let told = Rc::clone(&reports);
    event_loop.set_exception_handler(Some(Rc::new(move |_, context| told.borrow_mut().push(context.report()))));
    reports
}

/// Polls `inside` in the current task, beside something that takes the task's requests.
async fn beside_a_taker<F: Future>(inside: F, taken: &Log<&'static str>) -> F::Output {
    let mut inside = pin!(inside);
    poll_fn(|context| {
        let polled = inside.as_mut().poll(context);
        if polled.is_pending() && loop_core::cancellation::take().is_some() {
            taken.add("taken");
            context.waker().wake_by_ref();
        }
        polled
    })
    .await
}

/// CH-10: once it is over, or all children are done, there is nothing to cancel.
#[test]
fn cancelling_a_gather_that_is_over_does_nothing() {
    let (event_loop, _) = virtual_loop();
    event_loop
        .run_until_complete(async {
            let gathered = gather([create_task(async { 1 }).unwrap(), create_task(async { 2 }).unwrap()]);
            yield_now().await;
            assert!(!gathered.cancel(), "all children are done");
            yield_now().await;
            assert!(gathered.done() && !gathered.cancel());
            assert_eq!(gathered.await.unwrap().into_iter().map(Result::unwrap).collect::<Vec<_>>(), [1, 2]);
        })
        .unwrap();
    event_loop.close().unwrap();
}

/// CH-11: a child of another loop: tasks made for it are cancelled, what was given is as it was.
#[test]
fn a_refused_gather_leaves_what_was_given_alone() {
    let (event_loop, _) = virtual_loop();
    let stranger = new_event_loop().unwrap();
    let foreign = stranger.create_future::<u8>();
    event_loop
        .run_until_complete(async {
            let given = get_running_loop().unwrap().create_future::<u8>();
            let task = create_task(async { sleep(1.0).await.map_or(0, |()| 7) }).unwrap();
            let dropped = Rc::new(());
            let made = Rc::clone(&dropped);
            let coroutine = async move {
                let _made = made;
                pending::<Result<u8, TaskError>>().await
            };
            let given_task = task.clone();
            let refused = gather((given.clone(), coroutine, given_task, foreign));
            assert!(matches!(refused.await, Err(TaskError::Failed(_))));
            yield_now().await;
            yield_now().await;
            assert_eq!(Rc::strong_count(&dropped), 1, "what was made is gone");
            assert!(!given.done() && !task.done());
            given.set_result(3).unwrap();
            assert_eq!(given.await.unwrap(), 3);
            assert_eq!(task.await.unwrap(), 7);
        })
        .unwrap();
    stranger.close().unwrap();
    event_loop.close().unwrap();
}

/// Awaiting oneself among others would never end.
#[test]
fn gathering_oneself_is_an_error() {
    let (event_loop, _) = virtual_loop();
    event_loop
        .run_until_complete(async {
            let place: Rc<RefCell<Option<LoopTask<bool>>>> = Rc::default();
            let inside = Rc::clone(&place);
            let task = create_task(async move {
                yield_now().await;
                let this = inside.borrow().clone().expect("it is there by now");
                matches!(gather([this]).await, Err(TaskError::SelfAwait))
            })
            .unwrap();
            place.replace(Some(task.clone()));
            assert!(task.await.unwrap());
            place.take();
        })
        .unwrap();
    event_loop.close().unwrap();
}

/// CH-12: what fails after the gather is over was looked at.
#[test]
fn a_child_that_fails_later_is_not_reported() {
    let (event_loop, _) = virtual_loop();
    let told = reports(&event_loop);
    event_loop
        .run_until_complete(async {
            let late = async {
                yield_now().await;
                yield_now().await;
                yield_now().await;
                panic!("late");
            };
            assert!(matches!(gather((async { panic!("soon") }, late)).await, Err(TaskError::Panicked(_))));
            sleep(1.0).await.unwrap();
        })
        .unwrap();
    event_loop.close().unwrap();
    assert!(told.borrow().is_empty(), "{told:?}");
}

/// CH-40: what is done is given at once.
#[test]
fn a_shield_of_what_is_done_does_not_wait() {
    let (event_loop, _) = virtual_loop();
    event_loop
        .run_until_complete(async {
            let done = create_task(async { 1 }).unwrap();
            yield_now().await;
            let shielded = shield(done);
            assert!(shielded.done() && !shielded.cancel());
            assert_eq!(shielded.await.unwrap().unwrap(), 1);
        })
        .unwrap();
    event_loop.close().unwrap();
}

/// V14-09, for futures as for tasks: a failure after the shield was cancelled is told of, once.
#[test]
fn a_failure_inside_a_cancelled_shield_is_told_of() {
    let (event_loop, _) = virtual_loop();
    let told = reports(&event_loop);
    event_loop
        .run_until_complete(async {
            let future = get_running_loop().unwrap().create_future::<()>();
            let outer = create_task(shield(future.clone())).unwrap();
            yield_now().await;
            outer.cancel();
            assert!(outer.await.unwrap_err().is_cancelled());
            assert!(!future.done());
            future.set_exception(TaskError::failed(LoopError::Closed)).unwrap();
            yield_now().await;
        })
        .unwrap();
    event_loop.close().unwrap();
    let told = told.borrow();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("exception in shielded future"), "{told:?}");
}

/// A request that something beside the wait takes does not end the wait.
#[test]
fn waiting_goes_on_where_the_request_is_taken_beside_it() {
    let (event_loop, _) = virtual_loop();
    event_loop
        .run_until_complete(async {
            let taken = Log::new();
            let entry = taken.clone();
            let first = create_task(async { sleep(2.0).await.is_ok() }).unwrap();
            let waits = first.clone();
            let task = create_task(async move {
                let (done, pending) =
                    beside_a_taker(wait([waits.clone()], None, ReturnWhen::AllCompleted), &entry).await.unwrap();
                (done.len(), pending.len())
            })
            .unwrap();
            sleep(1.0).await.unwrap();
            task.cancel();
            assert_eq!(task.await.unwrap(), (1, 0));
            assert_eq!(taken, ["taken"]);

            let entry = taken.clone();
            let second = create_task(async { sleep(2.0).await.is_ok() }).unwrap();
            let task = create_task(async move {
                let completed = as_completed([second], None).unwrap();
                let next = beside_a_taker(completed.next_completed(), &entry).await;
                next.expect("one to come").unwrap().await.unwrap()
            })
            .unwrap();
            sleep(1.0).await.unwrap();
            task.cancel();
            assert!(task.await.unwrap());
            assert_eq!(taken, ["taken", "taken"]);
            assert!(first.done());
        })
        .unwrap();
    event_loop.close().unwrap();
}

/// CH-42 to CH-45: who asked first gets the first; a break can be resumed; nothing at all ends at once; the time limit
/// gives an error for each that is missing, which lives on.
#[test]
fn completions_come_to_whoever_asked_first() {
    let (event_loop, _) = virtual_loop();
    event_loop
        .run_until_complete(async {
            let after =
                |seconds: f64| create_task(async move { sleep(seconds).await.map_or(0.0, |()| seconds) }).unwrap();
            let completed = Rc::new(as_completed([after(3.0), after(1.0), after(2.0)], None).unwrap());
            let order = Log::new();
            for place in 0..2 {
                let (completed, entry) = (Rc::clone(&completed), order.clone());
                create_task(async move {
                    let next = completed.next_completed().await.unwrap().unwrap();
                    entry.add(format!("{place} got {}", next.await.unwrap()));
                })
                .unwrap();
            }
            sleep(2.5).await.unwrap();
            assert_eq!(order, ["0 got 1", "1 got 2"].map(String::from));
            // Those that are left, after the break.
            let last = completed.next_completed().await.unwrap().unwrap();
            assert!((last.await.unwrap() - 3.0).abs() < f64::EPSILON);
            assert!(completed.next_completed().await.is_none());

            let none: [LoopTask<()>; 0] = [];
            assert!(as_completed(none, None).unwrap().next_completed().await.is_none());

            let late = [after(5.0), after(6.0)];
            let completed = as_completed(late.clone(), 1.0).unwrap();
            for _ in 0..2 {
                let next = completed.next_completed().await.unwrap();
                assert!(matches!(next, Err(loop_api::Error::TimedOut)));
            }
            assert!(completed.next_completed().await.is_none());
            assert!(late.iter().all(|task| !task.done()));
            assert!(gather(late).await.is_ok(), "they live on");
        })
        .unwrap();
    event_loop.close().unwrap();
}

/// CH-49: a child that ends cancelled is no failure. CH-53: outside of a task there is no group.
#[test]
fn groups_at_their_edges() {
    let (event_loop, _) = virtual_loop();
    event_loop
        .run_until_complete(async {
            let ended = TaskGroup::scope(async |group: TaskGroup| {
                let child = group.create_task(async {
                    pending::<()>().await;
                    Ok(())
                })?;
                yield_now().await;
                child.cancel();
                yield_now().await;
                assert!(catch_cancelled(yield_now()).await.is_ok(), "the body is not interrupted");
                Ok(5)
            });
            assert_eq!(ended.await.unwrap(), 5);

            // A body that panics: the tasks clean up first, and the panic is the last of the failures.
            let log = Log::new();
            let entry = log.clone();
            let failed = TaskGroup::scope(async |group: TaskGroup| {
                group.create_task(async move {
                    let cancelled = catch_cancelled(pending::<()>()).await.unwrap_err();
                    yield_now().await;
                    entry.add("clean");
                    cancelled.raise::<loop_api::Result<()>>().await
                })?;
                yield_now().await;
                if group.unfinished() == 1 {
                    panic!("in the body");
                }
                Ok(())
            });
            let error = failed.await.unwrap_err();
            assert!(matches!(error.errors(), [loop_api::Error::Task(TaskError::Panicked(_))]), "{error}");
            assert_eq!(log, ["clean"]);
        })
        .unwrap();
    event_loop.close().unwrap();
    let mut outside = pin!(TaskGroup::scope(async |_: TaskGroup| -> loop_api::Result<()> { panic!("it ran") }));
    let polled = outside.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    let Poll::Ready(Err(error)) = polled else { panic!("it waits") };
    assert!(error.to_string().contains("inside a task"), "{error}");
}

/// CH-54: what leaves the loop does not become one of a group's failures; a body's leaves it when the tasks have cleaned up.
#[test]
fn a_fatal_error_leaves_a_group_bare() {
    let log = Log::new();
    for of_body in [true, false] {
        let (event_loop, _) = virtual_loop();
        let entry = log.clone();
        let left = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            event_loop.run_until_complete(TaskGroup::scope(async |group: TaskGroup| {
                group.create_task(async move {
                    let cancelled = catch_cancelled(pending::<()>()).await.unwrap_err();
                    sleep(1.0).await?;
                    entry.add("clean");
                    cancelled.raise::<loop_api::Result<()>>().await
                })?;
                yield_now().await;
                if of_body {
                    loop_api::fatal(Fatal::Exit(3));
                }
                group.create_task(async { loop_api::fatal(Fatal::Exit(3)) as loop_api::Result<()> })?;
                pending::<loop_api::Result<()>>().await
            }))
        }));
        assert_eq!(left.unwrap_err().downcast_ref(), Some(&Fatal::Exit(3)));
        assert_eq!(log, ["clean"], "a task's own leaves at once");
        event_loop.set_exception_handler(Some(Rc::new(|_, _| {})));
        event_loop.close().unwrap();
    }
}

/// A task of a group that panics while it cleans up is one more failure, and the others clean up all the same.
#[test]
fn a_panic_in_a_clean_up_leaves_the_others_theirs() {
    let (event_loop, _) = virtual_loop();
    let log = Log::new();
    let entry = log.clone();
    event_loop
        .run_until_complete(async move {
            let failed = TaskGroup::scope(async |group: TaskGroup| {
                group.create_task(async {
                    _ = catch_cancelled(pending::<()>()).await;
                    loops::quiet_panic("in a clean-up");
                    #[expect(unreachable_code, reason = "it tells the type")]
                    Ok(())
                })?;
                group.create_task(async move {
                    let cancelled = catch_cancelled(pending::<()>()).await.unwrap_err();
                    sleep(1.0).await?;
                    entry.add("clean");
                    cancelled.raise::<loop_api::Result<()>>().await
                })?;
                yield_now().await;
                Err::<(), _>(loop_api::Error::TimedOut)
            });
            let error = failed.await.unwrap_err();
            let [loop_api::Error::Task(TaskError::Panicked(panic)), loop_api::Error::TimedOut] = error.errors() else {
                panic!("{error}")
            };
            assert_eq!(panic.message(), "in a clean-up");
        })
        .unwrap();
    assert_eq!(log, ["clean"]);
    event_loop.close().unwrap();
}
