//! Alarms: waits whose end was set while another was still to end.
//!
//! A wait for a deadline sets a timer of the kernel's, and the one that is due first is set in the processor's hardware too,
//! which a virtual machine does by a call of its host: half of what such a wait costs. One that is set behind another only stands
//! in a list, and the interrupt that ends the first sets the hardware for it. So where the loop foresees its next deadline, a
//! timeout request for it goes to the kernel together with the wait for this one; two take turns.
//!
//! Invariants:
//!
//! * an alarm that is armed has a request, whose completion disarms it and ends a wait; so a wait for a deadline that has its
//!   alarm ends;
//! * where a request says its deadline is left alone until it has completed.

use std::time::Duration;

use io_uring::opcode;
use io_uring::types::{TimeoutFlags, Timespec};

use crate::flights::Ticket;
use crate::ring::{FOREVER, Ring};

const COUNT: usize = 2;

#[derive(Default)]
pub(crate) struct Alarms {
    armed: [Option<Duration>; COUNT],
    /// In a place that does not move: requests name it.
    deadlines: Box<[Timespec; COUNT]>,
    /// Which was armed last.
    last: usize,
}

impl Alarms {
    /// Has the one whose turn it is armed, by the next call of the kernel. One that has still to ring is left alone.
    pub(crate) fn foresee(&mut self, ring: &mut Ring, deadline: Duration) {
        let turn = (self.last + 1) % COUNT;
        if self.covers(deadline) || self.armed[turn].is_some() {
            return;
        }
        self.last = turn;
        self.armed[turn] = Some(deadline);
        let place = &mut self.deadlines[turn];
        *place = Timespec::from(deadline.min(FOREVER));
        let request = opcode::Timeout::new(place).flags(TimeoutFlags::ABS).build();
        // SAFETY: the place belongs to the backend, and is written to only where no request that names it is under way.
        unsafe { ring.push(request.user_data(Ticket::alarm(turn).user_data())) };
    }

    /// Whether one of them ends a wait for this deadline.
    pub(crate) fn covers(&self, deadline: Duration) -> bool {
        self.armed.contains(&Some(deadline))
    }

    /// It rang, or could not be armed.
    pub(crate) fn rang(&mut self, alarm: usize) {
        self.armed[alarm] = None;
    }
}
