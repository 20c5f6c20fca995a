//! The loop to which something belongs: the one in which somebody first had to wait for it. Use that need not wait never
//! asks.

use std::cell::OnceCell;

use loop_core::{Error as LoopError, EventLoop};

#[derive(Default)]
pub(crate) struct Bound(OnceCell<EventLoop>);

impl Bound {
    /// Somebody is about to wait, in the running loop.
    pub(crate) fn check(&self) -> Result<(), LoopError> {
        let running = EventLoop::running()?;
        if self.0.get_or_init(|| running.clone()).is_same(&running) { Ok(()) } else { Err(LoopError::WrongLoop) }
    }
}
