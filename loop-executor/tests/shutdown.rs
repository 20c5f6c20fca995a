//! The end of a pool: what still runs, who waits, and that nothing is left behind.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Barrier};
use std::thread;

use loop_executor::{ConcurrentFuture, Error, Executor, Job, TaskError, ThreadPoolExecutor};

thread_local! {
    static AT_END: RefCell<Option<AtEnd>> = const { RefCell::new(None) };
}

/// Lets the test see a thread end: the sender goes with it.
#[expect(dead_code, reason = "it is held for its drop")]
struct AtEnd(Sender<()>);

/// A pool of one thread, busy until it is released, and a channel that ends when that thread does.
fn busy() -> (ThreadPoolExecutor, Sender<()>, Receiver<()>) {
    let pool = ThreadPoolExecutor::builder().max_workers(1).build().unwrap();
    let (starting, started) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let (lives, ended) = mpsc::channel();
    pool.submit(move || {
        AT_END.set(Some(AtEnd(lives)));
        starting.send(()).unwrap();
        let _ = released.recv();
    })
    .unwrap();
    started.recv().unwrap();
    (pool, release, ended)
}

fn count(pool: &ThreadPoolExecutor, jobs: usize) -> (Arc<AtomicUsize>, Vec<ConcurrentFuture<()>>) {
    let ran = Arc::new(AtomicUsize::new(0));
    let futures = (0..jobs)
        .map(|_| {
            let ran = Arc::clone(&ran);
            pool.submit(move || {
                let _ = ran.fetch_add(1, SeqCst);
            })
            .unwrap()
        })
        .collect();
    (ran, futures)
}

/// EXEC-12: a pool that was shut down refuses jobs, and lets go of them.
#[test]
fn jobs_are_refused_after_shutdown() {
    let pool = ThreadPoolExecutor::new();
    pool.shutdown(false, false);
    assert!(matches!(pool.submit(|| ()), Err(Error::PoolShutdown)));
    let (job, future) = Job::new(|| ());
    assert!(matches!(pool.execute(job), Err(Error::PoolShutdown)));
    assert!(matches!(future.try_take(), Some(Err(TaskError::Abandoned))));
    assert_eq!(pool.threads_started(), 0);
}

/// EXEC-12: also those of the pool's own jobs.
#[test]
fn a_running_job_is_refused_too() {
    let pool = ThreadPoolExecutor::builder().max_workers(1).build().unwrap();
    let (go, gone) = mpsc::channel::<()>();
    let inner = pool.clone();
    let job = pool
        .submit(move || {
            gone.recv().unwrap();
            matches!(inner.submit(|| ()), Err(Error::PoolShutdown))
        })
        .unwrap();
    pool.shutdown(false, false);
    go.send(()).unwrap();
    assert!(job.result(None).unwrap());
}

/// EXEC-14: what is queued still runs, and shutdown(wait) returns when all threads have ended.
#[test]
fn waiting_sees_the_queue_run_and_the_threads_end() {
    let (pool, release, ended) = busy();
    let (ran, futures) = count(&pool, 100);
    drop(release);
    pool.shutdown(true, false);
    assert_eq!(ran.load(SeqCst), 100);
    assert!(futures.iter().all(|future| matches!(future.try_take(), Some(Ok(())))));
    assert!(ended.try_recv().is_err_and(|error| error == mpsc::TryRecvError::Disconnected), "the thread has ended");
}

/// EXEC-14: without wait it returns at once, and the queue still runs.
#[test]
fn not_waiting_returns_at_once_and_the_queue_still_runs() {
    let (pool, release, ended) = busy();
    let (ran, futures) = count(&pool, 100);
    pool.shutdown(false, false);
    assert_eq!(ran.load(SeqCst), 0, "the thread is still busy");
    drop(release);
    assert!(futures.iter().all(|future| future.result(None).is_ok()));
    assert!(ended.recv().is_err());
}

/// EXEC-14: with cancel_futures the queue is cancelled; the running job finishes.
#[test]
fn cancelling_empties_the_queue_and_leaves_what_runs() {
    let (pool, release, ended) = busy();
    let (ran, futures) = count(&pool, 100);
    pool.shutdown(false, true);
    assert!(futures.iter().all(ConcurrentFuture::cancelled));
    assert_eq!(Arc::strong_count(&ran), 1, "their closures are gone");
    drop(release);
    pool.shutdown(true, false);
    assert_eq!(ran.load(SeqCst), 0);
    assert!(ended.recv().is_err());
}

/// EXEC-14: it may be called again with other arguments: to cancel after all, to wait after all.
#[test]
fn it_can_be_called_again_and_ask_for_more() {
    let (pool, release, ended) = busy();
    let (_, futures) = count(&pool, 10);
    pool.shutdown(false, false);
    assert!(!futures.iter().any(ConcurrentFuture::cancelled));
    pool.shutdown(false, true);
    assert!(futures.iter().all(ConcurrentFuture::cancelled));
    drop(release);
    pool.shutdown(true, false);
    pool.shutdown(true, true);
    pool.shutdown(false, false);
    assert!(ended.recv().is_err());
}

#[test]
fn everyone_who_waits_returns_when_all_is_done() {
    let (pool, release, _) = busy();
    let (ran, _futures) = count(&pool, 100);
    let barrier = Arc::new(Barrier::new(4));
    let waiters: Vec<_> = (0..3)
        .map(|_| {
            let (pool, ran, barrier) = (pool.clone(), Arc::clone(&ran), Arc::clone(&barrier));
            thread::spawn(move || {
                barrier.wait();
                pool.shutdown(true, false);
                ran.load(SeqCst)
            })
        })
        .collect();
    barrier.wait();
    drop(release);
    assert!(waiters.into_iter().all(|waiter| waiter.join().unwrap() == 100));
}

/// A thread of the pool cannot wait for itself.
#[test]
fn a_job_may_shut_its_own_pool_down() {
    let pool = ThreadPoolExecutor::builder().max_workers(2).build().unwrap();
    let barrier = Arc::new(Barrier::new(2));
    let jobs = [(); 2].map(|()| {
        let (inner, barrier) = (pool.clone(), Arc::clone(&barrier));
        pool.submit(move || {
            barrier.wait();
            inner.shutdown(true, true);
        })
        .unwrap()
    });
    assert!(jobs.iter().all(|job| job.result(None).is_ok()));
    pool.shutdown(true, false);
}

#[test]
fn a_pool_without_threads_ends_at_once() {
    let pool = ThreadPoolExecutor::new();
    pool.shutdown(true, true);
    pool.shutdown(true, false);
    assert_eq!(pool.threads_started(), 0);
}

#[test]
fn idle_threads_end_too() {
    let pool = ThreadPoolExecutor::builder().max_workers(4).build().unwrap();
    let barrier = Arc::new(Barrier::new(4));
    let (lives, ended) = mpsc::channel::<()>();
    let jobs = [(); 4].map(|()| {
        let (barrier, lives) = (Arc::clone(&barrier), lives.clone());
        pool.submit(move || {
            AT_END.set(Some(AtEnd(lives)));
            barrier.wait();
        })
        .unwrap()
    });
    drop(lives);
    assert!(jobs.iter().all(|job| job.result(None).is_ok()));
    pool.shutdown(false, false);
    assert!(ended.recv().is_err(), "all four have ended");
}

/// Dropping the last handle is shutdown(false, false).
#[test]
fn dropping_the_last_handle_runs_the_queue_and_ends_the_threads() {
    let (pool, release, ended) = busy();
    let (ran, futures) = count(&pool, 100);
    drop(pool.clone());
    assert!(pool.submit(|| ()).is_ok(), "there was another");
    drop(pool);
    drop(release);
    assert!(futures.iter().all(|future| future.result(None).is_ok()));
    assert_eq!(ran.load(SeqCst), 100);
    assert!(ended.recv().is_err());
}

#[test]
fn the_last_handle_may_be_dropped_by_a_job() {
    let (pool, release, ended) = busy();
    let inner = pool.clone();
    let job = pool.submit(move || drop(inner)).unwrap();
    drop(pool);
    drop(release);
    assert!(job.result(None).is_ok());
    assert!(ended.recv().is_err());
}

/// Even the destructors of thread locals may try to submit.
#[test]
fn a_thread_that_ends_is_refused() {
    struct Submits(ThreadPoolExecutor, Sender<bool>);
    impl Drop for Submits {
        fn drop(&mut self) {
            let refused = matches!(self.0.submit(|| ()), Err(Error::PoolShutdown));
            self.0.shutdown(false, true);
            self.1.send(refused).unwrap();
        }
    }
    thread_local! {
        static SUBMITS: RefCell<Option<Submits>> = const { RefCell::new(None) };
    }
    let pool = ThreadPoolExecutor::new();
    let (sender, receiver) = mpsc::channel();
    let inner = pool.clone();
    pool.submit(move || SUBMITS.set(Some(Submits(inner, sender)))).unwrap().result(None).unwrap();
    pool.shutdown(false, false);
    assert!(receiver.recv().unwrap());
}
