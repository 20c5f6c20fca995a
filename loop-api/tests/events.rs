//! The event: whom it wakes, and whom not.

mod loops;

use std::rc::Rc;

use futures_util::FutureExt as _;
use loop_api::{Event, LoopError, LoopTask, catch_cancelled, create_task, yield_now};
use loops::{Log, new_loop};

fn waiter(event: &Rc<Event>, log: &Log<usize>, name: usize) -> LoopTask<()> {
    let (event, log) = (Rc::clone(event), log.clone());
    create_task(async move {
        event.wait().await.unwrap();
        log.add(name);
    })
    .unwrap()
}

/// LOCK-07.
#[test]
fn a_set_event_makes_nobody_wait() {
    let event = Event::new();
    assert!(!event.is_set());
    event.set();
    event.set();
    assert!(event.is_set());
    event.wait().now_or_never().unwrap().unwrap();
    event.clear();
    assert_eq!(format!("{event:?}"), "<Event [unset]>");
}

/// LOCK-07: those who wait when it is set go on, those who come after it is cleared do not.
#[test]
fn an_event_wakes_those_who_wait_now() {
    let (lp, log) = (new_loop(), Log::new());
    lp.run_until_complete(async {
        let event = Rc::new(Event::new());
        let first: Vec<_> = (0..3).map(|name| waiter(&event, &log, name)).collect();
        yield_now().await;
        assert_eq!(format!("{event:?}"), "<Event [unset, waiters:3]>");
        event.set();
        event.clear();
        let late = waiter(&event, &log, 3);
        for waiter in first {
            waiter.await.unwrap();
        }
        yield_now().await;
        assert!(!late.done());
        assert_eq!(log, [0, 1, 2]);
        event.set();
        late.await.unwrap();
    })
    .unwrap();
}

/// LOCK-07: a waiter that was cancelled leaves nothing behind, woken or not.
#[test]
fn cancelled_waiters_are_gone() {
    let (lp, log) = (new_loop(), Log::new());
    lp.run_until_complete(async {
        let event = Rc::new(Event::new());
        let waiters: Vec<_> = (0..3).map(|name| waiter(&event, &log, name)).collect();
        yield_now().await;
        waiters[1].cancel();
        yield_now().await;
        assert_eq!(format!("{event:?}"), "<Event [unset, waiters:2]>");
        event.set();
        waiters[0].cancel();
        for (name, waiter) in waiters.into_iter().enumerate() {
            assert_eq!(waiter.await.is_ok(), name == 2);
        }
        assert_eq!(format!("{event:?}"), "<Event [set]>");
        assert_eq!(log, [2]);
    })
    .unwrap();
}

/// TASK-12.
#[test]
fn a_request_wins_over_an_event_that_was_set() {
    let lp = new_loop();
    lp.run_until_complete(async {
        let event = Rc::new(Event::new());
        let waits = Rc::clone(&event);
        let task = create_task(async move {
            let cancelled = catch_cancelled(waits.wait()).await.is_err();
            waits.wait().await.unwrap();
            cancelled
        })
        .unwrap();
        yield_now().await;
        event.set();
        task.cancel();
        assert!(task.await.unwrap());
    })
    .unwrap();
}

/// LOCK-06.
#[test]
fn an_event_belongs_to_the_loop_in_which_somebody_waited() {
    let (first, second) = (new_loop(), new_loop());
    let event = Rc::new(Event::new());
    assert!(matches!(event.wait().now_or_never(), Some(Err(LoopError::NoRunningLoop))));
    let waits = Rc::clone(&event);
    let task = first.create_task(async move { waits.wait().await }).unwrap();
    loops::one_pass(&first);
    assert!(matches!(second.run_until_complete(event.wait()).unwrap(), Err(LoopError::WrongLoop)));
    event.set();
    first.run_until_complete(task).unwrap().unwrap().unwrap();
    second.run_until_complete(event.wait()).unwrap().unwrap();
}
