//! Those who wait for the same thing, in the order in which they began to.

use std::cell::RefCell;
use std::task::Waker;

/// A place among those who wait; to be left when the wait is given up.
#[derive(Debug, Default)]
pub(super) struct Place(Option<u64>);

/// Most connections never see anybody wait, so the list is made when somebody does.
#[derive(Default)]
pub(super) struct Wakers(RefCell<Option<Box<List>>>);

#[derive(Default)]
struct List {
    next: u64,
    waiting: Vec<(u64, Waker)>,
}

impl Wakers {
    /// Waits, or goes on waiting, at the same place.
    pub(super) fn wait(&self, place: &mut Place, waker: &Waker) {
        let mut slot = self.0.borrow_mut();
        let list = slot.get_or_insert_default();
        let known = place.0.and_then(|id| list.waiting.iter_mut().find(|waiting| waiting.0 == id));
        let old = match known {
            Some((_, known)) if known.will_wake(waker) => None,
            Some((_, known)) => Some(std::mem::replace(known, waker.clone())),
            None => {
                let id = list.next;
                list.next += 1;
                list.waiting.push((id, waker.clone()));
                place.0 = Some(id);
                None
            }
        };
        // A waker may be user code: nothing is borrowed while it is dropped.
        drop(slot);
        drop(old);
    }

    pub(super) fn leave(&self, place: &mut Place) {
        let Some(id) = place.0.take() else { return };
        let mut slot = self.0.borrow_mut();
        let left = slot.as_mut().and_then(|list| {
            let at = list.waiting.iter().position(|waiting| waiting.0 == id)?;
            Some(list.waiting.remove(at))
        });
        drop(slot);
        drop(left);
    }

    pub(super) fn wake_all(&self) {
        let waiting = self.0.borrow_mut().as_mut().map(|list| std::mem::take(&mut list.waiting)).unwrap_or_default();
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
    }
}
