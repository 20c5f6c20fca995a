//! Queues.

use std::rc::Rc;

use loop_api::{Error, LifoQueue, PriorityQueue, Queue, create_task, yield_now};

use crate::stage::{Show, attempt, in_a_task};

async fn passes(count: usize) {
    for _ in 0..count {
        yield_now().await;
    }
}

/// QUE-01
#[test]
fn a_queue_knows_its_size() {
    in_a_task(async || {
        let queue = Queue::new(2);
        let state = || format!("size: {} empty: {} full: {}", queue.qsize(), queue.empty().show(), queue.full().show());
        trace!("{}", state());
        queue.put(1).await?;
        queue.put(2).await?;
        trace!("{}", state());
        Ok(())
    });
}

/// QUE-02
#[test]
fn full_and_empty_are_errors_at_once() {
    in_a_task(async || {
        let queue = Queue::<i32>::new(1);
        attempt("get", queue.get_nowait());
        attempt("put", queue.put_nowait(1).map_err(Error::from));
        attempt("put", queue.put_nowait(2).map_err(Error::from));
        attempt("get", queue.get_nowait());
        Ok(())
    });
}

/// QUE-02
#[test]
fn put_waits_while_it_is_full() {
    in_a_task(async || {
        let queue = Rc::new(Queue::new(1));
        let puts = Rc::clone(&queue);
        let task = create_task(async move {
            for number in 0..3 {
                puts.put(number).await.unwrap();
                trace!("put {number}");
            }
        })?;
        passes(3).await;
        for _ in 0..3 {
            trace!("got {}", queue.get().await?);
        }
        task.await?;
        Ok(())
    });
}

/// QUE-03
#[test]
fn getters_are_served_in_their_order() {
    in_a_task(async || {
        let queue = Rc::new(Queue::new(0));
        let mut tasks = Vec::new();
        for name in ["one", "two"] {
            let queue = Rc::clone(&queue);
            tasks.push(create_task(async move { trace!("{name} got {}", queue.get().await.unwrap()) })?);
        }
        passes(1).await;
        queue.put_nowait("first")?;
        queue.put_nowait("second")?;
        for task in tasks {
            task.await?;
        }
        Ok(())
    });
}

/// QUE-03
#[test]
fn a_woken_getter_may_find_the_item_taken() {
    in_a_task(async || {
        let queue = Rc::new(Queue::new(0));
        let gets = Rc::clone(&queue);
        let task = create_task(async move { trace!("waiter got {}", gets.get().await.unwrap()) })?;
        passes(1).await;
        queue.put_nowait("first")?;
        trace!("taken {}", queue.get_nowait()?);
        passes(3).await;
        trace!("done: {}", task.done().show());
        queue.put_nowait("second")?;
        task.await?;
        Ok(())
    });
}

/// QUE-04
#[test]
fn a_cancelled_getter_hands_its_item_on() {
    in_a_task(async || {
        let gets = async |queue: Rc<Queue<&str>>, name: &str| {
            trace!("{name} got {}", queue.get().await.unwrap());
        };
        let queue = Rc::new(Queue::new(0));
        let one = create_task(gets(Rc::clone(&queue), "one"))?;
        let two = create_task(gets(Rc::clone(&queue), "two"))?;
        passes(1).await;
        queue.put_nowait("item")?;
        one.cancel();
        attempt("one", one.await);
        attempt("two", two.await);
        Ok(())
    });
}

/// QUE-06
#[test]
fn three_orders() {
    in_a_task(async || {
        let (first, lowest, last) = (Queue::new(0), PriorityQueue::new(0), LifoQueue::new(0));
        for queue in [&first, &lowest, &last] {
            for number in [2, 3, 1] {
                queue.put_nowait(number)?;
            }
            let items: Vec<i32> = std::iter::from_fn(|| queue.get_nowait().ok()).collect();
            trace!("{}", items.show());
        }
        Ok(())
    });
}

/// QUE-07
#[test]
fn join_waits_for_what_was_put() {
    in_a_task(async || {
        let queue = Rc::new(Queue::new(0));
        queue.put_nowait("one")?;
        queue.put_nowait("two")?;
        let gets = Rc::clone(&queue);
        let task = create_task(async move {
            for _ in 0..2 {
                let item = gets.get().await.unwrap();
                passes(1).await;
                trace!("did {item}");
                gets.task_done().unwrap();
            }
        })?;
        queue.join().await?;
        trace!("joined");
        task.await?;
        if let Err(Error::TooManyDone) = queue.task_done() {
            trace!("ValueError");
        }
        Ok(())
    });
}
