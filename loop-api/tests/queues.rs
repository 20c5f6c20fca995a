//! Queues: what comes out in which order, who waits for what, and that nothing is lost.

mod loops;

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use futures_util::{FutureExt as _, poll};
use loop_api::{
    Error, LifoQueue, LoopError, LoopTask, NotPut, PriorityQueue, Queue, catch_cancelled, create_task, current_task,
    yield_now,
};
use loops::{Alive, Log, new_loop, quiet_panic};
use proptest::prelude::*;

async fn passes(count: usize) {
    for _ in 0..count {
        yield_now().await;
    }
}

fn getter(queue: &Rc<Queue<u32>>, log: &Log<(usize, u32)>, name: usize) -> LoopTask<Result<(), Error>> {
    let (queue, log) = (Rc::clone(queue), log.clone());
    create_task(async move {
        log.add((name, queue.get().await?));
        Ok(())
    })
    .unwrap()
}

fn putter(queue: &Rc<Queue<u32>>, item: u32) -> LoopTask<Result<(), NotPut<u32>>> {
    let queue = Rc::clone(queue);
    create_task(async move { queue.put(item).await }).unwrap()
}

fn drain<T>(queue: &Queue<T>) -> Vec<T> {
    std::iter::from_fn(|| queue.get_nowait().ok()).collect()
}

/// QUE-01.
#[test]
fn a_queue_knows_its_size() {
    let queue = Queue::new(2);
    assert_eq!((queue.qsize(), queue.empty(), queue.full(), queue.maxsize()), (0, true, false, 2));
    queue.put_nowait('a').unwrap();
    queue.put_nowait('b').unwrap();
    assert_eq!((queue.qsize(), queue.empty(), queue.full()), (2, false, true));
    assert_eq!(format!("{queue:?}"), "<Queue maxsize=2 qsize=2 tasks=2>");
    let any = Queue::new(0);
    for number in 0..1000 {
        any.put_nowait(number).unwrap();
    }
    assert_eq!((any.qsize(), any.full(), any.maxsize()), (1000, false, 0));
}

/// QUE-02: what is not taken is given back.
#[test]
fn full_and_empty_are_errors_at_once() {
    let queue = Queue::new(1);
    assert!(matches!(queue.get_nowait(), Err(Error::QueueEmpty)));
    queue.put_nowait(String::from("one")).unwrap();
    let refused = queue.put_nowait(String::from("two")).unwrap_err();
    assert_eq!((refused.item.as_str(), refused.to_string().as_str()), ("two", "the queue is full"));
    assert!(matches!(Error::from(refused), Error::QueueFull));
    assert_eq!(queue.get().now_or_never().unwrap().unwrap(), "one");
    assert!(queue.put(String::from("three")).now_or_never().unwrap().is_ok());
}

/// QUE-02.
#[test]
fn put_waits_while_it_is_full_and_get_while_it_is_empty() {
    let (lp, log) = (new_loop(), Log::new());
    lp.run_until_complete(async {
        let queue = Rc::new(Queue::new(1));
        let getters: Vec<_> = (0..2).map(|name| getter(&queue, &log, name)).collect();
        passes(1).await;
        assert_eq!(format!("{queue:?}"), "<Queue maxsize=1 qsize=0 getters=2>");
        let putters: Vec<_> = (10..14).map(|item| putter(&queue, item)).collect();
        passes(5).await;
        assert_eq!(log, [(0, 10), (1, 11)]);
        assert_eq!(format!("{queue:?}"), "<Queue maxsize=1 qsize=1 putters=1 tasks=3>");
        assert_eq!((queue.get().await.unwrap(), queue.get().await.unwrap()), (12, 13));
        for task in putters {
            task.await.unwrap().unwrap();
        }
        for task in getters {
            task.await.unwrap().unwrap();
        }
    })
    .unwrap();
}

/// QUE-03: nothing is reserved for one that was woken; it looks again, and waits again, behind the others.
#[test]
fn a_woken_getter_may_find_the_item_taken() {
    let (lp, log) = (new_loop(), Log::new());
    lp.run_until_complete(async {
        let queue = Rc::new(Queue::new(0));
        let getters: Vec<_> = (0..2).map(|name| getter(&queue, &log, name)).collect();
        passes(1).await;
        queue.put_nowait(1).unwrap();
        assert_eq!(queue.get_nowait().unwrap(), 1);
        passes(2).await;
        assert_eq!(log.len(), 0);
        queue.put_nowait(2).unwrap();
        queue.put_nowait(3).unwrap();
        for task in getters {
            task.await.unwrap().unwrap();
        }
        assert_eq!(log, [(1, 2), (0, 3)]);
    })
    .unwrap();
}

/// QUE-04, QUE-05: cancelled before an item comes, and when it has just come.
#[test]
fn a_cancelled_getter_leaves_the_item_to_the_next() {
    let (lp, log) = (new_loop(), Log::new());
    lp.run_until_complete(async {
        let queue = Rc::new(Queue::new(0));
        let getters: Vec<_> = (0..3).map(|name| getter(&queue, &log, name)).collect();
        passes(1).await;
        getters[0].cancel();
        passes(1).await;
        assert_eq!(format!("{queue:?}"), "<Queue maxsize=0 qsize=0 getters=2>");
        queue.put_nowait(1).unwrap();
        getters[1].cancel();
        passes(2).await;
        assert_eq!(log, [(2, 1)]);
        assert_eq!(format!("{queue:?}"), "<Queue maxsize=0 qsize=0 tasks=1>");
        // With nobody there to have it, it stays.
        let last = getter(&queue, &log, 3);
        passes(1).await;
        queue.put_nowait(2).unwrap();
        last.cancel();
        assert!(last.await.is_err());
        assert_eq!(queue.get_nowait().unwrap(), 2);
    })
    .unwrap();
}

/// QUE-04, QUE-05.
#[test]
fn a_cancelled_putter_leaves_its_place_to_the_next() {
    let lp = new_loop();
    lp.run_until_complete(async {
        let queue = Rc::new(Queue::new(1));
        queue.put_nowait(0).unwrap();
        let putters: Vec<_> = (1..4).map(|item| putter(&queue, item)).collect();
        passes(1).await;
        putters[0].cancel();
        passes(1).await;
        assert_eq!(format!("{queue:?}"), "<Queue maxsize=1 qsize=1 putters=2 tasks=1>");
        assert_eq!(queue.get_nowait().unwrap(), 0);
        putters[1].cancel();
        passes(2).await;
        assert_eq!(queue.get_nowait().unwrap(), 3);
        assert!(putters[1].cancelled() && putters[2].done());
    })
    .unwrap();
}

/// QUE-04, for whoever polls by hand.
#[test]
fn a_dropped_await_loses_neither_item_nor_place() {
    let lp = new_loop();
    lp.run_until_complete(async {
        let queue = Queue::new(1);
        let (mut first, mut second) = (Box::pin(queue.get()), Box::pin(queue.get()));
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        queue.put_nowait(1).unwrap();
        drop(first);
        assert_eq!(second.await.unwrap(), 1);
        queue.put_nowait(2).unwrap();
        let (mut first, mut second) = (Box::pin(queue.put(3)), Box::pin(queue.put(4)));
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        queue.get_nowait().unwrap();
        drop(first);
        second.await.unwrap();
        assert_eq!(drain(&queue), [4]);
    })
    .unwrap();
}

/// TASK-12, TASK-13: the request goes first, and the item stays; but what need not wait does not look.
#[test]
fn a_request_wins_over_an_item_that_is_there() {
    let lp = new_loop();
    lp.run_until_complete(async {
        let queue = Rc::new(Queue::new(0));
        let gets = Rc::clone(&queue);
        let task = create_task(async move {
            assert!(catch_cancelled(gets.get()).await.is_err());
            assert_eq!(gets.qsize(), 1);
            current_task().unwrap().unwrap().cancel();
            let at_once = catch_cancelled(gets.get()).await.unwrap().unwrap();
            (at_once, catch_cancelled(gets.get()).await.is_err())
        })
        .unwrap();
        passes(1).await;
        queue.put_nowait(5).unwrap();
        task.cancel();
        assert_eq!(task.await.unwrap(), (5, true));
    })
    .unwrap();
}

/// QUE-06.
#[test]
fn three_orders() {
    let (first, lowest, last) = (Queue::new(0), PriorityQueue::new(0), LifoQueue::new(0));
    for queue in [&first, &lowest, &last] {
        for item in [2, 3, 1] {
            queue.put_nowait(item).unwrap();
        }
    }
    assert_eq!((drain(&first), drain(&lowest), drain(&last)), (vec![2, 3, 1], vec![1, 2, 3], vec![1, 3, 2]));
    assert_eq!(format!("{lowest:?}"), "<PriorityQueue maxsize=0 qsize=0 tasks=3>");
    assert_eq!(format!("{last:?}"), "<LifoQueue maxsize=0 qsize=0 tasks=3>");
}

/// Only the first part counts.
#[derive(Debug, PartialEq, Eq)]
struct Ranked(u32, &'static str);

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// QUE-06.
#[test]
fn equal_items_come_out_as_they_came_in() {
    let queue = PriorityQueue::new(0);
    for item in [Ranked(1, "a"), Ranked(0, "b"), Ranked(1, "c"), Ranked(0, "d"), Ranked(1, "e")] {
        queue.put_nowait(item).unwrap();
    }
    assert_eq!(drain(&queue).iter().map(|item| item.1).collect::<String>(), "bdace");
}

type Meddler = RefCell<Option<Box<dyn Fn(&PriorityQueue<Meddling>)>>>;

thread_local! {
    static QUEUE: Rc<PriorityQueue<Meddling>> = Rc::new(PriorityQueue::new(0));
    static MEDDLER: Meddler = const { RefCell::new(None) };
}

/// Uses the queue it is in while it is compared.
#[derive(PartialEq, Eq)]
struct Meddling(u32);

impl Ord for Meddling {
    fn cmp(&self, other: &Self) -> Ordering {
        if let Some(meddle) = MEDDLER.take() {
            QUEUE.with(|queue| meddle(queue));
        }
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Meddling {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// QUE-06: to compare is to run anybody's code.
#[test]
fn a_comparison_may_use_the_queue() {
    let queue = QUEUE.with(Rc::clone);
    queue.put_nowait(Meddling(5)).unwrap();
    let meddle = |queue: &PriorityQueue<Meddling>| {
        queue.put_nowait(Meddling(2)).unwrap();
        queue.put_nowait(Meddling(9)).unwrap();
    };
    MEDDLER.set(Some(Box::new(meddle)));
    queue.put_nowait(Meddling(7)).unwrap();
    assert_eq!(queue.qsize(), 4);
    MEDDLER.set(Some(Box::new(|_| quiet_panic("cannot be compared"))));
    let put = catch_unwind(AssertUnwindSafe(|| queue.put_nowait(Meddling(1))));
    assert!(put.is_err());
    assert_eq!(queue.qsize(), 5, "it is there, and so are the others");
    let mut items: Vec<_> = drain(&queue).iter().map(|item| item.0).collect();
    items.sort_unstable();
    assert_eq!(items, [1, 2, 5, 7, 9]);
}

/// QUE-07.
#[test]
fn join_waits_until_all_is_done() {
    let lp = new_loop();
    lp.run_until_complete(async {
        let queue = Rc::new(Queue::new(0));
        queue.join().await.unwrap();
        assert!(matches!(queue.task_done(), Err(Error::TooManyDone)));
        for item in 0..2 {
            queue.put_nowait(item).unwrap();
        }
        let joins = Rc::clone(&queue);
        let joined = create_task(async move { joins.join().await }).unwrap();
        for _ in 0..2 {
            queue.get_nowait().unwrap();
        }
        passes(2).await;
        queue.task_done().unwrap();
        passes(2).await;
        assert!(!joined.done(), "got is not done");
        queue.task_done().unwrap();
        joined.await.unwrap().unwrap();
        assert!(matches!(queue.task_done(), Err(Error::TooManyDone)));
        queue.put_nowait(2).unwrap();
        assert!(poll!(Box::pin(queue.join())).is_pending());
    })
    .unwrap();
}

/// QUE-08.
#[test]
fn after_shutdown_what_is_left_can_be_got() {
    let queue = Queue::new(2);
    queue.put_nowait('a').unwrap();
    queue.shutdown(false);
    queue.shutdown(false);
    let refused = queue.put_nowait('b').unwrap_err();
    assert!(matches!((refused.item, refused.error), ('b', Error::QueueShutDown)));
    assert!(matches!(queue.put('c').now_or_never(), Some(Err(NotPut { item: 'c', error: Error::QueueShutDown }))));
    assert_eq!(queue.get().now_or_never().unwrap().unwrap(), 'a');
    assert!(matches!(queue.get_nowait(), Err(Error::QueueShutDown)));
    assert!(matches!(queue.get().now_or_never(), Some(Err(Error::QueueShutDown))));
    queue.task_done().unwrap();
    assert_eq!(format!("{queue:?}"), "<Queue maxsize=2 qsize=0 shutdown>");
}

/// QUE-09.
#[test]
fn shutdown_wakes_all_who_wait() {
    let (lp, log) = (new_loop(), Log::new());
    lp.run_until_complete(async {
        let empty = Rc::new(Queue::new(0));
        let getters: Vec<_> = (0..3).map(|name| getter(&empty, &log, name)).collect();
        let full = Rc::new(Queue::new(1));
        full.put_nowait(0).unwrap();
        let putters: Vec<_> = (1..4).map(|item| putter(&full, item)).collect();
        passes(1).await;
        empty.shutdown(false);
        full.shutdown(false);
        for task in getters {
            assert!(matches!(task.await.unwrap(), Err(Error::QueueShutDown)));
        }
        for (item, task) in (1..).zip(putters) {
            let refused = task.await.unwrap().unwrap_err();
            assert!(matches!(refused.error, Error::QueueShutDown));
            assert_eq!(refused.item, item);
        }
        assert_eq!(drain(&full), [0]);
    })
    .unwrap();
}

/// QUE-10: for each of the three.
#[test]
fn an_immediate_shutdown_drops_what_is_left_and_counts_it_done() {
    let lp = new_loop();
    lp.run_until_complete(async {
        let alive = Alive::none();
        let (first, last) = (Rc::new(Queue::new(0)), LifoQueue::new(0));
        for _ in 0..3 {
            first.put_nowait(alive.clone()).unwrap();
            last.put_nowait(alive.clone()).unwrap();
        }
        let lowest = PriorityQueue::new(0);
        lowest.put_nowait(1).unwrap();
        drop(first.get_nowait().unwrap());
        let joins = Rc::clone(&first);
        let joined = create_task(async move { joins.join().await }).unwrap();
        passes(1).await;
        first.shutdown(true);
        last.shutdown(true);
        lowest.shutdown(true);
        assert_eq!((alive.others(), first.qsize(), last.qsize(), lowest.qsize()), (0, 0, 0, 0));
        last.join().await.unwrap();
        lowest.join().await.unwrap();
        passes(2).await;
        assert!(!joined.done(), "the one that was got is not done");
        first.task_done().unwrap();
        joined.await.unwrap().unwrap();
    })
    .unwrap();
}

/// QUE-10: the items' destructors may use the queue.
#[test]
fn a_dropped_item_may_use_the_queue() {
    struct Item(Rc<Queue<Item>>, Rc<Cell<bool>>);
    impl Drop for Item {
        fn drop(&mut self) {
            assert!(self.0.empty() && matches!(self.0.get_nowait(), Err(Error::QueueShutDown)));
            self.1.set(true);
        }
    }
    let (queue, dropped) = (Rc::new(Queue::new(0)), Rc::new(Cell::new(false)));
    queue.put_nowait(Item(Rc::clone(&queue), Rc::clone(&dropped))).unwrap();
    queue.shutdown(true);
    assert!(dropped.get());
}

/// QUE-11, LOCK-06.
#[test]
fn a_queue_belongs_to_the_loop_in_which_somebody_waited() {
    let (first, second) = (new_loop(), new_loop());
    let queue = Rc::new(Queue::new(1));
    assert!(matches!(queue.get().now_or_never(), Some(Err(Error::Loop(LoopError::NoRunningLoop)))));
    let gets = Rc::clone(&queue);
    let task = first.create_task(async move { gets.get().await }).unwrap();
    loops::one_pass(&first);
    assert!(matches!(second.run_until_complete(queue.get()).unwrap(), Err(Error::Loop(LoopError::WrongLoop))));
    // Nobody has to wait for that.
    second.run_until_complete(queue.put(1)).unwrap().unwrap();
    let refused = second.run_until_complete(queue.put(2)).unwrap().unwrap_err();
    assert!(matches!((refused.item, refused.error), (2, Error::Loop(LoopError::WrongLoop))));
    assert_eq!(first.run_until_complete(task).unwrap().unwrap().unwrap(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// QUE-03, QUE-04: whoever is cancelled whenever, no item comes twice, none is lost, and nobody waits for one that is
    /// there.
    #[test]
    fn nothing_is_lost_whoever_is_cancelled(
        maxsize in 1..4usize,
        steps in prop::collection::vec((0..4u8, 0..16usize, 0..3usize), 0..48),
    ) {
        let lp = new_loop();
        lp.run_until_complete(async {
            let (queue, log) = (Rc::new(Queue::new(maxsize)), Log::new());
            let (mut getters, mut putters, mut got) = (Vec::new(), Vec::new(), Vec::new());
            for (step, which, pause) in steps {
                match step {
                    0 => getters.push(getter(&queue, &log, getters.len())),
                    1 => putters.push(putter(&queue, putters.len() as u32)),
                    2 => got.extend(queue.get_nowait()),
                    _ => {
                        _ = getters.get(which).map(|task| task.cancel());
                        _ = putters.get(which).map(|task| task.cancel());
                    }
                }
                assert!(queue.qsize() <= maxsize);
                passes(pause).await;
            }
            passes(100).await;
            let waiting = (getters.iter().any(|task| !task.done()), putters.iter().any(|task| !task.done()));
            assert!(!waiting.0 || queue.empty());
            assert!(!waiting.1 || queue.full());
            let put = putters.iter().filter(|task| task.done() && !task.cancelled()).count();
            let left = drain(&queue);
            let all: Vec<_> = got.into_iter().chain(log.take().into_iter().map(|(_, item)| item)).chain(left).collect();
            let unique: BTreeSet<_> = all.iter().copied().collect();
            assert_eq!((all.len(), unique.len()), (put, put));
        })
        .unwrap();
    }
}
