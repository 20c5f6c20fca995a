//! Receiving: one multishot operation for as long as the connection reads.
//!
//! At most one read of up to 256 KiB is delivered per pass and connection. While reading is paused nothing is delivered:
//! a backend that reads by itself is not asked to, and what another one has received already is kept. What is kept comes
//! first when reading goes on, then what is still with the backend, then the end of the stream or the error that ended
//! it, and the protocol is called for each from a turn of the loop's.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::ops::Deref;
use std::rc::Rc;

use super::{Connection, Transport};
use crate::buffer::{Buffer, Chunk};
use crate::driver::{Resumed, Sink, Started};
use crate::inner::Inner;
use crate::op::{Event, Op, Outcome};
use crate::op_table::OpKey;

/// The most bytes delivered at once, as asyncio has it.
pub(crate) const MAX_READ: usize = 256 * 1024;

#[derive(Default)]
pub(super) struct Reading {
    /// The multishot receive, while it is armed.
    op: Cell<Option<OpKey>>,
    /// `connection_made` was called: from then on there may be data.
    pub(super) begun: Cell<bool>,
    pub(super) paused: Cell<bool>,
    /// The backend said that there is something; it is fetched when its turn comes.
    readable: Cell<bool>,
    /// A turn that delivers what was kept is queued.
    turn: Cell<bool>,
    /// The protocol wants to have in that turn what it left.
    insists: Cell<bool>,
    kept: Backlog,
    end: Cell<End>,
}

/// How far the end of the stream has come.
#[derive(Default)]
enum End {
    #[default]
    Open,
    /// The peer sends no more, or the connection broke; the protocol is yet to be told.
    Reached(Option<io::Error>),
    Told,
}

/// What was received and not delivered, in order. Nearly always that is nothing, which takes a word.
#[derive(Default)]
struct Backlog(Cell<Option<Box<Pieces>>>);

/// Never empty.
#[derive(Default)]
struct Pieces(VecDeque<Kept>);

impl Backlog {
    fn is_empty(&self) -> bool {
        let pieces = self.0.take();
        let is_empty = pieces.is_none();
        self.0.set(pieces);
        is_empty
    }

    fn push_back(&self, kept: Kept) {
        let mut pieces = self.0.take().unwrap_or_default();
        pieces.0.push_back(kept);
        self.0.set(Some(pieces));
    }

    fn push_front(&self, kept: Kept) {
        let mut pieces = self.0.take().unwrap_or_default();
        pieces.0.push_front(kept);
        self.0.set(Some(pieces));
    }

    fn pop_front(&self) -> Option<Kept> {
        let mut pieces = self.0.take()?;
        let first = pieces.0.pop_front();
        self.0.set(Some(pieces).filter(|pieces| !pieces.0.is_empty()));
        first
    }

    fn clear(&self) {
        drop(self.0.take());
    }
}

/// Received bytes; those before `from` were delivered.
struct Kept {
    bytes: Bytes,
    from: usize,
}

enum Bytes {
    Lent(Chunk),
    /// Those that a receive on the bare socket had left.
    Own(Vec<u8>),
}

impl Deref for Kept {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Lent(chunk) => &chunk[self.from..],
            Bytes::Own(bytes) => &bytes[self.from..],
        }
    }
}

impl Reading {
    /// Whether this operation is the receive.
    pub(super) fn is_op(&self, key: OpKey) -> bool {
        self.op.get() == Some(key)
    }

    /// Bytes that were received before there was a connection: the protocol's first.
    pub(super) fn begin_with(&self, bytes: Vec<u8>) {
        self.kept.push_back(Kept { bytes: Bytes::Own(bytes), from: 0 });
    }

    fn has_kept(&self) -> bool {
        !self.kept.is_empty()
    }

    fn is_open(&self) -> bool {
        self.end_is(|end| matches!(end, End::Open))
    }

    /// Whether the protocol is to be told that the stream has ended.
    fn is_at_end(&self) -> bool {
        self.end_is(|end| matches!(end, End::Reached(_)))
    }

    fn end_is(&self, is: impl FnOnce(&End) -> bool) -> bool {
        let end = self.end.take();
        let answer = is(&end);
        self.end.set(end);
        answer
    }

    /// Whether there is something to deliver, or to fetch and deliver.
    fn has_more(&self) -> bool {
        self.has_kept() || self.readable.get() || self.is_at_end()
    }
}

impl Connection {
    /// Starts to receive, unless that is under way or not wanted.
    pub(super) fn arm(self: &Rc<Self>) {
        let reading = &self.reading;
        let idle = reading.op.get().is_none() && reading.begun.get() && reading.is_open();
        if !idle || reading.paused.get() || self.closing.get() {
            return;
        }
        match self.inner.start(Op::RecvMulti { fd: self.fd }, Rc::clone(self) as Rc<dyn Sink>) {
            Started::Queued(key) => reading.op.set(Some(key)),
            Started::More(key, outcome) => {
                reading.op.set(Some(key));
                self.keep(outcome);
            }
            // Whoever called is not to be called back: a turn follows.
            Started::Done(result, ..) => {
                self.take_in(result);
                self.queue_turn();
            }
            Started::Closed => {}
        }
    }

    pub(super) fn receive_event(self: &Rc<Self>, key: OpKey, event: Event) {
        match event {
            Event::Resume => self.readable(key),
            Event::More(outcome) => self.received(outcome, true),
            Event::Final(result) => self.received_last(result),
        }
    }

    /// There is something to receive.
    pub(super) fn readable(self: &Rc<Self>, key: OpKey) {
        if self.reading.paused.get() || self.reading.has_kept() {
            // What is kept comes first.
            self.reading.readable.set(true);
        } else {
            self.fetch(key, true);
        }
    }

    /// Lets the operation go on.
    fn receive_on(self: &Rc<Self>, key: OpKey) {
        self.resumed(self.inner.resume(key));
    }

    /// The operation went on.
    fn resumed(self: &Rc<Self>, resumed: Resumed) {
        match resumed {
            Resumed::Nothing => {}
            Resumed::More(outcome) => self.received(outcome, false),
            Resumed::Final(result, _) => self.received_last(result),
        }
    }

    /// Has the backend read, now that it is this connection's turn; unless the protocol, if it is asked, leaves it. The
    /// bytes go straight into the protocol's own memory, if it gives some, else into the loop's, if the backend can.
    ///
    /// All of it is one call of the protocol's, as this is what a connection does most.
    fn fetch(self: &Rc<Self>, key: OpKey, asks: bool) {
        enum Read {
            Left,
            Received,
            Empty,
            Failed(io::Error),
            /// Nothing in this way: the operation says what there is.
            Other,
        }
        let what = Cell::new("get_buffer");
        let read = self.try_calls(&what, |protocol, transport| {
            if asks && protocol.data_available(transport) {
                return Read::Left;
            }
            let received = match protocol.get_buffer(transport) {
                // The protocol may have changed its mind.
                None if self.reading.paused.get() || self.closing.get() => None,
                None => {
                    let mut memory = ReceiveBuffer::take(&self.inner);
                    let received = self.inner.resume_into(key, memory.as_mut_slice());
                    if let Some(Ok(count @ 1..)) = received {
                        what.set("data_received");
                        protocol.data_received(transport, &memory.as_mut_slice()[..count]);
                    }
                    received
                }
                Some([]) => return Read::Empty,
                Some(buffer) => {
                    let most = buffer.len().min(MAX_READ);
                    let received = self.inner.resume_into(key, &mut buffer[..most]);
                    if let Some(Ok(count @ 1..)) = received {
                        what.set("buffer_updated");
                        protocol.buffer_updated(transport, count);
                    }
                    received
                }
            };
            match received {
                Some(Ok(1..)) => Read::Received,
                Some(Err(error)) if error.kind() != io::ErrorKind::WouldBlock => Read::Failed(error),
                Some(_) | None => Read::Other,
            }
        });
        match read {
            Ok(Some(Read::Received)) => {}
            Ok(Some(Read::Left)) => self.reading.readable.set(true),
            Ok(Some(Read::Empty)) => self.broken(empty_buffer()),
            Ok(Some(Read::Failed(error))) => self.lost(error),
            // Or there is nobody to read for.
            Ok(Some(Read::Other) | None) => self.receive_on(key),
            Err(panic) => self.broken(io::Error::other(panic)),
        }
    }

    fn received(self: &Rc<Self>, outcome: Outcome, asks: bool) {
        if self.reading.paused.get() || self.reading.has_kept() {
            self.keep(outcome);
        } else if let Outcome::Chunk(chunk) = outcome {
            self.deliver(Kept { bytes: Bytes::Lent(chunk), from: 0 }, asks);
        }
    }

    fn keep(self: &Rc<Self>, outcome: Outcome) {
        if let Outcome::Chunk(chunk) = outcome {
            self.reading.kept.push_back(Kept { bytes: Bytes::Lent(chunk), from: 0 });
            self.queue_turn();
        }
    }

    /// The operation is over.
    fn received_last(self: &Rc<Self>, result: io::Result<Outcome>) {
        self.reading.op.set(None);
        // What it was told of is for the next operation to be told of again.
        self.reading.readable.set(false);
        if matches!(&result, Err(error) if error.raw_os_error() == Some(libc::ECANCELED)) {
            // It was taken back for a pause, which may be over.
            return self.arm();
        }
        self.take_in(result);
        if !self.reading.turn.get() {
            self.take_turn();
        }
    }

    /// Takes note of how an operation ended.
    fn take_in(&self, result: io::Result<Outcome>) {
        match result {
            // The last of this operation, but not of the stream.
            Ok(Outcome::Chunk(chunk)) if !chunk.is_empty() => {
                self.reading.kept.push_back(Kept { bytes: Bytes::Lent(chunk), from: 0 });
            }
            Ok(_) => self.reading.end.set(End::Reached(None)),
            Err(error) => self.reading.end.set(End::Reached(Some(error))),
        }
    }

    /// Delivers bytes; a protocol that takes less than there is, and pauses, gets the rest later. One that is asked may
    /// leave them.
    fn deliver(self: &Rc<Self>, mut kept: Kept, mut asks: bool) {
        while !kept.is_empty() && !self.closing.get() {
            if self.reading.paused.get() {
                self.reading.kept.push_front(kept);
                return;
            }
            // A protocol with memory of its own gets the bytes there, also where the backend received them elsewhere.
            let rest = &kept[..kept.len().min(MAX_READ)];
            let taken = self.try_call("data_received", |protocol, transport| {
                if std::mem::take(&mut asks) && protocol.data_available(transport) {
                    return None;
                }
                let Some(buffer) = protocol.get_buffer(transport) else {
                    protocol.data_received(transport, rest);
                    return Some(rest.len());
                };
                let count = buffer.len().min(rest.len());
                buffer[..count].copy_from_slice(&rest[..count]);
                if count > 0 {
                    protocol.buffer_updated(transport, count);
                }
                Some(count)
            });
            match taken {
                Ok(Some(Some(0))) => return self.broken(empty_buffer()),
                Ok(Some(Some(count))) => kept.from += count,
                Ok(Some(None)) => {
                    self.reading.kept.push_front(kept);
                    return;
                }
                Ok(None) => return,
                Err(panic) => return self.broken(io::Error::other(panic)),
            }
        }
    }

    /// The end of the stream, behind everything that was received.
    fn deliver_end(self: &Rc<Self>) {
        let end = self.reading.end.replace(End::Told);
        if let End::Reached(Some(error)) = end {
            return self.lost(error);
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
        let Some(key) = self.reading.op.get() else { return };
        if self.inner.is_synchronous() {
            // Nobody but the program can make it go on: if that lets go of it, it is gone.
            self.inner.hold_sink(key, &(Rc::clone(self) as Rc<dyn Sink>), false);
        } else {
            // It would go on receiving into the loop's buffers.
            self.inner.cancel_op(key);
        }
    }

    pub(super) fn resume_reading(self: &Rc<Self>) {
        if self.closing.get() || !self.reading.paused.replace(false) {
            return;
        }
        if let Some(key) = self.reading.op.get() {
            self.inner.hold_sink(key, &(Rc::clone(self) as Rc<dyn Sink>), true);
        }
        if self.reading.has_more() {
            self.queue_turn();
        }
        self.arm();
    }

    /// Delivers what was kept in a turn of its own: the protocol is called from the loop.
    fn queue_turn(self: &Rc<Self>) {
        // Where it is paused, resuming sees to it.
        if self.reading.paused.get() || self.closing.get() || self.reading.turn.replace(true) {
            return;
        }
        let connection = Rc::clone(self);
        let turn = move || connection.take_turn();
        // On a closed loop there is nobody to deliver to.
        let _ = self.transport().get_loop().call_soon(turn);
    }

    /// What was kept, or else what is with the backend, in a turn of its own.
    pub(super) fn take_turn(self: &Rc<Self>) {
        self.reading.turn.set(false);
        let asks = !self.reading.insists.take();
        self.deliver_next(asks);
    }

    /// Delivers one thing of what there is, in order. A protocol that is asked may leave what is with the backend there.
    fn deliver_next(self: &Rc<Self>, asks: bool) {
        let reading = &self.reading;
        if reading.paused.get() || self.closing.get() {
            return;
        }
        let kept = reading.kept.pop_front();
        let at_end = reading.is_at_end();
        if let Some(kept) = kept {
            self.deliver(kept, false);
        } else if reading.readable.take() {
            if let Some(key) = reading.op.get() {
                self.fetch(key, asks);
            }
            if reading.readable.get() {
                // Left, for the protocol to come back to; or there may be more, and a turn for that is queued.
                return;
            }
        } else if at_end {
            self.deliver_end();
        }
        if reading.has_more() {
            self.queue_turn();
        }
        self.arm();
    }

    /// Reading is over, before its end.
    pub(super) fn stop_reading(&self) {
        if let Some(op) = self.reading.op.take() {
            self.inner.abandon_op(op);
        }
        self.reading.kept.clear();
    }
}

/// The loop's memory for what is received, until this is dropped. There is one, which stays warm; a protocol that has another
/// connection deliver while it looks at its bytes is what takes a second.
struct ReceiveBuffer<'a> {
    inner: &'a Inner,
    memory: Option<Box<Buffer>>,
}

impl<'a> ReceiveBuffer<'a> {
    fn take(inner: &'a Inner) -> Self {
        let memory = inner.receive_buffer.take().unwrap_or_else(|| Box::new(Buffer::new(MAX_READ)));
        Self { inner, memory: Some(memory) }
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        self.memory.as_deref_mut().map(Buffer::as_mut_slice).unwrap_or_default()
    }
}

impl Drop for ReceiveBuffer<'_> {
    fn drop(&mut self) {
        self.inner.receive_buffer.set(self.memory.take());
    }
}

impl Transport {
    /// Delivers what the protocol left where it was (see [`Protocol::data_available`](crate::Protocol::data_available)),
    /// or some of it, before this returns. Where the protocol is being called, or is borrowed by the program, this is
    /// [`deliver_soon`](Self::deliver_soon). While reading is paused nothing is delivered, here as elsewhere.
    pub fn deliver_now(&self) {
        let connection = &self.0;
        let busy = connection.protocol.borrow().as_ref().is_some_and(|protocol| protocol.try_borrow_mut().is_err());
        if busy {
            self.deliver_soon();
        } else if connection.reading.has_more() {
            connection.deliver_next(false);
        }
    }

    /// Receives what the protocol left where it was straight into memory of the caller's, where the backend can, and gives
    /// the count. Zero means that nothing can be had in this way, and that [`deliver_now`](Self::deliver_now) is called
    /// for: it also tells the end of the stream.
    #[must_use]
    pub fn receive_now(&self, place: &mut [u8]) -> usize {
        let connection = &self.0;
        let reading = &connection.reading;
        let Some(key) = reading.op.get() else { return 0 };
        if !reading.readable.get() || reading.has_kept() || reading.paused.get() || connection.closing.get() {
            return 0;
        }
        let most = place.len().min(MAX_READ);
        match connection.inner.recv_now(connection.fd, &mut place[..most]) {
            Some(Ok(count)) if count > 0 => {
                if count == most {
                    // There may be more: for the next pass.
                    connection.queue_turn();
                } else {
                    reading.readable.set(false);
                    connection.receive_on(key);
                }
                count
            }
            Some(Err(error)) if error.kind() != io::ErrorKind::WouldBlock => {
                connection.lost(error);
                0
            }
            // Nothing there, or the end, or not to be had so: the operation says which.
            _ => 0,
        }
    }

    /// Has the loop deliver what the protocol left where it was, in the next pass.
    pub fn deliver_soon(&self) {
        if self.0.reading.has_more() {
            self.0.reading.insists.set(true);
            self.0.queue_turn();
        }
    }
}

fn empty_buffer() -> io::Error {
    io::Error::other("get_buffer() returned an empty buffer")
}
