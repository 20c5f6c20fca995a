//! What becomes of a job: its value, its panic, its cancellation.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use loop_executor::{Executor, Job, TaskError, ThreadPoolExecutor, WaitError};

fn one_thread() -> ThreadPoolExecutor {
    ThreadPoolExecutor::builder().max_workers(1).build().unwrap()
}

/// EXEC-02: a panic is the job's error, and the thread goes on.
#[test]
fn a_panic_is_the_outcome_and_the_thread_lives_on() {
    let pool = one_thread();
    let before = pool.submit(|| std::thread::current().id()).unwrap().result(None).unwrap();
    let future = pool.submit(|| -> u32 { panic!("no such number") }).unwrap();
    let Err(WaitError::Task(TaskError::Panicked(panicked))) = future.result(None) else { panic!("not a panic") };
    assert_eq!(panicked.message(), "no such number");
    assert_eq!(pool.submit(|| std::thread::current().id()).unwrap().result(None).unwrap(), before);
    assert_eq!(pool.threads_started(), 1);
}

/// EXEC-10: cancelling a queued job keeps it from ever running.
#[test]
fn a_queued_job_that_is_cancelled_never_runs() {
    let pool = one_thread();
    let (release, released) = mpsc::channel::<()>();
    let running = pool.submit(move || released.recv().is_ok()).unwrap();
    let held = Arc::new(());
    let queued = pool
        .submit({
            let held = Arc::clone(&held);
            move || drop(held)
        })
        .unwrap();
    let last = pool.submit(|| 5).unwrap();
    assert!(queued.cancel() && queued.cancelled());
    assert_eq!(Arc::strong_count(&held), 1, "its closure is gone at once");
    release.send(()).unwrap();
    assert!(running.result(None).unwrap());
    assert_eq!(last.result(None).unwrap(), 5);
    assert!(matches!(queued.result(None), Err(WaitError::Task(TaskError::Cancelled(_)))));
}

/// EXEC-10: a running job cannot be cancelled; it runs on.
#[test]
fn a_running_job_is_not_cancelled() {
    let pool = one_thread();
    let (starting, started) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let future = pool
        .submit(move || {
            starting.send(()).unwrap();
            released.recv().is_ok()
        })
        .unwrap();
    started.recv().unwrap();
    assert!(future.running() && !future.cancel() && !future.cancelled());
    assert!(matches!(future.result(Some(Duration::ZERO)), Err(WaitError::TimedOut)));
    release.send(()).unwrap();
    assert!(future.result(None).unwrap());
}

/// FUT-19: whoever listens is told in the thread that completes the job.
#[test]
fn a_callback_is_called_by_the_pools_thread() {
    let pool = one_thread();
    let (sender, receiver) = mpsc::channel();
    let (job, future) = Job::new(|| 7);
    future.add_done_callback(move |future| {
        let name = std::thread::current().name().map(str::to_owned);
        sender.send((name, future.try_take().unwrap().unwrap())).unwrap();
    });
    pool.execute(job).unwrap();
    assert_eq!(receiver.recv().unwrap(), (Some(String::from("asyncio_0")), 7));
}

#[test]
fn whatever_panics_around_a_job_the_thread_lives_on() {
    struct PanicsWhenDropped;
    impl Drop for PanicsWhenDropped {
        fn drop(&mut self) {
            panic!("in a destructor");
        }
    }
    let pool = one_thread();
    drop(pool.submit(|| PanicsWhenDropped).unwrap());
    pool.submit(|| ()).unwrap().add_done_callback(|_| panic!("in a callback"));
    drop(pool.submit(|| std::panic::panic_any(PanicsWhenDropped)).unwrap());
    assert_eq!(pool.submit(|| 5).unwrap().result(None).unwrap(), 5);
    pool.shutdown(true, false);
}
