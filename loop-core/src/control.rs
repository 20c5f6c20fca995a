//! What can be asked of a socket without waiting: bind, listen, addresses, options.
//!
//! Requests are data, like operations, so that a simulated backend can answer them too; backends on real
//! descriptors hand them to [`Control::apply`].

use std::io;
use std::net::Shutdown;
use std::os::fd::BorrowedFd;

use socket2::{SockAddr, SockRef, Type};

/// A request about one socket, answered at once.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Control<'a> {
    /// Bind to an address.
    Bind(&'a SockAddr),
    /// Listen with this backlog.
    Listen(i32),
    /// The socket's own address; answered by [`Reply::Address`].
    LocalAddr,
    /// The peer's address; answered by [`Reply::Address`].
    PeerAddr,
    /// The socket's type; answered by [`Reply::Type`].
    Type,
    /// The pending error, taken; answered by [`Reply::Error`].
    TakeError,
    /// Shut down one or both directions.
    Shutdown(Shutdown),
    /// TCP_NODELAY.
    NoDelay(bool),
    /// SO_REUSEADDR.
    ReuseAddress(bool),
    /// SO_REUSEPORT.
    ReusePort(bool),
    /// SO_KEEPALIVE.
    KeepAlive(bool),
    /// SO_BROADCAST.
    Broadcast(bool),
    /// IPV6_V6ONLY.
    OnlyV6(bool),
    /// SO_LINGER of zero: a close resets the connection instead of ending it.
    ResetOnClose,
}

/// The answer to a [`Control`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Reply {
    /// Done.
    Done,
    /// An address.
    Address(SockAddr),
    /// A socket type.
    Type(Type),
    /// The pending error, if there was one.
    Error(Option<io::Error>),
}

impl Control<'_> {
    /// Answers the request for a real socket.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn apply(&self, fd: BorrowedFd<'_>) -> io::Result<Reply> {
        let socket = SockRef::from(&fd);
        match self {
            Self::Bind(address) => socket.bind(address)?,
            Self::Listen(backlog) => socket.listen(*backlog)?,
            Self::LocalAddr => return socket.local_addr().map(Reply::Address),
            Self::PeerAddr => return socket.peer_addr().map(Reply::Address),
            Self::Type => return socket.r#type().map(Reply::Type),
            Self::TakeError => return socket.take_error().map(Reply::Error),
            Self::Shutdown(how) => socket.shutdown(*how)?,
            Self::NoDelay(on) => socket.set_tcp_nodelay(*on)?,
            Self::ReuseAddress(on) => socket.set_reuse_address(*on)?,
            Self::ReusePort(on) => socket.set_reuse_port(*on)?,
            Self::KeepAlive(on) => socket.set_keepalive(*on)?,
            Self::Broadcast(on) => socket.set_broadcast(*on)?,
            Self::OnlyV6(on) => socket.set_only_v6(*on)?,
            Self::ResetOnClose => socket.set_linger(Some(std::time::Duration::ZERO))?,
        }
        Ok(Reply::Done)
    }
}
