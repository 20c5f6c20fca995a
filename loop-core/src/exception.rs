//! What happens to an error that nobody awaits: the exception handler (asyncio: `call_exception_handler`).
//!
//! A panic of a callback, a task, a protocol or a destructor is caught, wrapped in an [`ExceptionContext`] and
//! given to the loop's handler, or to the default one, which logs; then the loop goes on. Only a *fatal* panic
//! (see [`fatal`]) is never given to a handler: it leaves `run_*` at once.

use std::any::Any;
use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use crate::error::Panicked;
use crate::event_loop::EventLoop;
use crate::handle::Handle;
use crate::inner::Inner;
use crate::shared_error::SharedError;
use crate::task::TaskRef;

/// What was reported, and by whom (asyncio: the exception handler's `context` dictionary).
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct ExceptionContext {
    /// What happened, in words.
    pub message: Option<Cow<'static, str>>,
    /// The error or the caught panic ([`Panicked`]).
    pub exception: Option<SharedError>,
    /// The task concerned.
    pub task: Option<TaskRef>,
    /// The callback concerned.
    pub handle: Option<Rc<dyn Handle>>,
    /// Anything else, as text: `future`, `transport`, `protocol`, `socket`, `asyncgen`, or keys of one's own.
    pub details: Vec<(&'static str, String)>,
}

impl ExceptionContext {
    /// A report with a message.
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self { message: Some(message.into()), ..Self::default() }
    }

    /// With an error.
    #[must_use]
    pub fn exception(mut self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.exception = Some(SharedError::new(error));
        self
    }

    /// With a task.
    #[must_use]
    pub fn task(mut self, task: TaskRef) -> Self {
        self.task = Some(task);
        self
    }

    /// With a callback.
    #[must_use]
    pub fn handle(mut self, handle: Rc<dyn Handle>) -> Self {
        self.handle = Some(handle);
        self
    }

    /// With anything else.
    #[must_use]
    pub fn detail(mut self, key: &'static str, value: impl fmt::Debug) -> Self {
        self.details.push((key, format!("{value:?}")));
        self
    }

    /// The value of a detail.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.details.iter().find(|detail| detail.0 == key).map(|detail| detail.1.as_str())
    }

    /// The caught panic, where the exception is one.
    #[must_use]
    pub fn panic(&self) -> Option<&Panicked> {
        self.exception.as_ref()?.downcast_ref()
    }

    /// What the default handler logs: the message, then `key: value` lines in the order of their keys.
    #[must_use]
    pub fn report(&self) -> String {
        let mut text = String::from(self.message.as_deref().unwrap_or("Unhandled exception in event loop"));
        let mut lines: Vec<(&str, String)> = self.details.iter().map(|(key, value)| (*key, value.clone())).collect();
        if let Some(handle) = &self.handle {
            lines.push(("handle", format!("{handle:?}")));
        }
        if let Some(task) = &self.task {
            lines.push(("task", format!("{task:?}")));
        }
        lines.sort();
        for (key, value) in lines {
            let _ = write!(text, "\n{key}: {value}");
        }
        if let Some(exception) = &self.exception {
            let _ = write!(text, "\nexception: {exception}");
        }
        text
    }
}

impl fmt::Debug for ExceptionContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.report())
    }
}

/// A handler as set by `set_exception_handler`.
pub type ExceptionHandler = Rc<dyn Fn(&EventLoop, &ExceptionContext)>;

/// What leaves `run_*` at once instead of being reported: asyncio's SystemExit and KeyboardInterrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fatal {
    /// The program is to end with this code.
    Exit(i32),
    /// The user interrupted the program.
    Interrupt,
}

/// Leaves the running loop: unwinds out of the callback or coroutine, and then out of `run_*`, with [`Fatal`] as
/// the payload. What was queued stays queued, and the loop can be run again.
pub fn fatal(what: Fatal) -> ! {
    std::panic::resume_unwind(Box::new(what))
}

pub(crate) fn is_fatal(payload: &(dyn Any + Send)) -> bool {
    payload.is::<Fatal>()
}

impl Inner {
    /// Runs user code; a panic is reported under what `context` makes, except a fatal one, which goes on.
    pub(crate) fn guard<R>(
        self: &Rc<Self>,
        code: impl FnOnce() -> R,
        context: impl FnOnce() -> ExceptionContext,
    ) -> Option<R> {
        match catch_unwind(AssertUnwindSafe(code)) {
            Ok(value) => Some(value),
            Err(payload) => {
                self.report_panic(payload, context);
                None
            }
        }
    }

    #[cold]
    pub(crate) fn report_panic(
        self: &Rc<Self>,
        payload: Box<dyn Any + Send>,
        context: impl FnOnce() -> ExceptionContext,
    ) {
        if is_fatal(&*payload) {
            std::panic::resume_unwind(payload);
        }
        // What is reported may be described by user code, a foreign handle's.
        let context = catch_unwind(AssertUnwindSafe(context)).unwrap_or_default().exception(Panicked::new(payload));
        self.report(&context);
        drop_quietly(context);
    }

    /// Drops a value that may hold user code; a panic of its destructor is reported.
    pub(crate) fn dispose<T>(self: &Rc<Self>, value: T) {
        self.guard(move || drop(value), || ExceptionContext::new("Exception in a destructor"));
    }

    /// Calls the exception handler.
    #[cold]
    pub(crate) fn report(self: &Rc<Self>, context: &ExceptionContext) {
        let handler = self.exception_handler.borrow().clone();
        let Some(handler) = handler else {
            default_handler(context);
            return;
        };
        let event_loop = EventLoop::of(self);
        let call = AssertUnwindSafe(|| {
            let task = context.task.as_ref().and_then(TaskRef::context);
            match task.or_else(|| context.handle.as_ref()?.context()) {
                Some(scope) => scope.run(|| handler(&event_loop, context)),
                None => handler(&event_loop, context),
            }
        });
        if let Err(payload) = catch_unwind(call) {
            if is_fatal(&*payload) {
                std::panic::resume_unwind(payload);
            }
            let failed = ExceptionContext::new("Unhandled error in exception handler");
            let failed = failed.exception(Panicked::new(payload)).detail("context", context);
            default_handler(&failed);
            drop_quietly(failed);
        }
    }
}

/// Runs user code on the way through something that is done to its end whatever that code does: panics are reported as
/// they come, and the first fatal one goes on at the end.
pub(crate) struct Finally<'a> {
    pub(crate) inner: &'a Rc<Inner>,
    fatal: Option<Box<dyn Any + Send>>,
}

impl<'a> Finally<'a> {
    pub(crate) fn new(inner: &'a Rc<Inner>) -> Self {
        Self { inner, fatal: None }
    }

    pub(crate) fn run(&mut self, code: impl FnOnce(), context: impl FnOnce() -> ExceptionContext) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(code)) {
            self.panicked(payload, context);
        }
    }

    #[cold]
    fn panicked(&mut self, payload: Box<dyn Any + Send>, context: impl FnOnce() -> ExceptionContext) {
        if let Err(fatal) = catch_unwind(AssertUnwindSafe(|| self.inner.report_panic(payload, context))) {
            self.fatal.get_or_insert(fatal);
        }
    }

    pub(crate) fn dispose<T>(&mut self, value: T) {
        self.run(move || drop(value), || ExceptionContext::new("Exception in a destructor"));
    }

    pub(crate) fn report(&mut self, context: &ExceptionContext) {
        if let Err(fatal) = catch_unwind(AssertUnwindSafe(|| self.inner.report(context))) {
            self.fatal.get_or_insert(fatal);
        }
    }

    pub(crate) fn end(self) {
        if let Some(fatal) = self.fatal {
            // In a destructor that runs because of another panic, a second one would end the process.
            if !std::thread::panicking() {
                std::panic::resume_unwind(fatal);
            }
        }
    }
}

/// Drops what holds a caught panic. Its payload is of a type of the user's, whose destructor may panic in its turn; that
/// panic's own payload is leaked rather than thrown on.
fn drop_quietly(context: ExceptionContext) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(context))) {
        tracing::error!("Exception in the destructor of a panic's payload");
        std::mem::forget(again);
    }
}

/// Logs a report, once (asyncio: `default_exception_handler`).
pub(crate) fn default_handler(context: &ExceptionContext) {
    // A failing destructor or Display of what is reported must not take the loop with it.
    if catch_unwind(AssertUnwindSafe(|| tracing::error!("{}", context.report()))).is_err() {
        tracing::error!("Exception in default exception handler while handling an unexpected error");
    }
}
