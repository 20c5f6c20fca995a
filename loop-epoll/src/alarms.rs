//! Alarms: waits whose end was set while another was still to end.
//!
//! A wait for a deadline sets a timer of the kernel's, and the one that is due first is set in the processor's hardware too,
//! which a virtual machine does by a call of its host: half of what such a wait costs (19 and 9 µs of processor time, measured).
//! One that is set behind another only stands in a list, and the interrupt that ends the first sets the hardware for it. So
//! where the loop foresees its next deadline, a timerfd is armed for that before the wait for this one begins; two take turns.
//!
//! Invariant: an alarm that is taken to be armed for a deadline will be, or has been, an event; and it can have been fetched only
//! after that deadline. So a wait for a deadline that is still to come, and has its alarm, ends.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime};

use crate::clock::timespec;

/// A timerfd in the set. Its expiry is an edge that nobody needs to read away.
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: OwnedFd,
    armed: Option<Duration>,
}

impl Alarm {
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self { timer, armed: None })
    }

    /// Arms it, if it is not armed for this already. An old deadline's expiry is a wake-up too many.
    pub(crate) fn arm(&mut self, deadline: Duration) -> io::Result<()> {
        if self.armed != Some(deadline) {
            self.armed = None;
            let value = Itimerspec { it_interval: timespec(Duration::ZERO), it_value: timespec(deadline) };
            timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &value)?;
            self.armed = Some(deadline);
        }
        Ok(())
    }
}

/// Two of them, in turns; none before the first deadline is foreseen.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    alarms: Vec<Alarm>,
    /// Whose turn it is.
    turn: usize,
}

impl Alarms {
    const COUNT: usize = 2;

    /// Arms the one whose turn it is. Where that fails, the deadline is waited for as any other.
    pub(crate) fn foresee(&mut self, registry: &Registry, token: Token, deadline: Duration) {
        if self.covers(deadline) {
            return;
        }
        if let Err(error) = self.arm_next(registry, token, deadline) {
            tracing::debug!(%error, "a deadline could not be armed ahead");
        }
    }

    fn arm_next(&mut self, registry: &Registry, token: Token, deadline: Duration) -> io::Result<()> {
        if self.turn == self.alarms.len() {
            self.alarms.push(Alarm::new(registry, token)?);
        }
        let alarm = &mut self.alarms[self.turn];
        self.turn = (self.turn + 1) % Self::COUNT;
        alarm.arm(deadline)
    }

    /// Whether one of them ends a wait for this deadline, which is still to come.
    pub(crate) fn covers(&self, deadline: Duration) -> bool {
        self.alarms.iter().any(|alarm| alarm.armed == Some(deadline))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_deadlines_are_covered_and_the_third_takes_the_place_of_the_first() {
        let mio = mio::Poll::new().unwrap();
        let [first, second, third] = [1, 2, 3].map(|hours| crate::clock::now() + Duration::from_secs(3600 * hours));
        let mut alarms = Alarms::default();
        let foresee = |alarms: &mut Alarms, deadline| {
            alarms.foresee(mio.registry(), Token(0), deadline);
            [first, second, third].map(|deadline| alarms.covers(deadline))
        };
        assert_eq!(foresee(&mut alarms, first), [true, false, false]);
        assert_eq!(foresee(&mut alarms, first), [true, false, false]);
        assert_eq!(foresee(&mut alarms, second), [true, true, false]);
        // What is covered already has no turn.
        assert_eq!(foresee(&mut alarms, first), [true, true, false]);
        assert_eq!(foresee(&mut alarms, third), [false, true, true]);
        assert_eq!(alarms.alarms.len(), Alarms::COUNT);
    }
}
