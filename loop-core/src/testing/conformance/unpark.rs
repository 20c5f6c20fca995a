//! Waking a poll from other threads: **B5**.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::{Make, harness};
use crate::backend::Wait;
use crate::testing::harness::recv_op;

pub(super) fn an_unpark_before_the_poll_ends_it(make: &mut Make<'_>) {
    let mut h = harness(make);
    let unparker = h.backend().unparker();
    for _ in 0..10 {
        unparker.unpark();
        assert_eq!(h.poll(Wait::Forever), 0);
    }
    // On a virtual clock the checking wrapper sees a jump; on a real one this takes an hour if it fails.
    unparker.unpark();
    let hour = h.now() + Duration::from_secs(3_600);
    assert_eq!(h.poll(Wait::Until(hour)), 0);
    assert!(h.now() < hour);
}

pub(super) fn an_unpark_during_the_poll_ends_it(make: &mut Make<'_>) {
    const ROUNDS: usize = 300;
    let mut h = harness(make);
    h.backend().hold_clock(true);
    let unparker = h.backend().unparker();
    let asked = Arc::new(AtomicUsize::new(0));
    let answered = Arc::new(AtomicUsize::new(0));
    let waker = thread::spawn({
        let (asked, answered) = (Arc::clone(&asked), Arc::clone(&answered));
        move || {
            for round in 1..=ROUNDS {
                while asked.load(Ordering::Acquire) < round {
                    thread::yield_now();
                }
                // Some rounds hit a poll that has not begun, some one that waits.
                for _ in 0..round % 7 {
                    thread::yield_now();
                }
                answered.store(round, Ordering::Release);
                unparker.unpark();
            }
        }
    });
    for round in 1..=ROUNDS {
        asked.store(round, Ordering::Release);
        h.wait_for("an unpark", |_| (answered.load(Ordering::Acquire) >= round).then_some(()));
    }
    waker.join().expect("the waking thread");
    h.backend().hold_clock(false);
}

pub(super) fn many_unparks_are_used_up(make: &mut Make<'_>) {
    const THREADS: usize = 4;
    const EACH: usize = 500;
    let mut h = harness(make);
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let unparker = h.backend().unparker();
            thread::spawn(move || (0..EACH).for_each(|_| unparker.unpark()))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("an unparking thread"));
    assert_eq!(h.poll(Wait::Forever), 0);
    // They may coalesce, and must not stay: after them, a wait is a wait.
    let deadline = h.now() + Duration::from_millis(2);
    let mut polls = 0;
    while h.now() < deadline {
        h.poll(Wait::Until(deadline));
        polls += 1;
        assert!(polls <= THREADS * EACH + 10, "unparks that are over keep on waking");
    }
}

pub(super) fn an_unpark_loses_no_completion(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (client, server) = h.tcp_pair();
    let unparker = h.backend().unparker();
    for _ in 0..20 {
        let receive = h.start(recv_op(server, 16));
        unparker.unpark();
        h.send_all(client, b"ping");
        unparker.unpark();
        assert_eq!(h.received(receive).unwrap(), b"ping");
    }
}

pub(super) fn an_unpark_after_the_end_is_harmless(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (ours, theirs) = (h.backend().unparker(), h.backend().unparker());
    drop(h);
    ours.unpark();
    thread::spawn(move || theirs.unpark()).join().expect("the thread");
    ours.unpark();
}

pub(super) fn every_unparker_works(make: &mut Make<'_>) {
    let mut h = harness(make);
    for unparker in [h.backend().unparker(), h.backend().unparker()] {
        unparker.unpark();
        assert_eq!(h.poll(Wait::Forever), 0);
    }
}
