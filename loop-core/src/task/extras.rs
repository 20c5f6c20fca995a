//! What few tasks have: a name, a context, a span. It takes no room in a task that has none of it: it is kept beside the list
//! of those who wait for the task (see [`waiters`](crate::waiters)).
//!
//! Invariants: on the loop's thread only; nobody else's code runs while the extras are borrowed, and so neither does a
//! destructor of what was in them; they are taken out before the task's memory goes.

use std::cell::RefCell;
use std::rc::Rc;

use crate::context::{Context, Snapshot};
use crate::error::{Cancelled, TaskError};
use crate::task::header::Header;
use crate::task::local::Flag;

#[derive(Default)]
pub(crate) struct Extras {
    pub(super) name: Option<String>,
    /// The standing cancellation request, which may have a message.
    pub(crate) request: Cancelled,
    pub(super) failure: Option<TaskError>,
    /// Cancellation requests that were not taken back, where they are many.
    pub(super) cancelling: u32,
    /// The context between two steps.
    pub(super) context: Snapshot,
    /// A context that the task shares with others, instead.
    pub(super) shared_context: Option<Context>,
    /// Entered for each step, where somebody was interested when the task was made.
    pub(super) span: Option<Rc<tracing::Span>>,
}

/// As they are kept.
type Kept = RefCell<Extras>;

impl Header {
    #[inline(always)]
    pub(crate) fn has_extras(&self) -> bool {
        self.waiters.is_elsewhere()
    }

    fn kept(&self) -> Option<&Kept> {
        // SAFETY: nothing else is kept there. Who takes it out, at the task's end, has borrowed nothing, as nobody does for
        // longer than the functions below.
        unsafe { self.waiters.beside() }
    }

    /// Looks into the extras, if there are any. Nothing may be dropped meanwhile, and nobody else's code run.
    pub(crate) fn look_at_extras<R>(&self, look: impl FnOnce(&mut Extras) -> Option<R>) -> Option<R> {
        look(&mut self.kept()?.borrow_mut())
    }

    /// The same, having them made if there are none.
    pub(crate) fn with_extras<R>(&self, f: impl FnOnce(&mut Extras) -> R) -> R {
        self.local.set(Flag::Extras);
        if !self.has_extras() {
            self.waiters.keep_beside(Kept::default());
        }
        f(&mut self.kept().expect("there are some now").borrow_mut())
    }

    /// For the caller to drop, which runs anybody's code.
    pub(super) fn take_extras(&self) -> Option<Extras> {
        // SAFETY: as above.
        unsafe { self.waiters.take_beside::<Kept>() }.map(RefCell::into_inner)
    }

    /// The context for the step that begins.
    #[inline(never)]
    pub(super) fn take_context(&self) -> Snapshot {
        self.look_at_extras(|extras| match &extras.shared_context {
            Some(context) => context.to_snapshot(),
            None => extras.context.take(),
        })
    }

    /// The context that the step left behind.
    #[inline(never)]
    pub(super) fn keep_context(&self, after: Snapshot) {
        let old = self.with_extras(|extras| match &extras.shared_context {
            Some(context) => context.replace_snapshot(after),
            None => std::mem::replace(&mut extras.context, after),
        });
        drop(old);
    }

    /// The context that the task's next step runs in.
    pub(super) fn context(&self) -> Context {
        if let Some(context) = self.look_at_extras(|extras| extras.shared_context.clone()) {
            return context;
        }
        if self.local.has(Flag::Running) {
            // In its own step, the task's values are the current ones.
            return Context::copy();
        }
        Context::from_snapshot(self.look_at_extras(|extras| extras.context.clone()))
    }

    /// The standing request as an error.
    pub(crate) fn cancellation(&self) -> Cancelled {
        self.look_at_extras(|extras| Some(extras.request.clone())).unwrap_or_default()
    }

    /// The error that the task ends with of its own accord.
    pub(super) fn failure(&self) -> TaskError {
        self.local.clear(Flag::Failing);
        self.look_at_extras(|extras| extras.failure.take()).unwrap_or(TaskError::Abandoned)
    }
}
