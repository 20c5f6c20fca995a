//! A generator's body between steps, its state, and its owners.
//!
//! The handle and the steps under way own it, by count. When the last owner goes and the body is not at its end, the
//! loop becomes its owner: a finaliser.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use super::channel::{Channel, GeneratorOutput, Yielder};
use super::registry::{self, Open};
use crate::error::{Error, Result, TaskError};
use crate::inner::Inner;
use crate::running::with_running;

type Body = Pin<Box<dyn Future<Output = Result<(), TaskError>>>>;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Not stepped yet.
    Fresh,
    /// Suspended at an `emit`.
    AtEmit,
    /// Suspended at another await, or being polled.
    Between,
    Ended,
}

pub(super) struct Generator<T, S> {
    pub(super) channel: Rc<Channel<T, S>>,
    pub(super) state: Cell<State>,
    /// A step is under way.
    pub(super) stepping: Cell<bool>,
    /// A finaliser is under way, or queued.
    pub(super) finalising: Cell<bool>,
    /// None while it is polled, and at the end.
    body: RefCell<Option<Body>>,
    owners: Cell<usize>,
    home: RefCell<Option<(Weak<Inner>, u64)>>,
    /// Who waits for the end.
    waiting: RefCell<Vec<Waker>>,
    name: &'static str,
}

impl<T: 'static, S: 'static> Generator<T, S> {
    pub(super) fn home(&self) -> Option<Rc<Inner>> {
        self.home.borrow().as_ref()?.0.upgrade()
    }

    /// Checks that the loop that runs is the generator's; makes it so at the first step.
    pub(super) fn enter(self: &Rc<Self>) -> Result<()> {
        let running = with_running(|running| running.map(Rc::clone)).ok_or(Error::NoRunningLoop)?;
        if let Some((home, _)) = &*self.home.borrow() {
            let same = std::ptr::eq(home.as_ptr(), Rc::as_ptr(&running));
            return if same { Ok(()) } else { Err(TaskError::WrongLoop.into()) };
        }
        let place = running.asyncgens.add(&running, Rc::downgrade(self) as Weak<dyn Open>, self);
        *self.home.borrow_mut() = Some((Rc::downgrade(&running), place));
        Ok(())
    }

    pub(super) fn take_body(&self) -> Option<Body> {
        self.body.borrow_mut().take()
    }

    pub(super) fn put_body(&self, body: Body) {
        *self.body.borrow_mut() = Some(body);
    }

    /// Polls the body, which is in the caller's hands meanwhile.
    pub(super) fn poll_body(&self, body: &mut Body, context: &mut Context<'_>) -> Poll<Result<(), TaskError>> {
        struct Active<'a>(&'a Cell<bool>);
        impl Drop for Active<'_> {
            fn drop(&mut self) {
                self.0.set(false);
            }
        }
        self.channel.active.set(true);
        let _active = Active(&self.channel.active);
        body.as_mut().poll(context)
    }

    /// The end: the loop forgets it, what waits for it is woken, and the body, given or at rest, is dropped.
    pub(super) fn end(&self, body: Option<Body>) {
        self.state.set(State::Ended);
        self.stepping.set(false);
        let home = self.home.borrow().as_ref().and_then(|(home, place)| Some((home.upgrade()?, *place)));
        if let Some((inner, place)) = home {
            inner.asyncgens.remove(place);
        }
        self.finalising.set(false);
        let rest = self.take_body();
        // Woken also where a destructor unwinds.
        let _tell = Tell(self);
        drop(body);
        drop(rest);
        let value = self.channel.take_value();
        drop(value);
        let answer = self.channel.answer.borrow_mut().take();
        drop(answer);
    }

    pub(super) fn wake_waiting(&self) {
        for waker in self.waiting.take() {
            waker.wake();
        }
    }
}

struct Tell<'a, T: 'static, S: 'static>(&'a Generator<T, S>);

impl<T, S> Drop for Tell<'_, T, S> {
    fn drop(&mut self) {
        self.0.wake_waiting();
    }
}

impl<T: 'static, S: 'static> Open for Generator<T, S> {
    fn finalise(self: Rc<Self>, inner: &Rc<Inner>) {
        if self.finalising.replace(true) {
            return;
        }
        registry::schedule(inner, &self);
    }

    fn poll_closed(&self, context: &Context<'_>) -> Poll<()> {
        if self.state.get() == State::Ended || !self.finalising.get() {
            return Poll::Ready(());
        }
        let waker = context.waker().clone();
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|other| other.will_wake(&waker)) {
            waiting.push(waker);
        }
        Poll::Pending
    }

    fn abandon(&self) {
        self.end(None);
    }

    fn describe(&self) -> String {
        format!("{self:?}")
    }
}

impl<T, S> fmt::Debug for Generator<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state.get() {
            State::Fresh => "not started",
            State::AtEmit => "suspended",
            State::Between => "awaiting",
            State::Ended => "finished",
        };
        write!(f, "<AsyncGenerator {state} body={}>", self.name)
    }
}

/// One of those that keep a generator from being finalised.
pub(super) struct Owner<T: 'static, S: 'static>(pub(super) Rc<Generator<T, S>>);

impl<T, S> Owner<T, S> {
    pub(super) fn new<F, B>(make: F) -> Self
    where
        F: FnOnce(Yielder<T, S>) -> B,
        B: Future + 'static,
        B::Output: GeneratorOutput,
    {
        let channel = Channel::new();
        let body = make(Yielder(Rc::clone(&channel)));
        let body: Body = Box::pin(async move { body.await.into_result() });
        Self(Rc::new(Generator {
            channel,
            state: Cell::new(State::Fresh),
            stepping: Cell::new(false),
            finalising: Cell::new(false),
            body: RefCell::new(Some(body)),
            owners: Cell::new(1),
            home: RefCell::new(None),
            waiting: RefCell::default(),
            name: std::any::type_name::<B>(),
        }))
    }

    pub(super) fn of(generator: &Rc<Generator<T, S>>) -> Self {
        generator.owners.set(generator.owners.get() + 1);
        Self(Rc::clone(generator))
    }
}

impl<T, S> Drop for Owner<T, S> {
    fn drop(&mut self) {
        let generator = &self.0;
        generator.owners.set(generator.owners.get() - 1);
        let state = generator.state.get();
        if generator.owners.get() > 0 || matches!(state, State::Fresh | State::Ended) {
            return;
        }
        match generator.home() {
            Some(inner) if !inner.closed.get() => Rc::clone(generator).finalise(&inner),
            _ => generator.end(None),
        }
    }
}

impl<T, S> fmt::Debug for Owner<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
