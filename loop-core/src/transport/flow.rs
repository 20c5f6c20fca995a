//! Flow control: the water marks of what is written, and what the protocol knows of them.
//!
//! Invariant: `pause_writing` and `resume_writing` alternate, pause first, and once nothing calls the protocol any more
//! it knows the present state. The protocol is told at once where it can be entered, else right after.

use std::cell::Cell;
use std::rc::Rc;

use super::Connection;
use crate::error::{Error, Result};

const HIGH: usize = 64 * 1024;

pub(super) struct Flow {
    high: Cell<usize>,
    low: Cell<usize>,
    /// What should be.
    paused: Cell<bool>,
    /// What the protocol was told.
    told: Cell<bool>,
    /// A turn that tells it is queued.
    turn: Cell<bool>,
}

impl Default for Flow {
    fn default() -> Self {
        Self {
            high: Cell::new(HIGH),
            low: Cell::new(HIGH / 4),
            paused: Cell::new(false),
            told: Cell::new(false),
            turn: Cell::new(false),
        }
    }
}

impl Flow {
    pub(super) fn limits(&self) -> (usize, usize) {
        (self.low.get(), self.high.get())
    }

    /// Whether there is more than should be.
    pub(super) fn is_paused(&self) -> bool {
        self.paused.get()
    }

    pub(super) fn high(&self) -> usize {
        self.high.get()
    }
}

impl Connection {
    pub(super) fn set_limits(self: &Rc<Self>, high: Option<usize>, low: Option<usize>) -> Result<()> {
        let high = high.unwrap_or_else(|| low.map_or(HIGH, |low| low.saturating_mul(4)));
        let low = low.unwrap_or(high / 4);
        if low > high {
            return Err(Error::InvalidArgument("the high water mark must not be below the low one"));
        }
        self.flow.high.set(high);
        self.flow.low.set(low);
        // What merely waits for the end of the pass is not behind.
        self.try_flush();
        self.hurry();
        self.check_high();
        Ok(())
    }

    /// More was buffered.
    pub(super) fn check_high(self: &Rc<Self>) {
        if !self.flow.paused.get() && self.unsent() > self.flow.high.get() {
            self.flow.paused.set(true);
            self.tell_flow();
        }
    }

    /// Something was sent.
    pub(super) fn check_low(self: &Rc<Self>) {
        if self.flow.paused.get() && self.unsent() <= self.flow.low.get() {
            self.flow.paused.set(false);
            self.tell_flow();
        }
    }

    /// Tells the protocol what it does not know yet.
    #[inline]
    pub(super) fn tell_flow(self: &Rc<Self>) {
        if self.flow.told.get() != self.flow.paused.get() {
            self.tell_flow_now();
        }
    }

    #[inline(never)]
    fn tell_flow_now(self: &Rc<Self>) {
        while self.flow.told.get() != self.flow.paused.get() && self.made.get() && !self.ended.get() {
            let busy = match &*self.protocol.borrow() {
                Some(protocol) => protocol.try_borrow_mut().is_err(),
                None => return,
            };
            if busy {
                self.tell_flow_later();
                return;
            }
            if self.flow.paused.get() {
                self.flow.told.set(true);
                self.call("pause_writing", |protocol, transport| protocol.pause_writing(transport));
            } else {
                self.flow.told.set(false);
                self.call("resume_writing", |protocol, transport| protocol.resume_writing(transport));
            }
        }
    }

    /// The protocol is being called, or is borrowed by the program: right after, or in the next pass.
    fn tell_flow_later(self: &Rc<Self>) {
        if self.flow.turn.replace(true) {
            return;
        }
        let connection = Rc::clone(self);
        let turn = move || {
            connection.flow.turn.set(false);
            connection.tell_flow();
        };
        // On a closed loop nobody is to be told.
        let _ = self.transport().get_loop().call_soon(turn);
    }
}
