//! Giving up time, or one pass: `sleep` and `yield_now`; and the tasks that are there meanwhile.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use loop_api::{
    EventLoop, LoopError, all_tasks, catch_cancelled, create_task, current_task, get_running_loop, new_event_loop,
    sleep, yield_now,
};

/// How many passes lie between the beginning of an await and its end, and how many timers are set meanwhile.
async fn passes<T>(lp: &EventLoop, wait: impl Future<Output = T>) -> (u64, usize, T) {
    let timers = Rc::new(Cell::new(0));
    lp.call_soon({
        let (lp, timers) = (lp.clone(), Rc::clone(&timers));
        move || timers.set(lp.timer_count())
    })
    .unwrap();
    let before = lp.passes();
    let output = wait.await;
    (lp.passes() - before, timers.get(), output)
}

/// CH-01.
#[test]
fn a_delay_of_nothing_or_less_gives_up_one_pass_and_sets_no_timer() {
    let lp = new_event_loop().unwrap();
    lp.run_until_complete(async {
        assert!(matches!(passes(&lp, sleep(Duration::ZERO)).await, (1, 0, Ok(()))));
        assert!(matches!(passes(&lp, sleep(0.0)).await, (1, 0, Ok(()))));
        assert!(matches!(passes(&lp, sleep(-3.5)).await, (1, 0, Ok(()))));
        assert!(matches!(passes(&lp, sleep(f64::NEG_INFINITY)).await, (1, 0, Ok(()))));
        assert_eq!(passes(&lp, yield_now()).await, (1, 0, ()));
    })
    .unwrap();
}

/// CH-01.
#[test]
fn what_is_ready_runs_before_one_that_yielded() {
    let lp = new_event_loop().unwrap();
    let order = Rc::new(RefCell::new(Vec::new()));
    lp.run_until_complete(async {
        let tasks: Vec<_> = (0..3)
            .map(|task| {
                let order = Rc::clone(&order);
                create_task(async move {
                    for turn in 0..2 {
                        order.borrow_mut().push((turn, task));
                        yield_now().await;
                    }
                })
                .unwrap()
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    })
    .unwrap();
    assert_eq!(*order.borrow(), [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]);
}

/// CH-01: whoever polls it twice in a pass does not shorten it.
#[test]
fn a_pass_is_given_up_inside_a_combinator_too() {
    let lp = new_event_loop().unwrap();
    let (passes, _, ()) = lp
        .run_until_complete(async {
            passes(&lp, async {
                let mut both: FuturesUnordered<_> = (0..2).map(|_| yield_now()).collect();
                while both.next().await.is_some() {}
            })
            .await
        })
        .unwrap();
    assert_eq!(passes, 1);
}

/// CH-02.
#[test]
fn a_sleeper_wakes_not_before_its_time() {
    let lp = new_event_loop().unwrap();
    lp.run_until_complete(async {
        for delay in [Duration::from_nanos(1), Duration::from_micros(70), Duration::from_millis(2)] {
            let before = lp.time();
            sleep(delay).await.unwrap();
            assert!(lp.time() >= before + delay);
        }
        let before = lp.time();
        sleep(0.001).await.unwrap();
        assert!(lp.time() >= before + Duration::from_millis(1));
    })
    .unwrap();
    assert_eq!(lp.timer_count(), 0);
}

/// CH-02: the delay begins with the await.
#[test]
fn a_sleep_that_is_not_awaited_does_nothing() {
    let lp = new_event_loop().unwrap();
    lp.run_until_complete(async {
        let nap = sleep(Duration::from_millis(1));
        assert_eq!(lp.timer_count(), 0);
        lp.sleep_for(Duration::from_millis(2)).await;
        let before = lp.time();
        nap.await.unwrap();
        assert!(lp.time() >= before + Duration::from_millis(1));
    })
    .unwrap();
}

/// CH-02, CH-03.
#[test]
fn a_sleeper_that_is_cancelled_takes_its_timer_back() {
    let lp = new_event_loop().unwrap();
    lp.run_until_complete(async {
        for delay in [3600.0, f64::INFINITY] {
            let sleeper = create_task(sleep(delay)).unwrap();
            yield_now().await;
            assert_eq!(lp.timer_count(), 1);
            sleeper.cancel();
            assert!(sleeper.await.unwrap_err().is_cancelled());
            assert_eq!(lp.timer_count(), 0);
        }
        let caught = create_task(async {
            let caught = catch_cancelled(sleep(Duration::from_secs(3600))).await.is_err();
            (caught, get_running_loop().unwrap().timer_count())
        });
        let caught = caught.unwrap();
        yield_now().await;
        caught.cancel();
        assert_eq!(caught.await.unwrap(), (true, 0));
    })
    .unwrap();
}

/// CH-01: as asyncio throws into a `sleep(0)`.
#[test]
fn a_cancellation_arrives_at_a_yield() {
    let lp = new_event_loop().unwrap();
    lp.run_until_complete(async {
        let went_on = Rc::new(Cell::new(false));
        let seen = Rc::clone(&went_on);
        let yields = create_task(async move {
            yield_now().await;
            seen.set(true);
        });
        let yields = yields.unwrap();
        yield_now().await;
        yields.cancel_with(Some("now"));
        let cancelled = yields.await.unwrap_err();
        assert!(cancelled.is_cancelled() && cancelled.to_string().contains("now"), "{cancelled}");
        assert!(!went_on.get());
        let catches = create_task(async {
            let caught = catch_cancelled(yield_now()).await;
            yield_now().await;
            caught.is_err()
        });
        let catches = catches.unwrap();
        yield_now().await;
        catches.cancel();
        assert!(catches.await.unwrap(), "and can be taken there");
    })
    .unwrap();
}

/// CH-03, DEF-10.
#[test]
fn what_is_no_number_is_no_delay() {
    let lp = new_event_loop().unwrap();
    let slept = lp.run_until_complete(sleep(f64::NAN)).unwrap();
    assert!(matches!(slept, Err(LoopError::InvalidArgument(_))));
    assert!(matches!(lp.call_later(f64::NAN, || ()), Err(LoopError::InvalidArgument(_))));
    assert!(matches!(lp.call_at(f64::NAN, || ()), Err(LoopError::InvalidArgument(_))));
    assert_eq!(lp.timer_count(), 0);
}

/// Misuse is an error, under whatever else polls.
#[test]
fn sleeping_outside_of_a_loop_is_refused() {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let slept = std::pin::pin!(sleep(1.0)).poll(&mut context);
    assert!(matches!(slept, std::task::Poll::Ready(Err(LoopError::NoRunningLoop))));
    let mut yields = std::pin::pin!(yield_now());
    assert!(yields.as_mut().poll(&mut context).is_pending());
    assert!(yields.as_mut().poll(&mut context).is_ready());
}

/// CH-60.
#[test]
fn the_current_task_is_the_one_whose_step_runs() {
    let lp = new_event_loop().unwrap();
    assert!(matches!(current_task(), Err(LoopError::NoRunningLoop)));
    assert!(matches!(all_tasks(), Err(LoopError::NoRunningLoop)));
    assert!(lp.current_task().is_none(), "of a loop by name, at any time");
    lp.run_until_complete(async {
        let main = current_task().unwrap().unwrap();
        let other = create_task(async { current_task().unwrap().unwrap() }).unwrap();
        assert_eq!(all_tasks().unwrap(), [main.clone(), other.as_task_ref().clone()]);
        let in_callback = Rc::new(Cell::new(None));
        let seen = Rc::clone(&in_callback);
        lp.call_soon(move || seen.set(Some(current_task().unwrap()))).unwrap();
        let seen = (&other).await.unwrap();
        assert_eq!(seen, *other.as_task_ref());
        assert_ne!(seen, main);
        assert_eq!(in_callback.take(), Some(None), "none in a plain callback");
        assert_eq!(current_task().unwrap().unwrap(), main);
        assert_eq!(lp.current_task(), Some(main));
    })
    .unwrap();
}
