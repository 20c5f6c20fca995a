//! A counted pointer of one thread, like [`Rc`](std::rc::Rc), to what comes and goes in crowds: futures and callbacks of the
//! loop. What it points to lies in the blocks of [`memory`](crate::memory), which `Rc` has no way to ask for.
//!
//! Invariants: the count is that of the pointers there are, and a bit that says where the memory is from; the last one drops
//! the value and gives the memory up there.

use std::alloc::Layout;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::NonNull;

use crate::memory::{self, Room};

/// Where a value lies. The value is last, so that a pointer can forget what it is.
#[repr(C)]
pub(crate) struct Place<T: ?Sized> {
    count: Cell<usize>,
    value: T,
}

/// Of the count: the memory is not a block that is used again.
const APART: usize = 1;

/// One pointer.
const ONE: usize = 2;

pub(crate) struct Counted<T: ?Sized> {
    place: NonNull<Place<T>>,
    owns: PhantomData<Place<T>>,
}

impl<T> Counted<T> {
    /// A value, made in its place: one that is made before there is a place for it has to be copied.
    #[inline(always)]
    pub(crate) fn new_with(make: impl FnOnce() -> T) -> Self {
        let place = memory::allocate::<Place<T>>();
        // SAFETY: memory for it.
        unsafe { place.write(Place { count: Cell::new(ONE), value: make() }) };
        Self { place, owns: PhantomData }
    }

    /// The same in memory that is not kept afterwards: see [`memory::allocate_apart`].
    pub(crate) fn apart_with(make: impl FnOnce() -> T) -> Self {
        let place = memory::allocate_apart::<Place<T>>();
        // SAFETY: memory for it.
        unsafe { place.write(Place { count: Cell::new(APART | ONE), value: make() }) };
        Self { place, owns: PhantomData }
    }

    /// The same value as something less certain: `cast` is a coercion, such as `|place| place as *mut Place<dyn Trait>`.
    ///
    /// # Safety
    ///
    /// It gives the pointer that it is given.
    pub(crate) unsafe fn coerce<U: ?Sized>(self, cast: impl FnOnce(*mut Place<T>) -> *mut Place<U>) -> Counted<U> {
        // SAFETY: the same pointer as before.
        let place = unsafe { NonNull::new_unchecked(cast(self.place.as_ptr())) };
        std::mem::forget(self);
        Counted { place, owns: PhantomData }
    }

    /// As a bare pointer, for [`from_raw`](Self::from_raw).
    pub(crate) fn into_raw(self) -> NonNull<()> {
        let place = self.place.cast();
        std::mem::forget(self);
        place
    }

    /// # Safety
    ///
    /// The pointer is from `into_raw` of this type, and is not used again.
    pub(crate) unsafe fn from_raw(place: NonNull<()>) -> Self {
        Self { place: place.cast(), owns: PhantomData }
    }
}

impl<T> Counted<T> {
    /// What one that was made bare points to.
    ///
    /// # Safety
    ///
    /// The pointer is from [`into_raw`](Self::into_raw) of this type, and not used up for as long.
    #[inline(always)]
    pub(crate) unsafe fn at<'a>(place: NonNull<()>) -> &'a T {
        // SAFETY: the caller's.
        unsafe { &(*place.cast::<Place<T>>().as_ptr()).value }
    }
}

impl<T: ?Sized> Counted<T> {
    #[inline]
    fn place(&self) -> &Place<T> {
        // SAFETY: alive while there is a pointer to it, and only shared.
        unsafe { self.place.as_ref() }
    }
}

impl<T: ?Sized> Deref for Counted<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.place().value
    }
}

impl<T: ?Sized> Clone for Counted<T> {
    #[inline]
    fn clone(&self) -> Self {
        let count = &self.place().count;
        match count.get().checked_add(ONE) {
            Some(more) => count.set(more),
            // So many can only come from leaking them in a loop.
            None => std::process::abort(),
        }
        Self { place: self.place, owns: PhantomData }
    }
}

impl<T: ?Sized> Drop for Counted<T> {
    #[inline(always)]
    fn drop(&mut self) {
        let count = &self.place().count;
        count.set(count.get() - ONE);
        if count.get() < ONE {
            // SAFETY: nobody else points to it any more.
            unsafe { self.end() };
        }
    }
}

impl<T: ?Sized> Counted<T> {
    /// # Safety
    ///
    /// This was the last pointer, and is not used again.
    #[inline(never)]
    unsafe fn end(&mut self) {
        /// Gives the memory up also where the value's destructor unwinds.
        struct Block<T: ?Sized>(NonNull<Place<ManuallyDrop<T>>>);
        impl<T: ?Sized> Drop for Block<T> {
            #[inline(always)]
            fn drop(&mut self) {
                // SAFETY: the place is there until it is given up, once, to where it says it is from; the value is gone.
                unsafe {
                    let (memory, place) = (self.0.cast(), self.0.as_ref());
                    let layout = Layout::for_value(place);
                    if place.count.get() & APART != 0 {
                        memory::free_apart(memory, layout);
                    } else {
                        memory::free(memory, Room::new(layout));
                    }
                };
            }
        }
        // SAFETY: a pointer to the same place, whose value is as large in whatever it is wrapped.
        let mut block = Block(unsafe { NonNull::new_unchecked(self.place.as_ptr() as *mut Place<ManuallyDrop<T>>) });
        // SAFETY: the caller's.
        unsafe { ManuallyDrop::drop(&mut block.0.as_mut().value) };
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Counted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::rc::Rc;

    use super::*;

    #[test]
    fn the_last_pointer_drops_the_value() {
        let value = Rc::new(7);
        let first = Counted::new_with(|| Rc::clone(&value));
        let second = first.clone();
        assert!(std::ptr::eq(&*first, &*second));
        drop(first);
        assert_eq!((Rc::strong_count(&value), **second), (2, 7));
        drop(second);
        assert_eq!(Rc::strong_count(&value), 1);
    }

    #[test]
    fn memory_that_is_apart_is_given_up_like_any_other() {
        let value = Rc::new(7);
        let first = Counted::apart_with(|| Rc::clone(&value));
        let second = first.clone();
        drop(first);
        assert_eq!((Rc::strong_count(&value), **second), (2, 7));
        drop(second);
        assert_eq!(Rc::strong_count(&value), 1);
    }

    #[test]
    fn a_value_is_what_it_was_when_nobody_knows_what_it_is() {
        let value = Rc::new(String::from("this"));
        let known = Counted::new_with(|| Rc::clone(&value));
        // SAFETY: a coercion.
        let unknown: Counted<dyn fmt::Debug> =
            unsafe { known.clone().coerce(|place| place as *mut Place<dyn fmt::Debug>) };
        assert_eq!(format!("{unknown:?}"), "\"this\"");
        let raw = known.into_raw();
        drop(unknown);
        // SAFETY: from above.
        assert_eq!(**unsafe { Counted::<Rc<String>>::from_raw(raw) }, "this");
        assert_eq!(Rc::strong_count(&value), 1);
    }

    #[test]
    fn a_destructor_that_unwinds_leaves_no_block_behind() {
        struct Unwinds([u64; 20]);
        impl Drop for Unwinds {
            fn drop(&mut self) {
                panic!("{}", self.0[19]);
            }
        }
        let place = |value: &Counted<[u64; 20]>| value.place.cast::<u8>();
        let unwinds = Counted::new_with(|| Unwinds([3; 20]));
        let before = unwinds.place.cast::<u8>();
        assert!(catch_unwind(AssertUnwindSafe(|| drop(unwinds))).is_err());
        // Where blocks are kept, this one is the next to be taken.
        assert!(cfg!(any(miri, loop_sanitizer)) || place(&Counted::new_with(|| [0_u64; 20])) == before);
    }
}
