//! A backend that tells how many operation slots its loop's table has, and how it ended.

#![allow(dead_code, unreachable_pub)]

use std::cell::Cell;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use loop_core::{Backend, Capabilities, Completion, Control, FdKey, OpKey, OpTable, Reply, Submitted, Unpark, Wait};
use socket2::{Domain, Protocol, Type};

pub struct Counted {
    inner: Box<dyn Backend>,
    /// As of the last call that was given the table: what that call completed is still in it.
    slots: Rc<Slots>,
}

#[derive(Default)]
pub struct Slots {
    /// In use.
    pub used: Cell<usize>,
    /// How many operations a drain could not end.
    pub left: Cell<Option<usize>>,
    /// The backend was dropped; the table goes with it.
    pub gone: Cell<bool>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.slots.gone.set(true);
    }
}

impl Counted {
    pub fn new(inner: Box<dyn Backend>) -> (Self, Rc<Slots>) {
        let slots = Rc::<Slots>::default();
        (Self { inner, slots: Rc::clone(&slots) }, slots)
    }

    fn count<R>(&mut self, ops: &mut OpTable, call: impl FnOnce(&mut dyn Backend, &mut OpTable) -> R) -> R {
        let result = call(&mut *self.inner, ops);
        self.slots.used.set(ops.len());
        result
    }
}

// SAFETY: everything goes to the real one.
unsafe impl Backend for Counted {
    fn name(&self) -> &'static str {
        self.inner.name()
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    fn now(&self) -> Duration {
        self.inner.now()
    }
    fn unparker(&self) -> Arc<dyn Unpark> {
        self.inner.unparker()
    }
    fn open(&mut self, domain: Domain, kind: Type, protocol: Option<Protocol>) -> io::Result<FdKey> {
        self.inner.open(domain, kind, protocol)
    }
    fn adopt(&mut self, fd: OwnedFd) -> io::Result<FdKey> {
        self.inner.adopt(fd)
    }
    fn control(&mut self, fd: FdKey, control: &Control<'_>) -> io::Result<Reply> {
        self.inner.control(fd, control)
    }
    fn raw_fd(&self, fd: FdKey) -> Option<RawFd> {
        self.inner.raw_fd(fd)
    }
    fn close(&mut self, ops: &mut OpTable, fd: FdKey) {
        self.count(ops, |inner, ops| inner.close(ops, fd));
    }
    fn release(&mut self, ops: &mut OpTable, fd: FdKey) -> io::Result<OwnedFd> {
        self.count(ops, |inner, ops| inner.release(ops, fd))
    }
    fn submit(&mut self, ops: &mut OpTable, op: OpKey) -> Submitted {
        self.count(ops, |inner, ops| inner.submit(ops, op))
    }
    fn resume(&mut self, ops: &mut OpTable, op: OpKey) -> Submitted {
        self.count(ops, |inner, ops| inner.resume(ops, op))
    }
    fn resume_into(&mut self, ops: &mut OpTable, op: OpKey, buf: &mut [u8]) -> Option<io::Result<usize>> {
        self.count(ops, |inner, ops| inner.resume_into(ops, op, buf))
    }
    fn cancel(&mut self, ops: &mut OpTable, op: OpKey) {
        self.count(ops, |inner, ops| inner.cancel(ops, op));
    }
    fn recv_now(&mut self, fd: FdKey, buf: &mut [u8]) -> Option<io::Result<usize>> {
        self.inner.recv_now(fd, buf)
    }
    fn send_now(&mut self, fd: FdKey, bufs: &[io::IoSlice<'_>]) -> Option<io::Result<usize>> {
        self.inner.send_now(fd, bufs)
    }
    fn poll(&mut self, ops: &mut OpTable, wait: Wait, out: &mut Vec<Completion>) -> io::Result<()> {
        self.count(ops, |inner, ops| inner.poll(ops, wait, out))
    }
    fn flush(&mut self, ops: &mut OpTable) -> io::Result<()> {
        self.count(ops, |inner, ops| inner.flush(ops))
    }
    fn drain(&mut self, ops: &mut OpTable, limit: Duration) -> usize {
        let left = self.count(ops, |inner, ops| inner.drain(ops, limit));
        self.slots.left.set(Some(left));
        left
    }
}
