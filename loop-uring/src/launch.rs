//! Submission: how an operation becomes a flight, and a flight a request.
//!
//! Invariant: a flight has one request with the kernel at a time, built for it from its own operation; its descriptor
//! stays open, and what the request names stays where it is, until that request's last completion.

use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;

use io_uring::squeue::Entry;
use loop_core::{FdKey, Interest, Op, OpKey, OpTable, Submitted};

use crate::backend::UringBackend;
use crate::descriptors::unknown;
use crate::flights::{Stage, Ticket, What};
use crate::sqe::{self, Bare, On};

impl UringBackend {
    /// Starts an operation on a descriptor of ours, behind those of the same direction.
    pub(crate) fn enqueue(&mut self, ops: &mut OpTable, op: OpKey, fd: FdKey, direction: Interest) -> Submitted {
        let Some(what) = ops.get(op).and_then(what) else { return Submitted::Unsupported };
        let Some(descriptor) = self.descriptors.get_mut(fd) else { return Submitted::Done(Err(unknown())) };
        let ticket = self.flights.begin(ops, op, what);
        let line = descriptor.line_mut(direction);
        let is_first = line.is_empty();
        self.flights.join(line, ticket);
        if let Some(flight) = self.flights.get_mut(ticket) {
            flight.set_line(fd, direction);
        }
        if is_first {
            self.launch(ops, ticket);
        }
        Submitted::Queued
    }

    /// Starts an operation that brings its descriptor along.
    pub(crate) fn start(&mut self, ops: &mut OpTable, op: OpKey) -> Submitted {
        let Some(what) = ops.get(op).and_then(what) else { return Submitted::Unsupported };
        let ticket = self.flights.begin(ops, op, what);
        self.launch(ops, ticket);
        Submitted::Queued
    }

    /// Hands a flight's request to the kernel, again if it had one before.
    pub(crate) fn launch(&mut self, ops: &mut OpTable, ticket: Ticket) {
        let Some(flight) = self.flights.get_mut(ticket) else { return };
        let descriptor = flight.line().and_then(|(fd, _)| self.descriptors.get(fd));
        let target = descriptor.map(|it| On { fd: it.file.as_raw_fd(), kind: it.kind, drained: it.drained });
        if flight.file.is_none() {
            flight.file = descriptor.map(|descriptor| Rc::clone(&descriptor.file));
        }
        flight.stage = Stage::Flying;
        if self.launch_quietly(ops, ticket) {
            return;
        }
        let Some(flight) = self.flights.get_mut(ticket) else { return };
        match sqe::build(ops, flight.op, target, &mut flight.pieces, self.pool.buffer_size()) {
            Some(entry) => self.hand_over(ticket, entry),
            None => self.finish(ops, ticket, Err(io::ErrorKind::Unsupported.into())),
        }
    }

    /// Gives the kernel a flight's request.
    pub(crate) fn hand_over(&mut self, ticket: Ticket, entry: Entry) {
        // SAFETY: `sqe` built it for this flight: what it names is the operation's, or the flight's, and stays until the
        // flight ends, which is with the request's last completion.
        unsafe { self.ring.push(entry.user_data(ticket.user_data())) };
    }

    /// The kernel said "try again": waits until the descriptor is ready, then tries.
    pub(crate) fn wait_ready(&mut self, ops: &mut OpTable, ticket: Ticket) {
        let Some(flight) = self.flights.get_mut(ticket) else { return };
        let (Some(file), Some((_, direction))) = (&flight.file, flight.line()) else {
            return self.finish(ops, ticket, Err(io::ErrorKind::WouldBlock.into()));
        };
        flight.stage = Stage::Polling;
        self.ring.ask(Bare::ready(file.as_raw_fd(), direction, ticket));
    }
}

fn what(op: &Op) -> Option<What> {
    match op {
        Op::Accept { .. } => Some(What::Accept),
        Op::AcceptMulti { .. } => Some(What::AcceptMulti),
        Op::Connect { .. } => Some(What::Connect),
        Op::Recv { .. } | Op::Send { .. } | Op::SendVectored { .. } | Op::SendTo { .. } => Some(What::Count),
        Op::RecvFrom { .. } => Some(What::CountFrom),
        Op::RecvMulti { .. } => Some(What::RecvMulti),
        Op::Readiness { .. } => Some(What::Readiness),
        Op::ReadAt { .. } | Op::WriteAt { .. } => Some(What::File),
        _ => None,
    }
}
