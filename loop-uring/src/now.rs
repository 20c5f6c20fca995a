//! Bytes that move in the caller's own call: what users are told of a write (how much is unsent, whether to pause) is to
//! be as if it had been sent at once, and a large write is sent from the caller's memory, without a copy.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;

use loop_core::{FdKey, Interest, Op, OpKey, OpTable};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};

use crate::backend::UringBackend;
use crate::descriptors::{Descriptor, Kind, unknown};

/// The most pieces that one gathered call takes.
const PIECES: usize = libc::UIO_MAXIOV as usize;

impl UringBackend {
    /// The descriptor, unless an operation in that direction is under way: that one goes first.
    fn untaken(&mut self, fd: FdKey, direction: Interest) -> io::Result<&Descriptor> {
        let descriptor = self.descriptors.get_mut(fd).ok_or_else(unknown)?;
        if descriptor.line_mut(direction).is_empty() { Ok(descriptor) } else { Err(Errno::AGAIN.into()) }
    }

    pub(crate) fn receive_now(&mut self, fd: FdKey, buf: &mut [u8]) -> io::Result<usize> {
        receive(self.untaken(fd, Interest::Read)?, buf)
    }

    /// Sends by a call where there is nothing else for the ring to do meanwhile: a single entry, with its completion or
    /// without, costs more than the call (measured: 3 to 5 % of an echo of 64 bytes). None where the socket is full, or
    /// not ours to send on now.
    pub(crate) fn send_alone(&mut self, ops: &OpTable, op: OpKey, fd: FdKey) -> Option<io::Result<usize>> {
        let Some(Op::Send { buf, start, .. }) = ops.get(op) else { return None };
        if self.ring.has_unsubmitted() || self.descriptors.get(fd)?.kind != Kind::Socket {
            return None;
        }
        let sent = self.send_at_once(fd, &[IoSlice::new(buf.get(*start..)?)]);
        if matches!(&sent, Err(error) if error.kind() == io::ErrorKind::WouldBlock) { None } else { Some(sent) }
    }

    pub(crate) fn send_at_once(&mut self, fd: FdKey, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let descriptor = self.untaken(fd, Interest::Write)?;
        let file = descriptor.file.as_fd();
        let bufs = &bufs[..bufs.len().min(PIECES)];
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let count = retry_on_intr(|| match (descriptor.kind, bufs) {
            (Kind::File, bufs) => rustix::io::writev(file, bufs),
            (Kind::Socket, [buf]) => send(file, buf, flags),
            (Kind::Socket, bufs) => sendmsg(file, bufs, &mut SendAncillaryBuffer::default(), flags),
        })?;
        Ok(count)
    }
}

/// Receives what there is, without waiting.
pub(crate) fn receive(descriptor: &Descriptor, buf: &mut [u8]) -> io::Result<usize> {
    let file = descriptor.file.as_fd();
    let count = match descriptor.kind {
        Kind::Socket => retry_on_intr(|| recv(file, &mut *buf, RecvFlags::DONTWAIT).map(|received| received.0))?,
        Kind::File => retry_on_intr(|| rustix::io::read(file, &mut *buf))?,
    };
    Ok(count)
}
