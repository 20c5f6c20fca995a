//! One step of a generator, from an `emit` to the next one or to the end, and what a request to cancel does to it.
//!
//! A step is a scope for the requests that it makes itself, to close a body that is suspended at another await than an
//! `emit`; the requests of others it leaves to the body, and outward to whoever awaits it. A body that has not taken a
//! request when it suspends is dropped.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::{Context, Poll};

use super::body::{Owner, State};
use super::channel::Thrown;
use crate::cancellation;
use crate::error::{Cancelled, Error, Result, TaskError};
use crate::shared_error::SharedError;

pub(super) enum Mode<S> {
    Next(Option<S>),
    Send(Option<S>),
    Throw(Option<SharedError>),
    Close,
    /// By the loop: requests to cancel do not reach the body.
    Finalise,
}

pub(super) struct Step<T: 'static, S: 'static> {
    owner: Owner<T, S>,
    mode: Mode<S>,
    phase: Phase,
    /// The body is to be given a request of ours.
    deliver: bool,
    /// The body took a request that was not ours: it may pass it on.
    took: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    New,
    UnderWay,
    Over,
}

/// How a step begins.
enum Begin<T> {
    Go,
    Ready(Result<Option<T>>),
}

const NOT_AT_EMIT: Error =
    Error::InvalidState("the generator is not suspended at an emit, so nothing can be sent or thrown: use anext");

impl<T: 'static, S: 'static> Step<T, S> {
    pub(super) fn new(owner: &Owner<T, S>, mode: Mode<S>) -> Self {
        Self { owner: Owner::of(&owner.0), mode, phase: Phase::New, deliver: false, took: false }
    }

    pub(super) fn owner(&self) -> &Owner<T, S> {
        &self.owner
    }

    fn closing(&self) -> bool {
        matches!(self.mode, Mode::Close | Mode::Finalise)
    }

    fn begin(&mut self) -> Begin<T> {
        let generator = &self.owner.0;
        if generator.state.get() == State::Ended {
            return Begin::Ready(Ok(None));
        }
        if generator.stepping.get() {
            return Begin::Ready(Err(Error::GeneratorRunning));
        }
        let state = generator.state.get();
        match (&mut self.mode, state) {
            (Mode::Close | Mode::Finalise, State::Fresh) => {
                generator.end(None);
                return Begin::Ready(Ok(None));
            }
            (Mode::Throw(error), State::Fresh) => {
                let failure = error.take().map(TaskError::Failed);
                generator.end(None);
                return Begin::Ready(failure.map_or(Ok(None), |error| Err(error.into())));
            }
            (Mode::Send(_), State::Fresh) | (Mode::Send(_) | Mode::Throw(_), State::Between) => {
                return Begin::Ready(Err(NOT_AT_EMIT));
            }
            _ => {}
        }
        if let Err(error) = generator.enter() {
            return Begin::Ready(Err(error));
        }
        if state == State::AtEmit {
            // A value that an earlier step withheld.
            let withheld = generator.channel.value.borrow().is_some();
            let answer = match &mut self.mode {
                Mode::Next(_) if withheld => return Begin::Ready(Ok(generator.channel.take_value())),
                Mode::Send(_) | Mode::Throw(_) if withheld => return Begin::Ready(Err(NOT_AT_EMIT)),
                Mode::Next(value) | Mode::Send(value) => value.take().map(Ok),
                Mode::Throw(error) => error.take().map(|error| Err(Thrown::Error(error))),
                Mode::Close | Mode::Finalise => Some(Err(Thrown::GeneratorExit)),
            };
            let unwanted = generator.channel.take_value();
            *generator.channel.answer.borrow_mut() = answer;
            drop(unwanted);
        }
        self.deliver = state == State::Between && self.closing();
        generator.stepping.set(true);
        Begin::Go
    }

    pub(super) fn poll_step(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<T>>> {
        match self.phase {
            Phase::New => match self.begin() {
                Begin::Ready(ready) => {
                    self.phase = Phase::Over;
                    return Poll::Ready(ready);
                }
                Begin::Go => self.phase = Phase::UnderWay,
            },
            Phase::UnderWay => {}
            Phase::Over => return Poll::Pending,
        }
        let polled = self.go_on(context);
        if polled.is_ready() {
            self.phase = Phase::Over;
        }
        polled
    }

    fn go_on(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<T>>> {
        let generator = &self.owner.0;
        // It may have been dropped at a request that somebody beside this took, or with its loop.
        if generator.state.get() == State::Ended {
            return Poll::Ready(Ok(None));
        }
        if generator.state.get() == State::AtEmit && generator.channel.value.borrow().is_some() {
            return self.hand_over(true, context);
        }
        let had_suspended = generator.state.get() == State::Between;
        if matches!(self.mode, Mode::Finalise) {
            // Nobody's request cuts a clean-up short that nobody else would do.
            drop(cancellation::take());
        }
        let standing = cancellation::is_pending();
        let mut ours = false;
        if self.deliver {
            if cancellation::is_fresh() {
                // The task's request to itself comes first, in the next step, and is as good as ours.
                return cancellation::withhold(context);
            }
            self.deliver = false;
            if !standing {
                cancellation::raise(&Cancelled::with_message("the async generator is closed"));
                ours = cancellation::is_pending();
                if !ours {
                    // Not in a task: there is nobody to make a request to.
                    generator.end(None);
                    return Poll::Ready(Ok(None));
                }
            }
        }
        let Some(mut body) = generator.take_body() else { return Poll::Ready(Err(Error::GeneratorRunning)) };
        generator.state.set(State::Between);
        let polled = catch_unwind(AssertUnwindSafe(|| generator.poll_body(&mut body, context)));
        match polled {
            Err(payload) => {
                self.retract(ours);
                generator.end(Some(body));
                resume_unwind(payload);
            }
            Ok(Poll::Ready(outcome)) => {
                self.retract(ours);
                generator.end(Some(body));
                match outcome {
                    Err(error) if self.closing() && Thrown::is_exit(&error) => Poll::Ready(Ok(None)),
                    outcome => Poll::Ready(outcome.map(|()| None).map_err(Error::from)),
                }
            }
            Ok(Poll::Pending) if generator.channel.value.borrow().is_some() => {
                if self.closing() {
                    self.retract(ours);
                    generator.end(Some(body));
                    return Poll::Ready(Err(Error::IgnoredGeneratorExit));
                }
                generator.put_body(body);
                generator.state.set(State::AtEmit);
                self.hand_over(had_suspended, context)
            }
            Ok(Poll::Pending) if cancellation::is_pending() => {
                // Nobody in the body took the request, or it passed one on.
                generator.end(Some(body));
                if self.closing() && !standing && !self.took {
                    drop(cancellation::take());
                    return Poll::Ready(Ok(None));
                }
                cancellation::withhold(context)
            }
            Ok(Poll::Pending) => {
                self.took |= standing;
                generator.put_body(body);
                Poll::Pending
            }
        }
    }

    /// The value that the body gave; a step that had suspended keeps it back while a request stands.
    fn hand_over(&self, had_suspended: bool, context: &Context<'_>) -> Poll<Result<Option<T>>> {
        if had_suspended && cancellation::is_pending() {
            return cancellation::withhold(context);
        }
        self.owner.0.stepping.set(false);
        Poll::Ready(Ok(self.owner.0.channel.take_value()))
    }

    /// A request of ours that nobody took is gone with the body.
    fn retract(&self, ours: bool) {
        if ours && !self.took {
            drop(cancellation::take());
        }
    }
}

impl<T, S> Drop for Step<T, S> {
    fn drop(&mut self) {
        let generator = &self.owner.0;
        if self.phase == Phase::UnderWay && generator.state.get() != State::Ended {
            generator.stepping.set(false);
        }
    }
}

// Nothing in it is pinned.
impl<T, S> Unpin for Step<T, S> {}

impl<T, S> fmt::Debug for Step<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Step of {:?}>", self.owner)
    }
}
