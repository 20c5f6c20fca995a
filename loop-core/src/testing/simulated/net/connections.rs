//! Connecting, listening's other side, accepting, shutting down.

use std::io;
use std::net::{Shutdown, SocketAddr};

use socket2::SockAddr;

use super::{Item, Network, Socket, State, errno};
use crate::fd::FdKey;
use crate::op::{Interest, Outcome};
use crate::op_table::OpKey;
use crate::testing::simulated::address::{destination, parse, sender_ip, unspecified};
use crate::testing::simulated::stream::{End, Listener, Stream};

impl Network {
    pub(super) fn listener(&mut self, fd: FdKey) -> Option<&mut Listener> {
        match &mut self.sockets.get_mut(fd)?.state {
            State::Stream(Stream::Listening(listener)) => Some(listener),
            _ => None,
        }
    }

    /// Connects. `true`: the operation's completion follows out of `poll`.
    pub(super) fn connect(&mut self, fd: FdKey, addr: &SockAddr, key: OpKey) -> io::Result<bool> {
        let socket = self.socket(fd)?;
        let to = destination(parse(addr, socket.domain)?);
        match &mut socket.state {
            State::Datagram(mailbox) => {
                mailbox.peer = Some(to);
                let bound = self.bound(fd)?;
                let local = SocketAddr::new(sender_ip(bound.ip(), to.ip()), bound.port());
                self.socket(fd)?.local = Some(local);
                return Ok(false);
            }
            State::Stream(Stream::Fresh) => {}
            State::Stream(Stream::Connecting { .. }) => return Err(errno(libc::EALREADY)),
            State::Stream(Stream::Connected(_) | Stream::Listening(_)) => return Err(errno(libc::EISCONN)),
        }
        self.bound(fd)?;
        let mut best: Option<(u8, FdKey)> = None;
        for (other, socket) in self.sockets.iter() {
            let (State::Stream(Stream::Listening(listener)), Some(binding)) = (&socket.state, socket.binding()) else {
                continue;
            };
            if let Some(fit) = binding.fit(to.ip())
                && binding.addr.port() == to.port()
            {
                // Of equals, one that has room.
                let rank = fit * 2 + u8::from(listener.backlog.len() < listener.capacity);
                if best.is_none_or(|(best, _)| rank > best) {
                    best = Some((rank, other));
                }
            }
        }
        let Some((_, listener_fd)) = best else {
            self.agenda.push_back(Item::Report(key, Err(errno(libc::ECONNREFUSED))));
            return Ok(true);
        };
        self.socket(fd)?.state = State::Stream(Stream::Connecting { listener: listener_fd, to, op: key });
        self.enqueue(fd, Interest::Write, key);
        if let Some(listener) = self.listener(listener_fd) {
            listener.knocking.push_back(fd);
        }
        self.let_in(listener_fd);
        Ok(true)
    }

    /// Makes connections of those that knock, as long as there is room.
    pub(super) fn let_in(&mut self, listener_fd: FdKey) {
        loop {
            let Some(listener) = self.listener(listener_fd) else { return };
            if listener.backlog.len() >= listener.capacity {
                return;
            }
            let Some(fd) = listener.knocking.pop_front() else { return };
            let Some(socket) = self.sockets.get_mut(fd) else { continue };
            let State::Stream(Stream::Connecting { to, op, .. }) = socket.state else { continue };
            let bound = socket.local.unwrap_or_else(|| unspecified(socket.domain));
            let local = SocketAddr::new(sender_ip(bound.ip(), to.ip()), bound.port());
            let (client, server) = End::pair(local, to);
            client.set_owner(fd);
            socket.local = Some(local);
            socket.state = State::Stream(Stream::Connected(client));
            if let Some(listener) = self.listener(listener_fd) {
                listener.backlog.push_back(server);
            }
            self.agenda.push_back(Item::Report(op, Ok(Outcome::Done)));
            self.unqueue(op);
            self.look(fd, Interest::Read);
            self.look(listener_fd, Interest::Read);
        }
    }

    /// If the operation was the socket's connecting, the socket is as before it.
    pub(super) fn stop_connecting(&mut self, fd: FdKey, key: OpKey) {
        let Some(socket) = self.sockets.get_mut(fd) else { return };
        if let State::Stream(Stream::Connecting { listener, op, .. }) = socket.state
            && op == key
        {
            socket.state = State::Stream(Stream::Fresh);
            if let Some(listener) = self.listener(listener) {
                listener.knocking.retain(|other| *other != fd);
            }
            self.look(fd, Interest::Read);
        }
    }

    pub(super) fn end_listening(&mut self, listener: Listener) {
        for end in listener.backlog {
            end.close(true);
            self.look_at_both(&end);
        }
        for fd in listener.knocking {
            let Some(socket) = self.sockets.get_mut(fd) else { continue };
            let State::Stream(Stream::Connecting { op, .. }) = socket.state else { continue };
            socket.state = State::Stream(Stream::Fresh);
            self.agenda.push_back(Item::Report(op, Err(errno(libc::ECONNREFUSED))));
            self.unqueue(op);
            self.look(fd, Interest::Read);
        }
    }

    pub(super) fn accept(&mut self, fd: FdKey) -> io::Result<FdKey> {
        let socket = self.socket(fd)?;
        let (domain, options) = (socket.domain, socket.options);
        let end = match &mut socket.state {
            State::Stream(Stream::Listening(listener)) => listener.backlog.pop_front(),
            State::Stream(_) => return Err(errno(libc::EINVAL)),
            State::Datagram(_) => return Err(errno(libc::EOPNOTSUPP)),
        };
        let end = end.ok_or(io::ErrorKind::WouldBlock)?;
        let mut accepted = Socket::new(domain, State::Stream(Stream::Connected(end.clone())));
        accepted.local = Some(end.local());
        accepted.options = options;
        let accepted = self.sockets.insert(accepted);
        end.set_owner(accepted);
        self.let_in(fd);
        Ok(accepted)
    }

    pub(super) fn shutdown(&mut self, fd: FdKey, how: Shutdown) -> io::Result<()> {
        let socket = self.socket(fd)?;
        let (read, write) = (how != Shutdown::Write, how != Shutdown::Read);
        match &mut socket.state {
            State::Stream(Stream::Connected(end)) => {
                let end = end.clone();
                end.shutdown(how);
                self.look_at_both(&end);
            }
            State::Stream(Stream::Listening(_)) if read => {
                let state = std::mem::replace(&mut socket.state, State::Stream(Stream::Fresh));
                if let State::Stream(Stream::Listening(listener)) = state {
                    self.end_listening(listener);
                }
                self.look(fd, Interest::Read);
            }
            State::Stream(_) => return Err(errno(libc::ENOTCONN)),
            State::Datagram(mailbox) if mailbox.peer.is_none() => return Err(errno(libc::ENOTCONN)),
            State::Datagram(mailbox) => {
                mailbox.read_shut |= read;
                mailbox.write_shut |= write;
                self.look(fd, Interest::Read);
            }
        }
        Ok(())
    }
}
