//! Receiving: one multishot operation for as long as the connection reads.
//!
//! At most one read of up to 256 KiB is delivered per pass and connection. While reading is paused nothing is delivered:
//! a backend that reads by itself is not asked to, and what another one has received already is kept.

use std::io;
use std::rc::Rc;

use super::Connection;
use crate::buffer::Chunk;
use crate::driver::{Resumed, Sink, Started};
use crate::op::{Event, Op, Outcome};
use crate::op_table::OpKey;

/// The most bytes delivered at once, as asyncio has it.
pub(crate) const MAX_READ: usize = 256 * 1024;

impl Connection {
    /// Starts to receive, unless that is under way or not wanted.
    pub(super) fn arm(self: &Rc<Self>) {
        let reading = &self.reading;
        let idle = reading.op.get().is_none() && reading.begun.get() && !reading.ended.get();
        if !idle || reading.paused.get() || self.closing.get() {
            return;
        }
        match self.inner.start(Op::RecvMulti { fd: self.fd }, Rc::clone(self) as Rc<dyn Sink>) {
            Started::Queued(key) => reading.op.set(Some(key)),
            Started::More(key, outcome) => {
                reading.op.set(Some(key));
                self.keep(outcome);
            }
            Started::Done(result, ..) => self.received_last(result),
            Started::Closed => {}
        }
    }

    pub(super) fn receive_event(self: &Rc<Self>, key: OpKey, event: Event) {
        match event {
            Event::Resume if self.reading.paused.get() => self.reading.readable.set(true),
            Event::Resume => self.fetch(key),
            Event::More(outcome) => self.received(outcome),
            Event::Final(result) => {
                self.reading.op.set(None);
                self.received_last(result);
            }
        }
    }

    /// Has the backend read, now that it is this connection's turn.
    fn fetch(self: &Rc<Self>, key: OpKey) {
        if !self.read_directly() {
            return;
        }
        match self.inner.resume(key) {
            Resumed::Nothing => {}
            Resumed::More(outcome) => self.received(outcome),
            Resumed::Final(result, _) => {
                self.reading.op.set(None);
                self.received_last(result);
            }
        }
    }

    /// Reads straight into the protocol's own memory, if it gives some. True where the operation goes on as usual.
    fn read_directly(self: &Rc<Self>) -> bool {
        enum Read {
            NotOurs,
            Empty,
            Done(Option<io::Result<usize>>),
        }
        let inner = Rc::clone(&self.inner);
        let read = self.try_call("get_buffer", |protocol, transport| match protocol.get_buffer(transport) {
            None => Read::NotOurs,
            Some([]) => Read::Empty,
            Some(buffer) => {
                let most = buffer.len().min(MAX_READ);
                Read::Done(inner.recv_now(self.fd, &mut buffer[..most]))
            }
        });
        match read {
            Ok(None | Some(Read::NotOurs | Read::Done(None))) => true,
            Ok(Some(Read::Empty)) => {
                self.broken(io::Error::other("get_buffer() returned an empty buffer"));
                false
            }
            Ok(Some(Read::Done(Some(Ok(count))))) if count > 0 => {
                if let Err(panic) = self.try_call("buffer_updated", |protocol, transport| {
                    protocol.buffer_updated(transport, count);
                }) {
                    self.broken(io::Error::other(panic));
                    return false;
                }
                // The operation goes on by itself, unless it has been ended or paused meanwhile.
                self.still_wanted()
            }
            // Nothing there, the end, or an error: the operation says which.
            Ok(Some(Read::Done(Some(_)))) => true,
            Err(panic) => {
                self.broken(io::Error::other(panic));
                false
            }
        }
    }

    /// Whether reading goes on now; where it is paused, it goes on when it is resumed.
    fn still_wanted(&self) -> bool {
        if self.reading.paused.get() {
            self.reading.readable.set(true);
        }
        !self.reading.paused.get() && !self.closing.get()
    }

    fn received(self: &Rc<Self>, outcome: Outcome) {
        if self.reading.paused.get() || !self.reading.kept.borrow().is_empty() {
            self.keep(outcome);
        } else if let Outcome::Chunk(chunk) = outcome {
            self.deliver(&chunk);
        }
    }

    fn keep(self: &Rc<Self>, outcome: Outcome) {
        if let Outcome::Chunk(chunk) = outcome {
            self.reading.kept.borrow_mut().push_back(chunk);
            self.queue_turn();
        }
    }

    fn received_last(self: &Rc<Self>, result: io::Result<Outcome>) {
        match result {
            Ok(Outcome::Chunk(chunk)) if !chunk.is_empty() => {
                self.received(Outcome::Chunk(chunk));
                self.arm();
            }
            Ok(_) => {
                self.reading.ended.set(true);
                self.queue_or_end();
            }
            Err(error) if error.raw_os_error() == Some(libc::ECANCELED) => self.arm(),
            Err(error) => self.lost(error),
        }
    }

    fn deliver(self: &Rc<Self>, chunk: &Chunk) {
        if self.closing.get() {
            return;
        }
        let mut rest: &[u8] = chunk;
        while !rest.is_empty() && !self.closing.get() {
            // A protocol with memory of its own gets the bytes there, also where the backend received them elsewhere.
            let taken = self.try_call("data_received", |protocol, transport| {
                let Some(buffer) = protocol.get_buffer(transport) else {
                    protocol.data_received(transport, rest);
                    return rest.len();
                };
                let count = buffer.len().min(rest.len());
                buffer[..count].copy_from_slice(&rest[..count]);
                if count > 0 {
                    protocol.buffer_updated(transport, count);
                }
                count
            });
            match taken {
                Ok(Some(0)) => return self.broken(io::Error::other("get_buffer() returned an empty buffer")),
                Ok(Some(count)) => rest = &rest[count..],
                Ok(None) => return,
                Err(panic) => return self.broken(io::Error::other(panic)),
            }
        }
    }

    /// The end of the stream, behind what was kept.
    fn queue_or_end(self: &Rc<Self>) {
        if self.reading.paused.get() || !self.reading.kept.borrow().is_empty() {
            self.queue_turn();
        } else {
            self.deliver_end();
        }
    }

    fn deliver_end(self: &Rc<Self>) {
        if self.closing.get() {
            return;
        }
        match self.try_call("eof_received", |protocol, transport| protocol.eof_received(transport)) {
            Ok(Some(true)) => {}
            Ok(_) => self.close(),
            Err(panic) => self.broken(io::Error::other(panic)),
        }
    }

    pub(super) fn pause_reading(self: &Rc<Self>) {
        if self.closing.get() || self.reading.paused.replace(true) {
            return;
        }
        if let Some(key) = self.reading.op.get()
            && !self.inner.is_synchronous()
        {
            // It would go on receiving into the loop's buffers.
            self.inner.cancel_op(key);
        }
    }

    pub(super) fn resume_reading(self: &Rc<Self>) {
        if self.closing.get() || !self.reading.paused.replace(false) {
            return;
        }
        if self.reading.readable.get() || !self.reading.kept.borrow().is_empty() || self.reading.ended.get() {
            self.queue_turn();
        }
        self.arm();
    }

    /// Delivers what was kept in a turn of its own: the protocol is called from the loop.
    fn queue_turn(self: &Rc<Self>) {
        if self.reading.turn.replace(true) {
            return;
        }
        let connection = Rc::clone(self);
        let turn = move || connection.take_turn();
        // On a closed loop there is nobody to deliver to.
        let _ = self.transport().get_loop().call_soon(turn);
    }

    fn take_turn(self: &Rc<Self>) {
        let reading = &self.reading;
        reading.turn.set(false);
        if reading.paused.get() || self.closing.get() {
            return;
        }
        let chunk = reading.kept.borrow_mut().pop_front();
        if let Some(chunk) = chunk {
            self.deliver(&chunk);
            drop(chunk);
            if !reading.kept.borrow().is_empty() || reading.readable.get() || reading.ended.get() {
                self.queue_turn();
            }
        } else if reading.readable.take() {
            if let Some(key) = reading.op.get() {
                self.fetch(key);
            }
        } else if reading.ended.get() {
            self.deliver_end();
        }
    }
}
