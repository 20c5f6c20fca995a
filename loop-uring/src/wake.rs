//! Unparks: an eventfd that any thread writes to and the ring watches, with one request that stays armed.
//!
//! Nobody ever reads it: each write is an event for a request that stays armed, whatever was written before, and one that
//! is armed anew finds it readable at once. So an unpark may wake a poll too often, and never too seldom (**B5**).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use loop_core::Unpark;
use rustix::event::{EventfdFlags, eventfd};

use crate::flights::Ticket;
use crate::sqe::Bare;

#[derive(Debug)]
pub(crate) struct Wake(OwnedFd);

impl Wake {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// The request that hears of it.
    pub(crate) fn request(&self) -> Bare {
        Bare::each_time_readable(self.0.as_raw_fd(), Ticket::WAKE)
    }
}

impl Unpark for Wake {
    fn unpark(&self) {
        // A counter that is full after 2^64 unparks would be the one reason not to take a write.
        if let Err(error) = rustix::io::write(&self.0, &1_u64.to_ne_bytes()) {
            tracing::error!(%error, "the loop could not be woken");
        }
    }
}
