//! What happens to an error that nobody awaits.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use loop_api::{EventLoop, ExceptionContext, Fatal, fatal};

use crate::names::{describe, escaped};
use crate::stage::{Raised, Show, attempt, on_a_loop, one_pass, raise, reports};

fn fail() {
    raise("ValueError: x")
}

fn handle(lp: &EventLoop, handler: impl Fn(&EventLoop, &ExceptionContext) + 'static) {
    lp.set_exception_handler(Some(Rc::new(handler)));
}

/// EXC-05, EXC-06
#[test]
fn a_callback_that_ends_by_a_cancellation_is_reported_too() {
    on_a_loop(|lp| {
        lp.call_soon(|| raise("CancelledError"))?;
        lp.call_soon(|| trace!("behind"))?;
        one_pass(lp)?;
        Ok(())
    });
}

/// EXC-05, TIME-02
#[test]
fn a_timer_that_fails_is_reported() {
    on_a_loop(|lp| {
        lp.call_later(0.0, fail)?;
        lp.call_later(0.0, || trace!("behind"))?;
        one_pass(lp)?;
        Ok(())
    });
}

/// EXC-07
#[test]
fn a_handler_that_fails_does_not_end_the_loop() {
    on_a_loop(|lp| {
        handle(lp, |_, _| {
            trace!("handler");
            raise("ValueError: in the handler")
        });
        lp.call_soon(fail)?;
        lp.call_soon(|| trace!("behind"))?;
        one_pass(lp)?;
        trace!("running: {}", lp.is_running().show());
        Ok(())
    });
}

/// EXC-08
#[test]
fn a_fatal_error_of_a_handler_leaves_the_loop() {
    on_a_loop(|lp| {
        handle(lp, |_, _| fatal(Fatal::Exit(6)));
        lp.call_soon(fail)?;
        lp.call_soon(|| trace!("behind"))?;
        match catch_unwind(AssertUnwindSafe(|| lp.run_forever())) {
            Ok(ended) => attempt("run", ended),
            Err(payload) => trace!("run: {}", escaped(payload)),
        }
        lp.set_exception_handler(None);
        one_pass(lp)?;
        Ok(())
    });
}

/// EXC-09
#[test]
fn anybody_may_report_at_any_time() {
    on_a_loop(|lp| {
        lp.call_exception_handler(&ExceptionContext::new("at rest"));
        let this = lp.clone();
        lp.call_soon(move || {
            let context = ExceptionContext::new("running").exception(Raised("ValueError: x"));
            this.call_exception_handler(&context);
        })?;
        one_pass(lp)?;
        lp.close()?;
        lp.call_exception_handler(&ExceptionContext::new("closed"));
        Ok(())
    });
}

/// EXC-03
#[test]
fn a_handler_can_be_set_and_taken_away() {
    on_a_loop(|lp| {
        trace!("set: {}", lp.get_exception_handler().is_some().show());
        lp.set_exception_handler(None);
        trace!("set: {}", lp.get_exception_handler().is_some().show());
        lp.call_soon(fail)?;
        one_pass(lp)?;
        reports(lp);
        lp.call_soon(fail)?;
        one_pass(lp)?;
        Ok(())
    });
}

/// EXC-03, EXC-04
#[test]
fn a_handler_is_given_the_loop_and_the_report() {
    on_a_loop(|lp| {
        let this = lp.clone();
        handle(lp, move |which, context| {
            trace!("loop: {}", which.is_same(&this).show());
            trace!("exception: {}", describe(&**context.exception.as_ref().unwrap()));
            trace!("handle: {} task: {}", context.handle.is_some().show(), context.task.is_some().show());
        });
        lp.call_soon(fail)?;
        one_pass(lp)?;
        // The handler holds the loop.
        lp.set_exception_handler(None);
        Ok(())
    });
}

/// EXC-11
#[test]
fn a_handler_may_hand_on_to_the_default_one() {
    on_a_loop(|lp| {
        handle(lp, |lp, context| {
            trace!("handler");
            lp.default_exception_handler(context);
            trace!("handed on");
        });
        lp.call_soon(fail)?;
        one_pass(lp)?;
        Ok(())
    });
}

/// EXC-05, ITER-07
#[test]
fn a_handler_may_schedule() {
    on_a_loop(|lp| {
        handle(lp, |lp, _| {
            trace!("handler");
            lp.call_soon(|| trace!("scheduled by the handler")).unwrap();
        });
        lp.call_soon(fail)?;
        lp.call_soon(|| trace!("behind"))?;
        one_pass(lp)?;
        trace!("one pass");
        one_pass(lp)?;
        Ok(())
    });
}

/// EXC-05, LIFE-03
#[test]
fn a_handler_may_stop_the_loop() {
    on_a_loop(|lp| {
        handle(lp, |lp, _| {
            trace!("handler");
            lp.stop();
        });
        lp.call_soon(fail)?;
        lp.call_soon(|| trace!("behind"))?;
        lp.run_forever()?;
        trace!("stopped");
        Ok(())
    });
}
