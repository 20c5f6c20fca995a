//! Many jobs from many threads: each ends once, whatever meets.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use std::thread;

use loop_executor::{Error, ThreadPoolExecutor};

#[test]
fn every_job_of_many_submitters_runs_once() {
    let pool = ThreadPoolExecutor::builder().max_workers(4).build().unwrap();
    let ran = Arc::new(AtomicUsize::new(0));
    let submitters: Vec<_> = (0..4)
        .map(|_| {
            let (pool, ran) = (pool.clone(), Arc::clone(&ran));
            thread::spawn(move || {
                let futures: Vec<_> = (0..10_000)
                    .map(|number| {
                        let ran = Arc::clone(&ran);
                        let job = move || {
                            ran.fetch_add(1, Relaxed);
                            number
                        };
                        pool.submit(job).unwrap()
                    })
                    .collect();
                for (number, future) in futures.into_iter().enumerate() {
                    assert_eq!(future.result(None).unwrap(), number);
                }
            })
        })
        .collect();
    for submitter in submitters {
        submitter.join().unwrap();
    }
    assert_eq!(ran.load(Relaxed), 40_000);
}

/// Bursts with pauses, in which the threads fall asleep: here a lost wake-up would hang.
#[test]
fn no_wake_up_is_lost_between_bursts() {
    let pool = ThreadPoolExecutor::builder().max_workers(3).build().unwrap();
    for burst in 0..3000 {
        let jobs: Vec<_> = (0..burst % 5 + 1).map(|_| pool.submit(|| ()).unwrap()).collect();
        if burst % 3 == 0 {
            thread::yield_now();
        }
        for job in jobs {
            job.result(None).unwrap();
        }
    }
}

#[test]
fn jobs_of_jobs_all_run() {
    fn spread(pool: &ThreadPoolExecutor, depth: u32, leaves: &Arc<AtomicUsize>) {
        if depth == 0 {
            leaves.fetch_add(1, Relaxed);
            return;
        }
        for _ in 0..2 {
            let (inner, leaves) = (pool.clone(), Arc::clone(leaves));
            // Refused only once the pool is shut down, which waits for the leaves.
            drop(pool.submit(move || spread(&inner, depth - 1, &leaves)).unwrap());
        }
    }
    let pool = ThreadPoolExecutor::builder().max_workers(4).build().unwrap();
    let leaves = Arc::new(AtomicUsize::new(0));
    spread(&pool, 14, &leaves);
    while leaves.load(Relaxed) < 1 << 14 {
        thread::yield_now();
    }
    pool.shutdown(true, false);
    assert_eq!(leaves.load(Relaxed), 1 << 14);
}

#[test]
fn each_job_is_either_cancelled_or_run() {
    let pool = ThreadPoolExecutor::builder().max_workers(2).build().unwrap();
    let ran = Arc::new(AtomicUsize::new(0));
    let mut cancelled = 0;
    for _ in 0..20_000 {
        let job = {
            let ran = Arc::clone(&ran);
            pool.submit(move || {
                let _ = ran.fetch_add(1, Relaxed);
            })
            .unwrap()
        };
        cancelled += usize::from(job.cancel());
    }
    pool.shutdown(true, false);
    assert_eq!(ran.load(Relaxed) + cancelled, 20_000);
}

/// EXEC-12, EXEC-14: however submitters and a shutdown meet, a job that was accepted runs, or is cancelled
/// if the shutdown says so, and one that was refused does not.
#[test]
fn a_shutdown_in_the_midst_loses_nothing() {
    for round in 0..300 {
        let pool = ThreadPoolExecutor::builder().max_workers(2).build().unwrap();
        let ran = Arc::new(AtomicUsize::new(0));
        let start = Arc::new(Barrier::new(3));
        let submitters = [(); 2].map(|()| {
            let (pool, ran, start) = (pool.clone(), Arc::clone(&ran), Arc::clone(&start));
            thread::spawn(move || {
                start.wait();
                let mut accepted = Vec::new();
                loop {
                    let ran = Arc::clone(&ran);
                    match pool.submit(move || {
                        let _ = ran.fetch_add(1, Relaxed);
                    }) {
                        Ok(future) => accepted.push(future),
                        Err(Error::PoolShutdown) => return accepted,
                        Err(other) => panic!("{other}"),
                    }
                }
            })
        });
        start.wait();
        let cancel = round % 2 == 0;
        pool.shutdown(true, cancel);
        let ran = ran.load(Relaxed);
        let accepted: Vec<_> = submitters.into_iter().flat_map(|submitter| submitter.join().unwrap()).collect();
        assert!(accepted.iter().all(|future| future.done()), "shutdown has waited for it");
        let cancelled = accepted.iter().filter(|future| future.cancelled()).count();
        assert_eq!(ran + cancelled, accepted.len());
        assert!(cancel || cancelled == 0);
    }
}
