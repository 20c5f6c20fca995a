//! A barrier: so many tasks arrive, and then all of them go on.
//!
//! It fills until the last of its parties arrives, drains until the last of them has gone on, and fills again. Those who
//! come while it drains, or while a reset sends the others home, wait before it without being counted.

use std::cell::Cell;
use std::fmt;

use loop_core::Error as LoopError;

use super::bound::Bound;
use super::waiting::WaitList;
use crate::error::{Error, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Filling,
    Draining,
    /// By `reset`, until those who had arrived are gone.
    Resetting,
    /// By `abort`, until `reset`.
    Broken,
}

/// Tasks wait for each other until so many are there (asyncio: `Barrier`); then it can be used again.
///
/// ```
/// use std::rc::Rc;
/// use loop_api as asyncio;
///
/// asyncio::run(async {
///     let barrier = Rc::new(asyncio::Barrier::new(2)?);
///     let other = Rc::clone(&barrier);
///     let task = asyncio::create_task(async move { other.wait().await })?;
///     assert_eq!(barrier.wait().await?, 0);
///     assert_eq!(task.await??, 1);
///     Ok::<_, asyncio::Error>(())
/// })??;
/// # Ok::<(), loop_api::Error>(())
/// ```
pub struct Barrier {
    parties: usize,
    state: Cell<State>,
    /// Who has arrived and is not gone.
    count: Cell<usize>,
    waiters: WaitList,
    bound: Bound,
}

impl Barrier {
    /// A barrier for so many tasks.
    ///
    /// # Errors
    ///
    /// [`LoopError::InvalidArgument`](crate::LoopError::InvalidArgument) for none.
    pub fn new(parties: usize) -> Result<Self> {
        if parties == 0 {
            return Err(LoopError::InvalidArgument("a barrier needs at least one party").into());
        }
        Ok(Self {
            parties,
            state: Cell::new(State::Filling),
            count: Cell::new(0),
            waiters: WaitList::default(),
            bound: Bound::default(),
        })
    }

    /// Waits until as many are there as it has parties (asyncio: `wait`). All of them get a number of their own, from
    /// none up, in the order of their arrival; the last one does not wait.
    ///
    /// A waiter that is cancelled or dropped before that just leaves, and the others wait for one more.
    ///
    /// # Errors
    ///
    /// [`Error::BrokenBarrier`] after [`abort`](Self::abort), before or during the wait, and where
    /// [`reset`](Self::reset) is called during it. Where it has to wait:
    /// [`LoopError::NoRunningLoop`](crate::LoopError::NoRunningLoop) outside of a loop;
    /// [`LoopError::WrongLoop`](crate::LoopError::WrongLoop) where somebody has waited in another one.
    pub async fn wait(&self) -> Result<usize> {
        while matches!(self.state.get(), State::Draining | State::Resetting) {
            self.sleep().await?;
        }
        if self.broken() {
            return Err(Error::BrokenBarrier);
        }
        let _arrival = Arrival::at(self);
        if self.count.get() == self.parties {
            self.state.set(State::Draining);
            // Only those who arrived are asleep now: whoever waited before it was woken when it began to fill.
            self.waiters.wake_all();
            return Ok(self.parties - 1);
        }
        let index = self.sleep().await?;
        match self.state.get() {
            State::Broken | State::Resetting => Err(Error::BrokenBarrier),
            State::Filling | State::Draining => Ok(index),
        }
    }

    /// Sends everybody who waits home with [`Error::BrokenBarrier`] and begins anew, also after
    /// [`abort`](Self::abort) (asyncio: `reset`).
    pub fn reset(&self) {
        self.state.set(if self.count.get() > 0 { State::Resetting } else { State::Filling });
        self.waiters.wake_all();
    }

    /// Breaks it (asyncio: `abort`): whoever waits, and whoever comes, gets [`Error::BrokenBarrier`], until
    /// [`reset`](Self::reset).
    pub fn abort(&self) {
        self.state.set(State::Broken);
        self.waiters.wake_all();
    }

    /// How many it takes (asyncio: `parties`).
    #[must_use]
    pub fn parties(&self) -> usize {
        self.parties
    }

    /// How many have arrived, while it fills (asyncio: `n_waiting`).
    #[must_use]
    pub fn n_waiting(&self) -> usize {
        if self.state.get() == State::Filling { self.count.get() } else { 0 }
    }

    /// Whether it was aborted and not reset since (asyncio: `broken`).
    #[must_use]
    pub fn broken(&self) -> bool {
        self.state.get() == State::Broken
    }

    async fn sleep(&self) -> Result<usize> {
        self.bound.check()?;
        Ok(self.waiters.wait(|| ()).await)
    }
}

/// One who is counted, from the arrival on until it goes, on whatever way.
struct Arrival<'a>(&'a Barrier);

impl<'a> Arrival<'a> {
    fn at(barrier: &'a Barrier) -> Self {
        barrier.count.set(barrier.count.get() + 1);
        Self(barrier)
    }
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        let barrier = self.0;
        barrier.count.set(barrier.count.get() - 1);
        if barrier.count.get() > 0 {
            return;
        }
        if matches!(barrier.state.get(), State::Draining | State::Resetting) {
            barrier.state.set(State::Filling);
        }
        barrier.waiters.wake_all();
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.state.get() {
            State::Broken => f.write_str("<Barrier [broken]>"),
            state => {
                let state = format!("{state:?}").to_lowercase();
                write!(f, "<Barrier [{state}, waiters:{}/{}]>", self.n_waiting(), self.parties)
            }
        }
    }
}
