//! The end of a connection: `close`, `abort`, what broke it, and the last call.
//!
//! Invariants: `connection_lost` is called exactly once, from a turn of its own, whatever mix of calls led there; the
//! descriptor is closed right after it, not before; nothing is called on the protocol from then on. Where the loop is
//! closed first, nobody is called, and everything is let go of.

use std::io;
use std::rc::Rc;

use super::{Connection, Transport};
use crate::at_close::AtClose;
use crate::exception::{ExceptionContext, Finally};

impl Connection {
    pub(super) fn close(self: &Rc<Self>) {
        if self.closing.get() {
            return;
        }
        self.begin_to_close();
        self.try_flush();
        self.hurry();
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
        self.begin_to_close();
        self.drop_unsent();
        self.schedule_end(error);
    }

    /// From here on nothing is read, and the descriptor's number is anybody's.
    fn begin_to_close(&self) {
        if self.closing.replace(true) {
            return;
        }
        if let Some(raw) = self.inner.raw_fd(self.fd) {
            self.inner.watches.disown(raw);
        }
        self.stop_reading();
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
        let mut finally = Finally::new(&self.inner);
        finally.run(
            || {
                self.call("connection_lost", |protocol, transport| protocol.connection_lost(transport, error));
            },
            ExceptionContext::default,
        );
        self.release();
        let protocol = self.protocol.take();
        finally.dispose(protocol);
        let membership = self.membership.take();
        finally.dispose(membership);
        finally.end();
    }

    /// Gives the descriptor up.
    fn release(&self) {
        if self.released.replace(true) {
            return;
        }
        self.inner.close_fd(self.fd);
        if let Some(place) = self.place.take() {
            self.inner.at_close.remove(place);
        }
    }
}

impl AtClose for Connection {
    fn loop_closed(self: Rc<Self>, finally: &mut Finally<'_>) {
        self.begin_to_close();
        self.ended.set(true);
        self.drop_unsent();
        self.release();
        let protocol = self.protocol.take();
        finally.dispose(protocol);
        let membership = self.membership.take();
        finally.dispose(membership);
        finally.dispose(self);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.released.get() {
            return;
        }
        if !self.closing.get() {
            tracing::warn!(fd = self.inner.raw_fd(self.fd), "unclosed transport: closing its socket");
        }
        self.begin_to_close();
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
