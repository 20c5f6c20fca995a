//! Operations as data: what the loop asks of a backend, and what it hears back.
//!
//! The enum is closed on purpose: a backend is one `match`, and so is a simulated one. The loop keeps the
//! operation, its buffer included, in its [`OpTable`](crate::OpTable) until the final completion; a backend
//! reads and writes it there and keeps only the key.

use std::cell::UnsafeCell;
use std::fmt;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::RawFd;
use std::sync::Arc;

use socket2::SockAddr;

use crate::buffer::Chunk;
use crate::fd::FdKey;
use crate::op_table::OpKey;

/// One operation. Its final [`Outcome`] is named at each variant.
#[derive(Debug)]
#[non_exhaustive]
pub enum Op {
    /// Accept one connection: [`Outcome::Accepted`].
    Accept {
        /// The listening socket.
        fd: FdKey,
    },
    /// Accept connections until cancelled: an [`Outcome::Accepted`] each.
    AcceptMulti {
        /// The listening socket.
        fd: FdKey,
    },
    /// Connect: [`Outcome::Done`].
    Connect {
        /// The socket.
        fd: FdKey,
        /// The peer. (Boxed, as the other operations are small.)
        addr: Box<SockAddr>,
    },
    /// Receive into the spare capacity of `buf`: [`Outcome::Count`], 0 at end of stream.
    Recv {
        /// The socket.
        fd: FdKey,
        /// Appended to; the spare capacity is at least `limit`. The loop sets the new length.
        buf: Vec<u8>,
        /// How many bytes at the most.
        limit: usize,
    },
    /// Receive until cancelled or failed, into memory that the backend lends: an [`Outcome::Chunk`] each.
    /// End of stream is the final completion, an empty chunk or [`Outcome::Count`] of 0.
    RecvMulti {
        /// The socket.
        fd: FdKey,
    },
    /// Receive a datagram into the spare capacity of `buf`: [`Outcome::Count`].
    RecvFrom {
        /// The socket.
        fd: FdKey,
        /// Appended to; the spare capacity is at least `limit`. The loop sets the new length.
        buf: Vec<u8>,
        /// How many bytes at the most.
        limit: usize,
        /// The sender, written by the backend.
        from: AddrBuf,
    },
    /// Send `buf[start..]`, or some first part of it: [`Outcome::Count`].
    Send {
        /// The socket.
        fd: FdKey,
        /// The bytes.
        buf: Vec<u8>,
        /// Where to start.
        start: usize,
    },
    /// Send the pieces in one gathered call, or some first part of them: [`Outcome::Count`].
    SendVectored {
        /// The socket.
        fd: FdKey,
        /// The pieces.
        bufs: Vec<Vec<u8>>,
    },
    /// Send one datagram: [`Outcome::Count`].
    SendTo {
        /// The socket.
        fd: FdKey,
        /// The datagram.
        buf: Vec<u8>,
        /// The receiver.
        addr: Box<SockAddr>,
    },
    /// Wait until a descriptor, which need not be the backend's own, is ready: [`Outcome::Done`].
    /// Level-triggered: if it is ready already, the operation is done at once. Hang-up and error conditions
    /// count as ready for both interests.
    Readiness {
        /// The descriptor's number.
        fd: RawFd,
        /// For what.
        interest: Interest,
    },
    /// Shut down one or both directions: [`Outcome::Done`].
    Shutdown {
        /// The socket.
        fd: FdKey,
        /// Which.
        how: Shutdown,
    },
    /// Read from a file at an offset into the spare capacity of `buf`: [`Outcome::Count`].
    ReadAt {
        /// The file.
        file: Arc<File>,
        /// Appended to; the spare capacity is at least `limit`. The loop sets the new length.
        buf: Vec<u8>,
        /// How many bytes at the most.
        limit: usize,
        /// Where in the file.
        offset: u64,
    },
    /// Write `buf` to a file at an offset: [`Outcome::Count`].
    WriteAt {
        /// The file.
        file: Arc<File>,
        /// The bytes.
        buf: Vec<u8>,
        /// Where in the file.
        offset: u64,
    },
}

/// The direction of an operation: operations of one descriptor and direction keep their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Interest {
    /// Reading, accepting.
    Read,
    /// Writing, connecting.
    Write,
}

impl Op {
    /// The backend's descriptor that the operation is for, if it is one of the backend's.
    #[must_use]
    pub fn fd(&self) -> Option<FdKey> {
        match self {
            Self::Accept { fd }
            | Self::AcceptMulti { fd }
            | Self::Connect { fd, .. }
            | Self::Recv { fd, .. }
            | Self::RecvMulti { fd }
            | Self::RecvFrom { fd, .. }
            | Self::Send { fd, .. }
            | Self::SendVectored { fd, .. }
            | Self::SendTo { fd, .. }
            | Self::Shutdown { fd, .. } => Some(*fd),
            Self::Readiness { .. } | Self::ReadAt { .. } | Self::WriteAt { .. } => None,
        }
    }

    /// What it is, in a word.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accept { .. } | Self::AcceptMulti { .. } => "accept",
            Self::Connect { .. } => "connect",
            Self::Recv { .. } | Self::RecvMulti { .. } => "receive",
            Self::RecvFrom { .. } => "receive a datagram",
            Self::Send { .. } | Self::SendVectored { .. } => "send",
            Self::SendTo { .. } => "send a datagram",
            Self::Shutdown { .. } => "shutdown",
            Self::Readiness { .. } => "readiness of a descriptor",
            Self::ReadAt { .. } => "read a file",
            Self::WriteAt { .. } => "write a file",
        }
    }

    /// The direction, where the operation has one.
    #[must_use]
    pub fn direction(&self) -> Option<Interest> {
        match self {
            Self::Accept { .. }
            | Self::AcceptMulti { .. }
            | Self::Recv { .. }
            | Self::RecvMulti { .. }
            | Self::RecvFrom { .. } => Some(Interest::Read),
            Self::Connect { .. } | Self::Send { .. } | Self::SendVectored { .. } | Self::SendTo { .. } => {
                Some(Interest::Write)
            }
            Self::Readiness { interest, .. } => Some(*interest),
            Self::Shutdown { .. } | Self::ReadAt { .. } | Self::WriteAt { .. } => None,
        }
    }

    /// Whether it completes more than once.
    #[must_use]
    pub fn is_multishot(&self) -> bool {
        matches!(self, Self::AcceptMulti { .. } | Self::RecvMulti { .. })
    }

    /// The most bytes that its [`Outcome::Count`] may name (**B7**); none where counts mean nothing.
    #[must_use]
    pub fn limit(&self) -> Option<usize> {
        match self {
            Self::Recv { limit, .. } | Self::RecvFrom { limit, .. } | Self::ReadAt { limit, .. } => Some(*limit),
            Self::Send { buf, start, .. } => Some(buf.len() - start),
            Self::SendVectored { bufs, .. } => Some(bufs.iter().map(Vec::len).sum()),
            Self::SendTo { buf, .. } | Self::WriteAt { buf, .. } => Some(buf.len()),
            _ => None,
        }
    }
}

/// What an operation came to.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// It is done, and there is nothing more to say.
    Done,
    /// This many bytes were moved.
    Count(usize),
    /// A connection: registered with the backend, non-blocking, and the receiver's to close.
    Accepted(FdKey),
    /// Received bytes, in memory that the backend lends.
    Chunk(Chunk),
}

/// The answer to [`Backend::submit`](crate::Backend::submit) and [`Backend::resume`](crate::Backend::resume).
#[derive(Debug)]
pub enum Submitted {
    /// It is over, at once: this *is* the final completion, no other follows.
    Done(io::Result<Outcome>),
    /// A multishot operation had one outcome at once and stays armed.
    More(Outcome),
    /// It is under way: completions come out of `poll`.
    Queued,
    /// The backend cannot do this; the loop falls back. Nothing was queued.
    Unsupported,
}

/// What `poll` reports of one operation.
#[derive(Debug)]
pub struct Completion {
    /// The operation.
    pub op: OpKey,
    /// What happened.
    pub event: Event,
}

/// What happened to an operation.
#[derive(Debug)]
pub enum Event {
    /// It can probably go on: call [`Backend::resume`](crate::Backend::resume) when its turn comes. Backends
    /// that move bytes by themselves (readiness) use this so that a byte is read only when it is delivered,
    /// into memory that is still warm.
    Resume,
    /// A multishot operation had an outcome and stays armed.
    More(Outcome),
    /// The final completion: the backend will not touch the operation again.
    Final(io::Result<Outcome>),
}

/// Room for an address that a backend (or the kernel) fills in while the operation is under way.
///
/// It lies where it lies wherever this goes.
pub struct AddrBuf(Box<AddrRoom>);

struct AddrRoom {
    storage: UnsafeCell<MaybeUninit<libc::sockaddr_storage>>,
    len: UnsafeCell<libc::socklen_t>,
}

impl AddrBuf {
    /// Empty.
    #[must_use]
    pub fn new() -> Self {
        Self(Box::new(AddrRoom { storage: UnsafeCell::new(MaybeUninit::zeroed()), len: UnsafeCell::new(0) }))
    }

    /// Where the kernel writes the address; room for a `sockaddr_storage`.
    #[must_use]
    pub fn as_ptr(&self) -> *mut libc::sockaddr_storage {
        self.0.storage.get().cast()
    }

    /// Where the kernel writes the address's length.
    #[must_use]
    pub fn len_ptr(&self) -> *mut libc::socklen_t {
        self.0.len.get()
    }

    /// Copies an address in.
    pub fn set(&mut self, addr: &SockAddr) {
        let len = addr.len();
        // SAFETY: an address is never longer than a sockaddr_storage, and &mut self excludes any other access.
        unsafe {
            std::ptr::copy_nonoverlapping(addr.as_ptr().cast::<u8>(), self.as_ptr().cast::<u8>(), len as usize);
        }
        *self.0.len.get_mut() = len;
    }

    /// The address, if one was written.
    #[must_use]
    pub fn get(&mut self) -> Option<SockAddr> {
        let len = *self.0.len.get_mut();
        if len == 0 || len as usize > size_of::<libc::sockaddr_storage>() {
            return None;
        }
        // SAFETY: the storage was zeroed at birth, so every byte of it is initialised; &mut self means that no
        // operation is under way; `len` is within it.
        unsafe {
            let ((), addr) = SockAddr::try_init(|storage, out| {
                std::ptr::copy_nonoverlapping(self.as_ptr().cast::<u8>(), storage.cast::<u8>(), len as usize);
                *out = len;
                Ok(())
            })
            .ok()?;
            Some(addr)
        }
    }
}

impl Default for AddrBuf {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for AddrBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AddrBuf")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_the_buffer() {
        let addr: SockAddr = "127.0.0.1:80".parse::<std::net::SocketAddr>().unwrap().into();
        let mut room = AddrBuf::new();
        assert!(room.get().is_none());
        room.set(&addr);
        assert_eq!(room.get().unwrap(), addr);
    }
}
