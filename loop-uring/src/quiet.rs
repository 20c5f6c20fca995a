//! Sends that only tell of failure.
//!
//! A reply is sent, and then the loop waits for the next request. Were the send to report its success, as requests do,
//! the wait would end at once, with nothing but that to tell, and the loop would enter the kernel twice for each request.
//! So where nobody waits for a send (the loop calls it *patient*) it is made *quiet*: it may not wait for room, it counts as
//! failed if it does not send everything, and the kernel reports failures alone. It is over, one way or the other, when
//! the kernel has taken it from the submission queue, since it never waits: no report by then is success. That is told
//! with whatever ends the wait, and before it.
//!
//! A quiet send that finds no room is made again the usual way, and what follows one that found some is sent so at once.
//!
//! Invariant: success is concluded only for a request that the kernel had taken before completions were last looked at,
//! with none of them left out for want of room.

use std::os::fd::AsRawFd;

use loop_core::{Interest, Op, OpTable, Outcome};

use crate::backend::UringBackend;
use crate::descriptors::Kind;
use crate::flights::{Stage, Ticket};
use crate::sqe;

impl UringBackend {
    /// Launches a send quietly, if it is one that may be. Whether it did.
    pub(crate) fn launch_quietly(&mut self, ops: &mut OpTable, ticket: Ticket) -> bool {
        let Some(flight) = self.flights.get_mut(ticket) else { return false };
        let (op, Some((fd, Interest::Write))) = (flight.op, flight.line()) else { return false };
        let Some(Op::Send { buf, start, .. }) = ops.get(op) else { return false };
        let Some(descriptor) = self.descriptors.get_mut(fd) else { return false };
        let waits = std::mem::take(&mut descriptor.slow);
        let (number, kind) = (descriptor.file.as_raw_fd(), descriptor.kind);
        if waits || kind != Kind::Socket || !self.is_patient(ops, op) {
            return false;
        }
        let Some(entry) = sqe::quiet_send(number, buf.get(*start..).unwrap_or_default()) else { return false };
        if let Some(flight) = self.flights.get_mut(ticket) {
            flight.stage = Stage::Quiet;
        }
        self.hand_over(ticket, entry);
        self.quiet.push_back((self.ring.pushed(), ticket));
        true
    }

    /// A quiet send did not go through whole.
    pub(crate) fn not_quiet(&mut self, ticket: Ticket) {
        let Some((fd, _)) = self.flights.get_mut(ticket).and_then(|flight| flight.line()) else { return };
        if let Some(descriptor) = self.descriptors.get_mut(fd) {
            descriptor.slow = true;
        }
    }

    /// Those of the first `taken` requests that were quiet sends, and of which nothing was heard, have succeeded.
    pub(crate) fn conclude(&mut self, ops: &mut OpTable, taken: u64) {
        while let Some(&(number, ticket)) = self.quiet.front()
            && number <= taken
        {
            self.quiet.pop_front();
            if let Some(flight) = self.flights.get_mut(ticket)
                && flight.stage == Stage::Quiet
            {
                let sent = ops.get(flight.op).and_then(Op::limit).unwrap_or(0);
                self.finish(ops, ticket, Ok(Outcome::Count(sent)));
            }
        }
    }
}
