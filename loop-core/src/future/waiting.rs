//! A future that waits for another thread's work, and is told when that is done.

use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use crate::counted::Counted;
use crate::error::TaskError;
use crate::future::loop_future::{FutureCell, LoopFuture};

/// A future, of whatever, that waits for another thread's work.
pub(crate) struct Waiting {
    /// Held.
    cell: NonNull<()>,
    /// Lets go of it, after delivering to it if the work is done.
    end: unsafe fn(NonNull<()>, bool),
}

impl Waiting {
    /// The work is done.
    pub(crate) fn deliver(self) {
        let this = ManuallyDrop::new(self);
        // SAFETY: the function is made for the cell, which is held, and let go of once.
        unsafe { (this.end)(this.cell, true) };
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { (self.end)(self.cell, false) };
    }
}

impl<T: 'static> FutureCell<T> {
    /// # Safety
    ///
    /// The pointer is from `Counted::into_raw` of this type, and is not used again.
    unsafe fn end(cell: NonNull<()>, is_done: bool) {
        // SAFETY: the caller's.
        let future = LoopFuture::<T>::of_cell(unsafe { Counted::from_raw(cell) });
        if is_done {
            future.deliver();
        }
    }
}

impl<T: 'static> LoopFuture<T> {
    pub(crate) fn waiting(&self) -> Waiting {
        Waiting { cell: Counted::clone(&self.counted()).into_raw(), end: FutureCell::<T>::end }
    }

    fn deliver(self) {
        let outcome = self.cell().thread.take().and_then(|thread| thread.take_for_loop());
        // Where it was cancelled meanwhile, the outcome is dropped.
        let _ = match outcome {
            Some(Ok(value)) => self.set_result(value),
            Some(Err(TaskError::Cancelled(cancelled))) => {
                self.cancel_with(cancelled.message());
                Ok(())
            }
            Some(Err(error)) => self.set_exception(error),
            None => Ok(()),
        };
    }
}
