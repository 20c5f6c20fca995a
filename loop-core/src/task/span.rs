//! A task as a `tracing` span: what is logged in its steps, and in its clean-up, is logged within the task.
//!
//! The span is made with the task, at `TRACE` level and with the target `loop_core::task`, and only where a subscriber wants
//! it then: otherwise a task pays the look at one static, and its steps nothing. Its fields are `id`, `name` (where it was
//! given one), `coroutine` (the type) and `source` (where the task was made). Its parent is the span that was current.

use std::rc::Rc;

use tracing::field::{Empty, display};
use tracing::level_filters::LevelFilter;
use tracing::span::EnteredSpan;

use super::{Flag, Header};

/// Whether somebody may be interested in tasks that are made now.
#[inline(always)]
pub(super) fn is_wanted() -> bool {
    LevelFilter::current() == LevelFilter::TRACE
}

impl Header {
    /// The task was made.
    pub(super) fn trace(&self) {
        if is_wanted() {
            self.make_span();
        }
    }

    #[cold]
    fn make_span(&self) {
        let span = tracing::trace_span!(
            target: "loop_core::task",
            "task",
            id = self.id(),
            name = Empty,
            coroutine = (self.vtable().name)(),
            source = %self.source(),
        );
        if !span.is_disabled() {
            self.with_extras(|extras| extras.span = Some(Rc::new(span)));
            self.local.set(Flag::Traced);
        }
    }

    /// For a step of a task that has a span.
    #[cold]
    pub(super) fn enter_span(&self) -> Option<Box<EnteredSpan>> {
        let span = self.look_at_extras(|extras| extras.span.clone());
        // Cloned while nothing is borrowed: a subscriber is anybody's code.
        span.map(|span| Box::new((*span).clone().entered()))
    }

    /// The task was given a name.
    pub(super) fn trace_name(&self) {
        let named = self.look_at_extras(|extras| Some((extras.span.clone()?, extras.name.clone()?)));
        if let Some((span, name)) = named {
            span.record("name", display(name));
        }
    }
}
