//! Transports: a connection that calls a protocol (asyncio: `Transport`).
//!
//! * this file — [`Transport`], what programs hold, and a connection's state;
//! * `read` — receiving: one multishot operation, delivered chunk by chunk;
//! * `write` — sending: what is written during a pass leaves in as few system calls as possible;
//! * `flow` — the water marks, and when the protocol is told to pause and resume;
//! * `end` — closing, aborting, and the last call.
//!
//! An idle connection holds no buffer: received bytes lie in the loop's memory, and what is written is let go of when it
//! is sent.

mod end;
mod flow;
mod read;
mod write;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::RawFd;
use std::rc::{Rc, Weak};

use socket2::SockAddr;

use crate::at_close::AtClose;
use crate::control::{Control, Reply};
use crate::driver::Sink;
use crate::error::{Error, Result};
use crate::event_loop::EventLoop;
use crate::exception::ExceptionContext;
use crate::fd::FdKey;
use crate::future::LoopFuture;
use crate::inner::Inner;
use crate::op::{Event, Op};
use crate::op_table::OpKey;
use crate::protocol::{Protocol, ProtocolRef};
use crate::server::Membership;
use crate::socket::{Name, Socket};
use flow::Flow;
use read::Reading;
use write::Outgoing;

/// A connection (asyncio: `Transport`). Clones stand for the same connection.
///
/// While it is open and reads, the loop keeps it. Let go of while it neither reads nor has anything to send, it closes
/// itself, with a warning.
#[derive(Clone)]
pub struct Transport(pub(crate) Rc<Connection>);

/// A connection's state. What is behind cells is never borrowed while the protocol is called.
pub(crate) struct Connection {
    inner: Rc<Inner>,
    fd: FdKey,
    protocol: RefCell<Option<ProtocolRef>>,
    reading: Reading,
    outgoing: RefCell<Outgoing>,
    flow: Flow,
    /// `connection_made` is being called, or was: nothing else is before it.
    made: Cell<bool>,
    /// `close` or `abort` was called, or the connection broke.
    closing: Cell<bool>,
    /// `connection_lost` is queued, or was called.
    ended: Cell<bool>,
    /// The descriptor was given up.
    released: Cell<bool>,
    local: Name,
    peer: Name,
    /// Of an accepted connection: its server's count of it.
    membership: Cell<Option<Membership>>,
    /// Its place among what hears of the loop's close.
    place: Cell<Option<u32>>,
}

impl Connection {
    /// A connection on a socket, with a protocol. Its first turn calls `connection_made`, starts to read, and then
    /// completes `ready`.
    pub(crate) fn start(
        socket: Socket,
        protocol: ProtocolRef,
        membership: Option<Membership>,
        ready: Option<LoopFuture<()>>,
    ) -> Result<Transport> {
        let event_loop = socket.get_loop();
        let inner = &event_loop.inner;
        inner.check_open()?;
        if let Some(raw) = socket.raw_fd()
            && !inner.take_over(raw)
        {
            return Err(Error::DescriptorInUse(raw));
        }
        let local = Name::of(socket.control(&Control::LocalAddr));
        if matches!(local, Name::Inet(_)) {
            // Replies should not wait for more to send; a failure is of no consequence.
            let _ = socket.control(&Control::NoDelay(true));
        }
        let connection = Rc::new(Self {
            inner: Rc::clone(inner),
            protocol: RefCell::new(Some(protocol)),
            reading: Reading::default(),
            outgoing: RefCell::default(),
            flow: Flow::default(),
            made: Cell::new(false),
            closing: Cell::new(false),
            ended: Cell::new(false),
            released: Cell::new(false),
            local,
            peer: Name::of(socket.control(&Control::PeerAddr)),
            membership: Cell::new(membership),
            place: Cell::new(None),
            fd: socket.into_key(),
        });
        let weak: Weak<dyn AtClose> = Rc::downgrade(&connection) as _;
        connection.place.set(Some(inner.at_close.add(weak)));
        if let Some(bytes) = inner.take_stash(connection.fd, usize::MAX) {
            connection.reading.begin_with(bytes);
        }
        let transport = Transport(connection);
        let first = transport.clone();
        event_loop.call_soon(move || {
            first.0.begin();
            if let Some(ready) = ready {
                // Whoever waited may be gone.
                let _ = ready.set_result(());
            }
        })?;
        Ok(transport)
    }

    fn begin(self: &Rc<Self>) {
        self.made.set(true);
        self.call("connection_made", |protocol, transport| protocol.connection_made(transport));
        self.reading.begun.set(true);
        // What the bare socket had left, if anything, comes first.
        self.take_turn();
    }

    fn transport(self: &Rc<Self>) -> Transport {
        Transport(Rc::clone(self))
    }

    /// Calls the protocol; a panic is reported. `Err` where it failed, `Ok(None)` where there is none any more.
    fn try_call<R>(
        self: &Rc<Self>,
        what: &'static str,
        f: impl FnOnce(&mut dyn Protocol, &Transport) -> R,
    ) -> std::result::Result<Option<R>, crate::error::Panicked> {
        self.try_calls(&Cell::new(what), f)
    }

    /// Calls the protocol, more than once: `what` says which call it is that fails, if any.
    fn try_calls<R>(
        self: &Rc<Self>,
        what: &Cell<&'static str>,
        f: impl FnOnce(&mut dyn Protocol, &Transport) -> R,
    ) -> std::result::Result<Option<R>, crate::error::Panicked> {
        let Some(protocol) = self.protocol.borrow().clone() else { return Ok(None) };
        let transport = self.transport();
        let called = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let borrowed = protocol.try_borrow_mut();
            let mut protocol = borrowed.expect("a protocol cannot be called while the program holds it borrowed");
            f(&mut *protocol, &transport)
        }));
        if Rc::strong_count(&protocol) == 1 {
            // It was replaced meanwhile, and this is its end.
            self.inner.dispose(protocol);
        }
        match called {
            Ok(value) => {
                self.tell_flow();
                Ok(Some(value))
            }
            Err(payload) => {
                if crate::exception::is_fatal(&*payload) {
                    std::panic::resume_unwind(payload);
                }
                let panic = crate::error::Panicked::new(payload);
                let context = ExceptionContext::new(format!("protocol.{}() call failed.", what.get()));
                self.inner.report(&self.describe(context.exception(panic.clone())));
                Err(panic)
            }
        }
    }

    /// Calls the protocol where a panic is only reported.
    fn call<R>(self: &Rc<Self>, what: &'static str, f: impl FnOnce(&mut dyn Protocol, &Transport) -> R) -> Option<R> {
        self.try_call(what, f).ok().flatten()
    }

    fn describe(self: &Rc<Self>, context: ExceptionContext) -> ExceptionContext {
        let context = context.detail("transport", self.transport());
        match &*self.protocol.borrow() {
            Some(protocol) => context.detail("protocol", Rc::as_ptr(protocol).cast::<()>()),
            None => context,
        }
    }
}

impl Sink for Connection {
    fn event(self: Rc<Self>, _: &Rc<Inner>, key: OpKey, event: Event, op: Option<Op>) {
        if self.reading.is_op(key) {
            self.receive_event(key, event);
        } else {
            self.send_event(key, event, op);
        }
    }

    fn resume(self: Rc<Self>, _: &Rc<Inner>, key: OpKey) {
        if self.reading.is_op(key) {
            self.readable(key);
        } else {
            self.send_event(key, Event::Resume, None);
        }
    }
}

impl Transport {
    /// The loop it belongs to.
    #[must_use]
    pub fn get_loop(&self) -> EventLoop {
        EventLoop::of(&self.0.inner)
    }

    /// Sends bytes, in order and without ever blocking: what the socket does not take at once is kept and sent later. What
    /// is written during one pass leaves together. After `close` it is dropped, unless earlier data is still unsent.
    ///
    /// # Errors
    ///
    /// [`Error::WriteAfterEof`].
    pub fn write(&self, data: &[u8]) -> Result<()> {
        self.0.write(&[IoSlice::new(data)])
    }

    /// Sends several pieces, in one gathered call where that can be (asyncio: `writelines`).
    ///
    /// # Errors
    ///
    /// [`Error::WriteAfterEof`].
    pub fn writelines(&self, pieces: &[IoSlice<'_>]) -> Result<()> {
        self.0.write(pieces)
    }

    /// Ends the sending side when everything written is sent. Again, or after `close`, it does nothing.
    pub fn write_eof(&self) {
        self.0.write_eof();
    }

    /// Whether [`write_eof`](Self::write_eof) is supported: it is.
    #[must_use]
    pub fn can_write_eof(&self) -> bool {
        true
    }

    /// Closes the connection: reading stops at once, what was written is sent, then `connection_lost(None)` is called.
    pub fn close(&self) {
        self.0.close();
    }

    /// Closes the connection at once: what was not sent is dropped; `connection_lost(None)` is called in the next pass.
    pub fn abort(&self) {
        self.0.end(None);
    }

    /// Whether it is closing or closed.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.0.closing.get()
    }

    /// Stops delivering data; what arrives is kept. Idempotent.
    pub fn pause_reading(&self) {
        self.0.pause_reading();
    }

    /// Delivers data again. Idempotent; after close it does nothing.
    pub fn resume_reading(&self) {
        self.0.resume_reading();
    }

    /// Whether data is delivered: not while paused, closing or closed.
    #[must_use]
    pub fn is_reading(&self) -> bool {
        !self.0.closing.get() && !self.0.reading.paused.get()
    }

    /// Sets the water marks, in bytes: `pause_writing` is called above `high`, `resume_writing` at or below `low`. One
    /// alone sets the other: `low` to a quarter, `high` to four times; neither means the defaults of 64 KiB and 16 KiB.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] where `low` is above `high`.
    pub fn set_write_buffer_limits(&self, high: Option<usize>, low: Option<usize>) -> Result<()> {
        self.0.set_limits(high, low)
    }

    /// The water marks, as (low, high).
    #[must_use]
    pub fn write_buffer_limits(&self) -> (usize, usize) {
        self.0.flow.limits()
    }

    /// How many bytes were written and not sent. What waits for the end of the pass is sent first.
    #[must_use]
    pub fn write_buffer_size(&self) -> usize {
        self.0.try_flush();
        self.0.unsent()
    }

    /// Changes where later calls go (asyncio: `set_protocol`).
    pub fn set_protocol(&self, protocol: ProtocolRef) {
        let old = self.0.protocol.replace(Some(protocol));
        drop(old);
    }

    /// Where calls go now; none once the connection is lost (asyncio: `get_protocol`).
    #[must_use]
    pub fn get_protocol(&self) -> Option<ProtocolRef> {
        self.0.protocol.borrow().clone()
    }

    /// The socket's own address; also after close (asyncio: `get_extra_info("sockname")`).
    #[must_use]
    pub fn sockname(&self) -> Option<SockAddr> {
        self.0.local.get()
    }

    /// The peer's address; also after close (asyncio: `get_extra_info("peername")`).
    #[must_use]
    pub fn peername(&self) -> Option<SockAddr> {
        self.0.peer.get()
    }

    /// The descriptor's number, while it is open and where there is a real one (asyncio: `get_extra_info("socket")`).
    #[must_use]
    pub fn raw_fd(&self) -> Option<RawFd> {
        if self.0.released.get() { None } else { self.0.inner.raw_fd(self.0.fd) }
    }

    /// Asks something of the socket: an option to set, its type.
    ///
    /// # Errors
    ///
    /// The operating system's; [`io::ErrorKind::NotConnected`] once it is closed.
    pub fn control(&self, control: &Control<'_>) -> io::Result<Reply> {
        self.0.inner.control(self.0.fd, control)
    }

    /// Whether two handles stand for the same connection.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match (self.0.released.get(), self.0.closing.get()) {
            (true, _) => "closed",
            (false, true) => "closing",
            (false, false) => "open",
        };
        write!(f, "<Transport {state}")?;
        if let Some(fd) = self.raw_fd() {
            write!(f, " fd={fd}")?;
        }
        if let Some(peer) = self.peername() {
            write!(f, " peer={}", crate::socket::show(&peer))?;
        }
        write!(f, " unsent={}>", self.0.unsent())
    }
}
