//! Nothing is leaked: whatever a loop holds is dropped with it, closed or not, and in its own thread.

mod loops;

use std::cell::RefCell;
use std::future::pending;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use loop_api::{ContextVar, EventLoop, LoopFuture};
use loops::{Alive, collect_reports, new_loop, one_pass, virtual_loop};

/// Gives the loop one of everything, each holding a witness and the loop itself.
fn load(lp: &EventLoop, alive: &Alive) {
    // A handle got inside the loop does not own it: a callback that held an owner would keep the loop open.
    let inside = lp.run_until_complete(async { EventLoop::running().unwrap() }).unwrap();
    let held = || (alive.clone(), inside.clone());
    let hold = held();
    lp.call_soon(move || drop(hold)).unwrap();
    let hold = held();
    lp.call_later(3600.0, move || drop(hold)).unwrap();
    let hold = alive.clone();
    // Its witness stays in this thread, though the loop cannot know.
    struct Stays(#[expect(dead_code, reason = "counted")] Alive);
    // SAFETY: sent to the loop of this very thread, which drops or runs it here.
    unsafe impl Send for Stays {}
    let hold = Stays(hold);
    lp.handle().call_soon_threadsafe(move |_| drop(hold)).unwrap();
    // A task not begun, one that waits, one that sleeps, one that ended unseen.
    let hold = held();
    drop(lp.create_task(async move { drop(hold) }).unwrap());
    let hold = held();
    let future: LoopFuture<Alive> = lp.create_future();
    let waits = future.clone();
    let waiting = lp
        .create_task(async move {
            let _hold = hold;
            waits.await
        })
        .unwrap();
    let hold = held();
    future.add_done_callback(move |_| drop(hold));
    let hold = held();
    waiting.add_done_callback(move |_| drop(hold));
    let (hold, lp2) = (held(), inside.clone());
    drop(
        lp.create_task(async move {
            let _hold = hold;
            lp2.sleep_until(std::time::Duration::MAX).await;
        })
        .unwrap(),
    );
    // A task that holds a handle of itself, and one that awaits it.
    let own = Rc::new(RefCell::new(None));
    let (slot, hold) = (Rc::clone(&own), held());
    let knows_itself = lp
        .create_task(async move {
            let _hold = (hold, slot);
            pending::<()>().await;
        })
        .unwrap();
    let awaited = knows_itself.clone();
    own.replace(Some(knows_itself));
    let hold = held();
    drop(
        lp.create_task(async move {
            let _hold = hold;
            awaited.await
        })
        .unwrap(),
    );
    let hold = held();
    lp.set_exception_handler(Some(Rc::new(move |_, _| {
        let _hold = &hold;
    })));
}

/// LIFE-27, LIFE-33.
#[test]
fn a_loop_dropped_unclosed_leaks_nothing() {
    for passes in 0..3 {
        let alive = Alive::none();
        let lp = virtual_loop().0;
        load(&lp, &alive);
        (0..passes).for_each(|_| one_pass(&lp));
        let clone = lp.clone();
        drop(lp);
        assert!(alive.others() > 0 || passes > 0, "a clone keeps it open");
        assert!(!clone.is_closed());
        clone.set_exception_handler(None);
        drop(clone);
        assert_eq!(alive.others(), 0, "after {passes} passes");
    }
}

/// LIFE-27.
#[test]
fn close_drops_everything_at_once() {
    let alive = Alive::none();
    let lp = new_loop();
    load(&lp, &alive);
    one_pass(&lp);
    load(&lp, &alive);
    lp.set_exception_handler(None);
    lp.close().unwrap();
    assert_eq!(alive.others(), 0);
}

/// Handles that outlive their loop keep their own things and no more.
#[test]
fn what_outlives_the_loop_holds_nothing_of_it() {
    let alive = Alive::none();
    let lp = new_loop();
    let _ = collect_reports(&lp);
    let held = alive.clone();
    let task = lp
        .create_task(async move {
            let _held = held;
            pending::<()>().await;
        })
        .unwrap();
    let held = alive.clone();
    let timer = lp.call_later(1.0, move || drop(held)).unwrap();
    let held = alive.clone();
    let callback = lp.call_soon(move || drop(held)).unwrap();
    let future = lp.create_future::<Alive>();
    let sleep = lp.sleep_until(std::time::Duration::ZERO);
    one_pass(&lp);
    drop(lp);
    timer.cancel();
    assert_eq!(alive.others(), 0);
    future.set_result(alive.clone()).unwrap();
    drop((task, timer, callback, sleep));
    assert_eq!(alive.others(), 1);
    drop(future);
    assert_eq!(alive.others(), 0);
}

/// The last owner may go while the loop runs: it closes itself when the run is over.
#[test]
fn a_loop_may_lose_its_last_owner_while_it_runs() {
    let alive = Alive::none();
    let owner = Rc::new(RefCell::new(Some(new_loop())));
    // A handle got inside the loop does not own it.
    let inside = {
        let lp = owner.borrow();
        let lp = lp.as_ref().unwrap();
        let held = alive.clone();
        lp.call_later(3600.0, move || drop(held)).unwrap();
        lp.run_until_complete(async { EventLoop::running().unwrap() }).unwrap()
    };
    let owned = Rc::clone(&owner);
    inside.call_soon(move || owned.borrow_mut().take().unwrap().stop()).unwrap();
    inside.run_forever().unwrap();
    assert!(inside.is_closed());
    assert_eq!(alive.others(), 0);
}

/// A thread that ends with a loop in it, and with context values, takes them along.
#[test]
fn a_thread_that_ends_takes_its_loop_along() {
    use std::sync::Arc;
    let token = Arc::new(());
    let held = Arc::clone(&token);
    std::thread::spawn(move || {
        thread_local!(static KEPT: RefCell<Option<EventLoop>> = const { RefCell::new(None) });
        let lp = new_loop();
        let var = ContextVar::new("var");
        var.set(Rc::new(Arc::clone(&held)));
        let (one, two) = (Arc::clone(&held), held);
        lp.call_later(3600.0, move || drop(one)).unwrap();
        drop(
            lp.create_task(async move {
                let _two = two;
                pending::<()>().await;
            })
            .unwrap(),
        );
        one_pass(&lp);
        KEPT.set(Some(lp));
    })
    .join()
    .unwrap();
    assert_eq!(Arc::strong_count(&token), 1);
}

/// LIFE-29: a loop takes its descriptors with it. Run in a process of its own, as descriptors are the process's.
#[test]
fn a_closed_loop_leaves_no_descriptor_open() {
    const ASK: &str = "LOOP_TEST_COUNT_DESCRIPTORS";
    if std::env::var_os(ASK).is_none() {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let output = child.args(["--exact", "a_closed_loop_leaves_no_descriptor_open"]).env(ASK, "1").output().unwrap();
        return assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    // Whatever is opened once per process.
    drop(new_loop());
    let before = count();
    for n in 0..50 {
        let lp = new_loop();
        let (ours, theirs) = UnixStream::pair().unwrap();
        lp.add_reader(&ours, || ()).unwrap();
        lp.add_writer(&theirs, || ()).unwrap();
        one_pass(&lp);
        lp.handle().call_soon_threadsafe(|_| ()).unwrap();
        if n % 2 == 0 {
            lp.close().unwrap();
        }
    }
    assert_eq!(count(), before);
}
