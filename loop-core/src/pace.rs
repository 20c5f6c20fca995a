//! How often a busy loop looks at the kernel and at the clock (**I3**, **I4**).
//!
//! With work ready, a pass owes the kernel nothing: it looks in memory, and goes to the kernel only after so many
//! entries as took about [`WINDOW`], at the most [`MOST`]. What an entry takes is learnt from the window before,
//! so that two tasks that wake each other pay neither a system call nor a clock each time, and slow callbacks
//! do not keep I/O waiting. The clock is read with each visit; between visits only where a timer is so near that
//! it could be due within the window, so that timers keep asyncio's order to the pass.

use std::cell::Cell;
use std::time::Duration;

use crate::backend::Wait;

/// About how long a busy loop goes on without a look at the kernel.
const WINDOW: Duration = Duration::from_micros(100);
/// The most entries between two looks.
const MOST: u32 = 61;

pub(crate) struct Pace {
    /// A poll costs nothing: visit at every pass.
    always: bool,
    /// Entries that may still run before the next visit.
    left: Cell<u32>,
    quota: Cell<u32>,
    sampled: Cell<Duration>,
    visited: Cell<Duration>,
}

impl Pace {
    pub(crate) fn new(always: bool) -> Self {
        let zero = || Cell::new(Duration::ZERO);
        Self { always, left: Cell::new(0), quota: Cell::new(MOST), sampled: zero(), visited: zero() }
    }

    /// The next pass is the first of a run: it visits.
    pub(crate) fn reset(&self) {
        self.left.set(0);
    }

    pub(crate) fn entry_ran(&self) {
        self.left.set(self.left.get().saturating_sub(1));
    }

    pub(crate) fn visit_due(&self) -> bool {
        self.always || self.left.get() == 0
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
            let ran = self.quota.get() - self.left.get();
            let took = now.saturating_sub(self.visited.get());
            let each = took / ran.max(1);
            let fits = WINDOW.as_nanos() / each.as_nanos().max(1);
            self.quota.set(u32::try_from(fits).unwrap_or(MOST).clamp(1, MOST));
        }
        self.visited.set(now);
        self.left.set(self.quota.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(n: u64) -> Duration {
        Duration::from_micros(n)
    }

    fn run(pace: &Pace, entries: u32) -> u32 {
        (0..entries).take_while(|_| !pace.visit_due()).map(|_| pace.entry_ran()).count() as u32
    }

    #[test]
    fn slow_entries_bring_the_visits_closer() {
        let pace = Pace::new(false);
        assert!(pace.visit_due(), "the first pass visits");
        pace.sample(us(1), Some(Wait::Forever));
        assert_eq!(run(&pace, 1000), MOST);
        // They took a millisecond each: from now on a visit follows each.
        pace.sample(us(1 + 1000 * u64::from(MOST)), Some(Wait::Now));
        assert_eq!(run(&pace, 1000), 1);
        // Fast again, and the window grows back.
        pace.sample(us(2 + 1000 * u64::from(MOST)), Some(Wait::Now));
        assert_eq!(run(&pace, 1000), MOST);
    }

    #[test]
    fn a_free_poll_is_taken_every_pass() {
        let pace = Pace::new(true);
        pace.sample(us(1), Some(Wait::Now));
        assert!(pace.visit_due());
    }

    #[test]
    fn only_a_near_timer_costs_a_clock() {
        assert!(Pace::is_near(us(1000), Some(us(900))));
        assert!(Pace::is_near(us(1000), Some(us(1100))));
        assert!(!Pace::is_near(us(1000), Some(us(1101))));
        assert!(!Pace::is_near(us(1000), None));
    }
}
