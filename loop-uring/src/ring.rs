//! The ring: entries in, entries out, and the one system call between.
//!
//! Invariants this file keeps:
//!
//! * an entry that was pushed reaches the kernel, in the order of pushing: what finds the queue full, even after the
//!   kernel was asked to take it, waits in the backlog, and nothing overtakes that (no cancel overtakes its operation);
//! * memory that an entry names is the pusher's promise ([`Ring::push`]); nothing here looks at it;
//! * only the thread that made the ring enters it. The ring is not `Send`, so nobody else can.

use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, squeue};

use crate::clock;
use crate::cqe::Cqe;
use crate::options::Options;
use crate::setup;
use crate::sqe::Bare;

/// How long to wait in [`Ring::enter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// Not at all.
    Now,
    /// Until something happens or the loop's clock says so.
    Clock(Duration),
    /// Until something happens.
    Event,
}

/// An io_uring instance.
pub(crate) struct Ring {
    io: IoUring,
    /// Entries that found no room, in order.
    backlog: VecDeque<squeue::Entry>,
    /// How many were ever pushed.
    pushed: u64,
    /// Deadlines go to the kernel as they are; before Linux 6.12 it takes only spans.
    absolute: bool,
    /// Waiting is not to be counted as waiting for a disk.
    idle: EnterFlags,
    not_send: PhantomData<*const ()>,
}

impl Ring {
    /// Sets up a ring on the first rung of the ladder that the kernel takes.
    pub(crate) fn new(options: &Options) -> io::Result<Self> {
        let io = setup::ladder(options)?;
        let params = io.params();
        let absolute = params.is_feature_min_timeout() && !options.hides("IORING_ENTER_ABS_TIMER");
        let quiet = params.is_feature_no_iowait() && !options.hides("IORING_ENTER_NO_IOWAIT");
        Ok(Self {
            backlog: VecDeque::new(),
            pushed: 0,
            absolute,
            idle: if quiet { EnterFlags::NO_IOWAIT } else { EnterFlags::empty() },
            not_send: PhantomData,
            io,
        })
    }

    /// The crate's own ring, for registrations.
    pub(crate) fn io(&self) -> &IoUring {
        &self.io
    }

    /// Writes an entry; the next [`enter`](Self::enter) submits it. Enters by itself, without waiting, where the queue is
    /// full.
    ///
    /// # Safety
    ///
    /// The memory that the entry names is valid, and nobody else's, until its last completion.
    pub(crate) unsafe fn push(&mut self, entry: squeue::Entry) {
        self.pushed += 1;
        if self.backlog.is_empty() {
            // SAFETY: the caller's promise.
            if unsafe { self.io.submission().push(&entry) }.is_ok() {
                return;
            }
            // An error leaves the queue full, and the entry for the backlog; who enters next hears of it.
            if let Err(error) = self.call(0, EnterFlags::empty(), None) {
                tracing::debug!(%error, "the submission queue is full, and could not be emptied");
            }
        }
        self.backlog.push_back(entry);
        self.refill();
    }

    /// Writes a request that names no memory.
    pub(crate) fn ask(&mut self, request: Bare) {
        // SAFETY: it names none.
        unsafe { self.push(request.into_entry()) };
    }

    /// Moves the backlog into the queue, as far as there is room.
    fn refill(&mut self) {
        if self.backlog.is_empty() {
            return;
        }
        let mut queue = self.io.submission();
        while let Some(entry) = self.backlog.front() {
            // SAFETY: who pushed it promised for it until its last completion, which cannot have come yet.
            if unsafe { queue.push(entry) }.is_err() {
                break;
            }
            self.backlog.pop_front();
        }
    }

    /// How many entries were ever pushed.
    pub(crate) const fn pushed(&self) -> u64 {
        self.pushed
    }

    /// How many of them the kernel has taken: the first so many.
    pub(crate) fn taken(&mut self) -> u64 {
        self.pushed - (self.backlog.len() + self.io.submission().len()) as u64
    }

    /// Whether entries wait to be submitted.
    pub(crate) fn has_unsubmitted(&mut self) -> bool {
        !self.backlog.is_empty() || !self.io.submission().is_empty()
    }

    /// Whether the kernel has something for us that it hands out only when it is entered: deferred work, or completions
    /// that found no room. Looks in memory only.
    pub(crate) fn has_deferred(&mut self) -> bool {
        let queue = self.io.submission();
        queue.taskrun() || queue.cq_overflow()
    }

    /// Whether completions found no room.
    pub(crate) fn has_overflowed(&mut self) -> bool {
        self.io.submission().cq_overflow()
    }

    /// How many completions can be seen.
    pub(crate) fn ready(&mut self) -> usize {
        self.io.completion().len()
    }

    /// Takes the next completion.
    pub(crate) fn pop(&mut self) -> Option<Cqe> {
        self.io.completion().next().map(|entry| Cqe::new(&entry))
    }

    /// Submits everything, has the kernel do what it deferred, and waits as told; where nothing is to be submitted or
    /// done, and no wait was asked for, without a system call. An interrupted wait returns early, and so does one for
    /// which the kernel could not take everything just now.
    ///
    /// # Errors
    ///
    /// Those after which the ring is of no use.
    pub(crate) fn enter(&mut self, until: Until) -> io::Result<()> {
        self.refill();
        // What does not fit goes first, so that the wait begins with everything submitted.
        while !self.backlog.is_empty() {
            let before = self.backlog.len();
            self.call(0, EnterFlags::GETEVENTS, None)?;
            self.refill();
            if self.backlog.len() == before {
                return Ok(());
            }
        }
        let until = if self.ready() > 0 { Until::Now } else { until };
        match until {
            Until::Now if !self.has_unsubmitted() && !self.has_deferred() => Ok(()),
            Until::Now => self.call(0, EnterFlags::GETEVENTS, None),
            Until::Event => self.call(1, EnterFlags::GETEVENTS | self.idle, None),
            Until::Clock(deadline) if self.absolute => {
                self.call(1, EnterFlags::GETEVENTS | EnterFlags::ABS_TIMER | self.idle, Some(deadline))
            }
            Until::Clock(deadline) => {
                let left = deadline.saturating_sub(clock::now());
                let least = if left.is_zero() { 0 } else { 1 };
                self.call(least, EnterFlags::GETEVENTS | self.idle, Some(left))
            }
        }
    }

    /// `io_uring_enter`.
    fn call(&mut self, least: u32, flags: EnterFlags, timeout: Option<Duration>) -> io::Result<()> {
        let (submitter, queue, _) = self.io.split();
        let unsubmitted = queue.len() as u32;
        drop(queue);
        let result = match timeout {
            None => {
                // SAFETY: the flags fit an argument of none, and all that is submitted was pushed.
                unsafe { submitter.enter::<libc::sigset_t>(unsubmitted, least, flags.bits(), None) }
            }
            Some(timeout) => {
                let timeout = Timespec::from(timeout.min(FOREVER));
                let args = SubmitArgs::new().timespec(&timeout);
                let flags = flags | EnterFlags::EXT_ARG;
                // SAFETY: EXT_ARG goes with this argument, which lives for the call, and so does what it points to.
                unsafe { submitter.enter(unsubmitted, least, flags.bits(), Some(&args)) }
            }
        };
        match result {
            Ok(_) => Ok(()),
            // The time is up; a signal came; completions have to be taken first; there is no memory just now.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN | libc::ENOMEM)
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

/// Beyond any uptime, and within what the kernel takes.
pub(crate) const FOREVER: Duration = Duration::from_secs(1 << 33);

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("backlog", &self.backlog.len()).finish_non_exhaustive()
    }
}
