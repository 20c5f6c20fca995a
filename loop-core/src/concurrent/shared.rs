//! The allocation behind a [`ConcurrentFuture`] and its job or completer: three cells, the state word
//! that says whose they are, and the list of listeners under a lock.
//!
//! All `unsafe` of the concurrent future is in this file. The invariant behind each block is an
//! ownership rule of [`State`](super::state): the closure cell belongs to whoever moved the word out of
//! queued, the outcome cell to whoever moved it to storing (a runner: to running), then to all
//! readers or to the one taker, the notifier cell to whoever the two notifier flags say. Each cell is
//! touched only in the function that has just won the transition, and no user code runs while one is
//! borrowed: what leaves a cell is moved out before it is called or dropped.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use super::arrival::Arrival;
use super::state::{Cancel, End, Snapshot, State};
use super::{Callback, ConcurrentFuture, Notify};
use crate::shared::Anchor;
use crate::sync::{Condvar, Mutex, UnsafeCell};
use crate::{Cancelled, Panicked, TaskError};

/// What one concurrent future consists of; `C` is a job's closure cell, or nothing for a pair.
pub(crate) struct Shared<T, C: ?Sized = dyn Payload> {
    state: State,
    outcome: UnsafeCell<Outcome<T>>,
    notifier: UnsafeCell<Option<Notifier<T>>>,
    listeners: Mutex<Listeners<T>>,
    /// Notified with the lock held when the word has become done and somebody listens.
    done: Condvar,
    payload: C,
}

/// Who is told first.
enum Notifier<T> {
    Loop(Arrival<T>),
    Other(Arc<dyn Notify>, u64),
}

enum Outcome<T> {
    Empty,
    Value(T),
    Error(TaskError),
}

/// Boxed as a whole: most futures have none.
type Listeners<T> = Option<Box<ListenerList<T>>>;

struct ListenerList<T> {
    callbacks: Vec<Callback<T>>,
    hook: Option<Hook>,
}

impl<T> Default for ListenerList<T> {
    fn default() -> Self {
        Self { callbacks: Vec::new(), hook: None }
    }
}

type Hook = Box<dyn FnOnce() + Send>;

// SAFETY: by the ownership rules of `State` every cell is reached by one thread at a time, except an
// error outcome, which is `Sync`. So the closure and the value need only be `Send`. The lock is `Sync`
// by itself, for callbacks and hook are `Send`.
unsafe impl<T: Send, C: Send + ?Sized> Sync for Shared<T, C> {}

/// What a shared state carries besides the outcome.
pub(crate) trait Payload: Send {
    /// Drops the closure, if there is one.
    ///
    /// # Safety
    ///
    /// The caller has moved the state word out of queued.
    unsafe fn discard(&self);
}

impl Payload for () {
    unsafe fn discard(&self) {}
}

/// A job's closure until it is run or dropped.
pub(crate) struct Closure<F>(UnsafeCell<Option<F>>);

impl<F> Closure<F> {
    /// # Safety
    ///
    /// The caller has moved the state word out of queued.
    unsafe fn take(&self) -> Option<F> {
        // SAFETY: the cell belongs to the caller, as it promises.
        self.0.with_mut(|cell| unsafe { (*cell).take() })
    }
}

impl<F: Send> Payload for Closure<F> {
    unsafe fn discard(&self) {
        // SAFETY: passed on to the caller.
        let closure = unsafe { self.take() };
        contain("a destructor of a cancelled job", || drop(closure));
    }
}

/// A job with its types erased. No method unwinds.
pub(crate) trait Runnable: Send + Sync {
    /// Runs the closure and stores the outcome. Nobody can see it before `tell`.
    fn call(&self) -> Called;
    /// Makes the outcome of `call` known. What is left to do is code of the user's.
    fn tell(self: Arc<Self>, called: Called) -> Option<Rest>;
    fn cancel(self: Arc<Self>);
    fn fail(self: Arc<Self>, error: TaskError);
    fn is_cancelled(&self) -> bool;
    /// Whether done callbacks were added.
    fn has_callbacks(&self) -> bool;
}

/// How a call of the closure ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Called {
    Stored(End),
    /// There was nothing to call.
    Gone,
}

/// The user's code that completing a job leaves to be run: callbacks, destructors.
pub(crate) type Rest = Box<dyn FnOnce() + Send>;

impl<F, R> Runnable for Shared<R, Closure<F>>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    fn call(&self) -> Called {
        if !self.state.start() {
            return Called::Gone;
        }
        // SAFETY: `start` moved the word out of queued.
        let Some(closure) = (unsafe { self.payload.take() }) else { return Called::Gone };
        let (outcome, end) = match catch_unwind(AssertUnwindSafe(closure)) {
            Ok(value) => (Outcome::Value(value), End::Value),
            Err(payload) => (Outcome::Error(Panicked::new(payload).into()), End::Failed),
        };
        // SAFETY: since `start` the outcome cell is this runner's; a job has no cancel hook.
        unsafe { self.store(outcome) };
        Called::Stored(end)
    }

    fn tell(self: Arc<Self>, called: Called) -> Option<Rest> {
        if let Called::Stored(end) = called {
            let before = self.state.finish_run(end);
            if before.has_notifier() || before.is_heard() {
                let future = ConcurrentFuture::from_shared(Arc::clone(&self) as _);
                if let Some(list) = future.tell(before) {
                    return Some(Box::new(move || {
                        future.call_back(*list, Ended::Completed);
                        contain(RESULT_DROP, || drop((future, self)));
                    }));
                }
            }
        }
        // If nobody is left to take the outcome, it is dropped here. A panic's payload is the user's too.
        let last = Arc::into_inner(self)?;
        if std::mem::needs_drop::<R>() || matches!(called, Called::Stored(End::Failed)) {
            return Some(Box::new(move || contain(RESULT_DROP, || drop(last))));
        }
        None
    }

    fn cancel(self: Arc<Self>) {
        ConcurrentFuture::from_shared(Arc::clone(&self) as _).request_cancel();
        contain(RESULT_DROP, || drop(self));
    }

    fn fail(self: Arc<Self>, error: TaskError) {
        self.complete(Err(error));
        contain(RESULT_DROP, || drop(self));
    }

    fn is_cancelled(&self) -> bool {
        self.state.load().is_cancelled()
    }

    fn has_callbacks(&self) -> bool {
        self.state.load().has_callbacks()
    }
}

pub(super) const RESULT_DROP: &str = "a destructor of a job's result";

impl<F, R> Shared<R, Closure<F>> {
    /// The state of a queued job.
    pub(crate) fn for_job(closure: F) -> Arc<Self> {
        Arc::new(Self::new(Closure(UnsafeCell::new(Some(closure)))))
    }
}

impl<T> Shared<T, ()> {
    /// The state of a pair.
    pub(super) fn for_pair() -> Arc<Self> {
        Arc::new(Self::new(()))
    }
}

impl<T, C> Shared<T, C> {
    fn new(payload: C) -> Self {
        Self {
            state: State::new(),
            outcome: UnsafeCell::new(Outcome::Empty),
            notifier: UnsafeCell::new(None),
            listeners: Mutex::new(None),
            done: Condvar::new(),
            payload,
        }
    }
}

impl<T: Send + 'static, C: Payload + 'static> Shared<T, C> {
    /// Completes it, unless it is done or another is completing it. Whether it did.
    pub(super) fn complete(self: &Arc<Self>, result: Result<T, TaskError>) -> bool {
        let Ok(before) = self.state.claim() else { return false };
        if before.is_queued() {
            // SAFETY: `claim` moved the word out of queued.
            unsafe { self.payload.discard() };
        }
        let (outcome, end) = match result {
            Ok(value) => (Outcome::Value(value), End::Value),
            Err(TaskError::Cancelled(cancelled)) => (Outcome::Error(cancelled.into()), End::Cancelled),
            Err(error) => (Outcome::Error(error), End::Failed),
        };
        // SAFETY: `claim` gave this call the outcome cell.
        unsafe { self.store(outcome) };
        let before = self.state.finish(end);
        self.serve(before);
        true
    }

    fn serve(self: &Arc<Self>, before: Snapshot) {
        if before.has_notifier() || before.is_heard() {
            ConcurrentFuture::from_shared(Arc::clone(self) as _).serve(before, Ended::Completed);
        }
    }

    /// Completer: says that the work begins. False if it was cancelled.
    pub(super) fn set_running(&self) -> bool {
        self.state.start() || !self.state.load().is_cancelled()
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.state.load().is_cancelled()
    }

    /// Completer: registers the cancel hook, or calls it at once if it was cancelled.
    pub(super) fn on_cancel(&self, hook: Hook) {
        let mut listeners = self.listeners.lock();
        let now = self.state.hook();
        if now.is_done() {
            drop(listeners);
            if now.is_cancelled() {
                contain("a cancel hook", hook);
            }
            return;
        }
        let replaced = listeners.get_or_insert_default().hook.replace(hook);
        drop(listeners);
        contain("a destructor of a cancel hook", || drop(replaced));
    }

    /// # Safety
    ///
    /// The outcome cell is the caller's.
    unsafe fn store(&self, outcome: Outcome<T>) {
        // SAFETY: as the caller promises. The cell was empty, so no destructor runs here.
        self.outcome.with_mut(|cell| unsafe { *cell = outcome });
    }
}

/// How a state became done, as far as the hook is concerned.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    Completed,
    Cancelled,
}

// What it carries is `Send`, wherever it came from; those who have it need not know that.
impl<T: 'static> ConcurrentFuture<T> {
    pub(super) fn snapshot(&self) -> Snapshot {
        self.shared.state.load()
    }

    /// Requests the cancellation; see the public method.
    pub(super) fn request_cancel(&self) -> bool {
        match self.shared.state.cancel() {
            Cancel::Done(before) => {
                if before.is_queued() {
                    // SAFETY: `cancel` moved the word out of queued.
                    unsafe { self.shared.payload.discard() };
                }
                self.serve(before, Ended::Cancelled);
                true
            }
            Cancel::Already => true,
            Cancel::Refused => false,
        }
    }

    /// Tells everyone who listened before the word became done: first the notifier and the threads that
    /// wait, then the hook and the callbacks.
    fn serve(&self, before: Snapshot, ended: Ended) {
        if let Some(list) = self.tell(before) {
            self.call_back(*list, ended);
        }
    }

    /// Tells the notifier and the threads that wait; what is in the list is left to `call_back`.
    fn tell(&self, before: Snapshot) -> Option<Box<ListenerList<T>>> {
        if before.has_notifier() {
            self.notify();
        }
        if !before.is_heard() {
            return None;
        }
        let mut listeners = self.shared.listeners.lock();
        self.shared.done.notify_all();
        listeners.take()
    }

    fn call_back(&self, list: ListenerList<T>, ended: Ended) {
        let ListenerList { callbacks, hook } = list;
        contain("a cancel hook", || {
            if let (Some(hook), Ended::Cancelled) = (hook, ended) {
                hook();
            }
        });
        for callback in callbacks {
            self.call(callback);
        }
    }

    fn call(&self, callback: Callback<T>) {
        contain("a done callback", || callback(self));
    }

    /// Calls the notifier; for the one who owns its cell.
    fn notify(&self) {
        // SAFETY: the word became done with the notifier flag set, or the flag was set by this call's
        // caller when it was done already: either way the cell is this thread's and nobody else's.
        let other = self.shared.notifier.with_mut(|cell| unsafe {
            match &*cell {
                Some(Notifier::Loop(arrival)) => {
                    // The cell is the arrival's from here on, until it is let go of.
                    arrival.send(&self.shared);
                    None
                }
                _ => (*cell).take(),
            }
        });
        if let Some(Notifier::Other(notifier, token)) = other {
            contain("a notifier", || notifier.notify(token));
        }
    }

    /// Fills the notifier cell, or answers that it is in use.
    pub(super) fn register_notifier(&self, notifier: Arc<dyn Notify>, token: u64) -> Result<(), Arc<dyn Notify>> {
        if !self.shared.state.claim_notifier() {
            return Err(notifier);
        }
        self.fill_notifier(Notifier::Other(notifier, token));
        Ok(())
    }

    /// Likewise for a loop, whose thread this is: it has [`Inner::job_done`](crate::inner::Inner::job_done) called with the
    /// token.
    pub(super) fn register_loop(&self, anchor: Anchor, token: usize) -> Result<(), Anchor> {
        if !self.shared.state.claim_notifier() {
            return Err(anchor);
        }
        self.fill_notifier(Notifier::Loop(Arrival::new(anchor, token)));
        Ok(())
    }

    /// The caller has claimed the cell.
    fn fill_notifier(&self, notifier: Notifier<T>) {
        // SAFETY: `claim_notifier` gave the caller the cell. It was empty, so no destructor runs here.
        self.shared.notifier.with_mut(|cell| unsafe { *cell = Some(notifier) });
        if self.shared.state.publish_notifier().is_done() {
            self.notify();
        }
    }

    /// Appends a callback, or calls it if it is too late for that.
    pub(super) fn register(&self, callback: Callback<T>) {
        if !self.snapshot().is_done() {
            let mut listeners = self.shared.listeners.lock();
            if !self.shared.state.listen_back().is_done() {
                listeners.get_or_insert_default().callbacks.push(callback);
                return;
            }
        }
        self.call(callback);
    }

    /// Blocks this thread until it is done. False if the deadline came first.
    pub(super) fn wait(&self, deadline: Option<Instant>) -> bool {
        if self.snapshot().is_done() {
            return true;
        }
        let mut listeners = self.shared.listeners.lock();
        let mut now = self.shared.state.listen();
        while !now.is_done() {
            match deadline {
                None => self.shared.done.wait(&mut listeners),
                Some(deadline) => {
                    if self.shared.done.wait_until(&mut listeners, deadline).timed_out() {
                        return self.snapshot().is_done();
                    }
                }
            }
            now = self.snapshot();
        }
        true
    }

    /// Moves the outcome out, if it is done: a value once, an error as often as asked.
    pub(super) fn try_outcome(&self) -> Option<Result<T, TaskError>> {
        match self.shared.state.take() {
            Ok(_) => {
                // SAFETY: `take` gave this call the value, which nobody else touches from now on.
                let outcome =
                    self.shared.outcome.with_mut(|cell| unsafe { std::mem::replace(&mut *cell, Outcome::Empty) });
                Some(match outcome {
                    Outcome::Value(value) => Ok(value),
                    Outcome::Error(error) => Err(error),
                    Outcome::Empty => Err(TaskError::Taken),
                })
            }
            Err(now) if !now.is_done() => None,
            Err(now) => Some(Err(self.error(now).unwrap_or(TaskError::Taken))),
        }
    }

    /// The error it ended with, if it did.
    pub(super) fn error(&self, now: Snapshot) -> Option<TaskError> {
        if !now.is_error() {
            return None;
        }
        // SAFETY: in a phase of error the cell is never written again and anyone may read it.
        self.shared.outcome.with(|cell| match unsafe { &*cell } {
            Outcome::Error(error) => Some(error.clone()),
            Outcome::Empty | Outcome::Value(_) => Some(Cancelled::new().into()),
        })
    }
}

/// Runs user code that has no one to report a panic to: logs it and goes on.
pub(super) fn contain(what: &'static str, code: impl FnOnce()) {
    let Err(payload) = catch_unwind(AssertUnwindSafe(code)) else { return };
    let panicked = Panicked::new(payload);
    tracing::error!(%panicked, "{what} panicked");
    // The payload's own destructor is user code too, and what it panics with again. Past the second
    // it is leaked rather than thrown on.
    let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(panicked))) else { return };
    if let Err(third) = catch_unwind(AssertUnwindSafe(|| drop(second))) {
        std::mem::forget(third);
    }
}

impl<T, C: ?Sized> fmt::Debug for Shared<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state.fmt(f)
    }
}
