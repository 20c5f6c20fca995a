//! Where futures and callbacks lie: blocks of a few sizes, which are kept for those that follow. (Tasks have slabs.)
//!
//! They come and go in crowds, and are larger than what general allocators have a short way for, so each would cost a block that
//! is split and merged again. What a thread frees it keeps, up to [`KEPT`] bytes, and hands out again, the
//! block used last first, as that is in the near caches.
//!
//! Invariants: every block comes from the global allocator, with its class's layout ([`block`]), which depends on the
//! value's size alone. So any thread may free it, and a block that is kept is nobody's. Nothing is kept past a thread's end, nor
//! under Miri and the sanitizer, which are to see a use after free (but for the tests of this file).

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::ptr::NonNull;

/// From one size to the next.
const STEP: usize = 16;

/// The smallest size, and so what all are beyond a multiple of the step: common allocators put 8 bytes before a block of
/// theirs, and round up to 16 with them.
const LEAST: usize = 8;

/// What is larger than the largest of so many sizes is not kept.
const CLASSES: usize = 64;

const ALIGN: usize = 16;

/// How much a thread keeps, in bytes: some fifty thousand futures, for those who make ten thousand at once again and again.
const KEPT: usize = if cfg!(all(any(miri, loop_sanitizer), not(test))) { 0 } else { 4 * 1024 * 1024 };

/// A block that is kept.
struct Free {
    next: Option<NonNull<Self>>,
}

struct Blocks {
    lists: [Cell<Option<NonNull<Free>>>; CLASSES],
    /// How many bytes more may be kept: none before the first block is, nor at the thread's end.
    left: Cell<usize>,
    /// There was room once.
    opened: Cell<bool>,
}

/// Gives up what is kept, at the thread's end.
struct AtEnd;

thread_local! {
    /// Without a destructor, and so without a look at whether it is alive, or has yet to be made, each time.
    static BLOCKS: Blocks = const {
        Blocks { lists: [const { Cell::new(None) }; CLASSES], left: Cell::new(0), opened: Cell::new(false) }
    };
    static AT_END: AtEnd = const { AtEnd };
}

/// The room that a value takes.
#[derive(Clone, Copy)]
pub(crate) struct Room {
    /// Of its blocks; past the last where it has none.
    class: usize,
    layout: Layout,
}

impl Room {
    #[inline(always)]
    pub(crate) const fn of<T>() -> Self {
        Self::new(Layout::new::<T>())
    }

    #[inline(always)]
    pub(crate) const fn new(layout: Layout) -> Self {
        let class = layout.size().saturating_sub(LEAST).div_ceil(STEP);
        let is_block = layout.align() <= ALIGN && class < CLASSES;
        Self { class: if is_block { class } else { CLASSES }, layout }
    }
}

/// The size of a class's blocks.
const fn size(class: usize) -> usize {
    class * STEP + LEAST
}

/// Their layout.
const fn block(class: usize) -> Layout {
    match Layout::from_size_align(size(class), ALIGN) {
        Ok(layout) => layout,
        Err(_) => panic!("a class is small"),
    }
}

/// Memory for a value, uninitialised.
#[inline]
pub(crate) fn allocate<T>() -> NonNull<T> {
    let room = const { Room::of::<T>() };
    if room.class == CLASSES {
        return obtain_of(room.layout).cast();
    }
    match BLOCKS.with(|blocks| blocks.take(room.class)) {
        Some(kept) => kept.cast(),
        None => obtain(room.class).cast(),
    }
}

/// Gives the memory of a value up.
///
/// # Safety
///
/// It came from `allocate` for a type of that room, the value in it is dropped, and nobody uses it any more.
#[inline]
pub(crate) unsafe fn free(memory: NonNull<u8>, room: Room) {
    // SAFETY: a block of this class, and the caller's.
    if room.class >= CLASSES || unsafe { !BLOCKS.with(|blocks| blocks.keep(room.class, memory.cast())) } {
        // SAFETY: the caller's.
        unsafe { give_up(memory, room) };
    }
}

/// What is not kept, unless it is the first of what is.
///
/// # Safety
///
/// As for [`free`].
#[cold]
#[inline(never)]
unsafe fn give_up(memory: NonNull<u8>, room: Room) {
    // SAFETY: the caller's; of these layouts.
    unsafe {
        if room.class == CLASSES {
            dealloc(memory.as_ptr(), room.layout);
        } else if !BLOCKS.with(|blocks| blocks.open() && blocks.keep(room.class, memory.cast())) {
            dealloc(memory.as_ptr(), block(room.class));
        }
    }
}

/// Memory for a value that is not to be kept: for what goes together with much that comes from elsewhere, among which
/// blocks that stay would lie as islands.
pub(crate) fn allocate_apart<T>() -> NonNull<T> {
    obtain_of(Layout::new::<T>()).cast()
}

/// Gives that up.
///
/// # Safety
///
/// As for [`free`], for what came from `allocate_apart`.
pub(crate) unsafe fn free_apart(memory: NonNull<u8>, layout: Layout) {
    // SAFETY: the caller's.
    unsafe { dealloc(memory.as_ptr(), layout) };
}

/// From the global allocator. It does not unwind, so a value that is to go there need not be somewhere else until then, to be
/// dropped.
#[cold]
#[inline(never)]
extern "C" fn obtain(class: usize) -> NonNull<u8> {
    obtain_of(block(class))
}

fn obtain_of(layout: Layout) -> NonNull<u8> {
    // SAFETY: what is counted has a size.
    NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
}

impl Blocks {
    #[inline]
    fn take(&self, class: usize) -> Option<NonNull<Free>> {
        let first = self.lists[class].get()?;
        // SAFETY: a block that is kept holds its successor, and is this thread's.
        self.lists[class].set(unsafe { first.as_ref() }.next);
        self.left.set(self.left.get() + size(class));
        Some(first)
    }

    /// False where there is enough already.
    ///
    /// # Safety
    ///
    /// A block of this class that is nobody's.
    #[inline]
    unsafe fn keep(&self, class: usize, memory: NonNull<Free>) -> bool {
        let size = size(class);
        if self.left.get() < size {
            return false;
        }
        self.left.set(self.left.get() - size);
        // SAFETY: nobody's, and large enough.
        unsafe { memory.write(Free { next: self.lists[class].get() }) };
        self.lists[class].set(Some(memory));
        true
    }

    /// Makes room, the first time that there is none; what comes to be kept then is given up at the thread's end. False where
    /// there is enough already, or the thread has come there.
    fn open(&self) -> bool {
        if self.opened.replace(true) || AT_END.try_with(|_| ()).is_err() {
            return false;
        }
        self.left.set(KEPT);
        true
    }
}

impl Drop for AtEnd {
    fn drop(&mut self) {
        BLOCKS.with(|blocks| {
            for class in 0..CLASSES {
                while let Some(kept) = blocks.take(class) {
                    // SAFETY: a block of this class, and nobody's.
                    unsafe { dealloc(kept.as_ptr().cast(), block(class)) };
                }
            }
            blocks.left.set(0);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Small = [u64; 5];

    /// # Safety
    ///
    /// As for the one without a type.
    unsafe fn free<T>(memory: NonNull<T>) {
        // SAFETY: the caller's.
        unsafe { super::free(memory.cast(), Room::of::<T>()) };
    }

    #[test]
    fn what_was_freed_last_is_taken_first() {
        let [one, two] = [(); 2].map(|()| allocate::<Small>());
        assert_ne!(one, two);
        for memory in [one, two] {
            // SAFETY: from above, and plain numbers.
            unsafe { memory.write([7; 5]) };
        }
        // SAFETY: from above, each once.
        unsafe {
            free(one);
            free(two);
        }
        // Another type of the class.
        let again = [(); 2].map(|()| allocate::<[u32; 9]>());
        assert_eq!(again.map(NonNull::cast), [two, one]);
        // SAFETY: as above.
        again.into_iter().for_each(|memory| unsafe { free(memory) });
    }

    #[test]
    fn a_block_has_room_for_its_class_and_no_more_than_a_step_to_spare() {
        for size in 1..=1016 {
            let layout = Layout::from_size_align(size, 8).unwrap();
            let class = Room::new(layout).class;
            let room = block(class).size();
            assert!(class < CLASSES && room >= size && room < size + STEP, "{size}: {room}");
        }
    }

    #[test]
    fn no_more_is_kept_than_so_much() {
        type Large = [u64; 127];
        let taken: Vec<_> = (0..KEPT / 512).map(|_| allocate::<Large>()).collect();
        // SAFETY: from above, each once.
        taken.into_iter().for_each(|memory| unsafe { free(memory) });
        let left = BLOCKS.with(|blocks| blocks.left.get());
        assert!(left < size_of::<Large>(), "{left}");
    }

    #[test]
    fn what_is_too_large_or_aligned_too_far_is_not_kept() {
        #[repr(align(64))]
        struct Aligned(#[expect(dead_code, reason = "for its size")] [u8; 64]);
        assert_eq!((Room::of::<Aligned>().class, Room::of::<[u64; 131]>().class), (CLASSES, CLASSES));
        let before = BLOCKS.with(|blocks| blocks.left.get());
        // SAFETY: allocated for that.
        unsafe {
            free(allocate::<Aligned>());
            free(allocate::<[u64; 131]>());
        }
        assert_eq!(BLOCKS.with(|blocks| blocks.left.get()), before);
    }

    /// Blocks may be freed by another thread, also by one that is ending.
    #[test]
    fn any_thread_may_free() {
        struct Sent(NonNull<Small>);
        // SAFETY: nobody else has it.
        unsafe impl Send for Sent {}
        impl Drop for Sent {
            fn drop(&mut self) {
                // SAFETY: from `allocate`, once.
                unsafe { free(self.0) };
            }
        }
        thread_local!(static LATE: Cell<Option<Sent>> = const { Cell::new(None) });
        let sent = [(); 3].map(|()| Sent(allocate()));
        let thread = std::thread::spawn(move || {
            let [now, with_the_thread, last] = sent;
            // Registered before the blocks are, and so dropped after them.
            LATE.with(|late| late.set(Some(last)));
            drop(now);
            with_the_thread
        });
        drop(thread.join().unwrap());
    }
}
