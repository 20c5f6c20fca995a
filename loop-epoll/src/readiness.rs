//! What is known of one descriptor's readiness without asking the kernel.
//!
//! A direction may be ready until a system call proves otherwise, and from then on until an edge is reported.
//! Clearing is safe without a tick or a lock: edges are fetched only by `poll`, on this very thread, so one
//! that arrives after the proof is still to be fetched and sets the flag again.
//!
//! A short read is as good a proof as `EAGAIN`, and saves the call, but only where it *means* that nothing is
//! left. What it means depends on the kind of descriptor, and on what the kernel said before:
//!
//! * on a TCP socket the kernel hands out all it has, up to an end of stream, an error or an urgent mark. Once
//!   one of these was reported, its edge is spent, so only reading on reveals it;
//! * on a Unix stream it also stops behind bytes that carry descriptors or credentials (and then says so);
//! * a datagram or a line of a terminal ends at its own end, whatever lies behind it.

use std::os::fd::BorrowedFd;

use loop_core::Interest;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, ipproto, sockopt};
use socket2::{Domain, Protocol, Type};

/// What one event says: epoll's own bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signals(u32);

const IN: u32 = libc::EPOLLIN as u32;
const PRI: u32 = libc::EPOLLPRI as u32;
const OUT: u32 = libc::EPOLLOUT as u32;
const ERR: u32 = libc::EPOLLERR as u32;
const HUP: u32 = libc::EPOLLHUP as u32;
const RDHUP: u32 = libc::EPOLLRDHUP as u32;

impl Signals {
    pub(crate) const fn from_epoll(bits: u32) -> Self {
        Self(bits)
    }

    pub(crate) fn from_mio(event: &mio::event::Event) -> Self {
        let mut bits = 0;
        for (set, bit) in [
            (event.is_readable(), IN),
            (event.is_writable(), OUT),
            (event.is_error(), ERR),
            (event.is_priority(), PRI),
            (event.is_read_closed(), RDHUP),
            (event.is_read_closed() && event.is_write_closed(), HUP),
        ] {
            bits |= if set { bit } else { 0 };
        }
        Self(bits)
    }

    /// Whether a waiter of this direction has reason to look. Hang-up and error concern both.
    pub(crate) const fn concern(self, interest: Interest) -> bool {
        match interest {
            Interest::Read => self.0 & (IN | PRI | RDHUP | HUP | ERR) != 0,
            Interest::Write => self.0 & (OUT | HUP | ERR) != 0,
        }
    }

    /// Whether something other than bytes awaits the reader: end of stream, an error, an urgent mark.
    const fn reveal_an_end(self) -> bool {
        self.0 & (PRI | RDHUP | HUP | ERR) != 0
    }
}

/// How a descriptor is read and written, and what a short count means there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Not asked for yet.
    Unknown,
    /// TCP: short means drained.
    Tcp,
    /// A Unix stream: short means drained, unless control data came with the bytes.
    Unix,
    /// Any other socket: a short read means nothing.
    Message,
    /// Not a socket: read and written rather than received and sent. A short read means nothing.
    File,
}

impl Kind {
    /// The kind of a socket about to be made.
    pub(crate) fn of_new(domain: Domain, kind: Type, protocol: Option<Protocol>) -> Self {
        let default = protocol.is_none_or(|protocol| protocol == Protocol::TCP);
        match (domain, kind) {
            (Domain::IPV4 | Domain::IPV6, Type::STREAM) if default => Self::Tcp,
            (Domain::UNIX, Type::STREAM) => Self::Unix,
            _ => Self::Message,
        }
    }

    /// The kind of a descriptor that came from elsewhere.
    pub(crate) fn of(fd: BorrowedFd<'_>) -> Self {
        match sockopt::socket_protocol(fd) {
            Ok(Some(ipproto::TCP)) => Self::Tcp,
            Ok(None)
                if sockopt::socket_domain(fd) == Ok(AddressFamily::UNIX)
                    && sockopt::socket_type(fd) == Ok(SocketType::STREAM) =>
            {
                Self::Unix
            }
            Err(Errno::NOTSOCK) => Self::File,
            _ => Self::Message,
        }
    }
}

/// What is known of one descriptor.
#[derive(Debug)]
pub(crate) struct Ready {
    read: bool,
    write: bool,
    /// An end of stream, an error or an urgent mark was reported: short reads prove nothing any more.
    end_reported: bool,
    pub(crate) kind: Kind,
}

impl Ready {
    /// Nothing is known yet, so anything may be ready.
    pub(crate) const fn unknown(kind: Kind) -> Self {
        Self { read: true, write: true, end_reported: false, kind }
    }

    pub(crate) const fn may(&self, interest: Interest) -> bool {
        match interest {
            Interest::Read => self.read,
            Interest::Write => self.write,
        }
    }

    /// A system call proved that the direction is not ready.
    pub(crate) const fn clear(&mut self, interest: Interest) {
        match interest {
            Interest::Read => self.read = false,
            Interest::Write => self.write = false,
        }
    }

    /// An event was fetched.
    pub(crate) fn set(&mut self, signals: Signals) {
        self.read |= signals.concern(Interest::Read);
        self.write |= signals.concern(Interest::Write);
        self.end_reported |= signals.reveal_an_end();
    }

    /// A new connection is being made on the descriptor: how an earlier one ended says nothing about it.
    pub(crate) const fn start_anew(&mut self) {
        self.end_reported = false;
    }

    /// `count` of `asked` bytes were received; `boundary` tells that control data may have cut them short.
    pub(crate) fn after_receive(&mut self, asked: usize, count: usize, boundary: bool) {
        let short = 0 < count && count < asked;
        if short && !boundary && !self.end_reported && matches!(self.kind, Kind::Tcp | Kind::Unix) {
            self.read = false;
        }
    }

    /// `count` of `asked` bytes were sent. Only a full buffer cuts a send short, whatever the descriptor.
    pub(crate) const fn after_send(&mut self, asked: usize, count: usize) {
        if count < asked {
            self.write = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: usize = 100;

    fn after(kind: Kind, signals: u32, count: usize) -> bool {
        let mut ready = Ready::unknown(kind);
        ready.set(Signals::from_epoll(signals));
        ready.after_receive(ASKED, count, false);
        ready.may(Interest::Read)
    }

    #[test]
    fn a_short_read_of_a_stream_means_drained() {
        assert!(!after(Kind::Tcp, IN, 10));
        assert!(!after(Kind::Unix, IN | OUT, 99));
        assert!(after(Kind::Tcp, IN, ASKED), "a full read says that there may be more");
        assert!(after(Kind::Tcp, IN, 0), "an end of stream stays readable");
    }

    #[test]
    fn a_short_read_of_messages_means_nothing() {
        assert!(after(Kind::Message, IN, 10));
        assert!(after(Kind::File, IN, 10));
    }

    #[test]
    fn a_short_read_before_a_reported_end_is_not_the_end() {
        for end in [RDHUP, HUP, ERR, PRI] {
            assert!(after(Kind::Tcp, IN | end, 10));
        }
    }

    #[test]
    fn a_short_read_cut_by_control_data_means_nothing() {
        let mut ready = Ready::unknown(Kind::Unix);
        ready.after_receive(ASKED, 10, true);
        assert!(ready.may(Interest::Read));
    }

    #[test]
    fn an_edge_makes_ready_again() {
        let mut ready = Ready::unknown(Kind::Tcp);
        ready.clear(Interest::Read);
        ready.clear(Interest::Write);
        ready.set(Signals::from_epoll(OUT));
        assert!(!ready.may(Interest::Read) && ready.may(Interest::Write));
        ready.set(Signals::from_epoll(HUP));
        assert!(ready.may(Interest::Read));
    }

    #[test]
    fn a_short_send_means_full() {
        let mut ready = Ready::unknown(Kind::Message);
        ready.after_send(ASKED, ASKED);
        assert!(ready.may(Interest::Write));
        ready.after_send(ASKED, 10);
        assert!(!ready.may(Interest::Write));
    }

    #[test]
    fn the_kind_of_a_descriptor_is_found_out() {
        use std::os::fd::AsFd;
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let (unix, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let (datagram, _other) = std::os::unix::net::UnixDatagram::pair().unwrap();
        let (pipe, _end) = std::io::pipe().unwrap();
        assert_eq!(Kind::of(tcp.as_fd()), Kind::Tcp);
        assert_eq!(Kind::of(udp.as_fd()), Kind::Message);
        assert_eq!(Kind::of(unix.as_fd()), Kind::Unix);
        assert_eq!(Kind::of(datagram.as_fd()), Kind::Message);
        assert_eq!(Kind::of(pipe.as_fd()), Kind::File);
    }
}
