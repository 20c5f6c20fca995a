//! Work in threads: `run_in_executor`, `to_thread`, the default executor's life, and coroutines from other threads.
//!
//! Nothing here waits for time to pass: jobs stand at gates that the test opens.

mod logs;

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, LazyLock, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use loop_api::{
    ConcurrentFuture, ContextVar, EventLoop, Executor, Job, LoopError, LoopFuture, TaskError, ThreadPoolExecutor,
    WaitError, catch_cancelled, get_running_loop, new_event_loop, to_thread, to_thread_with, yield_now,
};

/// A job that says when it begins and then waits for the gate to be opened.
struct Gate {
    begins: mpsc::Receiver<()>,
    open: mpsc::Sender<()>,
}

impl Gate {
    fn new() -> (Self, impl FnOnce() + Send + 'static) {
        let ((begun, begins), (open, opened)) = (mpsc::channel(), mpsc::channel());
        let job = move || {
            let _ = begun.send(());
            // Also opened by dropping the gate, so that a test that fails does not hang.
            let _ = opened.recv();
        };
        (Self { begins, open }, job)
    }

    fn begun(&self) {
        self.begins.recv().unwrap();
    }

    fn open(&self) {
        self.open.send(()).unwrap();
    }
}

/// A result whose end is counted.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A pool of some threads, as it is and as the loop takes it.
fn pool(threads: usize) -> (ThreadPoolExecutor, Arc<dyn Executor>) {
    let pool = ThreadPoolExecutor::builder().max_workers(threads).build().unwrap();
    (pool.clone(), Arc::new(pool))
}

/// Runs the loop until the future is done, and gives its value.
fn value<T: 'static>(lp: &EventLoop, future: LoopFuture<T>) -> T {
    lp.run_until_complete(future).unwrap().unwrap()
}

/// Waits, in this thread, until somebody who counts has come to `count`.
fn until(counter: &(Mutex<usize>, std::sync::Condvar), count: usize) {
    let guard = counter.0.lock().unwrap();
    drop(counter.1.wait_while(guard, |seen| *seen < count).unwrap());
}

/// EXEC-01: all threads that the pool may have are at work at once, and no more than these.
#[test]
fn the_default_executor_is_a_pool_of_named_threads() {
    let most = (thread::available_parallelism().unwrap().get() + 4).min(32);
    let lp = new_event_loop().unwrap();
    let (names, at_once) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Barrier::new(most)));
    let jobs: Vec<_> = (0..2 * most)
        .map(|_| {
            let (names, at_once) = (Arc::clone(&names), Arc::clone(&at_once));
            let job = move || {
                names.lock().unwrap().push(thread::current().name().unwrap().to_owned());
                at_once.wait();
            };
            lp.run_in_executor(None, job).unwrap()
        })
        .collect();
    for job in jobs {
        value(&lp, job);
    }
    let mut names = names.lock().unwrap().clone();
    assert_eq!(names.len(), 2 * most);
    names.sort();
    names.dedup();
    let mut expected: Vec<_> = (0..most).map(|number| format!("asyncio_{number}")).collect();
    expected.sort();
    assert_eq!(names, expected);
}

/// EXEC-02.
#[test]
fn the_outcome_of_a_job_arrives_in_the_loops_thread() {
    let lp = new_event_loop().unwrap();
    let here = thread::current().id();
    let (answer, delivered) = lp
        .run_until_complete(async {
            let lp = get_running_loop().unwrap();
            let job = lp.run_in_executor(None, || (6 * 7, thread::current().id())).unwrap();
            let delivered = Rc::new(Cell::new(None));
            let seen = Rc::clone(&delivered);
            job.add_done_callback(move |_| seen.set(Some(thread::current().id())));
            let (answer, worked) = job.await.unwrap();
            assert_ne!(worked, here);
            (answer, delivered.get())
        })
        .unwrap();
    assert_eq!((answer, delivered), (42, Some(here)));
    let failed: Result<(), String> = value(&lp, lp.run_in_executor(None, || Err(String::from("its error"))).unwrap());
    assert_eq!(failed.unwrap_err(), "its error");
    let panicked = lp.run_in_executor(None, || -> () { std::panic::resume_unwind(Box::new("its panic")) }).unwrap();
    let Err(TaskError::Panicked(panicked)) = lp.run_until_complete(panicked).unwrap() else { panic!("not panicked") };
    assert_eq!(panicked.message(), "its panic");
}

/// EXEC-03.
#[test]
fn an_explicit_executor_has_nothing_to_do_with_the_default_one() {
    let lp = new_event_loop().unwrap();
    let named = ThreadPoolExecutor::builder().thread_name_prefix("mine").max_workers(1).build().unwrap();
    let executor: Arc<dyn Executor> = Arc::new(named);
    let name = || thread::current().name().unwrap().to_owned();
    assert_eq!(value(&lp, lp.run_in_executor(Some(&executor), name).unwrap()), "mine_0");
    lp.run_until_complete(lp.shutdown_default_executor(None)).unwrap().unwrap();
    assert!(lp.run_in_executor(None, name).is_err());
    assert_eq!(value(&lp, lp.run_in_executor(Some(&executor), name).unwrap()), "mine_0");
    lp.close().unwrap();
    let job = ThreadPoolExecutor::new().submit(name).unwrap();
    assert!(job.result(None).is_ok());
}

/// EXEC-04. What is no executor does not compile.
#[test]
fn a_new_default_executor_does_not_shut_the_old_one_down() {
    let lp = new_event_loop().unwrap();
    let ((old, old_default), (_, new_default)) = (pool(1), pool(1));
    lp.set_default_executor(old_default);
    value(&lp, lp.run_in_executor(None, || ()).unwrap());
    lp.set_default_executor(new_default);
    value(&lp, lp.run_in_executor(None, || ()).unwrap());
    assert_eq!(old.threads_started(), 1);
    lp.run_until_complete(lp.shutdown_default_executor(None)).unwrap().unwrap();
    lp.close().unwrap();
    assert_eq!(old.submit(|| 5).unwrap().result(None).unwrap(), 5);
}

/// EXEC-05: one job runs and one is queued, and only the loop, going on, lets the first one end.
#[test]
fn shutting_down_the_default_executor_waits_while_the_loop_goes_on() {
    let lp = new_event_loop().unwrap();
    let (pool, default) = pool(1);
    lp.set_default_executor(default);
    let (gate, job) = Gate::new();
    let running = lp.run_in_executor(None, job).unwrap();
    gate.begun();
    let queued = lp.run_in_executor(None, || "queued").unwrap();
    lp.run_until_complete(async {
        let shutdown = lp.create_task(lp.shutdown_default_executor(None)).unwrap();
        for _ in 0..5 {
            yield_now().await;
        }
        assert!(!shutdown.done() && !running.done());
        gate.open();
        shutdown.await.unwrap().unwrap();
    })
    .unwrap();
    assert!(running.done(), "its outcome had arrived before the shutdown was over");
    assert_eq!(value(&lp, queued), "queued");
    assert!(matches!(pool.submit(|| ()), Err(LoopError::PoolShutdown)));
}

/// EXEC-06, EXEC-07.
#[test]
fn after_its_shutdown_there_is_no_default_executor_any_more() {
    let refused = |lp: &EventLoop| matches!(lp.run_in_executor(None, || ()), Err(LoopError::ExecutorShutdown));
    let lp = new_event_loop().unwrap();
    let passes = lp.passes();
    lp.run_until_complete(lp.shutdown_default_executor(None)).unwrap().unwrap();
    assert_eq!(lp.passes() - passes, 2, "there was none: done at the first step, as any coroutine");
    assert!(refused(&lp));
    lp.run_until_complete(lp.shutdown_default_executor(None)).unwrap().unwrap();
    lp.set_default_executor(pool(1).1);
    assert!(refused(&lp), "a new one does not undo it");
    let lp = new_event_loop().unwrap();
    value(&lp, lp.run_in_executor(None, || ()).unwrap());
    lp.run_until_complete(lp.shutdown_default_executor(None)).unwrap().unwrap();
    lp.run_until_complete(lp.shutdown_default_executor(Some(Duration::ZERO))).unwrap().unwrap();
    assert!(refused(&lp));
}

/// EXEC-08.
#[test]
fn a_shutdown_that_takes_too_long_warns_and_leaves_the_jobs_to_themselves() {
    let lp = new_event_loop().unwrap();
    let (gate, job) = Gate::new();
    let job = lp.run_in_executor(None, job).unwrap();
    gate.begun();
    let (outcome, records) =
        logs::capture(|| lp.run_until_complete(lp.shutdown_default_executor(Some(Duration::from_millis(1)))));
    outcome.unwrap().unwrap();
    let complaints = logs::complaints(&records);
    assert!(complaints.len() == 1 && complaints[0].contains("executor"), "{records:?}");
    assert!(!job.done());
    gate.open();
    value(&lp, job);
}

/// EXEC-09.
#[test]
fn whatever_uses_the_default_executor_fails_alike_after_its_shutdown() {
    let lp = new_event_loop().unwrap();
    lp.run_until_complete(async {
        lp.shutdown_default_executor(None).await.unwrap();
        assert!(matches!(to_thread(|| ()).await, Err(LoopError::ExecutorShutdown)));
        let name = loop_api::Address::from(("localhost", 80));
        assert!(matches!(lp.resolve(&name).await, Err(LoopError::ExecutorShutdown)));
    })
    .unwrap();
}

/// EXEC-10.
#[test]
fn cancelling_the_future_of_a_queued_job_keeps_it_from_running() {
    let lp = new_event_loop().unwrap();
    let (_pool, executor) = pool(1);
    let (gate, job) = Gate::new();
    let first = lp.run_in_executor(Some(&executor), job).unwrap();
    gate.begun();
    let ran = Arc::new(AtomicBool::new(false));
    let queued = lp.run_in_executor(Some(&executor), {
        let ran = Arc::clone(&ran);
        move || ran.store(true, Ordering::Relaxed)
    });
    let queued = queued.unwrap();
    assert!(queued.cancel());
    assert_eq!(Arc::strong_count(&ran), 1, "and lets go of it at once");
    gate.open();
    value(&lp, first);
    assert!(lp.run_until_complete(queued).unwrap().unwrap_err().is_cancelled());
    executor.shutdown(true, false);
    assert!(!ran.load(Ordering::Relaxed));
}

/// EXEC-10.
#[test]
fn cancelling_the_future_of_a_running_job_ends_the_wait_and_not_the_job() {
    let lp = new_event_loop().unwrap();
    let (_pool, executor) = pool(1);
    let (gate, job) = Gate::new();
    let ended = Arc::new(AtomicBool::new(false));
    let job = {
        let ended = Arc::clone(&ended);
        move || {
            job();
            ended.store(true, Ordering::Relaxed);
        }
    };
    lp.run_until_complete(async {
        let future = lp.run_in_executor(Some(&executor), job).unwrap();
        let waiting = lp.create_task(future.clone()).unwrap();
        yield_now().await;
        gate.begun();
        waiting.cancel();
        assert!(waiting.await.unwrap_err().is_cancelled());
        assert!(future.cancelled() && !ended.load(Ordering::Relaxed));
    })
    .unwrap();
    gate.open();
    executor.shutdown(true, false);
    assert!(ended.load(Ordering::Relaxed), "the job ran on");
    // Its late result, and there may be one, disturbs nobody.
    lp.run_until_complete(yield_now()).unwrap();
}

/// EXEC-11.
#[test]
fn a_result_that_comes_after_the_close_is_dropped() {
    let lp = new_event_loop().unwrap();
    let (_pool, executor) = pool(1);
    let ((gate, job), dropped) = (Gate::new(), Arc::new(AtomicUsize::new(0)));
    let future = lp.run_in_executor(Some(&executor), {
        let result = Counted(Arc::clone(&dropped));
        move || {
            job();
            result
        }
    });
    let future = future.unwrap();
    gate.begun();
    lp.close().unwrap();
    gate.open();
    executor.shutdown(true, false);
    assert!(!future.done());
    drop(future);
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
}

/// EXEC-12.
#[test]
fn a_pool_that_was_shut_down_refuses_jobs() {
    let lp = new_event_loop().unwrap();
    let (pool, executor) = pool(1);
    pool.shutdown(false, false);
    assert!(matches!(lp.run_in_executor(Some(&executor), || ()), Err(LoopError::PoolShutdown)));
    lp.set_default_executor(executor);
    assert!(matches!(lp.run_in_executor(None, || ()), Err(LoopError::PoolShutdown)));
    assert_eq!(lp.run_until_complete(async { 1 }).unwrap(), 1);
}

/// EXEC-13.
#[test]
fn threads_are_started_as_they_are_needed_and_reused() {
    let lp = new_event_loop().unwrap();
    let (pool, executor) = pool(3);
    assert_eq!(pool.threads_started(), 0);
    let (one, two) = (Gate::new(), Gate::new());
    let mut jobs = vec![lp.run_in_executor(Some(&executor), one.1).unwrap()];
    one.0.begun();
    assert_eq!(pool.threads_started(), 1);
    jobs.push(lp.run_in_executor(Some(&executor), two.1).unwrap());
    two.0.begun();
    assert_eq!(pool.threads_started(), 2, "the first is busy");
    one.0.open();
    two.0.open();
    jobs.extend((0..50).map(|_| lp.run_in_executor(Some(&executor), || ()).unwrap()));
    for job in jobs {
        value(&lp, job);
    }
    assert!(pool.threads_started() <= 3);
}

/// EXEC-14.
#[test]
fn a_pool_runs_its_queue_in_order_and_to_the_end() {
    let lp = new_event_loop().unwrap();
    let (pool, executor) = pool(1);
    let ((gate, job), order) = (Gate::new(), Arc::new(Mutex::new(Vec::new())));
    let first = lp.run_in_executor(Some(&executor), job).unwrap();
    gate.begun();
    let jobs: Vec<_> = (0..20)
        .map(|number| {
            let order = Arc::clone(&order);
            lp.run_in_executor(Some(&executor), move || order.lock().unwrap().push(number)).unwrap()
        })
        .collect();
    pool.shutdown(false, false);
    assert!(order.lock().unwrap().is_empty(), "it returned at once");
    gate.open();
    pool.shutdown(true, false);
    assert_eq!(*order.lock().unwrap(), (0..20).collect::<Vec<_>>());
    value(&lp, first);
    for job in jobs {
        value(&lp, job);
    }
}

/// EXEC-14.
#[test]
fn a_pool_can_be_told_to_drop_its_queue() {
    let lp = new_event_loop().unwrap();
    let (pool, executor) = pool(1);
    let (gate, job) = Gate::new();
    let first = lp.run_in_executor(Some(&executor), job).unwrap();
    gate.begun();
    let queued = lp.run_in_executor(Some(&executor), || panic!("it was run")).unwrap();
    pool.shutdown(false, true);
    gate.open();
    value(&lp, first);
    assert!(lp.run_until_complete::<LoopFuture<()>>(queued).unwrap().unwrap_err().is_cancelled());
}

/// EXEC-15.
#[test]
fn a_pool_has_threads_and_its_threads_are_initialised() {
    let none = ThreadPoolExecutor::builder().max_workers(0).build();
    assert!(matches!(none, Err(LoopError::InvalidArgument(_))));
    let lp = new_event_loop().unwrap();
    let broken = ThreadPoolExecutor::builder().max_workers(1).initializer(|| Err("no licence")).build().unwrap();
    let executor: Arc<dyn Executor> = Arc::new(broken);
    let queued = lp.run_in_executor(Some(&executor), || ()).unwrap();
    let Err(TaskError::Failed(error)) = lp.run_until_complete(queued).unwrap() else { panic!("not failed") };
    assert!(matches!(error.downcast_ref(), Some(LoopError::BrokenPool)), "{error:?}");
    assert!(matches!(lp.run_in_executor(Some(&executor), || ()), Err(LoopError::BrokenPool)));
}

static USER: LazyLock<ContextVar<String>> = LazyLock::new(|| ContextVar::new("user"));
static DEPTH: LazyLock<ContextVar<u32>> = LazyLock::new(|| ContextVar::new("depth"));
static UNSET: LazyLock<ContextVar<u32>> = LazyLock::new(|| ContextVar::new("unset"));

/// EXEC-17.
#[test]
fn a_job_does_not_see_the_callers_context() {
    let lp = new_event_loop().unwrap();
    USER.set(String::from("ada"));
    assert_eq!(value(&lp, lp.run_in_executor(None, || USER.get()).unwrap()), None);
}

/// CH-56: the variables that are named, since a context as a whole does not leave its thread.
#[test]
fn to_thread_carries_the_context_variables_that_are_named() {
    let lp = new_event_loop().unwrap();
    lp.run_until_complete(async {
        USER.set(String::from("ada"));
        DEPTH.set(2);
        assert_eq!(to_thread(|| USER.get()).await.unwrap(), None);
        assert_eq!(to_thread_with(&*USER, || USER.get()).await.unwrap().as_deref(), Some("ada"));
        let seen = to_thread_with((&*USER, &*DEPTH, &*UNSET), || {
            let seen = (USER.get().unwrap(), DEPTH.get(), UNSET.get());
            USER.set(String::from("grace"));
            seen
        });
        assert_eq!(seen.await.unwrap(), (String::from("ada"), Some(2), None));
        assert_eq!(USER.get().as_deref(), Some("ada"), "a copy");
        assert_eq!(to_thread(|| USER.get()).await.unwrap(), None, "the thread keeps nothing");
        let later = to_thread_with(&*DEPTH, || DEPTH.get());
        DEPTH.set(3);
        assert_eq!(later.await.unwrap(), Some(3), "as it is when the await begins");
    })
    .unwrap();
    let outside = lp.run_until_complete(async { to_thread(|| -> u8 { panic!("its panic") }).await });
    assert!(matches!(outside.unwrap(), Err(LoopError::Task(TaskError::Panicked(_)))));
}

/// EXEC-18.
#[test]
fn cancelling_the_shutdown_ends_the_wait_alone() {
    let lp = new_event_loop().unwrap();
    let (pool, default) = pool(1);
    lp.set_default_executor(default);
    let (gate, job) = Gate::new();
    let job = lp.run_in_executor(None, job).unwrap();
    gate.begun();
    lp.run_until_complete(async {
        let shutdown = lp.create_task(lp.shutdown_default_executor(None)).unwrap();
        yield_now().await;
        yield_now().await;
        shutdown.cancel();
        assert!(shutdown.await.unwrap_err().is_cancelled());
    })
    .unwrap();
    assert!(!job.done());
    gate.open();
    value(&lp, job);
    // The helper thread ends by itself, whose late word finds nobody.
    pool.shutdown(true, false);
    lp.run_until_complete(yield_now()).unwrap();
    lp.close().unwrap();
}

/// FUT-19.
#[test]
fn wrap_future_copies_the_outcome_of_a_threads_future() {
    let lp = new_event_loop().unwrap();
    let (completer, future) = ConcurrentFuture::pair();
    let wrapped = lp.wrap_future(future).unwrap();
    thread::spawn(move || completer.complete(Ok(3)));
    assert_eq!(value(&lp, wrapped), 3);
    let (completer, future) = ConcurrentFuture::<()>::pair();
    let wrapped = lp.wrap_future(future).unwrap();
    thread::spawn(move || completer.complete(Err(TaskError::failed("no luck"))));
    assert_eq!(lp.run_until_complete(wrapped).unwrap().unwrap_err().to_string(), "no luck");
    let (completer, future) = ConcurrentFuture::<()>::pair();
    let wrapped = lp.wrap_future(future.clone()).unwrap();
    assert!(future.cancel());
    assert!(lp.run_until_complete(wrapped).unwrap().unwrap_err().is_cancelled());
    assert!(completer.is_cancelled());
}

/// FUT-19.
#[test]
fn cancelling_the_wrapper_asks_the_threads_future_to_cancel() {
    let lp = new_event_loop().unwrap();
    let (completer, future) = ConcurrentFuture::<u8>::pair();
    let wrapped = lp.wrap_future(future.clone()).unwrap();
    assert!(wrapped.cancel());
    assert!(future.cancelled() && completer.is_cancelled());
    assert!(!completer.complete(Ok(1)), "the outcome is dropped");
    let (completer, future) = ConcurrentFuture::<u8>::pair();
    assert!(completer.set_running_or_notify_cancel());
    let wrapped = lp.wrap_future(future.clone()).unwrap();
    assert!(wrapped.cancel() && !future.cancelled(), "it only asks: this one runs");
    assert!(completer.complete(Ok(1)));
    lp.run_until_complete(yield_now()).unwrap();
    assert!(wrapped.cancelled());
}

/// FUT-19.
#[test]
fn an_outcome_for_a_closed_loop_is_dropped() {
    let lp = new_event_loop().unwrap();
    let (completer, future) = ConcurrentFuture::pair();
    let wrapped = lp.wrap_future(future).unwrap();
    lp.close().unwrap();
    assert!(thread::spawn(move || completer.complete(Ok(3))).join().unwrap());
    assert!(!wrapped.done());
    assert!(matches!(lp.wrap_future(ConcurrentFuture::<u8>::pair().1), Err(LoopError::Closed)));
}

/// The value goes to the wrapper that was made first; who comes second is told too.
#[test]
fn a_threads_future_can_be_wrapped_twice() {
    let lp = new_event_loop().unwrap();
    let (completer, future) = ConcurrentFuture::pair();
    let first = lp.wrap_future(future.clone()).unwrap();
    let second = lp.wrap_future(future.clone()).unwrap();
    let cancelled = lp.wrap_future(future).unwrap();
    thread::spawn(move || {
        assert!(completer.set_running_or_notify_cancel());
        completer.complete(Ok(3))
    });
    assert_eq!(value(&lp, first), 3);
    assert!(matches!(lp.run_until_complete(second).unwrap(), Err(TaskError::Taken)));
    assert!(matches!(lp.run_until_complete(cancelled).unwrap(), Err(TaskError::Taken)));
}

/// EXEC-11: outcomes on their way, delivered or not, cancelled meanwhile or not, when the loop closes.
#[test]
fn outcomes_that_race_with_the_close_are_dropped_once() {
    const JOBS: usize = 12;
    let (_pool, executor) = pool(3);
    for round in 0..100 {
        let lp = new_event_loop().unwrap();
        let (made, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let give = |_| {
            let (made, dropped) = (Arc::clone(&made), Arc::clone(&dropped));
            let job = move || {
                made.fetch_add(1, Ordering::Relaxed);
                Counted(dropped)
            };
            lp.run_in_executor(Some(&executor), job).unwrap()
        };
        let mut futures: Vec<LoopFuture<Counted>> = (0..JOBS).map(give).collect();
        futures.iter().step_by(3).for_each(|future| _ = future.cancel());
        futures.truncate(JOBS - round % 3);
        if round % 2 == 0 {
            lp.run_until_complete(yield_now()).unwrap();
        }
        if round % 5 != 0 {
            lp.close().unwrap();
        }
        drop(lp);
        drop(futures);
        // All threads have let go when the pool is done with one more job each.
        let all = Arc::new(Barrier::new(4));
        let done: Vec<ConcurrentFuture<bool>> = (0..3)
            .map(|_| {
                let all = Arc::clone(&all);
                let (job, done) = Job::new(move || all.wait().is_leader());
                executor.execute(job).unwrap();
                done
            })
            .collect();
        all.wait();
        done.iter().for_each(|done| _ = done.result(None).unwrap());
        assert_eq!(dropped.load(Ordering::Relaxed), made.load(Ordering::Relaxed), "in round {round}");
    }
    executor.shutdown(true, false);
}

/// Runs a loop in a thread of its own for as long as the test has business with it.
fn with_loop<R>(business: impl FnOnce(loop_api::LoopHandle) -> R) -> R {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::spawn(move || {
        let lp = new_event_loop().unwrap();
        sender.send(lp.handle()).unwrap();
        lp.run_forever().unwrap();
        lp.close().unwrap();
    });
    let handle = receiver.recv().unwrap();
    let result = business(handle.clone());
    handle.stop();
    thread.join().unwrap();
    result
}

/// CH-57.
#[test]
fn a_coroutine_from_another_thread_runs_in_the_loop_and_its_outcome_comes_back() {
    with_loop(|handle| {
        let here = thread::current().id();
        let future = handle.run_coroutine_threadsafe(move || {
            // What only the loop's thread can have.
            let local = Rc::new(RefCell::new(Vec::new()));
            async move {
                yield_now().await;
                local.borrow_mut().push(get_running_loop().unwrap().is_running());
                assert_ne!(thread::current().id(), here);
                local.borrow().clone()
            }
        });
        assert_eq!(future.unwrap().result(None).unwrap(), [true]);
        let panics = handle.run_coroutine_threadsafe(|| async { std::panic::resume_unwind(Box::new("its panic")) });
        let outcome: Result<(), WaitError> = panics.unwrap().result(None);
        assert!(matches!(outcome, Err(WaitError::Task(TaskError::Panicked(_)))), "{outcome:?}");
        let slow = handle.run_coroutine_threadsafe(pending::<()>).unwrap();
        assert!(matches!(slow.result(Some(Duration::ZERO)), Err(WaitError::TimedOut)));
    });
}

/// CH-58.
#[test]
fn cancelling_reaches_the_task_and_comes_back_from_it() {
    with_loop(|handle| {
        let counter = Arc::new((Mutex::new(0), std::sync::Condvar::new()));
        let count = {
            let counter = Arc::clone(&counter);
            move || {
                *counter.0.lock().unwrap() += 1;
                counter.1.notify_all();
            }
        };
        let future = handle.run_coroutine_threadsafe(move || async move {
            count();
            let Err(cancelled) = catch_cancelled(pending::<std::convert::Infallible>()).await;
            count();
            cancelled.raise::<()>().await;
        });
        let future = future.unwrap();
        until(&counter, 1);
        assert!(future.cancel());
        until(&counter, 2);
        assert!(future.cancelled());
        let cancels_itself = handle.run_coroutine_threadsafe(|| async {
            loop_api::current_task().unwrap().unwrap().cancel_with(Some("enough"));
            pending::<()>().await;
        });
        let outcome = cancels_itself.unwrap().result(None);
        let Err(WaitError::Task(TaskError::Cancelled(cancelled))) = outcome else { panic!("{outcome:?}") };
        assert_eq!(cancelled.message(), Some("enough"));
    });
}

/// CH-57: the loop is closed, or never looks.
#[test]
fn a_coroutine_for_a_loop_that_is_closed_is_refused_or_abandoned() {
    let lp = new_event_loop().unwrap();
    let handle = lp.handle();
    let unstarted = handle.run_coroutine_threadsafe(|| async {}).unwrap();
    lp.close().unwrap();
    assert!(matches!(unstarted.result(None), Err(WaitError::Task(TaskError::Abandoned))));
    assert!(matches!(handle.run_coroutine_threadsafe(|| async {}), Err(LoopError::Closed)));
}

/// A job that the executor never runs is not waited for in vain.
#[test]
fn a_job_that_an_executor_drops_is_abandoned() {
    struct Forgetful;
    impl Executor for Forgetful {
        fn execute(&self, job: Job) -> Result<(), LoopError> {
            drop(job);
            Ok(())
        }

        fn shutdown(&self, _: bool, _: bool) {}
    }
    let lp = new_event_loop().unwrap();
    let executor: Arc<dyn Executor> = Arc::new(Forgetful);
    let future = lp.run_in_executor(Some(&executor), || 1).unwrap();
    assert!(matches!(lp.run_until_complete(future).unwrap(), Err(TaskError::Abandoned)));
}
