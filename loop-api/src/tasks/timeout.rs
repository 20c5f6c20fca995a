//! Time limits: `timeout`, `timeout_at`, `wait_for`, and the scope behind them.
//!
//! A limited future is polled in the task of whoever awaits it. When the time is over, the scope makes a request to cancel
//! and polls once more: what is inside takes it, cleans up for as long as it likes, and lets it go on, or is dropped where
//! it stands; either way the request comes back to the scope, which makes [`Error::TimedOut`] of it. Requests are counted,
//! so that a cancellation from elsewhere is not mistaken for the scope's own: if there are more than at the beginning, without
//! the scope's own, the cancellation goes on outward.
//!
//! The request is made within the poll rather than by the timer, so that in a combinator of another crate only what is in
//! the scope sees it.

mod scope;
mod wait_for;

use std::fmt;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll};

use loop_core::{Limit, cancellation};
use pin_project_lite::pin_project;

use crate::error::{Error, Result};
use scope::Scope;
pub use scope::Timeout;
pub use wait_for::wait_for;

/// Bounds a future by a delay from *now* on, or by nothing (asyncio: `timeout`).
///
/// When the time is over, what is inside is cancelled, and waited for while it cleans up; if it gives a value all the
/// same, that is the outcome. A delay that is over already hits at the first suspension, so a future that never suspends
/// is not bounded. To move the deadline, or to ask whether it passed, make a [`Timeout`].
///
/// ```
/// use std::time::Duration;
/// use loop_api::{Error, timeout};
///
/// # fn main() -> loop_api::Result<()> {
/// # loop_api::run(async {
/// assert_eq!(timeout(Duration::from_secs(3600), async { 1 }).await?, 1);
/// let late = timeout(0.001, std::future::pending::<()>()).await;
/// assert!(matches!(late, Err(Error::TimedOut)));
/// # Ok::<_, loop_api::Error>(())
/// # })?
/// # }
/// ```
///
/// # Errors
///
/// The await gives [`Error::TimedOut`]; or, before anything is polled, [`Error::Loop`] for a limit that is not a number,
/// where no loop runs, and outside of a task.
pub fn timeout<F: IntoFuture>(limit: impl Limit, future: F) -> TimeoutFuture<F::IntoFuture> {
    let scope = limit.into_limit().map_err(Error::from).and_then(|limit| Ok(Inline(Scope::after(limit)?)));
    Limited::new(scope, future.into_future())
}

/// [`timeout`] with a time on the loop's clock (asyncio: `timeout_at`).
///
/// # Errors
///
/// As for [`timeout`].
pub fn timeout_at<F: IntoFuture>(when: impl Limit, future: F) -> TimeoutFuture<F::IntoFuture> {
    let scope = when.into_limit().map_err(Error::from).map(|when| Inline(Scope::until(when)));
    Limited::new(scope, future.into_future())
}

/// The future of [`timeout`] and [`timeout_at`].
pub type TimeoutFuture<F> = Limited<F, Inline>;

/// A scope that lies in its future, as nobody else asks for it.
#[derive(Debug)]
pub struct Inline(Scope);

impl Deref for Inline {
    type Target = Scope;

    fn deref(&self) -> &Scope {
        &self.0
    }
}

pin_project! {
    /// A future within a time limit. Dropping it drops what is inside, and takes the timer back.
    #[must_use = "futures do nothing unless awaited"]
    pub struct Limited<F, S> {
        #[pin]
        future: Option<F>,
        scope: Option<S>,
        refused: Option<Error>,
        entered: bool,
    }
}

impl<F, S> Limited<F, S> {
    fn new(scope: Result<S>, future: F) -> Self {
        match scope {
            Ok(scope) => Self { future: Some(future), scope: Some(scope), refused: None, entered: false },
            Err(error) => Self { future: None, scope: None, refused: Some(error), entered: false },
        }
    }
}

impl<F: Future, S: Deref<Target = Scope>> Future for Limited<F, S> {
    type Output = Result<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(error) = this.refused.take() {
            return Poll::Ready(Err(error));
        }
        // Left already: with a value, or by a cancellation that goes on outward and will drop this.
        let (Some(scope), Some(future)) = (&*this.scope, this.future.as_mut().as_pin_mut()) else {
            return Poll::Pending;
        };
        if !*this.entered {
            scope.enter()?;
            *this.entered = true;
        }
        scope.interrupt_if_due();
        let counted = scope.is_expiring().then(cancellation::counted);
        let polled = future.poll(context);
        drop(counted);
        if let Poll::Ready(value) = polled {
            this.future.set(None);
            scope.leave();
            return Poll::Ready(Ok(value));
        }
        match scope.interrupted() {
            Some(cancelled) => {
                this.future.set(None);
                if scope.leave() {
                    return Poll::Ready(Err(Error::TimedOut));
                }
                // Somebody else's too: theirs goes before.
                cancellation::raise(&cancelled);
                Poll::Pending
            }
            None => {
                scope.arm(context);
                Poll::Pending
            }
        }
    }
}

impl<F, S> fmt::Debug for Limited<F, S>
where
    S: Deref<Target = Scope>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.scope {
            Some(scope) => write!(f, "<future within {:?}>", **scope),
            None => f.write_str("<future within a limit that was refused>"),
        }
    }
}
