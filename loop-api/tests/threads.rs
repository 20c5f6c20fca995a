//! Other threads: `call_soon_threadsafe`, `run_coroutine_threadsafe`, and wakers that travel.

mod loops;

use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use loop_api::{ContextVar, EventLoop, LoopError, LoopHandle, RemoteHandle, TaskError, WaitError};
use loops::{Log, collect_reports, messages, new_loop, one_pass, quiet_panic, virtual_loop};

/// How often the tests that depend on luck try theirs.
const MANY: usize = if cfg!(miri) { 40 } else { 2000 };

/// THR-01: a thousand round trips, in most of which the loop sleeps when the call arrives.
#[test]
fn a_call_from_another_thread_wakes_the_loop_and_runs_in_its_thread() {
    let lp = new_loop();
    let (handle, here) = (lp.handle(), thread::current().id());
    let (sender, receiver) = mpsc::channel();
    let caller = thread::spawn(move || {
        for n in 0..MANY / 2 {
            let sender = sender.clone();
            handle
                .call_soon_threadsafe(move |lp| {
                    assert!(lp.is_running());
                    sender.send((n, thread::current().id())).unwrap();
                })
                .unwrap();
            assert_eq!(receiver.recv().unwrap(), (n, here));
        }
        handle.stop();
    });
    lp.run_forever().unwrap();
    caller.join().unwrap();
}

/// A loop that another thread answers at once, again and again, looks out for it before it sleeps, and hardly ever sleeps:
/// I/O and timers are heard all the same.
#[test]
#[cfg_attr(miri, ignore = "real sockets")]
fn a_thread_that_answers_at_once_starves_neither_io_nor_timers() {
    /// More than it takes, by far.
    const MOST: usize = 5_000_000;
    let lp = new_loop();
    let (asked, answered) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let over = Arc::new(AtomicBool::new(false));
    let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    let answering = {
        let (asked, answered, over, handle) = (asked.clone(), answered.clone(), over.clone(), lp.handle());
        thread::spawn(move || {
            let mut seen = 0;
            while !over.load(Ordering::Relaxed) {
                let now = asked.load(Ordering::Acquire);
                if now == seen {
                    // For machines of one core.
                    thread::yield_now();
                    continue;
                }
                seen = now;
                if seen == 1000 {
                    std::io::Write::write_all(&mut &far, b"?").unwrap();
                }
                let (asked, answered) = (asked.clone(), answered.clone());
                let next = move |_: &EventLoop| {
                    answered.fetch_add(1, Ordering::Relaxed);
                    asked.fetch_add(1, Ordering::Release);
                };
                if handle.call_soon_threadsafe(next).is_err() {
                    return;
                }
            }
        })
    };
    let serve = async {
        let near = lp.adopt_socket(near)?;
        asked.fetch_add(1, Ordering::Release);
        let mut timer = std::pin::pin!(lp.sleep_for(Duration::from_millis(5)));
        let received = lp.sock_recv(&near, 8).await?;
        timer.as_mut().await;
        Ok::<_, LoopError>(received)
    };
    let received = lp.run_until_complete(serve).unwrap().unwrap();
    over.store(true, Ordering::Relaxed);
    answering.join().unwrap();
    assert_eq!(received, b"?");
    let answers = answered.load(Ordering::Relaxed);
    assert!((999..MOST).contains(&answers), "{answers}");
}

/// THR-02.
#[test]
fn calls_keep_their_order_also_with_those_of_the_loops_own_thread() {
    let lp = new_loop();
    let log = Log::new();
    let order = Arc::new(Mutex::new(Vec::new()));
    let push = |text: &'static str| {
        let order = Arc::clone(&order);
        move || order.lock().unwrap().push(text)
    };
    let (hello, world) = (push("hello"), push("world"));
    lp.call_soon_threadsafe(move |_| hello()).unwrap();
    lp.call_soon(world).unwrap();
    let handle = lp.handle();
    let again = push("again");
    handle.call_soon_threadsafe(move |_| again()).unwrap();
    one_pass(&lp);
    assert_eq!(*order.lock().unwrap(), ["hello", "world", "again"]);
    let log2 = log.clone();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        (0..MANY).for_each(|n| {
            drop(handle.call_soon_threadsafe({
                let sender = sender.clone();
                move |_| sender.send(n).unwrap()
            }))
        })
    })
    .join()
    .unwrap();
    one_pass(&lp);
    receiver.try_iter().for_each(|n| log2.add(n));
    assert_eq!(log.take(), (0..MANY).collect::<Vec<_>>());
}

/// THR-03.
#[test]
fn calls_made_before_the_loop_runs_are_in_its_first_pass() {
    let lp = new_loop();
    let handle = lp.handle();
    let ran = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&ran);
    thread::spawn(move || handle.call_soon_threadsafe(move |_| flag.store(true, Ordering::SeqCst)).unwrap())
        .join()
        .unwrap();
    one_pass(&lp);
    assert!(ran.load(Ordering::SeqCst));
}

/// THR-04, THR-07: any number of calls from many threads, none lost, each once.
#[test]
fn a_flood_of_calls_is_delivered_whole() {
    const THREADS: usize = 4;
    const CALLS: usize = MANY * 5 / 2;
    let lp = new_loop();
    let ran = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (handle, ran) = (lp.handle(), Arc::clone(&ran));
            thread::spawn(move || {
                for _ in 0..CALLS {
                    let ran = Arc::clone(&ran);
                    handle
                        .call_soon_threadsafe(move |lp| {
                            if ran.fetch_add(1, Ordering::SeqCst) + 1 == THREADS * CALLS {
                                lp.stop();
                            }
                        })
                        .unwrap();
                }
            })
        })
        .collect();
    lp.run_forever().unwrap();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(ran.load(Ordering::SeqCst), THREADS * CALLS);
}

/// THR-05: while a loop closes, each call is refused, or run, or dropped, and nothing is leaked.
#[test]
fn calls_that_race_with_close_are_run_or_dropped() {
    for _ in 0..MANY / 40 {
        let lp = new_loop();
        let (token, start) = (Arc::new(()), Arc::new(Barrier::new(3)));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (handle, token, start) = (lp.handle(), Arc::clone(&token), Arc::clone(&start));
                thread::spawn(move || {
                    start.wait();
                    loop {
                        let token = Arc::clone(&token);
                        match handle.call_soon_threadsafe(move |_| drop(token)) {
                            Ok(_) => {}
                            Err(LoopError::Closed) => return assert!(handle.is_closed()),
                            Err(error) => panic!("{error}"),
                        }
                    }
                })
            })
            .collect();
        start.wait();
        one_pass(&lp);
        lp.close().unwrap();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(Arc::strong_count(&token), 1);
    }
}

/// THR-06, FUT-17: what belongs to the loop's thread cannot be sent to another, and what is for others can.
#[test]
fn only_handles_for_threads_are_send() {
    trait AmbiguousIfSend<A> {
        fn it() {}
    }
    impl<T: ?Sized> AmbiguousIfSend<()> for T {}
    impl<T: ?Sized + Send> AmbiguousIfSend<u8> for T {}
    <EventLoop as AmbiguousIfSend<_>>::it();
    <loop_api::LoopTask<()> as AmbiguousIfSend<_>>::it();
    <loop_api::LoopFuture<()> as AmbiguousIfSend<_>>::it();
    <loop_api::TaskRef as AmbiguousIfSend<_>>::it();
    <loop_api::TimerHandle as AmbiguousIfSend<_>>::it();
    <loop_api::CallbackHandle as AmbiguousIfSend<_>>::it();
    <loop_api::Context as AmbiguousIfSend<_>>::it();
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<LoopHandle>();
    is_send_and_sync::<RemoteHandle>();
    is_send_and_sync::<loop_api::ConcurrentFuture<u8>>();
}

/// THR-08, V14-05: a cancel that returns true keeps the call from running, from whatever thread.
#[test]
fn a_call_may_be_cancelled_from_any_thread() {
    let lp = new_loop();
    let token = Arc::new(());
    let (ran, cancelled) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let thread = {
        let (handle, token, ran, cancelled) =
            (lp.handle(), Arc::clone(&token), Arc::clone(&ran), Arc::clone(&cancelled));
        thread::spawn(move || {
            for _ in 0..MANY {
                let (token, ran) = (Arc::clone(&token), Arc::clone(&ran));
                let call = handle
                    .call_soon_threadsafe(move |_| {
                        drop(token);
                        ran.fetch_add(1, Ordering::SeqCst);
                    })
                    .unwrap();
                let took = call.cancel();
                assert_eq!(call.cancelled(), took);
                cancelled.fetch_add(usize::from(took), Ordering::SeqCst);
                assert!(!call.cancel(), "only the first cancel takes it");
            }
            handle.stop();
        })
    };
    lp.run_forever().unwrap();
    thread.join().unwrap();
    assert_eq!(ran.load(Ordering::SeqCst) + cancelled.load(Ordering::SeqCst), MANY);
    assert_eq!(Arc::strong_count(&token), 1);
}

/// ITER-08, for calls from elsewhere: what they set stays with them.
#[test]
fn a_call_from_another_thread_changes_no_context_but_its_own() {
    let lp = new_loop();
    let var = Arc::new(ContextVar::new("var"));
    var.set(1);
    let seen = Arc::new(Mutex::new(Vec::new()));
    for n in [10, 20] {
        let (handle, var, seen) = (lp.handle(), Arc::clone(&var), Arc::clone(&seen));
        thread::spawn(move || {
            var.set(99);
            let look = move |_: &EventLoop| {
                seen.lock().unwrap().push(var.get());
                var.set(n);
            };
            handle.call_soon_threadsafe(look).unwrap();
        })
        .join()
        .unwrap();
    }
    one_pass(&lp);
    assert_eq!(*seen.lock().unwrap(), [Some(1), Some(1)]);
    assert_eq!(var.get(), Some(1));
}

/// LIFE-01, LIFE-24, from elsewhere.
#[test]
fn other_threads_see_whether_the_loop_runs_and_is_closed() {
    let lp = new_loop();
    let handle = lp.handle();
    assert!(!handle.is_running() && !handle.is_closed());
    let watcher = {
        let handle = handle.clone();
        thread::spawn(move || {
            while !handle.is_running() {
                thread::yield_now();
            }
            handle.stop();
        })
    };
    lp.run_forever().unwrap();
    watcher.join().unwrap();
    assert!(!handle.is_running());
    lp.close().unwrap();
    assert!(handle.is_closed());
    handle.stop();
}

/// CH-57: the coroutine is made on the loop's thread, and need not be `Send`.
#[test]
fn a_thread_runs_a_coroutine_on_the_loop_and_waits_for_it() {
    let lp = new_loop();
    let handle = lp.handle();
    let thread = thread::spawn(move || {
        let future = handle.run_coroutine_threadsafe(|| async {
            let local = Rc::new(41);
            EventLoop::running().unwrap().sleep_for(Duration::from_micros(10)).await;
            *local + 1
        });
        let answer = future.unwrap().result(None).unwrap();
        handle.stop();
        answer
    });
    lp.run_forever().unwrap();
    assert_eq!(thread.join().unwrap(), 42);
}

/// CH-58: both ways.
#[test]
fn cancelling_reaches_the_task_and_a_cancelled_task_shows() {
    let lp = new_loop();
    let future = lp.handle().run_coroutine_threadsafe(pending::<()>).unwrap();
    one_pass(&lp);
    one_pass(&lp);
    let task = lp.all_tasks().pop().unwrap();
    let other = future.clone();
    assert!(thread::spawn(move || other.cancel()).join().unwrap());
    assert!(future.cancelled() && !task.done(), "the task hears of it on its own thread");
    one_pass(&lp);
    one_pass(&lp);
    assert!(task.cancelled());

    let future = lp.handle().run_coroutine_threadsafe(pending::<()>).unwrap();
    one_pass(&lp);
    one_pass(&lp);
    lp.all_tasks().pop().unwrap().cancel_with(Some("why"));
    one_pass(&lp);
    one_pass(&lp);
    assert!(future.cancelled());
    match future.result(None) {
        Err(WaitError::Task(TaskError::Cancelled(cancelled))) => assert_eq!(cancelled.message(), Some("why")),
        other => panic!("{other:?}"),
    }
}

/// CH-58: cancelled before the loop looked, it is never made.
#[test]
fn a_coroutine_cancelled_in_time_is_never_made() {
    let lp = new_loop();
    let made = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&made);
    let future = lp.handle().run_coroutine_threadsafe(move || {
        flag.store(true, Ordering::SeqCst);
        async {}
    });
    assert!(future.unwrap().cancel());
    one_pass(&lp);
    one_pass(&lp);
    assert!(!made.load(Ordering::SeqCst) && lp.all_tasks().is_empty());
}

/// CH-59: both sides hear of a failure.
#[test]
fn a_failure_to_make_the_coroutine_reaches_both_sides() {
    let lp = new_loop();
    let reports = collect_reports(&lp);
    let future = lp.handle().run_coroutine_threadsafe(|| -> std::future::Ready<()> { quiet_panic("no coroutine") });
    one_pass(&lp);
    match future.unwrap().result(None) {
        Err(WaitError::Task(TaskError::Panicked(panic))) => assert_eq!(panic.message(), "no coroutine"),
        other => panic!("{other:?}"),
    }
    assert_eq!(messages(&reports), ["Exception while a coroutine was made for another thread"]);
}

/// A panic of the coroutine is the future's error, and reported to nobody else.
#[test]
fn a_panic_of_the_coroutine_is_the_futures() {
    let lp = new_loop();
    let reports = collect_reports(&lp);
    let future = lp.handle().run_coroutine_threadsafe(|| async { quiet_panic("inside") }).unwrap();
    (0..3).for_each(|_| one_pass(&lp));
    assert!(matches!(future.result(None), Err(WaitError::Task(TaskError::Panicked(_)))));
    assert!(messages(&reports).is_empty());
}

/// LIFE-30: and a loop that closes first abandons the waiting thread rather than leave it hanging.
#[test]
fn a_closed_loop_leaves_no_thread_waiting() {
    let lp = new_loop();
    let handle = lp.handle();
    let started = handle.run_coroutine_threadsafe(pending::<()>).unwrap();
    one_pass(&lp);
    let unstarted = handle.run_coroutine_threadsafe(pending::<()>).unwrap();
    let waiting = thread::spawn({
        let started = started.clone();
        move || started.result(None)
    });
    let _ = collect_reports(&lp);
    lp.close().unwrap();
    assert!(matches!(waiting.join().unwrap(), Err(WaitError::Task(TaskError::Abandoned))));
    assert!(matches!(unstarted.result(None), Err(WaitError::Task(TaskError::Abandoned))));
    assert!(matches!(handle.run_coroutine_threadsafe(pending::<()>), Err(LoopError::Closed)));
    assert!(matches!(handle.call_soon_threadsafe(|_| ()), Err(LoopError::Closed)));
}

/// Hands its waker out, and ends when the flag is set.
async fn flagged(wakers: mpsc::Sender<Waker>, flag: Arc<AtomicBool>) {
    poll_fn(|context| {
        if flag.load(Ordering::SeqCst) {
            return Poll::Ready(());
        }
        wakers.send(context.waker().clone()).unwrap();
        Poll::Pending
    })
    .await;
}

/// I7: many threads wake one task at once, again and again, and no wake is lost.
#[test]
fn wakes_from_many_threads_are_never_lost() {
    let lp = new_loop();
    let (waker_sender, wakers) = mpsc::channel::<Waker>();
    let round = Arc::new(AtomicUsize::new(0));
    let waking = {
        let round = Arc::clone(&round);
        thread::spawn(move || {
            for (n, waker) in wakers.into_iter().enumerate() {
                let other = waker.clone();
                let helper = (n % 64 == 0).then(|| thread::spawn(move || other.wake()));
                round.fetch_add(1, Ordering::SeqCst);
                waker.wake_by_ref();
                drop(waker);
                helper.into_iter().for_each(|helper| helper.join().unwrap());
            }
        })
    };
    let mut seen = 0;
    lp.run_until_complete(poll_fn(|context| {
        let now = round.load(Ordering::SeqCst);
        if now >= MANY {
            return Poll::Ready(());
        }
        if now >= seen {
            seen = now + 1;
            waker_sender.send(context.waker().clone()).unwrap();
        }
        Poll::Pending
    }))
    .unwrap();
    drop(waker_sender);
    waking.join().unwrap();
}

/// I6, I7: a waker outlives its task, its loop's run, its loop, and does nothing then, in whatever thread.
#[test]
fn a_waker_may_outlive_everything() {
    let (sender, wakers) = mpsc::channel();
    let flag = Arc::new(AtomicBool::new(false));
    let lp = new_loop();
    let ends = lp.create_task(flagged(sender.clone(), Arc::clone(&flag))).unwrap();
    let stays = lp.create_task(flagged(sender, Arc::default())).unwrap();
    one_pass(&lp);
    let (ends_waker, stays_waker) = (wakers.recv().unwrap(), wakers.recv().unwrap());
    flag.store(true, Ordering::SeqCst);
    ends_waker.wake_by_ref();
    one_pass(&lp);
    assert!(ends.done());
    drop(ends);
    let wake_all = move || {
        for waker in [&ends_waker, &stays_waker] {
            waker.wake_by_ref();
            drop(waker.clone());
        }
        (ends_waker, stays_waker)
    };
    let (ends_waker, stays_waker) = thread::spawn(wake_all).join().unwrap();
    one_pass(&lp);
    let _ = collect_reports(&lp);
    lp.close().unwrap();
    ends_waker.wake_by_ref();
    stays_waker.wake_by_ref();
    thread::spawn(move || {
        stays_waker.wake_by_ref();
        ends_waker.wake();
        one_pass(&virtual_loop().0);
        stays_waker
    })
    .join()
    .unwrap()
    .wake_by_ref();
    drop(lp);
    assert!(!stays.done());
    drop(stays);
}

/// I6: the last waker is dropped in another thread after loop and handles are gone; nothing of the task's is left to it.
#[test]
fn a_task_is_freed_by_whoever_holds_it_last() {
    struct HereOnly(thread::ThreadId, #[expect(dead_code, reason = "counted")] Arc<()>);
    impl Drop for HereOnly {
        fn drop(&mut self) {
            assert_eq!(thread::current().id(), self.0);
        }
    }
    for closes_first in [false, true] {
        let token = Arc::new(());
        let here_only = || HereOnly(thread::current().id(), Arc::clone(&token));
        let (sender, wakers) = mpsc::channel();
        let lp = new_loop();
        let _ = collect_reports(&lp);
        let inside = here_only();
        let var = ContextVar::new("var");
        var.set(Rc::new(here_only()));
        let task = lp
            .create_task(async move {
                let _inside = inside;
                flagged(sender, Arc::default()).await;
            })
            .unwrap();
        var.set(Rc::new(here_only()));
        one_pass(&lp);
        let waker = wakers.recv().unwrap();
        if closes_first {
            drop(lp);
            // A handle that outlives the loop may still be given things to hold.
            let held = here_only();
            task.add_done_callback(move |_| drop(held));
            task.set_name("kept");
            drop(task);
        } else {
            drop(task);
            drop(lp);
        }
        loop_api::Context::new().run(|| ());
        let _ = var.reset(var.set(Rc::new(here_only())));
        thread::spawn(move || drop(waker)).join().unwrap();
        // What is current here still holds the last value set.
        assert_eq!(Arc::strong_count(&token), 2);
    }
}

/// The join between a loop's thread ending and wakes that are on their way.
#[test]
fn wakes_that_race_with_the_end_of_the_loops_thread_are_harmless() {
    for _ in 0..MANY / 40 {
        let (sender, wakers) = mpsc::channel();
        let loops_thread = thread::spawn(move || {
            let lp = new_loop();
            let _ = collect_reports(&lp);
            let _task = lp.create_task(flagged(sender, Arc::default())).unwrap();
            one_pass(&lp);
            one_pass(&lp);
        });
        let waker = wakers.recv().unwrap();
        for _ in 0..50 {
            waker.wake_by_ref();
        }
        loops_thread.join().unwrap();
        waker.wake();
    }
}
