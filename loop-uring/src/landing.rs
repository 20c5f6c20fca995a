//! Completion: what the kernel reports, and what the loop hears of it.

use std::io;

use loop_core::{Completion, Event, FdKey, Op, OpTable, Outcome};
use rustix::io::Errno;

use crate::backend::UringBackend;
use crate::cqe::Cqe;
use crate::descriptors::Descriptor;
use crate::flights::{Own, Stage, Ticket, What};
use crate::sqe;

impl UringBackend {
    /// Takes what can be seen of the completion queue. How much that was.
    pub(crate) fn reap(&mut self, ops: &mut OpTable) -> usize {
        let before = self.done.len();
        let taken = if self.ring.has_overflowed() {
            // The kernel keeps them, and hands them out when there is room: slower, and nothing is lost.
            self.overflows.set(self.overflows.get() + 1);
            tracing::debug!("the completion queue overflowed");
            0
        } else {
            self.ring.taken()
        };
        // No more than there is now: what comes meanwhile is for the next time.
        let ready = self.ring.ready();
        for _ in 0..ready {
            let Some(cqe) = self.ring.pop() else { break };
            self.land(ops, cqe);
        }
        if !self.quiet.is_empty() {
            // They were sent before anything of this was received, and are told in that order.
            let heard = self.done.len();
            self.conclude(ops, taken);
            let concluded = self.done.len() - heard;
            self.done[before..].rotate_right(concluded);
        }
        if std::mem::take(&mut self.starved) {
            self.pool.starved();
        }
        ready
    }

    fn land(&mut self, ops: &mut OpTable, cqe: Cqe) {
        if let Some(own) = cqe.ticket.own() {
            return self.land_own(own, cqe);
        }
        let Some(flight) = self.flights.get_mut(cqe.ticket) else {
            debug_assert!(false, "a flight stays until its last completion");
            return self.give_back(cqe);
        };
        match (flight.stage, flight.what) {
            (Stage::Polling, _) => self.ready_again(ops, cqe),
            (Stage::Quiet, _) => self.not_all_sent(ops, cqe),
            (_, What::RecvMulti) => self.received(ops, cqe),
            (_, What::Accept | What::AcceptMulti) => self.accepted(ops, cqe),
            (_, what) => self.came_to(ops, cqe, what),
        }
    }

    fn land_own(&mut self, own: Own, cqe: Cqe) {
        match own {
            Own::Cancel => {}
            Own::Alarm(number) => self.alarms.rang(number),
            Own::Wake => {
                self.woken = true;
                if !cqe.goes_on() {
                    self.listen();
                }
            }
        }
    }

    /// What completes once, with a number.
    fn came_to(&mut self, ops: &mut OpTable, cqe: Cqe, what: What) {
        let outcome = match (cqe.result(), what) {
            (Err(error), _) => return self.failed(ops, cqe.ticket, error),
            (Ok(_), What::Connect | What::Readiness) => Outcome::Done,
            (Ok(count), What::CountFrom) => {
                if let Some(flight) = self.flights.get_mut(cqe.ticket) {
                    sqe::take_sender(ops, flight.op);
                }
                Outcome::Count(count as usize)
            }
            (Ok(count), _) => {
                self.note_drained(ops, cqe.ticket, count as usize);
                Outcome::Count(count as usize)
            }
        };
        self.finish(ops, cqe.ticket, Ok(outcome));
    }

    /// A receive that found less than it had room for has emptied the socket.
    fn note_drained(&mut self, ops: &OpTable, ticket: Ticket, count: usize) {
        let Some(flight) = self.flights.get_mut(ticket) else { return };
        if let Some(&Op::Recv { fd, limit, .. }) = ops.get(flight.op)
            && let Some(descriptor) = self.descriptors.get_mut(fd)
        {
            descriptor.drained = count < limit;
        }
    }

    /// A quiet send failed, or sent a part.
    fn not_all_sent(&mut self, ops: &mut OpTable, cqe: Cqe) {
        self.not_quiet(cqe.ticket);
        self.came_to(ops, cqe, What::Count);
    }

    /// One more outcome of a multishot receive, or its end.
    fn received(&mut self, ops: &mut OpTable, cqe: Cqe) {
        match cqe.result() {
            Ok(0) => {
                self.give_back(cqe);
                self.finish(ops, cqe.ticket, Ok(Outcome::Count(0)));
            }
            Ok(count) => {
                let Some(id) = cqe.buffer() else {
                    debug_assert!(false, "received bytes lie in a provided buffer");
                    return self.failed(ops, cqe.ticket, Errno::IO);
                };
                let chunk = self.pool.lend(id, count as usize);
                self.count(cqe.ticket, count as usize);
                self.consider_bulk(cqe, count as usize);
                self.more(ops, cqe, Outcome::Chunk(chunk));
            }
            Err(error) => {
                self.give_back(cqe);
                self.failed(ops, cqe.ticket, error);
            }
        }
    }

    /// A connection came in.
    fn accepted(&mut self, ops: &mut OpTable, cqe: Cqe) {
        let connection = match cqe.result() {
            Ok(number) => Descriptor::accepted(number as i32),
            Err(error) => return self.failed(ops, cqe.ticket, error),
        };
        let key: FdKey = self.descriptors.insert(connection);
        let once = self.flights.get_mut(cqe.ticket).is_some_and(|flight| flight.what == What::Accept);
        if once {
            self.finish(ops, cqe.ticket, Ok(Outcome::Accepted(key)));
        } else {
            self.more(ops, cqe, Outcome::Accepted(key));
        }
    }

    /// An outcome of a multishot operation. Where the kernel ended the request with it (its queue was full, say), the
    /// operation goes on with another request, unless it was cancelled.
    fn more(&mut self, ops: &mut OpTable, cqe: Cqe, outcome: Outcome) {
        let Some(flight) = self.flights.get_mut(cqe.ticket) else { return };
        let cancelled = flight.cancelled;
        self.done.push(Completion { op: flight.op, event: Event::More(outcome) });
        match (cqe.goes_on(), cancelled) {
            (true, _) => {}
            (false, true) => self.finish(ops, cqe.ticket, Err(Errno::CANCELED.into())),
            (false, false) => self.go_on(ops, cqe.ticket),
        }
    }

    /// Makes a multishot operation's request again, unless it is held.
    pub(crate) fn go_on(&mut self, ops: &mut OpTable, ticket: Ticket) {
        match self.flights.get_mut(ticket) {
            Some(flight) if flight.held => flight.stage = Stage::Held,
            Some(flight) if flight.bulk => self.wait_ready(ops, ticket),
            _ => self.launch(ops, ticket),
        }
    }

    /// The request failed: for good, or for now.
    fn failed(&mut self, ops: &mut OpTable, ticket: Ticket, error: Errno) {
        let Some(flight) = self.flights.get_mut(ticket) else { return };
        let accepts = matches!(flight.what, What::Accept | What::AcceptMulti);
        match error {
            // What was interrupted because it was cancelled was cancelled.
            Errno::AGAIN | Errno::INTR | Errno::NOBUFS | Errno::CONNABORTED if flight.cancelled => {
                self.finish(ops, ticket, Err(Errno::CANCELED.into()));
            }
            // A full backlog of a Unix socket, of which nobody would report that it no longer is.
            Errno::AGAIN if matches!(flight.what, What::Connect | What::Readiness | What::File) => {
                self.finish(ops, ticket, Err(error.into()));
            }
            // Made again, it waits by itself.
            Errno::AGAIN if flight.stage == Stage::Quiet => self.launch(ops, ticket),
            Errno::AGAIN => self.wait_ready(ops, ticket),
            Errno::INTR if flight.what != What::Connect => self.launch(ops, ticket),
            // Given up by its peer while it stood in the backlog: nobody's error.
            Errno::CONNABORTED if accepts => self.launch(ops, ticket),
            // Not cancelled, but taken back, to be held or because it receives much at a time.
            Errno::CANCELED if flight.what == What::RecvMulti && !flight.cancelled => self.go_on(ops, ticket),
            Errno::NOBUFS if flight.what == What::RecvMulti && flight.held => flight.stage = Stage::Held,
            Errno::NOBUFS if flight.what == What::RecvMulti && flight.bulk => self.wait_ready(ops, ticket),
            Errno::NOBUFS if flight.what == What::RecvMulti => {
                flight.stage = Stage::Parked;
                self.parked.push_back(ticket);
                self.starved = true;
            }
            error => self.finish(ops, ticket, Err(error.into())),
        }
    }

    /// The readiness that a request waited for after "try again".
    fn ready_again(&mut self, ops: &mut OpTable, cqe: Cqe) {
        let Some(flight) = self.flights.get_mut(cqe.ticket) else { return };
        match cqe.result() {
            Ok(_) if flight.cancelled => self.finish(ops, cqe.ticket, Err(Errno::CANCELED.into())),
            Ok(_) if flight.held => flight.stage = Stage::Held,
            Ok(_) if flight.bulk => self.announce(cqe.ticket),
            Ok(_) => self.launch(ops, cqe.ticket),
            Err(error) => self.finish(ops, cqe.ticket, Err(error.into())),
        }
    }

    /// A buffer was used, and nothing is in it.
    fn give_back(&self, cqe: Cqe) {
        if let Some(id) = cqe.buffer() {
            self.pool.take_back(id);
        }
    }

    /// The end of a flight. The next in its line gets its turn.
    pub(crate) fn finish(&mut self, ops: &mut OpTable, ticket: Ticket, result: io::Result<Outcome>) {
        let Some(flight) = self.flights.get_mut(ticket) else { return };
        let mut next = None;
        if let Some((fd, direction)) = flight.take_line()
            && let Some(descriptor) = self.descriptors.get_mut(fd)
        {
            let line = descriptor.line_mut(direction);
            self.flights.leave(line, ticket);
            next = self.flights.first(line);
        }
        if let Some(flight) = self.flights.end(ticket) {
            self.done.push(Completion { op: flight.op, event: Event::Final(result) });
        }
        if let Some(next) = next
            && self.flights.get_mut(next).is_some_and(|flight| flight.stage == Stage::Waiting)
        {
            self.launch(ops, next);
        }
    }

    /// Lets parked receivers go on, one for each buffer that the kernel has. Whether some have to wait although it has.
    pub(crate) fn feed(&mut self, ops: &mut OpTable) -> bool {
        let mut room = self.pool.provide();
        while room > 0
            && let Some(ticket) = self.parked.pop_front()
        {
            if self.flights.get_mut(ticket).is_some_and(|flight| flight.stage == Stage::Parked) {
                self.launch(ops, ticket);
                room -= 1;
            }
        }
        !self.parked.is_empty() && room == 0
    }
}
