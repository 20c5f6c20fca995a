//! The cut between the loop and the operating system.
//!
//! A backend interprets operations, which are data; the loop owns their state and memory. What a backend
//! must keep, whatever it is made of:
//!
//! * **B1** every operation that `submit` queued gets exactly one final completion, also after `cancel`;
//! * **B2** after it, nothing touches the slot or its buffer; before it, nobody frees or moves them;
//! * **B3** operations of one descriptor and direction keep their order;
//! * **B4** `poll` runs no user code;
//! * **B5** an unpark before or during `poll` makes it return, and none is lost;
//! * **B6** `now` never goes back;
//! * **B7** a result never exceeds the buffer.
//!
//! [`CheckedBackend`](crate::testing::CheckedBackend) asserts these, and the conformance suite shows them.

use std::io::{self, IoSlice};
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Type};

use crate::control::{Control, Reply};
use crate::fd::FdKey;
use crate::op::{Completion, Submitted};
use crate::op_table::{OpKey, OpTable};

/// What a backend can do beyond the minimum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Capabilities {
    /// `recv_now` and `send_now` always answer: bytes move in the caller's own call. A backend without this may answer where
    /// a call is the better way, for large sends say.
    pub synchronous: bool,
    /// `poll(Wait::Peek)` costs no system call and reports everything there is: the loop peeks at every pass.
    pub free_poll: bool,
    /// `poll(Wait::Peek)` may find what the kernel has done meanwhile, in memory shared with it. Without this (and without
    /// `free_poll`) the loop leaves a peek out where it did not call the backend since the last poll.
    pub shared_memory: bool,
    /// Received bytes lie in buffers shared with the kernel.
    pub buffer_ring: bool,
    /// `ReadAt` and `WriteAt` are supported.
    pub files: bool,
    /// The clock is simulated and jumps.
    pub virtual_time: bool,
}

/// How long `poll` may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Report what can be seen in memory, without a system call.
    Peek,
    /// Ask the kernel, do not wait.
    Now,
    /// Wait until something happens, or the backend's clock reaches this.
    Until(Duration),
    /// Wait until something happens.
    Forever,
}

/// Wakes a waiting `poll` from any thread.
pub trait Unpark: Send + Sync {
    /// Makes the `poll` that waits, or else the next one, return without waiting. Never blocks, never fails;
    /// any number of calls may coalesce into one. The loop calls this only while it sleeps or is about to.
    fn unpark(&self);
}

/// The operating system, as the loop sees it. One loop owns one backend, and only its thread calls it.
///
/// # Safety
///
/// The loop frees an operation's memory after its final completion, and only then. An implementation must
/// report that completion only once neither it nor the kernel will touch the operation again (**B1**, **B2**),
/// and its counts must be true (**B7**): bytes up to the count are taken to be initialised.
pub unsafe trait Backend {
    /// `"epoll"`, `"uring"`, ...
    fn name(&self) -> &'static str;

    /// What it can do beyond the minimum. Never changes.
    fn capabilities(&self) -> Capabilities;

    /// The loop's clock: monotonic, of nanosecond resolution, from an arbitrary origin (**B6**).
    fn now(&self) -> Duration;

    /// What wakes a waiting `poll` (**B5**).
    fn unparker(&self) -> Arc<dyn Unpark>;

    /// Makes a socket, non-blocking and close-on-exec.
    ///
    /// # Errors
    ///
    /// The operating system's.
    fn open(&mut self, domain: Domain, kind: Type, protocol: Option<Protocol>) -> io::Result<FdKey>;

    /// Takes over a descriptor and makes it non-blocking. On an error the descriptor is closed.
    ///
    /// # Errors
    ///
    /// The operating system's; [`io::ErrorKind::Unsupported`] from a backend without real descriptors.
    fn adopt(&mut self, fd: OwnedFd) -> io::Result<FdKey>;

    /// Answers a request about a socket at once.
    ///
    /// # Errors
    ///
    /// The operating system's; [`io::ErrorKind::NotConnected`] where the key is not (or no longer) known.
    fn control(&mut self, fd: FdKey, control: &Control<'_>) -> io::Result<Reply>;

    /// The descriptor's number, where there is a real one and it is still open.
    fn raw_fd(&self, fd: FdKey) -> Option<RawFd>;

    /// Forgets the key at once, cancels what is in flight on it (each operation still gets its final
    /// completion, out of `poll`), and closes the descriptor when the last of them has completed. An unknown key
    /// is ignored.
    fn close(&mut self, ops: &mut OpTable, fd: FdKey);

    /// Like [`close`](Backend::close), but hands the descriptor back instead of closing it.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::ResourceBusy`] while operations are in flight on it; nothing is changed then.
    /// [`io::ErrorKind::Unsupported`] where there is no real descriptor.
    fn release(&mut self, ops: &mut OpTable, fd: FdKey) -> io::Result<OwnedFd>;

    /// Starts an operation that the loop has put into the table.
    fn submit(&mut self, ops: &mut OpTable, op: OpKey) -> Submitted;

    /// Goes on with an operation for which `poll` reported [`Event::Resume`](crate::Event::Resume). The loop answers every
    /// `Resume` with this, sooner or later: a backend may leave the operation alone until then. An operation
    /// that was cancelled meanwhile, or is unknown, answers [`Submitted::Queued`]: its final completion is on its
    /// way, or has been. After [`Submitted::More`] it may be called again at once, for the next outcome; either way the
    /// backend itself reports `Resume` again if there may be more.
    fn resume(&mut self, ops: &mut OpTable, op: OpKey) -> Submitted;

    /// Goes on with a multishot receive as [`resume`](Self::resume) does, but receives into the caller's memory, and says how
    /// much: that is an answer to the `Resume`, and the backend reports another if there may be more. Zero is the end of the
    /// stream, which `resume` is still to be asked for, as it is after an error of `WouldBlock` and after `None`: there is nothing
    /// to be had in this way. Any other error is the connection's end, and may be told this once.
    fn resume_into(&mut self, _ops: &mut OpTable, _op: OpKey, _buf: &mut [u8]) -> Option<io::Result<usize>> {
        None
    }

    /// Asks for an operation to end early. Its final completion still comes, out of `poll`: an error of
    /// `ECANCELED`, or its outcome if that was faster. Never lost, idempotent, and harmless for an unknown key.
    fn cancel(&mut self, ops: &mut OpTable, op: OpKey);

    /// Receives into the caller's memory, in this call. `None`: this backend does not do that here. An error of
    /// `WouldBlock` means that there is nothing now; the readiness that a waiting operation of the same
    /// descriptor relies on is not lost. It takes what a waiting operation was told of by `Resume`: that one's
    /// `resume` then finds the rest, or nothing.
    fn recv_now(&mut self, fd: FdKey, buf: &mut [u8]) -> Option<io::Result<usize>>;

    /// Sends from the caller's memory, in this call, as much as can be sent. `None`: this backend does not do
    /// that for these. An error of `WouldBlock` means that nothing can be sent now, and is the answer while a send that was
    /// submitted waits on the same descriptor: nothing overtakes it (**B3**).
    fn send_now(&mut self, fd: FdKey, bufs: &[IoSlice<'_>]) -> Option<io::Result<usize>>;

    /// Tells that the wait after the next one will probably be until this: a backend may set its timer for it while the one for
    /// the next wait is still to come, where that is cheaper. A prediction: it binds nobody, and may be repeated.
    fn foresee(&mut self, _deadline: Duration) {}

    /// Submits what is queued, waits as told, and appends what happened to `out`, in order. Returns early, with
    /// nothing appended, when interrupted or unparked, or when the clock reaches what was [foreseen](Backend::foresee). Of
    /// much that happened it may leave a part for the next poll, before what happens until then.
    ///
    /// # Errors
    ///
    /// Only such as leave the backend unable to go on.
    fn poll(&mut self, ops: &mut OpTable, wait: Wait, out: &mut Vec<Completion>) -> io::Result<()>;

    /// Hands the system what `submit` queued, without waiting, and without reporting anything: at the end of a run, as the
    /// next poll may be long in coming.
    ///
    /// # Errors
    ///
    /// As of [`poll`](Backend::poll).
    fn flush(&mut self, _ops: &mut OpTable) -> io::Result<()> {
        Ok(())
    }

    /// At close: cancels everything in flight, waits up to `limit` for the final completions, discards them (what
    /// they carry is closed and recycled), and tells how many are still in flight. After it has answered 0, `poll` reports
    /// nothing more; with any left, their memory has to stay for good.
    fn drain(&mut self, ops: &mut OpTable, limit: Duration) -> usize;

    /// Tells that threads outside the loop (executor jobs) are at work for it, or no longer. A simulated clock
    /// does not jump meanwhile; real clocks ignore this.
    fn hold_clock(&mut self, _hold: bool) {}
}
