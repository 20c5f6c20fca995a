//! [`EpollBackend`]: the contract's methods, and the way of an operation from submission to completion.
//!
//! How the invariants are kept:
//!
//! * **B1** an operation that waits has a waiter; a waiter leaves its line either in `resume`, whose answer is
//!   the final completion, or in `cancel`, `close` and `drain`, which note one for the next poll;
//! * **B2** the kernel holds nothing of an operation between calls, so what left its line is done with;
//! * **B3** only the first of a line is attempted, and a new operation only where nobody waits;
//! * **B4** `poll` makes no call but the wait, and calls nobody;
//! * **B5** an unpark is an event in mio's set until a wait has fetched it;
//! * **B7** each attempt gets the operation's own buffer, cut to its limit.

use std::io::{self, IoSlice};
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use loop_core::{
    Backend, Capabilities, Completion, Control, Event, FdKey, Interest, Op, OpKey, OpTable, Outcome, ReceivePool,
    Reply, Submitted, Unpark, Wait,
};
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Type};

use crate::READ_SIZE;
use crate::clock::{self, Sleeper, Until};
use crate::descriptors::{self, Descriptor, Descriptors, Entry, unknown};
use crate::exec::{self, Attempt};
use crate::readiness::{Kind, Signals};
use crate::transfer;
use crate::waiting::{Line, WaiterId, Waiting};

/// No descriptor has such a place.
const WAKER: FdKey = FdKey::new(u32::MAX, 0);
const TIMER: FdKey = FdKey::new(u32::MAX, 1);

const DIRECTIONS: [Interest; 2] = [Interest::Read, Interest::Write];

/// The readiness backend. See the [crate's page](crate).
pub struct EpollBackend {
    pub(crate) mio: mio::Poll,
    sleeper: Sleeper,
    waker: Arc<Waker>,
    pool: ReceivePool,
    pub(crate) descriptors: Descriptors,
    pub(crate) waiting: Waiting,
    /// What the next poll reports before it asks the kernel.
    pending: Vec<Pending>,
}

/// Something for the next poll to report.
#[derive(Debug, Clone, Copy)]
enum Pending {
    /// To be dropped if the operation has left its line by then.
    Resume(OpKey),
    Cancelled(OpKey),
}

struct Waker(mio::Waker);

impl Unpark for Waker {
    fn unpark(&self) {
        // An eventfd that is ours and open takes every write; a full one is emptied by mio.
        if let Err(error) = self.0.wake() {
            tracing::error!(%error, "the loop could not be woken");
        }
    }
}

impl EpollBackend {
    /// A backend of its own epoll instance.
    ///
    /// # Errors
    ///
    /// The operating system's: out of descriptors or memory.
    pub fn new() -> io::Result<Self> {
        Self::with(|mio| Sleeper::new(mio, descriptors::token(TIMER)))
    }

    /// As on a kernel without `epoll_pwait2`, so that the fallback stays tested.
    #[doc(hidden)]
    pub fn with_timerfd() -> io::Result<Self> {
        Self::with(|mio| Sleeper::with_timerfd(mio.registry(), descriptors::token(TIMER)))
    }

    fn with(sleeper: impl FnOnce(&mio::Poll) -> io::Result<Sleeper>) -> io::Result<Self> {
        let mio = mio::Poll::new()?;
        let sleeper = sleeper(&mio)?;
        let waker = mio::Waker::new(mio.registry(), descriptors::token(WAKER))?;
        Ok(Self {
            mio,
            sleeper,
            waker: Arc::new(Waker(waker)),
            pool: ReceivePool::new(READ_SIZE),
            descriptors: Descriptors::default(),
            waiting: Waiting::default(),
            pending: Vec::new(),
        })
    }

    /// Attempts an operation that completes once, and queues it if it has to wait.
    fn start(&mut self, ops: &mut OpTable, op: OpKey, fd: FdKey, interest: Interest) -> Submitted {
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
                Attempt::Finished(result) => return Submitted::Done(result),
                Attempt::More(outcome) => return Submitted::More(outcome),
                Attempt::Accepted(connection) => {
                    let kind = entry.ready.kind;
                    let connection = self.descriptors.insert_owned(connection, kind);
                    return Submitted::Done(Ok(Outcome::Accepted(connection)));
                }
                Attempt::Blocked => {}
            }
        }
        match self.enqueue(ops, (op, fd, line), connecting) {
            Ok(()) => Submitted::Queued,
            Err(error) => Submitted::Done(Err(error)),
        }
    }

    /// Goes on with the first of a line.
    fn advance(&mut self, ops: &mut OpTable, id: WaiterId, interest: Interest) -> Submitted {
        let waiter = self.waiting.get_mut(id);
        let (op, fd) = (waiter.op, waiter.fd);
        let Some(entry) = self.descriptors.get_mut(fd) else { return Submitted::Queued };
        if entry.line(Line::Transfer(interest)).first() != Some(id) {
            return Submitted::Queued;
        }
        let (Some(request), Some(socket)) = (ops.get_mut(op), entry.owned()) else { return Submitted::Queued };
        let multishot = request.is_multishot();
        let result = match exec::attempt(request, socket, &self.pool, &mut waiter.connecting) {
            Attempt::Blocked => return Submitted::Queued,
            Attempt::More(outcome) => Ok(outcome),
            Attempt::Accepted(connection) => {
                let kind = entry.ready.kind;
                let outcome = Outcome::Accepted(self.descriptors.insert_owned(connection, kind));
                if !multishot {
                    self.dequeue(ops, id);
                    return Submitted::Done(Ok(outcome));
                }
                Ok(outcome)
            }
            Attempt::Finished(result) => Err(result),
        };
        match result {
            Ok(outcome) => {
                self.announce_first(fd, interest);
                Submitted::More(outcome)
            }
            Err(result) => {
                self.dequeue(ops, id);
                Submitted::Done(result)
            }
        }
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
            if !std::mem::replace(&mut waiter.announced, true) {
                self.pending.push(Pending::Resume(waiter.op));
            }
        }
    }

    /// Ends everything that waits on an entry that was taken out of the table.
    fn cancel_all(&mut self, ops: &mut OpTable, mut entry: Entry) {
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
    fn report_pending(&mut self, ops: &mut OpTable, out: &mut Vec<Completion>) -> bool {
        let before = out.len();
        for pending in self.pending.drain(..) {
            match pending {
                Pending::Resume(op) => {
                    if self.waiting.of(ops, op).is_some() {
                        out.push(Completion { op, event: Event::Resume });
                    }
                }
                Pending::Cancelled(op) => {
                    out.push(Completion { op, event: Event::Final(Err(cancelled())) });
                }
            }
        }
        out.len() > before
    }
}

/// An event of the kernel's: announces whom it concerns. Tells of an entry that nobody waits on.
fn report(
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
        if let Some(first) = entry.line(Line::Transfer(interest)).first() {
            announce(first, waiting);
        }
        let mut next = entry.line(Line::Watch(interest)).first();
        while let Some(watcher) = next {
            announce(watcher, waiting);
            next = waiting.behind(watcher);
        }
    }
    (!entry.is_owned() && entry.is_idle()).then_some(key)
}

fn cancelled() -> io::Error {
    Errno::CANCELED.into()
}

// SAFETY: B1 and B2 as said at the top of this file; B7: counts are the kernel's, for buffers of the operations'
// own length.
unsafe impl Backend for EpollBackend {
    fn name(&self) -> &'static str {
        "epoll"
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.synchronous = true;
        capabilities
    }

    fn now(&self) -> Duration {
        clock::now()
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::clone(&self.waker) as Arc<dyn Unpark>
    }

    fn open(&mut self, domain: Domain, kind: Type, protocol: Option<Protocol>) -> io::Result<FdKey> {
        let socket = socket2::Socket::new_raw(domain, kind.nonblocking().cloexec(), protocol)?;
        Ok(self.descriptors.insert_owned(socket.into(), Kind::of_new(domain, kind, protocol)))
    }

    fn adopt(&mut self, fd: OwnedFd) -> io::Result<FdKey> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(self.descriptors.insert_owned(fd, Kind::Unknown))
    }

    fn control(&mut self, fd: FdKey, control: &Control<'_>) -> io::Result<Reply> {
        let (socket, _) = self.descriptors.owned_mut(fd)?.owned().ok_or_else(unknown)?;
        control.apply(socket)
    }

    fn raw_fd(&self, fd: FdKey) -> Option<RawFd> {
        self.descriptors.get(fd).filter(|entry| entry.is_owned())?.number()
    }

    fn close(&mut self, ops: &mut OpTable, fd: FdKey) {
        if self.descriptors.owned_mut(fd).is_ok()
            && let Some(entry) = self.descriptors.remove(fd)
        {
            self.cancel_all(ops, entry);
        }
    }

    fn release(&mut self, _ops: &mut OpTable, fd: FdKey) -> io::Result<OwnedFd> {
        if !self.descriptors.owned_mut(fd)?.is_idle() {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        self.descriptors.deregister(self.mio.registry(), fd);
        match self.descriptors.remove(fd) {
            Some(Entry { descriptor: Descriptor::Owned(fd), .. }) => Ok(fd),
            _ => Err(unknown()),
        }
    }

    fn submit(&mut self, ops: &mut OpTable, op: OpKey) -> Submitted {
        let Some(request) = ops.get(op) else { return Submitted::Done(Err(unknown())) };
        match *request {
            Op::AcceptMulti { fd } | Op::RecvMulti { fd } => self.arm(ops, op, fd),
            Op::Accept { fd } | Op::Recv { fd, .. } | Op::RecvFrom { fd, .. } => {
                self.start(ops, op, fd, Interest::Read)
            }
            Op::Connect { fd, .. } | Op::Send { fd, .. } | Op::SendVectored { fd, .. } | Op::SendTo { fd, .. } => {
                self.start(ops, op, fd, Interest::Write)
            }
            Op::Readiness { fd, interest } => self.watch(ops, op, fd, interest),
            Op::Shutdown { fd, how } => {
                let result = self.descriptors.owned_mut(fd).and_then(|entry| {
                    let (socket, _) = entry.owned().ok_or_else(unknown)?;
                    SockRef::from(&socket).shutdown(how)
                });
                Submitted::Done(result.map(|()| Outcome::Done))
            }
            _ => Submitted::Unsupported,
        }
    }

    fn resume(&mut self, ops: &mut OpTable, op: OpKey) -> Submitted {
        let Some(id) = self.waiting.of(ops, op) else { return Submitted::Queued };
        let waiter = self.waiting.get_mut(id);
        waiter.announced = false;
        match waiter.line {
            Line::Transfer(interest) => self.advance(ops, id, interest),
            Line::Watch(interest) => self.recheck(ops, id, interest),
        }
    }

    fn cancel(&mut self, ops: &mut OpTable, op: OpKey) {
        if let Some(id) = self.waiting.of(ops, op) {
            self.dequeue(ops, id);
            self.pending.push(Pending::Cancelled(op));
        }
    }

    fn recv_now(&mut self, fd: FdKey, buf: &mut [u8]) -> Option<io::Result<usize>> {
        Some(self.descriptors.owned_mut(fd).and_then(|entry| {
            let socket = unless_taken(entry, Interest::Read)?;
            transfer::receive_into(socket.0, socket.1, buf)
        }))
    }

    fn send_now(&mut self, fd: FdKey, bufs: &[IoSlice<'_>]) -> Option<io::Result<usize>> {
        Some(self.descriptors.owned_mut(fd).and_then(|entry| {
            let socket = unless_taken(entry, Interest::Write)?;
            transfer::send(socket.0, socket.1, bufs)
        }))
    }

    fn poll(&mut self, ops: &mut OpTable, wait: Wait, out: &mut Vec<Completion>) -> io::Result<()> {
        let reported = self.report_pending(ops, out);
        let until = match wait {
            Wait::Peek => return Ok(()),
            _ if reported => Until::Now,
            Wait::Now => Until::Now,
            Wait::Until(deadline) => Until::Clock(deadline),
            Wait::Forever => Until::Event,
        };
        let Self { mio, sleeper, descriptors, waiting, .. } = self;
        let mut deserted = Vec::new();
        sleeper.wait(mio, until, |token, signals| {
            deserted.extend(report(descriptors, waiting, (token, signals), out));
        })?;
        for key in deserted {
            self.deserted(key);
        }
        Ok(())
    }

    fn drain(&mut self, ops: &mut OpTable, _limit: Duration) -> usize {
        // Nothing of an operation is ever with the kernel, so ending them is all there is to it.
        let waiting: Vec<OpKey> = ops.keys_in_flight().collect();
        for op in waiting {
            self.cancel(ops, op);
        }
        self.pending.clear();
        0
    }
}

/// The socket, for a call that does not wait: not where others wait already, or where nothing is to be had.
fn unless_taken(
    entry: &mut Entry,
    interest: Interest,
) -> io::Result<(std::os::fd::BorrowedFd<'_>, &mut crate::readiness::Ready)> {
    if !entry.line(Line::Transfer(interest)).is_empty() || !entry.may(interest) {
        return Err(Errno::AGAIN.into());
    }
    entry.owned().ok_or_else(unknown)
}
