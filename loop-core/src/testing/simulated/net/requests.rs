//! Binding, listening, and what else is answered at once.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Type};

use super::{Network, Options, State, errno, unknown};
use crate::control::{Control, Reply};
use crate::fd::FdKey;
use crate::op::Interest;
use crate::testing::simulated::address::{Binding, parse, shown, unspecified};
use crate::testing::simulated::stream::{Listener, Stream};

/// The first port that is given to who asks for any.
pub(super) const FIRST_PORT: u16 = 49_152;

impl Network {
    /// Whether somebody has the address already.
    fn is_taken(&self, fd: FdKey, binding: &Binding, stream: bool, options: Options) -> bool {
        self.sockets.iter().any(|(other, socket)| {
            let shared = (options.reuse_port && socket.options.reuse_port)
                || (options.reuse_address
                    && socket.options.reuse_address
                    && !matches!(socket.state, State::Stream(Stream::Listening(_))));
            other != fd
                && socket.claims
                && socket.is_stream() == stream
                && !shared
                && socket.binding().is_some_and(|other| other.overlaps(binding))
        })
    }

    fn bind(&mut self, fd: FdKey, addr: SocketAddr) -> io::Result<()> {
        let socket = self.socket(fd)?;
        if socket.local.is_some() || !matches!(socket.state, State::Stream(Stream::Fresh) | State::Datagram(_)) {
            return Err(errno(libc::EINVAL));
        }
        let (stream, options) = (socket.is_stream(), socket.options);
        let mut binding = Binding { addr, only_v6: options.only_v6 };
        if addr.port() == 0 {
            let mut tries = u16::MAX - FIRST_PORT;
            loop {
                binding.addr.set_port(self.next_port);
                self.next_port = self.next_port.checked_add(1).unwrap_or(FIRST_PORT);
                if !self.is_taken(fd, &binding, stream, Options::default()) {
                    break;
                }
                tries = tries.checked_sub(1).ok_or_else(|| errno(libc::EADDRINUSE))?;
            }
        } else if self.is_taken(fd, &binding, stream, options) {
            return Err(errno(libc::EADDRINUSE));
        }
        let socket = self.socket(fd)?;
        socket.local = Some(binding.addr);
        socket.claims = true;
        Ok(())
    }

    /// The socket's address; it gets one if it has none.
    pub(super) fn bound(&mut self, fd: FdKey) -> io::Result<SocketAddr> {
        let socket = self.socket(fd)?;
        if let Some(local) = socket.local {
            return Ok(local);
        }
        let any = unspecified(socket.domain);
        self.bind(fd, any)?;
        self.socket(fd)?.local.ok_or_else(unknown)
    }

    fn listen(&mut self, fd: FdKey, backlog: i32) -> io::Result<()> {
        match &mut self.socket(fd)?.state {
            State::Stream(Stream::Fresh) => {}
            State::Stream(Stream::Listening(listener)) => {
                listener.capacity = Listener::capacity_for(backlog);
                self.let_in(fd);
                return Ok(());
            }
            State::Stream(_) => return Err(errno(libc::EINVAL)),
            State::Datagram(_) => return Err(errno(libc::EOPNOTSUPP)),
        }
        self.bound(fd)?;
        let socket = self.socket(fd)?;
        let (binding, reuse_port) = (socket.binding(), socket.options.reuse_port);
        let taken = self.sockets.iter().any(|(other, socket)| {
            other != fd
                && matches!(socket.state, State::Stream(Stream::Listening(_)))
                && !(reuse_port && socket.options.reuse_port)
                && binding.zip(socket.binding()).is_some_and(|(one, two)| one.overlaps(&two))
        });
        if taken {
            return Err(errno(libc::EADDRINUSE));
        }
        self.socket(fd)?.state = State::Stream(Stream::Listening(Listener::new(backlog)));
        self.look(fd, Interest::Read);
        Ok(())
    }

    pub(in super::super) fn control(&mut self, fd: FdKey, control: &Control<'_>) -> io::Result<Reply> {
        let socket = self.socket(fd)?;
        let domain = socket.domain;
        match control {
            Control::Bind(addr) => {
                let addr = parse(addr, domain)?;
                self.bind(fd, addr)?;
            }
            Control::Listen(backlog) => self.listen(fd, *backlog)?,
            Control::LocalAddr => {
                let local = socket.local.unwrap_or_else(|| unspecified(domain));
                return Ok(Reply::Address(shown(local, domain)));
            }
            Control::PeerAddr => {
                let peer = match &socket.state {
                    State::Stream(Stream::Connected(end)) => Some(end.peer()),
                    State::Datagram(mailbox) => mailbox.peer,
                    State::Stream(_) => None,
                };
                let peer = peer.ok_or_else(|| errno(libc::ENOTCONN))?;
                return Ok(Reply::Address(shown(peer, domain)));
            }
            Control::Type => return Ok(Reply::Type(if socket.is_stream() { Type::STREAM } else { Type::DGRAM })),
            Control::TakeError => {
                return Ok(Reply::Error(match &mut socket.state {
                    State::Stream(Stream::Connected(end)) => end.take_error(),
                    State::Stream(_) => None,
                    State::Datagram(mailbox) => mailbox.take_error(),
                }));
            }
            Control::Shutdown(how) => self.shutdown(fd, *how)?,
            Control::ReuseAddress(on) => socket.options.reuse_address = *on,
            Control::ReusePort(on) => socket.options.reuse_port = *on,
            Control::Broadcast(on) => socket.options.broadcast = *on,
            Control::OnlyV6(on) => {
                if domain != Domain::IPV6 {
                    return Err(errno(libc::ENOPROTOOPT));
                }
                if socket.local.is_some() {
                    return Err(errno(libc::EINVAL));
                }
                socket.options.only_v6 = *on;
            }
            Control::ResetOnClose => socket.options.reset_on_close = true,
            Control::NoDelay(_) | Control::KeepAlive(_) => {}
        }
        Ok(Reply::Done)
    }
}
