//! Which item of a queue is next.
//!
//! To compare items is to run code of the user's, which may use this very queue. So the heap is out of its cell while it
//! compares, and what the comparison put meanwhile is added when it is back.

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

pub(super) enum Items<T> {
    FirstInFirstOut(RefCell<VecDeque<T>>),
    LastInFirstOut(RefCell<Vec<T>>),
    LowestFirst(Heap<T>),
}

impl<T> Items<T> {
    pub(super) fn first_in_first_out() -> Self {
        Self::FirstInFirstOut(RefCell::default())
    }

    pub(super) fn last_in_first_out() -> Self {
        Self::LastInFirstOut(RefCell::default())
    }

    pub(super) fn lowest_first() -> Self
    where
        T: Ord,
    {
        Self::LowestFirst(Heap { entries: RefCell::default(), lent: Cell::new(0), put: Cell::new(0), compare: T::cmp })
    }

    pub(super) fn put(&self, item: T) {
        match self {
            Self::FirstInFirstOut(items) => items.borrow_mut().push_back(item),
            Self::LastInFirstOut(items) => items.borrow_mut().push(item),
            Self::LowestFirst(heap) => heap.put(item),
        }
    }

    pub(super) fn next(&self) -> Option<T> {
        match self {
            Self::FirstInFirstOut(items) => items.borrow_mut().pop_front(),
            Self::LastInFirstOut(items) => items.borrow_mut().pop(),
            Self::LowestFirst(heap) => heap.next(),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::FirstInFirstOut(items) => items.borrow().len(),
            Self::LastInFirstOut(items) => items.borrow().len(),
            Self::LowestFirst(heap) => heap.len(),
        }
    }

    /// All of them, in no order.
    pub(super) fn take(&self) -> Vec<T> {
        match self {
            Self::FirstInFirstOut(items) => items.take().into(),
            Self::LastInFirstOut(items) => items.take(),
            Self::LowestFirst(heap) => heap.entries.take().into_iter().map(|entry| entry.item).collect(),
        }
    }
}

pub(super) struct Heap<T> {
    entries: RefCell<BinaryHeap<Entry<T>>>,
    /// How many are out of the cell, while they are compared.
    lent: Cell<usize>,
    /// How many were ever put.
    put: Cell<u64>,
    compare: fn(&T, &T) -> Ordering,
}

/// Of two, the greater is next: the lower item, and of equal ones the earlier.
struct Entry<T> {
    item: T,
    number: u64,
    compare: fn(&T, &T) -> Ordering,
}

/// The heap while it is out of its cell; it goes back whatever a comparison does.
struct Lent<'a, T> {
    heap: &'a Heap<T>,
    entries: BinaryHeap<Entry<T>>,
    counted: usize,
}

impl<T> Heap<T> {
    fn lend(&self) -> Lent<'_, T> {
        let entries = self.entries.take();
        let counted = entries.len();
        self.lent.set(self.lent.get() + counted);
        Lent { heap: self, entries, counted }
    }

    fn put(&self, item: T) {
        let number = self.put.get();
        self.put.set(number + 1);
        self.lend().entries.push(Entry { item, number, compare: self.compare });
    }

    fn next(&self) -> Option<T> {
        self.lend().entries.pop().map(|entry| entry.item)
    }

    fn len(&self) -> usize {
        self.entries.borrow().len() + self.lent.get()
    }
}

impl<T> Drop for Lent<'_, T> {
    fn drop(&mut self) {
        // Nearly always empty: what a comparison put meanwhile.
        let mut meanwhile = self.heap.entries.take();
        while !meanwhile.is_empty() {
            self.entries.append(&mut meanwhile);
            meanwhile = self.heap.entries.take();
        }
        self.heap.lent.set(self.heap.lent.get() - self.counted);
        self.heap.entries.replace(std::mem::take(&mut self.entries));
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.compare)(&other.item, &self.item).then_with(|| other.number.cmp(&self.number))
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Entry<T> {}
