//! The loop's clock, and waits that end on the microsecond.
//!
//! mio waits in whole milliseconds. Registrations and wake-ups stay mio's, but the wait itself is one
//! `epoll_pwait2` on mio's epoll, whose timeout is in nanoseconds and costs no system call of its own; or `epoll_wait`,
//! where there is no time to tell the kernel (which fetches one from memory for 95 ns, zero too). Kernels
//! before 5.11, and sandboxes that refuse it, get a timerfd in the set and mio's own poll; it is armed only when
//! the deadline changes.
//!
//! Two habits of the kernel stand between a timeout and a microsecond:
//!
//! * it may be late by the thread's timer slack, 50 µs unless told otherwise. So the first wait for a deadline
//!   sets that to 1 ns (measured: a 50 µs wait is late by 26 instead of 80 µs);
//! * it may be late by a thousandth of the timeout (a two-hundredth in a niced process), up to 100 ms. So a long
//!   wait aims short of its deadline, and a second one, short and hence exact, does the rest.
//!
//! A wait never ends early for want of precision: it goes on until the clock has reached the deadline.

use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use mio::{Events, Registry, Token};
use rustix::thread::{current_timer_slack, set_current_timer_slack};
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::alarms::{Alarm, Alarms};
use crate::readiness::Signals;

/// How many events a wait gives at the most. Of so many connections the memory, and the kernel's, is still near when their
/// turns come; the next wait gives the others, which come first in the kernel's list then. (Ten thousand that were ready at once
/// and given at once cost a tenth more.)
const ROOM: usize = 256;

/// Waits longer than this are worth a second one.
const LONG: Duration = Duration::from_millis(50);

/// The kernel's cap on its own generosity with time.
const MOST_SLACK: Duration = Duration::from_millis(100);

const NANOSECOND: NonZeroU64 = NonZeroU64::MIN;

/// Monotonic, from an arbitrary origin; no system call.
pub(crate) fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// How long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    Now,
    Clock(Duration),
    Event,
}

/// What waits.
#[derive(Debug)]
pub(crate) struct Sleeper {
    means: Means,
    slack: Slack,
}

/// With what.
#[derive(Debug)]
enum Means {
    Nanoseconds { events: Vec<libc::epoll_event>, alarms: Alarms },
    Timerfd { events: Events, alarm: Alarm },
}

/// The thread's timer slack.
#[derive(Debug, PartialEq, Eq)]
enum Slack {
    Untouched,
    /// Set, from the value given.
    Set(Option<NonZeroU64>),
}

impl Sleeper {
    /// Probes once whether the kernel waits in nanoseconds.
    pub(crate) fn new(mio: &mio::Poll, timer: Token) -> io::Result<Self> {
        let mut probe = vec![libc::epoll_event { events: 0, u64: 0 }; ROOM];
        match epoll_pwait2(mio.as_raw_fd(), &mut probe, Duration::ZERO) {
            Ok(_) => {
                let means = Means::Nanoseconds { events: probe, alarms: Alarms::default() };
                Ok(Self { means, slack: Slack::Untouched })
            }
            Err(error) => {
                tracing::info!(%error, "epoll_pwait2 is not available: timers go through a timerfd");
                Self::with_timerfd(mio.registry(), timer)
            }
        }
    }

    /// The fallback, whatever the kernel can do.
    pub(crate) fn with_timerfd(registry: &Registry, token: Token) -> io::Result<Self> {
        let means = Means::Timerfd { events: Events::with_capacity(ROOM), alarm: Alarm::new(registry, token)? };
        Ok(Self { means, slack: Slack::Untouched })
    }

    /// The wait after the next will probably be for this.
    pub(crate) fn foresee(&mut self, mio: &mio::Poll, timer: Token, deadline: Duration) {
        if let Means::Nanoseconds { alarms, .. } = &mut self.means {
            alarms.foresee(mio.registry(), timer, deadline);
        }
    }

    /// Waits, and gives the events that there are to `event`. Returns without one when the time is up or a signal came.
    pub(crate) fn wait(
        &mut self,
        mio: &mut mio::Poll,
        until: Until,
        mut event: impl FnMut(u64, Signals),
    ) -> io::Result<()> {
        if let Until::Clock(_) = until {
            self.slack.tighten();
        }
        let result = match &mut self.means {
            Means::Nanoseconds { events, alarms } => precise(mio, events, alarms, until, &mut event),
            Means::Timerfd { events, alarm } => by_timerfd(mio, events, alarm, until, &mut event),
        };
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            result => result,
        }
    }
}

fn precise(
    mio: &mio::Poll,
    events: &mut [libc::epoll_event],
    alarms: &Alarms,
    until: Until,
    event: &mut impl FnMut(u64, Signals),
) -> io::Result<()> {
    let epoll = mio.as_raw_fd();
    let count = match until {
        Until::Now => epoll_wait(epoll, events, NOT_AT_ALL)?,
        Until::Event => epoll_wait(epoll, events, WITHOUT_END)?,
        Until::Clock(deadline) if alarms.covers(deadline) && deadline > now() => {
            epoll_wait(epoll, events, WITHOUT_END)?
        }
        Until::Clock(deadline) => loop {
            let left = deadline.saturating_sub(now());
            let early = if left > LONG { (left / 200).min(MOST_SLACK) } else { Duration::ZERO };
            let count = epoll_pwait2(epoll, events, left - early)?;
            if count > 0 || left.is_zero() || now() >= deadline {
                break count;
            }
        },
    };
    for seen in &events[..count] {
        event(seen.u64, Signals::from_epoll(seen.events));
    }
    Ok(())
}

fn by_timerfd(
    mio: &mut mio::Poll,
    events: &mut Events,
    alarm: &mut Alarm,
    until: Until,
    event: &mut impl FnMut(u64, Signals),
) -> io::Result<()> {
    let timeout = match until {
        Until::Now => Some(Duration::ZERO),
        Until::Event => None,
        Until::Clock(deadline) if deadline <= now() => Some(Duration::ZERO),
        Until::Clock(deadline) => {
            alarm.arm(deadline)?;
            None
        }
    };
    mio.poll(events, timeout)?;
    for seen in events.iter() {
        event(seen.token().0 as u64, Signals::from_mio(seen));
    }
    Ok(())
}

/// Beyond any uptime, and within what the kernel takes.
const FOREVER: u64 = 1 << 33;

pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs().min(FOREVER) as i64, tv_nsec: duration.subsec_nanos().into() }
}

const NOT_AT_ALL: libc::c_int = 0;
const WITHOUT_END: libc::c_int = -1;

/// The timeout is in milliseconds.
fn epoll_wait(epoll: RawFd, events: &mut [libc::epoll_event], timeout: libc::c_int) -> io::Result<usize> {
    // SAFETY: the kernel writes at most that many events to `events`, which is borrowed for the call.
    counted(unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), room(events), timeout) }.into())
}

fn epoll_pwait2(epoll: RawFd, events: &mut [libc::epoll_event], timeout: Duration) -> io::Result<usize> {
    let timeout = timespec(timeout);
    // SAFETY: as above, and it reads one timespec of 64-bit fields, and no signal mask. By number: libcs before 2.35
    // have no name.
    counted(unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait2,
            epoll,
            events.as_mut_ptr(),
            room(events),
            std::ptr::from_ref(&timeout),
            std::ptr::null::<libc::sigset_t>(),
            0_usize,
        )
    })
}

fn room(events: &[libc::epoll_event]) -> libc::c_int {
    libc::c_int::try_from(events.len()).unwrap_or(libc::c_int::MAX)
}

/// How many events a call gave.
fn counted(result: libc::c_long) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

impl Slack {
    fn tighten(&mut self) {
        if *self == Self::Untouched {
            let former = current_timer_slack().ok().and_then(NonZeroU64::new);
            // A refusal costs precision only.
            let _ = set_current_timer_slack(Some(NANOSECOND));
            *self = Self::Set(former);
        }
    }
}

impl Drop for Slack {
    fn drop(&mut self) {
        if let Self::Set(Some(former)) = *self
            && current_timer_slack().is_ok_and(|slack| slack == NANOSECOND.get())
        {
            let _ = set_current_timer_slack(Some(former));
        }
    }
}
