//! [`EpollBackend`]: the contract's methods, each a few lines over the other files.
//!
//! How the invariants are kept (**B1** and **B3** are `progress`'s):
//!
//! * **B2** the kernel holds nothing of an operation between calls, so what left its line is done with;
//! * **B4** `poll` makes no call but the wait, and calls nobody;
//! * **B5** an unpark is an event in mio's set until a wait has fetched it;
//! * **B7** each attempt gets the operation's own buffer, cut to its limit.

use std::io::{self, IoSlice};
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use loop_core::{
    Backend, Capabilities, Completion, Control, FdKey, Interest, Op, OpKey, OpTable, Outcome, ReceivePool, Reply,
    Submitted, Unpark, Wait,
};
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Type};

use crate::READ_SIZE;
use crate::clock::{self, Sleeper, Until};
use crate::descriptors::{self, Descriptor, Descriptors, Entry, unknown};
use crate::progress::{self, Pending};
use crate::readiness::Kind;
use crate::transfer;
use crate::waiting::{Line, Waiting};

/// No descriptor has such a place.
const WAKER: FdKey = FdKey::new(u32::MAX, 0);
const TIMER: FdKey = FdKey::new(u32::MAX, 1);

/// The readiness backend. See the [crate's page](crate).
pub struct EpollBackend {
    pub(crate) mio: mio::Poll,
    sleeper: Sleeper,
    waker: Arc<Waker>,
    pub(crate) pool: ReceivePool,
    pub(crate) descriptors: Descriptors,
    pub(crate) waiting: Waiting,
    /// What the next poll reports before it asks the kernel.
    pub(crate) pending: Vec<Pending>,
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
}

// SAFETY: B1 as said in `progress`, B2 at the top of this file; B7: counts are the kernel's, for buffers of the
// operations' own length.
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

    fn resume_into(&mut self, ops: &mut OpTable, op: OpKey, buf: &mut [u8]) -> Option<io::Result<usize>> {
        self.receive_into(ops, op, buf)
    }

    fn cancel(&mut self, ops: &mut OpTable, op: OpKey) {
        if let Some(id) = self.waiting.of(ops, op) {
            self.dequeue(ops, id);
            self.pending.push(Pending::Cancelled(op));
        }
    }

    fn recv_now(&mut self, fd: FdKey, buf: &mut [u8]) -> Option<io::Result<usize>> {
        // An operation that waits has been told, if there is anything: this takes it in its place.
        Some(self.descriptors.owned_mut(fd).and_then(|entry| match entry.may(Interest::Read) {
            true => entry.owned().ok_or_else(unknown).and_then(|(fd, ready)| transfer::receive_into(fd, ready, buf)),
            false => Err(Errno::AGAIN.into()),
        }))
    }

    fn send_now(&mut self, fd: FdKey, bufs: &[IoSlice<'_>]) -> Option<io::Result<usize>> {
        // The bytes of a send that waits come first.
        Some(self.descriptors.owned_mut(fd).and_then(|entry| {
            match entry.may(Interest::Write) && entry.line(Line::Transfer(Interest::Write)).is_empty() {
                true => entry.owned().ok_or_else(unknown).and_then(|(fd, ready)| transfer::send(fd, ready, bufs)),
                false => Err(Errno::AGAIN.into()),
            }
        }))
    }

    fn foresee(&mut self, deadline: Duration) {
        self.sleeper.foresee(&self.mio, descriptors::token(TIMER), deadline);
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
            deserted.extend(progress::report(descriptors, waiting, (token, signals), out));
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
