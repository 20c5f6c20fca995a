//! Crowds: timers that lie so near to each other that the loop wakes for them together.
//!
//! A wait of the loop's costs microseconds of the processor's, so timers that lie microseconds apart would have it do little
//! else. Where [`CROWD`] of them or more lie within [`SLACK`] of the nearest, it wakes once, at the end of that time: for each
//! late by less than that, in their order, never early. Timers that are alone are exact.
//!
//! A crowd that begins within that time of the wake before goes on with it: it wakes one [`SLACK`] after the other. So the wake
//! after the next one is known, too, and the backend can be told ([`Backend::foresee`](crate::Backend::foresee)).

use std::time::Duration;

use super::nanos;

/// So many timers within [`SLACK`] are a crowd.
pub(super) const CROWD: usize = 4;

/// How late a crowd may be, to be woken at once.
pub(super) const SLACK: Duration = Duration::from_micros(110);

/// When to wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wake {
    pub(crate) at: Duration,
    /// When to wake after that, if this goes on.
    pub(crate) then: Option<Duration>,
}

/// The wakes of one loop's crowds.
#[derive(Debug, Default)]
pub(super) struct Crowds {
    /// The one that is to come, or the last, if there was any.
    wake: Option<u64>,
    /// It comes one [`SLACK`] after another one.
    goes_on: bool,
}

impl Crowds {
    /// When to wake for the crowd whose nearest deadline this is. Whoever asks again is told the same.
    pub(super) fn wake(&mut self, first: u64) -> Wake {
        let slack = nanos(SLACK);
        let wake = match self.wake {
            Some(wake) if first <= wake && wake - first <= slack => wake,
            Some(last) if first > last && first - last < slack => {
                self.goes_on = true;
                last.saturating_add(slack)
            }
            _ => {
                self.goes_on = false;
                first.saturating_add(slack)
            }
        };
        self.wake = Some(wake);
        let then = self.goes_on.then(|| Duration::from_nanos(wake.saturating_add(slack)));
        Wake { at: Duration::from_nanos(wake), then }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn crowds_one_behind_the_other_wake_in_step() {
        let slack = nanos(SLACK);
        let mut crowds = Crowds::default();
        let mut wake = |first| {
            let wake = crowds.wake(first);
            (nanos(wake.at), wake.then.map(nanos))
        };
        let begin = 1_000_000;
        assert_eq!(wake(begin), (begin + slack, None));
        assert_eq!(wake(begin + 10), (begin + slack, None));
        assert_eq!(wake(begin + slack + 5), (begin + 2 * slack, Some(begin + 3 * slack)));
        assert_eq!(wake(begin + slack + 6), (begin + 2 * slack, Some(begin + 3 * slack)));
        assert_eq!(wake(begin + 2 * slack + 9), (begin + 3 * slack, Some(begin + 4 * slack)));
        // One that came between begins anew, and so does the first after a pause.
        assert_eq!(wake(begin + slack), (begin + 2 * slack, None));
        assert_eq!(wake(begin + 9 * slack), (begin + 10 * slack, None));
    }

    proptest! {
        #[test]
        fn a_crowd_is_never_early_and_late_by_less_than_the_slack(steps in prop::collection::vec(0u64..200_000, 1..50)) {
            let mut crowds = Crowds::default();
            let mut first = 0;
            for step in steps {
                first += step;
                let wake = crowds.wake(first);
                prop_assert!((first..=first + nanos(SLACK)).contains(&nanos(wake.at)));
                prop_assert!(wake.then.is_none_or(|then| then == wake.at + SLACK));
                prop_assert_eq!(crowds.wake(first), wake);
            }
        }
    }
}
