//! What can go wrong in this crate, named for what the caller did.
//!
//! Calls that only the loop can refuse (the policy, `create_task`, `sleep`) answer with the loop's own
//! [`LoopError`]; everything that can fail in ways of its own answers with [`Error`]. A coroutine may use `?` on
//! either, whichever of [`Error`], [`TaskError`] and [`io::Error`] it returns itself.

use std::io;

use loop_core::{Error as LoopError, TaskError, Thrown};

/// What a call of this crate answers when it fails.
///
/// A cause has one place: a [`LoopError`] that only wraps a task's or the operating system's error becomes that variant
/// here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The loop refused.
    #[error(transparent)]
    Loop(LoopError),
    /// A future or a task that was awaited did not end with a value.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A [`Runner`](crate::Runner) is used after its `close`.
    #[error("the runner is closed")]
    RunnerClosed,
    /// A lock is released, or its condition used, that nobody holds (asyncio: `RuntimeError`).
    #[error("the lock is not held: acquire it first")]
    NotLocked,
    /// A bounded semaphore is released more often than it was acquired (asyncio: `ValueError`).
    #[error("the semaphore was released too many times")]
    TooManyReleases,
    /// A barrier was aborted, or reset while one waited (asyncio: `BrokenBarrierError`).
    #[error("the barrier is broken")]
    BrokenBarrier,
    /// `put_nowait` on a queue that is full (asyncio: `QueueFull`).
    #[error("the queue is full")]
    QueueFull,
    /// `get_nowait` on a queue that is empty (asyncio: `QueueEmpty`).
    #[error("the queue is empty")]
    QueueEmpty,
    /// The queue was shut down: nothing can be put, and nothing is left to be got (asyncio: `QueueShutDown`).
    #[error("the queue is shut down")]
    QueueShutDown,
    /// `task_done` more often than items were put (asyncio: `ValueError`).
    #[error("task_done was called too many times")]
    TooManyDone,
    /// Ctrl-C ended the main coroutine (Python: `KeyboardInterrupt`).
    #[error("interrupted")]
    Interrupted,
    /// The time passed first (asyncio: `TimeoutError`).
    #[error("timed out")]
    TimedOut,
    /// A task for a group that is over or ending.
    #[error("the task group is over, or ending: it takes no more tasks")]
    TaskGroupEnded,
    /// The stream ended before everything that was to be read had come (asyncio: `IncompleteReadError`).
    #[error("the stream ended after {} bytes {}", .partial.len(), expectation(*.expected))]
    IncompleteRead {
        /// What had come.
        partial: Vec<u8>,
        /// How much was to be read, where that was a count.
        expected: Option<usize>,
    },
    /// More than the reader's limit precedes the separator, or came without one (asyncio: `LimitOverrunError`). The
    /// bytes are still there, to be read otherwise.
    #[error("the separator is {}, and the bytes before it exceed the limit", if *.found { "found" } else { "not found" })]
    LimitOverrun {
        /// So many bytes can be read without touching a separator.
        consumed: usize,
        /// Whether the separator was found, right behind them.
        found: bool,
    },
    /// A line is longer than the reader's limit, and was dropped (asyncio: `ValueError`).
    #[error("a line is longer than the limit of {limit} bytes")]
    LineTooLong {
        /// The limit.
        limit: usize,
    },
}

/// `std::result::Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

fn expectation(expected: Option<usize>) -> String {
    expected.map_or_else(|| String::from("without the separator"), |expected| format!("of {expected}"))
}

impl Error {
    /// Whether this is a cancellation (`CancelledError`), which ordinary error handling should let through.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Task(TaskError::Cancelled(_)))
    }

    /// The operating system's error number, where there is one.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Io(error) => error.raw_os_error(),
            _ => None,
        }
    }
}

impl From<LoopError> for Error {
    fn from(error: LoopError) -> Self {
        match error {
            LoopError::Task(error) => Self::Task(error),
            LoopError::Io(error) => Self::Io(error),
            other => Self::Loop(other),
        }
    }
}

impl From<Thrown> for Error {
    fn from(thrown: Thrown) -> Self {
        Self::Loop(thrown.into())
    }
}

impl From<Error> for TaskError {
    fn from(error: Error) -> Self {
        match error {
            Error::Task(error) => error,
            Error::Loop(error) => error.into(),
            Error::Io(error) => error.into(),
            other => Self::failed(other),
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Io(error) => error,
            Error::TimedOut => Self::new(io::ErrorKind::TimedOut, error),
            Error::Interrupted => Self::new(io::ErrorKind::Interrupted, error),
            Error::IncompleteRead { .. } => Self::new(io::ErrorKind::UnexpectedEof, error),
            Error::LimitOverrun { .. } | Error::LineTooLong { .. } => Self::new(io::ErrorKind::InvalidData, error),
            other => Self::other(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_has_one_place() {
        let cancelled = || TaskError::from(loop_core::Cancelled::new());
        assert!(Error::from(LoopError::from(cancelled())).is_cancelled());
        let refused = || io::Error::from_raw_os_error(13);
        assert_eq!(Error::from(LoopError::from(refused())).raw_os_error(), Some(13));
        assert!(matches!(Error::from(LoopError::Closed), Error::Loop(LoopError::Closed)));
    }

    #[test]
    fn errors_pass_through_coroutines_that_return_other_types() {
        let task = |error: Error| -> Result<(), TaskError> { Err(error)? };
        assert!(task(Error::Task(loop_core::Cancelled::new().into())).unwrap_err().is_cancelled());
        let TaskError::Failed(failed) = task(Error::TimedOut).unwrap_err() else { panic!("wrapped as it is") };
        assert!(matches!(failed.downcast_ref(), Some(Error::TimedOut)));
        let io = |error: Error| -> io::Result<()> { Err(error)? };
        assert_eq!(io(Error::Io(io::Error::from_raw_os_error(13))).unwrap_err().raw_os_error(), Some(13));
        assert_eq!(io(Error::TimedOut).unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
