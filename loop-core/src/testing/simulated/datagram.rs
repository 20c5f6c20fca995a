//! A datagram socket's mailbox.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

/// The largest datagram, as over IPv4.
pub(super) const LARGEST: usize = 65_507;

/// How many bytes a mailbox holds; what comes beyond is dropped.
const ROOM: usize = 256 << 10;

#[derive(Debug, Default)]
pub(super) struct Mailbox {
    /// Where it is connected to: sent there, and heard from there only.
    pub(super) peer: Option<SocketAddr>,
    letters: VecDeque<(SocketAddr, Vec<u8>)>,
    held: usize,
    /// Nobody was there for an earlier datagram.
    pub(super) refused: bool,
    pub(super) read_shut: bool,
    pub(super) write_shut: bool,
}

impl Mailbox {
    /// Whether it hears a sender.
    pub(super) fn hears(&self, from: SocketAddr) -> bool {
        self.peer.is_none_or(|peer| peer == from)
    }

    /// Takes a datagram in, or drops it where it is full.
    pub(super) fn put(&mut self, from: SocketAddr, bytes: Vec<u8>) {
        if self.held + bytes.len() <= ROOM {
            self.held += bytes.len();
            self.letters.push_back((from, bytes));
        }
    }

    pub(super) fn is_readable(&self) -> bool {
        !self.letters.is_empty() || self.refused || self.read_shut
    }

    pub(super) fn take_error(&mut self) -> Option<io::Error> {
        std::mem::take(&mut self.refused).then(|| io::Error::from_raw_os_error(libc::ECONNREFUSED))
    }

    /// Takes a datagram out and hands the first `limit` bytes of it to `take`.
    pub(super) fn read(
        &mut self,
        limit: usize,
        mut take: impl FnMut(&[u8]),
    ) -> io::Result<(usize, Option<SocketAddr>)> {
        if let Some(error) = self.take_error() {
            return Err(error);
        }
        let Some((from, bytes)) = self.letters.pop_front() else {
            return if self.read_shut { Ok((0, None)) } else { Err(io::ErrorKind::WouldBlock.into()) };
        };
        self.held -= bytes.len();
        let count = limit.min(bytes.len());
        take(&bytes[..count]);
        Ok((count, Some(from)))
    }
}
