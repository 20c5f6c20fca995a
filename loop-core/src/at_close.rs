//! What must hear that the loop closes: connections and servers.
//!
//! A protocol often holds its transport, and so do factories their servers: such circles would keep themselves alive
//! for ever once the loop, which would have ended them, is gone. So each is listed here from its making to its end, and
//! lets go of what users gave it when the loop closes. The list itself keeps nothing alive.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use slab::Slab;

use crate::exception::Finally;

pub(crate) trait AtClose {
    /// The loop closes: nothing is called any more, and what is the user's is let go of, by `finally`.
    fn loop_closed(self: Rc<Self>, finally: &mut Finally<'_>);
}

#[derive(Default)]
pub(crate) struct AtCloseList(RefCell<Slab<Weak<dyn AtClose>>>);

impl AtCloseList {
    /// Lists something, and gives its place.
    pub(crate) fn add(&self, it: Weak<dyn AtClose>) -> u32 {
        u32::try_from(self.0.borrow_mut().insert(it)).expect("fewer than 2^32 connections and servers")
    }

    /// Takes it off; once the loop is closed there is nothing to take.
    pub(crate) fn remove(&self, place: u32) {
        let removed = self.0.borrow_mut().try_remove(place as usize);
        drop(removed);
    }

    /// Everything that is still there.
    pub(crate) fn take(&self) -> Vec<Rc<dyn AtClose>> {
        self.0.take().into_iter().filter_map(|(_, it)| it.upgrade()).collect()
    }
}
