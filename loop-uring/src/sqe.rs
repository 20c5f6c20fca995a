//! From an operation to the request that the kernel gets.
//!
//! Invariants this file keeps:
//!
//! * a request names memory of three kinds only: the operation's own buffers and address, which the loop leaves alone
//!   until the final completion (**B2**); its scratch, which lies in a slot that never moves; and the flight's list of
//!   pieces, which lives as long as the flight;
//! * a request names no more of a buffer than the operation allows (**B7**);
//! * a [`Bare`] request names no memory at all, but for the provided buffers, which outlive the ring.
//!
//! What is not a socket (a pipe, a terminal, a file) is read and written instead of received and sent.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;

use io_uring::opcode;
use io_uring::squeue::{Entry, Flags};
use io_uring::types::Fd;
use loop_core::{Interest, Op, OpKey, OpTable};

use crate::buffer_ring::GROUP;
use crate::descriptors::Kind;
use crate::flights::Ticket;

/// The most that one system call moves.
const MOST: usize = 0x7fff_f000;

/// The most pieces that one gathered call takes.
const PIECES: usize = libc::UIO_MAXIOV as usize;

/// At the file's own position, for what has one.
const HERE: u64 = u64::MAX;

/// What accepted connections are.
const ACCEPTED: i32 = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;

/// To wait for readiness before the first try (`IORING_RECVSEND_POLL_FIRST`).
const WAIT_FIRST: u16 = 1;

/// What a request is for.
pub(crate) struct On {
    pub(crate) fd: RawFd,
    pub(crate) kind: Kind,
    /// There was nothing left when it was last received from.
    pub(crate) drained: bool,
}

/// The request for an operation, without its user data; none for what is not the ring's to do. `target` is the
/// descriptor of ours that the operation is for, `provided` how many bytes a provided buffer has.
pub(crate) fn build(
    ops: &mut OpTable,
    op: OpKey,
    target: Option<On>,
    pieces: &mut Option<Box<[libc::iovec]>>,
    provided: usize,
) -> Option<Entry> {
    let scratch = if has_message(ops.get(op)?) { ops.scratch(op)? } else { ptr::null_mut() };
    let On { fd, kind, drained } = target.unwrap_or(On { fd: -1, kind: Kind::File, drained: false });
    let (fd, is_socket) = (Fd(fd), kind == Kind::Socket);
    let entry = match ops.get_mut(op)? {
        Op::Accept { .. } => opcode::Accept::new(fd, ptr::null_mut(), ptr::null_mut()).flags(ACCEPTED).build(),
        Op::AcceptMulti { .. } => opcode::AcceptMulti::new(fd).flags(ACCEPTED).build(),
        Op::Connect { addr, .. } => opcode::Connect::new(fd, addr.as_ptr().cast(), addr.len()).build(),
        Op::Recv { buf, limit, .. } => {
            let (start, len) = room(buf, *limit);
            if is_socket {
                opcode::Recv::new(fd, start, len).ioprio(if drained { WAIT_FIRST } else { 0 }).build()
            } else {
                opcode::Read::new(fd, start, len).offset(HERE).build()
            }
        }
        Op::RecvMulti { .. } if is_socket => opcode::RecvMulti::new(fd, GROUP).build(),
        Op::RecvMulti { .. } => {
            let read = opcode::Read::new(fd, ptr::null_mut(), provided as u32).offset(HERE).buf_group(GROUP);
            read.build().flags(Flags::BUFFER_SELECT)
        }
        Op::RecvFrom { buf, limit, from, .. } => {
            let (start, len) = room(buf, *limit);
            let name = (from.as_ptr().cast(), size_of::<libc::sockaddr_storage>() as libc::socklen_t);
            // SAFETY: the scratch is the operation's, which is not under way yet; see `message`.
            let message = unsafe { message(scratch, name, (start.cast(), len as usize)) };
            opcode::RecvMsg::new(fd, message).build()
        }
        Op::Send { buf, start, .. } => send(fd, is_socket, buf.get(*start..).unwrap_or_default()),
        Op::SendVectored { bufs, .. } => match &bufs[..] {
            [] => send(fd, is_socket, &[]),
            [buf] => send(fd, is_socket, buf),
            bufs => {
                let describe =
                    |buf: &Vec<u8>| libc::iovec { iov_base: buf.as_ptr().cast_mut().cast(), iov_len: buf.len() };
                let list = pieces.insert(bufs.iter().take(PIECES).map(describe).collect());
                if is_socket {
                    // SAFETY: as above.
                    let message = unsafe { message(scratch, (ptr::null_mut(), 0), (ptr::null_mut(), 0)) };
                    // SAFETY: written just now.
                    unsafe {
                        (*message).msg_iov = list.as_mut_ptr();
                        (*message).msg_iovlen = list.len();
                    }
                    opcode::SendMsg::new(fd, message).flags(libc::MSG_NOSIGNAL as u32).build()
                } else {
                    opcode::Writev::new(fd, list.as_ptr(), list.len() as u32).offset(HERE).build()
                }
            }
        },
        Op::SendTo { buf, addr, .. } => {
            let name = (addr.as_ptr().cast_mut().cast(), addr.len());
            // SAFETY: as above.
            let message = unsafe { message(scratch, name, (buf.as_ptr().cast_mut().cast(), buf.len())) };
            opcode::SendMsg::new(fd, message).flags(libc::MSG_NOSIGNAL as u32).build()
        }
        Op::Readiness { fd, interest } => poll(*fd, *interest),
        Op::ReadAt { file, buf, limit, offset } => {
            let (start, len) = room(buf, *limit);
            opcode::Read::new(Fd(file.as_raw_fd()), start, len).offset(*offset).build()
        }
        Op::WriteAt { file, buf, offset } => {
            let len = buf.len().min(MOST) as u32;
            opcode::Write::new(Fd(file.as_raw_fd()), buf.as_ptr(), len).offset(*offset).build()
        }
        _ => return None,
    };
    Some(entry)
}

/// A request that anybody may make at any time.
#[derive(Debug, Clone)]
pub(crate) struct Bare(Entry);

impl Bare {
    /// To hear that a descriptor is ready.
    pub(crate) fn ready(fd: RawFd, interest: Interest, ticket: Ticket) -> Self {
        Self(poll(fd, interest).user_data(ticket.user_data()))
    }

    /// To hear each time that a descriptor becomes readable.
    pub(crate) fn each_time_readable(fd: RawFd, ticket: Ticket) -> Self {
        let poll = opcode::PollAdd::new(Fd(fd), libc::POLLIN as u32).multi(true).build();
        Self(poll.user_data(ticket.user_data()))
    }

    /// To end another request. What it comes to itself concerns nobody.
    pub(crate) fn cancel(ticket: Ticket) -> Self {
        Self(opcode::AsyncCancel::new(ticket.user_data()).build().user_data(Ticket::CANCEL.user_data()))
    }

    /// To receive into provided buffers until it is ended.
    pub(crate) fn receive(fd: RawFd, ticket: Ticket) -> Self {
        Self(opcode::RecvMulti::new(Fd(fd), GROUP).build().user_data(ticket.user_data()))
    }

    pub(crate) fn into_entry(self) -> Entry {
        self.0
    }
}

/// Hang-up and errors are always reported.
fn poll(fd: RawFd, interest: Interest) -> Entry {
    let events = match interest {
        Interest::Read => libc::POLLIN,
        Interest::Write => libc::POLLOUT,
    };
    opcode::PollAdd::new(Fd(fd), events as u32).build()
}

/// Where a receive goes, and how much of it.
fn room(buf: &mut Vec<u8>, limit: usize) -> (*mut u8, u32) {
    let spare = buf.spare_capacity_mut();
    (spare.as_mut_ptr().cast(), spare.len().min(limit).min(MOST) as u32)
}

fn send(fd: Fd, is_socket: bool, bytes: &[u8]) -> Entry {
    let len = bytes.len().min(MOST) as u32;
    if is_socket {
        opcode::Send::new(fd, bytes.as_ptr(), len).flags(libc::MSG_NOSIGNAL).build()
    } else {
        opcode::Write::new(fd, bytes.as_ptr(), len).offset(HERE).build()
    }
}

/// A send that never waits, that counts as failed unless it sends everything, and that is reported only then. None where
/// one call cannot send everything.
pub(crate) fn quiet_send(fd: RawFd, bytes: &[u8]) -> Option<Entry> {
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT | libc::MSG_WAITALL;
    let send = opcode::Send::new(Fd(fd), bytes.as_ptr(), bytes.len() as u32).flags(flags).build();
    (bytes.len() <= MOST).then(|| send.flags(Flags::SKIP_SUCCESS))
}

/// Whether the kernel gets a message header for it, which lies in the scratch.
fn has_message(op: &Op) -> bool {
    match op {
        Op::RecvFrom { .. } | Op::SendTo { .. } => true,
        Op::SendVectored { bufs, .. } => bufs.len() > 1,
        _ => false,
    }
}

/// Fills in a message header of one vector, in the scratch, and names it.
///
/// # Safety
///
/// The scratch belongs to an operation that is not under way.
unsafe fn message(
    scratch: *mut loop_core::Scratch,
    (name, name_len): (*mut libc::c_void, libc::socklen_t),
    (start, len): (*mut libc::c_void, usize),
) -> *mut libc::msghdr {
    // SAFETY: the table says where the scratch lies, and the caller that nobody else uses it.
    let scratch = unsafe { &mut *scratch };
    let vector = scratch.vector.write(libc::iovec { iov_base: start, iov_len: len.min(MOST) });
    // SAFETY: a message header of zeroes is a valid one.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_name = name;
    message.msg_namelen = name_len;
    message.msg_iov = vector;
    message.msg_iovlen = 1;
    scratch.message.write(message)
}

/// Takes note of the sender's address, which the kernel has written, and its length.
pub(crate) fn take_sender(ops: &mut OpTable, op: OpKey) {
    let Some(scratch) = ops.scratch(op) else { return };
    if let Some(Op::RecvFrom { from, .. }) = ops.get(op) {
        // SAFETY: `build` filled the header in, and the operation is over, so the kernel is done with all of it.
        unsafe { *from.len_ptr() = (*scratch).message.assume_init_ref().msg_namelen };
    }
}
