//! An event: something has happened, and all who wait for it go on.

use std::cell::Cell;
use std::fmt;

use loop_core::Result;

use super::bound::Bound;
use super::waiting::WaitList;

/// A flag that tasks wait for (asyncio: `Event`). It is unset at first.
///
/// ```
/// use std::rc::Rc;
/// use loop_api as asyncio;
///
/// asyncio::run(async {
///     let ready = Rc::new(asyncio::Event::new());
///     let sets = Rc::clone(&ready);
///     let _task = asyncio::create_task(async move { sets.set() })?;
///     ready.wait().await?;
///     assert!(ready.is_set());
///     Ok::<_, asyncio::Error>(())
/// })??;
/// # Ok::<(), loop_api::Error>(())
/// ```
#[derive(Default)]
pub struct Event {
    set: Cell<bool>,
    waiters: WaitList,
    bound: Bound,
}

impl Event {
    /// An event that is not set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the flag and wakes all who wait, in their order (asyncio: `set`). They go on even if the flag is cleared
    /// before they run.
    pub fn set(&self) {
        if !self.set.replace(true) {
            self.waiters.wake_all();
        }
    }

    /// Clears the flag, for the waits to come (asyncio: `clear`).
    pub fn clear(&self) {
        self.set.set(false);
    }

    /// Whether it is set (asyncio: `is_set`).
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.set.get()
    }

    /// Waits until the flag is set; at once where it is (asyncio: `wait`). It may be cancelled or dropped at any time.
    ///
    /// # Errors
    ///
    /// Only where it has to wait: [`LoopError::NoRunningLoop`](crate::LoopError::NoRunningLoop) outside of a loop;
    /// [`LoopError::WrongLoop`](crate::LoopError::WrongLoop) where somebody has waited for it in another one.
    pub async fn wait(&self) -> Result<()> {
        if !self.is_set() {
            self.bound.check()?;
            self.waiters.wait(|| ()).await;
        }
        Ok(())
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_set() { "set" } else { "unset" };
        match self.waiters.len() {
            0 => write!(f, "<Event [{state}]>"),
            waiters => write!(f, "<Event [{state}, waiters:{waiters}]>"),
        }
    }
}
