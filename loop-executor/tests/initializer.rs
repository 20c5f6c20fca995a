//! What each thread does first, and what follows when that fails.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex, mpsc};

use loop_executor::{ConcurrentFuture, Error, TaskError, ThreadPoolExecutor, WaitError};

thread_local! {
    static INITIALIZED: Cell<usize> = const { Cell::new(0) };
}

fn is_broken<T: Send + 'static>(future: &ConcurrentFuture<T>) -> bool {
    let Err(WaitError::Task(TaskError::Failed(error))) = future.result(None) else { return false };
    matches!(error.downcast_ref(), Some(Error::BrokenPool))
}

#[test]
fn it_runs_once_in_each_thread_before_its_first_job() {
    let pool = ThreadPoolExecutor::builder()
        .max_workers(3)
        .initializer(|| {
            INITIALIZED.set(INITIALIZED.get() + 1);
            Ok::<_, Error>(())
        })
        .build()
        .unwrap();
    assert_eq!(pool.submit(|| INITIALIZED.get()).unwrap().result(None).unwrap(), 1);
    assert_eq!(pool.threads_started(), 1);
    for _ in 0..3 {
        let barrier = Arc::new(Barrier::new(3));
        let jobs = [(); 3].map(|()| {
            let barrier = Arc::clone(&barrier);
            pool.submit(move || {
                barrier.wait();
                INITIALIZED.get()
            })
            .unwrap()
        });
        assert!(jobs.iter().all(|job| job.result(None).unwrap() == 1));
    }
}

/// EXEC-15: a failing initializer breaks the pool: queued and later jobs fail.
#[test]
fn a_failure_breaks_the_pool() {
    let (fail, failing) = mpsc::channel::<()>();
    let failing = Mutex::new(failing);
    let pool = ThreadPoolExecutor::builder()
        .max_workers(1)
        .initializer(move || {
            let _ = failing.lock().unwrap().recv();
            Err("no database")
        })
        .build()
        .unwrap();
    let queued = [(); 3].map(|()| pool.submit(|| ()).unwrap());
    fail.send(()).unwrap();
    assert!(queued.iter().all(is_broken));
    assert!(matches!(pool.submit(|| ()), Err(Error::BrokenPool)));
    pool.shutdown(true, false);
    assert!(matches!(pool.submit(|| ()), Err(Error::BrokenPool)), "and stays so");
}

/// EXEC-15: a panicking one does as well.
#[test]
fn a_panic_breaks_the_pool() {
    let pool =
        ThreadPoolExecutor::builder().initializer(|| -> Result<(), Error> { panic!("no database") }).build().unwrap();
    let future = pool.submit(|| ()).unwrap();
    assert!(is_broken(&future));
    assert!(matches!(pool.submit(|| ()), Err(Error::BrokenPool)));
    pool.shutdown(true, true);
}

/// EXEC-15: what runs when the pool breaks comes to its end.
#[test]
fn a_running_job_survives_the_failure_of_another_thread() {
    let threads = AtomicUsize::new(0);
    let pool = ThreadPoolExecutor::builder()
        .max_workers(2)
        .initializer(move || if threads.fetch_add(1, SeqCst) == 0 { Ok(()) } else { Err("one was enough") })
        .build()
        .unwrap();
    let (starting, started) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let first = pool
        .submit(move || {
            starting.send(()).unwrap();
            released.recv().is_ok()
        })
        .unwrap();
    started.recv().unwrap();
    let second = pool.submit(|| ()).unwrap();
    assert!(is_broken(&second));
    release.send(()).unwrap();
    assert!(first.result(None).unwrap());
    pool.shutdown(true, false);
}

/// A slow initializer does not keep other threads from being started.
#[test]
fn threads_initialize_themselves_at_the_same_time() {
    let both = Barrier::new(2);
    let pool = ThreadPoolExecutor::builder()
        .max_workers(2)
        .initializer(move || {
            both.wait();
            Ok::<_, Error>(())
        })
        .build()
        .unwrap();
    let jobs = [(); 2].map(|()| pool.submit(|| ()).unwrap());
    assert!(jobs.iter().all(|job| job.result(None).is_ok()));
}

/// No job is lost that comes while the pool breaks.
#[test]
fn jobs_that_meet_the_failure_all_end() {
    for _ in 0..200 {
        let pool = ThreadPoolExecutor::builder().initializer(|| Err("never")).build().unwrap();
        let submitters = [(); 2].map(|()| {
            let pool = pool.clone();
            std::thread::spawn(move || (0..20).map_while(|_| pool.submit(|| ()).ok()).all(|job| is_broken(&job)))
        });
        assert!(submitters.into_iter().all(|submitter| submitter.join().unwrap()));
        pool.shutdown(true, false);
    }
}
