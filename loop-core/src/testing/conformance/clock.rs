//! The clock and the wait: **B6**, and deadlines that are never early.

use std::time::Duration;

use super::{Make, harness};
use crate::backend::Wait;
use crate::op::{Completion, Event};
use crate::op_table::OpKey;

pub(super) fn the_clock_never_goes_back(make: &mut Make<'_>) {
    let mut h = harness(make);
    // The checking wrapper compares each reading with the one before.
    for _ in 0..1_000 {
        let before = h.now();
        h.poll(Wait::Peek);
        h.poll(Wait::Now);
        assert!(h.now() >= before);
    }
}

pub(super) fn a_wait_is_never_early_and_does_not_spin(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (mut waits, mut polls) = (0, 0);
    for micros in [1, 50, 300, 999, 1_500, 5_000] {
        for _ in 0..10 {
            let deadline = h.now() + Duration::from_micros(micros);
            waits += 1;
            while h.now() < deadline {
                assert_eq!(h.poll(Wait::Until(deadline)), 0);
                polls += 1;
                // An interrupted wait may return early, once in a while. One that rounds down does so each time.
                assert!(polls <= waits + 8, "{polls} polls for {waits} waits: they return before their deadlines");
            }
        }
    }
}

pub(super) fn a_wait_until_the_past_returns(make: &mut Make<'_>) {
    let mut h = harness(make);
    let now = h.now();
    for past in [Duration::ZERO, now / 2, now] {
        assert_eq!(h.poll(Wait::Until(past)), 0);
    }
}

pub(super) fn foreseen_waits_end_at_their_deadlines(make: &mut Make<'_>) {
    let mut h = harness(make);
    let step = Duration::from_micros(150);
    let mut deadline = h.now() + step;
    let (mut waits, mut polls) = (0, 0);
    while waits < 50 {
        h.backend().foresee(deadline + step);
        waits += 1;
        while h.now() < deadline {
            assert_eq!(h.poll(Wait::Until(deadline)), 0);
            polls += 1;
        }
        // Where the machine stood still, what was foreseen has passed.
        deadline = if h.now() < deadline + step { deadline + step } else { h.now() + step };
    }
    assert!(polls <= 2 * waits + 8, "{polls} polls for {waits} waits");
}

/// Predictions bind nobody: the wait may be for something earlier, later, or what comes from elsewhere.
pub(super) fn what_was_foreseen_and_does_not_come_is_harmless(make: &mut Make<'_>) {
    let mut h = harness(make);
    let ms = Duration::from_millis(1);
    let wait = |h: &mut crate::testing::Harness, deadline: Duration| {
        let mut polls = 0;
        while h.now() < deadline {
            assert_eq!(h.poll(Wait::Until(deadline)), 0);
            polls += 1;
        }
        polls
    };
    // Earlier, and past what was foreseen; repeated; long ago.
    let start = h.now();
    h.backend().foresee(start + 3 * ms);
    h.backend().foresee(start + 3 * ms);
    wait(&mut h, start + ms);
    let polls = wait(&mut h, start + 8 * ms);
    assert!(polls <= 4, "{polls} polls for one wait");
    h.backend().foresee(start);
    let deadline = h.now() + ms;
    wait(&mut h, deadline);
    // It ends a wait for something later; the next are as good as the first.
    for _ in 0..4 {
        let deadline = h.now() + ms;
        h.backend().foresee(deadline);
        wait(&mut h, deadline + ms);
        assert_eq!(h.poll(Wait::Until(deadline)), 0);
        let next = h.now() + ms;
        h.backend().foresee(next);
        wait(&mut h, next);
    }
    // An unpark ends a wait for what was foreseen.
    let deadline = h.now() + Duration::from_secs(3600);
    h.backend().foresee(deadline);
    h.backend().unparker().unpark();
    h.poll(Wait::Until(deadline));
    assert!(h.now() < deadline);
}

pub(super) fn peek_and_now_report_nothing_where_nothing_is(make: &mut Make<'_>) {
    let mut h = harness(make);
    assert_eq!(h.poll(Wait::Peek), 0);
    assert_eq!(h.poll(Wait::Now), 0);
}

pub(super) fn a_virtual_clock_jumps_and_a_held_one_waits(make: &mut Make<'_>) {
    let mut h = harness(make);
    if !h.backend().capabilities().virtual_time {
        // A real clock ignores the hold.
        h.backend().hold_clock(true);
        let deadline = h.now() + Duration::from_millis(1);
        while h.now() < deadline {
            h.poll(Wait::Until(deadline));
        }
        return;
    }
    let hour = Duration::from_secs(3_600);
    let start = h.now();
    h.poll(Wait::Until(start + hour));
    assert_eq!(h.now(), start + hour, "to the nanosecond");
    h.poll(Wait::Now);
    h.poll(Wait::Peek);
    assert_eq!(h.now(), start + hour, "nothing else moves it");

    h.backend().hold_clock(true);
    let unparker = h.backend().unparker();
    let job = std::thread::spawn(move || unparker.unpark());
    h.poll(Wait::Until(start + 2 * hour));
    assert_eq!(h.now(), start + hour, "while a thread is at work it stands still");
    job.join().expect("the thread");
    h.backend().hold_clock(false);
    let end = start + 2 * hour;
    // The thread may have unparked twice as far as this side can tell.
    h.poll(Wait::Until(end));
    h.poll(Wait::Until(end));
    assert_eq!(h.now(), end);
}

pub(super) fn a_poll_appends(make: &mut Make<'_>) {
    let mut h = harness(make);
    let key = OpKey::from_u64(7);
    let mut out = vec![Completion { op: key, event: Event::Resume }];
    let (backend, ops) = h.parts();
    backend.poll(ops, Wait::Now, &mut out).expect("poll");
    assert!(matches!(out[..], [Completion { op, event: Event::Resume }] if op == key));
}
