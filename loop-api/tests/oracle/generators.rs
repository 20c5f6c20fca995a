//! Async generators: their steps, and their clean-up on every way out.

use std::cell::RefCell;
use std::future::pending;
use std::rc::Rc;

use futures_util::StreamExt as _;
use loop_api::{
    AsyncGenerator, Thrown, async_generator, catch_cancelled, create_task, get_running_loop, run, yield_now,
};

use crate::stage::{Raised, Show, attempt, bare, in_a_task};

/// Gives numbers, and cleans up with awaits.
fn numbers(name: &'static str) -> AsyncGenerator<i32> {
    async_generator(async move |mut out| {
        for number in 0..100 {
            if out.emit(number).await.is_err() {
                break;
            }
        }
        trace!("{name} cleans up");
        yield_now().await;
        trace!("{name} is clean");
    })
}

async fn passes(count: u32) {
    for _ in 0..count {
        yield_now().await;
    }
}

/// Traces what a step gives; None at the end.
async fn step<T: Show>(label: &str, generator: &AsyncGenerator<T>) {
    attempt(label, generator.anext().await);
}

/// AGEN-01
#[test]
fn values_come_in_order_and_the_end_stays() {
    in_a_task(async || {
        let generator = async_generator(async |mut out| {
            out.emit(1).await?;
            out.emit(2).await?;
            Ok::<_, Thrown>(())
        });
        for number in 0..4 {
            step(&format!("step {number}"), &generator).await;
        }
        Ok(())
    });
}

/// AGEN-01
#[test]
fn a_generator_does_nothing_until_it_is_stepped() {
    in_a_task(async || {
        let generator = async_generator(async |mut out| {
            trace!("begins");
            out.emit(1).await?;
            trace!("ends");
            Ok::<_, Thrown>(())
        });
        trace!("made");
        step("first", &generator).await;
        trace!("between");
        step("second", &generator).await;
        Ok(())
    });
}

/// AGEN-02
#[test]
fn aclose_runs_the_clean_up() {
    in_a_task(async || {
        let generator = numbers("generator");
        step("step", &generator).await;
        attempt("aclose", generator.aclose().await);
        step("afterwards", &generator).await;
        attempt("again", generator.aclose().await);
        Ok(())
    });
}

/// AGEN-01
#[test]
fn closing_one_that_never_began_runs_nothing() {
    in_a_task(async || {
        let generator = numbers("never");
        attempt("aclose", generator.aclose().await);
        step("afterwards", &generator).await;
        Ok(())
    });
}

/// AGEN-02
#[test]
fn what_is_sent_arrives_at_the_yield() {
    in_a_task(async || {
        let generator: AsyncGenerator<String, Option<&str>> = AsyncGenerator::new(async |mut out| {
            let mut sent: Option<&str> = None;
            loop {
                sent = match out.emit(format!("got {}", sent.show())).await {
                    Ok(sent) => sent,
                    Err(thrown) => return Err::<(), Thrown>(thrown),
                };
            }
        });
        attempt("first", generator.anext().await);
        attempt("asend", generator.asend(Some("one")).await);
        attempt("asend", generator.asend(Some("two")).await);
        attempt("aclose", generator.aclose().await);
        Ok(())
    });
}

/// AGEN-02
#[test]
fn what_is_thrown_arrives_at_the_yield() {
    in_a_task(async || {
        let generator = async_generator(async |mut out| {
            if let Err(Thrown::Error(error)) = out.emit(String::from("first")).await {
                out.emit(format!("caught {error}")).await?;
            }
            Ok::<_, Thrown>(())
        });
        step("first", &generator).await;
        attempt("athrow", generator.athrow("x").await);
        step("end", &generator).await;
        Ok(())
    });
}

/// AGEN-02
#[test]
fn an_error_of_the_body_ends_it() {
    in_a_task(async || {
        let generator = async_generator(async |mut out| {
            out.emit(1).await.map_err(|_| Raised("GeneratorExit"))?;
            Err::<(), _>(Raised("ValueError: x"))
        });
        step("first", &generator).await;
        step("second", &generator).await;
        step("third", &generator).await;
        Ok(())
    });
}

/// AGEN-02, TASK-16
#[test]
fn a_generator_may_wait_between_its_values() {
    in_a_task(async || {
        let slow = async_generator(async |mut out| {
            for number in 0..2 {
                yield_now().await;
                out.emit(number).await?;
            }
            Ok::<_, Thrown>(())
        });
        let task = create_task(async {
            for number in 0..3 {
                trace!("other {number}");
                yield_now().await;
            }
        })?;
        let mut slow = std::pin::pin!(slow);
        while let Some(number) = slow.next().await {
            trace!("value {}", number?);
        }
        task.await?;
        Ok(())
    });
}

/// AGEN-06
#[test]
fn one_let_go_half_way_is_closed_by_the_loop() {
    in_a_task(async || {
        let generator = numbers("generator");
        step("step", &generator).await;
        drop(generator);
        trace!("let go");
        passes(5).await;
        trace!("end");
        Ok(())
    });
}

/// AGEN-02, AGEN-04
#[test]
fn shutdown_closes_what_is_open_once() {
    in_a_task(async || {
        let lp = get_running_loop()?;
        let (one, two, never) = (numbers("each"), numbers("each"), numbers("never"));
        step("one", &one).await;
        step("two", &two).await;
        lp.shutdown_asyncgens().await;
        trace!("shutdown: None");
        step("one", &one).await;
        lp.shutdown_asyncgens().await;
        trace!("again: None");
        never.aclose().await?;
        Ok(())
    });
}

/// AGEN-04
#[test]
fn a_shutdown_with_nothing_open_does_not_suspend() {
    in_a_task(async || {
        let lp = get_running_loop()?;
        lp.call_soon(|| trace!("next pass"))?;
        lp.shutdown_asyncgens().await;
        trace!("shutdown: None");
        yield_now().await;
        trace!("end");
        Ok(())
    });
}

/// AGEN-03
#[test]
fn a_clean_up_that_fails_is_reported_and_the_others_closed() {
    in_a_task(async || {
        let bad = async_generator(async |mut out| {
            _ = out.emit(1).await;
            Err::<(), _>(Raised("ValueError: x"))
        });
        let good = numbers("good");
        step("bad", &bad).await;
        step("good", &good).await;
        get_running_loop()?.shutdown_asyncgens().await;
        trace!("shutdown: None");
        Ok(())
    });
}

/// AGEN-05
#[test]
fn stepping_one_after_the_shutdown_works() {
    in_a_task(async || {
        get_running_loop()?.shutdown_asyncgens().await;
        let generator = numbers("late");
        step("step", &generator).await;
        attempt("aclose", generator.aclose().await);
        Ok(())
    });
}

/// AGEN-02
#[test]
fn one_step_at_a_time() {
    in_a_task(async || {
        let future = get_running_loop()?.create_future();
        let awaits = future.clone();
        let generator = Rc::new(async_generator(async move |mut out| {
            awaits.await.unwrap();
            out.emit(1).await?;
            Ok::<_, Thrown>(())
        }));
        let steps = Rc::clone(&generator);
        let task = create_task(async move { step("first", &steps).await })?;
        yield_now().await;
        step("second", &generator).await;
        future.set_result(())?;
        task.await?;
        Ok(())
    });
}

/// AGEN-02
#[test]
fn a_value_after_the_close_is_an_error() {
    in_a_task(async || {
        let generator = async_generator(async |mut out| {
            if out.emit(1).await.is_err() {
                _ = out.emit(2).await;
            }
        });
        step("step", &generator).await;
        attempt("aclose", generator.aclose().await);
        Ok(())
    });
}

/// AGEN-02, TASK-10
#[test]
fn cancelling_a_step_reaches_the_body() {
    in_a_task(async || {
        let generator = Rc::new(async_generator(async |mut out| {
            let ended = catch_cancelled(async {
                _ = out.emit(1).await;
                pending::<()>().await;
            })
            .await;
            trace!("cleans up");
            yield_now().await;
            trace!("is clean");
            if let Err(cancelled) = ended {
                cancelled.raise().await
            }
        }));
        let steps = Rc::clone(&generator);
        let task = create_task(async move {
            while let Some(value) = steps.anext().await.unwrap() {
                trace!("value {value}");
            }
        })?;
        passes(2).await;
        task.cancel();
        attempt("task", task.await);
        step("afterwards", &generator).await;
        Ok(())
    });
}

/// AGEN-02, RUN-04
#[test]
fn run_closes_what_main_left_open() {
    bare(|| {
        let generators = RefCell::default();
        run(async {
            let generator = numbers("generator");
            step("step", &generator).await;
            generators.replace(Some(generator));
            let background = async {
                if let Err(cancelled) = catch_cancelled(pending::<()>()).await {
                    trace!("background is cancelled");
                    cancelled.raise().await
                }
            };
            create_task(background).unwrap();
            yield_now().await;
            trace!("main ends");
        })?;
        trace!("after run");
        Ok(())
    });
}

/// AGEN-02, RUN-05
#[test]
fn run_closes_what_a_failed_main_left_open() {
    bare(|| {
        let generators = RefCell::default();
        run(async {
            let generator = numbers("generator");
            step("step", &generator).await;
            generators.replace(Some(generator));
            Err::<(), _>(Raised("ValueError: x"))
        })??;
        Ok(())
    });
}
