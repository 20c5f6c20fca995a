//! How often a busy loop looks at the kernel and at the clock (**I3**, **I4**).
//!
//! With work ready, a pass owes the kernel nothing: it looks in memory. After so many entries as took about [`WINDOW`], at
//! the most [`MOST`], it looks at the clock, and goes to the kernel if the last visit is [`SPACING`] ago: so entries that
//! take nanoseconds pay neither a system call nor a clock each, and I/O waits for no more than the window. What an entry
//! takes is learnt from what ran since the visit before, so slow callbacks bring the visits closer. Between looks the clock
//! is read only where a timer is so near that it could be due within the window, so that timers keep asyncio's order to
//! the pass.

use std::cell::Cell;
use std::time::Duration;

use crate::backend::Wait;

/// The longest that a busy loop means to go on without a look at the kernel.
const WINDOW: Duration = Duration::from_micros(100);
/// Visits closer than this would cost more than they bring: one takes some 400 ns.
const SPACING: Duration = Duration::from_micros(10);
/// The most entries between two looks at the clock.
const MOST: u32 = 61;

pub(crate) struct Pace {
    /// A poll costs nothing: visit at every pass.
    always: bool,
    /// Entries that ran since the last visit.
    ran: Cell<usize>,
    /// How many may have run before the next look at the clock.
    look_at: Cell<usize>,
    /// How many may run between two looks.
    quota: Cell<u32>,
    due: Cell<bool>,
    sampled: Cell<Duration>,
    visited: Cell<Duration>,
}

impl Pace {
    pub(crate) fn new(always: bool) -> Self {
        let zero = || Cell::new(Duration::ZERO);
        Self {
            always,
            ran: Cell::new(0),
            look_at: Cell::new(0),
            quota: Cell::new(MOST),
            due: Cell::new(true),
            sampled: zero(),
            visited: zero(),
        }
    }

    /// The next pass is the first of a run: it visits.
    pub(crate) fn reset(&self) {
        self.due.set(true);
        self.look_at.set(0);
    }

    /// Whether it is time to look at the clock, if not to visit.
    #[inline]
    pub(crate) fn look_due(&self) -> bool {
        self.ran.get() >= self.look_at.get()
    }

    #[inline]
    pub(crate) fn entries_ran(&self, count: usize) {
        // Since the last visit: not so many that a number would not hold them.
        self.ran.set(self.ran.get().wrapping_add(count));
    }

    pub(crate) fn visit_due(&self, clock: impl FnOnce() -> Duration) -> bool {
        self.always || self.due.get() || (self.look_due() && self.look(clock()))
    }

    /// A look at the clock, which says whether a visit is due.
    pub(crate) fn look(&self, now: Duration) -> bool {
        self.sampled.set(now);
        self.due.set(now.saturating_sub(self.visited.get()) >= SPACING);
        self.look_at.set(self.ran.get().wrapping_add(self.quota.get() as usize));
        self.due.get()
    }

    /// When the clock was read last.
    pub(crate) fn sampled(&self) -> Duration {
        self.sampled.get()
    }

    /// Whether a timer could be due within the window that began at the last sample.
    pub(crate) fn is_near(sampled: Duration, deadline: Option<Duration>) -> bool {
        deadline.is_some_and(|deadline| deadline <= sampled + WINDOW)
    }

    /// The clock was read, after this visit to the kernel if there was one.
    pub(crate) fn sample(&self, now: Duration, visit: Option<Wait>) {
        self.sampled.set(now);
        let Some(wait) = visit else { return };
        if wait == Wait::Now {
            // What ran since the last visit, and how long that took, set the quota of the next window.
            let took = now.saturating_sub(self.visited.get());
            let each = took / u32::try_from(self.ran.get()).unwrap_or(u32::MAX).max(1);
            let fits = WINDOW.as_nanos() / each.as_nanos().max(1);
            self.quota.set(u32::try_from(fits).unwrap_or(MOST).clamp(1, MOST));
        }
        self.visited.set(now);
        self.due.set(false);
        self.ran.set(0);
        self.look_at.set(self.quota.get() as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(n: u64) -> Duration {
        Duration::from_micros(n)
    }

    /// Runs entries that take so long each, until a visit is due: how many.
    fn run(pace: &Pace, now: &mut Duration, each: Duration) -> u32 {
        let mut ran = 0;
        while !pace.visit_due(|| *now) {
            pace.entries_ran(1);
            *now += each;
            ran += 1;
        }
        ran
    }

    #[test]
    fn slow_entries_bring_the_visits_closer() {
        let pace = Pace::new(false);
        let mut now = us(1);
        assert!(pace.visit_due(|| now), "the first pass visits");
        pace.sample(now, Some(Wait::Forever));
        assert_eq!(run(&pace, &mut now, us(1000)), MOST, "nothing is known of them yet");
        // They took a millisecond each: from now on a visit follows each.
        pace.sample(now, Some(Wait::Now));
        assert_eq!(run(&pace, &mut now, us(1000)), 1);
        pace.sample(now, Some(Wait::Now));
        // Fast again, and the window grows back.
        assert_eq!(run(&pace, &mut now, us(10)), 1);
        pace.sample(now, Some(Wait::Now));
        assert_eq!(run(&pace, &mut now, us(10)), 10);
    }

    #[test]
    fn fast_entries_wait_for_the_clock_before_a_visit() {
        let pace = Pace::new(false);
        let mut now = us(1);
        pace.sample(now, Some(Wait::Forever));
        let each = Duration::from_nanos(20);
        for _ in 0..5 {
            let (before, ran) = (now, run(&pace, &mut now, each));
            assert_eq!(ran % MOST, 0, "the clock is looked at after every {MOST}");
            assert!(now - before >= SPACING && now - before < SPACING + each * MOST);
            pace.sample(now, Some(Wait::Now));
        }
    }

    #[test]
    fn a_run_begins_with_a_visit() {
        let pace = Pace::new(false);
        pace.sample(us(1), Some(Wait::Forever));
        assert!(!pace.visit_due(|| us(1)));
        pace.reset();
        assert!(pace.visit_due(|| us(1)));
    }

    #[test]
    fn a_free_poll_is_taken_every_pass() {
        let pace = Pace::new(true);
        pace.sample(us(1), Some(Wait::Now));
        assert!(pace.visit_due(|| us(1)));
    }

    #[test]
    fn only_a_near_timer_costs_a_clock() {
        assert!(Pace::is_near(us(1000), Some(us(900))));
        assert!(Pace::is_near(us(1000), Some(us(1100))));
        assert!(!Pace::is_near(us(1000), Some(us(1101))));
        assert!(!Pace::is_near(us(1000), None));
    }
}
