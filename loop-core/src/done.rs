//! Done callbacks: a function that is called with the future or task that is done, through the ready queue.
//!
//! A waiting callback holds no reference to what it waits for, so the two make no cycle; it gets one when it is
//! queued.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::num::NonZeroU64;
use std::panic::Location;
use std::rc::Rc;

use crate::context::Context;
use crate::event_loop::EventLoop;
use crate::handle::{Handle, Scope};

/// A done callback, whatever it is called with.
pub(crate) trait Done: Handle {
    /// Tells it what is done: a `&S` of its own type.
    fn bind_any(&self, subject: &dyn Any);

    /// The number of the task that waits by this callback, where that was said.
    fn awaiter(&self) -> Option<u64>;
}

pub(crate) struct DoneCallback<S, F> {
    subject: RefCell<Option<S>>,
    function: RefCell<Option<F>>,
    cancelled: Cell<bool>,
    scope: Scope,
    source: &'static Location<'static>,
    awaiter: Option<NonZeroU64>,
}

impl<S: Clone + 'static, F: FnOnce(&S) + 'static> DoneCallback<S, F> {
    pub(crate) fn new(function: F, source: &'static Location<'static>) -> Rc<Self> {
        Self::of(None, function, source)
    }

    /// One by which a task waits.
    pub(crate) fn of(awaiter: Option<u64>, function: F, source: &'static Location<'static>) -> Rc<Self> {
        Rc::new(Self {
            subject: RefCell::new(None),
            function: RefCell::new(Some(function)),
            cancelled: Cell::new(false),
            scope: Scope::capture(),
            source,
            awaiter: awaiter.and_then(NonZeroU64::new),
        })
    }

    pub(crate) fn bind(&self, subject: S) {
        self.subject.replace(Some(subject));
    }
}

impl<S: Clone + 'static, F: FnOnce(&S) + 'static> Done for DoneCallback<S, F> {
    fn bind_any(&self, subject: &dyn Any) {
        if let Some(subject) = subject.downcast_ref::<S>() {
            self.bind(subject.clone());
        }
    }

    fn awaiter(&self) -> Option<u64> {
        self.awaiter.map(NonZeroU64::get)
    }
}

impl<S, F: FnOnce(&S)> Handle for DoneCallback<S, F> {
    fn run(&self, _: &EventLoop) {
        let (subject, function) = (self.subject.take(), self.function.take());
        if let (Some(subject), Some(function)) = (subject, function) {
            self.scope.run(|| function(&subject));
        }
    }

    fn cancel(&self) {
        self.cancelled.set(true);
        let (subject, function) = (self.subject.take(), self.function.take());
        drop((subject, function));
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
