//! How a server is made, and what it binds to.

use crate::address::Address;
use crate::socket::Socket;

const BACKLOG: u32 = 100;

/// How a server is made; the defaults are asyncio's.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerOptions {
    /// Pending connections per listening socket, and accepted at once.
    pub backlog: u32,
    /// SO_REUSEADDR.
    pub reuse_address: bool,
    /// SO_REUSEPORT.
    pub reuse_port: bool,
    /// SO_KEEPALIVE on the listening sockets, which accepted ones take over.
    pub keep_alive: bool,
    /// Whether it accepts at once, or from `start_serving` or `serve_forever` on.
    pub start_serving: bool,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self { backlog: BACKLOG, reuse_address: true, reuse_port: false, keep_alive: false, start_serving: true }
    }
}

impl ServerOptions {
    /// The backlog as `listen` takes it.
    pub(super) fn clamped_backlog(&self) -> i32 {
        i32::try_from(self.backlog).unwrap_or(i32::MAX)
    }

    /// Accepts only when told to.
    #[must_use]
    pub fn start_serving(mut self, at_once: bool) -> Self {
        self.start_serving = at_once;
        self
    }

    /// Sets the backlog.
    #[must_use]
    pub fn backlog(mut self, backlog: u32) -> Self {
        self.backlog = backlog;
        self
    }

    /// Sets SO_REUSEPORT.
    #[must_use]
    pub fn reuse_port(mut self, on: bool) -> Self {
        self.reuse_port = on;
        self
    }

    /// Sets SO_REUSEADDR.
    #[must_use]
    pub fn reuse_address(mut self, on: bool) -> Self {
        self.reuse_address = on;
        self
    }

    /// Sets SO_KEEPALIVE.
    #[must_use]
    pub fn keep_alive(mut self, on: bool) -> Self {
        self.keep_alive = on;
        self
    }
}

/// What a server listens on: one or more addresses, or a bound stream socket.
#[derive(Debug)]
#[non_exhaustive]
pub enum BindTo {
    /// Addresses; an empty host means all interfaces.
    Addresses(Vec<Address>),
    /// A bound socket.
    Socket(Socket),
}

impl<A: Into<Address>> From<A> for BindTo {
    fn from(address: A) -> Self {
        Self::Addresses(vec![address.into()])
    }
}

impl From<Vec<Address>> for BindTo {
    fn from(addresses: Vec<Address>) -> Self {
        Self::Addresses(addresses)
    }
}

impl From<Socket> for BindTo {
    fn from(socket: Socket) -> Self {
        Self::Socket(socket)
    }
}
