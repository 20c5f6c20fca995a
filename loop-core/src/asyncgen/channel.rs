//! What goes between a generator's body and whoever steps it: a value out, an answer in.
//!
//! Each way has room for one. The body is polled within a step only, so whatever it finds here was put there for it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::error::{Cancelled, TaskError};
use crate::shared_error::SharedError;

/// Why an `emit` failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Thrown {
    /// The generator is closed: no value is wanted any more (`GeneratorExit`). Clean up, with awaits, and end.
    #[error("GeneratorExit: the async generator is closed")]
    GeneratorExit,
    /// The error given to `athrow`.
    #[error(transparent)]
    Error(SharedError),
    /// The yielder was taken out of its generator's body, where nobody waits for a value.
    #[error("emit outside of the generator's own body")]
    Outside,
}

impl Thrown {
    /// Whether a body that failed with this error only let a `GeneratorExit` through.
    pub(super) fn is_exit(error: &TaskError) -> bool {
        let TaskError::Failed(error) = error else { return false };
        // However deep in errors of the program's own.
        let mut link: Option<&(dyn std::error::Error + 'static)> = Some(&**error);
        while let Some(error) = link {
            if let Some(thrown) = error.downcast_ref::<Self>() {
                return matches!(thrown, Self::GeneratorExit);
            }
            link = error.source();
        }
        false
    }
}

/// What a generator's body may end with: `()` or a `Result<(), E>`. An error that is a cancellation, as from the await of a
/// cancelled task, is one here too, and no failure.
pub trait GeneratorOutput {
    /// As a result.
    ///
    /// # Errors
    ///
    /// The body's own.
    fn into_result(self) -> Result<(), TaskError>;
}

impl GeneratorOutput for () {
    fn into_result(self) -> Result<(), TaskError> {
        Ok(())
    }
}

impl<E: Into<Box<dyn std::error::Error + Send + Sync>>> GeneratorOutput for Result<(), E> {
    fn into_result(self) -> Result<(), TaskError> {
        self.map_err(|error| {
            let error = error.into();
            match Cancelled::shown_by(&*error) {
                Some(cancelled) => TaskError::Cancelled(cancelled),
                None => TaskError::failed(error),
            }
        })
    }
}

pub(super) struct Channel<T, S> {
    pub(super) value: RefCell<Option<T>>,
    pub(super) answer: RefCell<Option<Result<S, Thrown>>>,
    /// The body is being polled.
    pub(super) active: Cell<bool>,
}

impl<T, S> Channel<T, S> {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self { value: RefCell::new(None), answer: RefCell::new(None), active: Cell::new(false) })
    }

    pub(super) fn take_value(&self) -> Option<T> {
        self.value.borrow_mut().take()
    }
}

/// A generator's way to give values.
pub struct Yielder<T, S = ()>(pub(super) Rc<Channel<T, S>>);

impl<T, S> Yielder<T, S> {
    /// Gives a value and suspends the generator (Python: `yield`). Resolves at the next step, to what was sent.
    ///
    /// Dropped before the value was fetched, it takes the value back.
    ///
    /// # Errors
    ///
    /// [`Thrown::GeneratorExit`] once the generator is closed: another value is not wanted, and giving one ends the
    /// body where it stands. What `athrow` was given. [`Thrown::Outside`] for a yielder that left its body.
    pub fn emit(&mut self, value: T) -> Emit<'_, T, S> {
        Emit { channel: &self.0, value: Some(value), given: false }
    }
}

impl<T, S> fmt::Debug for Yielder<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<Yielder>")
    }
}

/// The future of [`Yielder::emit`].
#[must_use = "futures do nothing unless awaited"]
pub struct Emit<'a, T, S = ()> {
    channel: &'a Channel<T, S>,
    value: Option<T>,
    given: bool,
}

// Nothing in it is pinned.
impl<T, S> Unpin for Emit<'_, T, S> {}

impl<T, S> Future for Emit<'_, T, S> {
    type Output = Result<S, Thrown>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.channel.active.get() {
            self.value = None;
            return Poll::Ready(Err(Thrown::Outside));
        }
        if let Some(value) = self.value.take() {
            *self.channel.value.borrow_mut() = Some(value);
            self.given = true;
            return Poll::Pending;
        }
        let answer = self.channel.answer.borrow_mut().take();
        match answer {
            Some(answer) => {
                self.given = false;
                Poll::Ready(answer)
            }
            // The step that fetches the value is yet to go on.
            None => Poll::Pending,
        }
    }
}

impl<T, S> Drop for Emit<'_, T, S> {
    fn drop(&mut self) {
        if std::mem::take(&mut self.given) {
            let value = self.channel.take_value();
            let answer = self.channel.answer.borrow_mut().take();
            drop((value, answer));
        }
    }
}

impl<T, S> fmt::Debug for Emit<'_, T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.given { "<Emit given>" } else { "<Emit>" })
    }
}
