//! A listening socket: one multishot accept, and what becomes of its outcomes.
//!
//! Being out of descriptors or memory is reported once and pauses this listener for a second; any other failure is
//! reported, and accepting goes on. The listener knows its server weakly: it ends with it.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::{Rc, Weak};
use std::time::Duration;

use socket2::SockAddr;

use crate::address::with_context;
use crate::control::Control;
use crate::driver::{Resumed, Sink, Started};
use crate::error::{Error, Result};
use crate::event_loop::EventLoop;
use crate::exception::ExceptionContext;
use crate::handle::TimerHandle;
use crate::inner::Inner;
use crate::op::{Event, Op, Outcome};
use crate::op_table::OpKey;
use crate::server::ServerInner;
use crate::socket::{Socket, show};

/// How long a listener rests when there are no descriptors left.
const ACCEPT_RETRY: Duration = Duration::from_secs(1);

pub(super) struct Listener {
    server: Weak<ServerInner>,
    inner: Rc<Inner>,
    socket: Socket,
    op: Cell<Option<OpKey>>,
    retry: RefCell<Option<TimerHandle>>,
    /// The last accept failed: the next one that fails rests too.
    failing: Cell<bool>,
    closed: Cell<bool>,
}

impl Listener {
    pub(super) fn new(server: &Rc<ServerInner>, socket: Socket) -> Rc<Self> {
        Rc::new(Self {
            server: Rc::downgrade(server),
            inner: Rc::clone(&server.inner),
            socket,
            op: Cell::new(None),
            retry: RefCell::new(None),
            failing: Cell::new(false),
            closed: Cell::new(false),
        })
    }

    /// Lets peers connect; they are accepted once it is armed.
    pub(super) fn listen(&self, backlog: i32) -> Result<()> {
        self.socket.control(&Control::Listen(backlog)).map(drop).map_err(|error| {
            let what = "error while attempting to listen on address";
            let address = self.socket.local_addr().map_or_else(|error| error.to_string(), |addr| show(&addr));
            Error::Io(with_context(error, what, &address))
        })
    }

    pub(super) fn local_addr(&self) -> Option<SockAddr> {
        self.socket.local_addr().ok()
    }

    pub(super) fn arm(self: &Rc<Self>) {
        if self.closed.get() || self.op.get().is_some() {
            return;
        }
        match self.inner.start(Op::AcceptMulti { fd: self.socket.key() }, Rc::clone(self) as Rc<dyn Sink>) {
            Started::Queued(key) => self.op.set(Some(key)),
            Started::More(key, outcome) => {
                self.op.set(Some(key));
                self.accepted(outcome);
            }
            Started::Done(result, ..) => self.ended(result),
            Started::Closed => {}
        }
    }

    fn accepted(&self, outcome: Outcome) {
        self.failing.set(false);
        let Outcome::Accepted(fd) = outcome else { return };
        match self.server.upgrade() {
            Some(server) if !self.closed.get() => server.accepted(fd),
            _ => self.inner.close_fd(fd),
        }
    }

    /// Accepting stopped: it goes on at once, or after a rest.
    fn ended(self: &Rc<Self>, result: io::Result<Outcome>) {
        self.op.set(None);
        let error = match result {
            Ok(outcome) => {
                self.accepted(outcome);
                return self.arm();
            }
            Err(error) => error,
        };
        if self.closed.get() || error.raw_os_error() == Some(libc::ECANCELED) {
            return;
        }
        let exhausted =
            matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM));
        let message = if exhausted { "socket.accept() out of system resource" } else { "socket.accept() failed" };
        self.inner.report(&ExceptionContext::new(message).exception(error).detail("socket", &self.socket));
        let rest = if exhausted || self.failing.replace(true) { ACCEPT_RETRY } else { Duration::ZERO };
        let listener = Rc::downgrade(self);
        let again = move || {
            let Some(listener) = listener.upgrade() else { return };
            let done = listener.retry.take();
            drop(done);
            listener.arm();
        };
        // On a closed loop there is nothing to go on with.
        if let Ok(timer) = EventLoop::of(&self.inner).call_later(rest, again) {
            self.retry.replace(Some(timer));
        }
    }

    pub(super) fn close(&self) {
        if self.closed.replace(true) {
            return;
        }
        let retry = self.retry.take();
        if let Some(retry) = retry {
            retry.cancel();
        }
        if let Some(op) = self.op.take() {
            self.inner.abandon_op(op);
        }
        if let Some(raw) = self.socket.raw_fd() {
            self.inner.watches.disown(raw);
        }
        self.inner.close_fd(self.socket.key());
    }
}

/// Of a server that never served, or whose loop was closed.
impl Drop for Listener {
    fn drop(&mut self) {
        self.close();
    }
}

impl Sink for Listener {
    fn event(self: Rc<Self>, inner: &Rc<Inner>, key: OpKey, event: Event, _: Option<Op>) {
        if self.op.get() != Some(key) {
            // Ended while its event waited in the queue: what it carries must not be lost.
            if let Event::More(outcome) | Event::Final(Ok(outcome)) = event {
                self.accepted(outcome);
            }
            return;
        }
        match event {
            Event::More(outcome) => self.accepted(outcome),
            Event::Final(result) => self.ended(result),
            Event::Resume => {
                let most = self.server.upgrade().map_or(0, |server| server.options.backlog.max(1));
                for _ in 0..most {
                    match inner.resume(key) {
                        Resumed::More(outcome) => self.accepted(outcome),
                        Resumed::Final(result, _) => return self.ended(result),
                        Resumed::Nothing => return,
                    }
                    if self.closed.get() {
                        return;
                    }
                }
            }
        }
    }
}
