//! A backend in memory: time that jumps and a network of its own, for tests that are fast and always the same.
//!
//! ```text
//! clock      the clock that jumps, and the wait that only another thread ends
//! net        sockets, who waits on them, and in which order what is reported; connecting, moving bytes, requests
//! address    which ports are taken, and who is meant by an address
//! stream     one connection: bytes on their way, ends, resets
//! datagram   a mailbox
//! ```
//!
//! Everything happens in the calls of one thread, so **B1** to **B3** are a matter of queues: an operation is
//! in exactly one, and leaves it with its final completion.

mod address;
mod clock;
mod datagram;
mod net;
mod stream;

#[cfg(test)]
mod tests;

use std::io::{self, IoSlice};
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Type};

use crate::backend::{Backend, Capabilities, Unpark, Wait};
use crate::control::{Control, Reply};
use crate::fd::FdKey;
use crate::op::{Completion, Submitted};
use crate::op_table::{OpKey, OpTable};

use clock::Bell;
pub use clock::VirtualClock;
use net::Network;

/// A backend in memory, for tests.
///
/// **Time.** The clock stands still while anything runs. A wait with a deadline and nothing else to report jumps
/// to the deadline, so an hour's sleep takes no time and ends at its exact nanosecond. While threads outside are
/// at work for the loop ([`hold_clock`](Backend::hold_clock)), it waits for them instead. A wait without
/// a deadline ends only by an unpark. [`clock`](Self::clock) gives a handle to move the clock by hand.
///
/// **Network.** TCP-like streams and datagrams over IPv4 and IPv6, between sockets of this backend alone: two
/// backends share nothing. Every address is one of this host's. A stream holds 64 KiB in flight, then its sender
/// waits; a connection is refused where nobody listens, waits where the backlog is full, and is reset by a close
/// over unread bytes, as by the kernel. A full mailbox drops datagrams. What happens is reported in the order of
/// its causes, so a run is always the same.
///
/// There are no descriptors: nothing is adopted or released, readiness and files are unsupported.
///
/// # Example
///
/// ```
/// use loop_core::testing::VirtualBackend;
/// use loop_core::{Backend, OpTable, Wait};
/// use std::time::Duration;
///
/// let mut backend = VirtualBackend::new();
/// let in_an_hour = backend.now() + Duration::from_secs(3_600);
/// backend.poll(&mut OpTable::new(), Wait::Until(in_an_hour), &mut Vec::new()).unwrap();
/// assert_eq!(backend.now(), in_an_hour);
/// ```
#[derive(Debug)]
pub struct VirtualBackend {
    clock: VirtualClock,
    bell: Arc<Bell>,
    held: bool,
    net: Network,
}

impl VirtualBackend {
    /// A backend whose clock shows 1,000 seconds.
    #[must_use]
    pub fn new() -> Self {
        Self::starting_at(Duration::from_secs(1_000))
    }

    /// A backend whose clock shows `origin`.
    #[must_use]
    pub fn starting_at(origin: Duration) -> Self {
        Self { clock: VirtualClock::starting_at(origin), bell: Bell::new(), held: false, net: Network::new() }
    }

    /// Makes it behave like a completion queue: nothing is done in `submit`, everything completes out of `poll`,
    /// and there are no synchronous calls. Otherwise it behaves like readiness, with `Resume`.
    #[must_use]
    pub fn completing(mut self) -> Self {
        self.net.completing = true;
        self
    }

    /// The clock, to read it and to move it while the loop has the backend.
    #[must_use]
    pub fn clock(&self) -> VirtualClock {
        self.clock.clone()
    }
}

impl Default for VirtualBackend {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: all memory is reached through the table, in safe code, and only for operations that are in one of the
// network's queues, which they leave with their final completion (B1, B2). Counts are lengths of slices that were
// copied (B7).
unsafe impl Backend for VirtualBackend {
    fn name(&self) -> &'static str {
        "virtual"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            synchronous: !self.net.completing,
            free_poll: true,
            virtual_time: true,
            ..Capabilities::default()
        }
    }

    fn now(&self) -> Duration {
        self.clock.now()
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::clone(&self.bell) as Arc<dyn Unpark>
    }

    fn open(&mut self, domain: Domain, kind: Type, _protocol: Option<Protocol>) -> io::Result<FdKey> {
        self.net.open(domain, kind)
    }

    fn adopt(&mut self, _fd: OwnedFd) -> io::Result<FdKey> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn control(&mut self, fd: FdKey, control: &Control<'_>) -> io::Result<Reply> {
        self.net.control(fd, control)
    }

    fn raw_fd(&self, _fd: FdKey) -> Option<RawFd> {
        None
    }

    fn close(&mut self, _ops: &mut OpTable, fd: FdKey) {
        self.net.close(fd);
    }

    fn release(&mut self, _ops: &mut OpTable, _fd: FdKey) -> io::Result<OwnedFd> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn submit(&mut self, ops: &mut OpTable, op: OpKey) -> Submitted {
        self.net.submit(ops, op)
    }

    fn resume(&mut self, ops: &mut OpTable, op: OpKey) -> Submitted {
        self.net.resume(ops, op)
    }

    fn resume_into(&mut self, ops: &mut OpTable, op: OpKey, buf: &mut [u8]) -> Option<io::Result<usize>> {
        self.net.resume_into(ops, op, buf)
    }

    fn cancel(&mut self, _ops: &mut OpTable, op: OpKey) {
        self.net.cancel(op);
    }

    fn recv_now(&mut self, fd: FdKey, buf: &mut [u8]) -> Option<io::Result<usize>> {
        (!self.net.completing).then(|| self.net.recv_now(fd, buf))
    }

    fn send_now(&mut self, fd: FdKey, bufs: &[IoSlice<'_>]) -> Option<io::Result<usize>> {
        (!self.net.completing).then(|| self.net.send_now(fd, bufs))
    }

    fn poll(&mut self, ops: &mut OpTable, wait: Wait, out: &mut Vec<Completion>) -> io::Result<()> {
        let before = out.len();
        self.net.collect(ops, out);
        // B5: an unpark ends this poll, whatever else does.
        if self.bell.take() || out.len() > before {
            return Ok(());
        }
        match wait {
            Wait::Peek | Wait::Now => {}
            Wait::Until(when) if when <= self.clock.now() => {}
            Wait::Until(when) if !self.held => self.clock.jump(when),
            Wait::Until(_) | Wait::Forever => self.bell.wait(),
        }
        Ok(())
    }

    fn drain(&mut self, _ops: &mut OpTable, _limit: Duration) -> usize {
        self.net.forget_operations();
        0
    }

    fn hold_clock(&mut self, hold: bool) {
        self.held = hold;
    }
}
