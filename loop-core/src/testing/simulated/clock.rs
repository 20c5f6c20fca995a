//! Simulated time: a clock that stands still until it is moved, and the wait that moves it.
//!
//! The clock belongs to the loop's thread, so nothing moves it during a callback. A wait either jumps to its
//! deadline at once or, where only another thread can end it, really waits for that thread (**B5**).

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::backend::Unpark;

/// The clock of a [`VirtualBackend`](super::VirtualBackend), to read it and to move it by hand. Clones are the
/// same clock.
#[derive(Clone)]
pub struct VirtualClock(Rc<Cell<Duration>>);

impl VirtualClock {
    pub(super) fn starting_at(origin: Duration) -> Self {
        Self(Rc::new(Cell::new(origin)))
    }

    /// What the loop's clock shows.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.0.get()
    }

    /// Moves the clock forward. Timers that have become due run in the loop's next pass.
    pub fn advance(&self, by: Duration) {
        self.0.set(self.0.get().saturating_add(by));
    }

    /// Moves the clock forward to `when`; never back.
    pub(super) fn jump(&self, when: Duration) {
        self.0.set(self.0.get().max(when));
    }
}

impl fmt::Debug for VirtualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VirtualClock({:?})", self.now())
    }
}

/// One bit, set by any thread, that ends a wait.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    /// A bell, shared with the unparkers.
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Takes the bit without waiting.
    pub(super) fn take(&self) -> bool {
        std::mem::take(&mut self.rung.lock())
    }

    /// Waits for the bit, and takes it.
    pub(super) fn wait(&self) {
        let mut rung = self.rung.lock();
        while !*rung {
            self.changed.wait(&mut rung);
        }
        *rung = false;
    }
}

impl Unpark for Bell {
    fn unpark(&self) {
        let mut rung = self.rung.lock();
        if !*rung {
            *rung = true;
            self.changed.notify_one();
        }
    }
}
