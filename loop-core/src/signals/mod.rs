//! Signals as callbacks of the loop (asyncio: `add_signal_handler`).
//!
//! Within a real signal handler next to nothing may be done, so ours writes the signal's number into a pipe, which the
//! loop watches like any descriptor while it has handlers; the callback's turn is in the pass after that. Owned here: the
//! pipe, and which callback a signal has; `disposition` owns what the process does when a signal comes.
//!
//! A signal is handled by one loop at a time, of whatever thread; its disposition is what it was before as soon as the
//! handler is removed or the loop closed.

mod disposition;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::Location;
use std::rc::{Rc, Weak};

use rustix::pipe::{PipeFlags, pipe_with};

use crate::context::Context;
use crate::error::Result;
use crate::event_loop::EventLoop;
use crate::exception::Finally;
use crate::handle::{Handle, Scope};
use crate::inner::Inner;
use disposition::Installed;

/// The handlers of one loop.
#[derive(Default)]
pub(crate) struct Signals {
    /// While there are handlers.
    pipe: RefCell<Option<Pipe>>,
    handlers: RefCell<BTreeMap<i32, Registered>>,
}

struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

struct Registered {
    // Dropped first: the disposition goes back before the callback does.
    installed: Installed,
    handler: Rc<SignalHandler>,
}

/// One handler, queued once per signal that came.
struct SignalHandler {
    callback: Cell<Option<Box<dyn FnMut()>>>,
    scope: Scope,
    cancelled: Cell<bool>,
    source: &'static Location<'static>,
}

impl Handle for SignalHandler {
    fn run(&self, _: &EventLoop) {
        /// The callback goes back to its place, also where it panics.
        struct PutBack<'a>(&'a SignalHandler, Option<Box<dyn FnMut()>>);
        impl Drop for PutBack<'_> {
            fn drop(&mut self) {
                self.0.callback.set(self.1.take());
            }
        }
        let mut callback = PutBack(self, self.callback.take());
        if let Some(callback) = &mut callback.1 {
            self.scope.run(callback);
        }
    }

    fn cancel(&self) {
        self.cancelled.set(true);
        drop(self.callback.take());
    }

    fn cancelled(&self) -> bool {
        self.cancelled.get()
    }

    fn context(&self) -> Option<Context> {
        Some(self.scope.context())
    }

    fn source(&self) -> Option<&'static Location<'static>> {
        Some(self.source)
    }

    fn describe(&self) -> &str {
        "a signal handler"
    }
}

impl Signals {
    /// At close: every disposition is what it was.
    pub(crate) fn close(&self, finally: &mut Finally<'_>) {
        let handlers = self.handlers.take();
        for (_, Registered { installed, handler }) in handlers {
            drop(installed);
            finally.dispose(handler);
        }
        // Nobody writes to it any more.
        self.pipe.take();
    }

    /// The pipe has something: each signal's callback takes its place in the ready queue.
    fn drain(&self, event_loop: &EventLoop) {
        let mut buffer = [0; 64];
        loop {
            let read = match &*self.pipe.borrow() {
                Some(pipe) => rustix::io::read(&pipe.read, &mut buffer),
                None => return,
            };
            let Ok(read @ 1..) = read else { return };
            for &signal in &buffer[..read] {
                let handler = match self.handlers.borrow().get(&i32::from(signal)) {
                    Some(Registered { installed, handler }) => {
                        installed.seen();
                        Rc::clone(handler)
                    }
                    None => continue,
                };
                // The loop runs, so it is open.
                _ = event_loop.schedule(handler);
            }
        }
    }
}

impl EventLoop {
    /// Calls a function in this loop each time a signal comes, until it is removed or the loop closed (asyncio:
    /// `add_signal_handler`). It runs as any callback, in the context that is current now, in the pass after the one that
    /// the signal wakes; system calls go on undisturbed. A handler that the signal has already is replaced.
    ///
    /// asyncio has this in the main thread only; here any thread's loop can handle signals, one loop a signal at a time.
    /// `signal` is a number of the operating system's, `libc::SIGTERM` for one.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for what is no signal; [`Error::UncatchableSignal`] for `SIGKILL`, `SIGSTOP`, faults of
    /// the program itself, and what the C library keeps for itself; [`Error::SignalInUse`] where another loop handles it;
    /// [`Error::Closed`]; [`Error::Io`] where there is no descriptor left, or the backend watches none.
    ///
    /// [`Error::InvalidArgument`]: crate::Error::InvalidArgument
    /// [`Error::UncatchableSignal`]: crate::Error::UncatchableSignal
    /// [`Error::SignalInUse`]: crate::Error::SignalInUse
    /// [`Error::Closed`]: crate::Error::Closed
    /// [`Error::Io`]: crate::Error::Io
    #[track_caller]
    pub fn add_signal_handler(&self, signal: i32, function: impl FnMut() + 'static) -> Result<()> {
        self.inner.add_signal(signal, Box::new(function), false, Location::caller()).map(drop)
    }

    /// Takes a signal's handler off, and gives the signal the disposition that it had before (asyncio:
    /// `remove_signal_handler`). A call that is queued already is still made. False where it has no handler of this loop.
    pub fn remove_signal_handler(&self, signal: i32) -> bool {
        self.inner.remove_signal(signal, None)
    }

    /// Has `SIGINT` call a function, where nobody else has a say in it: in the main thread, with the default disposition.
    /// None otherwise. What comes back gives the signal back when it is dropped, unless another handler took its place.
    ///
    /// A second `SIGINT` that comes before the loop has noticed the first one does what it does by default: a loop that
    /// does not turn must not keep the user from ending the program.
    #[track_caller]
    pub fn catch_interrupt(&self, function: impl FnMut() + 'static) -> Option<CaughtInterrupt> {
        let is_main = rustix::thread::gettid() == rustix::process::getpid();
        if !is_main || !disposition::is_default(libc::SIGINT) {
            return None;
        }
        match self.inner.add_signal(libc::SIGINT, Box::new(function), true, Location::caller()) {
            Ok(handler) => Some(CaughtInterrupt { inner: Rc::downgrade(&self.inner), handler }),
            Err(error) => {
                tracing::debug!(%error, "interrupts are left alone");
                None
            }
        }
    }
}

/// Gives `SIGINT` back when it is dropped: from [`EventLoop::catch_interrupt`].
#[must_use = "the interrupt is given back when this is dropped"]
pub struct CaughtInterrupt {
    inner: Weak<Inner>,
    handler: Rc<SignalHandler>,
}

impl Drop for CaughtInterrupt {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.upgrade() {
            inner.remove_signal(libc::SIGINT, Some(&self.handler));
        }
    }
}

impl fmt::Debug for CaughtInterrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaughtInterrupt").field("from", &self.handler.source).finish_non_exhaustive()
    }
}

impl Inner {
    fn add_signal(
        self: &Rc<Self>,
        signal: i32,
        callback: Box<dyn FnMut()>,
        impatient: bool,
        source: &'static Location<'static>,
    ) -> Result<Rc<SignalHandler>> {
        self.check_open()?;
        disposition::check(signal)?;
        let handler = Rc::new(SignalHandler {
            callback: Cell::new(Some(callback)),
            scope: Scope::capture(),
            cancelled: Cell::new(false),
            source,
        });
        let replaced = self.signals.handlers.borrow_mut().get_mut(&signal).map(|registered| {
            registered.installed.set_impatient(impatient);
            std::mem::replace(&mut registered.handler, Rc::clone(&handler))
        });
        if let Some(replaced) = replaced {
            self.dispose(replaced);
            return Ok(handler);
        }
        let pipe = self.open_signal_pipe()?;
        match Installed::new(signal, pipe, impatient) {
            Ok(installed) => {
                let registered = Registered { installed, handler: Rc::clone(&handler) };
                self.signals.handlers.borrow_mut().insert(signal, registered);
                Ok(handler)
            }
            Err(error) => {
                self.close_signal_pipe();
                Err(error)
            }
        }
    }

    /// Takes a handler off; where one is given, only that one.
    fn remove_signal(self: &Rc<Self>, signal: i32, only: Option<&Rc<SignalHandler>>) -> bool {
        let removed = {
            let mut handlers = self.signals.handlers.borrow_mut();
            match handlers.get(&signal) {
                Some(found) if only.is_none_or(|only| Rc::ptr_eq(only, &found.handler)) => handlers.remove(&signal),
                _ => None,
            }
        };
        let Some(Registered { installed, handler }) = removed else { return false };
        drop(installed);
        self.close_signal_pipe();
        self.dispose(handler);
        true
    }

    /// The end of the pipe that signals are written to.
    fn open_signal_pipe(self: &Rc<Self>) -> Result<i32> {
        if let Some(pipe) = &*self.signals.pipe.borrow() {
            return Ok(pipe.write.as_raw_fd());
        }
        let flags = PipeFlags::CLOEXEC | PipeFlags::NONBLOCK;
        let (read, write) = pipe_with(flags).map_err(std::io::Error::from)?;
        let weak = Rc::downgrade(self);
        EventLoop::of(self).add_reader(&read, move || {
            if let Some(inner) = weak.upgrade() {
                inner.signals.drain(&EventLoop::of(&inner));
            }
        })?;
        let fd = write.as_raw_fd();
        self.signals.pipe.replace(Some(Pipe { read, write }));
        Ok(fd)
    }

    fn close_signal_pipe(self: &Rc<Self>) {
        if !self.signals.handlers.borrow().is_empty() {
            return;
        }
        let pipe = self.signals.pipe.take();
        if let Some(pipe) = pipe {
            // Watched until now; a closed loop watches nothing.
            _ = EventLoop::of(self).remove_reader(&pipe.read);
        }
    }
}
