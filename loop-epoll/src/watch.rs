//! Readiness of any descriptor, level-triggered: what `add_reader` and `add_writer` stand on.
//!
//! The descriptor may be one of ours, and is then watched through its registration. Or it is foreign: a pipe, a
//! terminal, another library's socket, whose number its owner may close, and the kernel give out again, without
//! a word to us. So nothing is believed of a foreign number:
//!
//! * every wait begins by renewing the registration, under the entry's token and for what is waited for. If epoll
//!   does not know the number any more, it stands for another file now: the former entry is abandoned (what waits
//!   on it stays silent, its late events miss), and the number starts anew. A descriptor that epoll refuses (a
//!   regular file) is refused here, whatever the number was before;
//! * whether it is ready is always asked of `poll(2)`; an edge is only the occasion to ask;
//! * a watched number that is given to us (`adopt`) is ours from then on: what waited on it before stays silent,
//!   until cancelled;
//! * a registration that fires twice with nobody waiting is taken back. Once may be the wait just over: a
//!   callback's next wait is to find the registration as it left it.

use std::io;
use std::os::fd::{BorrowedFd, RawFd};

use loop_core::{FdKey, Interest, OpKey, OpTable, Outcome, Submitted};
use rustix::io::Errno;

use crate::backend::EpollBackend;
use crate::descriptors::Descriptor;
use crate::exec::level;
use crate::waiting::{Line, WaiterId};

impl EpollBackend {
    /// Starts to wait for readiness.
    pub(crate) fn watch(&mut self, ops: &mut OpTable, op: OpKey, number: RawFd, interest: Interest) -> Submitted {
        let mut start = || {
            let key = self.watched(number, interest)?;
            if level(borrow(number), interest)? {
                return Ok(Submitted::Done(Ok(Outcome::Done)));
            }
            self.enqueue(ops, (op, key, Line::Watch(interest)), false).map(|()| Submitted::Queued)
        };
        start().unwrap_or_else(|error| Submitted::Done(Err(error)))
    }

    /// The entry of a number, its registration true at this moment.
    fn watched(&mut self, number: RawFd, interest: Interest) -> io::Result<FdKey> {
        if number < 0 {
            return Err(Errno::BADF.into());
        }
        let registry = self.mio.registry();
        if let Some((key, entry)) = self.descriptors.by_number(number) {
            if entry.is_owned() {
                return self.descriptors.register(registry, key).map(|()| key);
            }
            match self.descriptors.register_foreign(registry, key, interest) {
                Ok(()) => return Ok(key),
                Err(error) => {
                    self.descriptors.abandon(key);
                    if error.kind() != io::ErrorKind::NotFound {
                        return Err(error);
                    }
                }
            }
        }
        let key = self.descriptors.insert_foreign(number);
        let registered = self.descriptors.register_foreign(registry, key, interest);
        if registered.is_err() {
            self.descriptors.remove(key);
        }
        registered.map(|()| key)
    }

    /// An edge was reported to a watcher: is the level there?
    pub(crate) fn recheck(&mut self, ops: &mut OpTable, id: WaiterId, interest: Interest) -> Submitted {
        let key = self.waiting.get(id).fd;
        let Some(number) = self.descriptors.get(key).and_then(|entry| entry.number()) else {
            return Submitted::Queued;
        };
        match level(borrow(number), interest) {
            Ok(false) => Submitted::Queued,
            Ok(true) => {
                self.dequeue(ops, id);
                Submitted::Done(Ok(Outcome::Done))
            }
            // Closed without being removed: it gives no events any more, and breaks nothing.
            Err(error) if error.raw_os_error() == Some(libc::EBADF) => {
                self.descriptors.abandon(key);
                Submitted::Queued
            }
            Err(error) => {
                self.dequeue(ops, id);
                Submitted::Done(Err(error))
            }
        }
    }

    /// A watcher has left: does the entry still serve a purpose?
    pub(crate) fn watcher_left(&mut self, key: FdKey) {
        if let Some(entry) = self.descriptors.get(key)
            && matches!(entry.descriptor, Descriptor::Gone)
            && entry.is_idle()
        {
            // The number may be another's by now, so epoll is not told.
            self.descriptors.remove(key);
        }
    }

    /// An event of a foreign entry found nobody waiting.
    pub(crate) fn deserted(&mut self, key: FdKey) {
        if let Some(entry) = self.descriptors.get_mut(key)
            && std::mem::replace(&mut entry.deserted, true)
        {
            self.descriptors.deregister(self.mio.registry(), key);
            self.descriptors.remove(key);
        }
    }
}

/// A number for the length of one call.
fn borrow(number: RawFd) -> BorrowedFd<'static> {
    debug_assert!(number >= 0, "negative numbers were refused at the door");
    // SAFETY: the number is not -1, and goes to poll(2) alone, which only looks: should the number be closed, it
    // says so, and should it be another file's by now, it looks at that one.
    unsafe { BorrowedFd::borrow_raw(number) }
}
