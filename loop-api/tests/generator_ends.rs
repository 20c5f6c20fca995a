//! Async generators at their ends: as a stream, failing while they clean up, and let go of in a scope (AGEN-03 to 06).

mod logs;
mod loops;

use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::task::Poll;

use futures_util::StreamExt as _;
use loop_api::{
    AsyncGenerator, Error, LoopError, SharedError, TaskError, Thrown, async_generator, create_task, get_running_loop,
    sleep, timeout, yield_now,
};
use loops::{Log, Mine, collect_reports, quiet_panic, virtual_loop};

/// One value, and a clean-up that takes some time.
fn slow(log: &Log<&'static str>) -> AsyncGenerator<u32> {
    let log = log.clone();
    async_generator(move |mut out| async move {
        out.emit(1).await.ok();
        sleep(1.0).await.unwrap();
        log.add("clean");
    })
}

/// As a `Stream`: values, then the error that ended it, then nothing.
#[test]
fn a_generator_is_a_stream_of_results() {
    let (event_loop, _) = virtual_loop();
    event_loop
        .run_until_complete(async {
            let mut stream = async_generator(|mut out| async move {
                for number in 0..2 {
                    out.emit(number).await?;
                    sleep(1.0).await.map_err(|_| Thrown::Outside)?;
                }
                Err::<(), _>(Thrown::Error(SharedError::new("broken")))
            });
            assert_eq!(stream.next().await.unwrap().unwrap(), 0);
            assert_eq!(stream.next().await.unwrap().unwrap(), 1);
            assert_eq!(stream.next().await.unwrap().unwrap_err().to_string(), "broken");
            assert!(stream.next().await.is_none());
            assert!(stream.next().await.is_none());
        })
        .unwrap();
    event_loop.close().unwrap();
}

/// A panic of the body is the caller's, and the generator is at its end.
#[test]
fn a_panic_of_the_body_goes_on_in_whoever_steps_it() {
    let (event_loop, _) = virtual_loop();
    event_loop
        .run_until_complete(async {
            let broken = std::rc::Rc::new(async_generator(|mut out| async move {
                if out.emit(1).await.is_ok() {
                    quiet_panic("in the body");
                }
            }));
            assert_eq!(broken.anext().await.unwrap(), Some(1));
            let stepped = std::rc::Rc::clone(&broken);
            let ended = create_task(async move { stepped.anext().await.unwrap() }).unwrap().await;
            let Err(TaskError::Panicked(panic)) = ended else { panic!("{ended:?}") };
            assert_eq!(panic.message(), "in the body");
            assert_eq!(broken.anext().await.unwrap(), None);
            broken.aclose().await.unwrap();
        })
        .unwrap();
    event_loop.close().unwrap();
}

/// AGEN-03: what fails in its clean-up, by an error, a panic or a destructor, is reported once each, a cancellation is not;
/// the others are closed to their end.
#[test]
fn failures_of_clean_ups_are_reported_and_the_others_are_closed() {
    let (event_loop, _) = virtual_loop();
    let (log, reports) = (Log::new(), collect_reports(&event_loop));
    event_loop
        .run_until_complete(async {
            let panics = async_generator(|mut out| async move {
                if out.emit(1).await.is_err() {
                    yield_now().await;
                    quiet_panic("in the clean-up");
                }
            });
            let destructor = async_generator(|mut out| async move {
                let _mine = Mine("in a destructor");
                out.emit(1).await.ok();
            });
            let fails = async_generator(|mut out| async move {
                out.emit(1).await.ok();
                Err::<(), _>("an error")
            });
            let cancelled = async_generator(|mut out| async move {
                out.emit(1).await.ok();
                let task = create_task(pending::<()>())?;
                yield_now().await;
                task.cancel();
                task.await?;
                Ok::<_, LoopError>(())
            });
            let cancelled_too = async_generator(|mut out| async move {
                out.emit(1).await.ok();
                let task = create_task(pending::<()>())?;
                yield_now().await;
                task.cancel();
                Ok::<_, Error>(task.await?)
            });
            let fine = slow(&log);
            for generator in [&panics, &destructor, &fails, &cancelled, &cancelled_too, &fine] {
                assert_eq!(generator.anext().await.unwrap(), Some(1));
            }
            get_running_loop().unwrap().shutdown_asyncgens().await;
            assert_eq!(log, ["clean"]);
            // At their end, all of them.
            for generator in [&panics, &destructor, &fails, &cancelled, &cancelled_too, &fine] {
                assert_eq!(generator.anext().await.unwrap(), None);
            }
        })
        .unwrap();
    event_loop.close().unwrap();
    let mut failures: Vec<String> = Vec::new();
    for report in reports.take() {
        assert!(report.message.as_deref().unwrap().starts_with("an error occurred during closing of asynchronous"));
        assert!(report.get("asyncgen").is_some());
        failures.push(report.exception.as_ref().unwrap().to_string());
    }
    failures.sort();
    assert_eq!(failures.len(), 3, "{failures:?}");
    for (failure, text) in failures.iter().zip(["an error", "in a destructor", "in the clean-up"]) {
        assert!(failure.contains(text), "{failure}");
    }
}

/// AGEN-04, AGEN-05: with nothing open it does not suspend, and counts all the same: a new one's first step is warned of,
/// and works.
#[test]
fn shutting_down_nothing_does_not_suspend_and_is_remembered() {
    let ((), records) = logs::capture(|| {
        let (event_loop, _) = virtual_loop();
        let log = Log::new();
        event_loop
            .run_until_complete(async {
                let mut shutdown = pin!(get_running_loop().unwrap().shutdown_asyncgens());
                let at_once = poll_fn(|context| Poll::Ready(shutdown.as_mut().poll(context).is_ready())).await;
                assert!(at_once);
                let late = slow(&log);
                assert_eq!(late.anext().await.unwrap(), Some(1));
                get_running_loop().unwrap().shutdown_asyncgens().await;
                assert_eq!(log, ["clean"], "it is known again");
            })
            .unwrap();
        event_loop.close().unwrap();
    });
    let complaints = logs::complaints(&records);
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert!(complaints[0].contains("was scheduled after loop.shutdown_asyncgens() call"), "{complaints:?}");
}

/// AGEN-06, in the ways in which tasks and scopes let go: a cancelled task, a time limit, a panic.
#[test]
fn whatever_lets_go_of_one_has_it_closed() {
    let (event_loop, _) = virtual_loop();
    let log = Log::new();
    event_loop
        .run_until_complete(async {
            let held = |log: &Log<&'static str>| {
                let generator = slow(log);
                async move {
                    generator.anext().await.unwrap();
                    pending::<()>().await;
                    drop(generator);
                }
            };
            let task = create_task(held(&log)).unwrap();
            yield_now().await;
            task.cancel();
            assert!(task.await.unwrap_err().is_cancelled());
            assert_eq!(log.len(), 0, "by a task of its own");
            sleep(2.0).await.unwrap();
            assert_eq!(log, ["clean"]);

            assert!(matches!(timeout(1.0, held(&log)).await, Err(Error::TimedOut)));
            sleep(2.0).await.unwrap();
            assert_eq!(log, ["clean", "clean"]);

            let generator = slow(&log);
            let task = create_task(async move {
                generator.anext().await.unwrap();
                quiet_panic("beside it");
            })
            .unwrap();
            assert!(matches!(task.await, Err(TaskError::Panicked(_))));
            sleep(2.0).await.unwrap();
            assert_eq!(log, ["clean", "clean", "clean"]);
        })
        .unwrap();
    event_loop.close().unwrap();
}

/// `Thrown` is an error of the loop's like any other.
#[test]
fn a_thrown_error_becomes_the_librarys() {
    let error = LoopError::from(Thrown::GeneratorExit);
    assert!(matches!(error, LoopError::Thrown(Thrown::GeneratorExit)), "{error:?}");
    assert!(error.to_string().contains("GeneratorExit"));
}
