//! The gate that jobs enter the pool by, and how it is closed.
//!
//! Invariants kept here:
//!
//! * A job that passed the gate before it closed is seen by the workers before they end. The count of
//!   those inside and the closing stand in one word, so that each of them comes before or after
//!   the other; it is *over* once the gate is closed and nobody is inside.
//! * Whoever makes it over wakes all workers, for they may have fallen asleep while it was not.

use loop_core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use loop_core::sync::{Condvar, Mutex};
use loop_core::{Error, Job};

const CLOSED: usize = 1;
const ONE: usize = 2;

/// The gate.
pub(crate) struct Gate {
    inside: Inside,
    /// Read for every job, written a few times in the pool's life; only ever raised.
    mode: AtomicU8,
    lock: Mutex<()>,
    over: Condvar,
}

/// On a cache line pair of its own: every submitter writes it, and workers rarely look.
#[repr(align(128))]
struct Inside(AtomicUsize);

/// What is done with the jobs in the queue.
#[repr(u8)]
enum Mode {
    /// They are run, also after a shutdown.
    Run,
    /// They are cancelled.
    Cancel,
    /// They fail, and so do later ones.
    Broken,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self {
            inside: Inside(AtomicUsize::new(0)),
            mode: AtomicU8::new(Mode::Run as u8),
            lock: Mutex::new(()),
            over: Condvar::new(),
        }
    }

    /// Lets a submitter in, who has to [`leave`](Self::leave).
    pub(crate) fn enter(&self) -> Result<(), Error> {
        let mut inside = self.inside.0.load(Ordering::Relaxed);
        loop {
            if inside & CLOSED != 0 {
                return Err(self.refusal());
            }
            match self.inside.0.compare_exchange_weak(inside, inside + ONE, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => inside = now,
            }
        }
    }

    /// Lets a submitter out. On true it was the last to leave a closed gate and has to wake all workers.
    #[must_use]
    pub(crate) fn leave(&self) -> bool {
        let before = self.inside.0.fetch_sub(ONE, Ordering::Release);
        let over = before == ONE | CLOSED;
        if over {
            let _lock = self.lock.lock();
            self.over.notify_all();
        }
        over
    }

    /// Closes the gate. With `cancel`, what is queued is to be cancelled from now on.
    pub(crate) fn close(&self, cancel: bool) {
        // The mode first: a refusal says why.
        if cancel {
            self.mode.fetch_max(Mode::Cancel as u8, Ordering::Relaxed);
        }
        self.inside.0.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// Closes the gate for good: what is queued is to fail from now on.
    pub(crate) fn break_down(&self) {
        self.mode.fetch_max(Mode::Broken as u8, Ordering::Relaxed);
        self.inside.0.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// Whether no job will come any more. Those that came are seen by whoever has seen this.
    pub(crate) fn is_over(&self) -> bool {
        self.inside.0.load(Ordering::Acquire) == CLOSED
    }

    /// Waits until it is over. The gate must be closed.
    pub(crate) fn wait_over(&self) {
        let mut lock = self.lock.lock();
        while !self.is_over() {
            self.over.wait(&mut lock);
        }
    }

    /// Whether jobs are to be run. Where they are not, `dispose` of them.
    pub(crate) fn runs(&self) -> bool {
        self.mode() == Mode::Run as u8
    }

    /// Ends a job that is not to be run.
    pub(crate) fn dispose(&self, job: Job) {
        if self.mode() == Mode::Broken as u8 {
            job.fail(Error::BrokenPool.into());
        } else {
            job.cancel();
        }
    }

    fn mode(&self) -> u8 {
        self.mode.load(Ordering::Relaxed)
    }

    fn refusal(&self) -> Error {
        if self.mode() == Mode::Broken as u8 { Error::BrokenPool } else { Error::PoolShutdown }
    }
}
