//! A worker: the thread that takes jobs and runs them, and how its jobs find its deque.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use loop_core::Job;

use crate::park::{Parker, Source};
use crate::pool::Shared;
use crate::queue::Deque;

thread_local! {
    /// Which pool this thread is a worker of, and its deque.
    static CURRENT: RefCell<Option<Rc<Worker>>> = const { RefCell::new(None) };
}

struct Worker {
    shared: Arc<Shared>,
    deque: Deque,
}

/// A worker's thread, from its start to its end.
pub(crate) fn main(shared: Arc<Shared>) {
    tracing::debug!(thread = std::thread::current().name(), "a thread of the pool starts");
    let deque = shared.queue.add_deque();
    let worker = Rc::new(Worker { shared, deque });
    CURRENT.set(Some(Rc::clone(&worker)));
    worker.shared.initialize();
    worker.shared.idle.ready();
    let parker = Arc::new(Parker::new());
    let mut searching = true;
    while let Some(job) = worker.shared.idle.next(&parker, &*worker, searching) {
        searching = worker.work(job);
    }
    CURRENT.set(None);
    tracing::debug!(thread = std::thread::current().name(), "a thread of the pool ends");
}

impl Worker {
    /// Runs a job, or ends it as the pool is to. Whether this worker counts as searching after it.
    fn work(&self, job: Job) -> bool {
        let shared = &self.shared;
        if !shared.gate.runs() {
            shared.gate.dispose(job);
            return false;
        }
        let ended = job.call();
        // Whoever waits for this job may hand in the next before this thread gets another turn, above all
        // if both share a processor. So it counts as searching before they are told: jobs that come
        // one at a time are all run by one thread, and none of them wakes or starts another.
        let searching = shared.queue.is_empty() && !ended.has_callbacks() && shared.idle.search();
        let Some(aftermath) = ended.tell() else { return searching };
        // Callbacks came after all. They may block, so that this is no time to count as searching.
        if searching {
            shared.idle.found(self);
        }
        drop(aftermath);
        false
    }
}

impl Source for Worker {
    type Item = Job;

    fn take(&self) -> Option<Job> {
        self.shared.queue.take(Some(&self.deque))
    }

    fn is_empty(&self) -> bool {
        self.shared.queue.is_empty()
    }

    fn is_over(&self) -> bool {
        self.shared.gate.is_over()
    }

    fn announce(&self) {
        self.shared.announce();
    }
}

/// Queues a job of this thread, which may be a worker of that pool or any other thread.
pub(crate) fn push(shared: &Arc<Shared>, job: Job) {
    // A job may be submitted by a destructor that runs as the thread ends, when there is no `CURRENT`.
    let worker = CURRENT.try_with(|current| current.borrow().clone()).ok().flatten();
    let own = worker.as_ref().filter(|worker| Arc::ptr_eq(&worker.shared, shared));
    shared.queue.push(job, own.map(|worker| &worker.deque));
}

/// Whether this thread is a worker of that pool.
pub(crate) fn is_current(shared: &Arc<Shared>) -> bool {
    CURRENT
        .try_with(|current| current.borrow().as_ref().is_some_and(|worker| Arc::ptr_eq(&worker.shared, shared)))
        .unwrap_or(false)
}
