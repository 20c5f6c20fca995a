//! Moving bytes: between a buffer and a connection or a mailbox.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use socket2::{Domain, SockAddr};

use super::{Attempt, Network, State, errno, unless_blocked};
use crate::fd::FdKey;
use crate::op::{Interest, Outcome};
use crate::testing::simulated::address::{destination, parse, sender_ip};
use crate::testing::simulated::datagram::LARGEST;
use crate::testing::simulated::stream::Stream;

impl Network {
    /// Takes what is there, also in the place of an operation that waits for it and was told.
    pub(in super::super) fn recv_now(&mut self, fd: FdKey, buf: &mut [u8]) -> io::Result<usize> {
        self.receive_into(fd, buf)
    }

    /// An error of `WouldBlock` also where sends wait: their bytes come first.
    pub(in super::super) fn send_now(&mut self, fd: FdKey, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.socket(fd)?.queue(Interest::Write).ops.is_empty() {
            self.send(fd, bufs.iter().map(|buf| &buf[..]), None)
        } else {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }

    fn receive_into(&mut self, fd: FdKey, buf: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        let limit = buf.len();
        let take = |part: &[u8]| {
            buf[filled..filled + part.len()].copy_from_slice(part);
            filled += part.len();
        };
        self.receive(fd, limit, take).map(|(count, _)| count)
    }

    pub(super) fn receive(
        &mut self,
        fd: FdKey,
        limit: usize,
        take: impl FnMut(&[u8]),
    ) -> io::Result<(usize, Option<SocketAddr>)> {
        match &mut self.socket(fd)?.state {
            State::Datagram(mailbox) => mailbox.read(limit, take),
            State::Stream(Stream::Connected(end)) => {
                let end = end.clone();
                let result = end.read(limit, take);
                self.look_at_both(&end);
                result.map(|count| (count, None))
            }
            State::Stream(Stream::Connecting { .. }) => Err(io::ErrorKind::WouldBlock.into()),
            State::Stream(_) => Err(errno(libc::ENOTCONN)),
        }
    }

    pub(super) fn receive_chunk(&mut self, fd: FdKey) -> Option<Attempt> {
        let pool = self.pool.clone();
        let datagram = self.sockets.get(fd).is_some_and(|socket| !socket.is_stream());
        let chunk = pool.fill(|buf| self.receive_into(fd, buf));
        unless_blocked(chunk).map(|result| match result {
            Ok(chunk) if chunk.is_empty() && !datagram => Attempt::Over(Ok(Outcome::Count(0))),
            Ok(chunk) => Attempt::More(Outcome::Chunk(chunk)),
            Err(error) => Attempt::Over(Err(error)),
        })
    }

    pub(super) fn send<'a>(
        &mut self,
        fd: FdKey,
        pieces: impl Iterator<Item = &'a [u8]>,
        to: Option<&SockAddr>,
    ) -> io::Result<usize> {
        match &self.socket(fd)?.state {
            State::Stream(Stream::Connected(end)) => {
                let end = end.clone();
                let result = end.write(pieces);
                self.look_at_both(&end);
                result
            }
            State::Stream(Stream::Connecting { .. }) => Err(io::ErrorKind::WouldBlock.into()),
            State::Stream(_) => Err(errno(libc::EPIPE)),
            State::Datagram(_) => self.post(fd, pieces.collect::<Vec<_>>().concat(), to),
        }
    }

    /// Sends a datagram.
    fn post(&mut self, fd: FdKey, bytes: Vec<u8>, to: Option<&SockAddr>) -> io::Result<usize> {
        let socket = self.socket(fd)?;
        let (domain, options) = (socket.domain, socket.options);
        let to = to.map(|to| parse(to, domain)).transpose()?;
        let State::Datagram(mailbox) = &mut socket.state else { return Err(errno(libc::EPROTOTYPE)) };
        if let Some(error) = mailbox.take_error() {
            return Err(error);
        }
        if mailbox.write_shut {
            return Err(errno(libc::EPIPE));
        }
        let connected = mailbox.peer.is_some();
        let to = destination(to.or(mailbox.peer).ok_or_else(|| errno(libc::EDESTADDRREQ))?);
        let broadcast = to.ip() == IpAddr::V4(Ipv4Addr::BROADCAST);
        if to.port() == 0 {
            return Err(errno(libc::EINVAL));
        }
        if broadcast && !options.broadcast {
            return Err(errno(libc::EACCES));
        }
        if bytes.len() > LARGEST {
            return Err(errno(libc::EMSGSIZE));
        }
        let bound = self.bound(fd)?;
        let from = SocketAddr::new(sender_ip(bound.ip(), to.ip()), bound.port());

        let mut receivers: Vec<(u8, FdKey)> = Vec::new();
        for (other, socket) in self.sockets.iter() {
            let (State::Datagram(mailbox), Some(binding)) = (&socket.state, socket.binding()) else { continue };
            let fit = if broadcast {
                (socket.domain == Domain::IPV4).then_some(0)
            } else {
                // A mailbox connected to the sender comes before one that hears everybody.
                binding.fit(to.ip()).map(|fit| fit * 2 + u8::from(mailbox.peer.is_some()))
            };
            if let Some(fit) = fit
                && binding.addr.port() == to.port()
                && mailbox.hears(from)
            {
                receivers.push((fit, other));
            }
        }
        if !broadcast {
            receivers.sort_by_key(|(fit, _)| std::cmp::Reverse(*fit));
            receivers.truncate(1);
        }
        let count = bytes.len();
        if receivers.is_empty()
            && connected
            && let State::Datagram(mailbox) = &mut self.socket(fd)?.state
        {
            mailbox.refused = true;
            self.look(fd, Interest::Read);
        }
        for (_, receiver) in receivers {
            if let State::Datagram(mailbox) = &mut self.socket(receiver)?.state {
                mailbox.put(from, bytes.clone());
                self.look(receiver, Interest::Read);
            }
        }
        Ok(count)
    }
}

/// Writes received parts one after the other into a buffer's spare capacity.
pub(super) fn into_spare(buf: &mut Vec<u8>) -> impl FnMut(&[u8]) {
    let mut room = buf.spare_capacity_mut();
    move |part| {
        let (here, rest) = std::mem::take(&mut room).split_at_mut(part.len());
        here.write_copy_of_slice(part);
        room = rest;
    }
}
