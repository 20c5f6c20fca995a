//! Async generators: stepping, and the asynchronous clean-up on every way out (AGEN-01 to AGEN-06).

mod loops;

use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use loop_api::{
    AsyncGenerator, EventLoop, LoopError, Runner, TaskError, Thrown, async_generator, catch_cancelled, create_task,
    get_running_loop, sleep, yield_now,
};
use loops::{Log, collect_reports, messages, new_loop, one_pass, quiet_panic, virtual_loop};

/// On the machine's backend, and in virtual time.
fn on_each(test: impl Fn(&EventLoop)) {
    for event_loop in [new_loop(), virtual_loop().0] {
        test(&event_loop);
        event_loop.close().unwrap();
    }
}

/// Numbers from 0; its clean-up takes a few passes.
fn numbers(log: &Log<&'static str>) -> AsyncGenerator<u32> {
    let log = log.clone();
    async_generator(move |mut out| async move {
        for number in 0.. {
            if out.emit(number).await.is_err() {
                break;
            }
        }
        log.add("cleaning");
        sleep(Duration::from_millis(1)).await.unwrap();
        log.add("clean");
    })
}

/// Gives one value, then waits for ever, and cleans up as Python's `try … finally` does.
fn stuck(log: &Log<&'static str>) -> AsyncGenerator<u32> {
    let log = log.clone();
    async_generator(move |mut out| async move {
        let ended = catch_cancelled(async {
            if out.emit(0).await.is_ok() {
                pending::<()>().await;
            }
        })
        .await;
        log.add("cleaning");
        yield_now().await;
        log.add("clean");
        if let Err(cancelled) = ended {
            cancelled.raise::<()>().await;
        }
    })
}

#[test]
fn values_come_in_order_and_the_end_stays() {
    on_each(|event_loop| {
        event_loop
            .run_until_complete(async {
                let three = async_generator(|mut out| async move {
                    for number in 0..3 {
                        out.emit(number).await?;
                        yield_now().await;
                    }
                    Ok::<_, Thrown>(())
                });
                for number in 0..3 {
                    assert_eq!(three.anext().await.unwrap(), Some(number));
                }
                assert_eq!(three.anext().await.unwrap(), None);
                assert_eq!(three.anext().await.unwrap(), None);
                three.aclose().await.unwrap();
            })
            .unwrap();
    });
}

#[test]
fn what_is_sent_and_thrown_arrives_at_the_emit() {
    on_each(|event_loop| {
        event_loop
            .run_until_complete(async {
                let echo: AsyncGenerator<String, u32> = AsyncGenerator::new(|mut out| async move {
                    let mut text = String::from("first");
                    loop {
                        text = match out.emit(text).await {
                            Ok(sent) => format!("sent {sent}"),
                            Err(Thrown::Error(error)) => format!("thrown {error}"),
                            Err(other) => return Err(other),
                        };
                    }
                });
                assert!(matches!(echo.asend(1).await, Err(LoopError::InvalidState(_))));
                assert_eq!(echo.anext().await.unwrap().unwrap(), "first");
                assert_eq!(echo.asend(7).await.unwrap().unwrap(), "sent 7");
                assert_eq!(echo.athrow("stone").await.unwrap().unwrap(), "thrown stone");
                // A body that lets GeneratorExit through is closed in order.
                echo.aclose().await.unwrap();
                assert_eq!(echo.anext().await.unwrap(), None);

                let fresh: AsyncGenerator<()> = async_generator(|_| pending::<()>());
                let failed = fresh.athrow("early").await.unwrap_err();
                assert_eq!(failed.to_string(), "early");
                assert_eq!(fresh.anext().await.unwrap(), None);
            })
            .unwrap();
    });
}

#[test]
fn a_failing_body_fails_its_step_and_is_finished() {
    on_each(|event_loop| {
        event_loop
            .run_until_complete(async {
                let failing = async_generator(|mut out| async move {
                    out.emit(1).await?;
                    Err::<(), Box<dyn std::error::Error + Send + Sync>>("broken".into())
                });
                assert_eq!(failing.anext().await.unwrap(), Some(1));
                assert_eq!(failing.anext().await.unwrap_err().to_string(), "broken");
                assert_eq!(failing.anext().await.unwrap(), None);
            })
            .unwrap();
    });
}

/// AGEN-01
#[test]
fn one_never_stepped_is_dropped_as_it_is() {
    on_each(|event_loop| {
        let log = Log::new();
        event_loop
            .run_until_complete(async {
                drop(numbers(&log));
                numbers(&log).aclose().await.unwrap();
                let kept = numbers(&log);
                get_running_loop().unwrap().shutdown_asyncgens().await;
                assert_eq!(kept.anext().await.unwrap(), Some(0));
                kept.aclose().await.unwrap();
            })
            .unwrap();
        assert_eq!(log, ["cleaning", "clean"], "only the one that was stepped, and later than the shutdown");
    });
}

/// AGEN-06
#[test]
fn one_dropped_half_way_is_closed_by_a_task() {
    on_each(|event_loop| {
        let log = Log::new();
        event_loop
            .run_until_complete(async {
                let dropped = numbers(&log);
                dropped.anext().await.unwrap();
                let tasks = loop_api::all_tasks().unwrap().len();
                drop(dropped);
                assert_eq!(loop_api::all_tasks().unwrap().len(), tasks + 1);
                assert_eq!(log.len(), 0, "not within drop");
                sleep(Duration::from_millis(50)).await.unwrap();
                get_running_loop().unwrap().shutdown_asyncgens().await;
            })
            .unwrap();
        assert_eq!(log, ["cleaning", "clean"]);
    });
}

/// AGEN-06
#[test]
fn one_dropped_while_the_loop_rests_is_closed_in_the_next_run() {
    on_each(|event_loop| {
        let log = Log::new();
        let kept = event_loop
            .run_until_complete(async {
                let kept = numbers(&log);
                kept.anext().await.unwrap();
                kept
            })
            .unwrap();
        drop(kept);
        assert_eq!(log.len(), 0);
        event_loop.run_until_complete(event_loop.shutdown_asyncgens()).unwrap();
        assert_eq!(log, ["cleaning", "clean"]);
    });
}

#[test]
fn a_finaliser_that_is_cancelled_finishes_all_the_same() {
    on_each(|event_loop| {
        let log = Log::new();
        event_loop
            .run_until_complete(async {
                let mine = loop_api::current_task().unwrap().unwrap();
                let dropped = numbers(&log);
                dropped.anext().await.unwrap();
                drop(dropped);
                for _ in 0..3 {
                    // Before its first step at first, then within it.
                    loop_api::all_tasks().unwrap().iter().filter(|task| **task != mine).for_each(|task| {
                        task.cancel();
                    });
                    yield_now().await;
                }
                get_running_loop().unwrap().shutdown_asyncgens().await;
            })
            .unwrap();
        assert_eq!(log, ["cleaning", "clean"]);
    });
}

#[test]
fn a_request_reaches_the_await_in_the_body() {
    on_each(|event_loop| {
        let log = Log::new();
        event_loop
            .run_until_complete(async {
                let generator = Rc::new(stuck(&log));
                generator.anext().await.unwrap();
                let task = create_task({
                    let generator = Rc::clone(&generator);
                    async move { generator.anext().await }
                })
                .unwrap();
                yield_now().await;
                task.cancel();
                assert!(matches!(task.await, Err(TaskError::Cancelled(_))), "passed on after the clean-up");
                assert_eq!(log, ["cleaning", "clean"]);
                assert_eq!(generator.anext().await.unwrap(), None);
                generator.aclose().await.unwrap();
            })
            .unwrap();
        assert_eq!(log, ["cleaning", "clean"]);
    });
}

#[test]
fn closing_reaches_an_await_whose_step_was_dropped() {
    on_each(|event_loop| {
        for explicit in [true, false] {
            let log = Log::new();
            event_loop
                .run_until_complete(async {
                    let generator = stuck(&log);
                    generator.anext().await.unwrap();
                    let mut step = generator.anext();
                    std::future::poll_fn(|context| {
                        assert!(std::pin::Pin::new(&mut step).poll(context).is_pending());
                        std::task::Poll::Ready(())
                    })
                    .await;
                    drop(step);
                    assert_eq!(log.len(), 0, "a step that is dropped without a request loses nothing");
                    if explicit {
                        generator.aclose().await.unwrap();
                    } else {
                        drop(generator);
                        get_running_loop().unwrap().shutdown_asyncgens().await;
                    }
                })
                .unwrap();
            assert_eq!(log, ["cleaning", "clean"]);
        }
    });
}

/// AGEN-02, AGEN-03, AGEN-04, AGEN-05
#[test]
fn shutdown_closes_all_and_reports_what_fails() {
    on_each(|event_loop| {
        let (log, reports) = (Log::new(), collect_reports(event_loop));
        event_loop
            .run_until_complete(async {
                let event_loop = get_running_loop().unwrap();
                let (one, two) = (numbers(&log), numbers(&log));
                let failing = async_generator(|mut out| async move {
                    out.emit(1).await.ok();
                    Err::<(), _>("broken")
                });
                one.anext().await.unwrap();
                failing.anext().await.unwrap();
                two.anext().await.unwrap();
                event_loop.shutdown_asyncgens().await;
                assert_eq!(log, ["cleaning", "cleaning", "clean", "clean"], "all at once");
                event_loop.shutdown_asyncgens().await;
                assert_eq!(log.len(), 4);
                let late = numbers(&log);
                late.anext().await.unwrap();
                event_loop.shutdown_asyncgens().await;
                assert_eq!(log.len(), 6);
            })
            .unwrap();
        let reports = reports.take();
        assert_eq!(reports.len(), 1);
        let text = reports[0].message.as_deref().unwrap();
        assert!(
            text.starts_with("an error occurred during closing of asynchronous generator <AsyncGenerator"),
            "{text}"
        );
        assert_eq!(reports[0].exception.as_ref().unwrap().to_string(), "broken");
        assert!(reports[0].get("asyncgen").is_some());
    });
}

#[test]
fn misuse_is_an_error() {
    on_each(|event_loop| {
        let outside = event_loop
            .run_until_complete(async {
                let generator = Rc::new(async_generator(|mut out| async move {
                    yield_now().await;
                    out.emit(1).await.ok();
                    out.emit(2).await.ok();
                }));
                let first = create_task({
                    let generator = Rc::clone(&generator);
                    async move { generator.anext().await }
                })
                .unwrap();
                yield_now().await;
                assert!(matches!(generator.anext().await, Err(LoopError::GeneratorRunning)));
                assert!(matches!(generator.aclose().await, Err(LoopError::GeneratorRunning)));
                assert_eq!(first.await.unwrap().unwrap(), Some(1));
                assert!(matches!(generator.aclose().await, Err(LoopError::IgnoredGeneratorExit)));
                assert_eq!(generator.anext().await.unwrap(), None);

                let mut yielder = None;
                let idle: AsyncGenerator<()> = async_generator(|out| {
                    yielder = Some(out);
                    async {}
                });
                assert!(matches!(yielder.unwrap().emit(()).await, Err(Thrown::Outside)));
                drop(idle);
                let elsewhere = async_generator(|mut out| async move {
                    out.emit(1).await.ok();
                });
                elsewhere.anext().await.unwrap();
                elsewhere
            })
            .unwrap();
        let (other, _) = virtual_loop();
        let refused = other.run_until_complete(async { outside.anext().await }).unwrap();
        assert!(matches!(refused, Err(LoopError::Task(TaskError::WrongLoop))));
        other.close().unwrap();
    });
}

#[test]
fn a_loop_closed_over_an_open_one_drops_and_reports_it() {
    let (event_loop, _) = virtual_loop();
    let (log, reports) = (Log::new(), collect_reports(&event_loop));
    let open = event_loop
        .run_until_complete(async {
            let open = numbers(&log);
            open.anext().await.unwrap();
            open
        })
        .unwrap();
    event_loop.close().unwrap();
    let texts = messages(&reports);
    assert!(texts[0].starts_with("asynchronous generator was destroyed"), "{texts:?}");
    assert_eq!(texts.len(), 1);
    drop(open);
    assert_eq!(log.len(), 0);
}

#[test]
fn a_runner_closes_what_is_open_on_every_way_out() {
    for way in ["break", "kept", "panic", "stop", "cancel"] {
        let log = Log::new();
        let kept = Rc::new(std::cell::RefCell::new(None));
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut runner = Runner::builder().loop_factory(loop_api::new_event_loop).build();
            let ended = runner.run(async {
                let generator = numbers(&log);
                generator.anext().await.unwrap();
                match way {
                    "kept" => *kept.borrow_mut() = Some(generator),
                    "panic" => quiet_panic("the main coroutine"),
                    "stop" => {
                        get_running_loop().unwrap().stop();
                        pending::<()>().await;
                    }
                    "cancel" => {
                        loop_api::current_task().unwrap().unwrap().cancel();
                        pending::<()>().await;
                    }
                    _ => {}
                }
            });
            runner.close().unwrap();
            ended
        }));
        assert_eq!(log, ["cleaning", "clean"], "{way}");
        assert_eq!(ended.is_err(), way == "panic");
    }
}

#[test]
fn one_dropped_in_a_callback_is_closed() {
    on_each(|event_loop| {
        let log = Log::new();
        let held = event_loop
            .run_until_complete(async {
                let held = numbers(&log);
                held.anext().await.unwrap();
                held
            })
            .unwrap();
        event_loop.call_soon(move || drop(held)).unwrap();
        one_pass(event_loop);
        event_loop.run_until_complete(event_loop.shutdown_asyncgens()).unwrap();
        assert_eq!(log, ["cleaning", "clean"]);
    });
}
