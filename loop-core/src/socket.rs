//! Sockets of a loop, and the `sock_*` operations on them: the lowest of the three layers.
//!
//! Buffers are owned by the operation while it is under way and come back with its result, as the kernel may write into
//! them at any time until then. Every operation is cancel-safe: dropped while it waits, it is taken back, and the socket
//! can be used again at once; bytes that a dropped receive had received already are the next receive's first.
//! Operations of one direction keep their order: a second one waits behind the first.

use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{OwnedFd, RawFd};
use std::rc::Rc;

use socket2::{Domain, SockAddr, Type};

use crate::address::Address;
use crate::control::{Control, Reply};
use crate::driver::{OpFuture, grow, restore_len};
use crate::error::{Error, Result};
use crate::event_loop::EventLoop;
use crate::fd::FdKey;
use crate::inner::Inner;
use crate::op::{AddrBuf, Op, Outcome};
use crate::turn::Turns;

/// A socket registered with a loop: non-blocking, and closed when dropped.
pub struct Socket {
    inner: Rc<Inner>,
    fd: Option<FdKey>,
    receives: Turns,
}

impl Socket {
    pub(crate) fn from_key(inner: &Rc<Inner>, fd: FdKey) -> Self {
        Self { inner: Rc::clone(inner), fd: Some(fd), receives: Turns::default() }
    }

    /// The key, which this owns until it is dropped or taken.
    pub(crate) fn key(&self) -> FdKey {
        self.fd.unwrap_or(FdKey::new(u32::MAX, u32::MAX))
    }

    /// Gives the key up: its descriptor is the taker's to close.
    pub(crate) fn into_key(mut self) -> FdKey {
        let key = self.key();
        self.fd = None;
        key
    }

    pub(crate) fn control(&self, control: &Control<'_>) -> io::Result<Reply> {
        self.inner.control(self.key(), control)
    }

    fn address(&self, control: &Control<'_>) -> Result<SockAddr> {
        match self.control(control)? {
            Reply::Address(address) => Ok(address),
            _ => Err(Error::Unsupported("the backend does not know the address")),
        }
    }

    /// The loop it belongs to.
    #[must_use]
    pub fn get_loop(&self) -> EventLoop {
        EventLoop::of(&self.inner)
    }

    /// The descriptor's number, where there is a real one.
    #[must_use]
    pub fn raw_fd(&self) -> Option<RawFd> {
        self.inner.raw_fd(self.key())
    }

    /// Takes the descriptor out of the loop, still non-blocking.
    ///
    /// # Errors
    ///
    /// The operating system's; [`io::ErrorKind::Unsupported`] where there is no real descriptor;
    /// [`io::ErrorKind::ResourceBusy`] while a dropped receive is being taken back, or has left bytes that were not
    /// received since. The socket is closed then.
    pub fn into_fd(self) -> Result<OwnedFd> {
        let fd = self.inner.release_fd(self.key())?;
        let _ = self.into_key();
        Ok(fd)
    }

    /// Binds it to an address.
    ///
    /// # Errors
    ///
    /// The operating system's, as of all below.
    pub fn bind(&self, address: impl Into<SockAddr>) -> Result<()> {
        self.control(&Control::Bind(&address.into()))?;
        Ok(())
    }

    /// Listens, with a backlog of pending connections.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn listen(&self, backlog: u32) -> Result<()> {
        self.control(&Control::Listen(i32::try_from(backlog).unwrap_or(i32::MAX)))?;
        Ok(())
    }

    /// Its own address (asyncio: `getsockname`).
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn local_addr(&self) -> Result<SockAddr> {
        self.address(&Control::LocalAddr)
    }

    /// Its peer's address (asyncio: `getpeername`).
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn peer_addr(&self) -> Result<SockAddr> {
        self.address(&Control::PeerAddr)
    }

    /// Its type: a stream, or datagrams.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn kind(&self) -> Result<Type> {
        match self.control(&Control::Type)? {
            Reply::Type(kind) => Ok(kind),
            _ => Err(Error::Unsupported("the backend does not know the socket's type")),
        }
    }

    /// Shuts one or both directions down.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn shutdown(&self, how: Shutdown) -> Result<()> {
        self.control(&Control::Shutdown(how))?;
        Ok(())
    }

    /// Sets an option.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn set(&self, option: &Control<'_>) -> Result<()> {
        self.control(option)?;
        Ok(())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(fd) = self.fd.take() {
            self.inner.close_fd(fd);
        }
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.raw_fd() {
            Some(fd) => write!(f, "<Socket fd={fd}>"),
            None => f.write_str("<Socket>"),
        }
    }
}

impl EventLoop {
    /// Makes a non-blocking socket of this loop.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`]; the operating system's.
    pub fn socket(&self, domain: Domain, kind: Type) -> Result<Socket> {
        self.inner.check_open()?;
        let fd = self.inner.open_fd(domain, kind, None)?;
        Ok(Socket::from_key(&self.inner, fd))
    }

    /// Takes a socket over from elsewhere, and makes it non-blocking.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`]; the operating system's.
    pub fn adopt_socket(&self, fd: impl Into<OwnedFd>) -> Result<Socket> {
        self.inner.check_open()?;
        let fd = self.inner.adopt_fd(fd.into())?;
        Ok(Socket::from_key(&self.inner, fd))
    }

    /// Refuses a socket of another loop.
    pub(crate) fn own(&self, socket: &Socket) -> Result<()> {
        self.inner.check_open()?;
        if Rc::ptr_eq(&self.inner, &socket.inner) { Ok(()) } else { Err(Error::WrongLoop) }
    }

    async fn op(&self, op: Op) -> (Result<Outcome>, Op) {
        let (result, op) = OpFuture::new(&self.inner, op).await;
        (result.map_err(Error::Io), op)
    }

    /// Receives from 1 to `limit` bytes; empty at end of stream (asyncio: `sock_recv`). Cancel-safe: no byte is lost.
    ///
    /// # Errors
    ///
    /// The operating system's; [`Error::WrongLoop`], [`Error::Closed`].
    pub async fn sock_recv(&self, socket: &Socket, limit: usize) -> Result<Vec<u8>> {
        let (result, buf) = self.receive(socket, Vec::with_capacity(limit), limit).await;
        result.map(|_| buf)
    }

    /// Receives into a buffer, from its start and up to its length, and gives the count with the buffer (asyncio:
    /// `sock_recv_into`). Cancel-safe: no byte is lost, but the buffer is.
    pub async fn sock_recv_into(&self, socket: &Socket, mut buf: Vec<u8>) -> (Result<usize>, Vec<u8>) {
        let len = buf.len();
        // Received into the spare capacity of the emptied buffer, over what is there.
        buf.clear();
        let (result, mut buf) = self.receive(socket, buf, len).await;
        restore_len(&mut buf, len);
        (result, buf)
    }

    async fn receive(&self, socket: &Socket, mut buf: Vec<u8>, limit: usize) -> (Result<usize>, Vec<u8>) {
        if let Err(error) = self.own(socket) {
            return (Err(error), buf);
        }
        let _turn = socket.receives.take().await;
        self.inner.settled(socket.key()).await;
        if let Some(kept) = self.inner.take_stash(socket.key(), limit) {
            buf.extend_from_slice(&kept);
            return (Ok(kept.len()), buf);
        }
        if limit == 0 {
            return (Ok(0), buf);
        }
        buf.reserve(limit);
        match self.op(Op::Recv { fd: socket.key(), buf, limit }).await {
            (Ok(Outcome::Count(count)), Op::Recv { mut buf, limit, .. }) => {
                grow(&mut buf, count, limit);
                (Ok(count), buf)
            }
            (Ok(_), op) => (Ok(0), into_buf(op)),
            (Err(error), op) => (Err(error), into_buf(op)),
        }
    }

    /// Receives one datagram of up to `limit` bytes, with its sender (asyncio: `sock_recvfrom`). One that came just before
    /// this was dropped is lost, as datagrams may be.
    ///
    /// # Errors
    ///
    /// The operating system's; [`Error::WrongLoop`], [`Error::Closed`].
    pub async fn sock_recvfrom(&self, socket: &Socket, limit: usize) -> Result<(Vec<u8>, Option<SockAddr>)> {
        self.own(socket)?;
        let op = Op::RecvFrom { fd: socket.key(), buf: Vec::with_capacity(limit), limit, from: AddrBuf::new() };
        match self.op(op).await {
            (Ok(Outcome::Count(count)), Op::RecvFrom { mut buf, limit, mut from, .. }) => {
                grow(&mut buf, count, limit);
                Ok((buf, from.get()))
            }
            (Ok(_), _) => Err(Error::Unsupported("the backend gave no count")),
            (Err(error), _) => Err(error),
        }
    }

    /// Sends everything (asyncio: `sock_sendall`). After an error, or dropped half-way, how much was sent is unknown.
    ///
    /// # Errors
    ///
    /// The operating system's; [`Error::WrongLoop`], [`Error::Closed`].
    pub async fn sock_sendall(&self, socket: &Socket, data: impl Into<Vec<u8>>) -> Result<()> {
        self.own(socket)?;
        let (mut buf, mut start) = (data.into(), 0);
        while start < buf.len() {
            match self.op(Op::Send { fd: socket.key(), buf, start }).await {
                // It would be tried for ever.
                (Ok(Outcome::Count(0)), _) => return Err(Error::Io(io::ErrorKind::WriteZero.into())),
                (Ok(Outcome::Count(count)), op) => {
                    start += count;
                    buf = into_buf(op);
                }
                (Ok(_), _) => return Err(Error::Unsupported("the backend gave no count")),
                (Err(error), _) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends one datagram and gives the count (asyncio: `sock_sendto`).
    ///
    /// # Errors
    ///
    /// The operating system's; [`Error::WrongLoop`], [`Error::Closed`].
    pub async fn sock_sendto(
        &self,
        socket: &Socket,
        data: impl Into<Vec<u8>>,
        address: impl Into<SockAddr>,
    ) -> Result<usize> {
        self.own(socket)?;
        match self.op(Op::SendTo { fd: socket.key(), buf: data.into(), addr: Box::new(address.into()) }).await {
            (Ok(Outcome::Count(count)), _) => Ok(count),
            (Ok(_), _) => Err(Error::Unsupported("the backend gave no count")),
            (Err(error), _) => Err(error),
        }
    }

    /// Connects (asyncio: `sock_connect`). A host name is resolved first, in the default executor, for the socket's own
    /// family, and its first address is used.
    ///
    /// # Errors
    ///
    /// The operating system's, the address in its text; [`Error::WrongLoop`], [`Error::Closed`],
    /// [`Error::ExecutorShutdown`].
    pub async fn sock_connect(&self, socket: &Socket, address: impl Into<Address>) -> Result<()> {
        self.own(socket)?;
        let addr = match address.into() {
            Address::Socket(addr) => addr,
            address => {
                let v6 = socket.local_addr().is_ok_and(|local| local.is_ipv6());
                let all = self.resolve(&address).await?;
                let fits = all.iter().find(|addr| addr.is_ipv6() == v6).or(all.first());
                SockAddr::from(*fits.ok_or_else(crate::resolve::nothing_found)?)
            }
        };
        self.connect_addr(socket, addr).await
    }

    pub(crate) async fn connect_addr(&self, socket: &Socket, addr: SockAddr) -> Result<()> {
        let text = show(&addr);
        let (result, _) = self.op(Op::Connect { fd: socket.key(), addr: Box::new(addr) }).await;
        match result {
            Ok(_) => Ok(()),
            Err(Error::Io(error)) => Err(Error::Io(crate::address::with_context(error, "connect call failed", &text))),
            Err(error) => Err(error),
        }
    }

    /// Accepts a connection: a non-blocking socket of this loop, and the peer's address (asyncio: `sock_accept`).
    /// Cancel-safe: a connection accepted for a future that was dropped is closed. One whose peer has reset it by then
    /// counts as aborted: it is passed over, as most systems do.
    ///
    /// # Errors
    ///
    /// The operating system's; [`Error::WrongLoop`], [`Error::Closed`].
    pub async fn sock_accept(&self, socket: &Socket) -> Result<(Socket, SockAddr)> {
        self.own(socket)?;
        loop {
            match self.op(Op::Accept { fd: socket.key() }).await {
                (Ok(Outcome::Accepted(fd)), _) => {
                    let accepted = Socket::from_key(&self.inner, fd);
                    match accepted.peer_addr() {
                        Ok(peer) => return Ok((accepted, peer)),
                        Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => {}
                        Err(error) => return Err(error),
                    }
                }
                (Ok(_), _) => return Err(Error::Unsupported("the backend accepted nothing")),
                (Err(error), _) => return Err(error),
            }
        }
    }

    /// Refuses what is no stream, and what belongs to another loop: the socket of a connection or a server to be.
    pub(crate) fn check_stream(&self, socket: &Socket) -> Result<()> {
        self.own(socket)?;
        match socket.kind() {
            Ok(kind) if kind != Type::STREAM => Err(Error::InvalidArgument("a stream socket is needed")),
            _ => Ok(()),
        }
    }
}

/// The buffer of an operation that is over.
fn into_buf(op: Op) -> Vec<u8> {
    match op {
        Op::Recv { buf, .. } | Op::RecvFrom { buf, .. } | Op::Send { buf, .. } | Op::SendTo { buf, .. } => buf,
        _ => Vec::new(),
    }
}

/// An address as texts show it.
pub(crate) fn show(addr: &SockAddr) -> String {
    match (addr.as_socket(), addr.as_pathname()) {
        (Some(addr), _) => addr.to_string(),
        (None, Some(path)) => path.display().to_string(),
        (None, None) => String::from("an unnamed socket"),
    }
}

/// An address small enough to be kept with every connection.
#[derive(Debug, Clone, Default)]
pub(crate) enum Name {
    #[default]
    Unknown,
    Inet(SocketAddr),
    Other(Box<SockAddr>),
}

impl Name {
    pub(crate) fn of(reply: io::Result<Reply>) -> Self {
        match reply {
            Ok(Reply::Address(addr)) => match addr.as_socket() {
                Some(addr) => Self::Inet(addr),
                None => Self::Other(Box::new(addr)),
            },
            _ => Self::Unknown,
        }
    }

    pub(crate) fn get(&self) -> Option<SockAddr> {
        match self {
            Self::Unknown => None,
            Self::Inet(addr) => Some(SockAddr::from(*addr)),
            Self::Other(addr) => Some((**addr).clone()),
        }
    }
}
