//! A timer that can be awaited.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::cancellation;
use crate::event_loop::EventLoop;
use crate::inner::Inner;
use crate::task::LocalWaker;
use crate::timers::{Target, TimerKey, nanos};

/// Waits until a time on the loop's clock: made by [`EventLoop::sleep_until`]. The timer is set at the first poll, and
/// taken back when this is dropped. Re-arming with [`reset`](Self::reset) allocates nothing.
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep {
    inner: Rc<Inner>,
    /// In nanoseconds.
    when: u64,
    key: Option<TimerKey>,
}

impl Sleep {
    pub(crate) fn new(inner: &Rc<Inner>, when: Duration) -> Self {
        Self { inner: Rc::clone(inner), when: nanos(when), key: None }
    }

    /// The time it waits for: one beyond 584 years is that, which never comes.
    #[must_use]
    pub fn when(&self) -> Duration {
        Duration::from_nanos(self.when)
    }

    /// Whether it was polled, and its time has come since (or its loop was closed, and no time comes any more).
    #[must_use]
    pub fn is_elapsed(&self) -> bool {
        self.key.is_some_and(|key| !self.inner.timers.borrow().is_set(key))
    }

    /// Waits for another time from now on.
    pub fn reset(&mut self, when: Duration) {
        self.disarm();
        self.when = nanos(when);
    }

    fn disarm(&mut self) {
        if let Some(key) = self.key.take() {
            let target = self.inner.timers.borrow_mut().cancel(key);
            drop(target);
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(key) = self.key else {
            let key = match LocalWaker::of(context.waker()) {
                Some(task) => self.inner.insert_timer(self.when, Target::Task(task)),
                None => self.inner.insert_timer(self.when, Target::Waker(context.waker().clone())),
            };
            self.key = Some(key);
            return Poll::Pending;
        };
        let wakes = self.inner.timers.borrow().wakes(key, context.waker());
        match wakes {
            Some(true) => Poll::Pending,
            Some(false) => {
                let target = Target::of(context.waker());
                let old = self.inner.timers.borrow_mut().retarget(key, target);
                drop(old);
                Poll::Pending
            }
            // Its loop is closed: the time does not come any more.
            None if self.inner.closed.get() => Poll::Pending,
            None if cancellation::is_pending() => cancellation::withhold(context),
            None => Poll::Ready(()),
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.disarm();
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Sleep until {:?}>", self.when())
    }
}

impl EventLoop {
    /// Waits until a time on this loop's clock; a time that has come already gives up one pass.
    pub fn sleep_until(&self, when: Duration) -> Sleep {
        Sleep::new(&self.inner, when)
    }

    /// Waits for a while on this loop's clock, from now on.
    pub fn sleep_for(&self, delay: Duration) -> Sleep {
        Sleep::new(&self.inner, self.inner.deadline(delay))
    }
}
