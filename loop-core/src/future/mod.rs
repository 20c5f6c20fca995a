//! Futures of the loop: a result that somebody sets and anybody awaits (asyncio: `Future`).
//!
//! * this file: the trait [`Future`], which tasks implement too;
//! * `loop_future` — [`LoopFuture`], and awaiting it;
//! * `state` — what it has come to;
//! * `waiting` — one that waits for another thread's work.

mod loop_future;
mod state;
mod waiting;

use crate::error::{Result, TaskError};
use crate::event_loop::EventLoop;
use crate::waiters::CallbackId;

pub use loop_future::LoopFuture;
pub(crate) use loop_future::Shared;
pub(crate) use waiting::Waiting;

/// asyncio's future, also a [`std::future::Future`].
///
/// [`LoopFuture`] and [`LoopTask`](crate::LoopTask) implement it.
pub trait Future: std::future::Future<Output = Result<<Self as Future>::Value, TaskError>> {
    /// What it gives.
    type Value;

    /// Whether it has an outcome: a value, an error or a cancellation.
    fn done(&self) -> bool;

    /// Whether its outcome is a cancellation.
    fn cancelled(&self) -> bool;

    /// Cancels it; false where it is done already.
    fn cancel(&self) -> bool {
        self.cancel_with(None)
    }

    /// Cancels it with a message; false where it is done already.
    fn cancel_with(&self, message: Option<&str>) -> bool;

    /// A clone of the value, any number of times.
    ///
    /// # Errors
    ///
    /// [`TaskError::NotReady`] while it is pending; its own error where it has one.
    fn result(&self) -> Result<Self::Value, TaskError>
    where
        Self::Value: Clone;

    /// Its error, or none where it has a value.
    ///
    /// # Errors
    ///
    /// [`TaskError::NotReady`] while it is pending; [`TaskError::Cancelled`] where it was cancelled.
    fn exception(&self) -> Result<Option<TaskError>, TaskError>;

    /// Gives it its value.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidState`](crate::Error::InvalidState) where it is done already, or is a task;
    /// [`Error::Closed`](crate::Error::Closed) where it has callbacks and
    /// its loop is closed: the value is set then all the same.
    fn set_result(&self, value: Self::Value) -> Result<()>;

    /// Gives it an error.
    ///
    /// # Errors
    ///
    /// As for [`set_result`](Future::set_result).
    fn set_exception(&self, error: TaskError) -> Result<()>;

    /// Calls a function with it when it is done, through the ready queue, in the context that is current now.
    fn add_done_callback(&self, function: Box<dyn FnOnce(&Self)>) -> CallbackId;

    /// Takes a callback off; true where it was still there.
    fn remove_done_callback(&self, id: CallbackId) -> bool;

    /// The loop it belongs to, unless that is gone.
    fn get_loop(&self) -> Option<EventLoop>;
}
