//! Servers: listening sockets that make a connection and a protocol of every peer (asyncio: `Server`).
//!
//! * this file: the server, its connections and its end;
//! * `options` — how it is made, and what it binds to;
//! * `binding` — how it comes to its sockets;
//! * `listener` — what one socket accepts.
//!
//! A connection whose factory fails is closed, and the server goes on.
//!
//! Who keeps whom: while it serves, a server keeps itself, so that letting go of it does not end it; its connections keep
//! it as well. Its listeners know it weakly. The loop's close ends all of that.
mod binding;
mod listener;
mod options;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};
use std::time::Duration;

use slab::Slab;
use socket2::SockAddr;

use crate::at_close::AtClose;
use crate::error::{Error, Result};
use crate::event_loop::EventLoop;
use crate::exception::{ExceptionContext, Finally};
use crate::fd::FdKey;
use crate::future::LoopFuture;
use crate::inner::Inner;
use crate::protocol::{Protocol, ProtocolRef};
use crate::socket::{Socket, show};
use crate::task::catch_cancelled;
use crate::transport::{Connection, Transport};

use listener::Listener;
pub use options::{BindTo, ServerOptions};

type Factory = Box<dyn Fn() -> ProtocolRef>;

/// A server (asyncio: `Server`). Clones stand for the same server. Letting go of it does not close it.
#[derive(Clone)]
pub struct Server(Rc<ServerInner>);

struct ServerInner {
    inner: Rc<Inner>,
    factory: Factory,
    options: ServerOptions,
    listeners: RefCell<Vec<Rc<Listener>>>,
    connections: RefCell<Slab<Weak<Connection>>>,
    closed: Cell<bool>,
    serving: Cell<bool>,
    /// Itself, while it serves.
    keep: RefCell<Option<Rc<Self>>>,
    /// Its place among what hears of the loop's close.
    place: Cell<Option<u32>>,
    /// Those who wait for the end.
    waiters: RefCell<Vec<LoopFuture<()>>>,
    /// The one `serve_forever`.
    forever: RefCell<Option<LoopFuture<()>>>,
}

/// A connection's place among its server's; given up when the connection ended.
pub(crate) struct Membership {
    server: Rc<ServerInner>,
    place: usize,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.server.connections.borrow_mut().remove(self.place);
        self.server.wake_if_over();
    }
}

impl ServerInner {
    fn wake_if_over(&self) {
        if self.is_over() {
            for waiter in self.waiters.take() {
                // Whoever waited may be gone.
                let _ = waiter.set_result(());
            }
        }
    }

    fn is_over(&self) -> bool {
        self.closed.get() && self.connections.borrow().is_empty()
    }

    fn close(&self) {
        if self.closed.replace(true) {
            return;
        }
        self.serving.set(false);
        let listeners = self.listeners.take();
        listeners.iter().for_each(|listener| listener.close());
        let forever = self.forever.take();
        if let Some(forever) = forever {
            forever.cancel();
        }
        self.wake_if_over();
        // The caller has a hold of its own.
        let keep = self.keep.take();
        drop(keep);
    }

    fn start(self: &Rc<Self>) -> Result<()> {
        if self.closed.get() {
            return Err(Error::ServerClosed);
        }
        if self.serving.get() {
            return Ok(());
        }
        // All listen before the first accepts: a factory may do anything, close this server included.
        let listeners: Vec<_> = self.listeners.borrow().clone();
        for listener in &listeners {
            listener.listen(self.options.clamped_backlog())?;
        }
        self.serving.set(true);
        self.keep.replace(Some(Rc::clone(self)));
        listeners.iter().for_each(Listener::arm);
        Ok(())
    }

    /// A peer was accepted.
    fn accepted(self: &Rc<Self>, fd: FdKey) {
        let socket = Socket::from_key(&self.inner, fd);
        let failed = |what: &str| {
            let context = ExceptionContext::new(format!("Error on transport creation for incoming connection: {what}"));
            if self.inner.debug.get() { Some(context) } else { None }
        };
        let protocol = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (self.factory)())) {
            Ok(protocol) => protocol,
            Err(payload) if crate::exception::is_fatal(&*payload) => std::panic::resume_unwind(payload),
            Err(payload) => {
                let panic = crate::error::Panicked::new(payload);
                tracing::debug!(%panic, "a protocol factory failed");
                drop(socket);
                if let Some(context) = failed("the protocol factory failed") {
                    self.inner.report(&context.exception(panic));
                }
                return;
            }
        };
        let place = self.connections.borrow_mut().insert(Weak::new());
        let membership = Membership { server: Rc::clone(self), place };
        match Connection::start(socket, protocol, Some(membership), None) {
            Ok(transport) => {
                // It cannot have ended: its first turn is yet to come.
                self.connections.borrow_mut()[place] = Rc::downgrade(&transport.0);
            }
            Err(error) => {
                if let Some(context) = failed("the transport could not be made") {
                    self.inner.report(&context.exception(error));
                }
            }
        }
    }
}

impl AtClose for ServerInner {
    fn loop_closed(self: Rc<Self>, finally: &mut Finally<'_>) {
        self.closed.set(true);
        self.serving.set(false);
        let listeners = self.listeners.take();
        finally.dispose(listeners);
        let waiting = (self.waiters.take(), self.forever.take());
        finally.dispose(waiting);
        let keep = self.keep.take();
        finally.dispose(keep);
        finally.dispose(self);
    }
}

impl Drop for ServerInner {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.inner.at_close.remove(place);
        }
    }
}

impl EventLoop {
    /// Makes a server: sockets are bound to every address, and each connection gets a protocol of the factory's (asyncio:
    /// `create_server`). It is listening when this returns, unless the options say otherwise.
    ///
    /// # Errors
    ///
    /// The operating system's, with the address in its text, all sockets being closed again; the resolver's;
    /// [`Error::InvalidArgument`] for no address or a socket that is no stream; [`Error::Closed`].
    pub async fn create_server<P: Protocol>(
        &self,
        factory: impl Fn() -> P + 'static,
        bind_to: impl Into<BindTo>,
        options: ServerOptions,
    ) -> Result<Server> {
        self.inner.check_open()?;
        let sockets = match bind_to.into() {
            BindTo::Socket(socket) => {
                self.check_stream(&socket)?;
                vec![socket]
            }
            BindTo::Addresses(addresses) => self.bind_all(&addresses, &options).await?,
        };
        let server = Rc::new(ServerInner {
            inner: Rc::clone(&self.inner),
            factory: Box::new(move || Rc::new(RefCell::new(factory())) as ProtocolRef),
            listeners: RefCell::default(),
            connections: RefCell::default(),
            closed: Cell::new(false),
            serving: Cell::new(false),
            keep: RefCell::new(None),
            place: Cell::new(None),
            waiters: RefCell::default(),
            forever: RefCell::new(None),
            options,
        });
        let weak: Weak<dyn AtClose> = Rc::downgrade(&server) as _;
        server.place.set(Some(self.inner.at_close.add(weak)));
        for socket in sockets {
            if let Some(raw) = socket.raw_fd() {
                self.inner.take_over(raw);
            }
            server.listeners.borrow_mut().push(Listener::new(&server, socket));
        }
        if server.options.start_serving
            && let Err(error) = server.start()
        {
            server.close();
            return Err(error);
        }
        Ok(Server(server))
    }
}

impl Server {
    /// The loop it belongs to.
    #[must_use]
    pub fn get_loop(&self) -> EventLoop {
        EventLoop::of(&self.0.inner)
    }

    /// Begins to accept connections. Idempotent; gives up one pass.
    ///
    /// # Errors
    ///
    /// [`Error::ServerClosed`]; the operating system's.
    pub async fn start_serving(&self) -> Result<()> {
        self.0.start()?;
        let event_loop = self.get_loop();
        event_loop.sleep_until(Duration::ZERO).await;
        Ok(())
    }

    /// Whether it accepts connections.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.0.serving.get()
    }

    /// Serves until it is cancelled or closed (asyncio: `serve_forever`). Cancelled, it closes the server and waits until
    /// its connections have ended; then the cancellation goes on. Dropped, it closes the server.
    ///
    /// # Errors
    ///
    /// [`Error::ServerClosed`]; [`Error::AlreadyServing`] while another one waits; [`Error::Task`] with a cancellation
    /// where `close` ended it.
    pub async fn serve_forever(&self) -> Result<()> {
        if self.0.closed.get() {
            return Err(Error::ServerClosed);
        }
        if self.0.forever.borrow().is_some() {
            return Err(Error::AlreadyServing);
        }
        self.0.start()?;
        let forever = self.get_loop().create_future::<()>();
        self.0.forever.replace(Some(forever.clone()));
        let closing = CloseOnExit(self);
        let ended = catch_cancelled(forever).await;
        drop(closing);
        self.wait_closed().await;
        match ended {
            Ok(outcome) => outcome.map_err(Error::Task),
            Err(cancelled) => cancelled.raise().await,
        }
    }

    /// Stops listening and closes the listening sockets, at once. Open connections stay. Again, it does nothing.
    pub fn close(&self) {
        self.0.close();
    }

    /// Waits until the server is closed *and* all its connections have ended.
    pub async fn wait_closed(&self) {
        if self.0.is_over() {
            return;
        }
        let over = self.get_loop().create_future::<()>();
        let _waiter = Waiter::new(&self.0, &over);
        // Whether it was told or let go of, the wait is over.
        let _ = over.await;
    }

    /// Closes every open connection: what was written is still sent.
    pub fn close_clients(&self) {
        self.transports().iter().for_each(Transport::close);
    }

    /// Closes every open connection at once.
    pub fn abort_clients(&self) {
        self.transports().iter().for_each(Transport::abort);
    }

    /// How many of its connections have not ended.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.0.connections.borrow().len()
    }

    /// Its open connections.
    #[must_use]
    pub fn transports(&self) -> Vec<Transport> {
        self.0.connections.borrow().iter().filter_map(|(_, it)| it.upgrade()).map(Transport).collect()
    }

    /// The addresses it listens on; none once it is closed (asyncio: `sockets`).
    #[must_use]
    pub fn local_addrs(&self) -> Vec<SockAddr> {
        let listeners = self.0.listeners.borrow();
        listeners.iter().filter_map(|listener| listener.local_addr()).collect()
    }

    /// The first internet address it listens on.
    #[must_use]
    pub fn local_addr(&self) -> Option<std::net::SocketAddr> {
        self.local_addrs().iter().find_map(SockAddr::as_socket)
    }

    /// Runs a coroutine with the server, and closes it on the way out, waiting for its connections to end (asyncio:
    /// `async with server`).
    pub async fn scope<T>(&self, body: impl Future<Output = T>) -> T {
        let closing = CloseOnExit(self);
        let outcome = catch_cancelled(body).await;
        drop(closing);
        self.wait_closed().await;
        match outcome {
            Ok(value) => value,
            Err(cancelled) => cancelled.raise().await,
        }
    }
}

/// Closes the server on every way out, a panic and a drop included.
struct CloseOnExit<'a>(&'a Server);

impl Drop for CloseOnExit<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// One that waits for a server's end, until it does not any more.
struct Waiter<'a> {
    server: &'a ServerInner,
    over: LoopFuture<()>,
}

impl<'a> Waiter<'a> {
    fn new(server: &'a ServerInner, over: &LoopFuture<()>) -> Self {
        server.waiters.borrow_mut().push(over.clone());
        Self { server, over: over.clone() }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut waiters = self.server.waiters.borrow_mut();
        let place = waiters.iter().position(|waiter| waiter.is_same(&self.over));
        let waiter = place.map(|place| waiters.remove(place));
        drop(waiters);
        drop(waiter);
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addrs: Vec<String> = self.local_addrs().iter().map(show).collect();
        write!(f, "<Server serving={} addresses={addrs:?}>", self.is_serving())
    }
}
