//! Semaphores: so many at a time.
//!
//! A permit is given to a waiter when it is woken, and taken back should the waiter go without it. A newcomer takes one
//! itself only where nobody waits; what is left over when a waiter runs goes to those who queued up behind it.

use std::cell::Cell;
use std::fmt;

use loop_core::Result;

use super::bound::Bound;
use super::waiting::WaitList;
use crate::error::Error;

/// So many tasks at a time (asyncio: `Semaphore`). Those who wait get in in their order; a newcomer waits as well as long
/// as others do, even if permits are free.
///
/// ```
/// use std::rc::Rc;
/// use loop_api as asyncio;
///
/// asyncio::run(async {
///     let three = Rc::new(asyncio::Semaphore::new(3));
///     for _ in 0..10 {
///         let three = Rc::clone(&three);
///         asyncio::create_task(async move {
///             let _permit = three.permit().await?;      // three of the ten at a time
///             asyncio::sleep(0.001).await
///         })?;
///     }
///     Ok::<_, asyncio::LoopError>(())
/// })??;
/// # Ok::<(), loop_api::Error>(())
/// ```
pub struct Semaphore {
    value: Cell<usize>,
    /// More permits than that are refused.
    most: usize,
    waiters: WaitList,
    bound: Bound,
}

impl Semaphore {
    /// A semaphore with so many permits; none is as good as any number.
    #[must_use]
    pub fn new(value: usize) -> Self {
        Self::with_most(value, usize::MAX)
    }

    /// Waits for a permit, and holds it until the guard is dropped (asyncio: `async with semaphore`).
    ///
    /// Cancelled or dropped, it holds none, and whoever is next gets it.
    ///
    /// # Errors
    ///
    /// Only where it has to wait: [`LoopError::NoRunningLoop`](crate::LoopError::NoRunningLoop) outside of a loop;
    /// [`LoopError::WrongLoop`](crate::LoopError::WrongLoop) where somebody has waited for it in another one.
    pub async fn permit(&self) -> Result<SemaphorePermit<'_>> {
        self.acquire().await?;
        Ok(SemaphorePermit { semaphore: self })
    }

    /// Waits for a permit, to be given back with [`release`](Self::release), by whichever task (asyncio: `acquire`).
    ///
    /// # Errors
    ///
    /// As for [`permit`](Self::permit).
    pub async fn acquire(&self) -> Result<()> {
        if !self.locked() {
            self.value.set(self.value.get() - 1);
            return Ok(());
        }
        self.bound.check()?;
        let give_back = || {
            self.value.set(self.value.get() + 1);
            self.share_out();
        };
        self.waiters.wait(give_back).await;
        // Newcomers queued up behind this one, whatever was free.
        self.share_out();
        Ok(())
    }

    /// Adds a permit, which the first of those who wait gets (asyncio: `release`). There may be more of them then than at
    /// the beginning; to have that refused, use a [`BoundedSemaphore`].
    pub fn release(&self) {
        // Beyond `usize::MAX`, one more makes no difference.
        self.give_back();
    }

    /// Whether one who comes now has to wait (asyncio: `locked`).
    #[must_use]
    pub fn locked(&self) -> bool {
        self.value.get() == 0 || self.waiters.len() > 0
    }

    fn with_most(value: usize, most: usize) -> Self {
        Self { value: Cell::new(value), most, waiters: WaitList::default(), bound: Bound::default() }
    }

    /// One permit more, if there may be.
    fn give_back(&self) -> bool {
        if self.value.get() >= self.most {
            return false;
        }
        self.value.set(self.value.get() + 1);
        self.give_one();
        true
    }

    /// Gives a permit to the first of those who wait. It is out of the count before its taker is woken.
    fn give_one(&self) -> bool {
        self.value.set(self.value.get() - 1);
        let given = self.waiters.wake_one();
        if !given {
            self.value.set(self.value.get() + 1);
        }
        given
    }

    fn share_out(&self) {
        while self.value.get() > 0 && self.give_one() {}
    }
}

impl Default for Semaphore {
    /// A semaphore with one permit, as asyncio's default is.
    fn default() -> Self {
        Self::new(1)
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe("Semaphore", self, f)
    }
}

fn describe(name: &str, semaphore: &Semaphore, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "<{name} [")?;
    if semaphore.locked() {
        f.write_str("locked")?;
    } else {
        write!(f, "unlocked, value:{}", semaphore.value.get())?;
    }
    match semaphore.waiters.len() {
        0 => f.write_str("]>"),
        waiters => write!(f, ", waiters:{waiters}]>"),
    }
}

/// Holds a permit of a [`Semaphore`], or of a [`BoundedSemaphore`], until it is dropped.
#[derive(Debug)]
#[must_use = "the permit is given back when this is dropped"]
pub struct SemaphorePermit<'a> {
    semaphore: &'a Semaphore,
}

impl Drop for SemaphorePermit<'_> {
    fn drop(&mut self) {
        // Given back already where that is more than there may be.
        let _ = self.semaphore.give_back();
    }
}

/// A semaphore that is not to have more permits than at the beginning (asyncio: `BoundedSemaphore`): to release more than
/// were acquired is an error.
pub struct BoundedSemaphore(Semaphore);

impl BoundedSemaphore {
    /// A semaphore with so many permits, at most.
    #[must_use]
    pub fn new(value: usize) -> Self {
        Self(Semaphore::with_most(value, value))
    }

    /// Waits for a permit, and holds it until the guard is dropped: [`Semaphore::permit`]. A permit that was given back by
    /// [`release`](Self::release) meanwhile is not given back again.
    ///
    /// # Errors
    ///
    /// Those of [`Semaphore::permit`].
    pub async fn permit(&self) -> Result<SemaphorePermit<'_>> {
        self.0.permit().await
    }

    /// Waits for a permit: [`Semaphore::acquire`].
    ///
    /// # Errors
    ///
    /// Those of [`Semaphore::acquire`].
    pub async fn acquire(&self) -> Result<()> {
        self.0.acquire().await
    }

    /// Gives a permit back, to the first of those who wait (asyncio: `release`).
    ///
    /// # Errors
    ///
    /// [`Error::TooManyReleases`] where there are as many as at the beginning.
    pub fn release(&self) -> Result<(), Error> {
        if self.0.give_back() { Ok(()) } else { Err(Error::TooManyReleases) }
    }

    /// Whether one who comes now has to wait: [`Semaphore::locked`].
    #[must_use]
    pub fn locked(&self) -> bool {
        self.0.locked()
    }
}

impl Default for BoundedSemaphore {
    /// A semaphore with one permit, as asyncio's default is.
    fn default() -> Self {
        Self::new(1)
    }
}

impl fmt::Debug for BoundedSemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe("BoundedSemaphore", &self.0, f)
    }
}
