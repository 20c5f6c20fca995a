//! A pointer with an await's place in the same word: what a handle is that can be awaited.
//!
//! A handle of two words is stored in two parts and copied whole, over and over as it goes from hand to hand, and a processor waits
//! for that each time. So the place (see [`Place`]) is a bit of the pointer: nearly always who awaits waits alone, if at all. Whoever
//! waits among others has its place in memory of its own, [`Apart`], to which the word points then, and which has the pointer.
//!
//! Invariants: the word is changed by whoever has the handle to itself; a word that points to an `Apart` owns it, and whoever has
//! the handle clears the place before that goes; what is pointed to is aligned to four bytes at least.

use std::cell::Cell;
use std::ptr::NonNull;

use crate::waiters::{CallbackId, Place, Seat};

/// It waits alone.
const ALONE: usize = 1;
/// The pointer is to an [`Apart`].
const APART: usize = 2;

/// A pointer to anything, and a place.
pub(crate) struct Placed(NonNull<()>);

struct Apart {
    target: NonNull<()>,
    place: Place,
}

/// The place in a pointer, to be changed.
pub(crate) struct InPointer<'a>(&'a Cell<NonNull<()>>);

impl Placed {
    /// No place as yet.
    #[inline(always)]
    pub(crate) fn new(target: NonNull<()>) -> Self {
        debug_assert!(target.addr().get() & (ALONE | APART) == 0);
        Self(target)
    }

    /// What it points to.
    #[inline(always)]
    pub(crate) fn target(&self) -> NonNull<()> {
        target(self.0)
    }

    /// The same; none where its place is apart.
    #[inline(always)]
    pub(crate) fn plain_target(&self) -> Option<NonNull<()>> {
        apart(self.0).is_none().then(|| bare(self.0))
    }

    /// It points there, and has this place: alone, or none.
    #[inline(always)]
    pub(crate) fn set(&mut self, target: NonNull<()>, alone: bool) {
        debug_assert!(apart(self.0).is_none() && bare(self.0) == target);
        // SAFETY: aligned further, so it is not null.
        self.0 = unsafe { NonNull::new_unchecked(target.as_ptr().wrapping_byte_add(usize::from(alone))) };
    }

    /// Whether there is a place.
    #[inline(always)]
    pub(crate) fn has_place(&self) -> bool {
        self.0.addr().get() & (ALONE | APART) != 0
    }

    #[inline(always)]
    pub(crate) fn place(&mut self) -> InPointer<'_> {
        InPointer(Cell::from_mut(&mut self.0))
    }
}

#[inline(always)]
fn target(word: NonNull<()>) -> NonNull<()> {
    match apart(word) {
        // SAFETY: the word's own.
        Some(apart) => unsafe { apart.as_ref() }.target,
        None => bare(word),
    }
}

#[inline(always)]
fn apart(word: NonNull<()>) -> Option<NonNull<Apart>> {
    (word.addr().get() & APART != 0).then(|| bare(word).cast())
}

#[inline(always)]
fn bare(word: NonNull<()>) -> NonNull<()> {
    // SAFETY: what is pointed to is aligned further than by the bits that go, and is not null.
    unsafe { NonNull::new_unchecked(word.as_ptr().map_addr(|address| address & !(ALONE | APART))) }
}

impl InPointer<'_> {
    /// A place of its own, where one bit does not say it all.
    #[cold]
    fn apart(&self) -> NonNull<Apart> {
        let word = self.0.get();
        apart(word).unwrap_or_else(|| {
            let place = Place::default();
            place.set(self.get());
            let apart = NonNull::from(Box::leak(Box::new(Apart { target: bare(word), place }))).cast::<()>();
            self.0.set(apart.map_addr(|address| address | APART));
            apart.cast()
        })
    }
}

impl Seat for InPointer<'_> {
    fn get(&self) -> Option<CallbackId> {
        let word = self.0.get();
        match apart(word) {
            // SAFETY: the word's own.
            Some(apart) => unsafe { apart.as_ref() }.place.get(),
            None => (word.addr().get() & ALONE != 0).then_some(CallbackId::ALONE),
        }
    }

    fn set(&self, id: Option<CallbackId>) {
        match id {
            None if apart(self.0.get()).is_none() => self.clear(),
            Some(CallbackId::ALONE) if self.is_clear() => self.set_alone(),
            // SAFETY: the word's own.
            id => unsafe { self.apart().as_ref() }.place.set(id),
        }
    }

    #[inline(always)]
    fn is_clear(&self) -> bool {
        self.0.get().addr().get() & (ALONE | APART) == 0
    }

    #[inline(always)]
    fn set_alone(&self) {
        debug_assert!(self.is_clear());
        self.0.set(self.0.get().map_addr(|address| address | ALONE));
    }

    #[inline(always)]
    fn clear(&self) {
        let word = self.0.get();
        if let Some(apart) = apart(word) {
            // SAFETY: from a box; the word does not point to it any more.
            unsafe {
                self.0.set(apart.as_ref().target);
                drop(Box::from_raw(apart.as_ptr()));
            }
        } else {
            self.0.set(bare(word));
        }
    }

    fn mark(&self) {
        // SAFETY: the word's own.
        unsafe { self.apart().as_ref() }.place.mark();
    }

    fn take_mark(&self) -> bool {
        // SAFETY: the word's own.
        apart(self.0.get()).is_some_and(|apart| unsafe { apart.as_ref() }.place.take_mark())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// For Miri: wherever the place is, it is told, and so is what is pointed to.
    #[test]
    fn a_pointer_has_its_target_and_its_place() {
        let value = 7_u64;
        let target = NonNull::from(&value).cast::<()>();
        let mut placed = Placed::new(target);
        let ids = [(); 3].map(|()| CallbackId::next());
        for id in
            [None, Some(CallbackId::ALONE), Some(ids[0]), Some(ids[1]), None, Some(ids[2]), Some(CallbackId::ALONE)]
        {
            placed.place().set(id);
            assert_eq!((placed.place().get(), placed.target()), (id, target));
            assert_eq!(placed.has_place(), !placed.place().is_clear());
        }
        placed.place().clear();
        assert!(placed.place().is_clear() && !placed.place().take_mark());
        placed.place().mark();
        for id in [Some(ids[0]), None] {
            placed.place().set(id);
            assert_eq!((placed.place().get(), placed.target()), (id, target));
        }
        assert!(placed.place().take_mark() && !placed.place().take_mark());
        placed.place().clear();
        placed.place().set_alone();
        assert_eq!((placed.place().get(), placed.target()), (Some(CallbackId::ALONE), target));
        placed.place().set(Some(ids[0]));
        placed.place().clear();
    }
}

#[cfg(all(test, feature = "testing", not(loom)))]
mod handle_tests {
    use std::future::{Future, poll_fn};
    use std::pin::Pin;
    use std::task::Poll;
    use std::time::Duration;

    use crate::testing::VirtualBackend;
    use crate::{EventLoop, LoopFuture, LoopTask, TaskError};

    #[test]
    fn handles_are_one_word() {
        assert_eq!(size_of::<LoopFuture<[u64; 9]>>(), size_of::<usize>());
        assert_eq!(size_of::<Option<LoopFuture<u64>>>(), size_of::<usize>());
        assert_eq!(size_of::<Option<LoopTask<[u64; 9]>>>(), size_of::<usize>());
    }

    /// For Miri: handles that wait alone or among others, polled by another task than before, told, or gone in any order.
    #[test]
    fn handles_wait_wherever_they_are_taken() {
        let lp = EventLoop::new(Box::new(VirtualBackend::new()));
        let pass = || lp.run_until_complete(lp.sleep_for(Duration::ZERO)).unwrap();
        for gone in 0..4 {
            let future: LoopFuture<u32> = lp.create_future();
            let mut handles: Vec<_> = (0..4).map(|_| future.clone()).collect();
            let mut poll_all = |expected| {
                let polls = poll_fn(|context| {
                    for handle in &mut handles {
                        assert_eq!(Pin::new(handle).poll(context).is_ready(), expected);
                    }
                    Poll::Ready(())
                });
                lp.run_until_complete(polls).unwrap();
            };
            // Each time in another task.
            (0..3).for_each(|_| poll_all(false));
            drop(handles.swap_remove(gone));
            let first = handles.remove(0);
            let waits = lp.create_task(async move { first.await.is_ok() }).unwrap();
            pass();
            let mut told = handles.pop().expect("there were three");
            future.set_result(7).unwrap();
            pass();
            // One of the handles had the value; the others come too late, and wait for nothing any more.
            assert!(waits.result().unwrap());
            let late = lp.run_until_complete(async { (&mut told).await }).unwrap();
            assert!(matches!(late, Err(TaskError::Taken)));
            drop((told, handles));
        }
        lp.close().unwrap();
    }

    /// For Miri: a task's handle that passes its awaiter's cancellation on is marked, apart, until it is told or goes.
    #[test]
    fn handles_that_pass_a_cancellation_on() {
        let lp = EventLoop::new(Box::new(VirtualBackend::new()));
        let pass = || lp.run_until_complete(lp.sleep_for(Duration::ZERO)).unwrap();
        // Who is asked to end takes the request, and ends in its own time.
        let stubborn = |gate: LoopFuture<()>| {
            lp.create_task(async move {
                crate::catch_cancelled(std::future::pending::<()>()).await.unwrap_err();
                gate.await.unwrap();
                7
            })
            .unwrap()
        };
        for closes in [false, true] {
            let gate = lp.create_future();
            let inner: LoopTask<i32> = stubborn(gate.clone());
            let (first, second) = (inner.clone(), inner.clone());
            let outer = [first, second].map(|handle| lp.create_task(handle).unwrap());
            pass();
            pass();
            assert!(outer[1].cancel());
            pass();
            pass();
            assert!(!inner.done() && outer.iter().all(|task| !task.done()));
            if closes {
                lp.close().unwrap();
                assert!(outer.iter().all(|task| !task.done()));
                break;
            }
            gate.set_result(()).unwrap();
            (0..3).for_each(|_| pass());
            assert!(inner.done() && outer.iter().all(|task| task.done()));
        }
    }
}
