//! No connection gets more than its share of a pass.
//!
//! Asked once, the kernel receives as fast as the peer sends: a stream may have megabytes in the completion queue at one
//! look, and more at the next. The loop is told of [`MOST`] bytes of each receiver per poll, as with a backend that reads
//! when it is told to; the rest is carried over, and its receiver is *held* (its request is taken back) until that is
//! told too, so what is carried over stays bounded.
//!
//! Invariant: what concerns one operation is reported in order; carried over, its final completion is behind its bytes.

use std::collections::HashMap;

use loop_core::{Completion, Event, OpKey, OpTable, Outcome};

use crate::backend::UringBackend;
use crate::flights::{Stage, Ticket};
use crate::sqe::Bare;

/// The most bytes of a receiver that a poll reports.
const MOST: usize = 256 * 1024;

impl UringBackend {
    /// A receiver got so many bytes: was that more than its share?
    pub(crate) fn count(&mut self, ticket: Ticket, len: usize) {
        let batch = self.batch;
        let Some(flight) = self.flights.get_mut(ticket) else { return };
        if flight.batch != batch {
            flight.batch = batch;
            flight.bytes = 0;
        }
        flight.bytes = flight.bytes.saturating_add(u32::try_from(len).unwrap_or(u32::MAX));
        self.flooded |= flight.bytes as usize > MOST;
    }

    /// Reports what there is, as far as each receiver's share goes.
    pub(crate) fn report(&mut self, ops: &mut OpTable, out: &mut Vec<Completion>) {
        if !self.flooded {
            if !self.done.is_empty() {
                self.batch = self.batch.wrapping_add(1);
                out.append(&mut self.done);
            }
            return;
        }
        self.batch = self.batch.wrapping_add(1);
        // Bytes reported, and whether the rest has to wait.
        let mut shares: HashMap<OpKey, (usize, bool)> = HashMap::new();
        for completion in std::mem::take(&mut self.done) {
            let len = match &completion.event {
                Event::More(Outcome::Chunk(chunk)) => chunk.len(),
                _ => 0,
            };
            let (bytes, waits) = shares.entry(completion.op).or_default();
            *waits |= *bytes > 0 && *bytes + len > MOST;
            if *waits {
                self.done.push(completion);
            } else {
                *bytes += len;
                out.push(completion);
            }
        }
        self.flooded = !self.done.is_empty();
        let waits = |op: OpKey| shares.get(&op).is_some_and(|share| share.1);
        self.let_go(ops, waits);
        for op in shares.keys().copied().filter(|op| waits(*op)) {
            self.hold(ops, op);
        }
    }

    /// Takes a receiver's request back.
    fn hold(&mut self, ops: &mut OpTable, op: OpKey) {
        let Some(ticket) = self.flights.of(ops, op) else { return };
        let Some(flight) = self.flights.get_mut(ticket) else { return };
        if std::mem::replace(&mut flight.held, true) || flight.cancelled {
            return;
        }
        self.held.push(ticket);
        if flight.stage == Stage::Flying {
            self.ring.ask(Bare::cancel(ticket));
        }
    }

    /// Lets receivers go on that need not wait any more.
    fn let_go(&mut self, ops: &mut OpTable, waits: impl Fn(OpKey) -> bool) {
        for ticket in std::mem::take(&mut self.held) {
            let Some(flight) = self.flights.get_mut(ticket) else { continue };
            if waits(flight.op) {
                self.held.push(ticket);
                continue;
            }
            flight.held = false;
            if flight.stage == Stage::Held {
                self.go_on(ops, ticket);
            }
        }
    }
}
