//! Operations that stay armed: receive and accept until cancelled, one outcome a turn.
//!
//! A turn is one call of `resume`. It moves at most one buffer or one connection, so a busy descriptor takes
//! turns with everything else in the loop's ready queue; if the descriptor may hold more, its next turn is
//! announced by the next poll, out of memory. Submitting one never moves anything: bytes are read when they are
//! to be delivered, into the buffer that was used last.
//!
//! A receive registers first and looks later, unlike single operations: it will have to wait some time, and
//! registering reports what is there already, so the look that would have told that nothing is, is saved.

use std::io;
use std::os::fd::BorrowedFd;

use loop_core::{FdKey, Interest, Op, OpKey, OpTable, Outcome, ReceivePool, Submitted};

use crate::backend::EpollBackend;
use crate::exec::Attempt;
use crate::readiness::Ready;
use crate::transfer;
use crate::waiting::Line;

/// Why nothing was put into a buffer.
enum Stop {
    End,
    Failed(io::Error),
}

/// One turn of a receive.
pub(crate) fn receive(fd: BorrowedFd<'_>, ready: &mut Ready, pool: &ReceivePool) -> Attempt {
    let filled = pool.fill(|buffer| match transfer::receive_into(fd, ready, buffer) {
        Ok(0) => Err(Stop::End),
        Ok(count) => Ok(count),
        Err(error) => Err(Stop::Failed(error)),
    });
    match filled {
        Ok(chunk) => Attempt::More(Outcome::Chunk(chunk)),
        Err(Stop::End) => Attempt::Finished(Ok(Outcome::Count(0))),
        Err(Stop::Failed(error)) if error.kind() == io::ErrorKind::WouldBlock => Attempt::Blocked,
        Err(Stop::Failed(error)) => Attempt::Finished(Err(error)),
    }
}

impl EpollBackend {
    /// A turn of a receive, into the caller's memory.
    pub(crate) fn receive_into(&mut self, ops: &mut OpTable, op: OpKey, buf: &mut [u8]) -> Option<io::Result<usize>> {
        let id = self.waiting.of(ops, op).filter(|_| matches!(ops.get(op), Some(Op::RecvMulti { .. })))?;
        let waiter = self.waiting.get_mut(id);
        let fd = waiter.fd;
        let entry = self.descriptors.get_mut(fd)?;
        if entry.line(Line::Transfer(Interest::Read)).first() != Some(id) || !entry.may(Interest::Read) {
            return None;
        }
        let (socket, ready) = entry.owned()?;
        let received = transfer::receive_into(socket, ready, buf);
        if matches!(received, Ok(1..)) {
            waiter.announced = false;
            if entry.may(Interest::Read) {
                self.announce_first(fd, Interest::Read);
            }
        }
        Some(received)
    }

    /// Arms a multishot operation. What may be there already is announced, and not looked at yet.
    pub(crate) fn arm(&mut self, ops: &mut OpTable, op: OpKey, fd: FdKey) -> Submitted {
        match self.descriptors.owned_mut(fd) {
            Err(error) => return Submitted::Done(Err(error)),
            Ok(entry) => {
                if !entry.is_registered() && matches!(ops.get(op), Some(Op::RecvMulti { .. })) {
                    entry.ready.clear(Interest::Read);
                }
            }
        }
        if let Err(error) = self.enqueue(ops, (op, fd, Line::Transfer(Interest::Read)), false) {
            return Submitted::Done(Err(error));
        }
        self.announce_first(fd, Interest::Read);
        Submitted::Queued
    }
}
