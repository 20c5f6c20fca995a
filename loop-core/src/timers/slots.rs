//! The slots of the timers: what each timer is for, by number.
//!
//! Slots lie in pages, so that growing copies nothing and leaves nothing behind: a list that doubles left 20 bytes a timer, of
//! 100,000, to others who may never come. What a timer is for takes two words, as what would take three is rare and goes into a
//! box; so a slot is 24 bytes.
//!
//! Invariants: a slot is in the list of those that are free, which goes through themselves, or one entry of the queue names it;
//! one that is free is for nothing, and keys of its earlier timers are stale.

use std::num::NonZeroU32;
use std::task::Waker;

use super::Target;
use crate::handle::CallbackHandle;
use crate::task::LocalWaker;

/// Slots of a page, which is 6 KiB.
const PAGE: usize = 256;

/// No slot.
const NONE: u32 = u32::MAX;

pub(super) struct Slot {
    /// Of its timer's key.
    pub(super) generation: NonZeroU32,
    /// Where it is free: the next one that is.
    next: u32,
    target: Content,
}

/// A [`Target`], or nothing.
enum Content {
    Callback(CallbackHandle),
    Other(Word),
}

/// Null; or a task of this thread; or, as its last bit says, a waker in a box.
struct Word(*mut ());

impl Word {
    const NOTHING: Self = Self(std::ptr::null_mut());
    const WAKER: usize = 1;

    fn task(task: LocalWaker) -> Self {
        Self(task.into_raw())
    }

    fn waker(waker: Box<Waker>) -> Self {
        Self(Box::into_raw(waker).cast::<()>().map_addr(|address| address | Self::WAKER))
    }

    fn is_null(&self) -> bool {
        self.0.is_null()
    }

    /// The waker that it stands for.
    fn as_waker(&self) -> Option<*mut Waker> {
        (self.0.addr() & Self::WAKER != 0).then(|| self.0.map_addr(|address| address & !Self::WAKER).cast())
    }

    /// What it stands for, taken out.
    #[inline]
    fn take(&mut self) -> Option<Target> {
        let word = std::mem::replace(self, Self::NOTHING);
        // SAFETY: taken out, so used once; it is what its last bit says.
        unsafe {
            match word.as_waker() {
                _ if word.is_null() => None,
                Some(waker) => Some(Target::Waker(*Box::from_raw(waker))),
                None => Some(Target::Task(LocalWaker::from_raw(word.0))),
            }
        }
    }
}

/// A look at what a timer is for.
pub(super) enum Look<'a> {
    Callback,
    Task(&'a LocalWaker),
    Waker(&'a Waker),
}

impl Slot {
    fn new(next: u32) -> Self {
        Self { generation: NonZeroU32::MIN, next, target: Content::Other(Word::NOTHING) }
    }

    /// Whether it is for something: not where its timer was cancelled.
    #[inline]
    pub(super) fn is_set(&self) -> bool {
        !matches!(&self.target, Content::Other(word) if word.is_null())
    }

    #[inline]
    pub(super) fn look(&self) -> Option<Look<'_>> {
        let word = match &self.target {
            Content::Callback(_) => return Some(Look::Callback),
            Content::Other(word) => word,
        };
        // SAFETY: what the word stands for is the slot's, and stays there while it is looked at; a `LocalWaker` is the pointer
        // that it is made of.
        unsafe {
            match word.as_waker() {
                _ if word.is_null() => None,
                Some(waker) => Some(Look::Waker(&*waker)),
                None => Some(Look::Task(&*std::ptr::from_ref(&word.0).cast())),
            }
        }
    }

    /// It is for nothing, and from now on for this.
    #[inline]
    pub(super) fn set(&mut self, target: Target) {
        debug_assert!(!self.is_set());
        let content = match target {
            Target::Callback(handle) => Content::Callback(handle),
            Target::Task(task) => Content::Other(Word::task(task)),
            Target::Waker(waker) => Content::Other(Word::waker(Box::new(waker))),
        };
        // Forgotten, as there was nothing.
        std::mem::forget(std::mem::replace(&mut self.target, content));
    }

    /// It is for nothing from now on.
    #[inline]
    pub(super) fn take(&mut self) -> Option<Target> {
        if let Content::Other(word) = &mut self.target {
            return word.take();
        }
        match std::mem::replace(&mut self.target, Content::Other(Word::NOTHING)) {
            Content::Callback(handle) => Some(Target::Callback(handle)),
            Content::Other(_) => None,
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        drop(self.take());
    }
}

pub(super) struct Slots {
    pages: Vec<Box<[Slot; PAGE]>>,
    /// The first that is free.
    free: u32,
}

impl Default for Slots {
    fn default() -> Self {
        Self { pages: Vec::new(), free: NONE }
    }
}

impl Slots {
    #[inline]
    pub(super) fn get(&self, number: u32) -> &Slot {
        &self.pages[number as usize / PAGE][number as usize % PAGE]
    }

    #[inline]
    pub(super) fn get_mut(&mut self, number: u32) -> &mut Slot {
        &mut self.pages[number as usize / PAGE][number as usize % PAGE]
    }

    /// Takes one that is free.
    #[inline]
    pub(super) fn obtain(&mut self) -> (u32, &mut Slot) {
        if self.free == NONE {
            self.grow();
        }
        let number = self.free;
        let slot = &mut self.pages[number as usize / PAGE][number as usize % PAGE];
        self.free = slot.next;
        (number, slot)
    }

    /// The slot's entry has left the queue. It is for nothing, or what it is for is about to be taken.
    #[inline]
    pub(super) fn release(&mut self, number: u32) {
        let free = self.free;
        let slot = self.get_mut(number);
        // Keys that name it so far are stale from here on.
        slot.generation = slot.generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        slot.next = free;
        self.free = number;
    }

    #[cold]
    fn grow(&mut self) {
        let count = self.pages.len() * PAGE;
        let first = u32::try_from(count).ok().filter(|first| *first < NONE - PAGE as u32);
        let first = first.expect("fewer than 2^32 timers");
        let next = |place: usize| if place + 1 < PAGE { first + place as u32 + 1 } else { NONE };
        let page: Box<[Slot]> = (0..PAGE).map(|place| Slot::new(next(place))).collect();
        self.pages.push(page.try_into().unwrap_or_else(|_| unreachable!("made of so many")));
        self.free = first;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    struct Nothing;
    impl Wake for Nothing {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn a_slot_is_three_words() {
        assert_eq!(size_of::<Slot>(), 24);
    }

    /// For Miri: what is in a slot is there once, also at the end.
    #[test]
    fn slots_hold_what_they_are_given_once() {
        let known = Arc::new(Nothing);
        let target = || Target::Waker(Arc::clone(&known).into());
        let mut slots = Slots::default();
        let numbers: Vec<u32> = (0..2 * PAGE + 1)
            .map(|_| {
                let (number, slot) = slots.obtain();
                slot.set(target());
                number
            })
            .collect();
        assert_eq!(Arc::strong_count(&known), 2 * PAGE + 2);
        let generation = slots.get(numbers[7]).generation;
        assert!(
            matches!(slots.get(numbers[7]).look(), Some(Look::Waker(waker)) if waker.data() == Arc::as_ptr(&known).cast())
        );
        for &number in &numbers[..PAGE] {
            assert!(matches!(slots.get_mut(number).take(), Some(Target::Waker(_))));
            assert!(slots.get_mut(number).take().is_none() && slots.get(number).look().is_none());
            slots.release(number);
        }
        assert_eq!(Arc::strong_count(&known), PAGE + 2);
        // The one that was released last is the first to be used again, under another name.
        let (number, slot) = slots.obtain();
        assert_eq!(number, numbers[PAGE - 1]);
        slot.set(target());
        assert_ne!(slots.get(numbers[7]).generation, generation);
        drop(slots);
        assert_eq!(Arc::strong_count(&known), 1);
    }
}
