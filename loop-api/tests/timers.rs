//! Timers: `call_later`, `call_at`, sleeps, and the loop's clock.

mod loops;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use loop_api::{EventLoop, LoopError, TimerHandle};
use loops::{Alive, Log, new_loop, one_pass, virtual_loop};

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn stopper(lp: &EventLoop) -> impl FnOnce() + use<> {
    let lp = lp.clone();
    move || lp.stop()
}

/// TIME-01, B6.
#[test]
fn the_clock_never_goes_back() {
    let lp = new_loop();
    let mut last = lp.time();
    for _ in 0..1000 {
        one_pass(&lp);
        let now = lp.time();
        assert!(now >= last);
        last = now;
    }
    lp.close().unwrap();
    assert!(lp.time() >= last, "it goes on on a closed loop");
}

/// TIME-02.
#[test]
fn a_delay_of_zero_or_less_means_the_next_pass() {
    let (lp, _) = virtual_loop();
    let log = Log::new();
    lp.call_later(0.0, log.adds("zero")).unwrap();
    lp.call_later(-5.0, log.adds("negative")).unwrap();
    lp.call_later(Duration::ZERO, log.adds("a duration")).unwrap();
    lp.call_at(Duration::ZERO, log.adds("long ago")).unwrap();
    one_pass(&lp);
    assert_eq!(log, ["long ago", "zero", "negative", "a duration"]);
}

/// TIME-02, HND-05.
#[test]
fn when_is_the_deadline_on_the_loops_clock() {
    let (lp, clock) = virtual_loop();
    assert_eq!(lp.call_later(1.5, || ()).unwrap().when(), clock.now() + Duration::from_millis(1500));
    assert_eq!(lp.call_at(secs(77), || ()).unwrap().when(), secs(77));
    assert_eq!(lp.call_at(77.0, || ()).unwrap().when(), secs(77));
}

/// TIME-03, ITER-11: to the nanosecond, on the real clock too.
#[test]
fn no_timer_is_early() {
    let lp = new_loop();
    let early = Rc::new(Cell::new(0));
    for delay in [0, 1, 10, 999, 1_000, 50_000, 99_999, 100_001, 1_000_000, 1_500_000, 2_000_001] {
        let when = lp.time() + Duration::from_nanos(delay);
        let (lp2, early) = (lp.clone(), Rc::clone(&early));
        lp.call_at(when, move || early.set(early.get() + u32::from(lp2.time() < when))).unwrap();
    }
    lp.call_later(0.003, stopper(&lp)).unwrap();
    lp.run_forever().unwrap();
    assert_eq!(early.get(), 0);
    assert_eq!(lp.timer_count(), 0, "and none is left behind a later one");
}

/// TIME-03, TIME-04: many that lie microseconds apart share wakes, which the backend is told of beforehand.
#[test]
fn of_a_crowd_none_is_early_and_all_are_in_order() {
    let lp = new_loop();
    let fired = Rc::new(RefCell::new(Vec::new()));
    let start = lp.time() + Duration::from_millis(1);
    for number in 0..2000_u64 {
        // In no order.
        let when = start + Duration::from_nanos(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40);
        let (lp2, fired) = (lp.clone(), Rc::clone(&fired));
        lp.call_at(when, move || fired.borrow_mut().push((when, lp2.time() < when))).unwrap();
    }
    // One more, after a pause.
    lp.call_at(start + Duration::from_millis(20), stopper(&lp)).unwrap();
    lp.run_forever().unwrap();
    let fired = fired.take();
    assert_eq!(fired.len(), 2000);
    assert!(fired.is_sorted_by_key(|timer| timer.0));
    assert!(fired.iter().all(|timer| !timer.1), "early");
}

/// TIME-03: due at its very nanosecond, not before.
#[test]
fn a_timer_is_due_from_its_deadline_on() {
    let (lp, clock) = virtual_loop();
    let log = Log::new();
    let when = clock.now() + Duration::from_nanos(100);
    lp.call_at(when, log.adds("due")).unwrap();
    clock.advance(Duration::from_nanos(99));
    one_pass(&lp);
    assert_eq!(log.len(), 0);
    clock.advance(Duration::from_nanos(1));
    one_pass(&lp);
    assert_eq!(log, ["due"]);
}

/// TIME-04: ties in the order of setting, which is more than asyncio promises.
#[test]
fn overdue_timers_run_by_deadline_and_ties_in_order() {
    let (lp, clock) = virtual_loop();
    let log = Log::new();
    // Places in the table that are used again are not in the order of setting.
    let earlier: Vec<TimerHandle> = (0..6).map(|_| lp.call_later(0.0, || ()).unwrap()).collect();
    one_pass(&lp);
    drop(earlier);
    for (n, delay) in [3, 1, 2, 1, 3, 1].into_iter().enumerate() {
        lp.call_later(secs(delay), log.adds((delay, n))).unwrap();
    }
    clock.advance(secs(10));
    one_pass(&lp);
    assert_eq!(log, [(1, 1), (1, 3), (1, 5), (2, 2), (3, 0), (3, 4)]);
}

/// TIME-05.
#[test]
fn a_timer_set_by_a_callback_waits_for_the_next_pass() {
    let (lp, _) = virtual_loop();
    let log = Log::new();
    {
        let (lp2, log) = (lp.clone(), log.clone());
        lp.call_soon(move || {
            log.add("a");
            lp2.call_at(0.0, log.adds("t")).unwrap();
            lp2.call_soon(log.adds("s")).unwrap();
        })
        .unwrap();
    }
    one_pass(&lp);
    assert_eq!(log.len(), 1);
    one_pass(&lp);
    assert_eq!(log, ["a", "s", "t"]);
}

/// TIME-06, ITER-03.
#[test]
fn what_is_ready_goes_before_a_timer_of_the_same_moment() {
    for lp in [virtual_loop().0, new_loop()] {
        let log = Log::new();
        lp.call_later(0.0, log.adds("timer")).unwrap();
        lp.call_soon(log.adds("soon")).unwrap();
        one_pass(&lp);
        assert_eq!(log, ["soon", "timer"]);
    }
}

/// TIME-07.
#[test]
fn a_cancelled_timer_neither_runs_nor_wakes_the_loop() {
    let (lp, clock) = virtual_loop();
    let (start, log) = (clock.now(), Log::new());
    let timers: Vec<TimerHandle> = (1..50).map(|n| lp.call_later(secs(n), log.adds("cancelled")).unwrap()).collect();
    lp.call_later(secs(60), stopper(&lp)).unwrap();
    timers.iter().for_each(TimerHandle::cancel);
    assert_eq!(lp.timer_count(), 1);
    lp.run_forever().unwrap();
    assert_eq!((lp.passes(), clock.now() - start, log.len()), (1, secs(60), 0));
}

/// TIME-08: what a cancelled timer held goes at once, wherever in the heap it lies (TIME-09 is in `allocations`).
#[test]
fn a_million_timeouts_nearly_all_cancelled_hold_nothing() {
    let (lp, _) = virtual_loop();
    let alive = Alive::none();
    for _ in 0..1000 {
        for _ in 0..1000 {
            let captured = alive.clone();
            lp.call_later(3600.0, move || drop(captured)).unwrap().cancel();
        }
        one_pass(&lp);
    }
    assert_eq!((alive.others(), lp.timer_count()), (0, 0));
}

/// TIME-10.
#[test]
fn cancelling_late_is_harmless_and_skips_what_is_only_ready() {
    let (lp, clock) = virtual_loop();
    let log = Log::new();
    let fired = lp.call_later(1.0, log.adds("first")).unwrap();
    let second = Rc::new(RefCell::new(None::<TimerHandle>));
    lp.call_later(2.0, {
        let second = Rc::clone(&second);
        move || second.borrow().as_ref().unwrap().cancel()
    })
    .unwrap();
    second.replace(Some(lp.call_later(2.0, log.adds("second")).unwrap()));
    clock.advance(secs(5));
    one_pass(&lp);
    fired.cancel();
    assert_eq!((log.take(), lp.timer_count()), (vec!["first"], 0));
    let live = lp.call_later(1.0, log.adds("live")).unwrap();
    fired.cancel();
    second.borrow().as_ref().unwrap().cancel();
    assert_eq!((lp.timer_count(), live.cancelled()), (1, false), "a stale handle does not hit its slot's next tenant");
    clock.advance(secs(5));
    one_pass(&lp);
    assert_eq!(log, ["live"]);
}

/// TIME-11.
#[test]
fn a_far_deadline_is_slept_towards_day_by_day() {
    let (lp, clock) = virtual_loop();
    let start = clock.now();
    lp.call_later(secs(3 * 24 * 3600 + 5), stopper(&lp)).unwrap();
    lp.run_forever().unwrap();
    assert_eq!((lp.passes(), clock.now() - start), (4, secs(3 * 24 * 3600 + 5)));
}

/// TIME-12.
#[test]
fn timers_outlast_a_run_and_overdue_ones_fire_first_thing() {
    let (lp, clock) = virtual_loop();
    let log = Log::new();
    lp.call_later(5.0, log.adds("kept")).unwrap();
    lp.call_later(1.0, stopper(&lp)).unwrap();
    lp.run_forever().unwrap();
    assert_eq!((log.len(), lp.timer_count()), (0, 1));
    clock.advance(secs(60));
    one_pass(&lp);
    assert_eq!(log, ["kept"]);
}

/// TIME-14, DEF-10.
#[test]
fn a_time_that_is_no_number_is_refused() {
    let (lp, _) = virtual_loop();
    assert!(matches!(lp.call_later(f64::NAN, || ()), Err(LoopError::InvalidArgument(_))));
    assert!(matches!(lp.call_at(f64::NAN, || ()), Err(LoopError::InvalidArgument(_))));
    assert_eq!(lp.timer_count(), 0);
}

/// TIME-15.
#[test]
fn an_infinite_delay_never_ends() {
    for lp in [virtual_loop().0, new_loop()] {
        let log = Log::new();
        lp.call_later(f64::INFINITY, log.adds("never")).unwrap();
        lp.call_later(Duration::MAX, log.adds("never")).unwrap();
        lp.call_at(f64::INFINITY, log.adds("never")).unwrap();
        lp.call_later(0.0, stopper(&lp)).unwrap();
        lp.run_forever().unwrap();
        assert_eq!((log.len(), lp.timer_count()), (0, 3));
    }
}

/// TIME-16.
#[test]
fn short_sleeps_do_not_spin() {
    let lp = new_loop();
    let sleeps = async {
        for delay in [1e-2, 1e-3, 1e-5, 1e-7, 1e-10] {
            let lp = EventLoop::running().unwrap();
            lp.sleep_for(Duration::from_secs_f64(delay)).await;
        }
    };
    lp.run_until_complete(sleeps).unwrap();
    assert!(lp.passes() <= 20, "{} passes", lp.passes());
}

/// LIFE-05: with `stop` called before, a run is one pass that does not wait.
#[test]
fn due_timers_run_in_a_single_pass_without_waiting() {
    let (lp, clock) = virtual_loop();
    let (log, start) = (Log::new(), clock.now());
    lp.call_later(1.0, log.adds("later")).unwrap();
    lp.call_later(0.0, log.adds("due")).unwrap();
    one_pass(&lp);
    assert_eq!((log.take(), clock.now()), (vec!["due"], start));
}

/// HND-01, for timers.
#[test]
fn cancelling_a_timer_lets_go_of_its_callback() {
    let (lp, _) = virtual_loop();
    let alive = Alive::none();
    let captured = alive.clone();
    let timer = lp.call_later(1.0, move || drop(captured)).unwrap();
    timer.clone().cancel();
    assert_eq!((alive.others(), timer.cancelled()), (0, true));
}

/// HND-07.
#[test]
fn timer_handles_order_by_deadline() {
    let (lp, _) = virtual_loop();
    let at = |n| lp.call_at(secs(n), || ()).unwrap();
    let mut handles = [at(3), at(1), at(2)];
    handles.sort();
    assert_eq!(handles.map(|handle| handle.when()), [secs(1), secs(2), secs(3)]);
    assert_eq!(at(4), at(4));
}

/// CH-02.
#[test]
fn a_sleep_ends_at_its_time_and_takes_its_timer_along() {
    let (lp, clock) = virtual_loop();
    let start = clock.now();
    let slept = lp
        .run_until_complete(async {
            let lp = EventLoop::running().unwrap();
            lp.sleep_for(secs(3600)).await;
            lp.time()
        })
        .unwrap();
    assert_eq!(slept - start, secs(3600));
    let sleeper = lp.create_task(async { EventLoop::running().unwrap().sleep_for(secs(5)).await }).unwrap();
    one_pass(&lp);
    assert_eq!(lp.timer_count(), 1);
    sleeper.cancel();
    one_pass(&lp);
    assert_eq!((lp.timer_count(), sleeper.cancelled()), (0, true));
}

/// A time that has come gives up one pass.
#[test]
fn a_sleep_until_the_past_gives_up_a_pass() {
    let (lp, clock) = virtual_loop();
    let start = clock.now();
    let log = Log::new();
    lp.call_soon(log.adds("other")).unwrap();
    let (lp2, log2) = (lp.clone(), log.clone());
    lp.run_until_complete(async move {
        lp2.sleep_until(Duration::ZERO).await;
        log2.add("slept");
    })
    .unwrap();
    assert_eq!(log, ["other", "slept"]);
    assert_eq!(clock.now(), start);
}

#[test]
fn a_sleep_may_be_reset_before_during_and_after() {
    let (lp, clock) = virtual_loop();
    let start = clock.now();
    let lp2 = lp.clone();
    lp.run_until_complete(async move {
        let mut sleep = std::pin::pin!(lp2.sleep_for(secs(100)));
        sleep.reset(lp2.time() + secs(1));
        sleep.as_mut().await;
        assert_eq!(lp2.time() - start, secs(1));
        sleep.reset(lp2.time() + secs(50));
        assert!(futures_util::poll!(sleep.as_mut()).is_pending());
        assert_eq!(lp2.timer_count(), 1);
        sleep.reset(lp2.time() + secs(2));
        assert_eq!(lp2.timer_count(), 0);
        sleep.as_mut().await;
        assert_eq!(lp2.time() - start, secs(3));
    })
    .unwrap();
    assert_eq!(clock.now() - start, secs(3));
}

/// A sleep polled on behalf of another task wakes that one.
#[test]
fn a_sleep_wakes_whoever_polled_it_last() {
    let (lp, _) = virtual_loop();
    let sleep = Rc::new(RefCell::new(Box::pin(lp.sleep_for(secs(1)))));
    let poll_it = |sleep: &Rc<RefCell<std::pin::Pin<Box<loop_core::Sleep>>>>| {
        let sleep = Rc::clone(sleep);
        std::future::poll_fn(move |context| sleep.borrow_mut().as_mut().poll(context))
    };
    let first = lp.create_task(poll_it(&sleep)).unwrap();
    let second = lp.create_task(poll_it(&sleep)).unwrap();
    lp.call_later(5.0, stopper(&lp)).unwrap();
    lp.run_forever().unwrap();
    assert_eq!((first.done(), second.done()), (false, true));
}
