//! The way of an operation from submission to completion.
//!
//! * **B1** an operation that waits has a waiter. A waiter leaves its line either in `resume`, whose answer is the
//!   final completion, or in `cancel`, `close` and `drain`, which note one for the next poll;
//! * **B3** only the first of a line is attempted, and a new operation only where nobody waits. (`recv_now` may
//!   take what the first was told of; it is the loop that calls it in that one's place.)
//! * whenever a direction may be ready and somebody waits for it, the first is announced. So every place that
//!   changes who is first, or learns that more may be ready, announces; only a proof of the contrary lets it be.

use std::io;
use std::os::fd::OwnedFd;

use loop_core::{Completion, Event, FdKey, Interest, Op, OpKey, OpTable, Outcome, Submitted};
use rustix::io::Errno;

use crate::backend::EpollBackend;
use crate::descriptors::{self, Descriptors, Entry, unknown};
use crate::exec::{self, Attempt};
use crate::readiness::{Kind, Signals};
use crate::waiting::{Line, WaiterId, Waiting};

const DIRECTIONS: [Interest; 2] = [Interest::Read, Interest::Write];

/// Something for the next poll to report.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pending {
    /// To be dropped if the operation has left its line, or has been resumed and has to wait.
    Resume(OpKey),
    Cancelled(OpKey),
}

impl EpollBackend {
    /// Attempts an operation that completes once, and queues it if it has to wait.
    pub(crate) fn start(&mut self, ops: &mut OpTable, op: OpKey, fd: FdKey, interest: Interest) -> Submitted {
        let line = Line::Transfer(interest);
        let entry = match self.descriptors.owned_mut(fd) {
            Ok(entry) => entry,
            Err(error) => return Submitted::Done(Err(error)),
        };
        let mut connecting = false;
        if let Some(request) = ops.get_mut(op)
            && entry.line(line).is_empty()
            // A connect makes its own readiness.
            && (entry.may(interest) || matches!(request, Op::Connect { .. }))
            && let Some(socket) = entry.owned()
        {
            match exec::attempt(request, socket, &self.pool, &mut connecting) {
                Attempt::Blocked => {}
                Attempt::Finished(result) => return Submitted::Done(result),
                Attempt::More(outcome) => return Submitted::More(outcome),
                Attempt::Accepted(connection, kind) => return Submitted::Done(Ok(self.enter(connection, kind))),
            }
        }
        match self.enqueue(ops, (op, fd, line), connecting) {
            Ok(()) => Submitted::Queued,
            Err(error) => Submitted::Done(Err(error)),
        }
    }

    /// Goes on with the first of a line.
    pub(crate) fn advance(&mut self, ops: &mut OpTable, id: WaiterId, interest: Interest) -> Submitted {
        let waiter = self.waiting.get_mut(id);
        let (op, fd) = (waiter.op, waiter.fd);
        let Some(entry) = self.descriptors.get_mut(fd) else { return Submitted::Queued };
        // Not its turn; or what it was told of is gone: `recv_now` was faster.
        if entry.line(Line::Transfer(interest)).first() != Some(id) || !entry.may(interest) {
            return Submitted::Queued;
        }
        let (Some(request), Some(socket)) = (ops.get_mut(op), entry.owned()) else { return Submitted::Queued };
        let multishot = request.is_multishot();
        let outcome = match exec::attempt(request, socket, &self.pool, &mut waiter.connecting) {
            Attempt::Blocked => return Submitted::Queued,
            Attempt::Finished(result) => {
                self.dequeue(ops, id);
                return Submitted::Done(result);
            }
            Attempt::Accepted(connection, kind) => self.enter(connection, kind),
            Attempt::More(outcome) => outcome,
        };
        if multishot {
            self.announce_first(fd, interest);
            Submitted::More(outcome)
        } else {
            self.dequeue(ops, id);
            Submitted::Done(Ok(outcome))
        }
    }

    /// An accepted connection becomes a descriptor of ours, of its listener's kind.
    fn enter(&mut self, connection: OwnedFd, kind: Kind) -> Outcome {
        Outcome::Accepted(self.descriptors.insert_owned(connection, kind))
    }

    /// Puts an operation at the end of a line, its descriptor registered.
    pub(crate) fn enqueue(
        &mut self,
        ops: &mut OpTable,
        place: (OpKey, FdKey, Line),
        connecting: bool,
    ) -> io::Result<()> {
        let (_, fd, line) = place;
        self.descriptors.register(self.mio.registry(), fd)?;
        let entry = self.descriptors.get_mut(fd).ok_or_else(unknown)?;
        self.waiting.push(ops, entry.line_mut(line), place, connecting);
        Ok(())
    }

    /// Takes a waiter out of its line, and lets the next one have its turn.
    pub(crate) fn dequeue(&mut self, ops: &mut OpTable, id: WaiterId) {
        let waiter = self.waiting.get(id);
        let (fd, line) = (waiter.fd, waiter.line);
        let Some(entry) = self.descriptors.get_mut(fd) else { return };
        self.waiting.leave(ops, entry.line_mut(line), id);
        match line {
            Line::Transfer(interest) => self.announce_first(fd, interest),
            Line::Watch(_) => self.watcher_left(fd),
        }
    }

    /// Announces the first of a line, if its direction may be ready, for the next poll to report.
    pub(crate) fn announce_first(&mut self, fd: FdKey, interest: Interest) {
        if let Some(entry) = self.descriptors.get(fd)
            && entry.may(interest)
            && let Some(first) = entry.line(Line::Transfer(interest)).first()
        {
            let waiter = self.waiting.get_mut(first);
            if !std::mem::replace(&mut waiter.announced, true) && !std::mem::replace(&mut waiter.noted, true) {
                self.pending.push(Pending::Resume(waiter.op));
            }
        }
    }

    /// Ends everything that waits on an entry that was taken out of the table.
    pub(crate) fn cancel_all(&mut self, ops: &mut OpTable, mut entry: Entry) {
        for interest in DIRECTIONS {
            for line in [Line::Transfer(interest), Line::Watch(interest)] {
                let queue = entry.line_mut(line);
                while let Some(first) = queue.first() {
                    self.pending.push(Pending::Cancelled(self.waiting.get(first).op));
                    self.waiting.leave(ops, queue, first);
                }
            }
        }
    }

    /// Reports what needs no kernel. Tells whether there was any.
    pub(crate) fn report_pending(&mut self, ops: &mut OpTable, out: &mut Vec<Completion>) -> bool {
        if self.pending.is_empty() {
            return false;
        }
        let before = out.len();
        for pending in self.pending.drain(..) {
            match pending {
                Pending::Resume(op) => {
                    if let Some(id) = self.waiting.of(ops, op)
                        && self.waiting.take_note(id)
                    {
                        out.push(Completion { op, event: Event::Resume });
                    }
                }
                Pending::Cancelled(op) => {
                    out.push(Completion { op, event: Event::Final(Err(Errno::CANCELED.into())) });
                }
            }
        }
        out.len() > before
    }
}

/// An event of the kernel's: announces whom it concerns. Tells of an entry that nobody waits on.
pub(crate) fn report(
    descriptors: &mut Descriptors,
    waiting: &mut Waiting,
    (token, signals): (u64, Signals),
    out: &mut Vec<Completion>,
) -> Option<FdKey> {
    let key = descriptors::key(token);
    // The waker, the timer, and whoever is closed: nobody.
    let entry = descriptors.get_mut(key)?;
    entry.ready.set(signals);
    let mut announce = |id: WaiterId, waiting: &mut Waiting| {
        let waiter = waiting.get_mut(id);
        if !std::mem::replace(&mut waiter.announced, true) {
            out.push(Completion { op: waiter.op, event: Event::Resume });
        }
    };
    for interest in DIRECTIONS {
        if !signals.concern(interest) {
            continue;
        }
        // Those who look come before the one who takes.
        let mut next = entry.line(Line::Watch(interest)).first();
        while let Some(watcher) = next {
            announce(watcher, waiting);
            next = waiting.behind(watcher);
        }
        if let Some(first) = entry.line(Line::Transfer(interest)).first() {
            announce(first, waiting);
        }
    }
    (!entry.is_owned() && entry.is_idle()).then_some(key)
}
