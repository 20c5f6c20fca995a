//! Who has bytes to send at the end of the pass.
//!
//! Whoever wrote during a pass is listed once, and has its turn when the entries of the pass have run. Invariant: nobody is
//! called while the list is borrowed; a turn may list others, who are served in the same pass.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::inner::Inner;

/// What has bytes to send at the end of the pass.
pub(crate) trait Flush {
    /// Sends what was written during the pass.
    fn flush(self: Rc<Self>, inner: &Rc<Inner>);
}

/// Those that have, in the order in which they came to. They take their turns one by one, and the list is emptied when the
/// last has had its own: whoever comes meanwhile is behind it.
#[derive(Default)]
pub(crate) struct Dirty {
    list: RefCell<Vec<Option<Rc<dyn Flush>>>>,
    /// Those before it have had their turn.
    next: Cell<usize>,
}

impl Dirty {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.list.borrow().is_empty()
    }

    pub(crate) fn add(&self, flush: Rc<dyn Flush>) {
        self.list.borrow_mut().push(Some(flush));
    }

    /// Whose turn it is; none when all have had theirs.
    #[inline]
    pub(crate) fn next(&self) -> Option<Rc<dyn Flush>> {
        let mut list = self.list.borrow_mut();
        let next = self.next.get();
        let flush = list.get_mut(next).and_then(Option::take);
        self.next.set(next + 1);
        if flush.is_none() {
            list.clear();
            self.next.set(0);
        }
        flush
    }

    /// Whether nobody has bytes to send, but for one whose turn it is.
    pub(crate) fn is_done_with(&self) -> bool {
        let count = self.list.borrow().len();
        count == 0 || (count == 1 && self.next.get() == 1)
    }

    /// Everyone whose turn is still to come.
    pub(crate) fn take(&self) -> Vec<Rc<dyn Flush>> {
        self.next.set(0);
        self.list.take().into_iter().flatten().collect()
    }
}
