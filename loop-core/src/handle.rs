//! What the ready queue holds: something to run once, that can be cancelled until then.
//!
//! The queue takes any [`Handle`], so another language's callbacks can be embedded with the allocation they
//! have anyway. The loop's own are [`CallbackHandle`] (`call_soon`) and [`TimerHandle`] (`call_later`,
//! `call_at`). Letting go of a handle does not cancel what it stands for.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use crate::context::{self, Context, Snapshot};
use crate::counted::{Counted, Place};
use crate::event_loop::EventLoop;
use crate::inner::Inner;
use crate::timers::TimerKey;

/// Something that the loop runs once (asyncio: `Handle`).
///
/// Implement this to put objects of your own into the ready queue with
/// [`EventLoop::schedule`](crate::EventLoop::schedule).
pub trait Handle {
    /// Runs it. The loop calls this at most once per time it was queued, and not where
    /// [`cancelled`](Handle::cancelled) is true. A panic is caught and reported with this handle.
    fn run(&self, event_loop: &EventLoop);

    /// Keeps it from running, and lets go of what it holds. Idempotent.
    fn cancel(&self);

    /// Whether `cancel` was called; it stays false after a normal run.
    fn cancelled(&self) -> bool;

    /// The context it runs in, where it has one (asyncio: `get_context`).
    fn context(&self) -> Option<Context> {
        None
    }

    /// Where it was made: what debug mode prints.
    fn source(&self) -> Option<&'static Location<'static>> {
        None
    }

    /// What it runs: what reports print.
    fn describe(&self) -> &str {
        "a foreign handle"
    }
}

/// The context something runs in: a snapshot of its own, or one that is shared.
pub(crate) enum Scope {
    Captured(Cell<Snapshot>),
    Shared(Context),
}

impl Scope {
    pub(crate) fn capture() -> Self {
        Self::Captured(Cell::new(context::snapshot()))
    }

    pub(crate) fn run<R>(&self, f: impl FnOnce() -> R) -> R {
        match self {
            Self::Captured(snapshot) => {
                // Kept afterwards: a failure is reported in this context.
                struct Leave<'a>(&'a Cell<Snapshot>, Snapshot);
                impl Drop for Leave<'_> {
                    #[inline]
                    fn drop(&mut self) {
                        self.0.set(context::swap(self.1.take()));
                    }
                }
                let _leave = Leave(snapshot, context::swap(snapshot.take()));
                f()
            }
            Self::Shared(context) => context.run(f),
        }
    }

    pub(crate) fn context(&self) -> Context {
        match self {
            Self::Captured(snapshot) => {
                let values = snapshot.take();
                snapshot.set(values.clone());
                Context::from_snapshot(values)
            }
            Self::Shared(context) => context.clone(),
        }
    }
}

pub(crate) struct Callback<F> {
    cancelled: Cell<bool>,
    scope: Scope,
    source: &'static Location<'static>,
    function: RefCell<Option<F>>,
}

impl<F: FnOnce() + 'static> Callback<F> {
    pub(crate) fn handle(function: F, scope: Scope, source: &'static Location<'static>) -> CallbackHandle {
        let callback = Counted::new_with(|| Self {
            cancelled: Cell::new(false),
            scope,
            source,
            function: RefCell::new(Some(function)),
        });
        // SAFETY: a coercion.
        CallbackHandle(unsafe { callback.coerce(|place| place as *mut Place<dyn Handle>) })
    }
}

impl<F: FnOnce()> Handle for Callback<F> {
    fn run(&self, _: &EventLoop) {
        let function = self.function.borrow_mut().take();
        if let Some(function) = function {
            self.scope.run(function);
        }
    }

    fn cancel(&self) {
        self.cancelled.set(true);
        // Taken out first: its destructor may look at this handle.
        let function = self.function.borrow_mut().take();
        drop(function);
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
        std::any::type_name::<F>()
    }
}

fn fmt_handle(handle: &dyn Handle, kind: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "<{kind}")?;
    if handle.cancelled() {
        write!(f, " cancelled")?;
    }
    write!(f, " {}", handle.describe())?;
    if let Some(source) = handle.source() {
        write!(f, " created at {source}")?;
    }
    write!(f, ">")
}

impl fmt::Debug for dyn Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_handle(self, "Handle", f)
    }
}

/// A callback that waits to be run, by `call_soon` (asyncio: `Handle`). Clones stand for the same callback.
#[derive(Clone)]
pub struct CallbackHandle(pub(crate) Counted<dyn Handle>);

impl CallbackHandle {
    /// Keeps the callback from running and lets go of it and of what it captured. Idempotent.
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// Whether `cancel` was called; it stays false after a normal run.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.0.cancelled()
    }

    /// The context that the callback runs in (asyncio: `get_context`).
    #[must_use]
    pub fn context(&self) -> Option<Context> {
        self.0.context()
    }
}

impl Handle for CallbackHandle {
    fn run(&self, event_loop: &EventLoop) {
        self.0.run(event_loop);
    }

    fn cancel(&self) {
        self.0.cancel();
    }

    fn cancelled(&self) -> bool {
        self.0.cancelled()
    }

    fn context(&self) -> Option<Context> {
        self.0.context()
    }

    fn source(&self) -> Option<&'static Location<'static>> {
        self.0.source()
    }

    fn describe(&self) -> &str {
        self.0.describe()
    }
}

impl fmt::Debug for CallbackHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_handle(&*self.0, "Handle", f)
    }
}

/// A callback that waits for its time, by `call_later` or `call_at` (asyncio: `TimerHandle`). Clones stand for
/// the same callback.
#[derive(Clone)]
pub struct TimerHandle {
    callback: CallbackHandle,
    key: TimerKey,
    when: Duration,
    inner: Rc<Inner>,
}

impl TimerHandle {
    pub(crate) fn new(callback: CallbackHandle, key: TimerKey, when: Duration, inner: Rc<Inner>) -> Self {
        Self { callback, key, when, inner }
    }

    /// The deadline, on the loop's clock.
    #[must_use]
    pub fn when(&self) -> Duration {
        self.when
    }

    /// Keeps the callback from running and lets go of it and of what it captured, and takes the timer back, so
    /// that it does not keep the loop awake. Idempotent.
    pub fn cancel(&self) {
        let target = self.inner.timers.borrow_mut().cancel(self.key);
        drop(target);
        self.callback.cancel();
    }

    /// Whether `cancel` was called; it stays false after a normal run.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.callback.cancelled()
    }

    /// The context that the callback runs in (asyncio: `get_context`).
    #[must_use]
    pub fn context(&self) -> Option<Context> {
        self.callback.context()
    }
}

impl Handle for TimerHandle {
    fn run(&self, event_loop: &EventLoop) {
        self.callback.run(event_loop);
    }

    fn cancel(&self) {
        Self::cancel(self);
    }

    fn cancelled(&self) -> bool {
        self.callback.cancelled()
    }

    fn context(&self) -> Option<Context> {
        self.callback.context()
    }

    fn source(&self) -> Option<&'static Location<'static>> {
        self.callback.source()
    }

    fn describe(&self) -> &str {
        self.callback.describe()
    }
}

/// Timer handles order, and are equal, by their deadline.
impl PartialOrd for TimerHandle {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for TimerHandle {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.when.cmp(&other.when)
    }
}

impl PartialEq for TimerHandle {
    fn eq(&self, other: &Self) -> bool {
        self.when == other.when
    }
}

impl Eq for TimerHandle {}

impl fmt::Debug for TimerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = format!("TimerHandle when={:?}", self.when);
        fmt_handle(&self.callback, &kind, f)
    }
}
