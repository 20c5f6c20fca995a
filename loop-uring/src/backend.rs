//! [`UringBackend`]: the contract's methods, each a few lines over the other files.
//!
//! How the invariants are kept:
//!
//! * **B1** a flight ends in one place, `finish`, which reports its final completion; what the kernel ends without need is
//!   asked for again, and a cancel is behind its operation in the same queue and never lost;
//! * **B2** a flight that the kernel has a request of ends only by that request's last completion;
//! * **B3** only the first of a line is with the kernel;
//! * **B4** `poll` enters the ring and reads completions, and calls nobody;
//! * **B5** an unpark is an event for a request that stays armed (see `wake`), and an event ends a wait;
//! * **B6** the clock is the kernel's monotonic one;
//! * **B7** requests name no more memory than operations allow, so counts are within it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use loop_core::{
    Backend, Capabilities, Completion, Control, FdKey, FdTable, Interest, Op, OpKey, OpTable, Outcome, Reply,
    Submitted, Unpark, Wait,
};
use socket2::{Domain, Protocol, SockRef, Type};

use crate::alarms::Alarms;
use crate::buffer_ring::Pool;
use crate::bulk;
use crate::clock;
use crate::descriptors::{Descriptor, Kind, Watchable, unknown};
use crate::flights::{Flights, Ticket};
use crate::options::Options;
use crate::probe;
use crate::ring::{Ring, Until};
use crate::wake::Wake;

/// So many requests the kernel goes on with, at least, each time it is entered (since Linux 6.13: all of them before).
const BATCH: usize = 20;

/// How often a poll has the kernel go on, for what is ready: of so many connections (some 256) the memory is still near when
/// their turns come. The next poll gives the others. (Ten thousand that were ready at once and given at once cost a sixth more.)
const TURNS: usize = 256 / BATCH;

/// How often a poll enters the ring for the sake of full queues and empty pools, before it lets the loop go on.
const ROUNDS: usize = 1024;

/// The completion backend. See the [crate's page](crate).
pub struct UringBackend {
    // Before the pool and the alarms, whose memory it knows: fields are dropped in this order.
    pub(crate) ring: Ring,
    pub(crate) pool: Pool,
    pub(crate) alarms: Alarms,
    pub(crate) descriptors: FdTable<Descriptor>,
    pub(crate) flights: Flights,
    /// Receivers that found no buffer, in order.
    pub(crate) parked: VecDeque<Ticket>,
    /// One found no buffer since the pool was last told.
    pub(crate) starved: bool,
    /// Quiet sends, by the number of their requests, in order.
    pub(crate) quiet: VecDeque<(u64, Ticket)>,
    /// What the next poll reports.
    pub(crate) done: Vec<Completion>,
    /// Numbers what was reported together.
    pub(crate) batch: u32,
    /// Some receiver has more in `done` than its share.
    pub(crate) flooded: bool,
    /// Receivers that are held.
    pub(crate) held: Vec<Ticket>,
    wake: Arc<Wake>,
    /// An unpark was heard of, and no poll has returned for it yet.
    pub(crate) woken: bool,
    watchable: Watchable,
    /// `send_now` and `recv_now` answer. The loop takes that to mean that it need not gather what is written during a pass,
    /// so for now they do in tests only.
    synchronous: bool,
    /// How often completions were seen to have found no room.
    pub(crate) overflows: Rc<Cell<usize>>,
    /// Every send is taken to be patient, in tests.
    patient: bool,
    /// A receive of so many bytes is a large one.
    pub(crate) bulk: usize,
}

impl UringBackend {
    /// A backend of its own ring. It belongs to this thread.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] with an [`Unavailable`](crate::Unavailable) that says why io_uring cannot be used
    /// here; the operating system's, where it is out of descriptors.
    pub fn new() -> io::Result<Self> {
        Self::with(&Options::default())
    }

    /// With sizes of one's own, and parts of the kernel hidden.
    #[doc(hidden)]
    pub fn with(options: &Options) -> io::Result<Self> {
        let (ring, pool) = probe::assemble(options)?;
        let wake = Arc::new(Wake::new()?);
        let mut backend = Self {
            ring,
            pool,
            alarms: Alarms::default(),
            descriptors: FdTable::default(),
            flights: Flights::default(),
            parked: VecDeque::new(),
            starved: false,
            quiet: VecDeque::new(),
            done: Vec::new(),
            batch: 1,
            flooded: false,
            held: Vec::new(),
            wake,
            woken: false,
            watchable: Watchable::default(),
            synchronous: options.synchronous,
            overflows: Rc::default(),
            patient: options.patient,
            bulk: options.bulk,
        };
        backend.listen();
        Ok(backend)
    }

    /// What tells how many receive buffers are lent to the program, also when the backend is gone.
    #[doc(hidden)]
    pub fn lent_buffers(&self) -> impl Fn() -> usize + use<> {
        let pool = self.pool.clone();
        move || pool.lent()
    }

    /// What tells how often completions were seen to have found no room in the queue, also when the backend is gone.
    #[doc(hidden)]
    pub fn overflows(&self) -> impl Fn() -> usize + use<> {
        let overflows = Rc::clone(&self.overflows);
        move || overflows.get()
    }

    /// Listens for unparks.
    pub(crate) fn listen(&mut self) {
        self.ring.ask(self.wake.request());
    }

    /// Hands the kernel what was written, without waiting.
    fn submit_now(&mut self) -> io::Result<()> {
        if self.ring.has_unsubmitted() { self.ring.enter(Until::Now) } else { Ok(()) }
    }

    /// Submits, waits as told, and takes what there is then, which the kernel hands out so much at a time: all of it, unless that
    /// is very much.
    fn collect(&mut self, ops: &mut OpTable, mut until: Until) -> io::Result<()> {
        self.pool.learn();
        let mut turns = (self.flights.len() / BATCH + 1).min(TURNS);
        for _ in 0..ROUNDS {
            let hungry = self.feed(ops);
            // What was quiet is over once the kernel has taken it; somebody waits to be told.
            let haste = ops.take_haste() && !self.quiet.is_empty();
            if hungry || haste || self.woken || !self.done.is_empty() {
                until = Until::Now;
            }
            self.ring.enter(until)?;
            until = Until::Now;
            let taken = self.reap(ops);
            // More may be ready than one entry does. What became ready since is for the next poll, so this ends.
            let left = taken >= BATCH && turns > 0 && self.ring.has_deferred();
            turns = turns.saturating_sub(1);
            // Completions that found no room come out now that there is; receivers that found no buffer go on.
            let starved = self.done.is_empty() && !self.parked.is_empty();
            if !left && !starved && !self.ring.has_overflowed() {
                break;
            }
        }
        Ok(())
    }

    /// Whether nobody waits for the outcome of an operation.
    pub(crate) fn is_patient(&self, ops: &OpTable, op: OpKey) -> bool {
        self.patient || ops.is_patient(op)
    }

    fn descriptor(&self, fd: FdKey) -> io::Result<&Descriptor> {
        self.descriptors.get(fd).ok_or_else(unknown)
    }
}

// SAFETY: B1 and B2 as said at the top of this file; B7: counts are the kernel's, for requests of the operations' own
// length.
unsafe impl Backend for UringBackend {
    fn name(&self) -> &'static str {
        "uring"
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.shared_memory = true;
        capabilities.buffer_ring = true;
        capabilities.files = true;
        capabilities.synchronous = self.synchronous;
        capabilities
    }

    fn now(&self) -> Duration {
        clock::now()
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::clone(&self.wake) as Arc<dyn Unpark>
    }

    fn open(&mut self, domain: Domain, kind: Type, protocol: Option<Protocol>) -> io::Result<FdKey> {
        let socket = socket2::Socket::new_raw(domain, kind.nonblocking().cloexec(), protocol)?;
        Ok(self.descriptors.insert(Descriptor::new(socket.into(), Kind::Socket)))
    }

    fn adopt(&mut self, fd: OwnedFd) -> io::Result<FdKey> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(self.descriptors.insert(Descriptor::adopted(fd)?))
    }

    fn control(&mut self, fd: FdKey, control: &Control<'_>) -> io::Result<Reply> {
        let file = Rc::clone(&self.descriptor(fd)?.file);
        if matches!(control, Control::Shutdown(_)) {
            self.submit_now()?;
        }
        control.apply(std::os::fd::AsFd::as_fd(&*file))
    }

    fn raw_fd(&self, fd: FdKey) -> Option<RawFd> {
        self.descriptors.get(fd).map(|descriptor| descriptor.file.as_raw_fd())
    }

    fn close(&mut self, ops: &mut OpTable, fd: FdKey) {
        self.close_descriptor(ops, fd);
    }

    fn release(&mut self, _ops: &mut OpTable, fd: FdKey) -> io::Result<OwnedFd> {
        if !self.descriptor(fd)?.is_idle() {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let descriptor = self.descriptors.remove(fd).ok_or_else(unknown)?;
        // Flights that keep it open stand in its lines.
        Rc::try_unwrap(descriptor.file).map_err(|_| io::ErrorKind::ResourceBusy.into())
    }

    fn submit(&mut self, ops: &mut OpTable, op: OpKey) -> Submitted {
        match ops.get(op) {
            None => Submitted::Done(Err(unknown())),
            Some(&Op::Shutdown { fd, how }) => {
                let file = self.descriptor(fd).map(|descriptor| Rc::clone(&descriptor.file));
                let result = file.and_then(|file| {
                    self.submit_now()?;
                    SockRef::from(&*file).shutdown(how)
                });
                Submitted::Done(result.map(|()| Outcome::Done))
            }
            Some(&Op::Readiness { fd, .. }) => match self.watchable.check(fd) {
                Ok(()) => self.start(ops, op),
                Err(error) => Submitted::Done(Err(error)),
            },
            Some(&Op::Send { fd, .. }) if ops.is_lone(op) => match self.send_alone(ops, op, fd) {
                Some(result) => Submitted::Done(result.map(Outcome::Count)),
                None => self.enqueue(ops, op, fd, Interest::Write),
            },
            Some(request) => match (request.fd(), request.direction()) {
                (Some(fd), Some(direction)) => self.enqueue(ops, op, fd, direction),
                _ => self.start(ops, op),
            },
        }
    }

    fn resume(&mut self, ops: &mut OpTable, op: OpKey) -> Submitted {
        self.resume_bulk(ops, op)
    }

    fn resume_into(&mut self, ops: &mut OpTable, op: OpKey, buf: &mut [u8]) -> Option<io::Result<usize>> {
        self.resume_bulk_into(ops, op, buf)
    }

    fn cancel(&mut self, ops: &mut OpTable, op: OpKey) {
        self.cancel_op(ops, op);
    }

    fn recv_now(&mut self, fd: FdKey, buf: &mut [u8]) -> Option<io::Result<usize>> {
        if self.synchronous { Some(self.receive_now(fd, buf)) } else { self.receive_bulk(fd, buf) }
    }

    fn send_now(&mut self, fd: FdKey, bufs: &[IoSlice<'_>]) -> Option<io::Result<usize>> {
        let sends = self.synchronous || bufs.iter().map(|buf| buf.len()).sum::<usize>() >= bulk::SENT;
        sends.then(|| self.send_at_once(fd, bufs))
    }

    fn foresee(&mut self, deadline: Duration) {
        self.alarms.foresee(&mut self.ring, deadline);
    }

    fn poll(&mut self, ops: &mut OpTable, wait: Wait, out: &mut Vec<Completion>) -> io::Result<()> {
        if wait == Wait::Peek && self.done.is_empty() && self.ring.ready() == 0 {
            return Ok(());
        }
        self.reap(ops);
        let until = match wait {
            Wait::Peek => {
                self.report(ops, out);
                return Ok(());
            }
            Wait::Now => Until::Now,
            Wait::Until(deadline) if self.alarms.covers(deadline) => Until::Event,
            Wait::Until(deadline) => Until::Clock(deadline),
            Wait::Forever => Until::Event,
        };
        self.collect(ops, until)?;
        self.woken = false;
        self.report(ops, out);
        Ok(())
    }

    fn flush(&mut self, _ops: &mut OpTable) -> io::Result<()> {
        self.submit_now()
    }

    fn drain(&mut self, ops: &mut OpTable, limit: Duration) -> usize {
        if let Err(error) = self.drain_flights(ops, limit) {
            tracing::warn!(%error, "the ring cannot be entered to end its operations");
        }
        self.flights.len()
    }
}

impl Drop for UringBackend {
    fn drop(&mut self) {
        if self.flights.len() > 0 {
            // Closing the ring does not wait for what the kernel still does: its memory stays.
            tracing::warn!(operations = self.flights.len(), "the ring is closed with operations in flight");
            self.pool.leak();
            std::mem::forget(std::mem::take(&mut self.flights));
        }
    }
}

impl std::fmt::Debug for UringBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UringBackend")
            .field("ring", &self.ring)
            .field("pool", &self.pool)
            .field("flights", &self.flights.len())
            .finish_non_exhaustive()
    }
}
