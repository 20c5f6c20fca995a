//! What `gather` and its like wait for: a task made of a coroutine, or the task or future that was given.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use loop_core::{Error, EventLoop, FutureRef, LoopTask, Result, TaskError};

/// Something to wait for that can be cancelled, and its outcome when it is done.
pub(crate) struct Child<F: Future> {
    handle: FutureRef,
    origin: Origin<F>,
}

enum Origin<F: Future> {
    /// A coroutine, which became a task.
    Made(LoopTask<F::Output>),
    /// A task or future: awaiting it once it is done gives what it holds.
    Given(Pin<Box<F>>),
}

impl<F: Future> Child<F> {
    pub(crate) fn handle(&self) -> &FutureRef {
        &self.handle
    }

    /// Whether it is a task that was made here, and nobody else's.
    pub(crate) fn is_made(&self) -> bool {
        matches!(self.origin, Origin::Made(_))
    }
}

impl<F: Future + 'static> Child<F> {
    /// Makes a task of a coroutine; takes a task or future of the loop as it is (asyncio: `ensure_future`).
    ///
    /// # Errors
    ///
    /// [`Error::Closed`]; [`Error::InvalidArgument`] where the future is of another loop.
    #[track_caller]
    pub(crate) fn new(event_loop: &EventLoop, future: F) -> Result<Self> {
        if FutureRef::is::<F>() {
            let mut future = Box::pin(future);
            if let Some(handle) = FutureRef::of(future.as_mut()) {
                if handle.get_loop().is_some_and(|its| its != *event_loop) {
                    return Err(Error::InvalidArgument("the tasks and futures must be of the running loop"));
                }
                return Ok(Self { handle, origin: Origin::Given(future) });
            }
            return Err(Error::InvalidArgument("what looks like a task or a future of a loop is neither"));
        }
        let task = event_loop.create_task(future)?;
        Ok(Self { handle: FutureRef::from(&task), origin: Origin::Made(task) })
    }

    /// Takes what it ended with.
    ///
    /// # Errors
    ///
    /// How a task that was made here failed. What was given has its own errors in its output.
    pub(crate) fn take(&mut self) -> Result<F::Output, TaskError> {
        match &mut self.origin {
            Origin::Made(task) => task.take_outcome(),
            Origin::Given(future) => match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(output) => Ok(output),
                Poll::Pending => Err(TaskError::NotReady),
            },
        }
    }
}
