//! Who is told when a future or task is done: wakers and done callbacks, in the order they came.
//!
//! Wakers are woken, and callbacks queued, in one order, as asyncio has one list for both. The list hands itself out
//! whole; nothing here runs user code.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;

use crate::done::Done;
use crate::event_loop::Inner;
use crate::ready::Ready;

/// Names one `add_done_callback`, for `remove_done_callback`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallbackId(u64);

impl CallbackId {
    pub(crate) fn next() -> Self {
        thread_local!(static NEXT: Cell<u64> = const { Cell::new(0) });
        let id = NEXT.get();
        NEXT.set(id + 1);
        Self(id)
    }
}

enum Waiter {
    Waker(Waker),
    Callback(CallbackId, Rc<dyn Done>),
}

/// Nearly always none or one, which costs no allocation.
#[derive(Default)]
enum List {
    #[default]
    Empty,
    One(Waiter),
    Many(Vec<Waiter>),
}

#[derive(Default)]
pub(crate) struct Waiters(RefCell<List>);

impl Waiters {
    /// Adds a waker, unless it is one of the last few already: a task that polls again is told once. (Should one
    /// slip through, it is woken for nothing once.)
    pub(crate) fn add_waker(&self, waker: &Waker) {
        let known = match &*self.0.borrow() {
            List::Empty => false,
            List::One(Waiter::Waker(old)) => old.will_wake(waker),
            List::One(_) => false,
            List::Many(list) => {
                list.iter().rev().take(4).any(|waiter| matches!(waiter, Waiter::Waker(old) if old.will_wake(waker)))
            }
        };
        if !known {
            self.push(Waiter::Waker(waker.clone()));
        }
    }

    pub(crate) fn add_callback(&self, id: CallbackId, handle: Rc<dyn Done>) {
        self.push(Waiter::Callback(id, handle));
    }

    fn push(&self, waiter: Waiter) {
        let mut list = self.0.borrow_mut();
        match &mut *list {
            List::Empty => *list = List::One(waiter),
            List::Many(waiters) => waiters.push(waiter),
            List::One(_) => {
                if let List::One(first) = std::mem::take(&mut *list) {
                    *list = List::Many(vec![first, waiter]);
                }
            }
        }
    }

    /// Takes a callback off; the caller drops it.
    pub(crate) fn remove_callback(&self, id: CallbackId) -> Option<Rc<dyn Done>> {
        let mut list = self.0.borrow_mut();
        let is_it = |waiter: &Waiter| matches!(waiter, Waiter::Callback(known, _) if *known == id);
        let removed = match &mut *list {
            List::One(waiter) if is_it(waiter) => match std::mem::take(&mut *list) {
                List::One(waiter) => Some(waiter),
                _ => None,
            },
            List::Many(waiters) => waiters.iter().position(is_it).map(|place| waiters.remove(place)),
            _ => None,
        };
        match removed {
            Some(Waiter::Callback(_, handle)) => Some(handle),
            _ => None,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(&*self.0.borrow(), List::Empty)
    }

    /// Tells everyone, through the ready queue: nobody runs before this returns. False where there was a callback
    /// that the loop, being closed, could not take.
    pub(crate) fn notify(&self, inner: &Rc<Inner>, bind: impl Fn(&dyn Done)) -> bool {
        let list = self.0.take();
        match list {
            List::Empty => true,
            List::One(waiter) => tell(waiter, inner, &bind),
            List::Many(waiters) => waiters.into_iter().fold(true, |all, waiter| tell(waiter, inner, &bind) && all),
        }
    }

    /// Lets go of everyone, untold.
    pub(crate) fn clear(&self) {
        let list = self.0.take();
        drop(list);
    }
}

fn tell(waiter: Waiter, inner: &Rc<Inner>, bind: &impl Fn(&dyn Done)) -> bool {
    match waiter {
        Waiter::Waker(waker) => {
            waker.wake();
            true
        }
        Waiter::Callback(_, handle) => {
            let open = !inner.closed.get();
            if open {
                bind(&*handle);
                inner.ready.push(Ready::Handle(handle));
            } else {
                inner.dispose(handle);
            }
            open
        }
    }
}
