//! Counting unparks, so that a poll that sleeps through one is caught (**B5**).
//!
//! An unpark *stands* at the start of a poll if it was over by then and had not begun when the poll before
//! returned. The poll before may have taken any that had begun, whether or not it noticed. Counting both ends
//! of each call is enough: if more have ended than had begun at that return, one of them began after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::backend::Unpark;

#[derive(Default)]
pub(super) struct Unparks {
    begun: AtomicU64,
    ended: AtomicU64,
    acknowledged: AtomicU64,
}

impl Unparks {
    /// Whether an unpark stands. On the loop's thread.
    pub(super) fn standing(&self) -> bool {
        self.ended.load(Ordering::SeqCst) > self.acknowledged.load(Ordering::SeqCst)
    }

    /// A poll returned. On the loop's thread.
    pub(super) fn acknowledge(&self) {
        self.acknowledged.store(self.begun.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

pub(super) struct CheckedUnpark {
    inner: Arc<dyn Unpark>,
    unparks: Arc<Unparks>,
}

impl CheckedUnpark {
    pub(super) fn new(inner: Arc<dyn Unpark>, unparks: Arc<Unparks>) -> Self {
        Self { inner, unparks }
    }
}

impl Unpark for CheckedUnpark {
    fn unpark(&self) {
        self.unparks.begun.fetch_add(1, Ordering::SeqCst);
        self.inner.unpark();
        self.unparks.ended.fetch_add(1, Ordering::SeqCst);
    }
}
