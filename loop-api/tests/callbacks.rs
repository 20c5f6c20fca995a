//! Callbacks: `call_soon`, what one pass runs, and handles.

mod loops;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use loop_api::{Context, ContextVar, EventLoop, Handle, LoopError};
use loops::{Alive, Log, Mine, collect_reports, messages, new_loop, one_pass, quiet_panic, virtual_loop};

/// ITER-01.
#[test]
fn callbacks_run_once_each_in_the_order_they_were_queued() {
    let lp = new_loop();
    let log = Log::new();
    let thread = std::thread::current().id();
    for n in 0..100 {
        let log = log.clone();
        lp.call_soon(move || {
            assert_eq!(std::thread::current().id(), thread);
            log.add(n);
        })
        .unwrap();
    }
    assert_eq!(log.len(), 0, "nothing runs before the loop does");
    one_pass(&lp);
    assert_eq!(log.take(), (0..100).collect::<Vec<_>>());
    one_pass(&lp);
    assert_eq!(log.len(), 0);
}

/// ITER-02, I1.
#[test]
fn a_pass_runs_what_was_ready_when_it_began_and_no_more() {
    let lp = new_loop();
    let log = Log::new();
    for name in ["a", "b"] {
        let (lp2, log) = (lp.clone(), log.clone());
        lp.call_soon(move || {
            log.add(name);
            lp2.call_soon(log.adds("later")).unwrap();
        })
        .unwrap();
    }
    one_pass(&lp);
    assert_eq!(log.take(), ["a", "b"]);
    one_pass(&lp);
    assert_eq!(log.take(), ["later", "later"]);
}

/// ITER-04: no wait where something is ready, or `stop` was called; else until the nearest timer.
#[test]
fn the_loop_waits_only_where_there_is_nothing_to_do() {
    let (lp, clock) = virtual_loop();
    let start = clock.now();
    lp.call_later(10.0, || ()).unwrap();
    lp.call_soon(|| ()).unwrap();
    one_pass(&lp);
    assert_eq!(clock.now(), start, "with work ready the clock has no reason to move");
    one_pass(&lp);
    assert_eq!(clock.now(), start, "nor after stop");
    lp.call_later(3.0, {
        let lp = lp.clone();
        move || lp.stop()
    })
    .unwrap();
    lp.run_forever().unwrap();
    assert_eq!(clock.now(), start + Duration::from_secs(3));
}

/// ITER-05, I4: a callback that queues itself again and again holds up neither timers, nor I/O, nor other threads.
#[test]
fn a_busy_callback_starves_nobody() {
    fn again(lp: &EventLoop, left: &Rc<Cell<u32>>) {
        if left.get() == 0 {
            return lp.stop();
        }
        let (lp2, left) = (lp.clone(), Rc::clone(left));
        lp.call_soon(move || again(&lp2, &left)).unwrap();
    }
    let lp = new_loop();
    let left = Rc::new(Cell::new(3));
    let done = {
        let left = Rc::clone(&left);
        move || left.set(left.get() - 1)
    };
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    lp.add_reader(&ours, {
        let (lp, done, fd) = (lp.clone(), done.clone(), std::os::fd::AsRawFd::as_raw_fd(&ours));
        move || {
            lp.remove_reader(&fd).unwrap();
            done();
        }
    })
    .unwrap();
    let handle = lp.handle();
    let left_there = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&left_there);
    let thread = std::thread::spawn(move || {
        handle.call_soon_threadsafe(move |_| seen.store(1, Ordering::SeqCst)).unwrap();
        std::io::Write::write_all(&mut &theirs, b"x").unwrap();
        theirs
    });
    lp.call_later(0.001, done.clone()).unwrap();
    // The other thread's call is the third.
    let (lp2, left2) = (lp.clone(), Rc::clone(&left));
    fn watch(lp: &EventLoop, seen: &Arc<AtomicUsize>, left: &Rc<Cell<u32>>) {
        if seen.load(Ordering::SeqCst) == 1 {
            return left.set(left.get() - 1);
        }
        let (lp2, seen, left) = (lp.clone(), Arc::clone(seen), Rc::clone(left));
        lp.call_soon(move || watch(&lp2, &seen, &left)).unwrap();
    }
    lp.call_soon(move || watch(&lp2, &left_there, &left2)).unwrap();
    again(&lp, &left);
    lp.run_forever().unwrap();
    assert_eq!(left.get(), 0);
    drop(thread.join().unwrap());
}

/// ITER-06, HND-03.
#[test]
fn a_cancelled_entry_is_skipped_and_uses_up_its_place() {
    let lp = new_loop();
    let log = Log::new();
    let victim = Rc::new(RefCell::new(None::<loop_api::CallbackHandle>));
    {
        let (lp2, log, victim) = (lp.clone(), log.clone(), Rc::clone(&victim));
        lp.call_soon(move || {
            victim.borrow().as_ref().unwrap().cancel();
            lp2.call_soon(log.adds("next pass")).unwrap();
        })
        .unwrap();
    }
    victim.replace(Some(lp.call_soon(log.adds("cancelled")).unwrap()));
    lp.call_soon(log.adds("last")).unwrap();
    one_pass(&lp);
    assert_eq!(log.take(), ["last"]);
    one_pass(&lp);
    assert_eq!(log.take(), ["next pass"]);
}

/// ITER-07, EXC-05.
#[test]
fn a_panic_is_reported_and_the_rest_of_the_pass_runs() {
    let lp = new_loop();
    let reports = collect_reports(&lp);
    let log = Log::new();
    lp.call_soon(|| quiet_panic("boom")).unwrap();
    lp.call_soon(log.adds("after")).unwrap();
    one_pass(&lp);
    assert_eq!(log, ["after"]);
    let report = reports.take().pop().unwrap();
    assert!(report.message.as_deref().unwrap().starts_with("Exception in callback "));
    assert_eq!(report.panic().unwrap().message(), "boom");
    assert!(report.handle.is_some());
}

/// ITER-08.
#[test]
fn a_callback_runs_in_the_context_of_the_moment_it_was_queued() {
    let lp = new_loop();
    let var = Rc::new(ContextVar::new("var"));
    let log = Log::new();
    let look = |then: Option<u32>| {
        let (var, log) = (Rc::clone(&var), log.clone());
        move || {
            log.add(var.get());
            if let Some(value) = then {
                var.set(value);
            }
        }
    };
    var.set(1);
    lp.call_soon(look(Some(10))).unwrap();
    lp.call_soon(look(None)).unwrap();
    let own = Context::new();
    lp.call_soon_in(&own, look(Some(20))).unwrap();
    lp.call_soon_in(&own, look(None)).unwrap();
    var.set(2);
    one_pass(&lp);
    assert_eq!(log, [Some(1), Some(1), None, Some(20)]);
    assert_eq!((var.get(), own.get(&var)), (Some(2), Some(20)), "what a callback sets stays in its context");
}

/// ITER-09.
#[test]
fn a_signal_during_the_wait_is_no_event() {
    let lp = new_loop();
    let caught = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&caught);
    // SAFETY: the handler increments an atomic, which is async-signal-safe.
    unsafe {
        signal_hook::low_level::register(libc::SIGUSR1, move || {
            counter.fetch_add(1, Ordering::SeqCst);
        })
        .unwrap();
    }
    // SAFETY: names the calling thread, which outlives the one spawned below.
    let this = unsafe { libc::pthread_self() };
    let handle = lp.handle();
    let thread = std::thread::spawn(move || {
        for wanted in 1..=200 {
            // SAFETY: as above.
            assert_eq!(unsafe { libc::pthread_kill(this, libc::SIGUSR1) }, 0);
            while caught.load(Ordering::SeqCst) < wanted {
                std::thread::yield_now();
            }
        }
        handle.call_soon_threadsafe(EventLoop::stop).unwrap();
    });
    lp.run_forever().unwrap();
    thread.join().unwrap();
}

/// HND-01.
#[test]
fn cancel_lets_go_of_the_callback_at_once_and_may_be_repeated() {
    let lp = new_loop();
    let alive = Alive::none();
    let captured = alive.clone();
    let handle = lp.call_soon(move || drop(captured)).unwrap();
    assert_eq!(alive.others(), 1);
    handle.cancel();
    assert_eq!(alive.others(), 0);
    handle.cancel();
    assert!(handle.cancelled());
    one_pass(&lp);
}

/// HND-01: the destructor of what is let go of may use the handle, and the loop.
#[test]
fn what_cancel_drops_may_cancel_in_its_turn() {
    struct CancelsOnDrop(Rc<RefCell<Option<loop_api::CallbackHandle>>>, EventLoop, Log<&'static str>);
    impl Drop for CancelsOnDrop {
        fn drop(&mut self) {
            self.0.borrow().as_ref().unwrap().cancel();
            self.1.call_soon(self.2.adds("from a destructor")).unwrap();
        }
    }
    let lp = new_loop();
    let (slot, log) = (Rc::new(RefCell::new(None)), Log::new());
    let captured = CancelsOnDrop(Rc::clone(&slot), lp.clone(), log.clone());
    let handle = lp.call_soon(move || drop(captured)).unwrap();
    slot.replace(Some(handle.clone()));
    handle.cancel();
    one_pass(&lp);
    assert_eq!(log, ["from a destructor"]);
}

/// HND-02.
#[test]
fn cancelled_tells_only_whether_cancel_was_called() {
    let lp = new_loop();
    let handle = lp.call_soon(|| ()).unwrap();
    assert!(!handle.cancelled());
    one_pass(&lp);
    assert!(!handle.cancelled());
    handle.cancel();
    assert!(handle.cancelled());
}

/// HND-04.
#[test]
fn letting_go_of_a_handle_does_not_cancel() {
    let lp = new_loop();
    let log = Log::new();
    drop(lp.call_soon(log.adds("soon")).unwrap());
    drop(lp.call_later(0.0, log.adds("timer")).unwrap());
    one_pass(&lp);
    assert_eq!(log, ["soon", "timer"]);
}

/// HND-06.
#[test]
fn a_handle_tells_the_context_its_callback_runs_in() {
    let lp = new_loop();
    let var = ContextVar::new("var");
    var.set("captured");
    let handle = lp.call_soon(|| ()).unwrap();
    assert_eq!(handle.context().unwrap().get(&var), Some("captured"));
    let own = Context::new();
    own.run(|| var.set("given"));
    assert_eq!(lp.call_soon_in(&own, || ()).unwrap().context().unwrap().get(&var), Some("given"));
    assert_eq!(lp.call_later_in(&own, 5.0, || ()).unwrap().context().unwrap().get(&var), Some("given"));
}

/// HND-08.
#[test]
fn a_handle_shows_its_kind_and_its_state() {
    let lp = new_loop();
    let handle = lp.call_soon(|| ()).unwrap();
    let text = format!("{handle:?}");
    assert!(text.starts_with("<Handle ") && text.contains("callbacks.rs:"), "{text}");
    handle.cancel();
    assert!(format!("{handle:?}").starts_with("<Handle cancelled "));
    let timer = lp.call_at(Duration::from_secs(7), || ()).unwrap();
    let text = format!("{timer:?}");
    assert!(text.starts_with("<TimerHandle when=7s "), "{text}");
}

/// A handle of one's own: another language's callback.
struct Foreign {
    log: Log<&'static str>,
    cancelled: Cell<bool>,
    on_run: fn(),
    _mine: Option<Mine>,
}

impl Foreign {
    fn new(log: &Log<&'static str>, on_run: fn(), mine: Option<Mine>) -> Rc<Self> {
        Rc::new(Self { log: log.clone(), cancelled: Cell::new(false), on_run, _mine: mine })
    }
}

impl Handle for Foreign {
    fn run(&self, lp: &EventLoop) {
        assert!(lp.is_running());
        self.log.add("ran");
        (self.on_run)();
    }
    fn cancel(&self) {
        self.cancelled.set(true);
    }
    fn cancelled(&self) -> bool {
        self.cancelled.get()
    }
    fn describe(&self) -> &str {
        "foreign"
    }
}

/// The ready queue takes handles of other kinds (design, section 4).
#[test]
fn foreign_handles_take_their_turn_like_all_others() {
    let lp = new_loop();
    let (log, reports) = (Log::new(), collect_reports(&lp));
    let handle = Foreign::new(&log, || (), None);
    lp.call_soon(log.adds("before")).unwrap();
    lp.schedule(handle.clone()).unwrap();
    lp.call_soon(log.adds("between")).unwrap();
    lp.schedule(handle.clone()).unwrap();
    one_pass(&lp);
    assert_eq!(log.take(), ["before", "ran", "between", "ran"]);
    lp.schedule(handle.clone()).unwrap();
    handle.cancel();
    one_pass(&lp);
    assert_eq!(log.len(), 0);
    lp.schedule(Foreign::new(&log, || quiet_panic("run"), None)).unwrap();
    lp.schedule(Foreign::new(&log, || (), Some(Mine("drop")))).unwrap();
    one_pass(&lp);
    assert_eq!(log.take(), ["ran", "ran"]);
    assert_eq!(messages(&reports), ["Exception in callback foreign", "Exception in a destructor"]);
    lp.close().unwrap();
    assert!(matches!(lp.schedule(handle), Err(LoopError::Closed)));
}

/// LIFE-30, for callbacks.
#[test]
fn a_closed_loop_refuses_callbacks_and_drops_them() {
    let lp = new_loop();
    lp.close().unwrap();
    let alive = Alive::none();
    let callback = || {
        let captured = alive.clone();
        move || drop(captured)
    };
    assert!(matches!(lp.call_soon(callback()), Err(LoopError::Closed)));
    assert!(matches!(lp.call_soon_in(&Context::new(), callback()), Err(LoopError::Closed)));
    assert!(matches!(lp.call_later(1.0, callback()), Err(LoopError::Closed)));
    assert!(matches!(lp.call_at(Duration::ZERO, callback()), Err(LoopError::Closed)));
    assert!(matches!(lp.call_soon_threadsafe(|_| ()), Err(LoopError::Closed)));
    assert_eq!(alive.others(), 0);
}
