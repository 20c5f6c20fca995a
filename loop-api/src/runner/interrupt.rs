//! Ctrl-C while a main coroutine runs: the first one cancels it, the second one leaves the loop at once.
//!
//! Only in the main thread, and only where `SIGINT` does what it does by default: a program that handles it itself is not
//! interfered with. The disposition is what it was when the run is over.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use loop_core::{CaughtInterrupt, EventLoop, Fatal, TaskError, TaskRef, fatal};

use crate::error::{Error, Result};

/// Ctrl-C during one run.
pub(super) struct Interrupts {
    state: Rc<State>,
    _caught: Option<CaughtInterrupt>,
}

#[derive(Default)]
pub(super) struct State {
    /// Known from the main coroutine's first step on.
    main: RefCell<Option<TaskRef>>,
    came: Cell<u32>,
}

impl Interrupts {
    pub(super) fn catch(event_loop: &EventLoop) -> Self {
        let state = Rc::new(State::default());
        let told = Rc::clone(&state);
        let caught = event_loop.catch_interrupt(move || told.interrupt());
        Self { state, _caught: caught }
    }

    pub(super) fn state(&self) -> Rc<State> {
        Rc::clone(&self.state)
    }

    /// What a run came to, as its caller sees it: a cancellation by Ctrl-C alone is an interrupt.
    pub(super) fn outcome<T>(&self, ended: loop_core::Result<T>) -> Result<T> {
        match ended {
            Err(loop_core::Error::Task(TaskError::Cancelled(cancelled))) => {
                let main = self.state.main.take();
                let ours_alone = self.state.came.get() > 0 && main.is_none_or(|main| main.uncancel() == 0);
                if ours_alone { Err(Error::Interrupted) } else { Err(TaskError::from(cancelled).into()) }
            }
            other => Ok(other?),
        }
    }
}

impl State {
    /// The main coroutine takes a step.
    pub(super) fn begins(&self) {
        if self.main.borrow().is_some() {
            return;
        }
        let main = EventLoop::running().ok().and_then(|event_loop| event_loop.current_task());
        if let Some(main) = &main
            && self.came.get() > 0
        {
            main.cancel();
        }
        self.main.replace(main);
    }

    fn interrupt(&self) {
        self.came.set(self.came.get() + 1);
        if self.came.get() > 1 {
            fatal(Fatal::Interrupt);
        }
        let main = self.main.borrow().clone();
        if let Some(main) = main {
            main.cancel();
        }
    }
}
