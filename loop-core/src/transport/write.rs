//! Sending: what is written during a pass leaves in as few system calls as possible.
//!
//! Small writes are gathered and leave at the end of the pass; a large one, with nothing before it, is sent from the
//! caller's memory at once, without a copy, where the backend can. What the socket does not take is sent by one
//! operation at a time, so the bytes keep their order; what is written meanwhile is gathered for the next.
//!
//! The counts that users see are asyncio's, which sends in the call: before anyone is told to pause, or how much is
//! unsent, what waits for the end of the pass is sent.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::rc::Rc;

use super::Connection;
use crate::control::Control;
use crate::driver::{Resumed, Sink, Started};
use crate::error::{Error, Result};
use crate::flush::Flush;
use crate::inner::Inner;
use crate::op::{Event, Op, Outcome};
use crate::op_table::OpKey;

/// From this size on a write with nothing before it is sent at once rather than copied.
const LARGE: usize = 4 * 1024;

/// Dropped writes from which on a warning is logged.
const WARN_FROM: u32 = 5;

#[derive(Default)]
pub(super) struct Outgoing {
    /// Written, not yet given to the backend; the first `sent` bytes are gone.
    buffer: Vec<u8>,
    sent: usize,
    /// The operation that sends, and how much of it is unsent.
    op: Option<OpKey>,
    in_flight: usize,
    /// In the loop's list of what is to be flushed at the end of the pass.
    dirty: bool,
    /// `write_eof` was called.
    eof: bool,
    /// The sending side was shut down.
    eof_sent: bool,
    /// Writes dropped after the end.
    dropped: u32,
}

impl Outgoing {
    fn buffered(&self) -> usize {
        self.buffer.len() - self.sent
    }

    /// So many more of the first bytes are gone. A writer that never lets the buffer run empty would have it grow for
    /// ever, so what is gone goes, once it is the larger part.
    fn advance(&mut self, count: usize) {
        self.sent += count;
        if self.sent > self.buffered() {
            self.buffer.drain(..self.sent);
            self.sent = 0;
        }
    }
}

impl Connection {
    /// How many bytes were written and not sent.
    pub(super) fn unsent(&self) -> usize {
        let outgoing = self.outgoing.borrow();
        outgoing.buffered() + outgoing.in_flight
    }

    pub(super) fn write(self: &Rc<Self>, pieces: &[IoSlice<'_>]) -> Result<()> {
        let total: usize = pieces.iter().map(|piece| piece.len()).sum();
        if self.outgoing.borrow().eof {
            return Err(Error::WriteAfterEof);
        }
        if total == 0 {
            return Ok(());
        }
        // One that is closing still has something to send: then this goes too.
        if self.ended.get() {
            self.drop_write();
            return Ok(());
        }
        let mut first = 0;
        if total >= LARGE && self.unsent() == 0 {
            match self.inner.send_now(self.fd, pieces) {
                Some(Ok(count)) => first = count,
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                Some(Err(error)) => {
                    self.lost(error);
                    return Ok(());
                }
                None => {}
            }
        }
        if first < total {
            self.append(pieces, first);
        }
        Ok(())
    }

    /// Gathers the pieces behind what is there, without their first `skip` bytes.
    fn append(self: &Rc<Self>, pieces: &[IoSlice<'_>], mut skip: usize) {
        let (newly_dirty, too_much) = {
            let mut outgoing = self.outgoing.borrow_mut();
            if outgoing.buffer.capacity() == 0 {
                outgoing.buffer = self.inner.spare_buffer();
            }
            for piece in pieces {
                let from = skip.min(piece.len());
                skip -= from;
                outgoing.buffer.extend_from_slice(&piece[from..]);
            }
            if let Some(op) = outgoing.op {
                // What was just gathered goes when that has gone.
                self.inner.hurry_op(op);
            }
            let idle = outgoing.op.is_none() && !outgoing.dirty;
            outgoing.dirty |= idle;
            (idle, outgoing.buffered() + outgoing.in_flight > self.flow.high())
        };
        if newly_dirty {
            self.inner.add_dirty(Rc::clone(self) as Rc<dyn Flush>);
        }
        if too_much {
            self.try_flush();
            self.check_high();
        }
    }

    /// After the end nobody gets the bytes.
    fn drop_write(&self) {
        let mut outgoing = self.outgoing.borrow_mut();
        outgoing.dropped = outgoing.dropped.saturating_add(1);
        if outgoing.dropped >= WARN_FROM {
            tracing::warn!(dropped = outgoing.dropped, "write to a connection that was lost or closed");
        }
    }

    /// Sends what is gathered, in the caller's call if the backend can.
    pub(super) fn try_flush(self: &Rc<Self>) {
        let mut outgoing = self.outgoing.borrow_mut();
        if !outgoing.dirty || outgoing.op.is_some() || outgoing.buffered() == 0 || self.ended.get() {
            return;
        }
        let sent = self.inner.send_now(self.fd, &[IoSlice::new(&outgoing.buffer[outgoing.sent..])]);
        match sent {
            // Nearly always.
            Some(Ok(count)) if count == outgoing.buffered() => {
                outgoing.sent = 0;
                let buffer = std::mem::take(&mut outgoing.buffer);
                self.inner.recycle_buffer(buffer);
            }
            Some(Ok(count)) => outgoing.advance(count),
            Some(Err(error)) if error.kind() != io::ErrorKind::WouldBlock => {
                drop(outgoing);
                self.lost(error);
            }
            // The socket is full, or the backend sends by operations only: the end of the pass sees to it.
            Some(Err(_)) | None => {}
        }
    }

    /// Sends what is gathered, and sees to what the socket does not take.
    fn flush_now(self: &Rc<Self>) {
        self.try_flush();
        let all_sent = {
            let mut outgoing = self.outgoing.borrow_mut();
            outgoing.dirty = false;
            outgoing.op.is_none() && outgoing.buffered() == 0 && !outgoing.eof
        };
        // Nearly always nothing follows.
        if !all_sent || self.flow.is_paused() || self.closing.get() {
            self.go_on();
        }
    }

    /// Sends on what there is, and does what follows from what was sent.
    fn go_on(self: &Rc<Self>) {
        self.submit();
        self.check_low();
        self.sent_all();
    }

    /// Has an operation send what is gathered, if none is under way.
    fn submit(self: &Rc<Self>) {
        loop {
            let (op, patient) = {
                let mut outgoing = self.outgoing.borrow_mut();
                if outgoing.op.is_some() || outgoing.buffered() == 0 || self.ended.get() {
                    return;
                }
                outgoing.in_flight = outgoing.buffered();
                let start = std::mem::take(&mut outgoing.sent);
                let op = Op::Send { fd: self.fd, buf: std::mem::take(&mut outgoing.buffer), start };
                (op, !outgoing.eof && !self.closing.get() && !self.flow.is_paused())
            };
            let sink = Rc::clone(self) as Rc<dyn Sink>;
            let started = if patient { self.inner.start_patiently(op, sink) } else { self.inner.start(op, sink) };
            match started {
                Started::Queued(key) | Started::More(key, _) => {
                    self.outgoing.borrow_mut().op = Some(key);
                    return;
                }
                Started::Done(result, op, _) => {
                    if !self.progress(result, op) {
                        return;
                    }
                }
                Started::Closed => return,
            }
        }
    }

    pub(super) fn send_event(self: &Rc<Self>, key: OpKey, event: Event, op: Option<Op>) {
        let (result, op) = match (event, op) {
            (Event::Final(result), Some(op)) => (result, op),
            (Event::Resume, _) => match self.inner.resume(key) {
                Resumed::Final(result, op) => (result, op),
                Resumed::More(_) | Resumed::Nothing => return,
            },
            _ => return,
        };
        {
            let mut outgoing = self.outgoing.borrow_mut();
            if outgoing.op != Some(key) {
                return;
            }
            outgoing.op = None;
        }
        if self.progress(result, op) {
            self.go_on();
        }
    }

    /// An operation sent something: what it did not send goes before what was written meanwhile.
    fn progress(self: &Rc<Self>, result: io::Result<Outcome>, op: Op) -> bool {
        let Op::Send { mut buf, start, .. } = op else { return false };
        let count = match result {
            Ok(Outcome::Count(count)) => count,
            Ok(_) => 0,
            Err(error) => {
                self.outgoing.borrow_mut().in_flight = 0;
                if error.raw_os_error() != Some(libc::ECANCELED) {
                    self.lost(error);
                }
                return false;
            }
        };
        let mut outgoing = self.outgoing.borrow_mut();
        outgoing.in_flight = 0;
        let sent = start + count;
        if sent < buf.len() {
            buf.extend_from_slice(&outgoing.buffer[outgoing.sent..]);
            outgoing.sent = 0;
            let old = std::mem::replace(&mut outgoing.buffer, buf);
            outgoing.advance(sent);
            self.inner.recycle_buffer(old);
        } else {
            self.inner.recycle_buffer(buf);
        }
        true
    }

    /// Where everything is sent, what was to follow follows: the end of the sending side, or the end.
    fn sent_all(self: &Rc<Self>) {
        if self.unsent() > 0 || self.ended.get() {
            return;
        }
        if self.closing.get() {
            self.schedule_end(None);
            return;
        }
        let shut_down = {
            let mut outgoing = self.outgoing.borrow_mut();
            let now = outgoing.eof && !outgoing.eof_sent;
            outgoing.eof_sent |= now;
            now
        };
        if shut_down && let Err(error) = self.inner.control(self.fd, &Control::Shutdown(Shutdown::Write)) {
            // The peer may be gone already, which reading will tell.
            tracing::debug!(%error, "shutting down the sending side failed");
        }
    }

    pub(super) fn write_eof(self: &Rc<Self>) {
        if self.closing.get() || std::mem::replace(&mut self.outgoing.borrow_mut().eof, true) {
            return;
        }
        self.try_flush();
        self.hurry();
        self.sent_all();
    }

    /// Something is to follow the operation that sends, if there is one.
    pub(super) fn hurry(&self) {
        if let Some(op) = self.outgoing.borrow().op {
            self.inner.hurry_op(op);
        }
    }

    /// Drops what was not sent; the operation that sends is abandoned.
    pub(super) fn drop_unsent(&self) {
        let (op, buffer) = {
            let mut outgoing = self.outgoing.borrow_mut();
            outgoing.in_flight = 0;
            outgoing.sent = 0;
            (outgoing.op.take(), std::mem::take(&mut outgoing.buffer))
        };
        drop(buffer);
        if let Some(op) = op {
            self.inner.abandon_op(op);
        }
    }
}

impl Flush for Connection {
    fn flush(self: Rc<Self>, _: &Rc<Inner>) {
        self.flush_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_does_not_stay_for_ever() {
        let mut outgoing = Outgoing::default();
        outgoing.buffer.extend([0; 16]);
        for round in 1..10_000 {
            // Never empty, and never more than 32 bytes.
            outgoing.buffer.extend([round as u8; 16]);
            assert_eq!(outgoing.buffer[outgoing.sent], (round - 1) as u8);
            outgoing.advance(16);
            assert_eq!(outgoing.buffered(), 16);
            assert!(outgoing.buffer.len() <= 64);
        }
    }
}
