//! One pass: what runs in it, and in which order.

use std::cell::Cell;
use std::io::{Read as _, Write as _, pipe};
use std::rc::Rc;

use loop_api::{Context, ContextVar, EventLoop};

use crate::stage::{Show, on_a_loop, one_pass, raise};

/// ITER-01
#[test]
fn callbacks_run_in_the_order_they_were_queued() {
    on_a_loop(|lp| {
        for number in 0..3 {
            lp.call_soon(move || trace!("callback {number}"))?;
        }
        trace!("queued");
        one_pass(lp)?;
        Ok(())
    });
}

/// ITER-02
#[test]
fn what_a_callback_queues_waits_for_the_next_pass() {
    on_a_loop(|lp| {
        let this = lp.clone();
        lp.call_soon(move || {
            trace!("first");
            this.call_soon(|| trace!("queued by the first")).unwrap();
        })?;
        lp.call_soon(|| trace!("second"))?;
        one_pass(lp)?;
        trace!("one pass");
        one_pass(lp)?;
        Ok(())
    });
}

/// ITER-02, LIFE-05
#[test]
fn two_that_queue_each_other_take_turns() {
    on_a_loop(|lp| {
        fn turn(lp: &EventLoop, name: &'static str, left: u32) {
            trace!("{name} {left}");
            if left > 0 {
                let this = lp.clone();
                lp.call_soon(move || turn(&this, name, left - 1)).unwrap();
            }
        }
        let (a, b) = (lp.clone(), lp.clone());
        lp.call_soon(move || turn(&a, "a", 3))?;
        lp.call_soon(move || turn(&b, "b", 1))?;
        for number in 0..4 {
            one_pass(lp)?;
            trace!("pass {number}");
        }
        Ok(())
    });
}

/// ITER-03
#[test]
fn ready_then_readable_then_due() {
    on_a_loop(|lp| {
        let (reader, mut writer) = pipe()?;
        let reader = Rc::new(reader);
        let (this, removes) = (lp.clone(), Rc::clone(&reader));
        writer.write_all(b"x")?;
        lp.call_later(0.0, || trace!("due"))?;
        lp.add_reader(&*reader, move || {
            trace!("readable");
            this.remove_reader(&*removes).unwrap();
        })?;
        lp.call_soon(|| trace!("ready"))?;
        one_pass(lp)?;
        Ok(())
    });
}

/// ITER-05, TIME-02
#[test]
fn a_busy_loop_still_comes_to_its_timers() {
    on_a_loop(|lp| {
        fn busy(lp: &EventLoop, ended: &Rc<Cell<bool>>) {
            if !ended.get() {
                let (this, ended) = (lp.clone(), Rc::clone(ended));
                lp.call_soon(move || busy(&this, &ended)).unwrap();
            }
        }
        let ended = Rc::new(Cell::new(false));
        busy(lp, &ended);
        let stops = lp.clone();
        lp.call_later(0.01, move || {
            trace!("timer");
            ended.set(true);
            stops.stop();
        })?;
        lp.run_forever()?;
        trace!("stopped");
        Ok(())
    });
}

/// ITER-06, HND-03
#[test]
fn a_callback_cancelled_in_its_pass_is_skipped() {
    on_a_loop(|lp| {
        let victim = Rc::new(Cell::new(None::<loop_api::CallbackHandle>));
        let cancels = Rc::clone(&victim);
        lp.call_soon(move || {
            trace!("cancels");
            let handle = cancels.take().unwrap();
            handle.cancel();
            cancels.set(Some(handle));
        })?;
        victim.set(Some(lp.call_soon(|| trace!("never"))?));
        lp.call_soon(|| trace!("behind"))?;
        one_pass(lp)?;
        trace!("cancelled: {}", victim.take().is_some_and(|handle| handle.cancelled()).show());
        Ok(())
    });
}

/// ITER-07, EXC-05
#[test]
fn a_callback_that_fails_does_not_end_the_pass() {
    on_a_loop(|lp| {
        lp.call_soon(|| raise("ValueError: x"))?;
        lp.call_soon(|| trace!("behind"))?;
        one_pass(lp)?;
        Ok(())
    });
}

/// ITER-08
#[test]
fn a_callback_runs_in_the_context_it_was_queued_in() {
    on_a_loop(|lp| {
        let variable = Rc::new(ContextVar::new("variable"));
        let (one, two) = (Rc::clone(&variable), Rc::clone(&variable));
        variable.set("one");
        lp.call_soon(move || {
            trace!("queued with {}", one.get().show());
            one.set("changed");
        })?;
        variable.set("two");
        lp.call_soon(move || trace!("queued with {}", two.get().show()))?;
        one_pass(lp)?;
        trace!("outside {}", variable.get().show());
        Ok(())
    });
}

/// ITER-08
#[test]
fn callbacks_share_a_context_that_is_passed() {
    on_a_loop(|lp| {
        let variable = Rc::new(ContextVar::new("variable"));
        let (sets, shared, own) = (Rc::clone(&variable), Rc::clone(&variable), Rc::clone(&variable));
        variable.set("outside");
        let context = Context::copy();
        lp.call_soon_in(&context, move || _ = sets.set("inside"))?;
        lp.call_soon_in(&context, move || trace!("shared: {}", shared.get().show()))?;
        lp.call_soon(move || trace!("own: {}", own.get().show()))?;
        one_pass(lp)?;
        trace!("passed: {}", context.get(&variable).show());
        Ok(())
    });
}

/// ITER-10, RW-01
#[test]
fn what_stays_readable_is_called_every_pass() {
    on_a_loop(|lp| {
        let (reader, mut writer) = pipe()?;
        writer.write_all(b"abc")?;
        let (reader, stops) = (Rc::new(reader), lp.clone());
        let reads = Rc::clone(&reader);
        lp.add_reader(&*reader, move || {
            let mut piece = [0];
            (&*reads).read_exact(&mut piece).unwrap();
            trace!("read {}", piece.as_slice().show());
            if piece == *b"c" {
                stops.stop();
            }
        })?;
        lp.run_forever()?;
        Ok(())
    });
}

/// RW-02, RW-04
#[test]
fn a_reader_is_replaced_and_removed() {
    on_a_loop(|lp| {
        let (reader, mut writer) = pipe()?;
        writer.write_all(b"x")?;
        let stops = lp.clone();
        lp.add_reader(&reader, || trace!("never"))?;
        lp.add_reader(&reader, move || {
            trace!("the second");
            stops.stop();
        })?;
        lp.run_forever()?;
        trace!("removed: {}", lp.remove_reader(&reader)?.show());
        trace!("again: {}", lp.remove_reader(&reader)?.show());
        trace!("writer: {}", lp.remove_writer(&reader)?.show());
        Ok(())
    });
}

/// RW-12
#[test]
fn a_reader_that_fails_stays() {
    on_a_loop(|lp| {
        let (reader, mut writer) = pipe()?;
        writer.write_all(b"x")?;
        let (stops, mut calls) = (lp.clone(), 0);
        lp.add_reader(&reader, move || {
            calls += 1;
            if calls == 2 {
                stops.stop();
                raise("ValueError: call 2");
            }
            raise("ValueError: call 1");
        })?;
        lp.run_forever()?;
        trace!("removed: {}", lp.remove_reader(&reader)?.show());
        Ok(())
    });
}

/// HND-01, HND-02
#[test]
fn a_handle_tells_only_whether_it_was_cancelled() {
    on_a_loop(|lp| {
        let handle = lp.call_soon(|| trace!("ran"))?;
        one_pass(lp)?;
        trace!("after it ran: {}", handle.cancelled().show());
        handle.cancel();
        handle.cancel();
        trace!("after cancel: {}", handle.cancelled().show());
        Ok(())
    });
}

/// HND-04
#[test]
fn letting_go_of_a_handle_cancels_nothing() {
    on_a_loop(|lp| {
        drop(lp.call_soon(|| trace!("ran"))?);
        one_pass(lp)?;
        Ok(())
    });
}

/// TASK-02, FUT-02
#[test]
fn three_steps_from_a_result_to_its_reader() {
    on_a_loop(|lp| {
        fn passes(lp: &EventLoop, number: u32) {
            trace!("pass {number}");
            if number < 4 {
                let this = lp.clone();
                lp.call_soon(move || passes(&this, number + 1)).unwrap();
            }
        }
        let (future, counts) = (lp.create_future(), lp.clone());
        let sets = future.clone();
        let task = lp.create_task(async move {
            trace!("waits");
            trace!("read {}", future.await.unwrap());
        })?;
        lp.call_soon(move || passes(&counts, 1))?;
        lp.call_soon(move || {
            sets.set_result("it").unwrap();
            trace!("set");
        })?;
        lp.run_until_complete(task)??;
        Ok(())
    });
}
