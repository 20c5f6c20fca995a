//! Protocols: what a transport calls (asyncio: `Protocol` and `BufferedProtocol`).

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use crate::transport::Transport;

/// The receiving half of a connection.
///
/// The calls follow: `connection_made` once; then any number of `data_received` (or of `get_buffer` and
/// `buffer_updated`); `eof_received` at most once; `connection_lost` once, and last. All come from the loop, one at a
/// time, with the protocol's transport, except `pause_writing` and `resume_writing`, which come as a direct consequence
/// of a `write`. Where that `write` was called from within a protocol call, or while the program holds the protocol
/// borrowed, they come right after it instead, as a protocol is never entered twice.
///
/// A panic in `data_received`, `get_buffer`, `buffer_updated` or `eof_received` is reported and closes the connection
/// with it; in the other calls it is reported, and the connection goes on.
pub trait Protocol: 'static {
    /// The connection is there.
    fn connection_made(&mut self, transport: &Transport) {
        let _ = transport;
    }

    /// Bytes came: at least one, at the most 256 KiB. They lie in the loop's own memory; keep a copy if you must.
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        let _ = (transport, data);
    }

    /// There is something to receive. True leaves it where it is, for a protocol that rather has it when it gets round to
    /// it, and then says so: [`Transport::deliver_now`], [`Transport::deliver_soon`]. False, the default, has it delivered
    /// right after this.
    fn data_available(&mut self, transport: &Transport) -> bool {
        let _ = transport;
        false
    }

    /// The peer will send no more. True keeps the connection open for writing; false closes it when what was written is
    /// sent.
    fn eof_received(&mut self, transport: &Transport) -> bool {
        let _ = transport;
        false
    }

    /// The connection is gone: without an error after a clean end, `close` or `abort`; else with what broke it.
    fn connection_lost(&mut self, transport: &Transport, error: Option<io::Error>) {
        let _ = (transport, error);
    }

    /// More is buffered than the high water mark: write less, until `resume_writing`.
    fn pause_writing(&mut self, transport: &Transport) {
        let _ = transport;
    }

    /// What is buffered fell to the low water mark.
    fn resume_writing(&mut self, transport: &Transport) {
        let _ = transport;
    }

    /// For protocols that receive into memory of their own (asyncio: `BufferedProtocol`): where the next bytes go. The
    /// socket reads straight into it where the backend can, and `buffer_updated` follows. An empty buffer is an error that
    /// closes the connection. `None`, the default, has bytes come through `data_received`.
    fn get_buffer(&mut self, transport: &Transport) -> Option<&mut [u8]> {
        let _ = transport;
        None
    }

    /// This many bytes were received into the buffer that `get_buffer` gave.
    fn buffer_updated(&mut self, transport: &Transport, count: usize) {
        let _ = (transport, count);
    }
}

/// A protocol as its transport holds it, and as a program may hold it too.
pub type ProtocolRef<P = dyn Protocol> = Rc<RefCell<P>>;
