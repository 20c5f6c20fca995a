//! The order in which jobs start, and that none holds up another.

use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::thread;

use loop_executor::{ConcurrentFuture, ThreadPoolExecutor};

/// A pool of one thread, which is busy until the sender sends or goes.
fn busy() -> (ThreadPoolExecutor, Sender<()>) {
    let pool = ThreadPoolExecutor::builder().max_workers(1).build().unwrap();
    let (release, released) = mpsc::channel::<()>();
    pool.submit(move || released.recv()).unwrap();
    (pool, release)
}

type Log = Arc<Mutex<Vec<u32>>>;

fn log(pool: &ThreadPoolExecutor, log: &Log, number: u32) -> ConcurrentFuture<()> {
    let log = Arc::clone(log);
    pool.submit(move || log.lock().unwrap().push(number)).unwrap()
}

/// EXEC-14: first in, first out.
#[test]
fn jobs_are_taken_in_the_order_they_were_submitted() {
    let (pool, release) = busy();
    let order = Log::default();
    for number in 0..1000 {
        drop(log(&pool, &order, number));
    }
    drop(release);
    pool.shutdown(true, false);
    assert!(order.lock().unwrap().iter().copied().eq(0..1000));
}

/// EXEC-14: a job that a job submits is no exception: it does not overtake those that wait already, nor is
/// it overtaken by later ones.
#[test]
fn jobs_of_jobs_keep_the_order_too() {
    let pool = ThreadPoolExecutor::builder().max_workers(1).build().unwrap();
    let order = Log::default();
    let (step, steps) = mpsc::channel::<()>();
    let (stepped, wait) = mpsc::channel::<()>();
    let inner = (pool.clone(), Arc::clone(&order));
    pool.submit(move || {
        let (pool, order) = inner;
        for number in [0, 2, 4] {
            steps.recv().unwrap();
            drop(log(&pool, &order, number));
            stepped.send(()).unwrap();
        }
    })
    .unwrap();
    for number in [1, 3, 5] {
        step.send(()).unwrap();
        wait.recv().unwrap();
        drop(log(&pool, &order, number));
    }
    pool.shutdown(true, false);
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4, 5]);
}

/// A blocked job never holds up those queued behind it, from wherever they come.
#[test]
fn a_job_may_wait_for_jobs_that_it_submits() {
    let pool = ThreadPoolExecutor::builder().max_workers(2).build().unwrap();
    let inner = pool.clone();
    let outer = pool
        .submit(move || {
            let jobs: Vec<_> = (0..100).map(|_| inner.submit(|| thread::current().id()).unwrap()).collect();
            jobs.iter().all(|job| job.result(None).unwrap() != thread::current().id())
        })
        .unwrap();
    assert!(outer.result(None).unwrap(), "the other thread has stolen them all");
}

#[test]
fn jobs_behind_one_that_blocks_go_to_other_threads() {
    let pool = ThreadPoolExecutor::builder().max_workers(2).build().unwrap();
    let (release, released) = mpsc::channel::<()>();
    let blocked = pool.submit(move || released.recv().is_ok()).unwrap();
    for _ in 0..1000 {
        pool.submit(|| ()).unwrap().result(None).unwrap();
    }
    assert!(!blocked.done());
    release.send(()).unwrap();
    assert!(blocked.result(None).unwrap());
}

/// A done callback is code of the user's: one that blocks keeps its own thread and no job.
#[test]
fn a_callback_that_blocks_holds_up_no_job() {
    let pool = ThreadPoolExecutor::builder().max_workers(2).build().unwrap();
    for late in [false, true] {
        let (go, gone) = mpsc::channel::<()>();
        let (release, released) = mpsc::channel::<()>();
        let (entered, inside) = mpsc::channel();
        let job = pool.submit(move || gone.recv().is_ok()).unwrap();
        let callback = move |_: &ConcurrentFuture<bool>| {
            entered.send(()).unwrap();
            let _ = released.recv();
        };
        if late {
            // As late as can be: perhaps while the job ends.
            go.send(()).unwrap();
            let other = thread::spawn(move || job.add_done_callback(callback));
            inside.recv().unwrap();
            assert_eq!(pool.submit(|| 5).unwrap().result(None).unwrap(), 5);
            drop(release);
            other.join().unwrap();
        } else {
            job.add_done_callback(callback);
            go.send(()).unwrap();
            inside.recv().unwrap();
            assert_eq!(pool.submit(|| 5).unwrap().result(None).unwrap(), 5);
        }
    }
}

/// The same for the destructor of a result that nobody wants.
#[test]
fn a_destructor_that_blocks_holds_up_no_job() {
    struct Slow(Sender<()>, mpsc::Receiver<()>);
    impl Drop for Slow {
        fn drop(&mut self) {
            self.0.send(()).unwrap();
            let _ = self.1.recv();
        }
    }
    let pool = ThreadPoolExecutor::builder().max_workers(2).build().unwrap();
    let (entered, inside) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    drop(pool.submit(move || Slow(entered, released)).unwrap());
    inside.recv().unwrap();
    assert_eq!(pool.submit(|| 5).unwrap().result(None).unwrap(), 5);
    drop(release);
}
