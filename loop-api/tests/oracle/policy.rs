//! Which loop is running, and which is current.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::thread;

use loop_api::{
    EventLoop, Fatal, Runner, fatal, get_event_loop, get_running_loop, new_event_loop, run, set_event_loop,
};

use crate::names::escaped;
use crate::stage::{Show, attempt, bare, in_a_task, on_a_loop, one_pass};

/// POL-01
#[test]
fn the_running_loop_is_the_one_that_runs() {
    on_a_loop(|lp| {
        let expects = lp.clone();
        lp.call_soon(move || trace!("in a callback: {}", get_running_loop().unwrap().is_same(&expects).show()))?;
        lp.run_until_complete(async { trace!("in a coroutine: {}", get_running_loop().unwrap().is_same(lp).show()) })?;
        Ok(())
    });
}

/// POL-02, POL-04
#[test]
fn there_is_no_running_loop_at_rest() {
    on_a_loop(|lp| {
        attempt("before", get_running_loop().map(|_| "a loop"));
        one_pass(lp)?;
        attempt("after", get_running_loop().map(|_| "a loop"));
        Ok(())
    });
}

/// POL-02
#[test]
fn a_worker_thread_has_no_running_loop() {
    in_a_task(async || {
        let work = || if get_running_loop().is_ok() { "one" } else { "none" };
        trace!("in the worker: {}", get_running_loop()?.run_in_executor(None, work)?.await?);
        Ok(())
    });
}

/// POL-03
#[test]
fn two_threads_run_a_loop_each() {
    on_a_loop(|lp| {
        fn elsewhere() -> bool {
            let (other, seen) = (new_event_loop().unwrap(), Rc::new(RefCell::new(false)));
            let (expects, sees) = (other.clone(), Rc::clone(&seen));
            other.call_soon(move || _ = sees.replace(get_running_loop().unwrap().is_same(&expects))).unwrap();
            one_pass(&other).unwrap();
            seen.take()
        }
        let this = lp.clone();
        lp.call_soon(move || {
            trace!("the other thread saw its own: {}", thread::spawn(elsewhere).join().unwrap().show());
            trace!("this one sees its own: {}", get_running_loop().unwrap().is_same(&this).show());
        })?;
        one_pass(lp)?;
        Ok(())
    });
}

/// POL-04, LIFE-22
#[test]
fn the_slot_is_cleared_whatever_ends_the_run() {
    on_a_loop(|lp| {
        lp.call_soon(|| fatal(Fatal::Exit(1)))?;
        match catch_unwind(AssertUnwindSafe(|| lp.run_forever())) {
            Ok(ended) => attempt("run", ended),
            Err(payload) => trace!("run: {}", escaped(payload)),
        }
        attempt("running loop", get_running_loop().map(|_| "a loop"));
        Ok(())
    });
}

/// POL-05
#[test]
fn the_running_loop_goes_before_the_current_one() {
    on_a_loop(|lp| {
        let current = new_event_loop()?;
        set_event_loop(Some(&current));
        let expects = lp.clone();
        lp.call_soon(move || trace!("inside: {}", get_event_loop().unwrap().is_same(&expects).show()))?;
        one_pass(lp)?;
        trace!("outside: {}", get_event_loop()?.is_same(&current).show());
        Ok(())
    });
}

/// POL-06
#[test]
fn the_current_loop_may_be_closed() {
    on_a_loop(|lp| {
        set_event_loop(Some(lp));
        lp.close()?;
        let current = get_event_loop()?;
        trace!("same: {} closed: {}", current.is_same(lp).show(), current.is_closed().show());
        Ok(())
    });
}

/// POL-08, POL-09
#[test]
fn set_event_loop_none_turns_making_one_off() {
    bare(|| {
        set_event_loop(None);
        attempt("get_event_loop", get_event_loop().map(|_| "a loop"));
        Ok(())
    });
}

/// POL-10
#[test]
fn the_current_loop_is_each_threads_own() {
    on_a_loop(|lp| {
        // A loop cannot go to another thread, so that is asked whether its own is still the one it set.
        let elsewhere = || {
            let own = new_event_loop().unwrap();
            set_event_loop(Some(&own));
            !get_event_loop().unwrap().is_same(&own)
        };
        set_event_loop(Some(lp));
        trace!("the other thread sees this one's: {}", thread::spawn(elsewhere).join().unwrap().show());
        trace!("this thread's is unchanged: {}", get_event_loop()?.is_same(lp).show());
        Ok(())
    });
}

/// POL-10
#[test]
fn swapping_the_current_loop_closes_neither() {
    on_a_loop(|lp| {
        let other = new_event_loop()?;
        set_event_loop(Some(lp));
        set_event_loop(Some(&other));
        trace!("current: {}", get_event_loop()?.is_same(&other).show());
        trace!("closed: {} {}", lp.is_closed().show(), other.is_closed().show());
        Ok(())
    });
}

/// POL-12
#[test]
fn a_new_loop_is_nobodys() {
    bare(|| {
        let (one, two) = (new_event_loop()?, new_event_loop()?);
        trace!("same: {}", one.is_same(&two).show());
        trace!("running: {} closed: {}", one.is_running().show(), one.is_closed().show());
        one.call_soon(|| trace!("only in one"))?;
        one_pass(&two)?;
        trace!("two ran");
        one_pass(&one)?;
        Ok(())
    });
}

/// POL-13, RUN-04
#[test]
fn run_leaves_no_current_loop() {
    bare(|| {
        set_event_loop(Some(&new_event_loop()?));
        run(async { trace!("main") })?;
        attempt("get_event_loop", get_event_loop().map(|_| "a loop"));
        Ok(())
    });
}

/// POL-13, RUN-10
#[test]
fn a_loop_factory_leaves_the_current_loop() {
    bare(|| {
        let made: Rc<RefCell<Option<EventLoop>>> = Rc::default();
        let makes = Rc::clone(&made);
        let current = new_event_loop()?;
        set_event_loop(Some(&current));
        let mut runner = Runner::builder()
            .loop_factory(move || {
                let event_loop = new_event_loop()?;
                makes.replace(Some(event_loop.clone()));
                Ok(event_loop)
            })
            .build();
        let event_loop = runner.get_loop()?;
        runner.run(async { trace!("running: {}", get_running_loop().unwrap().is_same(&event_loop).show()) })?;
        runner.close()?;
        trace!("current is unchanged: {}", get_event_loop()?.is_same(&current).show());
        trace!("closed: {}", made.take().unwrap().is_closed().show());
        Ok(())
    });
}
