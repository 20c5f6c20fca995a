//! The end of a connection: `close`, `abort`, what broke it, and the last call.
//!
//! Invariants: `connection_lost` is called exactly once, from a turn of its own, whatever mix of calls led there; the
//! descriptor is closed right after it, not before; nothing is called on the protocol from then on.

use std::io;
use std::rc::Rc;

use super::{Connection, Transport};

impl Connection {
    pub(super) fn close(self: &Rc<Self>) {
        if self.closing.replace(true) {
            return;
        }
        self.stop_reading();
        self.try_flush();
        if self.unsent() == 0 {
            self.schedule_end(None);
        }
    }

    /// The connection broke, as connections do: the protocol is told, nobody else.
    pub(super) fn lost(self: &Rc<Self>, error: io::Error) {
        tracing::debug!(%error, "connection lost");
        self.end(Some(error));
    }

    /// The protocol failed, which was reported: the connection ends with its error.
    pub(super) fn broken(self: &Rc<Self>, error: io::Error) {
        self.end(Some(error));
    }

    /// Ends at once: what was not sent is dropped.
    pub(super) fn end(self: &Rc<Self>, error: Option<io::Error>) {
        if self.ended.get() {
            return;
        }
        if !self.closing.replace(true) {
            self.stop_reading();
        }
        self.drop_unsent();
        self.schedule_end(error);
    }

    fn stop_reading(&self) {
        if let Some(raw) = self.raw {
            self.inner.watches.disown(raw);
        }
        if let Some(op) = self.reading.op.take() {
            self.inner.abandon_op(op);
        }
        let kept = self.reading.kept.take();
        drop(kept);
    }

    /// Queues the last call.
    pub(super) fn schedule_end(self: &Rc<Self>, error: Option<io::Error>) {
        if self.ended.replace(true) {
            return;
        }
        let connection = Rc::clone(self);
        let last = move || connection.finish(error);
        // On a closed loop nobody is called; the descriptor is closed with the loop.
        let _ = self.transport().get_loop().call_soon(last);
    }

    fn finish(self: &Rc<Self>, error: Option<io::Error>) {
        self.call("connection_lost", |protocol, transport| protocol.connection_lost(transport, error));
        self.release();
        let protocol = self.protocol.take();
        self.inner.dispose(protocol);
        let membership = self.membership.take();
        drop(membership);
    }

    fn release(&self) {
        if !self.released.replace(true) {
            self.inner.close_fd(self.fd);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.released.get() {
            return;
        }
        if !self.closing.get() && !self.inner.closed.get() {
            tracing::warn!(fd = self.raw, "unclosed transport: closing its socket");
        }
        if let Some(raw) = self.raw
            && !self.closing.get()
        {
            self.inner.watches.disown(raw);
        }
        self.release();
    }
}

impl Transport {
    /// Whether `connection_lost` was called, and the descriptor closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.released.get()
    }
}
