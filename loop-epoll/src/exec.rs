//! One attempt at an operation: the system call, and what it came to.
//!
//! Nothing here waits or queues. An attempt that would block has cleared the direction's readiness.

use std::io::{self, IoSlice};
use std::os::fd::{BorrowedFd, OwnedFd};

use loop_core::{Interest, Op, Outcome, ReceivePool};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::SocketFlags;
use socket2::SockRef;

use crate::multishot;
use crate::readiness::{Kind, Ready};
use crate::transfer;

/// What an attempt came to.
pub(crate) enum Attempt {
    /// The operation is over.
    Finished(io::Result<Outcome>),
    /// A multishot operation had an outcome and stays armed.
    More(Outcome),
    /// A connection came in, and is still to be entered: the outcome of whichever accept this was.
    Accepted(OwnedFd, Kind),
    /// It has to wait.
    Blocked,
}

/// Attempts an operation on a socket of ours. `connecting` is a connect's memory between attempts.
pub(crate) fn attempt(
    op: &mut Op,
    (fd, ready): (BorrowedFd<'_>, &mut Ready),
    pool: &ReceivePool,
    connecting: &mut bool,
) -> Attempt {
    match op {
        Op::Accept { .. } | Op::AcceptMulti { .. } => accept(fd, ready),
        Op::RecvMulti { .. } => multishot::receive(fd, ready, pool),
        Op::Connect { .. } if *connecting => connected(fd, ready),
        Op::Connect { addr, .. } => {
            let attempt = connect(fd, ready, addr);
            *connecting = matches!(attempt, Attempt::Blocked);
            attempt
        }
        Op::Recv { buf, limit, .. } => {
            let spare = buf.spare_capacity_mut();
            let room = spare.len().min(*limit);
            counted(transfer::receive(fd, ready, &mut spare[..room]))
        }
        Op::RecvFrom { buf, limit, from, .. } => {
            let spare = buf.spare_capacity_mut();
            let room = spare.len().min(*limit);
            let received = again(|| SockRef::from(&fd).recv_from(&mut spare[..room]));
            counted(block(ready, Interest::Read, received).map(|(count, addr)| {
                from.set(&addr);
                count
            }))
        }
        Op::Send { buf, start, .. } => {
            let rest = buf.get(*start..).unwrap_or_default();
            counted(transfer::send(fd, ready, &[IoSlice::new(rest)]))
        }
        Op::SendVectored { bufs, .. } => counted(transfer::send_pieces(fd, ready, bufs)),
        Op::SendTo { buf, addr, .. } => {
            let sent = again(|| SockRef::from(&fd).send_to_with_flags(buf, addr, libc::MSG_NOSIGNAL));
            counted(block(ready, Interest::Write, sent))
        }
        _ => Attempt::Finished(Err(io::ErrorKind::Unsupported.into())),
    }
}

fn counted(result: io::Result<usize>) -> Attempt {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Attempt::Blocked,
        result => Attempt::Finished(result.map(Outcome::Count)),
    }
}

fn again<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Takes note of a call that would have blocked.
fn block<T>(ready: &mut Ready, interest: Interest, result: io::Result<T>) -> io::Result<T> {
    if matches!(&result, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
        ready.clear(interest);
    }
    result
}

/// A connection that was given up by its peer while it stood in the backlog is nobody's error.
fn accept(fd: BorrowedFd<'_>, ready: &mut Ready) -> Attempt {
    loop {
        match rustix::net::accept_with(fd, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok(connection) => {
                if ready.kind == Kind::Unknown {
                    ready.kind = Kind::of(fd);
                }
                return Attempt::Accepted(connection, ready.kind);
            }
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            Err(Errno::AGAIN) => {
                ready.clear(Interest::Read);
                return Attempt::Blocked;
            }
            Err(error) => return Attempt::Finished(Err(error.into())),
        }
    }
}

/// `EAGAIN` is a refusal here: a Unix socket's backlog is full, and nothing would ever report that it no
/// longer is. An interrupted connect goes on by itself, as one in progress does.
fn connect(fd: BorrowedFd<'_>, ready: &mut Ready, addr: &socket2::SockAddr) -> Attempt {
    ready.start_anew();
    match SockRef::from(&fd).connect(addr) {
        Ok(()) => Attempt::Finished(Ok(Outcome::Done)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR)) => {
            // Nothing can have come in yet, either.
            ready.clear(Interest::Read);
            ready.clear(Interest::Write);
            Attempt::Blocked
        }
        Err(error) => Attempt::Finished(Err(error)),
    }
}

/// How a connect ended, if it did: without an error pending, only a look tells success from a false alarm.
fn connected(fd: BorrowedFd<'_>, ready: &mut Ready) -> Attempt {
    match level(fd, Interest::Write) {
        Ok(true) => {}
        Ok(false) => {
            ready.clear(Interest::Write);
            return Attempt::Blocked;
        }
        Err(error) => return Attempt::Finished(Err(error)),
    }
    let result = match SockRef::from(&fd).take_error() {
        Ok(None) => Ok(Outcome::Done),
        Ok(Some(error)) | Err(error) => Err(error),
    };
    Attempt::Finished(result)
}

/// Whether a descriptor is ready at this moment; hang-up and error count for both directions.
///
/// # Errors
///
/// `EBADF` where there is no such descriptor, and `poll(2)`'s own.
pub(crate) fn level(fd: BorrowedFd<'_>, interest: Interest) -> io::Result<bool> {
    let wanted = match interest {
        Interest::Read => PollFlags::IN,
        Interest::Write => PollFlags::OUT,
    };
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut look = [PollFd::from_borrowed_fd(fd, wanted)];
    retry_on_intr(|| poll(&mut look, Some(&now)))?;
    let seen = look[0].revents();
    if seen.contains(PollFlags::NVAL) {
        return Err(Errno::BADF.into());
    }
    Ok(!seen.is_empty())
}
