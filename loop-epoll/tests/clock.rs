//! Waits: never early, to the microsecond, interrupted by signals and by other threads.

mod sockets;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use loop_core::Wait;
use loop_core::testing::Harness;
use sockets::{harness, harness_with_timerfd, look};

fn both() -> [Harness; 2] {
    [harness(), harness_with_timerfd()]
}

#[test]
fn a_wait_ends_at_its_deadline_and_not_before() {
    for mut h in both() {
        for micros in [1, 30, 700, 2_500, 60_000] {
            let deadline = h.now() + Duration::from_micros(micros);
            assert!(look(&mut h, Wait::Until(deadline)).is_empty());
            assert!(h.now() >= deadline, "early by {:?}", deadline - h.now());
        }
    }
}

#[test]
fn a_later_wait_is_not_cut_short_by_an_earlier_one_for_long() {
    for mut h in both() {
        let (near, far) = (h.now() + Duration::from_millis(2), h.now() + Duration::from_millis(6));
        h.backend().unparker().unpark();
        assert!(look(&mut h, Wait::Until(near)).is_empty());
        let mut polls = 0;
        while h.now() < far {
            assert!(look(&mut h, Wait::Until(far)).is_empty());
            polls += 1;
        }
        assert!(polls <= 3, "{polls} polls for one wait");
    }
}

#[test]
fn a_deadline_beyond_all_time_is_a_wait_like_any_other() {
    for mut h in both() {
        let unparker = h.backend().unparker();
        unparker.unpark();
        assert!(look(&mut h, Wait::Until(Duration::MAX)).is_empty());
        let waker = std::thread::spawn(move || unparker.unpark());
        assert!(look(&mut h, Wait::Until(Duration::MAX)).is_empty());
        waker.join().unwrap();
    }
}

#[test]
fn a_signal_ends_a_wait_without_an_error() {
    extern "C" fn nothing(_: libc::c_int) {}
    let handler = nothing as extern "C" fn(libc::c_int);
    // SAFETY: the handler does nothing, which is safe in a handler; nothing else here uses the signal.
    unsafe { libc::signal(libc::SIGUSR2, handler as libc::sighandler_t) };
    for mut h in both() {
        // SAFETY: asks for the calling thread's own name.
        let thread = unsafe { libc::pthread_self() };
        let woken = Arc::new(AtomicBool::new(false));
        let signaller = std::thread::spawn({
            let woken = Arc::clone(&woken);
            move || {
                while !woken.load(Ordering::Acquire) {
                    // SAFETY: the thread is joined by none, and waits for this one to end.
                    unsafe { libc::pthread_kill(thread, libc::SIGUSR2) };
                    std::thread::yield_now();
                }
            }
        });
        assert!(look(&mut h, Wait::Forever).is_empty());
        let deadline = h.now() + Duration::from_secs(3_600);
        assert!(look(&mut h, Wait::Until(deadline)).is_empty());
        woken.store(true, Ordering::Release);
        signaller.join().unwrap();
        assert!(h.now() < deadline);
    }
}

#[test]
fn the_threads_timer_slack_is_given_back() {
    std::thread::spawn(|| {
        let before = rustix::thread::current_timer_slack().unwrap();
        let mut h = harness();
        let deadline = h.now() + Duration::from_micros(10);
        look(&mut h, Wait::Until(deadline));
        assert_eq!(rustix::thread::current_timer_slack().unwrap(), 1);
        drop(h);
        assert_eq!(rustix::thread::current_timer_slack().unwrap(), before);
    })
    .join()
    .unwrap();
}
