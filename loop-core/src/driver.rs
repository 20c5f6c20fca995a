//! The loop's side of its backend: who gets what an operation came to.
//!
//! The backend and its operations are borrowed for the length of one call and never while user code runs (**I2**).
//! A completion that arrives is kept until its entry in the ready queue comes up; then it goes to the operation's
//! target: a future that waits, a sink (transport, server, watch), or nobody, in which case what it carries is
//! disposed of: an accepted connection is closed, a lent buffer given back, received bytes kept for the socket's next
//! read (see [`Stash`]).

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::backend::{Backend, Capabilities, Wait};
use crate::cancellation;
use crate::control::{Control, Reply};
use crate::exception::{ExceptionContext, Finally};
use crate::fd::FdKey;
use crate::inner::Inner;
use crate::op::{Completion, Event, Op, Outcome, Submitted};
use crate::op_table::{OpKey, OpTable, Target};
use crate::ready::Ready;
use crate::stash::Stash;

/// How long a close waits for operations that the kernel does not let go of.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);

/// What takes the events of an operation that outlives single awaits: a transport, a server, a watch.
///
/// Called on the loop's thread, from the ready queue, with nothing borrowed.
pub(crate) trait Sink {
    /// An event; `op` comes back with the final one, after which the operation is gone.
    fn event(self: Rc<Self>, inner: &Rc<Inner>, key: OpKey, event: Event, op: Option<Op>);

    /// The event that is by far the most frequent one.
    fn resume(self: Rc<Self>, inner: &Rc<Inner>, key: OpKey) {
        self.event(inner, key, Event::Resume, None);
    }
}

pub(crate) struct Driver {
    backend: Box<dyn Backend>,
    ops: OpTable,
    stash: Stash,
}

/// Completions whose entries in the ready queue did not come up yet, in their order. Polls append to the list itself,
/// which is emptied when the last of them has come up.
#[derive(Default)]
pub(crate) struct Arrived {
    list: Vec<Completion>,
    /// Those before it have come up.
    next: usize,
}

impl Arrived {
    fn next(&mut self) -> Option<Completion> {
        let place = self.list.get_mut(self.next)?;
        let completion = Completion { op: place.op, event: std::mem::replace(&mut place.event, Event::Resume) };
        self.advance();
        Some(completion)
    }

    /// The next one, if it is the event that has nothing to be moved.
    fn next_resume(&mut self) -> Option<OpKey> {
        let next = self.list.get(self.next)?;
        let key = matches!(next.event, Event::Resume).then_some(next.op)?;
        self.advance();
        Some(key)
    }

    fn advance(&mut self) {
        self.next += 1;
        if self.next == self.list.len() {
            self.list.clear();
            self.next = 0;
        }
    }
}

impl Driver {
    pub(crate) fn new(backend: Box<dyn Backend>) -> Self {
        Self { backend, ops: OpTable::new(), stash: Stash::default() }
    }

    pub(crate) fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        self.backend.capabilities()
    }

    /// Gives an outcome that nobody waits for back to where it belongs. Of a receive that was dropped while it was under
    /// way, this is the end: whoever waited for that is to be woken.
    fn dispose(&mut self, op: Option<Op>, result: io::Result<Outcome>, was_abandoned: bool) -> Vec<Waker> {
        match (op, result) {
            (_, Ok(Outcome::Accepted(fd))) => self.backend.close(&mut self.ops, fd),
            (Some(Op::Recv { fd, mut buf, limit }), result) => {
                let start = buf.len();
                if let Ok(Outcome::Count(count)) = result {
                    grow(&mut buf, count, limit);
                }
                if was_abandoned {
                    return self.stash.landed(fd, &buf[start..]);
                }
                if buf.len() > start {
                    self.stash.put(fd, &buf[start..]);
                }
            }
            _ => {}
        }
        Vec::new()
    }

    /// The operation is over: its slot is free from here on.
    fn land(&mut self, key: OpKey) -> Option<(Op, Target)> {
        self.ops.set_landed(key);
        self.ops.remove(key)
    }
}

/// A backend's count of received bytes becomes the buffer's new length.
pub(crate) fn grow(buf: &mut Vec<u8>, count: usize, limit: usize) {
    assert!(count <= limit && count <= buf.capacity() - buf.len(), "B7: a backend received more than was asked for");
    // SAFETY: the backend's contract: bytes up to its count are initialised, and within the spare capacity.
    unsafe { buf.set_len(buf.len() + count) };
}

/// A buffer that was emptied to be received into gets its length back.
pub(crate) fn restore_len(buf: &mut Vec<u8>, len: usize) {
    assert!(len <= buf.capacity(), "a buffer keeps its capacity while an operation has it");
    // SAFETY: the first `len` bytes were initialised when the caller emptied the buffer, which was not reallocated since,
    // as there was room for all that could be received; receiving only overwrites.
    unsafe { buf.set_len(len) };
}

impl Inner {
    /// The backend is called.
    fn stir(&self) {
        self.stirred.set(true);
        self.quiet.set(false);
    }

    fn with_driver<R>(&self, f: impl FnOnce(&mut Driver) -> R) -> Option<R> {
        self.stir();
        self.driver.borrow_mut().as_mut().map(f)
    }

    /// The backend, where the loop is open.
    fn with_backend<R>(&self, f: impl FnOnce(&mut dyn Backend, &mut OpTable) -> io::Result<R>) -> io::Result<R> {
        self.with_driver(|driver| f(&mut *driver.backend, &mut driver.ops)).unwrap_or_else(|| Err(closed()))
    }

    /// The operations that somebody awaits, by name.
    pub(crate) fn each_operation(&self, mut each: impl FnMut(&'static str, &Waker)) {
        self.with_driver(|driver| driver.ops.each_awaited(|op, waker| each(op.name(), waker)));
    }

    /// Whether a look in memory can find anything: what a poll that costs nothing, or for operations under way the kernel,
    /// puts there, else what calls from here have led to.
    pub(crate) fn can_peek(&self) -> bool {
        let under_way = || self.driver.borrow().as_ref().is_some_and(|driver| !driver.ops.is_empty());
        self.stirred.get() || self.capabilities.free_poll || (self.capabilities.shared_memory && under_way())
    }

    pub(crate) fn poll_backend(&self, wait: Wait) -> io::Result<()> {
        if wait == Wait::Peek && !self.can_peek() {
            return Ok(());
        }
        let list = &mut self.arrived.borrow_mut().list;
        let before = list.len();
        let result = self.with_backend(|backend, ops| backend.poll(ops, wait, list));
        for _ in before..list.len() {
            self.ready.push(Ready::Completion);
        }
        self.stirred.set(false);
        result
    }

    /// A completion's entry came up.
    pub(crate) fn dispatch_completion(self: &Rc<Self>) {
        let resumed = self.arrived.borrow_mut().next_resume();
        if let Some(key) = resumed {
            return match self.sink_of(key) {
                Some(sink) => sink.resume(self, key),
                None => self.settle(key, Event::Resume),
            };
        }
        let Some(Completion { op: key, event }) = self.arrived.borrow_mut().next() else { return };
        match self.sink_of(key) {
            Some(sink) => {
                let op = match &event {
                    Event::Final(_) => self.with_driver(|driver| driver.land(key)).flatten().map(|landed| landed.0),
                    _ => None,
                };
                sink.event(self, key, event, op);
            }
            None => self.settle(key, event),
        }
    }

    /// What takes the operation's events, if it is not a future.
    fn sink_of(&self, key: OpKey) -> Option<Rc<dyn Sink>> {
        let sink = self.with_driver(|driver| match driver.ops.target_mut(key) {
            Some(Target::Sink(sink)) => Some(Rc::clone(sink)),
            Some(Target::Loose(sink)) => sink.upgrade(),
            _ => None,
        });
        sink.flatten()
    }

    /// An event of an operation that a future waits for, or nobody.
    fn settle(self: &Rc<Self>, key: OpKey, event: Event) {
        let woken = self.with_driver(|driver| {
            let result = match event {
                Event::Final(result) => result,
                Event::More(outcome) => return (None, driver.dispose(None, Ok(outcome), false)),
                Event::Resume => {
                    // Whoever waited for it is gone: it was cancelled, and its final completion is on the way.
                    if !matches!(driver.ops.target_mut(key), Some(Target::Future { .. })) {
                        return (None, Vec::new());
                    }
                    match driver.backend.resume(&mut driver.ops, key) {
                        Submitted::Done(result) => result,
                        Submitted::More(outcome) => return (None, driver.dispose(None, Ok(outcome), false)),
                        Submitted::Queued | Submitted::Unsupported => return (None, Vec::new()),
                    }
                }
            };
            driver.ops.set_landed(key);
            match driver.ops.target_mut(key) {
                Some(Target::Future { waker, result: place }) => {
                    *place = Some(result);
                    (waker.take(), Vec::new())
                }
                _ => {
                    let op = driver.ops.remove(key).map(|removed| removed.0);
                    (None, driver.dispose(op, result, true))
                }
            }
        });
        let (waker, others) = woken.unwrap_or_default();
        for waker in waker.into_iter().chain(others) {
            self.guard(|| waker.wake(), || ExceptionContext::new("Exception in a foreign waker"));
        }
    }

    /// Starts an operation for a sink. `Err` gives it back where the backend refused it or it ended at once.
    pub(crate) fn start(&self, op: Op, sink: Rc<dyn Sink>) -> Started {
        self.start_with(op, sink, false)
    }

    /// Starts a send of whose success nobody need hear soon (see [`OpTable::is_patient`]).
    pub(crate) fn start_patiently(&self, op: Op, sink: Rc<dyn Sink>) -> Started {
        self.start_with(op, sink, true)
    }

    fn start_with(&self, op: Op, sink: Rc<dyn Sink>, patient: bool) -> Started {
        let lone = self.is_lone();
        let started = self.with_driver(|driver| {
            let key = driver.ops.insert(op, Target::Sink(sink));
            if patient {
                driver.ops.set_patient(key);
            }
            if lone {
                driver.ops.set_lone(key);
            }
            match driver.backend.submit(&mut driver.ops, key) {
                Submitted::Queued => {
                    driver.ops.set_in_flight(key);
                    Started::Queued(key)
                }
                Submitted::Done(result) => match driver.ops.remove(key) {
                    Some((op, target)) => Started::Done(result, op, target),
                    None => Started::Closed,
                },
                Submitted::More(outcome) => {
                    driver.ops.set_in_flight(key);
                    Started::More(key, outcome)
                }
                Submitted::Unsupported => match driver.ops.remove(key) {
                    Some((op, target)) => Started::Done(Err(io::Error::from(io::ErrorKind::Unsupported)), op, target),
                    None => Started::Closed,
                },
            }
        });
        started.unwrap_or(Started::Closed)
    }

    /// Goes on with a sink's operation.
    pub(crate) fn resume(&self, key: OpKey) -> Resumed {
        let resumed = self.with_driver(|driver| match driver.backend.resume(&mut driver.ops, key) {
            Submitted::Done(result) => match driver.land(key) {
                Some((op, _)) => Resumed::Final(result, op),
                None => Resumed::Nothing,
            },
            Submitted::More(outcome) => Resumed::More(outcome),
            Submitted::Queued | Submitted::Unsupported => Resumed::Nothing,
        });
        resumed.unwrap_or(Resumed::Nothing)
    }

    /// Goes on with a receive, into this memory: see [`Backend::resume_into`].
    #[inline]
    pub(crate) fn resume_into(&self, key: OpKey, buf: &mut [u8]) -> Option<io::Result<usize>> {
        self.with_driver(|driver| driver.backend.resume_into(&mut driver.ops, key, buf)).flatten()
    }

    /// Somebody waits for the outcome of an operation that was started patiently.
    pub(crate) fn hurry_op(&self, key: OpKey) {
        self.with_driver(|driver| driver.ops.hurry(key));
    }

    /// Hands the system what is queued, at the end of a run: what was written does not wait for the next run.
    pub(crate) fn flush_backend(&self) -> io::Result<()> {
        self.with_driver(|driver| driver.backend.flush(&mut driver.ops)).unwrap_or(Ok(()))
    }

    /// Asks for an operation to end early.
    pub(crate) fn cancel_op(&self, key: OpKey) {
        self.with_driver(|driver| driver.backend.cancel(&mut driver.ops, key));
    }

    /// A sink's operation keeps the sink alive, or does not: then it can be let go of while it waits.
    pub(crate) fn hold_sink(&self, key: OpKey, sink: &Rc<dyn Sink>, hold: bool) {
        let target = if hold { Target::Sink(Rc::clone(sink)) } else { Target::Loose(Rc::downgrade(sink)) };
        let old = self.with_driver(|driver| driver.ops.target_mut(key).map(|place| std::mem::replace(place, target)));
        drop(old);
    }

    /// An operation's sink is gone: whatever it comes to is disposed of.
    pub(crate) fn abandon_op(&self, key: OpKey) {
        let target = self.with_driver(|driver| {
            let target = driver.ops.target_mut(key).map(std::mem::take);
            driver.backend.cancel(&mut driver.ops, key);
            target
        });
        drop(target);
    }

    pub(crate) fn open_fd(
        &self,
        domain: socket2::Domain,
        kind: socket2::Type,
        protocol: Option<socket2::Protocol>,
    ) -> io::Result<FdKey> {
        self.with_backend(|backend, _| backend.open(domain, kind, protocol))
    }

    pub(crate) fn adopt_fd(&self, fd: std::os::fd::OwnedFd) -> io::Result<FdKey> {
        self.with_backend(|backend, _| backend.adopt(fd))
    }

    /// Refused while operations are in flight on it, and while received bytes are kept for it.
    pub(crate) fn release_fd(&self, fd: FdKey) -> io::Result<std::os::fd::OwnedFd> {
        self.with_driver(|driver| {
            if driver.stash.has(fd) {
                return Err(io::Error::from(io::ErrorKind::ResourceBusy));
            }
            driver.backend.release(&mut driver.ops, fd)
        })
        .unwrap_or_else(|| Err(closed()))
    }

    pub(crate) fn control(&self, fd: FdKey, control: &Control<'_>) -> io::Result<Reply> {
        self.with_backend(|backend, _| backend.control(fd, control))
    }

    pub(crate) fn raw_fd(&self, fd: FdKey) -> Option<std::os::fd::RawFd> {
        self.with_driver(|driver| driver.backend.raw_fd(fd)).flatten()
    }

    pub(crate) fn close_fd(&self, fd: FdKey) {
        let waiting = self.with_driver(|driver| {
            driver.backend.close(&mut driver.ops, fd);
            driver.stash.forget(fd)
        });
        waiting.into_iter().flatten().for_each(Waker::wake);
    }

    pub(crate) fn send_now(&self, fd: FdKey, bufs: &[io::IoSlice<'_>]) -> Option<io::Result<usize>> {
        self.with_driver(|driver| driver.backend.send_now(fd, bufs)).unwrap_or_else(|| Some(Err(closed())))
    }

    pub(crate) fn recv_now(&self, fd: FdKey, buf: &mut [u8]) -> Option<io::Result<usize>> {
        self.with_driver(|driver| driver.backend.recv_now(fd, buf)).unwrap_or_else(|| Some(Err(closed())))
    }

    pub(crate) fn foresee(&self, deadline: Duration) {
        self.with_driver(|driver| driver.backend.foresee(deadline));
    }

    pub(crate) fn hold_clock(&self, hold: bool) {
        self.with_driver(|driver| driver.backend.hold_clock(hold));
    }

    /// Bytes that an earlier read, dropped in time, left for this socket.
    pub(crate) fn take_stash(&self, fd: FdKey, limit: usize) -> Option<Vec<u8>> {
        self.with_driver(|driver| driver.stash.take(fd, limit)).flatten()
    }

    /// Waits until no dropped receive of this socket is under way any more: what it may have received comes first.
    pub(crate) async fn settled(&self, fd: FdKey) {
        let unsettled = || self.with_driver(|driver| driver.stash.is_unsettled(fd)).unwrap_or(false);
        if !unsettled() {
            return;
        }
        poll_fn(|context| {
            if cancellation::is_pending() {
                return cancellation::withhold(context);
            }
            if !unsettled() {
                return Poll::Ready(());
            }
            let waker = context.waker().clone();
            self.with_driver(|driver| driver.stash.wait(fd, waker));
            Poll::Pending
        })
        .await;
    }

    /// At close: ends every operation, and the backend with them.
    pub(crate) fn close_driver(self: &Rc<Self>, finally: &mut Finally<'_>) {
        let targets = self.with_driver(|driver| driver.ops.take_targets()).unwrap_or_default();
        targets.into_iter().for_each(|target| finally.dispose(target));
        let Some(mut driver) = self.driver.take() else { return };
        let left = driver.backend.drain(&mut driver.ops, DRAIN_LIMIT);
        if left == 0 {
            let landed: Vec<OpKey> = driver.ops.keys_in_flight().collect();
            landed.into_iter().for_each(|key| driver.ops.set_landed(key));
        }
        // What arrived and was not looked at carries descriptors and buffers of the backend's.
        self.arrived.take().list.into_iter().for_each(|completion| finally.dispose(completion));
        finally.dispose(driver);
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the event loop is closed")
}

/// What became of an operation started for a sink.
pub(crate) enum Started {
    Queued(OpKey),
    More(OpKey, Outcome),
    /// Over at once; the target comes back for the caller to drop.
    Done(
        io::Result<Outcome>,
        Op,
        #[expect(dead_code, reason = "held so that it is dropped outside the borrow")] Target,
    ),
    Closed,
}

/// What became of a resumed operation.
pub(crate) enum Resumed {
    Nothing,
    More(Outcome),
    Final(io::Result<Outcome>, Op),
}

/// One operation, awaited: submitted at the first poll, cancelled when dropped. The operation, and with it the buffer,
/// comes back with the result.
pub(crate) struct OpFuture {
    inner: Rc<Inner>,
    state: OpState,
}

enum OpState {
    New(Option<Op>),
    InFlight(OpKey),
    Over,
}

impl OpFuture {
    pub(crate) fn new(inner: &Rc<Inner>, op: Op) -> Self {
        Self { inner: Rc::clone(inner), state: OpState::New(Some(op)) }
    }
}

impl Future for OpFuture {
    type Output = (io::Result<Outcome>, Op);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        // The waker may be anybody's: it is cloned and dropped while nothing is borrowed.
        match &mut this.state {
            OpState::New(op) => {
                let Some(op) = op.take() else { return Poll::Pending };
                this.state = OpState::Over;
                let target = Target::Future { waker: Some(context.waker().clone()), result: None };
                let (result, op, target) = {
                    this.inner.stir();
                    let lone = this.inner.is_lone();
                    let mut driver = this.inner.driver.borrow_mut();
                    let Some(driver) = driver.as_mut() else { return Poll::Ready((Err(closed()), op)) };
                    let key = driver.ops.insert(op, target);
                    if lone {
                        driver.ops.set_lone(key);
                    }
                    let result = match driver.backend.submit(&mut driver.ops, key) {
                        Submitted::Done(result) => result,
                        Submitted::Unsupported => Err(io::Error::from(io::ErrorKind::Unsupported)),
                        Submitted::Queued | Submitted::More(_) => {
                            driver.ops.set_in_flight(key);
                            this.state = OpState::InFlight(key);
                            return Poll::Pending;
                        }
                    };
                    let (op, target) =
                        driver.ops.remove(key).expect("an operation that was refused is still in the table");
                    (result, op, target)
                };
                drop(target);
                Poll::Ready((result, op))
            }
            OpState::InFlight(key) => {
                let key = *key;
                match this.inner.look_at(key, context.waker(), cancellation::is_pending()) {
                    Look::Over(result, op, target) => {
                        this.state = OpState::Over;
                        drop(target);
                        Poll::Ready((result, op))
                    }
                    Look::Withheld => cancellation::withhold(context),
                    Look::OtherWaker => {
                        this.inner.set_waker(key, context.waker().clone());
                        Poll::Pending
                    }
                    Look::Waits => Poll::Pending,
                }
            }
            OpState::Over => Poll::Pending,
        }
    }
}

/// What an awaited operation has come to.
enum Look {
    Over(io::Result<Outcome>, Op, Target),
    /// It is over, but a cancellation goes first.
    Withheld,
    Waits,
    /// It waits, with a waker of an earlier poll.
    OtherWaker,
}

impl Inner {
    fn look_at(&self, key: OpKey, waker: &Waker, asked_to_end: bool) -> Look {
        let look = self.with_driver(|driver| match driver.ops.target_mut(key) {
            Some(Target::Future { result: Some(_), .. }) if asked_to_end => Look::Withheld,
            Some(Target::Future { result: result @ Some(_), .. }) => match (result.take(), driver.ops.remove(key)) {
                (Some(result), Some((op, target))) => Look::Over(result, op, target),
                _ => Look::Waits,
            },
            Some(Target::Future { waker: Some(old), .. }) if !old.will_wake(waker) => Look::OtherWaker,
            _ => Look::Waits,
        });
        look.unwrap_or(Look::Waits)
    }

    fn set_waker(&self, key: OpKey, waker: Waker) {
        let old = self.with_driver(|driver| match driver.ops.target_mut(key) {
            Some(Target::Future { waker: place, .. }) => place.replace(waker),
            _ => None,
        });
        drop(old);
    }
}

impl Drop for OpFuture {
    fn drop(&mut self) {
        let OpState::InFlight(key) = self.state else { return };
        let dropped = self.inner.with_driver(|driver| {
            let mut target = driver.ops.target_mut(key).map(std::mem::take);
            if driver.ops.is_in_flight(key) {
                if let Some(Op::Recv { fd, .. }) = driver.ops.get(key) {
                    driver.stash.abandon(*fd);
                }
                driver.backend.cancel(&mut driver.ops, key);
            } else if let Some(Target::Future { result, .. }) = &mut target
                && let Some(result) = result.take()
            {
                let op = driver.ops.remove(key).map(|removed| removed.0);
                driver.dispose(op, result, false);
            }
            target
        });
        drop(dropped);
    }
}
