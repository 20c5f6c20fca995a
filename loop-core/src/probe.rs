//! What a future is, asked of itself.
//!
//! Some of the loop treats a task or future of the loop otherwise than a coroutine: it is awaited, not driven. Which of
//! the two a future is, its type alone does not tell, as one type parameter stands for both. So whoever wants to know
//! puts a question up in this thread and polls, and the handles of the loop answer before anything else in their `poll`:
//!
//! * `run_until_complete` asks while it drives: was what I polled, *directly*, one of you? (A coroutine's own awaits are
//!   of other types.)
//! * [`FutureRef::of`](crate::FutureRef::of) asks instead of driving: who are you? The answer is all that this poll does.

use std::any::TypeId;
use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};

use crate::future_ref::FutureRef;
use crate::inner::Inner;
use crate::running::with_running;
use crate::task::TaskRef;
use crate::waiters::Waiters;

thread_local! {
    static QUESTION: Cell<Question> = const { Cell::new(Question::None) };
    static WHO: Cell<Option<FutureRef>> = const { Cell::new(None) };
}

#[derive(Clone, Copy, PartialEq)]
enum Question {
    None,
    /// A root polls a future of this type.
    Direct(TypeId),
    /// The answer to that.
    IsDirect {
        /// It was done during this run.
        done_in_run: bool,
    },
    /// Who is polled?
    Who,
}

/// Whether anything is asked.
#[inline(always)]
pub(crate) fn is_asked() -> bool {
    !matches!(QUESTION.get(), Question::None)
}

/// A handle of the loop is polled: it answers what is asked. True where that was all this poll is for.
#[must_use]
#[inline]
pub(crate) fn answer<T>(waiters: &Waiters, who: impl FnOnce() -> FutureRef) -> bool {
    is_asked() && answer_to::<T>(waiters, who)
}

#[cold]
fn answer_to<T>(waiters: &Waiters, who: impl FnOnce() -> FutureRef) -> bool {
    match QUESTION.get() {
        Question::None | Question::IsDirect { .. } => false,
        Question::Direct(asked) => {
            let direct = asked == typeid::of::<T>() || asked == typeid::of::<&mut T>();
            let told = || with_running(|running| running.is_some_and(|inner| waiters.told_in(inner.run_ticket())));
            QUESTION.set(if direct { Question::IsDirect { done_in_run: told() } } else { Question::None });
            false
        }
        Question::Who => {
            QUESTION.set(Question::None);
            WHO.set(Some(who()));
            true
        }
    }
}

/// Polls for a root, and tells whether the future is a handle of the loop; if so, whether it was done during this run.
pub(crate) fn poll_direct<F: Future>(
    future: Pin<&mut F>,
    context: &mut Context<'_>,
) -> (std::task::Poll<F::Output>, Option<bool>) {
    QUESTION.set(Question::Direct(typeid::of::<F>()));
    let result = future.poll(context);
    let direct = match QUESTION.replace(Question::None) {
        Question::IsDirect { done_in_run } => Some(done_in_run),
        _ => None,
    };
    (result, direct)
}

/// Somebody asks which tasks there are while a root polls: a handle of the loop would have answered before that, so
/// this root is a coroutine.
pub(crate) fn reveal(inner: &Inner) {
    if let Question::Direct(_) = QUESTION.get()
        && let Some(task) = inner.current_task.get()
    {
        QUESTION.set(Question::None);
        TaskRef::hold(task).header().show();
    }
}

/// Asks a future who it is. The caller has made sure that it is a handle, so that nothing is driven by this.
pub(crate) fn who<F: Future>(future: Pin<&mut F>) -> Option<FutureRef> {
    struct Restore(Question);
    impl Drop for Restore {
        fn drop(&mut self) {
            QUESTION.set(self.0);
        }
    }
    let _restore = Restore(QUESTION.replace(Question::Who));
    let _ = future.poll(&mut Context::from_waker(Waker::noop()));
    WHO.take()
}
