//! Task groups beyond what the scenarios show: rows CH-50 and CH-53.

mod loops;

use std::future::pending;

use loop_api::{Error, LoopError, TaskGroup, catch_cancelled, create_task, current_task, yield_now};
use loops::{Log, virtual_loop};

/// CH-50: a failure goes before the cancellation, which hits at the next suspension.
#[test]
fn a_failure_goes_before_a_cancellation_which_stays() {
    let (event_loop, _) = virtual_loop();
    let log = Log::new();
    let entry = log.clone();
    event_loop
        .run_until_complete(async move {
            let inner = entry.clone();
            let task = create_task(async move {
                let failed = TaskGroup::scope(async |group: TaskGroup| {
                    group.create_task(async {
                        match catch_cancelled(pending::<()>()).await {
                            Ok(()) => Ok(()),
                            Err(_) => Err(Error::TimedOut),
                        }
                    })?;
                    Ok(())
                });
                assert!(matches!(failed.await.unwrap_err().errors(), [Error::TimedOut]));
                inner.add(current_task().unwrap().unwrap().cancelling());
                if catch_cancelled(pending::<()>()).await.is_err() {
                    inner.add(100);
                }
            })?;
            yield_now().await;
            yield_now().await;
            task.cancel();
            task.await.unwrap();
            Ok::<_, LoopError>(())
        })
        .unwrap()
        .unwrap();
    assert_eq!(log, [1, 100]);
    event_loop.close().unwrap();
}

/// A body that ends while a request stands: the tasks are waited for.
#[test]
fn a_request_that_comes_as_the_body_ends_waits_for_the_tasks() {
    let (event_loop, _) = virtual_loop();
    let log = Log::new();
    let entry = log.clone();
    event_loop
        .run_until_complete(async move {
            let inner = entry.clone();
            let task = create_task(TaskGroup::scope(async move |group: TaskGroup| {
                group.create_task(async move {
                    let cancelled = catch_cancelled(pending::<()>()).await.unwrap_err();
                    yield_now().await;
                    inner.add("clean");
                    cancelled.raise::<loop_api::Result<()>>().await
                })?;
                // Takes the step's request for its own, and ends in that very step.
                while current_task()?.expect("a task").cancelling() == 0 {
                    let waker = std::future::poll_fn(|context| std::task::Poll::Ready(context.waker().clone())).await;
                    let mut polled = false;
                    std::future::poll_fn(|_| {
                        waker.wake_by_ref();
                        if std::mem::replace(&mut polled, true) {
                            std::task::Poll::Ready(())
                        } else {
                            std::task::Poll::Pending
                        }
                    })
                    .await;
                }
                Ok(())
            }))?;
            yield_now().await;
            yield_now().await;
            task.cancel();
            assert!(task.await.unwrap_err().is_cancelled());
            entry.add("ended");
            Ok::<_, LoopError>(())
        })
        .unwrap()
        .unwrap();
    assert_eq!(log, ["clean", "ended"]);
    event_loop.close().unwrap();
}
