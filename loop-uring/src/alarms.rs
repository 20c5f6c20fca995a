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
    /// Whose turn it is.
    turn: usize,
}

impl Alarms {
    /// Has the one whose turn it is armed, by the next call of the kernel. One that has still to ring is left alone.
    pub(crate) fn foresee(&mut self, ring: &mut Ring, deadline: Duration) {
        let turn = self.turn;
        if self.covers(deadline) || self.armed[turn].is_some() {
            return;
        }
        self.turn = (turn + 1) % COUNT;
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

#[cfg(test)]
mod tests {
    use loop_core::{Backend, OpTable, Wait};

    use super::*;
    use crate::{UringBackend, clock};

    #[test]
    fn alarms_cover_their_deadlines_until_they_ring() {
        // Where there is none, the crate's other tests say so.
        let Ok(mut backend) = UringBackend::new() else { return };
        let mut ops = OpTable::new();
        let near = clock::now() + Duration::from_millis(1);
        let [later, latest] = [1, 2].map(|hours| near + Duration::from_secs(3600 * hours));
        let covered = |backend: &UringBackend| [near, later, latest].map(|deadline| backend.alarms.covers(deadline));
        backend.foresee(near);
        backend.foresee(near);
        assert_eq!(covered(&backend), [true, false, false]);
        backend.foresee(later);
        // Both have still to ring, so there is none for this.
        backend.foresee(latest);
        assert_eq!(covered(&backend), [true, true, false]);
        // It alone ends the waits.
        while backend.alarms.covers(near) {
            backend.poll(&mut ops, Wait::Forever, &mut Vec::new()).unwrap();
        }
        assert!(clock::now() >= near);
        backend.foresee(latest);
        assert_eq!(covered(&backend), [false, true, true]);
    }
}
