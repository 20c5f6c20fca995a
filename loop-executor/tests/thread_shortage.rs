//! What happens when the system gives no more threads. The limit is the process's, hence one test a file.

use std::sync::{Arc, Barrier, mpsc};

use loop_executor::{Error, ThreadPoolExecutor};
use rustix::process::{Resource, getrlimit, setrlimit};

const STACK: usize = 1 << 30;

/// Runs `code` while there is memory for anything but another stack.
fn without_threads<R>(code: impl FnOnce() -> R) -> R {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let used = pages.split(' ').next().unwrap().parse::<u64>().unwrap() * rustix::param::page_size() as u64;
    let unlimited = getrlimit(Resource::As);
    let mut limited = unlimited;
    limited.current = Some(used + STACK as u64 / 2);
    setrlimit(Resource::As, limited).unwrap();
    let result = code();
    setrlimit(Resource::As, unlimited).unwrap();
    result
}

#[test]
fn a_pool_goes_on_with_the_threads_it_has_and_refuses_jobs_while_it_has_none() {
    let pool = ThreadPoolExecutor::builder().max_workers(3).stack_size(STACK).build().unwrap();
    let refused = without_threads(|| pool.submit(|| ()));
    assert!(matches!(refused, Err(Error::Io(_))));
    assert_eq!(pool.threads_started(), 0);

    let (release, released) = mpsc::channel::<()>();
    let blocked = pool.submit(move || released.recv().is_ok()).unwrap();
    let waiting = without_threads(|| [(); 10].map(|()| pool.submit(|| 5)));
    assert_eq!(pool.threads_started(), 1);
    release.send(()).unwrap();
    assert!(blocked.result(None).unwrap());
    assert!(waiting.into_iter().all(|job| job.unwrap().result(None).unwrap() == 5));

    let barrier = Arc::new(Barrier::new(3));
    let jobs = [(); 3].map(|()| {
        let barrier = Arc::clone(&barrier);
        pool.submit(move || barrier.wait().is_leader()).unwrap()
    });
    assert!(jobs.iter().all(|job| job.result(None).is_ok()));
    assert_eq!(pool.threads_started(), 3, "once there are threads again, it has them");
    pool.shutdown(true, false);
}
