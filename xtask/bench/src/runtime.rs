//! What a peer implements to be measured on tasks and time.

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

    /// Lets the other tasks run once.
    fn yield_now() -> impl Future<Output = ()> + 'static;

    /// Waits.
    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static;

    /// What a program on this runtime passes one value between two tasks with.
    fn oneshot<T: 'static>() -> (impl FnOnce(T) + 'static, impl Future<Output = T> + 'static);
}
