//! What the tests of the loop share: loops to test, a log of what happened, and witnesses of what was dropped.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::rc::Rc;

use loop_api::{EventLoop, ExceptionContext, LoopBuilder};
use loop_core::testing::{VirtualBackend, VirtualClock};

/// A loop as programs get it. (Under Miri, which knows few system calls, a simulated one.)
pub(crate) fn new_loop() -> EventLoop {
    if cfg!(miri) {
        return virtual_loop().0;
    }
    loop_api::new_event_loop().expect("this machine has a backend")
}

/// A loop whose clock jumps, and the clock.
pub(crate) fn virtual_loop() -> (EventLoop, VirtualClock) {
    let backend = VirtualBackend::new();
    let clock = backend.clock();
    (LoopBuilder::new(Box::new(backend)).debug(false).build(), clock)
}

/// Exactly one pass, which does not wait.
pub(crate) fn one_pass(event_loop: &EventLoop) {
    event_loop.stop();
    event_loop.run_forever().expect("a loop that is open and at rest runs");
}

/// What happened, in order.
pub(crate) struct Log<T>(Rc<RefCell<Vec<T>>>);

impl<T> Log<T> {
    pub(crate) fn new() -> Self {
        Self(Rc::default())
    }

    pub(crate) fn add(&self, entry: T) {
        self.0.borrow_mut().push(entry);
    }

    /// A callback that adds this entry.
    pub(crate) fn adds(&self, entry: T) -> impl FnOnce() + use<T> {
        let log = self.clone();
        move || log.add(entry)
    }

    pub(crate) fn take(&self) -> Vec<T> {
        self.0.take()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.borrow().len()
    }
}

impl<T> Clone for Log<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T: Debug> Debug for Log<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.borrow().fmt(f)
    }
}

impl<T: PartialEq + Debug, const N: usize> PartialEq<[T; N]> for Log<T> {
    fn eq(&self, other: &[T; N]) -> bool {
        *self.0.borrow() == *other
    }
}

/// Collects what reaches the loop's exception handler.
pub(crate) fn collect_reports(event_loop: &EventLoop) -> Log<ExceptionContext> {
    let log = Log::new();
    let reports = log.clone();
    event_loop.set_exception_handler(Some(Rc::new(move |_, context| reports.add(context.clone()))));
    log
}

/// The messages of the reports so far.
pub(crate) fn messages(reports: &Log<ExceptionContext>) -> Vec<String> {
    reports.take().iter().map(|report| report.message.clone().unwrap_or_default().into_owned()).collect()
}

/// Counts its live copies.
#[derive(Debug)]
pub(crate) struct Alive(Rc<Cell<usize>>);

impl Alive {
    pub(crate) fn none() -> Self {
        Self(Rc::new(Cell::new(1)))
    }

    /// How many copies there are beside this one.
    pub(crate) fn others(&self) -> usize {
        self.0.get() - 1
    }
}

impl Clone for Alive {
    fn clone(&self) -> Self {
        self.0.set(self.0.get() + 1);
        Self(Rc::clone(&self.0))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Panics when it is dropped, once it is armed.
pub(crate) struct Mine(pub(crate) &'static str);

impl Drop for Mine {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            quiet_panic(self.0);
        }
    }
}

/// A panic without the text on standard error.
pub(crate) fn quiet_panic(text: &'static str) -> ! {
    std::panic::resume_unwind(Box::new(text))
}
