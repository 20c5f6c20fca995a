//! The barrier: when it opens, who is counted, and what breaks it.

mod loops;

use std::rc::Rc;

use futures_util::{FutureExt as _, poll};
use loop_api::{Barrier, Error, LoopError, LoopTask, catch_cancelled, create_task, yield_now};
use loops::{Log, new_loop};
use proptest::prelude::*;

async fn passes(count: usize) {
    for _ in 0..count {
        yield_now().await;
    }
}

fn party(barrier: &Rc<Barrier>) -> LoopTask<Result<usize, Error>> {
    let barrier = Rc::clone(barrier);
    create_task(async move { barrier.wait().await }).unwrap()
}

async fn indices(tasks: Vec<LoopTask<Result<usize, Error>>>) -> Vec<usize> {
    let mut indices = Vec::new();
    for task in tasks {
        indices.push(task.await.unwrap().unwrap());
    }
    indices
}

/// LOCK-18.
#[test]
fn a_barrier_is_for_somebody() {
    assert!(matches!(Barrier::new(0), Err(Error::Loop(LoopError::InvalidArgument(_)))));
    let alone = Barrier::new(1).unwrap();
    for _ in 0..3 {
        assert!(matches!(alone.wait().now_or_never(), Some(Ok(0))));
    }
    assert_eq!((alone.parties(), alone.n_waiting(), alone.broken()), (1, 0, false));
}

/// LOCK-18: any number of times, and a wait in a row for each task.
#[test]
fn all_go_on_when_the_last_one_arrives() {
    let (lp, log) = (new_loop(), Log::new());
    lp.run_until_complete(async {
        let barrier = Rc::new(Barrier::new(3).unwrap());
        let tasks: Vec<_> = (0..3)
            .map(|name| {
                let (barrier, log) = (Rc::clone(&barrier), log.clone());
                create_task(async move {
                    for round in 0..3 {
                        passes(name).await;
                        let index = barrier.wait().await.unwrap();
                        log.add((round, index));
                    }
                })
                .unwrap()
            })
            .collect();
        passes(2).await;
        assert_eq!(format!("{barrier:?}"), "<Barrier [filling, waiters:2/3]>");
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(format!("{barrier:?}"), "<Barrier [filling, waiters:0/3]>");
    })
    .unwrap();
    let log = log.take();
    assert!(log.is_sorted_by_key(|(round, _)| *round));
    for round in 0..3 {
        let mut indices: Vec<_> = log[round * 3..round * 3 + 3].iter().map(|(_, index)| *index).collect();
        assert_eq!(indices[0], 2, "the last one did not wait");
        indices.sort_unstable();
        assert_eq!(indices, [0, 1, 2]);
    }
}

/// LOCK-18, LOCK-19: one who leaves is not counted, and all who are have numbers of their own.
#[test]
fn a_cancelled_waiter_just_leaves() {
    let lp = new_loop();
    lp.run_until_complete(async {
        let barrier = Rc::new(Barrier::new(3).unwrap());
        let mut tasks = vec![party(&barrier), party(&barrier)];
        passes(1).await;
        let gone = tasks.remove(0);
        gone.cancel();
        assert!(gone.await.is_err());
        assert_eq!((barrier.n_waiting(), barrier.broken()), (1, false));
        tasks.push(party(&barrier));
        passes(2).await;
        assert_eq!(barrier.n_waiting(), 2);
        tasks.push(party(&barrier));
        assert_eq!(indices(tasks).await, [0, 1, 2]);
    })
    .unwrap();
}

/// LOCK-19: a newcomer is not counted before those are gone that it found there.
#[test]
fn newcomers_wait_while_it_drains() {
    let lp = new_loop();
    lp.run_until_complete(async {
        let barrier = Rc::new(Barrier::new(2).unwrap());
        let first = party(&barrier);
        passes(1).await;
        assert_eq!(barrier.wait().await.unwrap(), 1);
        assert_eq!(format!("{barrier:?}"), "<Barrier [draining, waiters:0/2]>");
        let mut early = Box::pin(barrier.wait());
        let mut late = Box::pin(barrier.wait());
        assert!(poll!(&mut early).is_pending() && poll!(&mut late).is_pending());
        assert_eq!((barrier.n_waiting(), first.done()), (0, false));
        assert_eq!(first.await.unwrap().unwrap(), 0);
        assert!(poll!(&mut early).is_pending());
        assert_eq!(barrier.n_waiting(), 1);
        assert_eq!((late.await.unwrap(), early.await.unwrap()), (1, 0));
    })
    .unwrap();
}

/// LOCK-19, TASK-12: cancelled when it was free to go; the others do not wait for it.
#[test]
fn one_that_is_cancelled_while_it_drains_is_gone() {
    let lp = new_loop();
    lp.run_until_complete(async {
        let barrier = Rc::new(Barrier::new(2).unwrap());
        let waits = Rc::clone(&barrier);
        let first = create_task(async move { catch_cancelled(waits.wait()).await.is_err() }).unwrap();
        passes(1).await;
        barrier.wait().await.unwrap();
        first.cancel();
        let next = vec![party(&barrier), party(&barrier)];
        assert!(first.await.unwrap());
        assert_eq!(indices(next).await, [0, 1]);
        let mut dropped = Box::pin(barrier.wait());
        assert!(poll!(&mut dropped).is_pending());
        barrier.wait().await.unwrap();
        drop(dropped);
        assert_eq!(format!("{barrier:?}"), "<Barrier [filling, waiters:0/2]>");
    })
    .unwrap();
}

/// LOCK-20.
#[test]
fn an_aborted_barrier_is_broken_until_it_is_reset() {
    let lp = new_loop();
    lp.run_until_complete(async {
        let barrier = Rc::new(Barrier::new(3).unwrap());
        let waits = [party(&barrier), party(&barrier)];
        passes(1).await;
        barrier.abort();
        assert_eq!(format!("{barrier:?}"), "<Barrier [broken]>");
        assert_eq!((barrier.n_waiting(), barrier.broken()), (0, true));
        for task in waits {
            assert!(matches!(task.await.unwrap(), Err(Error::BrokenBarrier)));
        }
        assert!(matches!(barrier.wait().await, Err(Error::BrokenBarrier)));
        barrier.reset();
        assert!(!barrier.broken());
        let tasks = (0..3).map(|_| party(&barrier)).collect();
        assert_eq!(indices(tasks).await, [0, 1, 2]);
    })
    .unwrap();
}

/// LOCK-20: those who come after the reset are not mixed up with those whom it sends home.
#[test]
fn a_reset_sends_home_those_who_wait() {
    let lp = new_loop();
    lp.run_until_complete(async {
        let barrier = Rc::new(Barrier::new(2).unwrap());
        barrier.reset();
        let waits = party(&barrier);
        passes(1).await;
        barrier.reset();
        assert_eq!((barrier.n_waiting(), barrier.broken()), (0, false));
        let later = vec![party(&barrier), party(&barrier)];
        assert!(matches!(waits.await.unwrap(), Err(Error::BrokenBarrier)));
        assert_eq!(indices(later).await, [0, 1]);
        // Aborted, and reset before they have noticed.
        let waits = party(&barrier);
        passes(1).await;
        barrier.abort();
        barrier.reset();
        let later = vec![party(&barrier), party(&barrier)];
        assert!(matches!(waits.await.unwrap(), Err(Error::BrokenBarrier)));
        assert_eq!(indices(later).await, [0, 1]);
    })
    .unwrap();
}

/// LOCK-06. One who is refused is not counted.
#[test]
fn a_barrier_belongs_to_the_loop_in_which_somebody_waited() {
    let (first, second) = (new_loop(), new_loop());
    let barrier = Rc::new(Barrier::new(2).unwrap());
    assert!(matches!(barrier.wait().now_or_never(), Some(Err(Error::Loop(LoopError::NoRunningLoop)))));
    assert_eq!(barrier.n_waiting(), 0);
    let waits = Rc::clone(&barrier);
    let task = first.create_task(async move { waits.wait().await }).unwrap();
    loops::one_pass(&first);
    // It is the last of them, and need not wait.
    assert_eq!(second.run_until_complete(barrier.wait()).unwrap().unwrap(), 1);
    let refused = second.run_until_complete(barrier.wait()).unwrap();
    assert!(matches!(refused, Err(Error::Loop(LoopError::WrongLoop))));
    assert_eq!(first.run_until_complete(task).unwrap().unwrap().unwrap(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// LOCK-18, LOCK-19: whoever is cancelled whenever, it opens whenever enough are there, and nobody is counted twice.
    #[test]
    fn it_opens_whoever_is_cancelled(cancelled in prop::collection::vec((0..12usize, 0..3usize), 0..8)) {
        let lp = new_loop();
        let (done, expected, waiting) = lp
            .run_until_complete(async {
                let barrier = Rc::new(Barrier::new(3).unwrap());
                let tasks: Vec<_> = (0..12).map(|_| party(&barrier)).collect();
                for (name, pause) in cancelled {
                    passes(pause).await;
                    tasks[name].cancel();
                }
                passes(100).await;
                let gone = tasks.iter().filter(|task| task.cancelled()).count();
                let done = tasks.iter().filter(|task| task.done()).count() - gone;
                let waiting = barrier.n_waiting();
                (done, 12 - gone - waiting, waiting)
            })
            .unwrap();
        prop_assert_eq!(done, expected);
        prop_assert!(waiting < 3);
    }
}
