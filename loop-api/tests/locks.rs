//! The lock: who gets it and when, and that no wake-up is lost.

mod loops;

use std::pin::pin;
use std::rc::Rc;

use futures_util::{FutureExt as _, poll};
use loop_api::{Error, EventLoop, Lock, LoopError, LoopTask, catch_cancelled, create_task, current_task, yield_now};
use loops::{Log, new_loop};
use proptest::prelude::*;

/// A task that takes the lock, tells so, and gives it back a pass later.
fn holder(lock: &Rc<Lock>, log: &Log<usize>, name: usize) -> LoopTask<()> {
    let (lock, log) = (Rc::clone(lock), log.clone());
    let holds = async move {
        let _guard = lock.lock().await.unwrap();
        log.add(name);
        yield_now().await;
    };
    create_task(holds).unwrap()
}

/// LOCK-01.
#[test]
fn a_free_lock_needs_no_loop() {
    let lock = Lock::new();
    let guard = lock.lock().now_or_never().unwrap().unwrap();
    assert!(lock.locked());
    drop(guard);
    assert!(!lock.locked());
    lock.acquire().now_or_never().unwrap().unwrap();
    assert_eq!(format!("{lock:?}"), "<Lock [locked]>");
    lock.release().unwrap();
    assert_eq!(format!("{lock:?}"), "<Lock [unlocked]>");
}

/// LOCK-01, LOCK-02.
#[test]
fn a_newcomer_does_not_pass_those_who_wait() {
    let (lp, log) = (new_loop(), Log::new());
    lp.run_until_complete(async {
        let lock = Rc::new(Lock::new());
        lock.acquire().await.unwrap();
        let waiters: Vec<_> = (0..3).map(|name| holder(&lock, &log, name)).collect();
        yield_now().await;
        lock.release().unwrap();
        assert!(!lock.locked(), "free, and reserved for the one that was woken");
        assert_eq!(format!("{lock:?}"), "<Lock [unlocked, waiters:3]>");
        let _guard = lock.lock().await.unwrap();
        assert_eq!(log, [0, 1, 2]);
        for waiter in waiters {
            waiter.await.unwrap();
        }
    })
    .unwrap();
}

/// LOCK-03.
#[test]
fn a_free_lock_cannot_be_released() {
    let lock = Lock::new();
    assert!(matches!(lock.release(), Err(Error::NotLocked)));
    let guard = lock.lock().now_or_never().unwrap().unwrap();
    lock.release().unwrap();
    assert!(matches!(lock.release(), Err(Error::NotLocked)));
    drop(guard);
    assert!(!lock.locked());
}

/// LOCK-03: one task takes it, and another one gives it back.
#[test]
fn any_task_may_release() {
    let lp = new_loop();
    lp.run_until_complete(async {
        let lock = Rc::new(Lock::new());
        lock.acquire().await.unwrap();
        let releases = Rc::clone(&lock);
        let other = create_task(async move { releases.release() }).unwrap();
        let mut again = pin!(lock.acquire());
        assert!(poll!(again.as_mut()).is_pending(), "not reentrant");
        again.await.unwrap();
        other.await.unwrap().unwrap();
        assert!(lock.locked());
    })
    .unwrap();
}

/// LOCK-03: a guard ends its own hold, and no other.
#[test]
fn a_guard_that_came_too_late_releases_nothing() {
    let lock = Lock::new();
    let first = lock.lock().now_or_never().unwrap().unwrap();
    lock.release().unwrap();
    let second = lock.lock().now_or_never().unwrap().unwrap();
    drop(first);
    assert!(lock.locked());
    drop(second);
    assert!(!lock.locked());
}

/// LOCK-05: of those who wait, one is cancelled before it is its turn, and one when it has just been woken.
#[test]
fn a_cancelled_waiter_keeps_nobody_waiting() {
    let (lp, log) = (new_loop(), Log::new());
    lp.run_until_complete(async {
        let lock = Rc::new(Lock::new());
        lock.acquire().await.unwrap();
        let waiters: Vec<_> = (0..4).map(|name| holder(&lock, &log, name)).collect();
        yield_now().await;
        waiters[1].cancel();
        yield_now().await;
        assert_eq!(format!("{lock:?}"), "<Lock [locked, waiters:3]>");
        lock.release().unwrap();
        waiters[0].cancel();
        for (name, waiter) in waiters.into_iter().enumerate() {
            assert_eq!(waiter.await.is_err(), name < 2);
        }
        assert_eq!(log, [2, 3]);
        assert_eq!(format!("{lock:?}"), "<Lock [unlocked]>");
    })
    .unwrap();
}

/// LOCK-05, for whoever polls by hand: a future dropped at any moment.
#[test]
fn a_dropped_waiter_hands_its_turn_on() {
    let lp = new_loop();
    lp.run_until_complete(async {
        let lock = Lock::new();
        lock.acquire().await.unwrap();
        let mut first = Box::pin(lock.lock());
        let mut second = Box::pin(lock.lock());
        let mut third = Box::pin(lock.lock());
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending() && poll!(&mut third).is_pending());
        lock.release().unwrap();
        drop(first);
        drop(second);
        let guard = third.await.unwrap();
        drop(guard);
        // Done, but not looked at: the guard goes with it.
        drop(lock.lock());
        assert!(!lock.locked());
    })
    .unwrap();
}

/// LOCK-05, TASK-12: the request goes first, whoever is waiting; if it is caught, the lock is not held.
#[test]
fn a_request_wins_over_a_lock_that_is_there() {
    let lp = new_loop();
    lp.run_until_complete(async {
        let lock = Rc::new(Lock::new());
        let guard = lock.lock().await.unwrap();
        let wants = Rc::clone(&lock);
        let task = create_task(async move {
            assert!(catch_cancelled(wants.lock()).await.is_err());
            assert!(!wants.locked());
            let _guard = wants.lock().await.unwrap();
            "later"
        })
        .unwrap();
        yield_now().await;
        drop(guard);
        task.cancel();
        assert_eq!(task.await.unwrap(), "later");
        assert!(!lock.locked());
    })
    .unwrap();
}

/// TASK-13.
#[test]
fn a_lock_that_is_free_delivers_no_request() {
    let lp = new_loop();
    lp.run_until_complete(async {
        let lock = Rc::new(Lock::new());
        let task = create_task(async move {
            current_task().unwrap().unwrap().cancel();
            let guard = catch_cancelled(lock.lock()).await.unwrap();
            let waits = catch_cancelled(lock.lock()).await;
            drop(guard);
            assert!(!lock.locked());
            waits.is_err()
        })
        .unwrap();
        assert!(task.await.unwrap());
    })
    .unwrap();
}

/// LOCK-06.
#[test]
fn a_lock_belongs_to_the_loop_in_which_somebody_waited() {
    let (first, second) = (new_loop(), new_loop());
    let lock = Rc::new(Lock::new());
    let uses = |lp: &EventLoop| {
        let lock = Rc::clone(&lock);
        lp.run_until_complete(async move { lock.lock().await.map(drop) }).unwrap()
    };
    // Nobody has to wait, so nobody is asked.
    uses(&first).unwrap();
    uses(&second).unwrap();
    let guard = lock.lock().now_or_never().unwrap().unwrap();
    assert!(matches!(lock.lock().now_or_never(), Some(Err(LoopError::NoRunningLoop))));
    let waits = Rc::clone(&lock);
    let task = first.create_task(async move { waits.lock().await.map(drop) }).unwrap();
    loops::one_pass(&first);
    assert!(matches!(uses(&second), Err(LoopError::WrongLoop)));
    drop(guard);
    first.run_until_complete(task).unwrap().unwrap().unwrap();
    // Free again, it may be taken anywhere.
    uses(&second).unwrap();
}

/// A loop that is closed lets go of its tasks, in whatever order: the lock is handed on until nobody is left.
#[test]
fn a_lock_outlives_the_loop_of_its_waiters() {
    let lock = Rc::new(Lock::new());
    let lp = new_loop();
    loops::collect_reports(&lp);
    lock.acquire().now_or_never().unwrap().unwrap();
    let log = Log::new();
    lp.call_soon({
        let (lock, log) = (Rc::clone(&lock), log.clone());
        move || (0..3).for_each(|name| drop(holder(&lock, &log, name)))
    })
    .unwrap();
    loops::one_pass(&lp);
    loops::one_pass(&lp);
    lock.release().unwrap();
    assert_eq!(format!("{lock:?}"), "<Lock [unlocked, waiters:3]>");
    lp.close().unwrap();
    assert_eq!(format!("{lock:?}"), "<Lock [unlocked]>");
    assert_eq!(log, []);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// LOCK-01, LOCK-05: whoever is cancelled whenever, all others get it, one at a time and in their order.
    #[test]
    fn everyone_gets_it_in_order_whoever_is_cancelled(cancelled in prop::collection::vec((0..12usize, 0..3usize), 0..12)) {
        let (lp, log) = (new_loop(), Log::new());
        let ends = lp
            .run_until_complete(async {
                let lock = Rc::new(Lock::new());
                lock.acquire().await.unwrap();
                let tasks: Vec<_> = (0..12).map(|name| holder(&lock, &log, name)).collect();
                yield_now().await;
                lock.release().unwrap();
                for (name, passes) in cancelled {
                    tasks[name].cancel();
                    for _ in 0..passes {
                        yield_now().await;
                    }
                }
                let mut ends = Vec::new();
                for task in tasks {
                    ends.push(task.await.is_ok());
                }
                assert_eq!(format!("{lock:?}"), "<Lock [unlocked]>");
                ends
            })
            .unwrap();
        let got = log.take();
        prop_assert!(got.is_sorted());
        for (name, ended) in ends.into_iter().enumerate() {
            prop_assert!(!ended || got.contains(&name));
        }
    }
}
