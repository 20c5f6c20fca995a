//! A deadline around an await: its timer, its request to cancel, and the count of those of others.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use loop_core::{Cancelled, Error as LoopError, Limit, Sleep, cancellation};

use super::Limited;
use crate::error::Result;
use crate::policy::get_running_loop;

/// What a limited future and its [`Timeout`] have between them.
pub struct Scope {
    /// On the loop's clock.
    when: Cell<Option<Duration>>,
    state: Cell<State>,
    /// The task's count of requests at the beginning: what is beyond is to be told apart.
    before: Cell<u32>,
    sleep: RefCell<Option<Sleep>>,
    /// Whom to wake when the deadline is moved from elsewhere; kept only where somebody could.
    waker: Option<RefCell<Option<Waker>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Created,
    Active,
    /// The time is over, what is inside was told.
    Expiring,
    Expired,
    Left,
}

impl Scope {
    /// # Errors
    ///
    /// [`LoopError::NoRunningLoop`]: the delay counts on its clock.
    pub(super) fn after(limit: Option<Duration>) -> Result<Self> {
        let now = get_running_loop()?.time();
        Ok(Self::until(limit.map(|limit| now.saturating_add(limit))))
    }

    pub(super) fn until(when: Option<Duration>) -> Self {
        Self {
            when: Cell::new(when),
            state: Cell::new(State::Created),
            before: Cell::new(0),
            sleep: RefCell::default(),
            waker: None,
        }
    }

    pub(super) fn enter(&self) -> Result<()> {
        if self.state.get() != State::Created {
            return Err(LoopError::InvalidState("a timeout can be entered once").into());
        }
        get_running_loop()?;
        if !cancellation::in_task() {
            return Err(LoopError::InvalidState("a timeout has to be used inside a task").into());
        }
        self.before.set(cancellation::cancelling());
        self.state.set(State::Active);
        Ok(())
    }

    /// Before what is inside is polled: makes the request when the time is over.
    pub(super) fn interrupt_if_due(&self) {
        let due = self.sleep.borrow().as_ref().is_some_and(Sleep::is_elapsed);
        if due && self.state.get() == State::Active && cancellation::interrupt() {
            self.state.set(State::Expiring);
            self.disarm();
        }
    }

    /// The time is over, and what is inside was told.
    pub(super) fn is_expiring(&self) -> bool {
        self.state.get() == State::Expiring
    }

    /// After what is inside stayed pending: the request, if it is the scope's turn to take it.
    pub(super) fn interrupted(&self) -> Option<Cancelled> {
        self.is_expiring().then(cancellation::take).flatten()
    }

    /// Sets the timer, if there is one to set.
    pub(super) fn arm(&self, context: &mut Context<'_>) {
        if self.state.get() != State::Active {
            return;
        }
        if let Some(place) = &self.waker
            && !place.borrow().as_ref().is_some_and(|waker| waker.will_wake(context.waker()))
        {
            let old = place.replace(Some(context.waker().clone()));
            drop(old);
        }
        let Some(when) = self.when.get() else { return };
        if self.sleep.borrow().is_none() {
            // Entered, so a loop runs.
            let Ok(event_loop) = get_running_loop() else { return };
            self.sleep.replace(Some(event_loop.sleep_until(when)));
        }
        // Not borrowed while it is polled: what it does to a waker is somebody else's code.
        let sleep = self.sleep.take();
        if let Some(mut sleep) = sleep {
            if let Poll::Ready(()) = Pin::new(&mut sleep).poll(context) {
                context.waker().wake_by_ref();
            }
            // Unless that moved the deadline.
            if self.when.get() == Some(when) {
                self.sleep.replace(Some(sleep));
            }
        }
    }

    fn disarm(&self) {
        let sleep = self.sleep.take();
        drop(sleep);
    }

    /// What is inside has ended. True where the time is over and nobody else asked for the end: then the request is gone as
    /// if it had never been.
    pub(super) fn leave(&self) -> bool {
        self.disarm();
        if self.state.get() != State::Expiring {
            self.state.set(State::Left);
            return false;
        }
        self.state.set(State::Expired);
        let ours_alone = cancellation::cancelling() <= self.before.get();
        if ours_alone {
            // What still stands was ours.
            _ = cancellation::take();
        }
        ours_alone
    }

    fn expired(&self) -> bool {
        matches!(self.state.get(), State::Expiring | State::Expired)
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Timeout [{:?}]", self.state.get())?;
        match self.when.get() {
            Some(when) => write!(f, " when={:.3}>", when.as_secs_f64()),
            None => f.write_str(" when=None>"),
        }
    }
}

/// A time limit that can be moved, and asked whether it passed (asyncio: `Timeout`). Clones stand for the same limit.
///
/// ```
/// use std::time::Duration;
/// use loop_api::{Timeout, get_running_loop, sleep};
///
/// # fn main() -> loop_api::Result<()> {
/// # loop_api::run(async {
/// let limit = Timeout::new(0.001)?;
/// let moved = limit.clone();
/// let work = async move {
///     // More time, as there is something to do.
///     moved.reschedule(get_running_loop()?.time() + Duration::from_secs(3600))?;
///     sleep(0.002).await?;
///     Ok::<_, loop_api::Error>("done")
/// };
/// assert_eq!(limit.run(work).await??, "done");
/// assert!(!limit.expired());
/// # Ok::<_, loop_api::Error>(())
/// # })?
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Timeout(Rc<Scope>);

impl Timeout {
    /// A limit so long from now on, or none (asyncio: `timeout`).
    ///
    /// # Errors
    ///
    /// [`LoopError::InvalidArgument`](crate::LoopError::InvalidArgument) for what is not a number;
    /// [`LoopError::NoRunningLoop`](crate::LoopError::NoRunningLoop).
    pub fn new(limit: impl Limit) -> Result<Self> {
        Ok(Self::shared(Scope::after(limit.into_limit()?)?))
    }

    /// A limit at a time on the loop's clock, or none (asyncio: `timeout_at`).
    ///
    /// # Errors
    ///
    /// [`LoopError::InvalidArgument`](crate::LoopError::InvalidArgument) for what is not a number.
    pub fn at(when: impl Limit) -> Result<Self> {
        Ok(Self::shared(Scope::until(when.into_limit()?)))
    }

    fn shared(mut scope: Scope) -> Self {
        scope.waker = Some(RefCell::default());
        Self(Rc::new(scope))
    }

    /// Bounds a future, as [`timeout`](super::timeout) does.
    ///
    /// # Errors
    ///
    /// The await gives those of [`timeout`](super::timeout), and
    /// [`LoopError::InvalidState`](crate::LoopError::InvalidState) where this limit was used already.
    pub fn run<F: IntoFuture>(&self, future: F) -> Limited<F::IntoFuture, Rc<Scope>> {
        Limited::new(Ok(Rc::clone(&self.0)), future.into_future())
    }

    /// The deadline on the loop's clock, or none.
    #[must_use]
    pub fn when(&self) -> Option<Duration> {
        self.0.when.get()
    }

    /// Whether the time was over before what is inside had ended.
    #[must_use]
    pub fn expired(&self) -> bool {
        self.0.expired()
    }

    /// Moves the deadline, or removes it. One that has passed already hits in the next pass.
    ///
    /// # Errors
    ///
    /// [`LoopError::InvalidState`](crate::LoopError::InvalidState) unless what is inside is under way, and the time not
    /// over; [`LoopError::InvalidArgument`](crate::LoopError::InvalidArgument) for what is not a number.
    pub fn reschedule(&self, when: impl Limit) -> Result<()> {
        let when = when.into_limit()?;
        let complaint = match self.0.state.get() {
            State::Active => None,
            State::Created => Some("this timeout has not been entered"),
            State::Expiring => Some("cannot change the state of an expiring timeout"),
            State::Expired => Some("cannot change the state of an expired timeout"),
            State::Left => Some("cannot change the state of a finished timeout"),
        };
        if let Some(complaint) = complaint {
            return Err(LoopError::InvalidState(complaint).into());
        }
        self.0.when.set(when);
        self.0.disarm();
        // Within the poll, arming follows; from elsewhere, the future has to be polled for that.
        if let Some(place) = &self.0.waker {
            let waker = place.take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
        Ok(())
    }
}
