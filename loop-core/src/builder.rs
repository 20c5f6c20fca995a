//! What a loop is made of, where the defaults do not fit.

use std::sync::Arc;

use crate::backend::Backend;
use crate::default_executor::{DefaultExecutor, ExecutorFactory};
use crate::event_loop::EventLoop;
use crate::executor::Executor;

/// Puts a loop together (asyncio: a `loop_factory`).
pub struct LoopBuilder {
    backend: Box<dyn Backend>,
    debug: bool,
    executor: Option<ExecutorFactory>,
}

impl LoopBuilder {
    /// A loop on this backend, without a default executor, in debug mode if the environment variable `LOOP_DEBUG` is
    /// set to something.
    #[must_use]
    pub fn new(backend: Box<dyn Backend>) -> Self {
        let debug = std::env::var_os("LOOP_DEBUG").is_some_and(|value| !value.is_empty());
        Self { backend, debug, executor: None }
    }

    /// Sets debug mode, whatever the environment says.
    #[must_use]
    pub fn debug(mut self, on: bool) -> Self {
        self.debug = on;
        self
    }

    /// What makes the default executor when it is first needed.
    #[must_use]
    pub fn default_executor(mut self, make: impl Fn() -> crate::Result<Arc<dyn Executor>> + 'static) -> Self {
        self.executor = Some(Box::new(make));
        self
    }

    /// Makes the loop. It belongs to this thread.
    #[must_use]
    pub fn build(self) -> EventLoop {
        EventLoop::build(self.backend, self.debug, DefaultExecutor::new(self.executor))
    }
}

impl std::fmt::Debug for LoopBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LoopBuilder({})", self.backend.name())
    }
}
