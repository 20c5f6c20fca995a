//! Giving up time, or one pass.

use std::pin::Pin;
use std::task::{Context, Poll};

use loop_core::{Delay, EventLoop, Result, cancellation};

use crate::policy::get_running_loop;

/// Waits for a while on the running loop's clock (asyncio: `sleep`): never less, from the first poll on. A delay of
/// zero, or a negative one, sets no timer and gives up exactly one pass. An infinite one waits to be cancelled.
///
/// The delay is a [`Duration`](std::time::Duration), or seconds as asyncio has them. The timer is taken back when the
/// sleeper is cancelled or dropped.
///
/// ```
/// use std::time::Duration;
///
/// loop_api::run(async {
///     loop_api::sleep(Duration::from_millis(1)).await?;
///     loop_api::sleep(0.001).await
/// })??;
/// # Ok::<(), loop_api::Error>(())
/// ```
///
/// # Errors
///
/// [`LoopError::NoRunningLoop`](crate::LoopError::NoRunningLoop) where it is polled outside of a loop, and
/// [`LoopError::InvalidArgument`](crate::LoopError::InvalidArgument) for a delay that is not a number: misuse is an
/// error, not a panic and not a wait without end, hence the `?` even where nothing can go wrong.
pub async fn sleep(delay: impl Delay) -> Result<()> {
    let delay = delay.into_duration()?;
    let event_loop = get_running_loop()?;
    if delay.is_zero() {
        yield_now().await;
    } else {
        event_loop.sleep_for(delay).await;
    }
    Ok(())
}

/// Gives up exactly one pass of the loop, so that what else is ready runs first (asyncio: `sleep(0)`).
///
/// ```
/// # use std::{cell::Cell, rc::Rc};
/// loop_api::run(async {
///     let ran = Rc::new(Cell::new(false));
///     let other = Rc::clone(&ran);
///     let _task = loop_api::create_task(async move { other.set(true) })?;
///     loop_api::yield_now().await;
///     assert!(ran.get());
///     Ok::<_, loop_api::Error>(())
/// })??;
/// # Ok::<(), loop_api::Error>(())
/// ```
pub fn yield_now() -> YieldNow {
    YieldNow { yielded_in: None }
}

/// The future of [`yield_now`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct YieldNow {
    /// The pass that was given up, where there are passes.
    yielded_in: Option<Option<u64>>,
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // A combinator may poll what woke itself again in the same pass, which then was not given up. Under an
        // executor that knows no passes, one poll is as good as a pass.
        let pass = EventLoop::running_passes();
        match self.yielded_in {
            Some(before) if before != pass || pass.is_none() => {
                if cancellation::is_pending() {
                    cancellation::withhold(context)
                } else {
                    Poll::Ready(())
                }
            }
            _ => {
                self.yielded_in = Some(pass);
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}
