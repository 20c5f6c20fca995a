//! Bytes in, bytes out, and what each count says about readiness.
//!
//! The system calls of a connection's life, and the one place that keeps its [`Ready`] true: whoever moves
//! bytes any other way must not touch a descriptor that has a [`Ready`].

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use loop_core::Interest;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};

use crate::readiness::{Kind, Ready};

/// The most pieces that one gathered call takes.
const PIECES: usize = libc::UIO_MAXIOV as usize;

/// Receives at most `buf.len()` bytes. What is counted is initialised.
pub(crate) fn receive(fd: BorrowedFd<'_>, ready: &mut Ready, buf: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
    let asked = buf.len();
    let (count, boundary) = loop {
        match retry_on_intr(|| receive_once(fd, ready.kind, buf)) {
            Ok(received) => break received,
            Err(Errno::NOTSOCK) if ready.kind != Kind::File => ready.kind = Kind::File,
            Err(error) => {
                if error == Errno::AGAIN {
                    ready.clear(Interest::Read);
                }
                return Err(error.into());
            }
        }
    };
    // The kind matters only where a read was short, so only then is it worth asking.
    let mut boundary = boundary;
    if ready.kind == Kind::Unknown && count < asked {
        ready.kind = Kind::of(fd);
        boundary = ready.kind == Kind::Unix;
    }
    ready.after_receive(asked, count, boundary);
    Ok(count)
}

/// [`receive`] into memory that is initialised already.
pub(crate) fn receive_into(fd: BorrowedFd<'_>, ready: &mut Ready, buf: &mut [u8]) -> io::Result<usize> {
    // SAFETY: same layout; `receive` writes only what the kernel received, which is initialised.
    receive(fd, ready, unsafe { &mut *(std::ptr::from_mut(buf) as *mut [MaybeUninit<u8>]) })
}

/// One call. Also tells whether control data may have cut the bytes short.
fn receive_once(fd: BorrowedFd<'_>, kind: Kind, buf: &mut [MaybeUninit<u8>]) -> Result<(usize, bool), Errno> {
    match kind {
        Kind::File => rustix::io::read(fd, buf).map(|(filled, _)| (filled.len(), false)),
        Kind::Unix => receive_message(fd, buf),
        Kind::Unknown | Kind::Tcp | Kind::Message => {
            rustix::net::recv(fd, buf, RecvFlags::empty()).map(|((filled, _), _)| (filled.len(), false))
        }
    }
}

/// As `recv`, but with the one flag that tells a drained Unix stream from one that stopped behind bytes with
/// descriptors or credentials attached: room for those being zero, they are reported as cut off.
fn receive_message(fd: BorrowedFd<'_>, buf: &mut [MaybeUninit<u8>]) -> Result<(usize, bool), Errno> {
    let mut vector = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    // SAFETY: a message header of zeroes is a valid one: no name, no vectors, no control data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    // SAFETY: the header names one vector, which names memory borrowed for the call.
    let count = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, 0) };
    match usize::try_from(count) {
        Ok(count) => Ok((count, message.msg_flags & libc::MSG_CTRUNC != 0)),
        Err(_) => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

/// Sends the pieces, or some first part of them. A peer that is gone is an error, never a signal.
pub(crate) fn send(fd: BorrowedFd<'_>, ready: &mut Ready, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    let bufs = &bufs[..bufs.len().min(PIECES)];
    loop {
        match retry_on_intr(|| send_once(fd, ready.kind, bufs)) {
            Ok(count) => {
                ready.after_send(bufs.iter().map(|buf| buf.len()).sum(), count);
                return Ok(count);
            }
            Err(Errno::NOTSOCK) if ready.kind != Kind::File => ready.kind = Kind::File,
            Err(error) => {
                if error == Errno::AGAIN {
                    ready.clear(Interest::Write);
                }
                return Err(error.into());
            }
        }
    }
}

fn send_once(fd: BorrowedFd<'_>, kind: Kind, bufs: &[IoSlice<'_>]) -> Result<usize, Errno> {
    match (kind, bufs) {
        (Kind::File, bufs) => rustix::io::writev(fd, bufs),
        (_, [buf]) => rustix::net::send(fd, buf, SendFlags::NOSIGNAL),
        (_, bufs) => rustix::net::sendmsg(fd, bufs, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL),
    }
}

/// [`send`] of owned pieces.
pub(crate) fn send_pieces(fd: BorrowedFd<'_>, ready: &mut Ready, bufs: &[Vec<u8>]) -> io::Result<usize> {
    /// So many are described on the stack.
    const FEW: usize = 32;
    if bufs.len() <= FEW {
        let mut slices = [IoSlice::new(&[]); FEW];
        for (slice, buf) in slices.iter_mut().zip(bufs) {
            *slice = IoSlice::new(buf);
        }
        return send(fd, ready, &slices[..bufs.len()]);
    }
    let slices: Vec<IoSlice<'_>> = bufs.iter().take(PIECES).map(|buf| IoSlice::new(buf)).collect();
    send(fd, ready, &slices)
}
