//! What costs an allocation and what does not, once queues and tables have grown to their size. A counting allocator, so
//! a test binary of its own; each thread counts its own.

mod loops;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{Read, Write};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use loop_api::{Condition, Event, EventLoop, LifoQueue, Lock, PriorityQueue, Queue, Semaphore};
use loops::{new_loop, one_pass, virtual_loop};

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
    static BYTES: Cell<isize> = const { Cell::new(0) };
}

fn count(calls: usize, bytes: isize) {
    // A thread that is ending counts no more.
    let _ = COUNT.try_with(|count| count.set(count.get() + calls));
    let _ = BYTES.try_with(|live| live.set(live.get() + bytes));
}

// SAFETY: the system's allocator, with plain numbers counted beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as isize);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(0, -(layout.size() as isize));
        // SAFETY: the caller's.
        unsafe { System.dealloc(place, layout) }
    }
    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, size as isize - layout.size() as isize);
        // SAFETY: the caller's.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How many allocations this takes.
fn allocations(code: impl FnOnce()) -> usize {
    let before = COUNT.get();
    code();
    COUNT.get() - before
}

const ROUNDS: usize = 1000;

/// A pass costs none, whatever backend it polls.
#[test]
fn a_pass_allocates_nothing() {
    let lp = new_loop();
    (0..10).for_each(|_| one_pass(&lp));
    assert_eq!(allocations(|| (0..ROUNDS).for_each(|_| one_pass(&lp))), 0);
}

/// A wake costs none: of a task by itself, of two by each other, and of one by a kept waker.
#[test]
fn a_wake_allocates_nothing() {
    let lp = new_loop();
    let kept: Rc<RefCell<[Option<Waker>; 2]>> = Rc::default();
    let turns = Rc::new(Cell::new(0usize));
    let task = |me: usize| {
        let (kept, turns) = (Rc::clone(&kept), Rc::clone(&turns));
        poll_fn(move |context| {
            turns.set(turns.get() + 1);
            let mut kept = kept.borrow_mut();
            kept[me] = Some(context.waker().clone());
            if let Some(other) = &kept[1 - me] {
                other.wake_by_ref();
            }
            Poll::<()>::Pending
        })
    };
    drop((lp.create_task(task(0)).unwrap(), lp.create_task(task(1)).unwrap()));
    (0..10).for_each(|_| one_pass(&lp));
    let before = turns.get();
    assert_eq!(allocations(|| (0..ROUNDS).for_each(|_| one_pass(&lp))), 0);
    assert!(turns.get() - before >= ROUNDS);
    kept.take();
    loops::collect_reports(&lp);
}

/// A wake from another thread costs neither that thread nor the loop any.
#[test]
fn a_wake_from_another_thread_allocates_nothing() {
    let lp = new_loop();
    let waker: Rc<RefCell<Option<Waker>>> = Rc::default();
    let slot = Rc::clone(&waker);
    drop(
        lp.create_task(poll_fn(move |context| {
            slot.replace(Some(context.waker().clone()));
            Poll::<()>::Pending
        }))
        .unwrap(),
    );
    one_pass(&lp);
    let theirs = waker.borrow().clone().unwrap();
    let (go, gone) = std::sync::mpsc::sync_channel::<()>(0);
    let (done, finished) = std::sync::mpsc::sync_channel::<()>(0);
    let thread = std::thread::spawn(move || {
        let mut most = 0;
        while gone.recv().is_ok() {
            most = most.max(allocations(|| theirs.wake_by_ref()));
            done.send(()).unwrap();
        }
        most
    });
    let mut most = 0;
    for round in 0..100 {
        go.send(()).unwrap();
        finished.recv().unwrap();
        let took = allocations(|| one_pass(&lp));
        if round > 0 {
            most = most.max(took);
        }
    }
    drop(go);
    assert_eq!((thread.join().unwrap(), most), (0, 0));
    loops::collect_reports(&lp);
}

/// Re-arming a sleep costs none, fired or not.
#[test]
fn re_arming_a_sleep_allocates_nothing() {
    let (lp, _) = virtual_loop();
    let counted = lp
        .run_until_complete(async {
            let lp = EventLoop::running().unwrap();
            let mut sleep = pin!(lp.sleep_for(Duration::from_secs(1)));
            sleep.as_mut().await;
            let mut round = async || {
                sleep.reset(lp.time() + Duration::from_secs(1));
                sleep.as_mut().await;
                // Set, and taken back in time: the timeout that is never needed.
                sleep.reset(lp.time() + Duration::from_secs(3600));
                assert!(futures_util::poll!(sleep.as_mut()).is_pending());
                sleep.reset(lp.time() + Duration::from_secs(1));
            };
            // The heap grows until it is compacted.
            for _ in 0..ROUNDS {
                round().await;
            }
            let before = COUNT.get();
            for _ in 0..ROUNDS {
                round().await;
            }
            COUNT.get() - before
        })
        .unwrap();
    assert_eq!(counted, 0);
}

/// A large task costs one allocation: header and coroutine together.
#[test]
fn a_task_is_one_allocation() {
    let lp = new_loop();
    let large = [7u8; 1000];
    let spawn_and_run = || {
        let task = lp
            .create_task(async move {
                let mut turned = false;
                poll_fn(|context| {
                    context.waker().wake_by_ref();
                    if std::mem::replace(&mut turned, true) { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
                u64::from(large[0])
            })
            .unwrap();
        one_pass(&lp);
        one_pass(&lp);
        assert_eq!(task.take_outcome().unwrap(), 7);
    };
    spawn_and_run();
    assert_eq!(allocations(|| (0..ROUNDS).for_each(|_| spawn_and_run())), ROUNDS);
}

/// A task of the usual size lies where one before it lay, and awaiting it costs nothing more.
#[test]
fn spawning_and_joining_a_task_after_another_allocates_nothing() {
    let lp = new_loop();
    let counted = lp
        .run_until_complete(async {
            let lp = EventLoop::running().unwrap();
            let join = async || lp.create_task(async { 5 }).unwrap().await.unwrap();
            join().await;
            let before = COUNT.get();
            for _ in 0..ROUNDS {
                join().await;
            }
            COUNT.get() - before
        })
        .unwrap();
    // The sanitizer is to see each task's memory given up.
    assert_eq!(counted, if cfg!(loop_sanitizer) { ROUNDS } else { 0 });
}

/// A callback is one block, which is its handle; so is a timer. Blocks are used again.
#[test]
fn callbacks_and_timers_lie_where_others_lay() {
    let (lp, _) = virtual_loop();
    let round = || {
        drop(lp.call_soon(|| ()).unwrap());
        drop(lp.call_later(0.0, || ()).unwrap());
        lp.call_later(3600.0, || ()).unwrap().cancel();
        one_pass(&lp);
    };
    (0..ROUNDS).for_each(|_| round());
    // The sanitizer is to see each callback's memory given up.
    let each = if cfg!(loop_sanitizer) { 3 } else { 0 };
    assert_eq!(allocations(|| (0..ROUNDS).for_each(|_| round())), each * ROUNDS);
}

/// A foreign handle is queued as it is.
#[test]
fn a_foreign_handle_costs_nothing() {
    struct Foreign;
    impl loop_api::Handle for Foreign {
        fn run(&self, _: &EventLoop) {}
        fn cancel(&self) {}
        fn cancelled(&self) -> bool {
            false
        }
    }
    let lp = new_loop();
    let handle: Rc<dyn loop_api::Handle> = Rc::new(Foreign);
    let round = || {
        lp.schedule(Rc::clone(&handle)).unwrap();
        one_pass(&lp);
    };
    round();
    assert_eq!(allocations(|| (0..ROUNDS).for_each(|_| round())), 0);
}

/// TIME-09: cancelled timers do not pile up, in a loop that is never idle.
#[test]
fn cancelled_timers_are_compacted() {
    let (lp, _) = virtual_loop();
    let busy = |lp: &EventLoop| {
        for _ in 0..1000 {
            lp.call_later(3600.0, || ()).unwrap().cancel();
        }
        lp.call_soon(|| ()).unwrap();
        one_pass(lp);
    };
    (0..10).for_each(|_| busy(&lp));
    let before = BYTES.get();
    (0..100).for_each(|_| busy(&lp));
    assert_eq!(BYTES.get() - before, 0);
}

/// A future that outlives those who wait for it, one after the other, keeps no memory of them.
#[test]
fn those_who_gave_up_waiting_leave_nothing() {
    let lp = new_loop();
    let lasting = lp.create_future::<()>();
    let give_up = |lasting: &loop_api::LoopFuture<()>| {
        let lasting = lasting.clone();
        drop(
            lp.create_task(async move {
                let mut waits = pin!(lasting);
                assert!(futures_util::poll!(waits.as_mut()).is_pending());
            })
            .unwrap(),
        );
        one_pass(&lp);
    };
    (0..100).for_each(|_| give_up(&lasting));
    let before = BYTES.get();
    (0..ROUNDS).for_each(|_| give_up(&lasting));
    assert_eq!(BYTES.get() - before, 0);
}

/// A chunk that is received and written back costs none: it lies in the loop's memory, and leaves from a kept buffer.
#[test]
fn an_echoed_chunk_allocates_nothing() {
    struct Echo;
    impl loop_api::Protocol for Echo {
        fn data_received(&mut self, transport: &loop_api::Transport, data: &[u8]) {
            transport.write(data).unwrap();
        }
    }
    let lp = new_loop();
    let server = lp.create_server(|| Echo, "127.0.0.1:0", loop_api::ServerOptions::default());
    let server = lp.run_until_complete(server).unwrap().unwrap();
    let mut peer = std::net::TcpStream::connect(server.local_addr().unwrap()).unwrap();
    let mut echo = || {
        let mut answer = [0; 64];
        peer.write_all(&[7; 64]).unwrap();
        peer.set_nonblocking(true).unwrap();
        loop {
            match peer.peek(&mut answer) {
                Ok(64) => break,
                _ => one_pass(&lp),
            }
        }
        peer.set_nonblocking(false).unwrap();
        peer.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [7; 64]);
    };
    (0..10).for_each(|_| echo());
    assert_eq!(allocations(|| (0..ROUNDS).for_each(|_| echo())), 0);
    server.close();
    server.abort_clients();
    lp.run_until_complete(server.wait_closed()).unwrap();
}

/// What need not wait, at a lock and its like, costs none; nor does waiting, once as many have waited at the same time.
#[test]
fn synchronisation_allocates_nothing() {
    let lp = new_loop();
    let counted = lp
        .run_until_complete(async {
            let before = COUNT.get();
            let (lock, event, semaphore) = (Lock::new(), Event::new(), Semaphore::new(1));
            let condition = Condition::with_lock(Rc::new(Lock::new()));
            let made = COUNT.get() - before;
            for _ in 0..ROUNDS {
                drop(lock.lock().await.unwrap());
                lock.acquire().await.unwrap();
                lock.release().unwrap();
                event.set();
                event.wait().await.unwrap();
                event.clear();
                drop(semaphore.permit().await.unwrap());
                let _held = condition.lock().await.unwrap();
                condition.notify_all().unwrap();
                condition.wait_for(|| Some(())).await.unwrap();
            }
            let uncontended = COUNT.get() - before;
            let contend = async || {
                let held = lock.lock().await.unwrap();
                let mut turn = pin!(lock.lock());
                assert!(futures_util::poll!(turn.as_mut()).is_pending());
                drop(held);
                drop(turn.await.unwrap());
                let mut wait = pin!(event.wait());
                assert!(futures_util::poll!(wait.as_mut()).is_pending());
                event.set();
                wait.await.unwrap();
                event.clear();
                let permit = semaphore.permit().await.unwrap();
                let mut turn = pin!(semaphore.permit());
                assert!(futures_util::poll!(turn.as_mut()).is_pending());
                drop(permit);
                drop(turn.await.unwrap());
                let held = condition.lock().await.unwrap();
                let mut wait = pin!(condition.wait());
                assert!(futures_util::poll!(wait.as_mut()).is_pending());
                {
                    let _held = condition.lock().await.unwrap();
                    condition.notify(1).unwrap();
                }
                wait.await.unwrap();
                drop(held);
            };
            contend().await;
            let before = COUNT.get();
            for _ in 0..ROUNDS {
                contend().await;
            }
            (made, uncontended, COUNT.get() - before)
        })
        .unwrap();
    // The one is the condition's lock.
    assert_eq!(counted, (1, 1, 0));
}

/// An item that is put and got costs none, once as many have been in the queue; nor does waiting for one.
#[test]
fn a_queue_allocates_nothing() {
    let lp = new_loop();
    let counted = lp
        .run_until_complete(async {
            let (first, lowest, last) = (Queue::new(1), PriorityQueue::new(1), LifoQueue::new(1));
            let round = async |queue: &Queue<u32>| {
                queue.put(1).await.unwrap();
                let mut waits = pin!(queue.put(2));
                assert!(futures_util::poll!(waits.as_mut()).is_pending());
                assert_eq!(queue.get().await.unwrap(), 1);
                waits.await.unwrap();
                assert_eq!(queue.get().await.unwrap(), 2);
                let mut waits = pin!(queue.get());
                assert!(futures_util::poll!(waits.as_mut()).is_pending());
                queue.put_nowait(3).unwrap();
                assert_eq!(waits.await.unwrap(), 3);
                (0..3).for_each(|_| queue.task_done().unwrap());
                queue.join().await.unwrap();
            };
            let mut counted = 0;
            for queue in [&first, &lowest, &last] {
                round(queue).await;
                let before = COUNT.get();
                for _ in 0..ROUNDS {
                    round(queue).await;
                }
                counted += COUNT.get() - before;
            }
            counted
        })
        .unwrap();
    assert_eq!(counted, 0);
}

/// The job's own and the loop's future of it; the way back costs the pool's thread none.
#[test]
fn a_job_costs_two_allocations() {
    let lp = new_loop();
    let pool = loop_api::ThreadPoolExecutor::builder().max_workers(1).build().unwrap();
    lp.set_default_executor(std::sync::Arc::new(pool));
    let run = |jobs: usize| {
        lp.run_until_complete(async {
            let mut last = 0;
            for _ in 0..jobs {
                last = lp.run_in_executor(None, || COUNT.get()).unwrap().await.unwrap();
            }
            last
        })
        .unwrap()
    };
    let before = run(ROUNDS);
    let mut after = 0;
    let here = allocations(|| after = run(ROUNDS));
    // The first time that a thread sleeps `parking_lot` makes three, which may be now.
    assert!(after - before <= 3, "{} on the pool's thread", after - before);
    // The pool's queue takes a block for every 31 jobs or so.
    assert!((2 * ROUNDS..2 * ROUNDS + ROUNDS / 20).contains(&here), "{here}");
}
