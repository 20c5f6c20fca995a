//! One simulated TCP connection: bytes on their way in both directions, and how each direction ends.
//!
//! Only state changes here; who is to be told of it is the network's affair. Details follow Linux: bytes that
//! had arrived are read before a reset shows, an error shows once, and a first send to a peer that is gone
//! succeeds.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;

use crate::fd::FdKey;
use crate::op_table::OpKey;

/// How many bytes are on their way at the most, in one direction.
pub(super) const IN_FLIGHT: usize = 64 << 10;

/// A sender that waited is told when no more than this is on its way: not at every byte.
const LOW_WATER: usize = IN_FLIGHT * 2 / 3;

/// One end of a connection.
#[derive(Debug, Clone)]
pub(super) struct End {
    link: Rc<RefCell<[Side; 2]>>,
    side: usize,
}

#[derive(Debug)]
struct Side {
    /// Who has this end: nobody before it is accepted, nor after it is closed.
    owner: Option<FdKey>,
    local: SocketAddr,
    /// Arrived, and not read yet.
    inbox: VecDeque<u8>,
    /// Nothing will arrive after what is in the inbox.
    ended: bool,
    read_shut: bool,
    write_shut: bool,
    closed: bool,
    error: Option<i32>,
}

impl Side {
    fn new(local: SocketAddr) -> Self {
        Self {
            owner: None,
            local,
            inbox: VecDeque::new(),
            ended: false,
            read_shut: false,
            write_shut: false,
            closed: false,
            error: None,
        }
    }

    /// The other side is gone, and takes nothing more.
    fn reset(&mut self) {
        if self.ended {
            self.write_shut = true;
        } else {
            self.error = Some(libc::ECONNRESET);
        }
    }

    /// The pending error shows, and after it the connection is over.
    fn take_error(&mut self) -> Option<io::Error> {
        let error = self.error.take()?;
        self.ended = true;
        self.write_shut = true;
        Some(io::Error::from_raw_os_error(error))
    }
}

impl End {
    /// A connection between two addresses: both ends.
    pub(super) fn pair(client: SocketAddr, server: SocketAddr) -> (Self, Self) {
        let link = Rc::new(RefCell::new([Side::new(client), Side::new(server)]));
        (Self { link: Rc::clone(&link), side: 0 }, Self { link, side: 1 })
    }

    fn with<R>(&self, act: impl FnOnce(&mut Side, &mut Side) -> R) -> R {
        let [first, second] = &mut *self.link.borrow_mut();
        if self.side == 0 { act(first, second) } else { act(second, first) }
    }

    pub(super) fn set_owner(&self, fd: FdKey) {
        self.with(|me, _| me.owner = Some(fd));
    }

    /// Who has the ends.
    pub(super) fn owners(&self) -> [Option<FdKey>; 2] {
        self.with(|me, peer| [me.owner, peer.owner])
    }

    pub(super) fn local(&self) -> SocketAddr {
        self.with(|me, _| me.local)
    }

    pub(super) fn peer(&self) -> SocketAddr {
        self.with(|_, peer| peer.local)
    }

    pub(super) fn take_error(&self) -> Option<io::Error> {
        self.with(|me, _| me.take_error())
    }

    pub(super) fn is_readable(&self) -> bool {
        self.with(|me, _| !me.inbox.is_empty() || me.ended || me.read_shut || me.error.is_some())
    }

    pub(super) fn is_writable(&self) -> bool {
        self.with(|me, peer| me.write_shut || me.error.is_some() || peer.closed || peer.inbox.len() <= LOW_WATER)
    }

    /// Hands up to `limit` bytes to `take`, in one or two parts; 0 at the end.
    pub(super) fn read(&self, limit: usize, mut take: impl FnMut(&[u8])) -> io::Result<usize> {
        self.with(|me, _| {
            let count = limit.min(me.inbox.len());
            if count == 0 && limit > 0 {
                return match me.take_error() {
                    Some(error) => Err(error),
                    None if me.ended || me.read_shut => Ok(0),
                    None => Err(io::ErrorKind::WouldBlock.into()),
                };
            }
            let (front, back) = me.inbox.as_slices();
            let split = count.min(front.len());
            take(&front[..split]);
            take(&back[..count - split]);
            me.inbox.drain(..count);
            Ok(count)
        })
    }

    /// Sends as much of the pieces as there is room for.
    pub(super) fn write<'a>(&self, pieces: impl Iterator<Item = &'a [u8]>) -> io::Result<usize> {
        self.with(|me, peer| {
            if let Some(error) = me.take_error() {
                return Err(error);
            }
            if me.write_shut {
                return Err(io::Error::from_raw_os_error(libc::EPIPE));
            }
            if peer.closed {
                // The bytes leave, find nobody, and the answer to them breaks the connection.
                let count = pieces.map(<[u8]>::len).sum();
                me.write_shut = count > 0;
                return Ok(count);
            }
            let mut count = 0;
            let mut wanted = 0;
            for piece in pieces {
                wanted += piece.len();
                let part = piece.len().min(IN_FLIGHT - peer.inbox.len());
                peer.inbox.extend(&piece[..part]);
                count += part;
            }
            if count == 0 && wanted > 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
        })
    }

    pub(super) fn shutdown(&self, how: Shutdown) {
        self.with(|me, peer| {
            if matches!(how, Shutdown::Read | Shutdown::Both) {
                me.read_shut = true;
            }
            if matches!(how, Shutdown::Write | Shutdown::Both) {
                me.write_shut = true;
                peer.ended |= peer.error.is_none();
            }
        });
    }

    /// Closes this end: with a reset if asked to, or if bytes are left unread.
    pub(super) fn close(&self, reset: bool) {
        self.with(|me, peer| {
            if reset || !me.inbox.is_empty() {
                peer.reset();
            } else {
                peer.ended |= peer.error.is_none();
            }
            me.closed = true;
            me.owner = None;
            me.inbox = VecDeque::new();
        });
    }
}

/// A listening socket's queue.
#[derive(Debug)]
pub(super) struct Listener {
    /// How many connections may wait to be accepted.
    pub(super) capacity: usize,
    pub(super) backlog: VecDeque<End>,
    /// Sockets whose connecting waits for room.
    pub(super) knocking: VecDeque<FdKey>,
}

impl Listener {
    /// As on Linux, one more than asked for, and 4,096 at the most.
    pub(super) fn capacity_for(backlog: i32) -> usize {
        usize::try_from(backlog).unwrap_or(4_096).min(4_096) + 1
    }

    pub(super) fn new(backlog: i32) -> Self {
        Self { capacity: Self::capacity_for(backlog), backlog: VecDeque::new(), knocking: VecDeque::new() }
    }
}

/// What a stream socket is at present.
#[derive(Debug)]
pub(super) enum Stream {
    /// Nothing yet.
    Fresh,
    Listening(Listener),
    /// In a full listener's queue.
    Connecting {
        listener: FdKey,
        to: SocketAddr,
        op: OpKey,
    },
    Connected(End),
}
