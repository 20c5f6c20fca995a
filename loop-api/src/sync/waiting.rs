//! Who waits for one thing, in the order in which they began to.
//!
//! The list owns a slot for each waiter, from its first poll until it has seen that it was woken, or is dropped. Those
//! who are not woken yet are chained in their order; so joining, leaving and waking take constant time, and no memory
//! once the list has grown to its size. An empty list has allocated nothing.
//!
//! A waiter that was woken is still there until it runs: whether newcomers may pass is decided by [`WaitList::len`].
//!
//! No waker is called, cloned or dropped while the list is borrowed.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use loop_core::cancellation;
use slab::Slab;

#[derive(Default)]
pub(crate) struct WaitList(RefCell<List>);

#[derive(Default)]
struct List {
    slots: Slab<Slot>,
    first: Option<usize>,
    last: Option<usize>,
    /// How many ever joined.
    joined: u64,
}

enum Slot {
    Waiting {
        waker: Waker,
        number: u64,
        before: Option<usize>,
        behind: Option<usize>,
    },
    /// And how many the same call had woken before it.
    Woken(usize),
}

/// Memory for so many waiters is kept when there are none.
const KEPT: usize = 64;

impl WaitList {
    /// Waits to be woken, from the first poll on. Should the await be dropped when it was woken and has not given its
    /// result, `lost` is called: the wake-up is somebody else's then.
    ///
    /// It resolves to its place among those whom the same call woke.
    pub(crate) fn wait<L: FnMut()>(&self, lost: L) -> Wait<'_, L> {
        Wait { list: self, slot: None, lost }
    }

    /// How many wait, or were woken and did not run yet.
    pub(crate) fn len(&self) -> usize {
        self.0.borrow().slots.len()
    }

    /// Wakes the first that is not woken yet; false where there is none.
    pub(crate) fn wake_one(&self) -> bool {
        self.wake(1) > 0
    }

    /// Wakes all that wait now.
    pub(crate) fn wake_all(&self) {
        self.wake(usize::MAX);
    }

    /// Wakes the first few of those who wait now, and tells how many.
    pub(crate) fn wake(&self, most: usize) -> usize {
        let joined = self.0.borrow().joined;
        for place in 0..most {
            let waker = self.0.borrow_mut().take_first(joined, place);
            let Some(waker) = waker else { return place };
            waker.wake();
        }
        most
    }
}

impl List {
    fn join(&mut self, waker: Waker) -> usize {
        let number = self.joined;
        self.joined += 1;
        let slot = self.slots.insert(Slot::Waiting { waker, number, before: self.last, behind: None });
        self.link(self.last, Some(slot));
        self.link(Some(slot), None);
        slot
    }

    /// Makes two neighbours; none is an end of the chain.
    fn link(&mut self, left: Option<usize>, right: Option<usize>) {
        match left.map(|slot| &mut self.slots[slot]) {
            Some(Slot::Waiting { behind, .. }) => *behind = right,
            Some(Slot::Woken(_)) => {}
            None => self.first = right,
        }
        match right.map(|slot| &mut self.slots[slot]) {
            Some(Slot::Waiting { before, .. }) => *before = left,
            Some(Slot::Woken(_)) => {}
            None => self.last = left,
        }
    }

    /// Marks the first as woken, if it joined in time.
    fn take_first(&mut self, joined: u64, place: usize) -> Option<Waker> {
        let slot = &mut self.slots[self.first?];
        if matches!(slot, Slot::Waiting { number, .. } if *number >= joined) {
            return None;
        }
        match std::mem::replace(slot, Slot::Woken(place)) {
            Slot::Waiting { waker, before, behind, .. } => {
                self.link(before, behind);
                Some(waker)
            }
            Slot::Woken(_) => None,
        }
    }

    fn leave(&mut self, slot: usize) -> Slot {
        let left = self.slots.remove(slot);
        if let Slot::Waiting { before, behind, .. } = left {
            self.link(before, behind);
        }
        if self.slots.is_empty() && self.slots.capacity() > KEPT {
            self.slots = Slab::new();
        }
        left
    }
}

/// The future of [`WaitList::wait`].
#[must_use = "futures do nothing unless awaited"]
pub(crate) struct Wait<'a, L: FnMut()> {
    list: &'a WaitList,
    slot: Option<usize>,
    lost: L,
}

// The function is called where it is, and never pinned.
impl<L: FnMut()> Unpin for Wait<'_, L> {}

impl<L: FnMut()> Future for Wait<'_, L> {
    type Output = usize;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<usize> {
        let list = &self.list.0;
        let Some(slot) = self.slot else {
            let waker = context.waker().clone();
            let slot = list.borrow_mut().join(waker);
            self.slot = Some(slot);
            return Poll::Pending;
        };
        let known = match &list.borrow().slots[slot] {
            Slot::Woken(place) => Ok(*place),
            Slot::Waiting { waker, .. } => Err(waker.will_wake(context.waker())),
        };
        match known {
            Ok(_) if cancellation::is_pending() => cancellation::withhold(context),
            Ok(place) => {
                list.borrow_mut().leave(slot);
                self.slot = None;
                Poll::Ready(place)
            }
            Err(true) => Poll::Pending,
            Err(false) => {
                let mut new = context.waker().clone();
                if let Slot::Waiting { waker, .. } = &mut list.borrow_mut().slots[slot] {
                    std::mem::swap(waker, &mut new);
                }
                drop(new);
                Poll::Pending
            }
        }
    }
}

impl<L: FnMut()> Drop for Wait<'_, L> {
    fn drop(&mut self) {
        let Some(slot) = self.slot else { return };
        let left = self.list.0.borrow_mut().leave(slot);
        if matches!(left, Slot::Woken(_)) {
            (self.lost)();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    type Plain = Wait<'static, fn()>;

    thread_local! {
        static LIST: &'static WaitList = Box::leak(Box::default());
        static LATE: RefCell<Vec<Plain>> = const { RefCell::new(Vec::new()) };
    }

    /// Waits again, in its own wake-up.
    struct Again;

    impl Wake for Again {
        fn wake(self: Arc<Self>) {
            let mut wait = LIST.with(|list| list.wait((|| ()) as fn()));
            assert!(Pin::new(&mut wait).poll(&mut Context::from_waker(&self.into())).is_pending());
            LATE.with_borrow_mut(|late| late.push(wait));
        }
    }

    #[test]
    fn who_joins_while_others_are_woken_is_not_woken_with_them() {
        let list = LIST.with(|list| *list);
        let waker = Waker::from(Arc::new(Again));
        let mut context = Context::from_waker(&waker);
        let mut waits = [(); 2].map(|()| list.wait(|| ()));
        for wait in &mut waits {
            assert!(Pin::new(wait).poll(&mut context).is_pending());
        }
        list.wake_all();
        assert_eq!(list.len(), 4);
        for (place, wait) in waits.iter_mut().enumerate() {
            assert_eq!(Pin::new(wait).poll(&mut context), Poll::Ready(place));
        }
        for mut late in LATE.take() {
            assert!(Pin::new(&mut late).poll(&mut context).is_pending());
        }
        assert_eq!(list.len(), 0);
        assert!(!list.wake_one());
    }

    #[test]
    fn memory_for_many_is_given_back() {
        let list = WaitList::default();
        let mut context = Context::from_waker(Waker::noop());
        let mut waits: Vec<_> = (0..1000).map(|_| list.wait(|| ())).collect();
        for wait in &mut waits {
            assert!(Pin::new(wait).poll(&mut context).is_pending());
        }
        // From the middle, the end and the beginning.
        for place in [500, 998, 0] {
            drop(waits.remove(place));
        }
        assert_eq!(list.wake(2), 2);
        assert_eq!(Pin::new(&mut waits[1]).poll(&mut context), Poll::Ready(1));
        drop(waits);
        assert!(list.0.borrow().slots.capacity() <= KEPT);
    }
}
