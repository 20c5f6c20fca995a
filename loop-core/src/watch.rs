//! `add_reader` and `add_writer`: callbacks for as long as a descriptor is ready.
//!
//! Level-triggered, as in asyncio: a descriptor left readable calls its reader again every pass. A watch is one readiness
//! operation after another: when one is done the callback's turn comes in the same pass, and then the next is
//! submitted.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;

use crate::context::{self, Context};
use crate::driver::{Resumed, Sink, Started};
use crate::error::{Error, Result};
use crate::event_loop::EventLoop;
use crate::exception::{ExceptionContext, Finally};
use crate::inner::Inner;
use crate::op::{Event, Interest, Op, Outcome};
use crate::op_table::OpKey;
use crate::ready::{Ready, ReadyQueue};

#[derive(Default)]
pub(crate) struct Watches {
    watches: RefCell<HashMap<(RawFd, Interest), Rc<Watch>>>,
    /// Those that were found ready when they were armed: events of the next pass.
    due: RefCell<Vec<Rc<Watch>>>,
    /// Descriptors that open transports own.
    owned: RefCell<HashSet<RawFd>>,
}

impl Watches {
    pub(crate) fn take(&self) -> Vec<Rc<Watch>> {
        self.owned.take();
        let due = self.due.take();
        self.watches.take().into_values().chain(due).collect()
    }

    /// Whether the next pass has events of watches for certain.
    pub(crate) fn any_due(&self) -> bool {
        !self.due.borrow().is_empty()
    }

    /// The events that need no poll take their turn among those of the poll.
    pub(crate) fn move_due(&self, ready: &ReadyQueue) {
        if self.any_due() {
            self.due.borrow_mut().drain(..).for_each(|watch| ready.push(Ready::Watch(watch)));
        }
    }

    fn own(&self, fd: RawFd) -> bool {
        self.owned.borrow_mut().insert(fd)
    }

    /// A transport is closing: its descriptor is anybody's.
    pub(crate) fn disown(&self, fd: RawFd) {
        self.owned.borrow_mut().remove(&fd);
    }

    /// Refuses a descriptor that an open transport owns.
    pub(crate) fn check_free(&self, fd: RawFd) -> Result<()> {
        if self.owned.borrow().contains(&fd) { Err(Error::DescriptorInUse(fd)) } else { Ok(()) }
    }
}

impl Inner {
    /// A transport takes a descriptor over, and whoever watched it does not any more; false where another transport has
    /// it.
    pub(crate) fn take_over(self: &Rc<Self>, fd: RawFd) -> bool {
        if !self.watches.own(fd) {
            return false;
        }
        for interest in [Interest::Read, Interest::Write] {
            let watch = self.watches.watches.borrow_mut().remove(&(fd, interest));
            if let Some(watch) = watch {
                watch.remove(self);
            }
        }
        true
    }
}

type Callback = Box<dyn FnMut()>;

pub(crate) struct Watch {
    fd: RawFd,
    interest: Interest,
    context: Context,
    callback: RefCell<Option<Callback>>,
    removed: Cell<bool>,
    op: Cell<Option<OpKey>>,
}

impl Watch {
    fn arm(self: &Rc<Self>, inner: &Rc<Inner>) -> std::io::Result<()> {
        let op = Op::Readiness { fd: self.fd, interest: self.interest };
        match inner.start(op, Rc::clone(self) as Rc<dyn Sink>) {
            Started::Queued(key) | Started::More(key, _) => self.op.set(Some(key)),
            Started::Done(result, ..) => {
                result?;
                // The pass looks for it, as the backend was called.
                inner.watches.due.borrow_mut().push(Rc::clone(self));
            }
            Started::Closed => {}
        }
        Ok(())
    }

    /// The callback's turn.
    pub(crate) fn run(self: &Rc<Self>, inner: &Rc<Inner>) {
        if self.removed.get() {
            return;
        }
        let Some(mut callback) = self.callback.take() else { return };
        let describe = || {
            let what = if self.interest == Interest::Read { "reader" } else { "writer" };
            ExceptionContext::new(format!("Exception in callback of {what} on descriptor {}", self.fd))
        };
        let mut finally = Finally::new(inner);
        finally.run(|| self.context.run(&mut callback), describe);
        if self.removed.get() {
            finally.dispose(callback);
            return finally.end();
        }
        // Kept in any case: after a fatal panic too, the loop may be run again.
        self.callback.replace(Some(callback));
        if let Err(error) = self.arm(inner) {
            // The descriptor was closed without being removed: it stops giving events.
            tracing::debug!(fd = self.fd, %error, "a watched descriptor is gone");
        }
        finally.end();
    }

    fn remove(&self, inner: &Rc<Inner>) {
        self.removed.set(true);
        if let Some(key) = self.op.take() {
            inner.abandon_op(key);
        }
        let callback = self.callback.take();
        inner.dispose(callback);
    }
}

impl Sink for Watch {
    fn event(self: Rc<Self>, inner: &Rc<Inner>, key: OpKey, event: Event, _: Option<Op>) {
        let result: std::io::Result<Outcome> = match event {
            Event::Final(result) => result,
            Event::Resume => match inner.resume(key) {
                Resumed::Final(result, _) => result,
                Resumed::More(_) | Resumed::Nothing => return,
            },
            Event::More(_) => return,
        };
        if self.op.get() == Some(key) {
            self.op.set(None);
        }
        match result {
            Ok(_) => self.run(inner),
            Err(error) => tracing::debug!(fd = self.fd, %error, "a watched descriptor is gone"),
        }
    }
}

impl EventLoop {
    /// Calls a function whenever the descriptor can be read, every pass until it is removed (asyncio: `add_reader`). A
    /// second call for the same descriptor replaces the function. Hang-up and errors count as readable. The descriptor is
    /// named by its number, so it must be removed before it is closed.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`]; [`Error::DescriptorInUse`] where an open transport owns it; [`Error::InvalidArgument`] for a
    /// negative number; [`Error::Io`] where it cannot be watched, as a regular file (`EPERM`).
    pub fn add_reader(&self, fd: &impl AsRawFd, callback: impl FnMut() + 'static) -> Result<()> {
        self.add_watch(fd.as_raw_fd(), Interest::Read, Box::new(callback))
    }

    /// Calls a function whenever the descriptor can be written (asyncio: `add_writer`); see
    /// [`add_reader`](Self::add_reader), of which this is independent.
    ///
    /// # Errors
    ///
    /// As for [`add_reader`](Self::add_reader).
    pub fn add_writer(&self, fd: &impl AsRawFd, callback: impl FnMut() + 'static) -> Result<()> {
        self.add_watch(fd.as_raw_fd(), Interest::Write, Box::new(callback))
    }

    /// Ends `add_reader`: true where there was one (asyncio: `remove_reader`). A call that is queued already is taken
    /// back. On a closed loop, false.
    ///
    /// # Errors
    ///
    /// [`Error::DescriptorInUse`], [`Error::InvalidArgument`].
    pub fn remove_reader(&self, fd: &impl AsRawFd) -> Result<bool> {
        self.remove_watch(fd.as_raw_fd(), Interest::Read)
    }

    /// Ends `add_writer`: true where there was one (asyncio: `remove_writer`).
    ///
    /// # Errors
    ///
    /// As for [`remove_reader`](Self::remove_reader).
    pub fn remove_writer(&self, fd: &impl AsRawFd) -> Result<bool> {
        self.remove_watch(fd.as_raw_fd(), Interest::Write)
    }

    fn add_watch(&self, fd: RawFd, interest: Interest, callback: Callback) -> Result<()> {
        let inner = &self.inner;
        inner.check_open()?;
        check_fd(fd)?;
        inner.watches.check_free(fd)?;
        let old = inner.watches.watches.borrow_mut().remove(&(fd, interest));
        if let Some(old) = old {
            old.remove(inner);
        }
        let watch = Rc::new(Watch {
            fd,
            interest,
            context: Context::from_snapshot(context::snapshot()),
            callback: RefCell::new(Some(callback)),
            removed: Cell::new(false),
            op: Cell::new(None),
        });
        watch.arm(inner)?;
        inner.watches.watches.borrow_mut().insert((fd, interest), watch);
        Ok(())
    }

    fn remove_watch(&self, fd: RawFd, interest: Interest) -> Result<bool> {
        let inner = &self.inner;
        if inner.closed.get() {
            return Ok(false);
        }
        check_fd(fd)?;
        inner.watches.check_free(fd)?;
        let watch = inner.watches.watches.borrow_mut().remove(&(fd, interest));
        match watch {
            Some(watch) => {
                watch.remove(inner);
                Ok(true)
            }
            None => Ok(false),
        }
    }
}

fn check_fd(fd: RawFd) -> Result<()> {
    if fd < 0 { Err(Error::InvalidArgument("a file descriptor cannot be negative")) } else { Ok(()) }
}
