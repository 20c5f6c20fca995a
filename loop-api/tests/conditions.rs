//! The condition: who goes on, with the lock held whatever happens, and that no notification is lost.

mod loops;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::pin;
use std::rc::Rc;

use futures_util::{FutureExt as _, poll};
use loop_api::{Condition, Error, Lock, LoopError, LoopTask, catch_cancelled, create_task, current_task, yield_now};
use loops::{Log, new_loop};
use proptest::prelude::*;

async fn passes(count: usize) {
    for _ in 0..count {
        yield_now().await;
    }
}

fn waiter(condition: &Rc<Condition>, log: &Log<usize>, name: usize) -> LoopTask<()> {
    let (condition, log) = (Rc::clone(condition), log.clone());
    create_task(async move {
        let _held = condition.lock().await.unwrap();
        condition.wait().await.unwrap();
        assert!(condition.locked());
        log.add(name);
    })
    .unwrap()
}

/// LOCK-08, LOCK-12: nobody has to hold the lock where nobody has to wait.
#[test]
fn whoever_waits_or_notifies_holds_the_lock() {
    let condition = Condition::new();
    assert!(matches!(condition.notify(1), Err(Error::NotLocked)));
    assert!(matches!(condition.notify_all(), Err(Error::NotLocked)));
    assert!(matches!(condition.wait().now_or_never(), Some(Err(Error::NotLocked))));
    assert!(matches!(condition.wait_for(|| None::<()>).now_or_never(), Some(Err(Error::NotLocked))));
    assert!(matches!(condition.wait_for(|| Some(5)).now_or_never(), Some(Ok(5))));
    assert!(matches!(condition.release(), Err(Error::NotLocked)));
}

/// LOCK-10.
#[test]
fn the_longest_waiting_are_notified_first() {
    let (lp, log) = (new_loop(), Log::new());
    lp.run_until_complete(async {
        let condition = Rc::new(Condition::new());
        let waiters: Vec<_> = (0..5).map(|name| waiter(&condition, &log, name)).collect();
        passes(1).await;
        let held = condition.lock().await.unwrap();
        assert_eq!(format!("{condition:?}"), "<Condition [locked, waiters:5]>");
        condition.notify(0).unwrap();
        condition.notify(2).unwrap();
        passes(3).await;
        assert_eq!(log.len(), 0, "they run as the lock gets free");
        drop(held);
        passes(3).await;
        assert_eq!(log, [0, 1]);
        let held = condition.lock().await.unwrap();
        condition.notify_all().unwrap();
        drop(held);
        for waiter in waiters {
            waiter.await.unwrap();
        }
        assert_eq!(log, [0, 1, 2, 3, 4]);
        assert_eq!(format!("{condition:?}"), "<Condition [unlocked]>");
    })
    .unwrap();
}

/// LOCK-12.
#[test]
fn wait_for_asks_again_after_each_notification() {
    let lp = new_loop();
    lp.run_until_complete(async {
        let (condition, stock) = (Rc::new(Condition::new()), Rc::new(Cell::new(0_u32)));
        let (buys, buyer) = (Rc::clone(&condition), Rc::clone(&stock));
        let task = create_task(async move {
            let asked = Cell::new(0);
            let _held = buys.lock().await.unwrap();
            let left = buys.wait_for(|| {
                asked.set(asked.get() + 1);
                buyer.get().checked_sub(3)
            });
            (left.await.unwrap(), asked.get())
        })
        .unwrap();
        for stocked in [1, 2, 4] {
            passes(2).await;
            let _held = condition.lock().await.unwrap();
            stock.set(stocked);
            condition.notify(1).unwrap();
        }
        assert_eq!(task.await.unwrap(), (1, 4));
    })
    .unwrap();
}

/// LOCK-09: cancelled thrice, and the lock is still with another one.
#[test]
fn a_cancelled_waiter_holds_the_lock_again_before_it_goes() {
    let lp = new_loop();
    lp.run_until_complete(async {
        let condition = Rc::new(Condition::new());
        let waits = Rc::clone(&condition);
        let task = create_task(async move {
            let held = waits.lock().await.unwrap();
            let cancelled = catch_cancelled(waits.wait()).await.unwrap_err();
            assert!(waits.locked());
            drop(held);
            assert!(!waits.locked(), "it is the guard's hold that was taken up again");
            (cancelled.message().map(str::to_owned), current_task().unwrap().unwrap().cancelling())
        })
        .unwrap();
        passes(1).await;
        let held = condition.lock().await.unwrap();
        for message in ["first", "second", "third"] {
            task.cancel_with(Some(message));
            passes(2).await;
            assert!(!task.done());
        }
        drop(held);
        assert_eq!(task.await.unwrap(), (Some(String::from("third")), 3));
    })
    .unwrap();
}

/// LOCK-09, TASK-12: one that was notified and is cancelled at once, or while it waits for the lock.
#[test]
fn a_request_wins_over_a_notification() {
    let lp = new_loop();
    lp.run_until_complete(async {
        for waiting_for_the_lock in [0, 2] {
            let condition = Rc::new(Condition::new());
            let waits = Rc::clone(&condition);
            let task = create_task(async move {
                let _held = waits.lock().await.unwrap();
                let ended = catch_cancelled(waits.wait()).await;
                assert!(waits.locked());
                ended.is_err()
            })
            .unwrap();
            passes(1).await;
            let held = condition.lock().await.unwrap();
            condition.notify(1).unwrap();
            passes(waiting_for_the_lock).await;
            task.cancel();
            passes(2).await;
            drop(held);
            assert!(task.await.unwrap());
            assert!(!condition.locked());
        }
    })
    .unwrap();
}

/// LOCK-09, TASK-13.
#[test]
fn a_waiter_that_cancels_itself_does_not_wait() {
    let lp = new_loop();
    lp.run_until_complete(async {
        let condition = Condition::new();
        let task = create_task(async move {
            let _held = condition.lock().await.unwrap();
            current_task().unwrap().unwrap().cancel();
            let ended = catch_cancelled(condition.wait()).await;
            assert!(condition.locked());
            ended.is_err()
        })
        .unwrap();
        assert!(task.await.unwrap());
    })
    .unwrap();
}

/// LOCK-11: the notified one is cancelled, at once or while it waits for the lock.
#[test]
fn a_cancelled_waiter_passes_its_notification_on() {
    let lp = new_loop();
    lp.run_until_complete(async {
        for waiting_for_the_lock in [0, 2] {
            let (condition, log) = (Rc::new(Condition::new()), Log::new());
            let waiters: Vec<_> = (0..3).map(|name| waiter(&condition, &log, name)).collect();
            passes(1).await;
            let held = condition.lock().await.unwrap();
            condition.notify(1).unwrap();
            passes(waiting_for_the_lock).await;
            waiters[0].cancel();
            passes(1).await;
            drop(held);
            passes(5).await;
            assert_eq!(log, [1]);
            assert!(waiters[0].cancelled() && !waiters[2].done());
            waiters[2].cancel();
            passes(2).await;
            assert_eq!(log, [1]);
        }
    })
    .unwrap();
}

/// LOCK-11: one that was not notified has nothing to pass on.
#[test]
fn a_cancelled_waiter_notifies_nobody() {
    let (lp, log) = (new_loop(), Log::new());
    lp.run_until_complete(async {
        let condition = Rc::new(Condition::new());
        let waiters: Vec<_> = (0..2).map(|name| waiter(&condition, &log, name)).collect();
        passes(1).await;
        waiters[0].cancel();
        passes(3).await;
        assert!(waiters[0].cancelled());
        assert_eq!(format!("{condition:?}"), "<Condition [unlocked, waiters:1]>");
        waiters[1].cancel();
        passes(3).await;
        assert_eq!(log, []);
    })
    .unwrap();
}

/// LOCK-11, for whoever polls by hand. The wait is dropped without having the lock: its guard holds nothing any more.
#[test]
fn a_dropped_wait_passes_its_notification_on_and_loses_the_hold() {
    let lp = new_loop();
    lp.run_until_complete(async {
        let condition = Condition::new();
        let mut guards = Vec::new();
        let mut waits = Vec::new();
        for _ in 0..3 {
            guards.push(condition.lock().await.unwrap());
            let mut wait = Box::pin(condition.wait());
            assert!(poll!(&mut wait).is_pending());
            waits.push(wait);
        }
        let held = condition.lock().await.unwrap();
        condition.notify(1).unwrap();
        // The first has its notification, and waits for the lock.
        assert!(poll!(&mut waits[0]).is_pending());
        drop(waits.remove(0));
        drop(guards.remove(0));
        assert!(condition.locked(), "not that guard's hold");
        // The second has it now, and does not know yet.
        drop(waits.remove(0));
        drop(guards.remove(0));
        assert!(condition.locked());
        drop(held);
        waits.pop().unwrap().await.unwrap();
        assert!(condition.locked());
        drop(guards);
        assert!(!condition.locked());
    })
    .unwrap();
}

/// LOCK-13.
#[test]
fn conditions_may_share_a_lock() {
    let (lp, log) = (new_loop(), Log::new());
    lp.run_until_complete(async {
        let lock = Rc::new(Lock::new());
        let filled = Rc::new(Condition::with_lock(Rc::clone(&lock)));
        let drained = Rc::new(Condition::with_lock(Rc::clone(&lock)));
        let tasks = [waiter(&filled, &log, 1), waiter(&drained, &log, 2)];
        passes(2).await;
        let held = lock.lock().await.unwrap();
        drained.notify_all().unwrap();
        drop(held);
        passes(3).await;
        assert_eq!(log, [2]);
        let held = drained.lock().await.unwrap();
        filled.notify_all().unwrap();
        drop(held);
        for task in tasks {
            task.await.unwrap();
        }
    })
    .unwrap();
}

/// LOCK-06. A wait that is refused gives nothing away.
#[test]
fn a_condition_belongs_to_the_loop_in_which_somebody_waited() {
    let (first, second) = (new_loop(), new_loop());
    let (condition, log) = (Rc::new(Condition::new()), Log::new());
    first
        .call_soon({
            let (condition, log) = (Rc::clone(&condition), log.clone());
            move || drop(waiter(&condition, &log, 1))
        })
        .unwrap();
    (0..3).for_each(|_| loops::one_pass(&first));
    let elsewhere = async {
        let _held = condition.lock().await.unwrap();
        let refused = condition.wait().await;
        assert!(condition.locked());
        refused
    };
    assert!(matches!(second.run_until_complete(elsewhere).unwrap(), Err(Error::Loop(LoopError::WrongLoop))));
    condition.acquire().now_or_never().unwrap().unwrap();
    assert!(matches!(pin!(condition.wait()).now_or_never(), Some(Err(Error::Loop(LoopError::NoRunningLoop)))));
    condition.notify_all().unwrap();
    condition.release().unwrap();
    (0..3).for_each(|_| loops::one_pass(&first));
    assert_eq!(log, [1]);
}

/// LOCK-06, LOCK-13: what the lock would refuse later is refused before it is given away.
#[test]
fn a_lock_that_could_not_be_had_again_is_not_given_away() {
    let (first, second) = (new_loop(), new_loop());
    let lock = Rc::new(Lock::new());
    lock.acquire().now_or_never().unwrap().unwrap();
    let waits = Rc::clone(&lock);
    let task = first.create_task(async move { waits.acquire().await }).unwrap();
    loops::one_pass(&first);
    let condition = Condition::with_lock(Rc::clone(&lock));
    let refused = second.run_until_complete(condition.wait()).unwrap();
    assert!(matches!(refused, Err(Error::Loop(LoopError::WrongLoop))));
    assert!(lock.locked() && !task.done());
    lock.release().unwrap();
    first.run_until_complete(task).unwrap().unwrap().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// LOCK-09, LOCK-11: as many items as there are consumers that are not cancelled, each told of once, all arrive.
    #[test]
    fn no_notification_is_lost_whoever_is_cancelled(cancelled in prop::collection::vec((0..8usize, 0..4usize), 0..10)) {
        let lp = new_loop();
        let (all_done, left) = lp
            .run_until_complete(async {
                let items = Rc::new(RefCell::new(VecDeque::new()));
                let condition = Rc::new(Condition::new());
                let consumers: Vec<_> = (0..8)
                    .map(|_| {
                        let (items, condition) = (Rc::clone(&items), Rc::clone(&condition));
                        create_task(async move {
                            let _held = condition.lock().await.unwrap();
                            let item: usize = condition.wait_for(|| items.borrow_mut().pop_front()).await.unwrap();
                            yield_now().await;
                            item
                        })
                        .unwrap()
                    })
                    .collect();
                passes(1).await;
                let mut gone = std::collections::HashSet::new();
                let mut cancelled = cancelled.into_iter();
                for item in 0..8 {
                    let held = condition.lock().await.unwrap();
                    items.borrow_mut().push_back(item);
                    condition.notify(1).unwrap();
                    drop(held);
                    if let Some((name, pause)) = cancelled.next() {
                        passes(pause).await;
                        consumers[name].cancel();
                        gone.insert(name);
                    }
                }
                passes(100).await;
                let done = consumers.iter().all(|task| task.done());
                // What is left is for those who were cancelled before they had any.
                let left = items.borrow().len();
                assert!(!condition.locked());
                (done, left <= gone.len())
            })
            .unwrap();
        prop_assert!(all_done && left);
    }
}
