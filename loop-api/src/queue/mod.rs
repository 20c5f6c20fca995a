//! Queues between tasks of one loop (asyncio: queues).
//!
//! * this file: putting, getting, and who waits for what;
//! * `order` — which item is next: the three queues differ in nothing else.
//!
//! Those who wait are woken in their order, one for each item or free place; but a wake-up is no promise. Nothing is
//! reserved for the one that was woken: it looks again, and waits again if somebody came first. Should it go without having
//! looked, the next one is woken, so nothing is left lying while somebody waits for it.
//!
//! Items are compared and dropped while nothing is borrowed.

mod order;

use std::cell::Cell;
use std::fmt;
use std::ops::Deref;

use crate::error::{Error, Result};
use crate::sync::{Bound, Event, WaitList};

use order::Items;

/// A queue between tasks: first in, first out (asyncio: `Queue`). Tasks share it in an [`Rc`](std::rc::Rc).
///
/// ```
/// use std::rc::Rc;
/// use loop_api as asyncio;
///
/// asyncio::run(async {
///     let queue = Rc::new(asyncio::Queue::new(2));      // two at most; 0 for any number
///     let work = Rc::clone(&queue);
///     let worker = asyncio::create_task(async move {
///         let mut sum = 0;
///         while let Ok(number) = work.get().await {      // until it is shut down and empty
///             sum += number;
///             work.task_done()?;
///         }
///         Ok::<_, asyncio::Error>(sum)
///     })?;
///     for number in 1..=10 {
///         queue.put(number).await?;                      // waits while it is full
///     }
///     queue.join().await?;                               // all of them done
///     queue.shutdown(false);
///     assert_eq!(worker.await??, 55);
///     Ok::<_, asyncio::Error>(())
/// })??;
/// # Ok::<(), loop_api::Error>(())
/// ```
pub struct Queue<T> {
    items: Items<T>,
    maxsize: usize,
    shut_down: Cell<bool>,
    getters: WaitList,
    putters: WaitList,
    /// How many items were put and not reported done.
    unfinished: Cell<usize>,
    finished: Event,
    bound: Bound,
}

impl<T> Queue<T> {
    /// An empty queue for so many items, or for any number of them where that is 0.
    #[must_use]
    pub fn new(maxsize: usize) -> Self {
        Self::of(Items::first_in_first_out(), maxsize)
    }

    fn of(items: Items<T>, maxsize: usize) -> Self {
        Self {
            items,
            maxsize,
            shut_down: Cell::new(false),
            getters: WaitList::default(),
            putters: WaitList::default(),
            unfinished: Cell::new(0),
            finished: Event::new(),
            bound: Bound::default(),
        }
    }

    /// Puts an item into the queue, and waits for a place where it is full (asyncio: `put`).
    ///
    /// Cancelled or dropped before that, the item is dropped with it, and the place goes to the next one.
    ///
    /// # Errors
    ///
    /// They give the item back. [`Error::QueueShutDown`] after [`shutdown`](Self::shutdown), also during the wait. Where it
    /// has to wait: [`LoopError::NoRunningLoop`](crate::LoopError::NoRunningLoop) outside of a loop;
    /// [`LoopError::WrongLoop`](crate::LoopError::WrongLoop) where somebody has waited for the queue in another one.
    pub async fn put(&self, item: T) -> Result<(), NotPut<T>> {
        while self.full() && !self.shut_down.get() {
            if let Err(error) = self.bound.check() {
                return Err(NotPut { item, error: error.into() });
            }
            let pass_on = || {
                if !self.full() {
                    self.putters.wake_one();
                }
            };
            self.putters.wait(pass_on).await;
        }
        self.put_nowait(item)
    }

    /// Puts an item into the queue (asyncio: `put_nowait`).
    ///
    /// # Errors
    ///
    /// They give the item back: [`Error::QueueFull`]; [`Error::QueueShutDown`] after [`shutdown`](Self::shutdown).
    pub fn put_nowait(&self, item: T) -> Result<(), NotPut<T>> {
        if self.shut_down.get() {
            return Err(NotPut { item, error: Error::QueueShutDown });
        }
        if self.full() {
            return Err(NotPut { item, error: Error::QueueFull });
        }
        self.unfinished.set(self.unfinished.get() + 1);
        self.finished.clear();
        // A comparison may panic, and the item is there all the same.
        let _told = WakesOne(&self.getters);
        self.items.put(item);
        Ok(())
    }

    /// Takes the next item, and waits for one where there is none (asyncio: `get`).
    ///
    /// It may be cancelled or dropped at any time: an item that it has not given stays in the queue.
    ///
    /// # Errors
    ///
    /// [`Error::QueueShutDown`] after [`shutdown`](Self::shutdown), when nothing is left, also during the wait. Where it has
    /// to wait: [`LoopError::NoRunningLoop`](crate::LoopError::NoRunningLoop) and
    /// [`LoopError::WrongLoop`](crate::LoopError::WrongLoop), as for [`put`](Self::put).
    pub async fn get(&self) -> Result<T> {
        while self.empty() && !self.shut_down.get() {
            self.bound.check()?;
            let pass_on = || {
                if !self.empty() {
                    self.getters.wake_one();
                }
            };
            self.getters.wait(pass_on).await;
        }
        self.get_nowait()
    }

    /// Takes the next item (asyncio: `get_nowait`).
    ///
    /// # Errors
    ///
    /// [`Error::QueueEmpty`]; [`Error::QueueShutDown`] instead, after [`shutdown`](Self::shutdown).
    pub fn get_nowait(&self) -> Result<T> {
        match self.items.next() {
            Some(item) => {
                self.putters.wake_one();
                Ok(item)
            }
            None if self.shut_down.get() => Err(Error::QueueShutDown),
            None => Err(Error::QueueEmpty),
        }
    }

    /// Reports an item done that was put (asyncio: `task_done`); whoever waits in [`join`](Self::join) goes on when all are.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyDone`] where all are done already.
    pub fn task_done(&self) -> Result<()> {
        if self.unfinished.get() == 0 {
            return Err(Error::TooManyDone);
        }
        self.count_done(1);
        Ok(())
    }

    /// Waits until every item that was put is reported done; at once where that is so (asyncio: `join`).
    ///
    /// # Errors
    ///
    /// [`LoopError::NoRunningLoop`](crate::LoopError::NoRunningLoop) and
    /// [`LoopError::WrongLoop`](crate::LoopError::WrongLoop), where it has to wait.
    pub async fn join(&self) -> Result<()> {
        if self.unfinished.get() > 0 {
            self.finished.wait().await?;
        }
        Ok(())
    }

    /// Shuts the queue down (asyncio: `shutdown`): nothing is put into it any more, and nothing got once it is empty. All
    /// who wait are woken, to see that. At once (`immediate`), it is emptied, and what was in it counts as done.
    pub fn shutdown(&self, immediate: bool) {
        self.shut_down.set(true);
        let dropped = if immediate { self.items.take() } else { Vec::new() };
        self.count_done(dropped.len());
        self.getters.wake_all();
        self.putters.wake_all();
        drop(dropped);
    }

    /// How many items are in it (asyncio: `qsize`).
    #[must_use]
    pub fn qsize(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none (asyncio: `empty`).
    #[must_use]
    pub fn empty(&self) -> bool {
        self.qsize() == 0
    }

    /// Whether there are as many as there may be (asyncio: `full`); never where there may be any number.
    #[must_use]
    pub fn full(&self) -> bool {
        self.maxsize > 0 && self.qsize() >= self.maxsize
    }

    /// How many there may be; 0 for any number (asyncio: `maxsize`).
    #[must_use]
    pub fn maxsize(&self) -> usize {
        self.maxsize
    }

    fn count_done(&self, count: usize) {
        let unfinished = self.unfinished.get().saturating_sub(count);
        self.unfinished.set(unfinished);
        if unfinished == 0 {
            self.finished.set();
        }
    }

    fn describe(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{name} maxsize={} qsize={}", self.maxsize, self.qsize())?;
        let counts =
            [("getters", self.getters.len()), ("putters", self.putters.len()), ("tasks", self.unfinished.get())];
        for (what, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            write!(f, " {what}={count}")?;
        }
        if self.shut_down.get() {
            f.write_str(" shutdown")?;
        }
        f.write_str(">")
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.describe("Queue", f)
    }
}

/// A queue that gives the lowest item first (asyncio: `PriorityQueue`), and equal ones in the order in which they came.
/// All else is [`Queue`]'s.
///
/// ```
/// let queue = loop_api::PriorityQueue::new(0);
/// for job in [(3, "sweep"), (1, "save"), (2, "send")] {
///     queue.put_nowait(job)?;
/// }
/// assert_eq!(queue.get_nowait()?, (1, "save"));
/// # Ok::<(), loop_api::Error>(())
/// ```
pub struct PriorityQueue<T>(Queue<T>);

impl<T: Ord> PriorityQueue<T> {
    /// An empty queue for so many items, or for any number of them where that is 0.
    #[must_use]
    pub fn new(maxsize: usize) -> Self {
        Self(Queue::of(Items::lowest_first(), maxsize))
    }
}

/// A queue that gives what came last first (asyncio: `LifoQueue`). All else is [`Queue`]'s.
pub struct LifoQueue<T>(Queue<T>);

impl<T> LifoQueue<T> {
    /// An empty queue for so many items, or for any number of them where that is 0.
    #[must_use]
    pub fn new(maxsize: usize) -> Self {
        Self(Queue::of(Items::last_in_first_out(), maxsize))
    }
}

impl<T> Deref for PriorityQueue<T> {
    type Target = Queue<T>;

    fn deref(&self) -> &Queue<T> {
        &self.0
    }
}

impl<T> Deref for LifoQueue<T> {
    type Target = Queue<T>;

    fn deref(&self) -> &Queue<T> {
        &self.0
    }
}

impl<T> fmt::Debug for PriorityQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.describe("PriorityQueue", f)
    }
}

impl<T> fmt::Debug for LifoQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.describe("LifoQueue", f)
    }
}

/// Wakes the first of those who wait when it goes.
struct WakesOne<'a>(&'a WaitList);

impl Drop for WakesOne<'_> {
    fn drop(&mut self) {
        self.0.wake_one();
    }
}

/// An item that a queue did not take, and why. `?` turns it into an [`Error`] and drops the item.
pub struct NotPut<T> {
    /// The item.
    pub item: T,
    /// Why it was not taken.
    pub error: Error,
}

impl<T> fmt::Debug for NotPut<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NotPut").field("error", &self.error).finish_non_exhaustive()
    }
}

impl<T> fmt::Display for NotPut<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<T> std::error::Error for NotPut<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

impl<T> From<NotPut<T>> for Error {
    fn from(not_put: NotPut<T>) -> Self {
        not_put.error
    }
}

impl<T> From<NotPut<T>> for loop_core::TaskError {
    fn from(not_put: NotPut<T>) -> Self {
        not_put.error.into()
    }
}
