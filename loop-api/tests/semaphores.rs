//! Semaphores: how many get in, in which order, and that no permit is lost.

mod loops;

use std::cell::Cell;
use std::rc::Rc;

use futures_util::{FutureExt as _, poll};
use loop_api::{BoundedSemaphore, Error, LoopError, LoopTask, Semaphore, catch_cancelled, create_task, yield_now};
use loops::{Log, new_loop};
use proptest::prelude::*;

async fn passes(count: usize) {
    for _ in 0..count {
        yield_now().await;
    }
}

/// A task that takes a permit for good.
fn taker(semaphore: &Rc<Semaphore>, log: &Log<usize>, name: usize) -> LoopTask<()> {
    let (semaphore, log) = (Rc::clone(semaphore), log.clone());
    create_task(async move {
        semaphore.acquire().await.unwrap();
        log.add(name);
    })
    .unwrap()
}

/// LOCK-14.
#[test]
fn permits_are_counted() {
    let semaphore = Semaphore::new(1);
    assert_eq!(format!("{semaphore:?}"), "<Semaphore [unlocked, value:1]>");
    let permit = semaphore.permit().now_or_never().unwrap().unwrap();
    assert!(semaphore.locked());
    drop(permit);
    // There may be more of them than at the beginning.
    semaphore.release();
    for _ in 0..2 {
        assert!(!semaphore.locked());
        semaphore.acquire().now_or_never().unwrap().unwrap();
    }
    assert!(semaphore.locked());
    assert!(Semaphore::new(0).locked());
    let all = Semaphore::new(usize::MAX);
    all.release();
    assert_eq!(format!("{all:?}"), format!("<Semaphore [unlocked, value:{}]>", usize::MAX));
}

/// LOCK-14.
#[test]
fn those_who_wait_get_in_in_their_order() {
    let (lp, log) = (new_loop(), Log::new());
    lp.run_until_complete(async {
        let semaphore = Rc::new(Semaphore::new(2));
        let takers: Vec<_> = (0..6).map(|name| taker(&semaphore, &log, name)).collect();
        passes(1).await;
        assert_eq!(log, [0, 1]);
        assert_eq!(format!("{semaphore:?}"), "<Semaphore [locked, waiters:4]>");
        semaphore.release();
        semaphore.release();
        passes(1).await;
        assert_eq!(log, [0, 1, 2, 3]);
        semaphore.release();
        semaphore.release();
        for taker in takers {
            taker.await.unwrap();
        }
        assert_eq!(log, [0, 1, 2, 3, 4, 5]);
    })
    .unwrap();
}

/// LOCK-15: also where a permit is free, as long as one that was woken has not run.
#[test]
fn a_newcomer_does_not_pass_those_who_wait() {
    let (lp, log) = (new_loop(), Log::new());
    lp.run_until_complete(async {
        let semaphore = Rc::new(Semaphore::new(0));
        let waits = taker(&semaphore, &log, 0);
        passes(1).await;
        semaphore.release();
        semaphore.release();
        assert!(semaphore.locked());
        semaphore.acquire().await.unwrap();
        log.add(1);
        waits.await.unwrap();
        assert_eq!(log, [0, 1]);
        assert_eq!(format!("{semaphore:?}"), "<Semaphore [locked]>");
    })
    .unwrap();
}

/// LOCK-16: cancelled before its turn, and when it has just been given a permit.
#[test]
fn a_cancelled_waiter_gives_its_permit_to_the_next() {
    let (lp, log) = (new_loop(), Log::new());
    lp.run_until_complete(async {
        let semaphore = Rc::new(Semaphore::new(0));
        let takers: Vec<_> = (0..3).map(|name| taker(&semaphore, &log, name)).collect();
        passes(1).await;
        takers[0].cancel();
        passes(1).await;
        semaphore.release();
        takers[1].cancel();
        for (name, taker) in takers.into_iter().enumerate() {
            assert_eq!(taker.await.is_ok(), name == 2);
        }
        assert_eq!(log, [2]);
        assert!(semaphore.locked());
    })
    .unwrap();
}

/// LOCK-16, with nobody there to take it: it is back in the count.
#[test]
fn a_dropped_waiter_gives_its_permit_back() {
    let lp = new_loop();
    lp.run_until_complete(async {
        let semaphore = Semaphore::new(0);
        let mut waits = Box::pin(semaphore.permit());
        assert!(poll!(&mut waits).is_pending());
        semaphore.release();
        drop(waits);
        assert_eq!(format!("{semaphore:?}"), "<Semaphore [unlocked, value:1]>");
    })
    .unwrap();
}

/// LOCK-16, TASK-12.
#[test]
fn a_request_wins_over_a_permit_that_is_there() {
    let lp = new_loop();
    lp.run_until_complete(async {
        let semaphore = Rc::new(Semaphore::new(0));
        let wants = Rc::clone(&semaphore);
        let task = create_task(async move { catch_cancelled(wants.acquire()).await.is_err() }).unwrap();
        passes(1).await;
        semaphore.release();
        task.cancel();
        assert!(task.await.unwrap());
        assert!(!semaphore.locked());
    })
    .unwrap();
}

/// LOCK-17.
#[test]
fn a_bounded_semaphore_is_not_released_too_often() {
    let semaphore = BoundedSemaphore::new(2);
    assert!(matches!(semaphore.release(), Err(Error::TooManyReleases)));
    semaphore.acquire().now_or_never().unwrap().unwrap();
    semaphore.release().unwrap();
    assert!(matches!(semaphore.release(), Err(Error::TooManyReleases)));
    let permit = semaphore.permit().now_or_never().unwrap().unwrap();
    semaphore.release().unwrap();
    drop(permit);
    assert_eq!(format!("{semaphore:?}"), "<BoundedSemaphore [unlocked, value:2]>");
}

/// LOCK-17: a permit on its way to a waiter is not there to be exceeded.
#[test]
fn a_bounded_semaphore_counts_what_it_has_given() {
    let lp = new_loop();
    lp.run_until_complete(async {
        let semaphore = BoundedSemaphore::default();
        let held = semaphore.permit().await.unwrap();
        let mut waits = Box::pin(semaphore.permit());
        assert!(poll!(&mut waits).is_pending());
        drop(held);
        let got = waits.await.unwrap();
        assert!(semaphore.locked());
        drop(got);
        assert!(matches!(semaphore.release(), Err(Error::TooManyReleases)));
    })
    .unwrap();
}

/// LOCK-06.
#[test]
fn a_semaphore_belongs_to_the_loop_in_which_somebody_waited() {
    let (first, second) = (new_loop(), new_loop());
    let semaphore = Rc::new(Semaphore::new(0));
    assert!(matches!(semaphore.acquire().now_or_never(), Some(Err(LoopError::NoRunningLoop))));
    let wants = Rc::clone(&semaphore);
    let task = first.create_task(async move { wants.acquire().await }).unwrap();
    loops::one_pass(&first);
    assert!(matches!(second.run_until_complete(semaphore.acquire()).unwrap(), Err(LoopError::WrongLoop)));
    semaphore.release();
    first.run_until_complete(task).unwrap().unwrap().unwrap();
    semaphore.release();
    second.run_until_complete(semaphore.acquire()).unwrap().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// LOCK-14, LOCK-16: whoever is cancelled whenever, never are too many in, all others get in, and every permit is
    /// there in the end.
    #[test]
    fn no_permit_is_lost_whoever_is_cancelled(
        permits in 1..4usize,
        cancelled in prop::collection::vec((0..12usize, 0..3usize), 0..12),
    ) {
        let lp = new_loop();
        let (most, ends, semaphore) = lp
            .run_until_complete(async {
                let semaphore = Rc::new(Semaphore::new(permits));
                let (within, most, entered) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)), Log::new());
                let tasks: Vec<_> = (0..12)
                    .map(|name| {
                        let (semaphore, entered) = (Rc::clone(&semaphore), entered.clone());
                        let (within, most) = (Rc::clone(&within), Rc::clone(&most));
                        create_task(async move {
                            let _permit = semaphore.permit().await.unwrap();
                            entered.add(name);
                            within.set(within.get() + 1);
                            most.set(most.get().max(within.get()));
                            let passed = catch_cancelled(passes(1 + name % 3)).await;
                            within.set(within.get() - 1);
                            passed.is_ok()
                        })
                        .unwrap()
                    })
                    .collect();
                for (name, pause) in cancelled {
                    passes(pause).await;
                    tasks[name].cancel();
                }
                passes(100).await;
                assert!(entered.take().is_sorted());
                (most.get(), tasks.iter().all(|task| task.done()), format!("{semaphore:?}"))
            })
            .unwrap();
        prop_assert!(most <= permits && ends);
        prop_assert_eq!(semaphore, format!("<Semaphore [unlocked, value:{permits}]>"));
    }
}
