//! The ready queue: what runs next, first in, first out.
//!
//! A ring of plain entries behind one cell. Nothing here runs user code: entries are pushed and popped, and an
//! entry that is dropped is dropped by the caller, outside (**I2**). So the queue is never entered twice, which is why it is
//! looked at without a borrow flag: each entry goes through here twice.
//!
//! A ring of our own, where a `VecDeque` would do as well, because that has an entry made before it sees whether there is room
//! for it: on the stack then, by two stores, from where one wide load copies it, which the processor can only do when
//! both stores have left for memory. Here there is room first, and the entry is made in its place.
//!
//! Invariants: the capacity is a power of two, or none; the entries from `head` to `tail` are there, and no others.

use std::cell::{Cell, UnsafeCell};
use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::rc::Rc;
use std::task::Waker;

use crate::concurrent::Arrived;
use crate::handle::{CallbackHandle, Handle};
use crate::task::{LocalWaker, Scheduled};
use crate::watch::Watch;

/// One entry.
pub(crate) enum Ready {
    /// A step of a task.
    Task(Scheduled),
    /// A callback.
    Callback(CallbackHandle),
    /// Anything else that runs once: a done callback, or a foreign handle.
    Handle(Rc<dyn Handle>),
    /// A task whose timer came: its step is queued at its turn, as by any other wake.
    Sleeper(LocalWaker),
    /// Somebody else whose timer came.
    Wake(Waker),
    /// The oldest completion that was not looked at yet.
    Completion,
    /// A reader or writer whose descriptor was found ready.
    Watch(Rc<Watch>),
    /// The outcome of another thread's work.
    Job(Arrived),
}

/// The capacity that it begins with.
const FIRST: usize = 64;

/// A capacity that is kept while there is nothing to do.
const KEPT: usize = 1024;

#[derive(Default)]
pub(crate) struct ReadyQueue {
    /// Numbers of entries, counted from when there was nothing to do: their places are the last bits.
    head: Cell<usize>,
    tail: Cell<usize>,
    ring: UnsafeCell<Box<[MaybeUninit<Ready>]>>,
}

impl ReadyQueue {
    #[inline]
    fn slots(&self) -> *mut [MaybeUninit<Ready>] {
        // SAFETY: of one thread, as the cell is, and this is private: what the functions below do with it calls nothing that
        // comes here again.
        unsafe { &raw mut **self.ring.get() }
    }

    #[inline]
    fn slot(&self, number: usize) -> *mut MaybeUninit<Ready> {
        let slots = self.slots();
        // SAFETY: within the capacity, which is a power of two where there is an entry of that number.
        unsafe { slots.cast::<MaybeUninit<Ready>>().add(number & (slots.len() - 1)) }
    }

    #[inline]
    pub(crate) fn push(&self, entry: Ready) {
        self.push_with(move || entry);
    }

    /// Makes an entry in its place. `make` only puts it together.
    #[inline(always)]
    pub(crate) fn push_with(&self, make: impl FnOnce() -> Ready) {
        let tail = self.tail.get();
        if tail.wrapping_sub(self.head.get()) == self.slots().len() {
            self.grow();
        }
        // SAFETY: there is room for one more, behind the last.
        unsafe { self.slot(tail).write(MaybeUninit::new(make())) };
        self.tail.set(tail.wrapping_add(1));
    }

    #[inline]
    pub(crate) fn pop(&self) -> Option<Ready> {
        let head = self.head.get();
        if head == self.tail.get() {
            return None;
        }
        self.head.set(head.wrapping_add(1));
        // SAFETY: it was there, and is not any more.
        Some(unsafe { (*self.slot(head)).assume_init_read() })
    }

    /// The next entry, if it is a task's step. What was put there by one store is read by one load of its width, at once.
    #[inline]
    pub(crate) fn pop_task(&self) -> Option<Scheduled> {
        let head = self.head.get();
        if head == self.tail.get() {
            return None;
        }
        // SAFETY: it is there; and is not any more, where it is taken.
        unsafe {
            let Ready::Task(task) = (*self.slot(head)).assume_init_ref() else { return None };
            self.head.set(head.wrapping_add(1));
            Some(std::ptr::read(task))
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.tail.get().wrapping_sub(self.head.get())
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head.get() == self.tail.get()
    }

    /// Everything, for the caller to drop.
    pub(crate) fn take(&self) -> VecDeque<Ready> {
        std::iter::from_fn(|| self.pop()).collect()
    }

    /// There is nothing to do for a while: what a crowd needed is given back. The next entries lie where the first ones lay, for
    /// those who go round a ring that few need have each of its lines fetched from further away.
    #[inline]
    pub(crate) fn rest(&self) {
        if !self.is_empty() {
            return;
        }
        self.head.set(0);
        self.tail.set(0);
        if self.slots().len() > KEPT {
            self.set_capacity(KEPT);
        }
    }

    /// Twice as much room.
    #[cold]
    #[inline(never)]
    fn grow(&self) {
        self.set_capacity(FIRST.max(2 * self.slots().len()));
    }

    /// A power of two, and room for all that are there.
    fn set_capacity(&self, capacity: usize) {
        let mut ring = Box::new_uninit_slice(capacity);
        let (head, tail) = (self.head.get(), self.tail.get());
        let mut number = head;
        while number != tail {
            // SAFETY: the entry is moved from its old place to its new one.
            ring[number & (capacity - 1)] = unsafe { self.slot(number).read() };
            number = number.wrapping_add(1);
        }
        // SAFETY: as for `slots`. The old ring has none any more.
        unsafe { *self.ring.get() = ring };
    }
}

/// The loop takes everything out when it closes; this is for one whose building failed.
impl Drop for ReadyQueue {
    fn drop(&mut self) {
        drop(self.take());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    struct Number(usize);
    impl Wake for Number {
        fn wake(self: Arc<Self>) {}
    }

    fn entry(number: usize, all: &mut Vec<Arc<Number>>) -> Ready {
        let it = Arc::new(Number(number));
        all.push(Arc::clone(&it));
        Ready::Wake(it.into())
    }

    fn number(entry: Ready) -> usize {
        let Ready::Wake(waker) = entry else { panic!("nobody pushed that") };
        // SAFETY: made from an `Arc` of that type, by `entry`.
        unsafe { &*waker.data().cast::<Number>() }.0
    }

    /// Around the ring's end, through its growth, and past the numbers' end.
    #[test]
    fn entries_come_out_in_the_order_they_went_in() {
        let queue = ReadyQueue::default();
        let start = usize::MAX - 300;
        queue.head.set(start);
        queue.tail.set(start);
        let mut all = Vec::new();
        let (mut pushed, mut popped) = (0, 0);
        for round in 0..200 {
            for _ in 0..round % 7 + 1 {
                queue.push(entry(pushed, &mut all));
                pushed += 1;
            }
            for _ in 0..round % 5 {
                assert_eq!(queue.pop().map(number), (popped < pushed).then_some(popped));
                popped = pushed.min(popped + 1);
            }
            assert_eq!((queue.len(), queue.is_empty()), (pushed - popped, pushed == popped));
        }
        let rest: Vec<usize> = queue.take().into_iter().map(number).collect();
        assert_eq!(rest, (popped..pushed).collect::<Vec<_>>());
        assert!(queue.pop().is_none() && all.iter().all(|entry| Arc::strong_count(entry) == 1));
    }

    #[test]
    fn room_for_a_crowd_is_given_back() {
        let mut all = Vec::new();
        let queue = ReadyQueue::default();
        (0..5000).for_each(|number| queue.push(entry(number, &mut all)));
        queue.rest();
        assert_eq!(queue.slots().len(), 8192, "there is something to do");
        (0..5000).for_each(|expected| assert_eq!(queue.pop().map(number), Some(expected)));
        queue.rest();
        assert_eq!(queue.slots().len(), KEPT);
        queue.push(entry(5000, &mut all));
        assert_eq!(queue.pop().map(number), Some(5000));
    }

    #[test]
    fn what_is_left_goes_with_the_queue() {
        let mut all = Vec::new();
        let queue = ReadyQueue::default();
        (0..100).for_each(|number| queue.push(entry(number, &mut all)));
        drop(queue);
        assert!(all.iter().all(|entry| Arc::strong_count(entry) == 1));
    }
}
