//! A backend in memory, for tests of this crate and of programs.

mod clock;

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

/// A backend in memory.
pub struct VirtualBackend {
    clock: VirtualClock,
    bell: Arc<Bell>,
    held: bool,
}

impl VirtualBackend {
    /// A backend whose clock starts at 1,000 seconds.
    #[must_use]
    pub fn new() -> Self {
        Self::starting_at(Duration::from_secs(1_000))
    }

    /// A backend whose clock starts at `origin`.
    #[must_use]
    pub fn starting_at(origin: Duration) -> Self {
        Self { clock: VirtualClock::starting_at(origin), bell: Bell::new(), held: false }
    }

    /// The clock.
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

// SAFETY: nothing is queued, so nothing completes.
unsafe impl Backend for VirtualBackend {
    fn name(&self) -> &'static str {
        "virtual"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { synchronous: true, free_poll: true, virtual_time: true, ..Capabilities::default() }
    }

    fn now(&self) -> Duration {
        self.clock.now()
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::clone(&self.bell) as Arc<dyn Unpark>
    }

    fn open(&mut self, _domain: Domain, _kind: Type, _protocol: Option<Protocol>) -> io::Result<FdKey> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn adopt(&mut self, _fd: OwnedFd) -> io::Result<FdKey> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn control(&mut self, _fd: FdKey, _control: &Control<'_>) -> io::Result<Reply> {
        Err(io::ErrorKind::NotConnected.into())
    }

    fn raw_fd(&self, _fd: FdKey) -> Option<RawFd> {
        None
    }

    fn close(&mut self, _ops: &mut OpTable, _fd: FdKey) {}

    fn release(&mut self, _ops: &mut OpTable, _fd: FdKey) -> io::Result<OwnedFd> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn submit(&mut self, _ops: &mut OpTable, _op: OpKey) -> Submitted {
        Submitted::Unsupported
    }

    fn resume(&mut self, _ops: &mut OpTable, _op: OpKey) -> Submitted {
        Submitted::Queued
    }

    fn cancel(&mut self, _ops: &mut OpTable, _op: OpKey) {}

    fn recv_now(&mut self, _fd: FdKey, _buf: &mut [u8]) -> Option<io::Result<usize>> {
        Some(Err(io::ErrorKind::NotConnected.into()))
    }

    fn send_now(&mut self, _fd: FdKey, _bufs: &[IoSlice<'_>]) -> Option<io::Result<usize>> {
        Some(Err(io::ErrorKind::NotConnected.into()))
    }

    fn poll(&mut self, _ops: &mut OpTable, wait: Wait, _out: &mut Vec<Completion>) -> io::Result<()> {
        if self.bell.take() {
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
        0
    }

    fn hold_clock(&mut self, hold: bool) {
        self.held = hold;
    }
}
