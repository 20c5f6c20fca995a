//! What a connection's protocol and its two halves share, in one allocation.

use std::rc::Rc;

use super::incoming::Incoming;
use super::outgoing::Outgoing;

pub(super) struct Link {
    pub(super) incoming: Incoming,
    pub(super) outgoing: Outgoing,
}

impl Link {
    /// For a reader with a limit that was checked.
    pub(super) fn new(limit: usize) -> Rc<Self> {
        Rc::new(Self { incoming: Incoming::new(limit), outgoing: Outgoing::default() })
    }
}
