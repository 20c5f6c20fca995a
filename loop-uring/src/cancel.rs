//! Ending early: cancelling operations, closing descriptors, and the end of the backend.
//!
//! A cancel is a request of its own, behind that of its operation in the same queue, so it cannot come too early, and
//! with the backlog of [`Ring`](crate::ring::Ring) it cannot be lost. What it comes to is of no interest: the operation's
//! own completion tells whether it was in time.

use std::io;
use std::time::Duration;

use loop_core::{Event, FdKey, OpKey, OpTable, Outcome};
use rustix::io::Errno;

use crate::backend::UringBackend;
use crate::clock;
use crate::flights::{Stage, Ticket, What};
use crate::ring::Until;
use crate::sqe::Bare;

/// How often a close asks the kernel for deferred work before it leaves the rest to the next poll.
const ROUNDS: usize = 8;

impl UringBackend {
    /// Cancels an operation, if it is under way.
    pub(crate) fn cancel_op(&mut self, ops: &mut OpTable, op: OpKey) {
        let Some(ticket) = self.flights.of(ops, op) else { return };
        let watches = self.flights.get_mut(ticket).is_some_and(|flight| flight.what == What::Readiness);
        if self.cancel_flight(ops, ticket) && watches {
            // The descriptor is the program's, which may close it next: nothing of ours is to keep it open.
            self.settle(ops, &[ticket]);
        }
    }

    /// Ends a flight that the kernel has no request of, and asks for the end of one that it has: true for the latter.
    fn cancel_flight(&mut self, ops: &mut OpTable, ticket: Ticket) -> bool {
        let Some(flight) = self.flights.get_mut(ticket) else { return false };
        match flight.stage {
            Stage::Waiting | Stage::Parked | Stage::Held | Stage::Announced => {
                self.finish(ops, ticket, Err(Errno::CANCELED.into()));
                false
            }
            Stage::Flying | Stage::Quiet | Stage::Polling => {
                if !std::mem::replace(&mut flight.cancelled, true) {
                    self.ring.ask(Bare::cancel(ticket));
                }
                true
            }
        }
    }

    /// Forgets a descriptor. It is closed when its last request has ended, which is now if that can be.
    pub(crate) fn close_descriptor(&mut self, ops: &mut OpTable, fd: FdKey) {
        let Some(mut descriptor) = self.descriptors.remove(fd) else { return };
        let mut flying = Vec::new();
        for line in &mut descriptor.lines {
            while let Some(ticket) = self.flights.first(line) {
                self.flights.leave(line, ticket);
                if let Some(flight) = self.flights.get_mut(ticket) {
                    flight.take_line();
                }
                if self.cancel_flight(ops, ticket) {
                    flying.push(ticket);
                }
            }
        }
        drop(descriptor);
        if !flying.is_empty() {
            // The peer is told now, not when the loop next polls, which may be never.
            self.settle(ops, &flying);
        }
    }

    /// Has the kernel end flights that were cancelled, as far as it can without waiting.
    fn settle(&mut self, ops: &mut OpTable, flying: &[Ticket]) {
        for _ in 0..ROUNDS {
            if let Err(error) = self.ring.enter(Until::Now) {
                // The next poll fails with it.
                tracing::debug!(%error, "the ring cannot be entered");
                return;
            }
            self.reap(ops);
            if flying.iter().all(|ticket| self.flights.get_mut(*ticket).is_none()) || !self.ring.has_deferred() {
                return;
            }
        }
    }

    /// Ends everything, waits for what the kernel has, and throws away what it came to.
    pub(crate) fn drain_flights(&mut self, ops: &mut OpTable, limit: Duration) -> io::Result<()> {
        let deadline = clock::now().checked_add(limit).unwrap_or(Duration::MAX);
        // Who waits behind another first, so that nobody gets a turn.
        let tickets: Vec<Ticket> = self.flights.tickets().collect();
        for waiting in [true, false] {
            for ticket in &tickets {
                let is_waiting = self.flights.get_mut(*ticket).map(|flight| flight.stage == Stage::Waiting);
                if is_waiting == Some(waiting) {
                    self.cancel_flight(ops, *ticket);
                }
            }
        }
        self.parked.clear();
        loop {
            let until = if clock::now() < deadline { Until::Clock(deadline) } else { Until::Now };
            self.ring.enter(if self.flights.len() == 0 { Until::Now } else { until })?;
            self.reap(ops);
            self.discard(ops);
            if self.flights.len() == 0 || (until == Until::Now && !self.ring.has_deferred()) {
                return Ok(());
            }
        }
    }

    /// Closes and recycles what nobody will look at.
    pub(crate) fn discard(&mut self, ops: &mut OpTable) {
        while let Some(completion) = self.done.pop() {
            if let Event::More(Outcome::Accepted(fd)) | Event::Final(Ok(Outcome::Accepted(fd))) = completion.event {
                self.close_descriptor(ops, fd);
            }
        }
    }
}
