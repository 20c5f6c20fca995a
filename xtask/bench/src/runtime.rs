//! What a peer implements to be measured: [`Runtime`] for tasks and time, [`Pool`] for work on other threads.

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
        (send, async { receiver.await.expect("the sender sends") })
    }
}

/// What has other threads do something.
pub(crate) trait Pool: 'static {
    /// Runs a future that asks the pool, in this thread.
    fn block_on<F: Future>(future: F) -> F::Output;

    /// Has some work done, at once, and gives what awaits the outcome.
    fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> impl Future<Output = T> + 'static;
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
