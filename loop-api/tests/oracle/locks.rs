//! Lock, Event, Condition, Semaphore and Barrier.

use std::rc::Rc;

use loop_api::{
    Barrier, BoundedSemaphore, Condition, Error, Event, Lock, Semaphore, catch_cancelled, create_task,
    get_running_loop, yield_now,
};

use crate::stage::{Show, attempt, in_a_task};

async fn passes(count: usize) {
    for _ in 0..count {
        yield_now().await;
    }
}

/// LOCK-01
#[test]
fn a_free_lock_is_taken_without_suspending() {
    in_a_task(async || {
        let lock = Lock::new();
        get_running_loop()?.call_soon(|| trace!("next pass"))?;
        lock.acquire().await?;
        trace!("locked: {}", lock.locked().show());
        passes(1).await;
        lock.release()?;
        trace!("locked: {}", lock.locked().show());
        Ok(())
    });
}

/// LOCK-01
#[test]
fn waiters_get_the_lock_in_their_order() {
    in_a_task(async || {
        let lock = Rc::new(Lock::new());
        let mut tasks = Vec::new();
        for name in ["one", "two", "three"] {
            let lock = Rc::clone(&lock);
            tasks.push(create_task(async move {
                let _held = lock.lock().await.unwrap();
                trace!("{name} has it");
                passes(1).await;
            })?);
        }
        for task in tasks {
            task.await?;
        }
        Ok(())
    });
}

/// LOCK-02
#[test]
fn a_newcomer_queues_behind_those_who_wait() {
    in_a_task(async || {
        let work = async |lock: Rc<Lock>, name: &str| {
            let _held = lock.lock().await.unwrap();
            trace!("{name}");
        };
        let lock = Rc::new(Lock::new());
        lock.acquire().await?;
        let waiter = create_task(work(Rc::clone(&lock), "waiter"))?;
        passes(1).await;
        lock.release()?;
        let newcomer = create_task(work(Rc::clone(&lock), "newcomer"))?;
        work(lock, "this one").await;
        waiter.await?;
        newcomer.await?;
        Ok(())
    });
}

/// LOCK-03
#[test]
fn a_free_lock_cannot_be_released() {
    in_a_task(async || {
        if let Err(Error::NotLocked) = Lock::new().release() {
            trace!("RuntimeError");
        }
        Ok(())
    });
}

/// LOCK-04
#[test]
fn a_released_lock_is_free_until_the_next_one_runs() {
    in_a_task(async || {
        let lock = Rc::new(Lock::new());
        lock.acquire().await?;
        let waits = Rc::clone(&lock);
        let task = create_task(async move {
            let _held = waits.lock().await.unwrap();
            trace!("waiter has it");
        })?;
        passes(1).await;
        lock.release()?;
        trace!("locked: {}", lock.locked().show());
        task.await?;
        Ok(())
    });
}

/// LOCK-05
#[test]
fn a_cancelled_waiter_hands_its_turn_on() {
    in_a_task(async || {
        let work = async |lock: Rc<Lock>, name: &str| {
            let _held = lock.lock().await.unwrap();
            trace!("{name} has it");
        };
        let lock = Rc::new(Lock::new());
        lock.acquire().await?;
        let one = create_task(work(Rc::clone(&lock), "one"))?;
        let two = create_task(work(Rc::clone(&lock), "two"))?;
        passes(1).await;
        lock.release()?;
        one.cancel();
        attempt("one", one.await);
        attempt("two", two.await);
        trace!("locked: {}", lock.locked().show());
        Ok(())
    });
}

/// LOCK-07
#[test]
fn an_event_wakes_all_that_wait() {
    in_a_task(async || {
        let event = Rc::new(Event::new());
        let mut tasks = Vec::new();
        for name in ["one", "two"] {
            let event = Rc::clone(&event);
            tasks.push(create_task(async move {
                event.wait().await.unwrap();
                trace!("{name} goes on; set: {}", event.is_set().show());
            })?);
        }
        passes(1).await;
        event.set();
        event.clear();
        for task in tasks {
            task.await?;
        }
        Ok(())
    });
}

/// LOCK-08
#[test]
fn a_condition_wants_its_lock() {
    in_a_task(async || {
        let condition = Condition::new();
        attempt("notify", condition.notify(1));
        attempt("wait", condition.wait().await);
        Ok(())
    });
}

/// LOCK-10
#[test]
fn notify_wakes_the_longest_waiting() {
    in_a_task(async || {
        let condition = Rc::new(Condition::new());
        let mut tasks = Vec::new();
        for name in ["one", "two", "three"] {
            let condition = Rc::clone(&condition);
            tasks.push(create_task(async move {
                let _held = condition.lock().await.unwrap();
                condition.wait().await.unwrap();
                trace!("{name} goes on");
            })?);
        }
        passes(3).await;
        {
            let _held = condition.lock().await?;
            condition.notify(2)?;
            trace!("notified two");
        }
        passes(5).await;
        {
            let _held = condition.lock().await?;
            condition.notify_all()?;
            trace!("notified all");
        }
        for task in tasks {
            task.await?;
        }
        Ok(())
    });
}

/// LOCK-09
#[test]
fn a_cancelled_waiter_of_a_condition_holds_the_lock_again() {
    in_a_task(async || {
        let condition = Rc::new(Condition::new());
        let waits = Rc::clone(&condition);
        let task = create_task(async move {
            let _held = waits.lock().await.unwrap();
            let ended = catch_cancelled(waits.wait()).await;
            trace!("locked: {}", waits.locked().show());
            if let Err(cancelled) = ended {
                cancelled.raise().await
            }
        })?;
        passes(1).await;
        task.cancel();
        attempt("task", task.await);
        trace!("locked: {}", condition.locked().show());
        Ok(())
    });
}

/// LOCK-14
#[test]
fn a_semaphore_lets_so_many_in() {
    in_a_task(async || {
        let semaphore = Rc::new(Semaphore::new(2));
        let mut tasks = Vec::new();
        for name in ["one", "two", "three"] {
            let semaphore = Rc::clone(&semaphore);
            tasks.push(create_task(async move {
                {
                    let _permit = semaphore.permit().await.unwrap();
                    trace!("{name} in");
                    passes(2).await;
                }
                trace!("{name} out");
            })?);
        }
        for task in tasks {
            task.await?;
        }
        Ok(())
    });
}

/// LOCK-17
#[test]
fn a_bounded_semaphore_counts_its_releases() {
    in_a_task(async || {
        let semaphore = BoundedSemaphore::new(1);
        semaphore.acquire().await?;
        semaphore.release()?;
        if let Err(Error::TooManyReleases) = semaphore.release() {
            trace!("ValueError");
        }
        Ok(())
    });
}

/// LOCK-18
#[test]
fn a_barrier_lets_all_go_together() {
    in_a_task(async || {
        let barrier = Rc::new(Barrier::new(2)?);
        let mut tasks = Vec::new();
        for name in ["one", "two"] {
            let barrier = Rc::clone(&barrier);
            tasks.push(create_task(async move {
                trace!("{name} arrives");
                let index = barrier.wait().await.unwrap();
                trace!("{name} goes on as {index}");
            })?);
        }
        for task in tasks {
            task.await?;
        }
        trace!("waiting: {} broken: {}", barrier.n_waiting(), barrier.broken().show());
        Ok(())
    });
}

/// LOCK-20
#[test]
fn an_aborted_barrier_is_broken() {
    in_a_task(async || {
        let work = async |barrier: Rc<Barrier>| {
            if let Err(Error::BrokenBarrier) = barrier.wait().await {
                trace!("broken");
            }
        };
        let barrier = Rc::new(Barrier::new(2)?);
        let task = create_task(work(Rc::clone(&barrier)))?;
        passes(1).await;
        barrier.abort();
        task.await?;
        work(Rc::clone(&barrier)).await;
        barrier.reset();
        trace!("broken: {}", barrier.broken().show());
        Ok(())
    });
}
