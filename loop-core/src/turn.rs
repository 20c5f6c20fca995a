//! Turns: one at a time, in the order in which they were asked for.
//!
//! Receives of one socket take turns, each from before it is submitted until its outcome was taken or dropped. Were the
//! second with the backend by then, it might have later bytes already when the first is given up with earlier ones, which
//! are the next receive's.
//!
//! Invariant: while nobody has the turn, whoever is first in the line has been woken. Wakers are cloned, woken and dropped
//! while nothing is borrowed.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::cancellation;

#[derive(Default)]
pub(crate) struct Turns {
    taken: Cell<bool>,
    next: Cell<u64>,
    line: RefCell<VecDeque<(u64, Waker)>>,
}

impl Turns {
    /// Waits for a turn, which ends when what this gives is dropped. Dropped while it waits, it leaves the line.
    pub(crate) fn take(&self) -> Waiting<'_> {
        Waiting { turns: self, place: None }
    }

    fn is_first(&self, place: Option<u64>) -> bool {
        self.line.borrow().front().map(|first| first.0) == place
    }

    /// Wakes whoever is first, if nobody has the turn.
    fn pass_on(&self) {
        if self.taken.get() {
            return;
        }
        let first = self.line.borrow().front().map(|first| first.1.clone());
        if let Some(first) = first {
            first.wake();
        }
    }

    fn leave(&self, place: u64) {
        let left = {
            let mut line = self.line.borrow_mut();
            let index = line.iter().position(|other| other.0 == place);
            index.and_then(|index| line.remove(index))
        };
        drop(left);
    }

    fn stand(&self, place: &mut Option<u64>, waker: &Waker) {
        let waker = waker.clone();
        let old = {
            let mut line = self.line.borrow_mut();
            match place {
                Some(place) => {
                    let own = line.iter_mut().find(|other| other.0 == *place);
                    own.map(|own| std::mem::replace(&mut own.1, waker))
                }
                None => {
                    let number = self.next.get();
                    self.next.set(number + 1);
                    *place = Some(number);
                    line.push_back((number, waker));
                    None
                }
            }
        };
        drop(old);
    }
}

/// A turn that is waited for.
pub(crate) struct Waiting<'a> {
    turns: &'a Turns,
    place: Option<u64>,
}

impl<'a> Future for Waiting<'a> {
    type Output = Turn<'a>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Turn<'a>> {
        let turns = self.turns;
        if turns.taken.get() || !turns.is_first(self.place) {
            turns.stand(&mut self.place, context.waker());
            return Poll::Pending;
        }
        if self.place.is_some() && cancellation::is_pending() {
            return cancellation::withhold(context);
        }
        turns.taken.set(true);
        if let Some(place) = self.place.take() {
            turns.leave(place);
        }
        Poll::Ready(Turn(turns))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.turns.leave(place);
            self.turns.pass_on();
        }
    }
}

/// A turn; the next one's when this is dropped.
pub(crate) struct Turn<'a>(&'a Turns);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.taken.set(false);
        self.0.pass_on();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn poll<'a>(waiting: Pin<&mut Waiting<'a>>, woken: &Arc<Woken>) -> Poll<Turn<'a>> {
        waiting.poll(&mut Context::from_waker(&Waker::from(Arc::clone(woken))))
    }

    fn count(woken: &Arc<Woken>) -> usize {
        woken.0.load(Ordering::Relaxed)
    }

    #[test]
    fn turns_come_in_the_order_they_were_asked_for() {
        let turns = Turns::default();
        let [one, two, three]: [Arc<Woken>; 3] = Default::default();
        let Poll::Ready(first) = poll(pin!(turns.take()), &one) else { panic!("it is free") };
        let (mut second, mut third) = (pin!(turns.take()), pin!(turns.take()));
        assert!(poll(second.as_mut(), &two).is_pending() && poll(third.as_mut(), &three).is_pending());
        drop(first);
        assert_eq!((count(&two), count(&three)), (1, 0));
        assert!(poll(third.as_mut(), &three).is_pending(), "no overtaking");
        let mut late = pin!(turns.take());
        assert!(poll(late.as_mut(), &one).is_pending(), "not even where nobody has the turn");
        let Poll::Ready(turn) = poll(second.as_mut(), &two) else { panic!("its turn") };
        drop(turn);
        assert_eq!(count(&three), 1);
        assert!(poll(third.as_mut(), &three).is_ready());
    }

    #[test]
    fn who_leaves_when_woken_passes_the_turn_on() {
        let turns = Turns::default();
        let [one, two, three]: [Arc<Woken>; 3] = Default::default();
        let Poll::Ready(first) = poll(pin!(turns.take()), &one) else { panic!("it is free") };
        let mut third = Box::pin(turns.take());
        {
            let mut second = pin!(turns.take());
            assert!(poll(second.as_mut(), &two).is_pending() && poll(third.as_mut(), &three).is_pending());
            drop(first);
            assert_eq!((count(&two), count(&three)), (1, 0));
        }
        assert_eq!(count(&three), 1);
        assert!(poll(third.as_mut(), &three).is_ready());
        assert!(turns.line.borrow().is_empty());
    }
}
