//! Work that blocks, out of the loop's way.
//!
//! asyncio gives the thread a copy of the caller's context. Here a context holds values that need not be `Send`, so it
//! stays on its thread as a whole; the variables that the function needs are named, and those are copied over.

use loop_core::{Context, ContextVar, Result};

use crate::policy::get_running_loop;

/// Runs a function that may block in a thread of the default executor (asyncio: `to_thread`).
///
/// Cancelling the await keeps a function that is still queued from running; of one that runs, the result is dropped.
/// The function begins with an empty context: see [`to_thread_with`].
///
/// ```
/// let words = loop_api::run(async {
///     loop_api::to_thread(|| "read from a slow disk".split(' ').count()).await
/// })??;
/// assert_eq!(words, 5);
/// # Ok::<(), loop_api::Error>(())
/// ```
///
/// # Errors
///
/// [`LoopError::Task`](crate::LoopError::Task) with [`TaskError::Panicked`](crate::TaskError::Panicked) where the
/// function panicked; [`LoopError::NoRunningLoop`](crate::LoopError::NoRunningLoop); those of
/// [`EventLoop::run_in_executor`](crate::EventLoop::run_in_executor).
pub async fn to_thread<F, R>(function: F) -> Result<R>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    to_thread_with((), function).await
}

/// Like [`to_thread`], with some of the caller's context variables: the function sees the values that they have here
/// when the await begins. What it sets stays in the thread.
///
/// ```
/// use std::sync::LazyLock;
/// use loop_api::ContextVar;
///
/// static USER: LazyLock<ContextVar<String>> = LazyLock::new(|| ContextVar::new("user"));
///
/// let seen = loop_api::run(async {
///     USER.set(String::from("ada"));
///     loop_api::to_thread_with(&*USER, || USER.get()).await
/// })??;
/// assert_eq!(seen.as_deref(), Some("ada"));
/// # Ok::<(), loop_api::Error>(())
/// ```
///
/// # Errors
///
/// Those of [`to_thread`].
pub async fn to_thread_with<V, F, R>(variables: V, function: F) -> Result<R>
where
    V: Carry,
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    let unpack = variables.pack();
    let function = move || {
        Context::new().run(|| {
            unpack();
            function()
        })
    };
    Ok(get_running_loop()?.run_in_executor(None, function)?.await?)
}

/// Context variables that [`to_thread_with`] can carry into a thread: one whose value is `Send`, or a tuple of such.
pub trait Carry {
    /// Copies the values that are current here, to be set where the returned function is called.
    fn pack(self) -> impl FnOnce() + Send + 'static;
}

impl<T: Clone + Send + 'static> Carry for &'static ContextVar<T> {
    fn pack(self) -> impl FnOnce() + Send + 'static {
        let value = self.get();
        move || {
            if let Some(value) = value {
                self.set(value);
            }
        }
    }
}

macro_rules! carry_tuples {
    ($(($($variable:ident),*))*) => {$(
        #[allow(non_snake_case, reason = "type parameters double as the names of their values")]
        impl<$($variable: Carry),*> Carry for ($($variable,)*) {
            fn pack(self) -> impl FnOnce() + Send + 'static {
                let ($($variable,)*) = self;
                $(let $variable = $variable.pack();)*
                move || {
                    $($variable();)*
                }
            }
        }
    )*};
}

carry_tuples! {
    ()
    (A)
    (A, B)
    (A, B, C)
    (A, B, C, D)
    (A, B, C, D, E)
    (A, B, C, D, E, F)
}
