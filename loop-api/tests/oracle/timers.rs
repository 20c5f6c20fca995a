//! Timers: their order, their cancellation, and sleep.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use loop_api::{TimerHandle, create_task, sleep, yield_now};

use crate::stage::{Show, attempt, in_a_fast_task, in_a_task, on_a_fast_loop, on_a_loop, one_pass};

/// TIME-04
#[test]
fn timers_fire_by_deadline() {
    on_a_loop(|lp| {
        let (now, stops) = (lp.time(), lp.clone());
        let after = |milliseconds| now + Duration::from_millis(milliseconds);
        lp.call_at(after(30), move || {
            trace!("third");
            stops.stop();
        })?;
        lp.call_at(after(10), || trace!("first"))?;
        lp.call_at(after(20), || trace!("second"))?;
        lp.run_forever()?;
        Ok(())
    });
}

/// TIME-04
#[test]
fn overdue_timers_fire_by_deadline() {
    on_a_loop(|lp| {
        let now = lp.time();
        let ago = |milliseconds| now.saturating_sub(Duration::from_millis(milliseconds));
        lp.call_at(ago(1), || trace!("a second late"))?;
        lp.call_at(ago(3), || trace!("three seconds late"))?;
        lp.call_at(ago(2), || trace!("two seconds late"))?;
        one_pass(lp)?;
        Ok(())
    });
}

/// TIME-05
#[test]
fn a_timer_made_in_a_pass_waits_for_the_next() {
    on_a_loop(|lp| {
        let this = lp.clone();
        lp.call_soon(move || {
            this.call_at(this.time(), || trace!("overdue timer")).unwrap();
            this.call_soon(|| trace!("soon")).unwrap();
        })?;
        lp.call_soon(|| trace!("same pass"))?;
        one_pass(lp)?;
        trace!("one pass");
        one_pass(lp)?;
        Ok(())
    });
}

/// TIME-06
#[test]
fn call_soon_wins_over_a_timer_of_the_same_moment() {
    on_a_loop(|lp| {
        lp.call_later(0.0, || trace!("timer"))?;
        lp.call_soon(|| trace!("soon"))?;
        one_pass(lp)?;
        Ok(())
    });
}

/// TIME-02
#[test]
fn a_negative_delay_is_a_zero_one() {
    on_a_loop(|lp| {
        lp.call_later(-5.0, || trace!("timer"))?;
        lp.call_soon(|| trace!("soon"))?;
        one_pass(lp)?;
        Ok(())
    });
}

/// TIME-07, HND-02
#[test]
fn a_cancelled_timer_never_runs() {
    on_a_loop(|lp| {
        let victim = lp.call_later(0.005, || trace!("never"))?;
        victim.cancel();
        let stops = lp.clone();
        lp.call_later(0.02, move || {
            trace!("timer");
            stops.stop();
        })?;
        lp.run_forever()?;
        trace!("cancelled: {}", victim.cancelled().show());
        Ok(())
    });
}

/// TIME-10, HND-03
#[test]
fn a_due_timer_can_still_be_cancelled_in_its_pass() {
    on_a_loop(|lp| {
        let now = lp.time();
        let victim: Rc<RefCell<Option<TimerHandle>>> = Rc::default();
        let cancels = Rc::clone(&victim);
        lp.call_at(now.saturating_sub(Duration::from_millis(2)), move || {
            trace!("cancels");
            cancels.borrow().as_ref().unwrap().cancel();
        })?;
        let due = lp.call_at(now.saturating_sub(Duration::from_millis(1)), || trace!("never"))?;
        victim.replace(Some(due));
        one_pass(lp)?;
        trace!("cancelled: {}", victim.take().unwrap().cancelled().show());
        Ok(())
    });
}

/// TIME-10, HND-02
#[test]
fn cancelling_a_timer_that_ran_disturbs_nothing() {
    on_a_loop(|lp| {
        let timer = lp.call_later(0.0, || trace!("ran"))?;
        one_pass(lp)?;
        timer.cancel();
        lp.call_later(0.0, || trace!("another"))?;
        one_pass(lp)?;
        trace!("cancelled: {}", timer.cancelled().show());
        Ok(())
    });
}

/// TIME-12
#[test]
fn timers_outlast_a_run() {
    on_a_loop(|lp| {
        lp.call_later(0.3, || trace!("overdue at the second run"))?;
        lp.call_soon(|| trace!("first run"))?;
        lp.stop();
        lp.run_forever()?;
        std::thread::sleep(Duration::from_millis(310));
        lp.call_soon(|| trace!("ready at the second run"))?;
        one_pass(lp)?;
        Ok(())
    });
}

/// TIME-09, TIME-08
#[test]
fn a_thousand_cancelled_timers_leave_the_order_of_the_rest() {
    on_a_loop(|lp| {
        let now = lp.time();
        let mut victims = Vec::new();
        for number in 0..1000 {
            let when = now.saturating_sub(Duration::from_micros(number));
            let timer = lp.call_at(when, move || trace!("timer {number}"))?;
            if number % 250 != 0 {
                victims.push(timer);
            }
        }
        victims.iter().for_each(TimerHandle::cancel);
        one_pass(lp)?;
        Ok(())
    });
}

/// TIME-15, TIME-11
#[test]
fn an_endless_delay_never_fires() {
    on_a_fast_loop(|lp| {
        let forever = lp.call_later(f64::INFINITY, || trace!("never"))?;
        lp.call_later(10.0 * 86400.0, || trace!("not now"))?;
        let stops = lp.clone();
        lp.call_later(0.005, move || {
            trace!("timer");
            stops.stop();
        })?;
        lp.run_forever()?;
        trace!("cancelled: {}", forever.cancelled().show());
        Ok(())
    });
}

/// HND-05, TIME-02
#[test]
fn a_timer_knows_its_deadline() {
    on_a_loop(|lp| {
        let five = Duration::from_secs(5);
        let before = lp.time();
        let timer = lp.call_later(five, || trace!("not now"))?;
        let in_five = (before + five..=lp.time() + five).contains(&timer.when());
        trace!("in five seconds: {}", in_five.show());
        let at = Duration::from_millis(123_500);
        trace!("at: {}", (lp.call_at(at, || ())?.when() == at).show());
        Ok(())
    });
}

/// TIME-03, TIME-01
#[test]
fn a_timer_is_never_early() {
    on_a_loop(|lp| {
        let (stops, when) = (lp.clone(), Rc::new(Cell::new(Duration::ZERO)));
        let deadline = Rc::clone(&when);
        let timer = lp.call_later(0.003, move || {
            trace!("early: {}", (stops.time() < deadline.get()).show());
            stops.stop();
        })?;
        when.set(timer.when());
        lp.run_forever()?;
        Ok(())
    });
}

/// CH-01
#[test]
fn sleeping_zero_gives_up_one_pass() {
    in_a_task(async || {
        let task = create_task(async { trace!("other") })?;
        trace!("before");
        sleep(0.0).await?;
        trace!("after {}", task.done().show());
        sleep(-1.0).await?;
        trace!("after a negative one");
        Ok(())
    });
}

/// CH-01, ITER-02
#[test]
fn sleepers_of_zero_take_turns() {
    in_a_task(async || {
        let work = async |name| {
            for number in 0..3 {
                trace!("{name} {number}");
                sleep(0.0).await.unwrap();
            }
        };
        let mut tasks = Vec::new();
        for name in ["a", "b", "c"] {
            tasks.push(create_task(async move { work(name).await })?);
        }
        for task in tasks {
            task.await?;
        }
        Ok(())
    });
}

/// CH-02, TIME-04
#[test]
fn sleepers_wake_by_deadline() {
    in_a_fast_task(async || {
        let mut tasks = Vec::new();
        for (name, delay) in [("third", 0.3), ("first", 0.1), ("second", 0.2)] {
            tasks.push(create_task(async move {
                sleep(delay).await.unwrap();
                trace!("{name}");
            })?);
        }
        for task in tasks {
            task.await?;
        }
        Ok(())
    });
}

/// CH-03
#[test]
fn an_endless_sleep_can_be_cancelled() {
    in_a_task(async || {
        let task = create_task(async { _ = sleep(f64::INFINITY).await })?;
        yield_now().await;
        trace!("done: {}", task.done().show());
        task.cancel();
        attempt("sleeper", task.await);
        Ok(())
    });
}

/// CH-03
#[test]
fn a_sleep_that_is_no_number_is_refused() {
    in_a_task(async || {
        attempt("sleep", sleep(f64::NAN).await);
        Ok(())
    });
}
