//! What a peer implements to be measured: [`Runtime`] for tasks and time, [`Pool`] for work on other threads.

use std::fmt::Debug;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// A single-threaded runtime. Everything but `block_on` is called inside of it.
pub(crate) trait Runtime: 'static {
    /// Makes the runtime and runs the future in it, in this thread.
    fn block_on<F: Future>(future: F) -> F::Output;

    /// Starts a task, as is cheapest on one thread, and gives what awaits its end.
    fn spawn<F>(future: F) -> impl Future<Output = F::Output> + 'static
    where
        F: Future + 'static,
        F::Output: 'static;

    /// Lets the other tasks run once; where a runtime has nothing for that, a wake of oneself.
    fn yield_now() -> impl Future<Output = ()> + 'static {
        Yield { yielded: false }
    }

    /// Waits.
    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static;

    /// What a program on this runtime passes one value between two tasks with; where a runtime has nothing for that,
    /// futures-channel's.
    fn oneshot<T: 'static>() -> (impl FnOnce(T) + 'static, impl Future<Output = T> + 'static) {
        let (sender, receiver) = futures_channel::oneshot::channel();
        let send = move |value| assert!(sender.send(value).is_ok(), "the receiver waits");
        (send, joined(receiver))
    }
}

/// What has other threads do something.
pub(crate) trait Pool: 'static {
    /// Runs a future that asks the pool, in this thread.
    fn block_on<F: Future>(future: F) -> F::Output;

    /// Has some work done, at once, and gives what awaits the outcome.
    fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> impl Future<Output = T> + 'static;
}

/// A handle, awaited, and what is taken of its outcome: as small as the handle, where an async block has it twice.
pub(crate) struct Joined<H, T> {
    handle: H,
    take: T,
}

/// Awaits a task that neither panics nor is cancelled, or a value that is sent.
pub(crate) fn joined<H, T, E>(handle: H) -> impl Future<Output = T>
where
    H: Future<Output = Result<T, E>> + Unpin,
    E: Debug,
{
    joined_with(handle, |value| value)
}

/// The same, of which something is taken.
pub(crate) fn joined_with<H, V, T, E>(handle: H, take: impl Fn(V) -> T + Unpin) -> impl Future<Output = T>
where
    H: Future<Output = Result<V, E>> + Unpin,
    E: Debug,
{
    let take = move |outcome: Result<V, E>| {
        take(outcome.expect("a task of a workload neither panics nor is cancelled, and what is awaited is sent"))
    };
    Joined { handle, take }
}

impl<H: Future + Unpin, T, F: Fn(H::Output) -> T + Unpin> Future for Joined<H, F> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        Pin::new(&mut this.handle).poll(cx).map(&this.take)
    }
}

struct Yield {
    yielded: bool,
}

impl Future for Yield {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
