//! A lock: one holder at a time, and those who wait get it in their order.
//!
//! A hold has a number. So a guard whose hold was ended by [`Lock::release`] does not end a later one, and a condition
//! that gave the lock away while it waited takes the same hold up again.

use std::cell::Cell;
use std::fmt;

use loop_core::Result;

use super::bound::Bound;
use super::waiting::WaitList;
use crate::error::Error;

/// One task at a time (asyncio: `Lock`). It guards no value: what it protects is what its users agree upon.
///
/// Those who wait get it in their order; a newcomer queues behind them even at a moment when it is free, which it is
/// between a release and the next pass, in which the one that was woken runs. It is not reentrant.
///
/// ```
/// use std::rc::Rc;
/// use loop_api as asyncio;
///
/// asyncio::run(async {
///     let lock = Rc::new(asyncio::Lock::new());
///     let shared = Rc::clone(&lock);
///     let other = asyncio::create_task(async move {
///         let _held = shared.lock().await?;          // released when it goes out of scope
///         Ok::<_, asyncio::LoopError>(())
///     })?;
///     let held = lock.lock().await?;
///     asyncio::yield_now().await;                    // the other one waits
///     drop(held);
///     other.await??;
///     Ok::<_, asyncio::Error>(())
/// })??;
/// # Ok::<(), loop_api::Error>(())
/// ```
#[derive(Default)]
pub struct Lock {
    /// The number of the hold; none where it is free.
    hold: Cell<Option<u64>>,
    /// How many holds there were.
    holds: Cell<u64>,
    waiters: WaitList,
    bound: Bound,
}

impl Lock {
    /// A free lock.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits for the lock, and holds it until the guard is dropped (asyncio: `async with lock`).
    ///
    /// Cancelled or dropped, it does not hold the lock, and whoever is next gets it.
    ///
    /// # Errors
    ///
    /// Only where it has to wait: [`LoopError::NoRunningLoop`](crate::LoopError::NoRunningLoop) outside of a loop;
    /// [`LoopError::WrongLoop`](crate::LoopError::WrongLoop) where somebody has waited for it in another one.
    pub async fn lock(&self) -> Result<LockGuard<'_>> {
        self.turn().await?;
        let hold = self.begin_hold();
        Ok(LockGuard { lock: self, hold })
    }

    /// Waits for the lock, to be given back with [`release`](Self::release), by whichever task (asyncio: `acquire`).
    ///
    /// # Errors
    ///
    /// As for [`lock`](Self::lock).
    pub async fn acquire(&self) -> Result<()> {
        self.turn().await?;
        self.begin_hold();
        Ok(())
    }

    /// Gives the lock back, whoever took it (asyncio: `release`); the first of those who wait is woken. A guard that is
    /// still there has nothing to give back any more.
    ///
    /// # Errors
    ///
    /// [`Error::NotLocked`] where it is free.
    pub fn release(&self) -> Result<(), Error> {
        self.give_away().map(drop).ok_or(Error::NotLocked)
    }

    /// Whether somebody holds it (asyncio: `locked`).
    #[must_use]
    pub fn locked(&self) -> bool {
        self.hold.get().is_some()
    }

    /// Waits until it is free for us, who take it at once.
    async fn turn(&self) -> Result<()> {
        if self.locked() || self.waiters.len() > 0 {
            self.bound.check()?;
            // Nobody but the one that was woken can take it meanwhile.
            self.waiters.wait(|| _ = self.waiters.wake_one()).await;
        }
        Ok(())
    }

    fn begin_hold(&self) -> u64 {
        let hold = self.holds.get();
        self.holds.set(hold + 1);
        self.hold.set(Some(hold));
        hold
    }

    // ---- for a condition ---------------------------------------------------------------------------------------

    /// Makes sure that waiting in this loop is not refused later.
    pub(super) fn bind(&self) -> Result<()> {
        self.bound.check()
    }

    /// Interrupts the hold that there is.
    pub(super) fn give_away(&self) -> Option<u64> {
        let hold = self.hold.take()?;
        self.waiters.wake_one();
        Some(hold)
    }

    /// Waits for the lock, and takes that hold up again.
    pub(super) async fn take_back(&self, hold: u64) -> Result<()> {
        self.turn().await?;
        self.hold.set(Some(hold));
        Ok(())
    }
}

/// Holds a [`Lock`] until it is dropped.
#[derive(Debug)]
#[must_use = "the lock is released when this is dropped"]
pub struct LockGuard<'a> {
    lock: &'a Lock,
    hold: u64,
}

impl Drop for LockGuard<'_> {
    fn drop(&mut self) {
        if self.lock.hold.get() == Some(self.hold) {
            // It is held, so that cannot fail.
            let _ = self.lock.release();
        }
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.locked() { "locked" } else { "unlocked" };
        match self.waiters.len() {
            0 => write!(f, "<Lock [{state}]>"),
            waiters => write!(f, "<Lock [{state}, waiters:{waiters}]>"),
        }
    }
}
