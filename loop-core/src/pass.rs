//! One pass of the loop, in asyncio's order.
//!
//! 1. the wait: zero if work is ready or `stop` was called, else until the next timer;
//! 2. the backend: submit what is queued, wait, collect completions;
//! 3. completions, then what other threads sent, go to the back of the ready queue;
//! 4. due timers follow, all moved before any runs;
//! 5. as many entries as there are now are run; what they schedule waits for the next pass.
//!
//! **I1** a pass runs the entries of its snapshot and no others; **I2** no user code runs while the backend, a
//! queue or a table is borrowed; **I3** with work ready, a pass does not owe the kernel a call (see [`Pace`]);
//! **I4** no busy entry starves I/O, timers or other threads for longer than that.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use crate::backend::Wait;
use crate::inner::Inner;
use crate::lookout;
use crate::pace::Pace;
use crate::ready::Ready;

/// The longest wait: a deadline further off is slept towards in steps.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

impl Inner {
    #[inline]
    pub(crate) fn run_pass(self: &Rc<Self>) -> io::Result<()> {
        if !self.is_quiet() {
            self.look_around()?;
        }
        let snapshot = self.ready.len();
        for _ in 0..snapshot {
            match self.ready.pop_task() {
                Some(task) if !self.debug.get() => self.step(task),
                Some(task) => self.run_entry_timed(Ready::Task(task)),
                None => self.run_next(),
            }
        }
        self.pace.entries_ran(snapshot);
        if !self.quiet.get() {
            self.flush_writes();
        }
        Ok(())
    }

    /// Whether steps 1 to 4 would find nothing, without a look at each: work is ready, it is not yet time to look at the
    /// clock, nobody sent anything, and nothing else has come up since [`look_around`](Self::look_around) found it quiet.
    #[inline]
    fn is_quiet(&self) -> bool {
        self.quiet.get() && !self.ready.is_empty() && !self.pace.look_due() && self.shared.mailbox.queue.is_empty()
    }

    #[inline(never)]
    fn look_around(self: &Rc<Self>) -> io::Result<()> {
        if !(self.is_busy() && self.is_undisturbed() && !self.shared.mailbox.queue.has_nodes()) {
            self.look_outside()?;
        }
        self.quiet.set(self.is_undisturbed() && !self.stopping.get() && self.dirty.is_empty());
        Ok(())
    }

    /// Whether work is ready, and it is not yet time to visit the kernel.
    fn is_busy(&self) -> bool {
        !self.ready.is_empty() && !self.stopping.get() && !self.pace.visit_due(|| self.now())
    }

    /// Whether nothing was asked of the kernel, and no timer is near.
    fn is_undisturbed(&self) -> bool {
        let silent = !self.can_peek() && !self.watches.any_due();
        silent && !Pace::is_near(self.pace.sampled(), self.timers.borrow_mut().next_deadline())
    }

    fn look_outside(self: &Rc<Self>) -> io::Result<()> {
        let wait = self.choose_wait();
        let wait = self.fall_asleep(wait);
        self.collect(wait)?;
        self.move_due_timers(wait);
        Ok(())
    }

    fn choose_wait(&self) -> Wait {
        if !self.ready.is_empty() || self.stopping.get() || self.watches.any_due() {
            return if self.stopping.get() || self.pace.visit_due(|| self.now()) { Wait::Now } else { Wait::Peek };
        }
        self.next_wake().map_or(Wait::Forever, Wait::Until)
    }

    fn next_wake(&self) -> Option<Duration> {
        let mut timers = self.timers.borrow_mut();
        let first = timers.next_deadline()?;
        let now = self.now();
        // A simulated clock jumps to the nanosecond.
        if self.capabilities.virtual_time {
            return Some(first.min(now + LONGEST_WAIT));
        }
        let wake = timers.next_wake(first, now);
        if let Some(then) = wake.then {
            self.foresee(then);
        }
        Some(wake.at.min(now + LONGEST_WAIT))
    }

    /// What comes of a wait: another thread may have sent something meanwhile.
    fn fall_asleep(&self, wait: Wait) -> Wait {
        let end = match wait {
            Wait::Until(deadline) => Some(deadline),
            Wait::Forever => None,
            Wait::Now | Wait::Peek => return wait,
        };
        self.ready.rest();
        self.tasks.reclaim(&self.shared);
        let looks = self.lookout.is_due()
            && !self.capabilities.virtual_time
            && end.is_none_or(|deadline| deadline > self.now() + lookout::LONGEST);
        let visit_due = if looks {
            self.lookout.look(|| self.shared.mailbox.word.is_notified());
            self.pace.look(self.now())
        } else {
            true
        };
        if self.shared.mailbox.word.try_sleep() {
            return wait;
        }
        // Also where what it was notified of has been taken already.
        self.shared.mailbox.word.wake_up();
        if visit_due { Wait::Now } else { Wait::Peek }
    }

    fn collect(self: &Rc<Self>, wait: Wait) -> io::Result<()> {
        let slept = matches!(wait, Wait::Until(_) | Wait::Forever);
        let result = self.poll_backend(wait);
        self.watches.move_due(&self.ready);
        if slept || self.shared.mailbox.queue.has_nodes() {
            // Awake before the queue is taken: whoever pushes later notifies anew.
            self.shared.mailbox.word.wake_up();
            let mut count = 0;
            for node in self.shared.mailbox.queue.take() {
                // SAFETY: taken from the queue, alive, delivered once.
                unsafe { ((*node).vtable().deliver)(node, self) };
                count += 1;
            }
            if slept && count > 0 {
                self.lookout.was_woken(count);
            }
        }
        result
    }

    fn move_due_timers(&self, wait: Wait) {
        let mut timers = self.timers.borrow_mut();
        let visited = wait != Wait::Peek;
        if !visited && !Pace::is_near(self.pace.sampled(), timers.next_deadline()) {
            return;
        }
        timers.tidy();
        let now = self.now();
        self.pace.sample(now, visited.then_some(wait));
        timers.take_due(now, |target| self.ready.push(target.into()));
    }
}

impl From<crate::timers::Target> for Ready {
    fn from(target: crate::timers::Target) -> Self {
        match target {
            crate::timers::Target::Callback(handle) => Self::Callback(handle),
            crate::timers::Target::Task(task) => Self::Sleeper(task),
            crate::timers::Target::Waker(waker) => Self::Wake(waker),
        }
    }
}
