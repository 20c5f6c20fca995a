//! Sockets for tests, and bytes through them, by the backend's own operations.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, SockAddr, Type};

use super::Harness;
use crate::control::{Control, Reply};
use crate::fd::FdKey;
use crate::op::{Op, Outcome};
use crate::op_table::OpKey;

impl Harness {
    /// A new TCP socket over IPv4.
    ///
    /// # Panics
    ///
    /// If the backend cannot make one.
    pub fn stream(&mut self) -> FdKey {
        self.backend.open(Domain::IPV4, Type::STREAM, None).expect("open a stream socket")
    }

    /// A datagram socket, bound to a free port of the loopback address, and its address.
    ///
    /// # Panics
    ///
    /// If the backend cannot make one.
    pub fn datagram(&mut self) -> (FdKey, SockAddr) {
        let fd = self.backend.open(Domain::IPV4, Type::DGRAM, None).expect("open a datagram socket");
        self.control(fd, &Control::Bind(&loopback()));
        (fd, self.local_addr(fd))
    }

    /// A listening TCP socket on a free port of the loopback address, and its address.
    ///
    /// # Panics
    ///
    /// If the backend cannot make one.
    pub fn listener(&mut self, backlog: i32) -> (FdKey, SockAddr) {
        let fd = self.stream();
        self.control(fd, &Control::Bind(&loopback()));
        self.control(fd, &Control::Listen(backlog));
        (fd, self.local_addr(fd))
    }

    /// A request that must be granted.
    ///
    /// # Panics
    ///
    /// If it is not.
    pub fn control(&mut self, fd: FdKey, control: &Control<'_>) -> Reply {
        self.backend.control(fd, control).unwrap_or_else(|error| panic!("{control:?} of {fd:?}: {error}"))
    }

    /// The socket's own address.
    ///
    /// # Panics
    ///
    /// If it has none.
    pub fn local_addr(&mut self, fd: FdKey) -> SockAddr {
        match self.control(fd, &Control::LocalAddr) {
            Reply::Address(address) => address,
            other => panic!("LocalAddr was answered by {other:?}"),
        }
    }

    /// The peer's address.
    ///
    /// # Panics
    ///
    /// If it has none.
    pub fn peer_addr(&mut self, fd: FdKey) -> SockAddr {
        match self.control(fd, &Control::PeerAddr) {
            Reply::Address(address) => address,
            other => panic!("PeerAddr was answered by {other:?}"),
        }
    }

    /// Connects a new TCP socket.
    ///
    /// # Panics
    ///
    /// If the connection is refused.
    pub fn connect(&mut self, addr: &SockAddr) -> FdKey {
        let fd = self.stream();
        let (result, _) = self.run(Op::Connect { fd, addr: Box::new(addr.clone()) });
        match result {
            Ok(Outcome::Done) => fd,
            other => panic!("connect came to {other:?}"),
        }
    }

    /// A connected pair over the loopback address, listener and all through the backend: the side that
    /// connected, and the side that was accepted.
    ///
    /// # Panics
    ///
    /// If the backend cannot make one.
    pub fn tcp_pair(&mut self) -> (FdKey, FdKey) {
        let (listener, addr) = self.listener(1);
        let accept = self.start(Op::Accept { fd: listener });
        let client = self.connect(&addr);
        let server = match self.run_until(accept).0 {
            Ok(Outcome::Accepted(fd)) => fd,
            other => panic!("accept came to {other:?}"),
        };
        self.close(listener);
        (client, server)
    }

    /// Sends all of it.
    ///
    /// # Panics
    ///
    /// If sending fails.
    pub fn send_all(&mut self, fd: FdKey, bytes: &[u8]) {
        let mut buf = bytes.to_vec();
        let mut start = 0;
        while start < bytes.len() {
            let (result, op) = self.run(Op::Send { fd, buf, start });
            match (result, op) {
                (Ok(Outcome::Count(count)), Op::Send { buf: back, .. }) if count > 0 => {
                    start += count;
                    buf = back;
                }
                (other, _) => panic!("send came to {other:?} after {start} of {} bytes", bytes.len()),
            }
        }
    }

    /// Receives once, up to `limit` bytes; none at end of stream.
    ///
    /// # Errors
    ///
    /// The operation's.
    ///
    /// # Panics
    ///
    /// If it does not complete in time.
    pub fn recv(&mut self, fd: FdKey, limit: usize) -> io::Result<Vec<u8>> {
        let key = self.start(recv_op(fd, limit));
        self.received(key)
    }

    /// What a `Recv` started before came to.
    ///
    /// # Errors
    ///
    /// The operation's.
    ///
    /// # Panics
    ///
    /// If it does not complete in time.
    pub fn received(&mut self, key: OpKey) -> io::Result<Vec<u8>> {
        match self.run_until(key) {
            (Ok(Outcome::Count(count)), Op::Recv { buf, .. } | Op::RecvFrom { buf, .. }) => {
                assert_eq!(buf.len(), count, "the buffer was empty before");
                Ok(buf)
            }
            (Ok(other), op) => panic!("{op:?} came to {other:?}"),
            (Err(error), _) => Err(error),
        }
    }

    /// Receives exactly `len` bytes.
    ///
    /// # Panics
    ///
    /// If the stream ends or fails before.
    pub fn recv_exact(&mut self, fd: FdKey, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let part = self.recv(fd, len - bytes.len()).expect("receive");
            assert!(!part.is_empty(), "end of stream after {} of {len} bytes", bytes.len());
            bytes.extend(part);
        }
        bytes
    }
}

/// An `Op::Recv` into fresh memory.
#[must_use]
pub(crate) fn recv_op(fd: FdKey, limit: usize) -> Op {
    Op::Recv { fd, buf: Vec::with_capacity(limit), limit }
}

/// Any free port of the loopback address.
#[must_use]
pub(crate) fn loopback() -> SockAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()
}
