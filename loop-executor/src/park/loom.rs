//! Models of parking and of the closing gate, explored by loom:
//! `RUSTFLAGS="--cfg loom" cargo test --release -p loop-executor --lib loom`.
//!
//! The code is the pool's own except for the queue, which loom could not look into: here it is one word,
//! a bit for each job, and weaker than the real one. It orders nothing but a job's own hand-over, so that
//! whatever else has to be ordered must be so by the protocol. A lost wake-up shows as a deadlock,
//! which loom reports: jobs are waited for before anything that would wake a sleeper anyway.

use std::sync::Arc;

use loom::model::Builder;
use loom::thread;
use loop_core::sync::atomic::{AtomicUsize, Ordering};
use loop_core::sync::{Condvar, Mutex};

use super::{Idle, Parker, Source, Wake};
use crate::shutdown::Gate;

struct Pool {
    queue: AtomicUsize,
    idle: Idle,
    gate: Gate,
    /// Set if only the first thread can be started: for a submitter, when these jobs have run, others fail to.
    start_fails_after: Option<usize>,
    /// A job that waits for another, and that other.
    blocks: Option<(usize, usize)>,
    ran: Mutex<usize>,
    changed: Condvar,
}

#[derive(Clone)]
struct Worker(Arc<Pool>);

impl Pool {
    fn new(
        max_workers: usize,
        prompt: bool,
        start_fails_after: Option<usize>,
        blocks: Option<(usize, usize)>,
    ) -> Arc<Self> {
        Arc::new(Self {
            queue: AtomicUsize::new(0),
            idle: Idle::new(max_workers, prompt),
            gate: Gate::new(),
            start_fails_after,
            blocks,
            ran: Mutex::new(0),
            changed: Condvar::new(),
        })
    }

    /// With its first worker.
    fn staffed(self: Arc<Self>) -> (Arc<Self>, thread::JoinHandle<()>) {
        self.idle.starting();
        let worker = Worker(Arc::clone(&self));
        let thread = thread::spawn(move || worker.main());
        (self, thread)
    }

    /// As `Shared::execute`. False if the gate is closed.
    fn submit(self: &Arc<Self>, job: usize) -> bool {
        if self.gate.enter().is_err() {
            return false;
        }
        self.queue.fetch_or(job, Ordering::Release);
        Worker(Arc::clone(self)).recruit(self.start_fails_after.unwrap_or(0));
        if self.gate.leave() {
            self.idle.wake_all();
        }
        true
    }

    fn close(&self) {
        self.gate.close(false);
        self.idle.wake_all();
    }

    fn wait_for(&self, jobs: usize) {
        let mut ran = self.ran.lock();
        while *ran & jobs != jobs {
            self.changed.wait(&mut ran);
        }
    }

    fn ran(&self) -> usize {
        *self.ran.lock()
    }
}

impl Worker {
    /// As the worker's own.
    fn main(self) {
        self.0.idle.ready();
        let parker = Arc::new(Parker::new());
        let mut searching = true;
        while let Some(job) = self.0.idle.next(&parker, &self, searching) {
            if let Some((_, other)) = self.0.blocks.filter(|(waiting, _)| *waiting == job) {
                self.0.wait_for(other);
            }
            searching = self.is_empty() && self.0.idle.search();
            let mut ran = self.0.ran.lock();
            assert_eq!(*ran & job, 0, "a job ran twice");
            *ran |= job;
            self.0.changed.notify_all();
        }
    }
}

impl Worker {
    /// As `Shared::announce`. Where a thread cannot be started, that turns out after these jobs have run.
    fn recruit(&self, slowly: usize) {
        match self.0.idle.announce(|| self.is_empty()) {
            Wake::Nobody => {}
            Wake::Sleeper(parker) => parker.unpark(),
            Wake::Start if self.0.start_fails_after.is_none() => {
                let worker = self.clone();
                thread::spawn(move || worker.main());
            }
            Wake::Start => {
                self.0.wait_for(slowly);
                self.0.idle.not_started();
                if let Wake::Sleeper(parker) = self.0.idle.announce_to_sleepers(|| self.is_empty()) {
                    parker.unpark();
                }
            }
        }
    }
}

impl Source for Worker {
    type Item = usize;

    fn take(&self) -> Option<usize> {
        let mut queue = self.0.queue.load(Ordering::Relaxed);
        while queue != 0 {
            let job = queue & queue.wrapping_neg();
            match self.0.queue.compare_exchange(queue, queue & !job, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(job),
                Err(now) => queue = now,
            }
        }
        None
    }

    fn is_empty(&self) -> bool {
        self.0.queue.load(Ordering::Relaxed) == 0
    }

    fn is_over(&self) -> bool {
        self.0.gate.is_over()
    }

    fn announce(&self) {
        self.recruit(0);
    }
}

/// Explores all schedules with up to so many preemptions.
fn model(preemptions: usize, test: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(test);
}

#[test]
fn a_job_that_meets_a_worker_on_its_way_to_sleep_is_run() {
    model(3, || {
        let (pool, worker) = Pool::new(1, true, None, None).staffed();
        assert!(pool.submit(1));
        pool.wait_for(1);
        assert!(pool.submit(2));
        pool.wait_for(2);
        pool.close();
        worker.join().unwrap();
    });
}

#[test]
fn jobs_of_two_threads_are_all_run() {
    model(2, || {
        let (pool, worker) = Pool::new(1, true, None, None).staffed();
        let other = thread::spawn({
            let pool = Arc::clone(&pool);
            move || assert!(pool.submit(1))
        });
        assert!(pool.submit(2));
        pool.wait_for(1 | 2);
        other.join().unwrap();
        pool.close();
        worker.join().unwrap();
    });
}

#[test]
fn a_blocked_job_holds_up_none_behind_it() {
    for (prompt, preemptions) in [(true, 2), (false, 1)] {
        model(preemptions, move || {
            let (pool, worker) = Pool::new(2, prompt, None, Some((1, 2))).staffed();
            assert!(pool.submit(1));
            assert!(pool.submit(2));
            pool.wait_for(1 | 2);
            pool.close();
            worker.join().unwrap();
        });
    }
}

#[test]
fn jobs_one_at_a_time_are_run_by_one_thread() {
    model(3, || {
        let (pool, worker) = Pool::new(2, true, None, None).staffed();
        for job in [1, 2, 4] {
            assert!(pool.submit(job));
            pool.wait_for(job);
        }
        assert_eq!(pool.idle.started(), 1);
        pool.close();
        worker.join().unwrap();
    });
}

#[test]
fn who_counted_on_a_thread_that_could_not_be_started_is_served() {
    model(1, || {
        let (pool, worker) = Pool::new(2, true, Some(1 | 2), None).staffed();
        let other = thread::spawn({
            let pool = Arc::clone(&pool);
            move || {
                pool.wait_for(2);
                assert!(pool.submit(4));
            }
        });
        assert!(pool.submit(1));
        assert!(pool.submit(2));
        pool.wait_for(1 | 2 | 4);
        other.join().unwrap();
        assert_eq!(pool.idle.started(), 1);
        pool.close();
        worker.join().unwrap();
    });
}

#[test]
fn what_passes_a_closing_gate_is_run_and_every_worker_ends() {
    model(3, || {
        let (pool, worker) = Pool::new(1, true, None, None).staffed();
        let submitter = thread::spawn({
            let pool = Arc::clone(&pool);
            move || usize::from(pool.submit(1)) | usize::from(pool.submit(2)) << 1
        });
        pool.close();
        pool.gate.wait_over();
        worker.join().unwrap();
        assert_eq!(pool.ran(), submitter.join().unwrap());
        assert!(pool.gate.enter().is_err());
    });
}
