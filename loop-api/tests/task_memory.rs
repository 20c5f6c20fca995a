//! A task's memory: it stays while anyone holds the task, and goes with the last holder, in whatever thread that is.
//!
//! Holders are counted in two places, one for the loop's thread and one for all others (`loop-core/src/task/state.rs`), so
//! a waker that is made here and dropped there is tried in every order. An allocator that knows a task by its size tells
//! whether it is still there: a binary of its own.

mod loops;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::task::Waker;
use std::thread;

use loops::{collect_reports, new_loop, one_pass};

/// What is in the task, and makes it larger than anything else here.
const BULK: usize = 60_000;

static TASKS: AtomicIsize = AtomicIsize::new(0);

struct Watching;

fn watch(size: usize, change: isize) {
    if (BULK..BULK + 1000).contains(&size) {
        TASKS.fetch_add(change, Ordering::SeqCst);
    }
}

// SAFETY: the system's allocator, with a number counted beside it.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        watch(layout.size(), 1);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        watch(layout.size(), -1);
        // SAFETY: the caller's.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

#[derive(Clone, Copy, Debug, PartialEq)]
enum When {
    WhileItWaits,
    AfterItsEnd,
    AfterTheClose,
}

const EVER: [When; 3] = [When::WhileItWaits, When::AfterItsEnd, When::AfterTheClose];

#[derive(Clone, Copy, Debug)]
enum Place {
    Here,
    There,
}

const ANYWHERE: [Place; 2] = [Place::Here, Place::There];

impl Place {
    fn run<T: Send>(self, code: impl FnOnce() -> T + Send) -> T {
        match self {
            Self::Here => code(),
            Self::There => thread::scope(|scope| scope.spawn(code).join().expect("the code does not panic")),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Travel {
    cloned: Place,
    dropped: Place,
    when: When,
}

fn every_travel() -> impl Iterator<Item = Travel> + Clone {
    let places = ANYWHERE.into_iter().flat_map(|cloned| ANYWHERE.map(|dropped| (cloned, dropped)));
    places.flat_map(|(cloned, dropped)| EVER.map(|when| Travel { cloned, dropped, when }))
}

/// A task of which two wakers travel, and whose handle is dropped some time; it returns, or is still pending at the close.
fn play(travels: [Travel; 2], handle_dropped: When, returns: bool) {
    let lp = new_loop();
    let reports = collect_reports(&lp);
    let (end, seen) = (lp.create_future::<()>(), Rc::new(RefCell::new(None::<Waker>)));
    let (mut awaited, mut shown, bulk) = (end.clone(), Some(Rc::clone(&seen)), [7_u8; BULK]);
    let task = lp.create_task(async move {
        poll_fn(|context| {
            if let Some(shown) = shown.take() {
                shown.replace(Some(context.waker().clone()));
            }
            pin!(&mut awaited).poll(context)
        })
        .await
        .expect("the future is given a value");
        bulk[BULK - 1]
    });
    let mut handle = Some(task.expect("the loop is open"));
    one_pass(&lp);
    let mut wakers: Vec<(Waker, Travel)> = {
        let seen = seen.borrow();
        let waker = seen.as_ref().expect("the task was polled");
        travels.map(|travel| (travel.cloned.run(|| waker.clone()), travel)).into()
    };

    for now in EVER {
        match now {
            When::WhileItWaits => {}
            When::AfterItsEnd if returns => {
                end.set_result(()).expect("it is pending");
                one_pass(&lp);
            }
            When::AfterItsEnd => {}
            When::AfterTheClose => {
                lp.close().expect("it does not run");
            }
        }
        if now == When::AfterItsEnd {
            seen.take();
        }
        for (waker, travel) in wakers.extract_if(.., |(_, travel)| travel.when == now) {
            travel.dropped.run(|| {
                waker.wake_by_ref();
                drop(waker);
            });
        }
        if now != When::AfterTheClose {
            // Who was woken looks, and waits again; what another thread sent is held no longer.
            one_pass(&lp);
        }
        if handle_dropped == now {
            handle = None;
        }
        let waits = now == When::WhileItWaits || (now == When::AfterItsEnd && !returns);
        let held = waits || handle.is_some() || !wakers.is_empty();
        let expected = isize::from(held);
        assert_eq!(
            TASKS.load(Ordering::SeqCst),
            expected,
            "{now:?}: {travels:?}, handle {handle_dropped:?}, {returns}"
        );
    }
    // A task that was pending at the close was told of.
    assert_eq!(reports.len(), usize::from(!returns));
}

/// I6, I7.
#[test]
fn the_last_holder_frees_a_task_wherever_it_is() {
    for (one, other) in every_travel().flat_map(|one| every_travel().map(move |other| (one, other))) {
        for handle_dropped in EVER {
            play([one, other], handle_dropped, true);
            play([one, other], handle_dropped, false);
        }
    }
}
