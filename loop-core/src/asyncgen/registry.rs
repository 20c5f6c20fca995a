//! The generators that a loop knows, from their first step to their end, and how it ends them.
//!
//! The registry keeps none alive. One that its last owner let go half-way gets a *finaliser*: a task that closes it and
//! reports what goes wrong. A finaliser that is dropped before its time lets the generator go in its turn, and so gets a
//! successor, until the loop is closed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use super::body::{Generator, Owner, State};
use super::step::{Mode, Step};
use crate::error::Panicked;
use crate::event_loop::EventLoop;
use crate::exception::{ExceptionContext, Finally, is_fatal};
use crate::inner::Inner;
use crate::task::TaskRef;

/// A generator of whatever type, that was stepped and is not at its end.
pub(super) trait Open {
    /// Has it closed by a task, unless one does already.
    fn finalise(self: Rc<Self>, inner: &Rc<Inner>);
    /// Ready when it is at its end, or no finaliser is under way.
    fn poll_closed(&self, context: &Context<'_>) -> Poll<()>;
    /// Drops the body where it is.
    fn abandon(&self);
    fn describe(&self) -> String;
}

#[derive(Default)]
pub(crate) struct Registry {
    /// In the order of their first steps.
    open: RefCell<BTreeMap<u64, Weak<dyn Open>>>,
    next: Cell<u64>,
    /// `shutdown_asyncgens` was called.
    shut_down: Cell<bool>,
}

impl Registry {
    pub(super) fn add(&self, inner: &Inner, generator: Weak<dyn Open>, what: &dyn fmt::Debug) -> u64 {
        if self.shut_down.get() {
            tracing::warn!(
                backend = inner.backend_name,
                "asynchronous generator {what:?} was scheduled after loop.shutdown_asyncgens() call"
            );
        }
        let place = self.next.get();
        self.next.set(place + 1);
        self.open.borrow_mut().insert(place, generator);
        place
    }

    pub(super) fn remove(&self, place: u64) {
        let removed = self.open.borrow_mut().remove(&place);
        drop(removed);
    }

    fn take(&self) -> Vec<Rc<dyn Open>> {
        self.open.take().into_values().filter_map(|generator| generator.upgrade()).collect()
    }

    /// The loop closes: what is open loses its body, and its clean-up, which is reported.
    pub(crate) fn close(&self, finally: &mut Finally<'_>) {
        for generator in self.take() {
            let message = "asynchronous generator was destroyed but it is not closed: call shutdown_asyncgens first";
            finally.report(&ExceptionContext::new(message).detail("asyncgen", Text(generator.describe())));
            finally.run(
                || generator.abandon(),
                || ExceptionContext::new("Exception in the destructor of an asynchronous generator"),
            );
            finally.dispose(generator);
        }
    }
}

/// Shown as it is.
struct Text(String);

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Queues a finaliser.
pub(super) fn schedule<T: 'static, S: 'static>(inner: &Rc<Inner>, generator: &Rc<Generator<T, S>>) {
    let finaliser = Finaliser { step: Step::new(&Owner::of(generator), Mode::Finalise) };
    let task = inner.new_task(finaliser, false, Location::caller());
    // SAFETY: fresh, held by the loop, and this is the loop's thread: generators never leave it.
    unsafe { crate::task::schedule(task) };
    drop(TaskRef::adopt(task));
}

/// Closes a generator on behalf of its loop.
struct Finaliser<T: 'static, S: 'static> {
    step: Step<T, S>,
}

impl<T, S> Future for Finaliser<T, S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let failure: Box<dyn std::error::Error + Send + Sync> =
            match catch_unwind(AssertUnwindSafe(|| self.step.poll_step(context))) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(Ok(_))) => return Poll::Ready(()),
                Ok(Poll::Ready(Err(error))) if error.is_cancelled() => return Poll::Ready(()),
                Ok(Poll::Ready(Err(error))) => error.into(),
                Err(payload) if is_fatal(&*payload) => resume_unwind(payload),
                Err(payload) => Panicked::new(payload).into(),
            };
        let generator = &self.step.owner().0;
        if let Some(inner) = generator.home() {
            let message = format!("an error occurred during closing of asynchronous generator {generator:?}");
            inner.report(&ExceptionContext::new(message).exception(failure).detail("asyncgen", generator));
        }
        Poll::Ready(())
    }
}

impl<T, S> Drop for Finaliser<T, S> {
    fn drop(&mut self) {
        let generator = &self.step.owner().0;
        if generator.state.get() != State::Ended {
            generator.finalising.set(false);
            generator.wake_waiting();
        }
    }
}

impl EventLoop {
    /// Closes every generator that was stepped on this loop and is not at its end, all at once, and waits for their
    /// clean-up (asyncio: `shutdown_asyncgens`). What fails is reported to the exception handler. From then on, a new
    /// generator's first step is warned of. `run` does this by itself.
    ///
    /// Cancelling the wait leaves the closing to go on.
    pub fn shutdown_asyncgens(&self) -> impl Future<Output = ()> + use<> {
        let inner = Rc::clone(&self.inner);
        async move {
            inner.asyncgens.shut_down.set(true);
            let open = inner.asyncgens.take();
            for generator in &open {
                Rc::clone(generator).finalise(&inner);
            }
            for generator in open {
                poll_fn(|context| generator.poll_closed(context)).await;
            }
        }
    }
}
