//! Time limits beyond what the scenarios show: rows CH-22 to CH-36.

mod loops;

use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::task::Poll;

use loop_api::{
    Error, LoopError, Timeout, catch_cancelled, create_task, current_task, get_running_loop, sleep, timeout, wait_for,
    yield_now,
};
use loops::{Log, virtual_loop};

/// Runs two futures in one task, as a combinator of another crate would, until both are done.
async fn both<A: Future, B: Future>(one: A, two: B) -> (A::Output, B::Output) {
    let (mut one, mut two) = (pin!(one), pin!(two));
    let (mut first, mut second) = (None, None);
    poll_fn(move |context| {
        if first.is_none()
            && let Poll::Ready(value) = one.as_mut().poll(context)
        {
            first = Some(value);
        }
        if second.is_none()
            && let Poll::Ready(value) = two.as_mut().poll(context)
        {
            second = Some(value);
        }
        match (&first, &second) {
            (Some(_), Some(_)) => Poll::Ready((first.take().expect("ready"), second.take().expect("ready"))),
            _ => Poll::Pending,
        }
    })
    .await
}

/// The task's own count.
fn cancelling() -> u32 {
    current_task().unwrap().expect("in a task").cancelling()
}

/// Two limits side by side in one task: each takes its own request, also while the other one's clean-up lasts.
#[test]
fn two_limits_in_one_task_do_not_mistake_each_other() {
    let (event_loop, _) = virtual_loop();
    event_loop
        .run_until_complete(async {
            let slow = timeout(1.0, async {
                assert!(catch_cancelled(pending::<()>()).await.is_err());
                assert_eq!(cancelling(), 1, "inside, it is counted");
                sleep(10.0).await.unwrap();
                assert_eq!(cancelling(), 1);
                "cleaned up"
            });
            let quick = timeout(2.0, async {
                assert_eq!(cancelling(), 0);
                let taken = catch_cancelled(pending::<()>()).await;
                assert_eq!(cancelling(), 1, "the other one's is not counted here");
                taken.unwrap_err().raise::<()>().await
            });
            let (slow, quick) = both(slow, quick).await;
            assert_eq!(slow.unwrap(), "cleaned up");
            assert!(matches!(quick, Err(Error::TimedOut)));
            assert_eq!(cancelling(), 0);
            assert!(catch_cancelled(yield_now()).await.is_ok(), "nothing stands");
        })
        .unwrap();
    event_loop.close().unwrap();
}

/// A limit that is dropped while what is inside still cleans up leaves neither a request nor a count.
#[test]
fn a_limit_that_is_dropped_while_it_expires_leaves_nothing_behind() {
    let (event_loop, _) = virtual_loop();
    event_loop
        .run_until_complete(async {
            let outer = timeout(
                2.0,
                timeout(1.0, async {
                    let first = catch_cancelled(pending::<()>()).await;
                    assert!(first.is_err());
                    pending::<()>().await;
                }),
            );
            assert!(matches!(outer.await, Err(Error::TimedOut)));
            assert_eq!(cancelling(), 0);
            let mut limited = Box::pin(timeout(1.0, async {
                assert!(catch_cancelled(pending::<()>()).await.is_err());
                pending::<()>().await;
            }));
            poll_fn(|context| {
                assert!(limited.as_mut().poll(context).is_pending());
                Poll::Ready(())
            })
            .await;
            sleep(2.0).await.unwrap();
            poll_fn(|context| {
                assert!(limited.as_mut().poll(context).is_pending());
                Poll::Ready(())
            })
            .await;
            drop(limited);
            assert_eq!(cancelling(), 0);
            sleep(1.0).await.unwrap();
        })
        .unwrap();
    event_loop.close().unwrap();
}

/// A panic in the clean-up goes through, and takes the request with it.
#[test]
fn a_panic_while_it_expires_leaves_no_request_behind() {
    let (event_loop, _) = virtual_loop();
    event_loop
        .run_until_complete(async {
            let mut limited = Box::pin(timeout(1.0, async {
                _ = catch_cancelled(pending::<()>()).await;
                panic!("in the clean-up");
            }));
            let caught = poll_fn(|context| {
                let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| limited.as_mut().poll(context)));
                match polled {
                    Ok(Poll::Pending) => Poll::Pending,
                    Ok(Poll::Ready(_)) => Poll::Ready(false),
                    Err(_) => Poll::Ready(true),
                }
            })
            .await;
            assert!(caught);
            assert_eq!(cancelling(), 0);
            assert!(catch_cancelled(yield_now()).await.is_ok());
        })
        .unwrap();
    event_loop.close().unwrap();
}

/// CH-32: a cancellation from elsewhere that comes with the end of the time goes on outward, and is no time-out.
#[test]
fn a_cancellation_beside_the_end_of_the_time_wins() {
    let (event_loop, _) = virtual_loop();
    let log = Log::new();
    let entry = log.clone();
    event_loop
        .run_until_complete(async move {
            let inside = entry.clone();
            let task = create_task(async move {
                let limited = timeout(1.0, async {
                    assert!(catch_cancelled(pending::<()>()).await.is_err());
                    inside.add("interrupted");
                    catch_cancelled(sleep(10.0)).await.unwrap_err().raise::<()>().await;
                });
                let outcome = catch_cancelled(limited).await;
                inside.add(if outcome.is_err() { "cancelled" } else { "timed out" });
                assert_eq!(cancelling(), 1, "the one from elsewhere");
            })?;
            sleep(2.0).await?;
            task.cancel();
            task.await.unwrap();
            Ok::<_, LoopError>(())
        })
        .unwrap()
        .unwrap();
    assert_eq!(log, ["interrupted", "cancelled"]);
    event_loop.close().unwrap();
}

/// CH-27, CH-28, CH-31: what is not a number is refused before anything runs; no limit is none; a negative one is over.
#[test]
fn limits_of_all_kinds() {
    let (event_loop, _) = virtual_loop();
    event_loop
        .run_until_complete(async {
            let refused = timeout(f64::NAN, async { panic!("it ran") });
            assert!(matches!(refused.await, Err(Error::Loop(LoopError::InvalidArgument(_)))));
            assert_eq!(timeout(None, async { 1 }).await.unwrap(), 1);
            assert!(matches!(timeout(-1.0, pending::<()>()).await, Err(Error::TimedOut)));
            // Whatever does not suspend is not bounded.
            assert_eq!(timeout(-1.0, async { 2 }).await.unwrap(), 2);
        })
        .unwrap();
    // Outside of a task there is nobody to cancel.
    event_loop.close().unwrap();
    let mut outside = Box::pin(timeout(1.0, async {}));
    let polled = outside.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    assert!(matches!(polled, Poll::Ready(Err(Error::Loop(LoopError::NoRunningLoop)))));
}

/// CH-29, CH-30, CH-31: the deadline is moved while it counts, and only then; one that has passed hits in the next pass.
#[test]
fn a_deadline_is_moved_while_it_counts() {
    let (event_loop, _) = virtual_loop();
    event_loop
        .run_until_complete(async {
            let now = || get_running_loop().unwrap().time();
            let limit = Timeout::new(1.0).unwrap();
            assert!(matches!(limit.reschedule(2.0), Err(Error::Loop(LoopError::InvalidState(_)))), "not entered");
            let moved = limit.clone();
            let start = now();
            let work = create_task(async move { limit.run(sleep(100.0)).await }).unwrap();
            sleep(0.5).await.unwrap();
            assert!(moved.reschedule(f64::NAN).is_err());
            moved.reschedule(start + std::time::Duration::from_secs(7)).unwrap();
            assert_eq!(moved.when(), Some(start + std::time::Duration::from_secs(7)));
            sleep(5.0).await.unwrap();
            assert!(!work.done() && !moved.expired());
            // None at all; and then one that has passed.
            moved.reschedule(None).unwrap();
            sleep(50.0).await.unwrap();
            assert!(!work.done());
            moved.reschedule(start).unwrap();
            let passed = now();
            assert!(matches!(work.await.unwrap(), Err(Error::TimedOut)));
            assert_eq!(now(), passed);
            assert!(moved.expired());
            assert!(matches!(moved.reschedule(1.0), Err(Error::Loop(LoopError::InvalidState(_)))), "over");
            assert!(matches!(moved.run(async {}).await, Err(Error::Loop(LoopError::InvalidState(_)))), "used");
        })
        .unwrap();
    event_loop.close().unwrap();
}

/// CH-34: nested limits: the inner one's time-out is an error of the inner one; an outer one that hits first goes through.
#[test]
fn nested_limits_tell_whose_time_was_over() {
    let (event_loop, _) = virtual_loop();
    event_loop
        .run_until_complete(async {
            let outcome = timeout(10.0, timeout(1.0, pending::<()>())).await;
            assert!(matches!(outcome, Ok(Err(Error::TimedOut))));
            let outcome = timeout(1.0, timeout(10.0, pending::<()>())).await;
            assert!(matches!(outcome, Err(Error::TimedOut)));
            assert_eq!(cancelling(), 0);
        })
        .unwrap();
    event_loop.close().unwrap();
}

/// CH-22, CH-23, CH-24: a value that the clean-up gives is the outcome; no time at all does not start a coroutine.
#[test]
fn waiting_for_something_with_and_without_time() {
    let (event_loop, _) = virtual_loop();
    event_loop
        .run_until_complete(async {
            let stubborn = async { catch_cancelled(pending::<u8>()).await.unwrap_or(7) };
            assert_eq!(wait_for(stubborn, 1.0).await.unwrap(), 7);
            assert!(matches!(wait_for(async { panic!("it ran") }, 0.0).await, Err(Error::TimedOut)));
            let done = create_task(async { 1 }).unwrap();
            yield_now().await;
            assert_eq!(wait_for(done, 0.0).await.unwrap().unwrap(), 1);
            // One that is not done is cancelled, and waited for.
            let log = Log::new();
            let entry = log.clone();
            let slow = create_task(async move {
                let cancelled = catch_cancelled(pending::<()>()).await.unwrap_err();
                sleep(1.0).await.unwrap();
                entry.add("clean");
                cancelled.raise::<()>().await
            })
            .unwrap();
            yield_now().await;
            assert!(matches!(wait_for(slow.clone(), 0.0).await, Err(Error::TimedOut)));
            assert_eq!(log, ["clean"]);
            assert!(slow.cancelled());
            // Cancelling the wait cancels what is waited for.
            let inner = create_task(pending::<()>()).unwrap();
            let outer = create_task(wait_for(inner.clone(), 10.0)).unwrap();
            yield_now().await;
            outer.cancel();
            assert!(outer.await.unwrap_err().is_cancelled());
            assert!(inner.cancelled());
        })
        .unwrap();
    event_loop.close().unwrap();
}

/// CH-25: a result that comes in the very pass in which the time is over comes too late.
#[test]
fn the_end_of_the_time_goes_before_a_result_of_the_same_pass() {
    let (event_loop, _) = virtual_loop();
    event_loop
        .run_until_complete(async {
            let event_loop = get_running_loop().unwrap();
            let future = event_loop.create_future::<u8>();
            let when = event_loop.time() + std::time::Duration::from_secs(1);
            let sets = future.clone();
            event_loop.call_at(when, move || sets.set_result(1).unwrap()).unwrap();
            assert!(matches!(loop_api::timeout_at(when, &future).await, Err(Error::TimedOut)));
            assert_eq!(event_loop.time(), when);
            assert_eq!(cancelling(), 0);
        })
        .unwrap();
    event_loop.close().unwrap();
}

/// CH-36: requests that were swallowed before do not count against a limit.
#[test]
fn a_limit_counts_from_what_was_counted_before() {
    let (event_loop, _) = virtual_loop();
    event_loop
        .run_until_complete(async {
            current_task().unwrap().unwrap().cancel();
            assert!(catch_cancelled(pending::<()>()).await.is_err());
            assert_eq!(cancelling(), 1);
            assert!(matches!(timeout(1.0, pending::<()>()).await, Err(Error::TimedOut)));
            assert_eq!(cancelling(), 1);
        })
        .unwrap();
    event_loop.close().unwrap();
}
