//! When a gather is over: all children done, or the first failure; and cancelling, which waits for all of them.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use loop_core::{CallbackId, Cancelled, EventLoop, FutureRef, LoopFuture, TaskError, cancellation};

use crate::policy::get_running_loop;

/// Counts the children. Each one has a done callback with a hold of the gate.
pub(super) struct Gate {
    /// Set when it is over.
    outer: LoopFuture<()>,
    /// In the order of their places.
    children: RefCell<Vec<Entry>>,
    left: Cell<usize>,
    fails_fast: bool,
    /// The await is gone, or over.
    left_alone: Cell<bool>,
    first_failed: Cell<Option<usize>>,
    /// The children were cancelled through here.
    cancelled: RefCell<Option<Cancelled>>,
}

/// A child as the gate sees it.
#[derive(Clone)]
struct Entry {
    handle: FutureRef,
    /// A task of our own, made of a coroutine.
    made: bool,
    callback: Option<CallbackId>,
}

impl Entry {
    fn take_off(&self) {
        if let Some(callback) = self.callback {
            self.handle.remove_done_callback(callback);
        }
    }
}

impl Gate {
    pub(super) fn new(event_loop: &EventLoop, fails_fast: bool) -> Rc<Self> {
        Rc::new(Self {
            outer: event_loop.create_future(),
            children: RefCell::default(),
            // One for whoever starts them: children may be done before all are there.
            left: Cell::new(1),
            fails_fast,
            left_alone: Cell::new(false),
            first_failed: Cell::new(None),
            cancelled: RefCell::new(None),
        })
    }

    /// A child more; its place.
    pub(super) fn add(&self, child: &FutureRef, made: bool) -> usize {
        self.left.set(self.left.get() + 1);
        let mut children = self.children.borrow_mut();
        children.push(Entry { handle: child.clone(), made, callback: None });
        children.len() - 1
    }

    /// The done callback of the child at this place.
    pub(super) fn set_callback(&self, place: usize, callback: CallbackId) {
        self.children.borrow_mut()[place].callback = Some(callback);
    }

    /// Nobody waits any more. Tasks end some time, and are looked at then, so that failures of theirs are not reported. A
    /// future may never be done: what hangs on it, and holds it, goes now.
    fn leave(&self) {
        self.left_alone.set(true);
        let children = self.children.take();
        for child in children.iter().filter(|child| child.handle.as_task().is_none()) {
            child.take_off();
        }
    }

    /// A child could not be started: those before it end if they are ours, and are as they were if they are not.
    pub(super) fn refuse(&self) {
        self.left_alone.set(true);
        for child in self.children.take() {
            if child.made {
                child.handle.cancel();
            } else {
                child.take_off();
            }
        }
    }

    /// There are no more children to come.
    pub(super) fn close(&self) {
        self.left.set(self.left.get() - 1);
        if self.left.get() == 0 && !self.is_open() {
            self.open();
        }
    }

    /// A child is done; all that was to be taken from it was taken.
    pub(super) fn child_done(&self, place: usize, failed: bool) {
        self.left.set(self.left.get() - 1);
        if self.is_open() {
            return;
        }
        let cancelled = self.cancelled.borrow().is_some();
        if failed && self.fails_fast && self.first_failed.get().is_none() {
            self.first_failed.set(Some(place));
            // Whoever cancelled waits for all.
            if !cancelled {
                self.open();
            }
        }
        if self.left.get() == 0 && !self.is_open() {
            self.open();
        }
    }

    fn open(&self) {
        let cancelled = self.cancelled.borrow().clone();
        // A closed loop runs nobody who could wait for this.
        _ = match cancelled {
            Some(cancelled) => self.outer.set_exception(cancelled),
            None => self.outer.set_result(()),
        };
    }

    pub(super) fn is_open(&self) -> bool {
        self.outer.done()
    }

    /// Whether what children give is still wanted.
    pub(super) fn is_awaited(&self) -> bool {
        !self.is_open() && !self.left_alone.get()
    }

    pub(super) fn left(&self) -> usize {
        self.left.get()
    }

    pub(super) fn first_failed(&self) -> Option<usize> {
        self.first_failed.get()
    }

    /// Whether the task that awaits is among the children.
    fn waits_for_itself(&self) -> bool {
        let current = get_running_loop().ok().and_then(|event_loop| event_loop.current_task());
        current
            .is_some_and(|current| self.children.borrow().iter().any(|child| child.handle.as_task() == Some(&current)))
    }

    /// Cancels the children that are not done; false where there are none, or it is over.
    pub(super) fn cancel_with(&self, message: Option<&str>) -> bool {
        if self.is_open() {
            return false;
        }
        let children = self.children.borrow().clone();
        let mut any = false;
        for child in children {
            any |= child.handle.cancel_with(message);
        }
        if any {
            let cancelled = message.map_or_else(Cancelled::new, Cancelled::with_message);
            self.cancelled.replace(Some(cancelled));
        }
        any
    }
}

/// One await of a gate, which passes a request to cancel on to the children, and on outward when they have ended.
pub(super) struct Await {
    gate: Rc<Gate>,
    /// Our own handle of it, with our place among those who wait.
    outer: LoopFuture<()>,
    suspended: bool,
    forwarded: bool,
}

impl Await {
    pub(super) fn new(gate: Rc<Gate>) -> Self {
        Self { outer: gate.outer.clone(), gate, suspended: false, forwarded: false }
    }

    pub(super) fn gate(&self) -> &Rc<Gate> {
        &self.gate
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), TaskError>> {
        if self.gate.is_open() {
            if self.suspended && cancellation::is_pending() {
                return cancellation::withhold(context);
            }
            let outcome = self.outer.result();
            if let Err(TaskError::Cancelled(cancelled)) = &outcome
                && std::mem::take(&mut self.forwarded)
            {
                // By our own request, passed on: it goes on outward.
                cancellation::raise(cancelled);
                return cancellation::withhold(context);
            }
            return Poll::Ready(outcome);
        }
        if !std::mem::replace(&mut self.suspended, true) && self.gate.waits_for_itself() {
            return Poll::Ready(Err(TaskError::SelfAwait));
        }
        if let Some(request) = cancellation::take() {
            if !self.gate.cancel_with(request.message()) {
                // All are done, and their callbacks on the way: they wake this, should somebody beside it take the request.
                let polled = Pin::new(&mut self.outer).poll(context);
                cancellation::raise(&request);
                return if polled.is_ready() { cancellation::withhold(context) } else { Poll::Pending };
            }
            self.forwarded = true;
        }
        Pin::new(&mut self.outer).poll(context)
    }
}

impl Drop for Await {
    fn drop(&mut self) {
        self.gate.leave();
    }
}
