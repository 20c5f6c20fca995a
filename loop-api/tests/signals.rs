//! Signal handlers: rows SIG-01 to SIG-10 of the semantics.
//!
//! Tests of one binary share the process's dispositions, so each has a signal of its own.

mod loops;

use std::cell::{Cell, RefCell};
use std::mem::MaybeUninit;
use std::rc::Rc;

use libc::c_int;
use loop_api::{LoopError, get_running_loop};
use loops::{Alive, Log, collect_reports, messages, new_loop, one_pass, quiet_panic};

/// What the process does with a signal: the address of its handler.
fn disposition(signal: c_int) -> usize {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: asks only; the kernel writes the action.
    unsafe {
        assert_eq!(libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()), 0);
        action.assume_init().sa_sigaction
    }
}

fn raise(signal: c_int) {
    // SAFETY: a handler is installed, which is ours.
    assert_eq!(unsafe { libc::raise(signal) }, 0);
}

/// A signal to the process, not to this thread: any thread may get it.
fn send(signal: c_int) {
    // SAFETY: as above.
    assert_eq!(unsafe { libc::kill(libc::getpid(), signal) }, 0);
}

/// SIG-01: the loop sleeps without a deadline, and only the signal wakes it.
#[test]
fn a_signal_wakes_the_loop_and_calls_its_handler() {
    let event_loop = new_loop();
    let stops = event_loop.clone();
    event_loop.add_signal_handler(libc::SIGUSR1, move || stops.stop()).unwrap();
    event_loop.call_soon(|| drop(std::thread::spawn(|| send(libc::SIGUSR1)))).unwrap();
    event_loop.run_forever().unwrap();
    event_loop.close().unwrap();
}

/// SIG-02: the handler is an ordinary callback: a task may be made in it, and it runs in a pass after the wake-up's.
#[test]
fn a_handler_may_use_the_loop() {
    let event_loop = new_loop();
    let log = Log::new();
    let (entry, stops) = (log.clone(), event_loop.clone());
    event_loop
        .add_signal_handler(libc::SIGUSR2, move || {
            let (entry, stops) = (entry.clone(), stops.clone());
            let current = get_running_loop().unwrap().current_task();
            assert!(current.is_none(), "no task is current in a callback");
            get_running_loop()
                .unwrap()
                .create_task(async move {
                    entry.add("task");
                    stops.stop();
                })
                .unwrap();
        })
        .unwrap();
    raise(libc::SIGUSR2);
    event_loop.call_soon(log.adds("first")).unwrap();
    event_loop.run_forever().unwrap();
    assert_eq!(log, ["first", "task"]);
    event_loop.close().unwrap();
}

/// SIG-03
#[test]
fn a_second_handler_replaces_the_first() {
    let event_loop = new_loop();
    let (log, alive) = (Log::new(), Alive::none());
    let (held, first, second) = (alive.clone(), log.clone(), log.clone());
    event_loop.add_signal_handler(libc::SIGHUP, move || first.add((held.others(), "first"))).unwrap();
    event_loop.add_signal_handler(libc::SIGHUP, move || second.add((0, "second"))).unwrap();
    assert_eq!(alive.others(), 0, "the first one is let go of");
    raise(libc::SIGHUP);
    while log.len() == 0 {
        one_pass(&event_loop);
    }
    assert_eq!(log, [(0, "second")]);
    event_loop.close().unwrap();
    assert_eq!(disposition(libc::SIGHUP), libc::SIG_DFL);
}

/// What a replaced handler held may use the signals when it goes.
#[test]
fn what_a_replaced_handler_held_may_remove_the_new_one() {
    struct Removes(loop_api::EventLoop);
    impl Drop for Removes {
        fn drop(&mut self) {
            assert!(self.0.remove_signal_handler(libc::SIGSYS));
        }
    }
    let event_loop = new_loop();
    let reports = collect_reports(&event_loop);
    let held = Removes(event_loop.clone());
    event_loop.add_signal_handler(libc::SIGSYS, move || _ = held.0.is_running()).unwrap();
    event_loop.add_signal_handler(libc::SIGSYS, || {}).unwrap();
    assert_eq!(disposition(libc::SIGSYS), libc::SIG_DFL);
    assert_eq!(messages(&reports).len(), 0);
    event_loop.close().unwrap();
}

/// SIG-04: the disposition is what it was.
#[test]
fn removing_restores_what_was_before() {
    // SAFETY: ignoring a signal runs no code.
    unsafe { libc::signal(libc::SIGWINCH, libc::SIG_IGN) };
    let event_loop = new_loop();
    assert!(!event_loop.remove_signal_handler(libc::SIGWINCH), "there is none");
    let alive = Alive::none();
    let held = alive.clone();
    event_loop.add_signal_handler(libc::SIGWINCH, move || _ = held.others()).unwrap();
    assert_ne!(disposition(libc::SIGWINCH), libc::SIG_IGN);
    assert!(event_loop.remove_signal_handler(libc::SIGWINCH));
    assert_eq!(disposition(libc::SIGWINCH), libc::SIG_IGN);
    assert_eq!(alive.others(), 0);
    assert!(!event_loop.remove_signal_handler(libc::SIGWINCH));
    event_loop.close().unwrap();
}

/// SIG-05
#[test]
fn what_is_no_signal_or_cannot_be_caught_is_refused() {
    let event_loop = new_loop();
    for number in [0, -1, 65, i32::MAX, i32::MIN] {
        let refused = event_loop.add_signal_handler(number, || {});
        assert!(matches!(refused, Err(LoopError::InvalidArgument(_))), "{number}: {refused:?}");
        assert!(!event_loop.remove_signal_handler(number));
    }
    // 32 is the C library's own.
    for signal in [libc::SIGKILL, libc::SIGSTOP, libc::SIGSEGV, 32] {
        let refused = event_loop.add_signal_handler(signal, || {});
        assert!(matches!(refused, Err(LoopError::UncatchableSignal(number)) if number == signal), "{refused:?}");
        assert!(!event_loop.remove_signal_handler(signal));
    }
    event_loop.close().unwrap();
}

/// SIG-06, lifted: any thread's loop may, one at a time.
#[test]
fn a_signal_has_one_loop_at_a_time() {
    let (one, other) = (new_loop(), new_loop());
    one.add_signal_handler(libc::SIGTTIN, || {}).unwrap();
    let refused = other.add_signal_handler(libc::SIGTTIN, || {});
    assert!(matches!(refused, Err(LoopError::SignalInUse(libc::SIGTTIN))), "{refused:?}");
    one.close().unwrap();
    other.add_signal_handler(libc::SIGTTIN, || {}).unwrap();
    other.close().unwrap();
    assert_eq!(disposition(libc::SIGTTIN), libc::SIG_DFL);
}

/// SIG-07
#[test]
fn a_closed_loop_handles_nothing() {
    let event_loop = new_loop();
    event_loop.close().unwrap();
    assert!(matches!(event_loop.add_signal_handler(libc::SIGTTOU, || {}), Err(LoopError::Closed)));
    assert!(!event_loop.remove_signal_handler(libc::SIGTTOU));
    assert_eq!(disposition(libc::SIGTTOU), libc::SIG_DFL);
}

/// SIG-08: and a loop that is dropped is closed.
#[test]
fn close_removes_every_handler() {
    let event_loop = new_loop();
    let alive = Alive::none();
    for signal in [libc::SIGXCPU, libc::SIGVTALRM] {
        let held = alive.clone();
        event_loop.add_signal_handler(signal, move || _ = held.others()).unwrap();
    }
    drop(event_loop);
    assert_eq!(alive.others(), 0);
    for signal in [libc::SIGXCPU, libc::SIGVTALRM] {
        assert_eq!(disposition(signal), libc::SIG_DFL);
    }
}

/// SIG-09: one call a signal, in the order in which they came, over several kinds.
#[test]
fn every_signal_is_one_call() {
    let event_loop = new_loop();
    let log = Log::new();
    for signal in [libc::SIGPROF, libc::SIGURG] {
        let log = log.clone();
        event_loop.add_signal_handler(signal, move || log.add(signal)).unwrap();
    }
    let sent = [libc::SIGPROF, libc::SIGURG, libc::SIGPROF, libc::SIGPROF, libc::SIGURG];
    // To this thread, and handled before `raise` returns, so none is merged.
    sent.into_iter().for_each(raise);
    while log.len() < sent.len() {
        one_pass(&event_loop);
    }
    one_pass(&event_loop);
    assert_eq!(log, sent);
    event_loop.close().unwrap();
}

/// A handler that panics is reported, and is called again.
#[test]
fn a_handler_that_panics_is_reported_and_stays() {
    let event_loop = new_loop();
    let reports = collect_reports(&event_loop);
    let calls = Rc::new(Cell::new(0));
    let counts = Rc::clone(&calls);
    event_loop
        .add_signal_handler(libc::SIGIO, move || {
            counts.set(counts.get() + 1);
            quiet_panic("handler");
        })
        .unwrap();
    for expected in 1..=2 {
        raise(libc::SIGIO);
        while calls.get() < expected {
            one_pass(&event_loop);
        }
    }
    assert_eq!(messages(&reports).len(), 2);
    event_loop.close().unwrap();
}

/// A handler may remove itself, and another.
#[test]
fn a_handler_may_remove_itself() {
    let event_loop = new_loop();
    let removes = event_loop.clone();
    let done = Rc::new(RefCell::new(Vec::new()));
    let log = Rc::clone(&done);
    event_loop
        .add_signal_handler(libc::SIGPWR, move || log.borrow_mut().push(removes.remove_signal_handler(libc::SIGPWR)))
        .unwrap();
    raise(libc::SIGPWR);
    while done.borrow().is_empty() {
        one_pass(&event_loop);
    }
    assert_eq!(*done.borrow(), [true]);
    assert_eq!(disposition(libc::SIGPWR), libc::SIG_DFL);
    event_loop.close().unwrap();
}

/// SIG-10
#[test]
fn a_signal_to_a_forked_child_does_not_reach_the_parents_loop() {
    let event_loop = new_loop();
    let log = Log::new();
    let (calls, again) = (log.clone(), log.clone());
    event_loop.add_signal_handler(libc::SIGALRM, move || calls.add("parent")).unwrap();
    // SAFETY: the child calls nothing but what is async-signal-safe.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0);
        if child == 0 {
            libc::raise(libc::SIGALRM);
            libc::_exit(0);
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "the handler is there, and does nothing");
    }
    // Had it been written, it would come before the parent's own.
    raise(libc::SIGALRM);
    while log.len() == 0 {
        one_pass(&event_loop);
    }
    one_pass(&event_loop);
    assert_eq!(again, ["parent"]);
    event_loop.close().unwrap();
}

/// The pipe is there for as long as there are handlers.
#[test]
fn handlers_leave_no_descriptor_behind() {
    let event_loop = new_loop();
    event_loop.add_signal_handler(libc::SIGTSTP, || {}).unwrap();
    assert!(event_loop.remove_signal_handler(libc::SIGTSTP));
    event_loop.add_signal_handler(libc::SIGTSTP, || {}).unwrap();
    let stops = event_loop.clone();
    event_loop.add_signal_handler(libc::SIGTSTP, move || stops.stop()).unwrap();
    raise(libc::SIGTSTP);
    event_loop.run_forever().unwrap();
    event_loop.close().unwrap();
    assert_eq!(disposition(libc::SIGTSTP), libc::SIG_DFL);
}
