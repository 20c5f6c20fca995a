//! How many threads there are, what they are called, and that they are reused.

use std::collections::HashSet;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, ThreadId};

use loop_executor::{Error, ThreadPoolExecutor};

/// A job that says when it runs and goes on until it is let go.
struct Blocked {
    started: Receiver<(ThreadId, Option<String>)>,
    release: Sender<()>,
}

fn block(pool: &ThreadPoolExecutor) -> Blocked {
    let (starting, started) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    pool.submit(move || {
        let thread = thread::current();
        starting.send((thread.id(), thread.name().map(str::to_owned))).unwrap();
        let _ = released.recv();
    })
    .unwrap();
    Blocked { started, release }
}

/// EXEC-13: threads start lazily, one for each job while none is idle, up to the maximum.
#[test]
fn a_thread_is_started_for_each_job_that_finds_none_idle_up_to_the_maximum() {
    let pool = ThreadPoolExecutor::builder().max_workers(3).build().unwrap();
    assert_eq!(pool.threads_started(), 0);
    let mut threads = HashSet::new();
    let mut blocked = Vec::new();
    for count in 1..=3 {
        let job = block(&pool);
        threads.insert(job.started.recv().unwrap().0);
        blocked.push(job);
        assert_eq!((threads.len(), pool.threads_started()), (count, count));
    }
    let fourth = block(&pool);
    assert!(fourth.started.try_recv().is_err(), "it waits for a thread");
    let third = blocked.pop().unwrap();
    third.release.send(()).unwrap();
    assert!(threads.contains(&fourth.started.recv().unwrap().0), "and gets the first that is free");
    assert_eq!(pool.threads_started(), 3);
}

/// EXEC-13: an idle thread is reused; jobs that come one at a time never start a second.
#[test]
fn jobs_one_at_a_time_share_one_thread() {
    let pool = ThreadPoolExecutor::new();
    let first = pool.submit(|| thread::current().id()).unwrap().result(None).unwrap();
    for _ in 0..2000 {
        assert_eq!(pool.submit(|| thread::current().id()).unwrap().result(None).unwrap(), first);
    }
    assert_eq!(pool.threads_started(), 1);
}

/// EXEC-13: the same when whoever waits polls for the outcome, and so is quicker than any wake-up.
#[test]
fn an_outcome_is_seen_only_when_its_thread_counts_as_free() {
    let pool = ThreadPoolExecutor::new();
    for _ in 0..2000 {
        let future = pool.submit(|| ()).unwrap();
        while !future.done() {
            thread::yield_now();
        }
    }
    assert_eq!(pool.threads_started(), 1);
}

/// EXEC-13: all jobs that need each other run at once, if there may be threads enough.
#[test]
fn jobs_that_wait_for_each_other_all_get_a_thread() {
    let pool = ThreadPoolExecutor::builder().max_workers(8).build().unwrap();
    for _ in 0..50 {
        let barrier = std::sync::Arc::new(std::sync::Barrier::new(8));
        let jobs: Vec<_> = (0..8)
            .map(|_| {
                let barrier = std::sync::Arc::clone(&barrier);
                pool.submit(move || barrier.wait().is_leader()).unwrap()
            })
            .collect();
        let leaders = jobs.iter().filter(|job| job.result(None).unwrap()).count();
        assert_eq!(leaders, 1);
    }
    assert_eq!(pool.threads_started(), 8);
}

/// EXEC-01: at most four more than there are processors, and not more than 32; named asyncio_0, asyncio_1 ...
#[test]
fn the_defaults_are_asyncios() {
    let pool = ThreadPoolExecutor::new();
    let processors = thread::available_parallelism().unwrap().get();
    assert_eq!(pool.max_workers(), (processors + 4).min(32));
    let blocked: Vec<_> = (0..2)
        .map(|_| {
            let job = block(&pool);
            let name = job.started.recv().unwrap().1.unwrap();
            (name, job)
        })
        .collect();
    assert_eq!([&*blocked[0].0, &*blocked[1].0], ["asyncio_0", "asyncio_1"]);
}

#[test]
fn the_name_prefix_and_the_stack_size_can_be_chosen() {
    let size = 16 << 20;
    let pool = ThreadPoolExecutor::builder().thread_name_prefix("disk").stack_size(size).build().unwrap();
    let name = pool
        .submit(|| {
            // More than the two megabytes that a thread has by default.
            let large = std::hint::black_box([1_u8; 8 << 20]);
            assert_eq!(large[large.len() / 2], 1);
            thread::current().name().map(str::to_owned)
        })
        .unwrap();
    assert_eq!(name.result(None).unwrap().as_deref(), Some("disk_0"));
}

/// EXEC-15: no threads at all, or a name that no thread can have, is refused.
#[test]
fn senseless_settings_are_refused() {
    let none = ThreadPoolExecutor::builder().max_workers(0).build();
    assert!(matches!(none, Err(Error::InvalidArgument(_))));
    let nul = ThreadPoolExecutor::builder().thread_name_prefix("a\0b").build();
    assert!(matches!(nul, Err(Error::InvalidArgument(_))));
    let many = ThreadPoolExecutor::builder().max_workers(usize::MAX).build().unwrap();
    assert_eq!(many.submit(|| 5).unwrap().result(None).unwrap(), 5);
}
