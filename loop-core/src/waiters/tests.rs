//! Who is in the list, whatever it is made of and wherever it lies.

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::Poll;

use proptest::prelude::*;

use super::*;
use crate::EventLoop;
use crate::testing::VirtualBackend;

/// The wakers of some tasks that wait for nothing, and their numbers.
fn wakers(lp: &EventLoop, count: usize) -> Vec<(u64, Waker)> {
    let wakers = Rc::new(RefCell::new(Vec::new()));
    let tasks: Vec<_> = (0..count)
        .map(|_| {
            let wakers = Rc::clone(&wakers);
            let wait = poll_fn(move |context| {
                wakers.borrow_mut().push(context.waker().clone());
                Poll::<()>::Pending
            });
            lp.create_task(wait).unwrap()
        })
        .collect();
    lp.run_until_complete(lp.sleep_for(std::time::Duration::ZERO)).unwrap();
    tasks.iter().map(|task| task.id()).zip(wakers.take()).collect()
}

#[derive(Debug, Clone)]
enum Step {
    Wait {
        place: usize,
        waker: usize,
    },
    Leave {
        place: usize,
    },
    /// Something is kept beside the list, or not any more.
    Move,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (0..4_usize, 0..3_usize).prop_map(|(place, waker)| Step::Wait { place, waker }),
        1 => (0..4_usize).prop_map(|place| Step::Leave { place }),
        1 => Just(Step::Move),
    ];
    proptest::collection::vec(step, 0..30)
}

/// A foreign waker is anybody's code when it is cloned: it may have something kept beside the very list it is to wait in.
#[test]
fn a_list_may_be_moved_by_the_waker_that_is_to_wait_in_it() {
    use std::ptr::from_ref;
    use std::task::{RawWaker, RawWakerVTable};

    static MOVES: RawWakerVTable = RawWakerVTable::new(
        |list| {
            // SAFETY: the list outlives the wakers, in this thread.
            unsafe { &*list.cast::<Waiters>() }.keep_beside(String::from("kept"));
            RawWaker::new(list, &STAYS)
        },
        |_| {},
        |_| {},
        |_| {},
    );
    static STAYS: RawWakerVTable = RawWakerVTable::new(|list| RawWaker::new(list, &STAYS), |_| {}, |_| {}, |_| {});

    let lp = EventLoop::new(Box::new(VirtualBackend::new()));
    let wakers = wakers(&lp, 1);
    let waiters = Waiters::default();
    let places: [Place; 2] = Default::default();
    waiters.wait(&places[0], &wakers[0].1);
    // SAFETY: as its table asks.
    let moves = unsafe { Waker::from_raw(RawWaker::new(from_ref(&waiters).cast(), &MOVES)) };
    waiters.wait(&places[1], &moves);
    assert!(waiters.is_elsewhere());
    assert_eq!(waiters.awaiters(), [wakers[0].0]);
    waiters.leave(&places[0]);
    assert!(waiters.awaiters().is_empty() && waiters.holds_any());
    waiters.leave(&places[1]);
    assert!(!waiters.holds_any());
    // SAFETY: a string is kept, and nobody looks.
    assert_eq!(unsafe { waiters.take_beside() }, Some(String::from("kept")));
    drop(wakers);
    lp.close().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever waits is in the list once, in the order in which they came, with the waker that they gave last; wherever
    /// the list is.
    #[test]
    fn those_who_wait_are_those_who_came_and_did_not_leave(steps in steps()) {
        let lp = EventLoop::new(Box::new(VirtualBackend::new()));
        let wakers = wakers(&lp, 3);
        let waiters = Waiters::default();
        let places: [Place; 4] = Default::default();
        let mut model: Vec<(usize, u64)> = Vec::new();
        for step in steps {
            match step {
                Step::Wait { place, waker } => {
                    let (id, waker) = &wakers[waker];
                    waiters.wait(&places[place], waker);
                    match model.iter_mut().find(|(who, _)| *who == place) {
                        Some(waits) => waits.1 = *id,
                        None => model.push((place, *id)),
                    }
                }
                Step::Leave { place } => {
                    waiters.leave(&places[place]);
                    model.retain(|(who, _)| *who != place);
                }
                // SAFETY: strings only are kept, and nobody looks.
                Step::Move if waiters.is_elsewhere() => unsafe {
                    prop_assert!(!waiters.is_plain());
                    prop_assert_eq!(waiters.beside::<String>().map(String::len), Some(4));
                    prop_assert_eq!(waiters.take_beside(), Some(String::from("kept")));
                },
                Step::Move => waiters.keep_beside(String::from("kept")),
            }
            prop_assert_eq!(waiters.awaiters(), model.iter().map(|(_, id)| *id).collect::<Vec<_>>());
            prop_assert_eq!(waiters.holds_any(), !model.is_empty());
            // Runs have odd numbers.
            prop_assert!(!waiters.told_in(1) && !waiters.told_in(3));
        }
        // SAFETY: as above.
        drop(unsafe { waiters.take_beside::<String>() });
        drop(waiters);
        drop(wakers);
        lp.close().unwrap();
    }
}
