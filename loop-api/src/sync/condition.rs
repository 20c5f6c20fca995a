//! A condition: tasks that hold a lock wait for a word of another one that holds it.
//!
//! A wait gives the lock away and holds it again whenever it ends, also when it is cancelled; so it takes the request, and
//! raises it again when it has the lock. What was said to a waiter that then ends in another way than by going on, is said
//! to the next one.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use loop_core::catch_cancelled;

use super::bound::Bound;
use super::lock::{Lock, LockGuard};
use super::waiting::WaitList;
use crate::error::{Error, Result};

/// Tasks wait for something to become true that others make true, under a lock (asyncio: `Condition`).
///
/// ```
/// use std::{cell::Cell, rc::Rc};
/// use loop_api as asyncio;
///
/// asyncio::run(async {
///     let (condition, stock) = (Rc::new(asyncio::Condition::new()), Rc::new(Cell::new(0_u32)));
///     let (delivers, delivery) = (Rc::clone(&condition), Rc::clone(&stock));
///     let _task = asyncio::create_task(async move {
///         let _held = delivers.lock().await?;
///         delivery.set(3);
///         delivers.notify(1)
///     })?;
///     let _held = condition.lock().await?;
///     let sold = condition.wait_for(|| stock.get().checked_sub(2)).await?;
///     assert_eq!(sold, 1);
///     Ok::<_, asyncio::Error>(())
/// })??;
/// # Ok::<(), loop_api::Error>(())
/// ```
pub struct Condition {
    lock: Rc<Lock>,
    waiters: WaitList,
    bound: Bound,
}

impl Condition {
    /// A condition with a lock of its own.
    #[must_use]
    pub fn new() -> Self {
        Self::with_lock(Rc::default())
    }

    /// A condition under a lock that others may share.
    #[must_use]
    pub fn with_lock(lock: Rc<Lock>) -> Self {
        Self { lock, waiters: WaitList::default(), bound: Bound::default() }
    }

    /// Waits for the condition's lock, and holds it until the guard is dropped: [`Lock::lock`].
    ///
    /// # Errors
    ///
    /// Those of [`Lock::lock`].
    pub async fn lock(&self) -> loop_core::Result<LockGuard<'_>> {
        self.lock.lock().await
    }

    /// Waits for the condition's lock: [`Lock::acquire`].
    ///
    /// # Errors
    ///
    /// Those of [`Lock::acquire`].
    pub async fn acquire(&self) -> loop_core::Result<()> {
        self.lock.acquire().await
    }

    /// Gives the condition's lock back: [`Lock::release`].
    ///
    /// # Errors
    ///
    /// [`Error::NotLocked`] where it is free.
    pub fn release(&self) -> Result<()> {
        self.lock.release()
    }

    /// Whether somebody holds the condition's lock.
    #[must_use]
    pub fn locked(&self) -> bool {
        self.lock.locked()
    }

    /// Gives the lock away, waits for a [`notify`](Self::notify), and takes the lock again (asyncio: `wait`). What was
    /// waited for need not be true then: ask again, or use [`wait_for`](Self::wait_for).
    ///
    /// The lock is held again whenever it ends, also when it is cancelled, which then takes as long as it takes to get the
    /// lock: a guard that was there goes on holding. Only a wait that is dropped by other means than a cancellation cannot
    /// wait for it; the hold is lost then, and its guard releases nothing.
    ///
    /// # Errors
    ///
    /// [`Error::NotLocked`] where nobody holds the lock; [`LoopError::NoRunningLoop`](crate::LoopError::NoRunningLoop) and
    /// [`LoopError::WrongLoop`](crate::LoopError::WrongLoop), the lock being held as before.
    pub async fn wait(&self) -> Result<()> {
        if !self.locked() {
            return Err(Error::NotLocked);
        }
        self.bound.check()?;
        self.lock.bind()?;
        let Some(hold) = self.lock.give_away() else { return Err(Error::NotLocked) };
        let notification = Notification { waiters: &self.waiters, owed: Cell::new(false) };
        let mut cancelled = catch_cancelled(self.waiters.wait(|| notification.owed.set(true))).await.err();
        if cancelled.is_none() {
            notification.owed.set(true);
        }
        loop {
            match catch_cancelled(self.lock.take_back(hold)).await {
                Ok(result) => break result?,
                Err(again) => cancelled = Some(again),
            }
        }
        if let Some(cancelled) = cancelled {
            drop(notification);
            return cancelled.raise().await;
        }
        notification.owed.set(false);
        Ok(())
    }

    /// Waits until a predicate has a value to give (asyncio: `wait_for`). It is asked at once, and again after each
    /// notification, with the lock held; if it is content at once, nobody need hold the lock. A plain truth is
    /// `|| truth().then_some(())`.
    ///
    /// # Errors
    ///
    /// Those of [`wait`](Self::wait).
    pub async fn wait_for<T>(&self, mut predicate: impl FnMut() -> Option<T>) -> Result<T> {
        loop {
            match predicate() {
                Some(value) => return Ok(value),
                None => self.wait().await?,
            }
        }
    }

    /// Wakes the `count` that wait longest (asyncio: `notify`). They run as the lock gets free.
    ///
    /// # Errors
    ///
    /// [`Error::NotLocked`] where nobody holds the lock.
    pub fn notify(&self, count: usize) -> Result<()> {
        if !self.locked() {
            return Err(Error::NotLocked);
        }
        self.waiters.wake(count);
        Ok(())
    }

    /// Wakes all that wait (asyncio: `notify_all`).
    ///
    /// # Errors
    ///
    /// [`Error::NotLocked`] where nobody holds the lock.
    pub fn notify_all(&self) -> Result<()> {
        self.notify(usize::MAX)
    }
}

/// A notification that came to a waiter. If it is still owed when the wait is over, somebody else gets it.
struct Notification<'a> {
    waiters: &'a WaitList,
    owed: Cell<bool>,
}

impl Drop for Notification<'_> {
    fn drop(&mut self) {
        if self.owed.get() {
            self.waiters.wake_one();
        }
    }
}

impl Default for Condition {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.locked() { "locked" } else { "unlocked" };
        match self.waiters.len() {
            0 => write!(f, "<Condition [{state}]>"),
            waiters => write!(f, "<Condition [{state}, waiters:{waiters}]>"),
        }
    }
}
