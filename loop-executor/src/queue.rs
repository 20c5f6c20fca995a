//! Where jobs wait: one injector for the jobs of outside threads, one deque a worker for the jobs that
//! its own jobs submit.
//!
//! Invariants kept here:
//!
//! * Jobs are taken in the order they were submitted, as far as an order can be told. A worker puts a
//!   job into its own deque only while the injector is empty, and whoever looks for work looks into the
//!   deques first: what lies in a deque is older than what lies in the injector, so neither can
//!   starve the other.
//! * Any worker can take any job, so none waits behind one that blocks.
//! * A job whose push has returned is seen by every `is_empty` that comes after it across a sequentially
//!   consistent fence. The pool's parking relies on that.

use crossbeam_deque::{Injector, Steal, Stealer, Worker};
use loop_core::Job;
use loop_core::sync::atomic::{AtomicIsize, Ordering};
use parking_lot::RwLock;

/// All jobs that wait in a pool.
pub(crate) struct Queue {
    injector: Injector<Job>,
    deques: RwLock<Vec<Stealer<Job>>>,
    /// How many jobs lie in the deques. A job is counted after its push, so one that is stolen at once
    /// may be taken off first: for a moment the count is too low, even negative, and then whoever pushed
    /// is about to look for a worker anyway.
    in_deques: AtomicIsize,
}

/// A worker's end of its deque.
pub(crate) type Deque = Worker<Job>;

impl Queue {
    pub(crate) fn new() -> Self {
        Self { injector: Injector::new(), deques: RwLock::new(Vec::new()), in_deques: AtomicIsize::new(0) }
    }

    /// Makes a worker's deque.
    pub(crate) fn add_deque(&self) -> Deque {
        let deque = Worker::new_fifo();
        self.deques.write().push(deque.stealer());
        deque
    }

    /// Queues a job; `own` is the deque of the worker that submits it, if it is one.
    pub(crate) fn push(&self, job: Job, own: Option<&Deque>) {
        match own {
            Some(deque) if self.injector.is_empty() => {
                deque.push(job);
                self.in_deques.fetch_add(1, Ordering::SeqCst);
            }
            _ => self.injector.push(job),
        }
    }

    /// Takes the oldest job; `own` is the deque of the worker that asks, if it is one.
    pub(crate) fn take(&self, own: Option<&Deque>) -> Option<Job> {
        loop {
            let mut contended = false;
            if self.in_deques.load(Ordering::Relaxed) > 0 {
                if let Some(job) = own.and_then(Deque::pop) {
                    self.in_deques.fetch_sub(1, Ordering::Relaxed);
                    return Some(job);
                }
                for deque in self.deques.read().iter() {
                    match deque.steal() {
                        Steal::Success(job) => {
                            self.in_deques.fetch_sub(1, Ordering::Relaxed);
                            return Some(job);
                        }
                        Steal::Retry => contended = true,
                        Steal::Empty => {}
                    }
                }
            }
            match self.injector.steal() {
                Steal::Success(job) => return Some(job),
                Steal::Empty if !contended => return None,
                Steal::Retry | Steal::Empty => {}
            }
        }
    }

    /// Whether no job waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.in_deques.load(Ordering::SeqCst) <= 0 && self.injector.is_empty()
    }
}
