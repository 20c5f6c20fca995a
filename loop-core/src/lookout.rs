//! A short look out for other threads before the loop goes to sleep.
//!
//! Whoever wakes a loop that sleeps makes a system call, and the loop comes back by way of the scheduler, often from a core
//! that has gone idle: microseconds each, and more of them on a virtual machine. Whoever wakes one that is still awake
//! writes a word. So where other threads are likely to have something for the loop in a moment, as a job that was just given
//! to them, it watches that word for a while first.
//!
//! Whether that is likely is learnt. A loop whose waits are ended by I/O and timers never looks out. A wait that was ended
//! by another thread has the next one begin with a look; one that was in vain is tried again after twice as many such waits
//! each time, up to [`RAREST`], and one that was not makes looks the rule. So what looks in vain cost is bounded: [`LONGEST`]
//! in so many waits, each of which takes longer.
//!
//! Where other threads send much, sleeping is better: it gathers, while a loop that looks takes things one by one, as fast as
//! they come, from the hands of those who bring the next. So a wait counts only if it was ended by one or two; and where looks
//! are the rule, every [`RAREST`]th wait goes without, to see what gathers.

use std::cell::Cell;
use std::hint;
use std::time::{Duration, Instant};

/// The longest look, about what a sleep and a wake-up cost: a core's way into idleness and back.
pub(crate) const LONGEST: Duration = Duration::from_micros(5);

/// Where looks are in vain, one in so many waits begins with one; where they are not, all but one.
const RAREST: u32 = 64;

/// Other threads that send more than so much while the loop sleeps send much.
const FEW: usize = 2;

pub(crate) struct Lookout {
    /// So many waits have to be ended by other threads before the next look.
    after: Cell<u32>,
    /// What that is to be when the next look is in vain.
    next: Cell<u32>,
    /// Looks in a row that were not in vain.
    row: Cell<u32>,
}

impl Default for Lookout {
    fn default() -> Self {
        Self { after: Cell::new(1), next: Cell::new(2), row: Cell::new(0) }
    }
}

impl Lookout {
    /// Whether the wait that is about to begin is to begin with a look.
    pub(crate) fn is_due(&self) -> bool {
        self.after.get() == 0
    }

    /// Looks, until something is seen, or for the longest that it may take.
    pub(crate) fn look(&self, seen: impl Fn() -> bool) {
        if watch(seen) {
            self.next.set(2);
            self.row.set(self.row.get() + 1);
            if self.row.get() == RAREST - 1 {
                self.pause(1);
            }
        } else {
            self.pause(self.next.get());
            self.next.set((self.next.get() * 2).min(RAREST));
        }
    }

    /// The loop slept, and other threads woke it, with so much.
    pub(crate) fn was_woken(&self, count: usize) {
        if count <= FEW {
            self.after.set(self.after.get().saturating_sub(1));
        } else {
            self.pause(self.next.get());
        }
    }

    fn pause(&self, waits: u32) {
        self.after.set(waits);
        self.row.set(0);
    }
}

fn watch(seen: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    loop {
        for _ in 0..16 {
            if seen() {
                return true;
            }
            hint::spin_loop();
        }
        if start.elapsed() >= LONGEST {
            return false;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// How many waits, all ended by another thread, there are until one begins with a look.
    fn waits_until_due(lookout: &Lookout) -> u32 {
        let mut waits = 0;
        while !lookout.is_due() {
            lookout.was_woken(1);
            waits += 1;
        }
        waits
    }

    #[test]
    fn looks_that_are_in_vain_become_rare() {
        let lookout = Lookout::default();
        let mut waits = Vec::new();
        for _ in 0..8 {
            waits.push(waits_until_due(&lookout));
            lookout.look(|| false);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, RAREST, RAREST]);
    }

    #[test]
    fn looks_that_are_not_become_the_rule() {
        let lookout = Lookout::default();
        assert_eq!(waits_until_due(&lookout), 1);
        for _ in 0..3 {
            lookout.look(|| true);
            assert!(lookout.is_due());
        }
        lookout.look(|| false);
        assert_eq!(waits_until_due(&lookout), 2);
    }

    #[test]
    fn now_and_then_a_wait_goes_without_to_see_what_gathers() {
        let lookout = Lookout::default();
        lookout.was_woken(1);
        for _ in 0..3 {
            for _ in 1..RAREST {
                assert!(lookout.is_due());
                lookout.look(|| true);
            }
            assert!(!lookout.is_due());
            lookout.was_woken(FEW);
        }
        (1..RAREST).for_each(|_| lookout.look(|| true));
        lookout.was_woken(FEW + 1);
        assert_eq!(waits_until_due(&lookout), 2, "much has gathered");
    }

    #[test]
    fn a_loop_that_nobody_wakes_never_looks() {
        assert!(!Lookout::default().is_due());
    }

    /// However slow the machine: the clock is looked at after a few looks only.
    #[test]
    fn what_comes_during_a_look_is_seen() {
        let looks = Cell::new(0);
        let seen = || {
            looks.set(looks.get() + 1);
            looks.get() == 10
        };
        assert!(watch(seen) && looks.get() == 10);
        assert!(!watch(|| false));
    }
}
