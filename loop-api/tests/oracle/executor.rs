//! The default executor, executors of one's own, and calls from other threads.

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use loop_api::{
    ContextVar, Executor, ThreadPoolExecutor, catch_cancelled, create_task, get_running_loop, to_thread,
    to_thread_with, yield_now,
};

use crate::stage::{Show, attempt, in_a_task, on_a_loop, one_pass, raise, tracer};

fn fail() -> i32 {
    raise("ValueError: x")
}

/// A pool of one thread.
fn pool() -> (ThreadPoolExecutor, Arc<dyn Executor>) {
    let pool = ThreadPoolExecutor::builder().max_workers(1).build().unwrap();
    (pool.clone(), Arc::new(pool))
}

/// EXEC-01, EXEC-02
#[test]
fn a_job_gives_its_value() {
    in_a_task(async || {
        let lp = get_running_loop()?;
        attempt("value", lp.run_in_executor(None, || 6 * 7)?.await);
        attempt("error", lp.run_in_executor(None, fail)?.await);
        Ok(())
    });
}

/// EXEC-02, FUT-02
#[test]
fn an_outcome_is_delivered_by_the_loop() {
    in_a_task(async || {
        let lp = get_running_loop()?;
        let future = lp.run_in_executor(None, || 1)?;
        trace!("done: {}", future.done().show());
        future.add_done_callback(move |_| trace!("callback {}", get_running_loop().unwrap().is_same(&lp).show()));
        attempt("value", future.await);
        Ok(())
    });
}

/// EXEC-14
#[test]
fn one_thread_does_jobs_in_their_order() {
    in_a_task(async || {
        let (lp, (_, pool)) = (get_running_loop()?, pool());
        let done = Arc::new(Mutex::new(Vec::new()));
        let mut futures = Vec::new();
        for number in 0..5 {
            let done = Arc::clone(&done);
            futures.push(lp.run_in_executor(Some(&pool), move || done.lock().unwrap().push(number))?);
        }
        for future in futures {
            future.await?;
        }
        let done: Vec<i32> = done.lock().unwrap().clone();
        trace!("{}", done.show());
        Ok(())
    });
}

/// EXEC-05
#[test]
fn shutdown_waits_for_jobs_while_the_loop_goes_on() {
    in_a_task(async || {
        let lp = get_running_loop()?;
        let (open, gate) = mpsc::channel();
        let future = lp.run_in_executor(None, move || gate.recv().is_ok())?;
        let shutdown = create_task(lp.shutdown_default_executor(None))?;
        for _ in 0..3 {
            yield_now().await;
        }
        trace!("the loop goes on; shut down: {}", shutdown.done().show());
        open.send(())?;
        attempt("shutdown", shutdown.await?);
        attempt("job", future.await);
        Ok(())
    });
}

/// EXEC-06
#[test]
fn after_its_shutdown_the_default_executor_takes_nothing() {
    in_a_task(async || {
        let lp = get_running_loop()?;
        lp.run_in_executor(None, || ())?.await?;
        lp.shutdown_default_executor(None).await?;
        attempt("run_in_executor", lp.run_in_executor(None, || ()).map(drop));
        attempt("to_thread", to_thread(|| ()).await);
        Ok(())
    });
}

/// EXEC-06, EXEC-07
#[test]
fn a_shutdown_without_a_pool_counts_too() {
    in_a_task(async || {
        let lp = get_running_loop()?;
        lp.call_soon(|| trace!("next pass"))?;
        attempt("shutdown", lp.shutdown_default_executor(None).await);
        attempt("again", lp.shutdown_default_executor(None).await);
        attempt("run_in_executor", lp.run_in_executor(None, || ()).map(drop));
        Ok(())
    });
}

/// EXEC-03
#[test]
fn an_executor_of_ones_own_outlives_the_default_one() {
    in_a_task(async || {
        let (lp, (_, pool)) = (get_running_loop()?, pool());
        lp.shutdown_default_executor(None).await?;
        attempt("value", lp.run_in_executor(Some(&pool), || 3)?.await);
        Ok(())
    });
}

/// EXEC-12
#[test]
fn a_pool_that_was_shut_down_takes_nothing() {
    in_a_task(async || {
        let (lp, (own, pool)) = (get_running_loop()?, pool());
        own.shutdown(true, false);
        attempt("run_in_executor", lp.run_in_executor(Some(&pool), || ()).map(drop));
        Ok(())
    });
}

/// EXEC-10
#[test]
fn a_queued_job_that_is_cancelled_never_runs() {
    in_a_task(async || {
        let (lp, (_, pool)) = (get_running_loop()?, pool());
        let (open, gate) = mpsc::channel::<()>();
        let ran = Arc::new(Mutex::new(Vec::new()));
        let runs = |name: &'static str| {
            let ran = Arc::clone(&ran);
            move || ran.lock().unwrap().push(name)
        };
        let first = lp.run_in_executor(Some(&pool), move || gate.recv().is_ok())?;
        let second = lp.run_in_executor(Some(&pool), runs("second"))?;
        let third = lp.run_in_executor(Some(&pool), runs("third"))?;
        trace!("cancel: {}", second.cancel().show());
        attempt("second", second.await);
        yield_now().await;
        open.send(())?;
        first.await?;
        third.await?;
        let ran = ran.lock().unwrap();
        trace!("ran: {} {}", ran[0], ran.len());
        Ok(())
    });
}

/// EXEC-10
#[test]
fn cancelling_a_running_job_ends_the_wait_alone() {
    in_a_task(async || {
        let lp = get_running_loop()?;
        let ((begins, begun), (open, gate)) = (mpsc::channel(), mpsc::channel::<()>());
        let ended = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&ended);
        let future = lp.run_in_executor(None, move || {
            begins.send(()).unwrap();
            gate.recv().unwrap();
            ends.store(true, Ordering::SeqCst);
        })?;
        begun.recv()?;
        trace!("cancel: {}", future.cancel().show());
        attempt("job", future.await);
        trace!("ended: {}", ended.load(Ordering::SeqCst).show());
        open.send(())?;
        lp.shutdown_default_executor(None).await?;
        trace!("ended: {}", ended.load(Ordering::SeqCst).show());
        Ok(())
    });
}

/// EXEC-11, LIFE-28
#[test]
fn a_result_that_comes_after_close_is_dropped() {
    on_a_loop(|lp| {
        let ((open, gate), (ends, ended)) = (mpsc::channel::<()>(), mpsc::channel());
        let future = lp.run_in_executor(None, move || {
            gate.recv().unwrap();
            ends.send(()).unwrap();
        })?;
        lp.close()?;
        trace!("closed");
        open.send(())?;
        ended.recv()?;
        trace!("done: {}", future.done().show());
        Ok(())
    });
}

/// CH-56, EXEC-17
#[test]
fn to_thread_carries_the_context_and_run_in_executor_does_not() {
    static VARIABLE: LazyLock<ContextVar<&str>> = LazyLock::new(|| ContextVar::new("variable"));
    in_a_task(async || {
        let get = || VARIABLE.get().unwrap_or("nothing");
        VARIABLE.set("something");
        trace!("to_thread: {}", to_thread_with(&*VARIABLE, get).await?);
        trace!("run_in_executor: {}", get_running_loop()?.run_in_executor(None, get)?.await?);
        attempt("error", to_thread(fail).await);
        Ok(())
    });
}

/// FUT-19
#[test]
fn a_pools_future_can_be_awaited_here() {
    in_a_task(async || {
        let (lp, (own, _)) = (get_running_loop()?, pool());
        attempt("value", lp.wrap_future(own.submit(|| 4)?)?.await);
        attempt("error", lp.wrap_future(own.submit(fail)?)?.await);
        Ok(())
    });
}

/// THR-01
#[test]
fn a_call_from_another_thread_wakes_the_loop() {
    on_a_loop(|lp| {
        let handle = lp.handle();
        lp.call_soon(move || {
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(10));
                handle.call_soon_threadsafe(|lp| {
                    trace!("called");
                    lp.stop();
                })
            });
        })?;
        lp.run_forever()?;
        trace!("stopped");
        Ok(())
    });
}

/// THR-02
#[test]
fn both_ways_of_calling_soon_share_one_order() {
    on_a_loop(|lp| {
        lp.call_soon(|| trace!("one"))?;
        lp.call_soon_threadsafe(|_| trace!("two"))?;
        lp.call_soon(|| trace!("three"))?;
        one_pass(lp)?;
        Ok(())
    });
}

/// THR-03
#[test]
fn a_call_from_another_thread_before_the_run_is_kept() {
    on_a_loop(|lp| {
        let handle = lp.handle();
        thread::spawn(move || handle.call_soon_threadsafe(|_| trace!("called")).map(drop)).join().unwrap()?;
        trace!("before the run");
        one_pass(lp)?;
        Ok(())
    });
}

/// THR-02, THR-04
#[test]
fn calls_from_another_thread_keep_their_order() {
    on_a_loop(|lp| {
        let (handle, seen) = (lp.handle(), Arc::new(Mutex::new(Vec::new())));
        let sees = Arc::clone(&seen);
        lp.call_soon(move || {
            thread::spawn(move || {
                for number in 0..1000 {
                    let sees = Arc::clone(&sees);
                    handle.call_soon_threadsafe(move |_| sees.lock().unwrap().push(number)).unwrap();
                }
                handle.stop();
            });
        })?;
        lp.run_forever()?;
        trace!("in order: {}", seen.lock().unwrap().iter().copied().eq(0..1000).show());
        Ok(())
    });
}

/// THR-05, LIFE-30
#[test]
fn a_call_from_another_thread_after_close_is_refused() {
    on_a_loop(|lp| {
        lp.close()?;
        let handle = lp.handle();
        let refused = thread::spawn(move || handle.call_soon_threadsafe(|_| trace!("never")).map(drop)).join().unwrap();
        attempt("call_soon_threadsafe", refused);
        Ok(())
    });
}

/// CH-57
#[test]
fn another_thread_waits_for_a_coroutine() {
    on_a_loop(|lp| {
        let (handle, trace) = (lp.handle(), tracer());
        let elsewhere = move || {
            trace.carry();
            let work = async || {
                yield_now().await;
                8
            };
            attempt("value", handle.run_coroutine_threadsafe(work).unwrap().result(None));
            attempt("error", handle.run_coroutine_threadsafe(async || fail()).unwrap().result(None));
            handle.stop();
        };
        lp.call_soon(move || _ = thread::spawn(elsewhere))?;
        lp.run_forever()?;
        Ok(())
    });
}

/// CH-58
#[test]
fn another_thread_cancels_a_coroutine() {
    on_a_loop(|lp| {
        let (handle, (begins, begun)) = (lp.handle(), mpsc::channel());
        let elsewhere = move || {
            let work = async move || {
                begins.send(()).unwrap();
                let ended = catch_cancelled(pending::<()>()).await;
                get_running_loop().unwrap().stop();
                if let Err(cancelled) = ended {
                    trace!("cancelled");
                    cancelled.raise().await
                }
            };
            let future = handle.run_coroutine_threadsafe(work).unwrap();
            begun.recv().unwrap();
            future.cancel();
        };
        lp.call_soon(move || _ = thread::spawn(elsewhere))?;
        lp.run_forever()?;
        Ok(())
    });
}
