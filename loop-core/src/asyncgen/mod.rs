//! Async generators: coroutines that give many values, and clean up with awaits however they end.
//!
//! A generator is an async block given a [`Yielder`], and runs only while it is stepped (I5). This is Rust's missing
//! async drop: a generator that is let go half-way does not lose the rest of its body, it hands it to its loop.
//!
//! * this file — [`AsyncGenerator`], what users hold and step it with;
//! * `channel` — what goes between a body and whoever steps it: [`Yielder`], [`Emit`], [`Thrown`];
//! * `body` — the suspended body, its state, and its end;
//! * `step` — one step, and what cancelling does to it;
//! * `registry` — the generators that a loop knows, the finaliser, and `shutdown_asyncgens`.
//!
//! # Every way out
//!
//! | what happens | what the body sees |
//! |---|---|
//! | `aclose`, or the last handle goes, or the loop shuts its generators down, at an `emit` | `emit` fails with [`Thrown::GeneratorExit`], and the body goes on to its end |
//! | the same, half-way through another await (its step was dropped) | a request to cancel, at that await |
//! | the task that awaits a step is cancelled | that request, at its innermost await |
//! | a step is dropped without a request (a `select`) | nothing: the next step goes on where this one was |
//!
//! A request is taken by [`catch_cancelled`](crate::catch_cancelled), after which the body may await its clean-up and
//! pass the request on, as Python's `try … finally` does. A body that does not take it is dropped, and the generator
//! is finished. The finaliser, which is the task that closes what was let go, passes no request on to the body: a
//! clean-up that has begun there is not cut short.
//!
//! Invariants: the body is in nobody's hands but the step's that polls it; it is polled, and dropped, outside of every
//! borrow (I2); a generator is in its loop's registry from its first step to its end.

mod body;
mod channel;
mod registry;
mod step;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::error::Result;
use crate::shared_error::SharedError;
use body::Owner;
pub use channel::{Emit, GeneratorOutput, Thrown, Yielder};
pub(crate) use registry::Registry;
use step::{Mode, Step};

/// Makes a generator of an async block that is given a [`Yielder`] (Python: an `async def` with `yield`). The function
/// is called here; what it returns does nothing until the first step.
///
/// The body ends with `()` or a `Result<(), E>`; its error reaches whoever steps the generator.
///
/// One that is sent values is made by [`AsyncGenerator::new`].
pub fn async_generator<T, F, B>(make: F) -> AsyncGenerator<T>
where
    T: 'static,
    F: FnOnce(Yielder<T>) -> B,
    B: Future + 'static,
    B::Output: GeneratorOutput,
{
    AsyncGenerator::new(make)
}

/// A generator of values `T` that is sent values `S` (Python: an asynchronous generator). Also a `Stream` of results.
///
/// Its loop is the one that runs at the first step. When it is dropped half-way, that loop closes it, in a task.
pub struct AsyncGenerator<T: 'static, S: 'static = ()> {
    owner: Owner<T, S>,
}

impl<T, S> AsyncGenerator<T, S> {
    /// [`async_generator`], for one that is sent values with [`asend`](Self::asend).
    pub fn new<F, B>(make: F) -> Self
    where
        F: FnOnce(Yielder<T, S>) -> B,
        B: Future + 'static,
        B::Output: GeneratorOutput,
    {
        Self { owner: Owner::new(make) }
    }

    /// The next value, `None` after the end (Python: `anext`). The body gets the default of what is sent.
    ///
    /// Dropping the future loses nothing: the next step goes on where it was. For cancelling, see the module.
    ///
    /// # Errors
    ///
    /// What the body failed with. [`Error::GeneratorRunning`](crate::Error::GeneratorRunning) while another step is under
    /// way; [`Error::NoRunningLoop`](crate::Error::NoRunningLoop); a step in another loop than the first's is refused with
    /// [`TaskError::WrongLoop`](crate::TaskError::WrongLoop). A panic of the body goes on in the caller.
    pub fn anext(&self) -> Anext<T, S>
    where
        S: Default,
    {
        Anext(Step::new(&self.owner, Mode::Next(Some(S::default()))))
    }

    /// Like [`anext`](Self::anext); the body's `emit` gives this value (Python: `asend`).
    ///
    /// # Errors
    ///
    /// Those of `anext`; [`Error::InvalidState`](crate::Error::InvalidState) where the body is not suspended at an `emit`.
    pub fn asend(&self, value: S) -> Anext<T, S> {
        Anext(Step::new(&self.owner, Mode::Send(Some(value))))
    }

    /// Like [`anext`](Self::anext); the body's `emit` fails with this error (Python: `athrow`). A generator that was
    /// not started fails with it and is finished.
    ///
    /// # Errors
    ///
    /// Those of `asend`.
    pub fn athrow(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Anext<T, S> {
        Anext(Step::new(&self.owner, Mode::Throw(Some(SharedError::new(error)))))
    }

    /// Ends the generator and waits for its clean-up (Python: `aclose`). One that was never stepped, or has ended, needs
    /// none.
    ///
    /// # Errors
    ///
    /// What the body failed with; [`Error::IgnoredGeneratorExit`](crate::Error::IgnoredGeneratorExit) where it emitted
    /// another value, whereupon it is dropped; those of `anext`.
    pub fn aclose(&self) -> Aclose<T, S> {
        Aclose(Step::new(&self.owner, Mode::Close))
    }
}

impl<T, S: Default> Stream for AsyncGenerator<T, S> {
    type Item = Result<T>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        // A step that is dropped loses nothing, so none is kept between polls.
        self.anext().0.poll_step(context).map(Result::transpose)
    }
}

impl<T, S> fmt::Debug for AsyncGenerator<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.owner.fmt(f)
    }
}

/// One step: the future of [`AsyncGenerator::anext`], `asend` and `athrow`.
#[must_use = "futures do nothing unless awaited"]
pub struct Anext<T: 'static, S: 'static = ()>(Step<T, S>);

impl<T, S> Future for Anext<T, S> {
    type Output = Result<Option<T>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_step(context)
    }
}

impl<T, S> fmt::Debug for Anext<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The last step: the future of [`AsyncGenerator::aclose`].
#[must_use = "futures do nothing unless awaited"]
pub struct Aclose<T: 'static, S: 'static = ()>(Step<T, S>);

impl<T, S> Future for Aclose<T, S> {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_step(context).map(|ended| ended.map(drop))
    }
}

impl<T, S> fmt::Debug for Aclose<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
