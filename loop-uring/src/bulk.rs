//! Much at a time: large messages are moved by system calls, from and into memory that is warm.
//!
//! The ring's own receive fills one buffer for each connection that has something, twenty and more of them before the
//! program sees the first. With small messages that is one cache line each. With 64 KiB each it is more than the cache
//! holds: by the time a message is handled, and sent on, it has to be fetched from memory again, which costs more than the
//! system call that the ring has saved (measured: half as much again for an echo of 64 KiB).
//!
//! So a receiver whose receives are large is switched over: its request is taken back, the ring waits for readiness in its
//! place (one entry, no call of its own), and when its turn comes in the loop's ready queue the bytes are received by a
//! call, into the one buffer that the connection before it has just given back. A receiver whose receives have become
//! small again gets its request back. Large sends, likewise, leave by a call from the caller's memory, without a copy.
//!
//! Invariant: a flight that is [`Announced`](Stage::Announced) has no request with the kernel, so what is received for it
//! by a call overtakes nothing.

use std::io;

use loop_core::{Completion, Event, FdKey, Interest, OpKey, OpTable, Outcome, Submitted};

use crate::backend::UringBackend;
use crate::cqe::Cqe;
use crate::descriptors::Kind;
use crate::flights::{Flight, Stage, Ticket, What};
use crate::sqe::Bare;

/// A receive of so many bytes is a large one.
pub(crate) const LARGE: usize = 32 * 1024;

/// A receive of no more than so many is a small one.
const SMALL: usize = 4 * 1024;

/// After so many small ones in a row, a receiver is switched back.
const PATIENCE: u8 = 16;

/// From this size on, a send with nothing before it is made in the caller's call.
pub(crate) const SENT: usize = 16 * 1024;

impl UringBackend {
    /// The kernel received so much for a multishot receiver: is it to be switched over?
    pub(crate) fn consider_bulk(&mut self, cqe: Cqe, count: usize) {
        if count < self.bulk {
            return;
        }
        let Some(flight) = self.flights.get_mut(cqe.ticket) else { return };
        let Some((fd, _)) = flight.line() else { return };
        if flight.bulk || flight.cancelled || self.descriptors.get(fd).is_none_or(|it| it.kind != Kind::Socket) {
            return;
        }
        flight.bulk = true;
        flight.small = 0;
        if cqe.goes_on() && !flight.held {
            // It ends by that, or by itself, and goes on by readiness.
            self.ring.ask(Bare::cancel(cqe.ticket));
        }
    }

    /// A bulk receiver has something to receive.
    pub(crate) fn announce(&mut self, ticket: Ticket) {
        let Some(flight) = self.flights.get_mut(ticket) else { return };
        flight.stage = Stage::Announced;
        self.done.push(Completion { op: flight.op, event: Event::Resume });
    }

    /// The loop goes on with an operation that was announced.
    pub(crate) fn resume_bulk(&mut self, ops: &mut OpTable, op: OpKey) -> Submitted {
        let Some(ticket) = self.flights.of(ops, op) else { return Submitted::Queued };
        let Some(flight) = self.flights.get_mut(ticket) else { return Submitted::Queued };
        let (Stage::Announced, Some((fd, _))) = (flight.stage, flight.line()) else { return Submitted::Queued };
        let Some(descriptor) = self.descriptors.get(fd) else { return Submitted::Queued };
        if std::mem::take(&mut flight.drained) {
            self.wait_for_more(ops, ticket);
            return Submitted::Queued;
        }
        match self.pool.fill(|buf| crate::now::receive(descriptor, buf)) {
            Ok(Some(chunk)) => {
                flight.measure(chunk.len());
                // If there is more already, that is heard of at once.
                self.wait_for_more(ops, ticket);
                return Submitted::More(Outcome::Chunk(chunk));
            }
            Ok(None) => self.finish(ops, ticket, Ok(Outcome::Count(0))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait_for_more(ops, ticket),
            Err(error) => self.finish(ops, ticket, Err(error)),
        }
        Submitted::Queued
    }

    /// The same, into the caller's memory.
    pub(crate) fn resume_bulk_into(
        &mut self,
        ops: &mut OpTable,
        op: OpKey,
        buf: &mut [u8],
    ) -> Option<io::Result<usize>> {
        let ticket = self.flights.of(ops, op)?;
        let flight = self.flights.get_mut(ticket)?;
        let (fd, _) = flight.line()?;
        if flight.stage != Stage::Announced || flight.what != What::RecvMulti || flight.drained {
            return None;
        }
        let received = crate::now::receive(self.descriptors.get(fd)?, buf);
        if let Ok(count) = received
            && count > 0
        {
            flight.measure(count);
            self.wait_for_more(ops, ticket);
        }
        Some(received)
    }

    /// Receives for a bulk receiver that was announced straight into the caller's memory; for no other.
    pub(crate) fn receive_bulk(&mut self, fd: FdKey, buf: &mut [u8]) -> Option<io::Result<usize>> {
        let descriptor = self.descriptors.get(fd)?;
        let ticket = self.flights.first(&descriptor.lines[Interest::Read as usize])?;
        let flight = self.flights.get_mut(ticket)?;
        if flight.stage != Stage::Announced || flight.what != What::RecvMulti {
            return None;
        }
        let received = crate::now::receive(descriptor, buf);
        if let Ok(count) = received
            && count > 0
        {
            flight.measure(count);
            flight.drained = count < buf.len();
        }
        Some(received)
    }

    /// What there was has been received: the kernel is asked for more, in one way or the other.
    fn wait_for_more(&mut self, ops: &mut OpTable, ticket: Ticket) {
        match self.flights.get_mut(ticket) {
            Some(flight) if flight.small >= PATIENCE => {
                flight.bulk = false;
                self.launch(ops, ticket);
            }
            _ => self.wait_ready(ops, ticket),
        }
    }
}

impl Flight {
    /// Takes note of how much was received at once.
    fn measure(&mut self, count: usize) {
        self.small = if count <= SMALL { self.small.saturating_add(1) } else { 0 };
    }
}
