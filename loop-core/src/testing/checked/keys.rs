//! The checker's list of descriptors: which are open, and that no key is ever given twice.

use std::collections::HashSet;

use crate::fd::FdKey;

#[derive(Default)]
pub(super) struct Keys {
    open: HashSet<FdKey>,
    ever: HashSet<FdKey>,
}

impl Keys {
    /// # Panics
    ///
    /// If the key was given before.
    pub(super) fn opened(&mut self, fd: FdKey, how: &str) {
        assert!(self.ever.insert(fd), "keys: {fd:?} was {how}, and has been given before");
        self.open.insert(fd);
    }

    pub(super) fn closed(&mut self, fd: FdKey) {
        self.open.remove(&fd);
    }

    pub(super) fn is_open(&self, fd: FdKey) -> bool {
        self.open.contains(&fd)
    }
}
