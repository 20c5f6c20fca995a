//! A coroutine whose every step runs in an explicit context, whatever task drives it.
//!
//! `run_until_complete` drives a coroutine in a context of its own; the runs of a runner share one. The coroutine's
//! destructors run in it too.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

use loop_core::Context;

use super::interrupt::State;

pub(super) struct InContext<F> {
    context: Context,
    /// Told of every step, so that it knows whom to cancel.
    interrupts: Rc<State>,
    /// None once it is being dropped.
    coroutine: Option<Pin<Box<F>>>,
}

impl<F> InContext<F> {
    pub(super) fn new(context: &Context, interrupts: Rc<State>, coroutine: F) -> Self {
        Self { context: context.clone(), interrupts, coroutine: Some(Box::pin(coroutine)) }
    }
}

impl<F: Future> Future for InContext<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<F::Output> {
        self.interrupts.begins();
        let Self { context, coroutine: Some(coroutine), .. } = &mut *self else { return Poll::Pending };
        context.run(|| coroutine.as_mut().poll(task))
    }
}

impl<F> Drop for InContext<F> {
    fn drop(&mut self) {
        let coroutine = self.coroutine.take();
        self.context.run(|| drop(coroutine));
    }
}
