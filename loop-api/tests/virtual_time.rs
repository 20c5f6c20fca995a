//! Programs under virtual time: hours of timers in no time, and always the same way.

mod loops;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use loop_api::{EventLoop, LoopBuilder, TaskError, catch_cancelled};
use loop_core::testing::VirtualBackend;
use loops::{Log, virtual_loop};

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn running() -> EventLoop {
    EventLoop::running().expect("called from a task")
}

/// What a user writes: the program as it is, a day of it, and no waiting.
#[test]
fn a_day_of_a_program_passes_at_once() {
    let backend = VirtualBackend::new();
    let clock = backend.clock();
    let lp = LoopBuilder::new(Box::new(backend)).build();
    let start = clock.now();
    let beats = lp
        .run_until_complete(async {
            let beats = Rc::new(Cell::new(0));
            let counted = Rc::clone(&beats);
            let heart = running()
                .create_task(async move {
                    loop {
                        running().sleep_for(secs(60)).await;
                        counted.set(counted.get() + 1);
                    }
                })
                .unwrap();
            running().sleep_for(secs(24 * 3600)).await;
            heart.cancel();
            assert!(matches!(heart.await, Err(TaskError::Cancelled(_))));
            beats.get()
        })
        .unwrap();
    assert_eq!(clock.now() - start, secs(24 * 3600));
    // The beat of the last minute and the end of the day are of one moment, set in this order.
    assert!((1439..=1440).contains(&beats), "{beats}");
}

/// TIME-04: deadlines decide, whatever the order of setting, over any stretch of time.
#[test]
fn sleepers_wake_in_the_order_of_their_deadlines() {
    let (lp, clock) = virtual_loop();
    let (log, start) = (Log::new(), clock.now());
    let mut state = 12345u64;
    let mut expected = Vec::new();
    for n in 0..2000u64 {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let delay = Duration::from_nanos(state >> 20);
        expected.push((delay, n));
        let log = log.clone();
        lp.create_task(async move {
            running().sleep_for(delay).await;
            log.add((running().time(), n));
        })
        .unwrap();
    }
    expected.sort();
    lp.call_later(secs(24 * 3600), {
        let lp = lp.clone();
        move || lp.stop()
    })
    .unwrap();
    lp.run_forever().unwrap();
    let woken = log.take();
    assert_eq!(woken.iter().map(|entry| entry.1).collect::<Vec<_>>(), expected.iter().map(|e| e.1).collect::<Vec<_>>());
    assert!(woken.iter().zip(&expected).all(|(woken, expected)| woken.0 - start >= expected.0));
}

/// The same program takes the same course each time.
#[test]
fn a_program_takes_the_same_course_each_time() {
    let course = || {
        let (lp, _) = virtual_loop();
        let log = Log::new();
        for n in 1..20u64 {
            let log = log.clone();
            lp.create_task(async move {
                for round in 0..n {
                    running().sleep_for(Duration::from_millis(n * 7 + round * 3)).await;
                    log.add((running().time(), n, round));
                }
            })
            .unwrap();
        }
        lp.call_later(60.0, {
            let lp = lp.clone();
            move || lp.stop()
        })
        .unwrap();
        lp.run_forever().unwrap();
        (log.take(), lp.passes())
    };
    assert_eq!(course(), course());
}

/// A retry with a growing pause, as users write it, tested to the second.
#[test]
fn a_backoff_can_be_tested_to_the_second() {
    async fn with_backoff(mut attempt: impl FnMut() -> Result<u32, ()>) -> (u32, Duration) {
        let start = running().time();
        let mut pause = secs(1);
        loop {
            if let Ok(value) = attempt() {
                return (value, running().time() - start);
            }
            running().sleep_for(pause).await;
            pause *= 2;
        }
    }
    let (lp, _) = virtual_loop();
    let mut failures = 10;
    let attempt = || {
        failures -= 1;
        if failures > 0 { Err(()) } else { Ok(7) }
    };
    assert_eq!(lp.run_until_complete(with_backoff(attempt)).unwrap(), (7, secs(511)));
}

/// Cleaning up after a cancellation may take its time.
#[test]
fn a_clean_up_that_takes_an_hour() {
    let (lp, clock) = virtual_loop();
    let (log, start) = (Rc::new(RefCell::new(Vec::new())), clock.now());
    let seen = Rc::clone(&log);
    let note = move |what| seen.borrow_mut().push((what, running().time() - start));
    let job = lp
        .create_task(async move {
            if let Err(cancelled) = catch_cancelled(running().sleep_for(secs(1_000_000))).await {
                note("asked to end");
                running().sleep_for(secs(3600)).await;
                note("cleaned up");
                cancelled.raise::<()>().await;
            }
        })
        .unwrap();
    lp.call_later(10.0, {
        let job = job.clone();
        move || assert!(job.cancel())
    })
    .unwrap();
    assert!(lp.run_until_complete(job).unwrap().unwrap_err().is_cancelled());
    assert_eq!(*log.borrow(), [("asked to end", secs(10)), ("cleaned up", secs(3610))]);
}

/// A job in another thread takes no time on the clock, which waits for it: a timeout beside it does not overtake it.
#[test]
fn the_clock_waits_for_jobs_of_other_threads() {
    struct ThreadPerJob;
    impl loop_api::Executor for ThreadPerJob {
        fn execute(&self, job: loop_api::Job) -> Result<(), loop_api::LoopError> {
            std::thread::Builder::new().spawn(move || job.run())?;
            Ok(())
        }
        fn shutdown(&self, _: bool, _: bool) {}
    }
    let (lp, clock) = virtual_loop();
    let executor: Arc<dyn loop_api::Executor> = Arc::new(ThreadPerJob);
    let start = clock.now();
    let (gate, opened) = std::sync::mpsc::channel::<()>();
    let timeout = lp.call_later(1.0, || unreachable!("the job was there first")).unwrap();
    let job = lp.run_in_executor(Some(&executor), move || opened.recv().is_ok()).unwrap();
    lp.call_soon(move || gate.send(()).unwrap()).unwrap();
    assert!(lp.run_until_complete(job).unwrap().unwrap());
    assert_eq!(clock.now(), start);
    timeout.cancel();
}
