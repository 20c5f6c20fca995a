//! A slab: memory for tasks of one size, side by side, behind what they have in common.
//!
//! A task knows how far into its slab it lies, and so finds there what takes no room in each task: the loop that drives it, the
//! part of that which other threads hold, whose thread it is, and where its memory goes. Nor is there a list of a loop's tasks: one
//! that is unfinished says so in its flags (`Flag::Listed`), and who wants all of them looks through the slabs.
//!
//! Invariants:
//!
//! * blocks are handed out and taken back on the loop's thread; what another thread frees it sends there (`Mailbox::freed`);
//! * a block knows its place, and that it is not listed, from when it is carved until the slab goes, whoever has it;
//! * a slab is its loop's while that is there. When the loop goes, it tells how many blocks are out ([`Outstanding`]), and whoever
//!   gives the last of them back, on whatever thread, frees the slab: a task outlives its loop, by a handle or a waker;
//! * a large task has a slab to itself, which is its loop's only until the task is over; whoever is the last to hold it frees it.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::Relaxed;

use crate::inner::Inner;
use crate::shared::{self, Shared};
use crate::sync::atomic::{AtomicI32, Ordering};
use crate::task::header::{Berth, Header, TaskPtr};
use crate::task::local::Local;

pub(super) type SlabPtr = NonNull<Slab>;

/// Sizes of blocks are multiples of this.
pub(super) const STEP: usize = 8;

/// The largest block that shares a slab with others.
const LARGEST: usize = 1024;

/// As many sizes are there; the next number is that of a task that has a slab to itself.
pub(super) const CLASSES: usize = LARGEST / STEP + 1;
pub(super) const ALONE: usize = CLASSES;

/// What a block of a shared slab is aligned to at the most.
const BLOCK_ALIGN: usize = 16;

/// Where the one block of a slab begins that is a task's alone.
pub(super) const START: usize = size_of::<Slab>().next_multiple_of(LINE);

/// Where those of a shared slab begin: so a task can tell. The first, which is all that a program has that makes one task at a
/// time, begins a line of the cache.
const SHARED_START: usize = START + LINE;

/// What a shared slab is aligned to: a line of the cache.
const LINE: usize = 64;

/// All that are shared are of one size, so that any can follow any. Behind the 16 bytes that common allocators put before each,
/// the next begins a cache line further than a power of two: else the beginnings of all would share a few places of the cache.
const SHARED_LAYOUT: Layout = match Layout::from_size_align(16 * 1024 + 48, LINE) {
    Ok(layout) => layout,
    Err(_) => panic!("a slab is small"),
};

/// How many blocks are carved at once: a slab that has few tasks is not touched as a whole.
const CARVED: usize = 8;

/// The class of tasks of this layout.
pub(super) const fn class_of(layout: Layout) -> usize {
    if layout.align() <= BLOCK_ALIGN && layout.size() <= LARGEST { layout.size().div_ceil(STEP) } else { ALONE }
}

/// In place of a loop that is gone: it is no loop's address, nor what a thread has where none runs.
fn gone() -> *mut Inner {
    ptr::without_provenance_mut(1)
}

#[repr(C)]
pub(crate) struct Slab {
    // What a wake looks at, on whatever thread, is on a line of the cache that is hardly written to.
    /// The thread whose loop it is.
    pub(super) owner: u64,
    /// Held by an anchor.
    pub(super) shared: *const Shared,
    /// The loop, to be compared with one that runs; [`gone`] once the slab is not its any more.
    inner: AtomicPtr<Inner>,
    /// What was allocated, and how far into it this is.
    layout: Layout,
    lead: usize,
    /// The size of its blocks, and where the last of them ends.
    block: usize,
    end: usize,
    // The loop's thread alone:
    /// Blocks that are free, each holding its successor, the one used last first.
    free: Cell<Option<TaskPtr>>,
    /// How many are out, and one more where it is the first of its class: that one stays.
    pub(super) used: Cell<u32>,
    /// See [`takes_back_plainly`](Self::takes_back_plainly).
    plain: Cell<u32>,
    /// Where those begin that were never used.
    fresh: Cell<usize>,
    pub(super) class: usize,
    pub(super) previous: Cell<Option<SlabPtr>>,
    pub(super) next: Cell<Option<SlabPtr>>,
    /// Its place among all of the loop's.
    pub(super) index: Cell<usize>,
    outstanding: Outstanding,
    /// It is among those of its class that have room, as far as is known.
    pub(super) listed: Cell<bool>,
}

impl Slab {
    /// The slab that a task lies in.
    ///
    /// # Safety
    ///
    /// The task is held, or its block is the caller's.
    #[inline(always)]
    pub(super) unsafe fn of<'a>(task: TaskPtr) -> &'a Self {
        // SAFETY: the caller's: so far before it, and alive while any of its blocks is out.
        unsafe { Self::pointer(task).as_ref() }
    }

    #[inline(always)]
    unsafe fn pointer(task: TaskPtr) -> SlabPtr {
        // SAFETY: as above. Pointers to tasks stem from the slab's, and so reach all of it.
        unsafe { task.byte_offset((*task.as_ptr()).berth.to_slab()).cast() }
    }

    /// The loop, for its own thread; null once it is gone.
    pub(super) fn inner(&self) -> *const Inner {
        // SAFETY: held by the anchor.
        unsafe { (*self.shared).local() }
    }

    /// Whether the slab is this loop's, which may be null.
    #[inline(always)]
    pub(super) fn is_of(&self, inner: *const Inner) -> bool {
        ptr::eq(self.inner.load(Relaxed), inner)
    }

    /// The slab is not its loop's any more.
    pub(super) fn leave(&self) {
        self.inner.store(gone(), Relaxed);
    }

    /// A new one, empty. `memory` is of a shared slab that is gone, if there is any.
    pub(super) fn new(inner: &Inner, class: usize, task: Layout, memory: Option<NonNull<u8>>) -> SlabPtr {
        let alone = class == ALONE;
        let align = task.align().max(BLOCK_ALIGN);
        let start = START.next_multiple_of(align);
        let layout = match alone {
            true => Layout::from_size_align(start + task.size(), align).expect("a task that fits into memory"),
            false => SHARED_LAYOUT,
        };
        let lead = if alone { start - START } else { 0 };
        let block = if alone { task.size() } else { class * STEP };
        let capacity = if alone { 1 } else { (layout.size() - SHARED_START) / block };
        let first = if alone { START } else { SHARED_START };
        let memory = memory.unwrap_or_else(|| {
            // SAFETY: not of size zero.
            NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
        });
        let slab = Self {
            owner: inner.shared.owner,
            shared: inner.anchors.take(),
            inner: AtomicPtr::new(inner.shared.local().cast_mut()),
            layout,
            lead,
            block,
            end: first + capacity * block,
            free: Cell::new(None),
            used: Cell::new(0),
            plain: Cell::new((capacity as u32).saturating_sub(2)),
            fresh: Cell::new(first),
            class,
            listed: Cell::new(false),
            previous: Cell::new(None),
            next: Cell::new(None),
            index: Cell::new(0),
            outstanding: Outstanding::new(),
        };
        // SAFETY: within what was allocated, which is aligned so far.
        unsafe {
            let place = memory.byte_add(lead).cast();
            place.write(slab);
            place
        }
    }

    /// A block, if one is free and carved. It is uninitialised but for what the invariants say.
    #[inline(always)]
    pub(super) fn take(&self) -> Option<TaskPtr> {
        let block = self.free.get()?;
        // SAFETY: a free block holds its successor.
        self.free.set(unsafe { block.cast().read() });
        self.used.set(self.used.get() + 1);
        Some(block)
    }

    fn put(&self, block: TaskPtr) {
        // SAFETY: nobody else's, and large enough.
        unsafe { block.cast().write(self.free.get()) };
        self.free.set(Some(block));
    }

    /// Makes a few more blocks of what was never used. False: there is nothing left.
    ///
    /// # Safety
    ///
    /// The slab is alive, and this is its loop's thread.
    pub(super) unsafe fn carve(slab: SlabPtr) -> bool {
        // SAFETY: the caller's.
        let this = unsafe { slab.as_ref() };
        let from = this.fresh.get();
        let to = this.end.min(from + CARVED * this.block);
        this.fresh.set(to);
        // The first is handed out first.
        for number in (0..(to - from) / this.block).rev() {
            let at = from + number * this.block;
            // SAFETY: within the slab, and nobody's yet.
            unsafe {
                let block: TaskPtr = slab.byte_add(at).cast();
                (&raw mut (*block.as_ptr()).local).write(Local::new([]));
                (&raw mut (*block.as_ptr()).berth).write(Berth::at(at));
                this.put(block);
            }
        }
        from < to
    }

    /// Whether nothing is to be done about the slab when so many blocks are out after one came back: it is neither empty now,
    /// nor was it full, nor is it without its loop. (One comparison: it is often asked.)
    #[inline(always)]
    fn takes_back_plainly(&self, used: u32) -> bool {
        used.wrapping_sub(1) < self.plain.get()
    }

    /// Every block that is listed.
    ///
    /// # Safety
    ///
    /// The slab is alive, and this is its loop's thread.
    pub(super) unsafe fn each_listed(slab: SlabPtr, mut f: impl FnMut(TaskPtr)) {
        // SAFETY: the caller's; what is carved has flags.
        unsafe {
            let this = slab.as_ref();
            let first = if this.class == ALONE { START } else { SHARED_START };
            for at in (first..this.fresh.get()).step_by(this.block) {
                let block: TaskPtr = slab.byte_add(at).cast();
                if (*block.as_ptr()).local.has(super::Flag::Listed) {
                    f(block);
                }
            }
        }
    }

    /// The loop is going, which has so many blocks out: tasks that others hold. None of them finds it any more.
    ///
    /// # Safety
    ///
    /// The slab is the loop's, which uses it no more, and nobody sends it blocks any more.
    pub(super) unsafe fn forsake(slab: SlabPtr, out: u32) {
        // SAFETY: the caller's.
        unsafe {
            let this = slab.as_ref();
            this.leave();
            this.plain.set(0);
            if this.outstanding.settle(out) {
                Self::destroy(slab);
            }
        }
    }

    /// Ends a slab of which no block is out, on any thread. Its memory is the caller's.
    ///
    /// # Safety
    ///
    /// It is the caller's, and nobody uses it any more.
    pub(super) unsafe fn clear(slab: SlabPtr) -> NonNull<u8> {
        // SAFETY: the caller's; the anchor is the slab's.
        unsafe {
            let this = slab.as_ref();
            let (shared, memory) = (this.shared, slab.byte_sub(this.lead).cast());
            slab.drop_in_place();
            shared::drop_anchor(shared);
            memory
        }
    }

    /// The same, and frees the memory.
    ///
    /// # Safety
    ///
    /// As for `clear`.
    pub(super) unsafe fn destroy(slab: SlabPtr) {
        // SAFETY: the caller's.
        unsafe {
            let layout = slab.as_ref().layout;
            dealloc(Self::clear(slab).as_ptr(), layout);
        }
    }
}

/// Frees what a slab that tasks shared has left.
///
/// # Safety
///
/// It came from `Slab::clear` for such a one.
pub(super) unsafe fn give_up(memory: NonNull<u8>) {
    // SAFETY: the caller's.
    unsafe { dealloc(memory.as_ptr(), SHARED_LAYOUT) };
}

/// Gives the memory of a task back, on its loop's thread.
///
/// # Safety
///
/// Nobody holds the task, and nothing is in it that is to be dropped.
#[inline]
pub(super) unsafe fn free_here(task: TaskPtr) {
    // SAFETY: the caller's.
    unsafe {
        let slab = Slab::of(task);
        let used = slab.used.get().wrapping_sub(1);
        if !slab.takes_back_plainly(used) {
            return free_specially(task);
        }
        slab.used.set(used);
        slab.put(task);
    }
}

/// # Safety
///
/// As above.
#[cold]
#[inline(never)]
unsafe fn free_specially(task: TaskPtr) {
    // SAFETY: the caller's. On its own thread, a loop that is not null is alive.
    unsafe {
        let slab = Slab::pointer(task);
        let this = slab.as_ref();
        if this.class == ALONE {
            return Slab::destroy(slab);
        }
        let Some(inner) = this.inner().as_ref() else { return give_back(slab) };
        this.used.set(this.used.get() - 1);
        this.put(task);
        inner.tasks.changed(slab);
    }
}

/// Gives the memory of a task back, on another thread than its loop's: to that loop, if it is there, unless it is the task's
/// alone.
///
/// # Safety
///
/// As above.
#[cold]
pub(super) unsafe fn free_elsewhere(task: TaskPtr) {
    // SAFETY: the caller's. The block keeps the slab, and that its anchor; once the block is in the queue, neither is looked at. No
    // task that is not held is on its way to its loop, so its link is free.
    unsafe {
        let slab = Slab::pointer(task);
        if slab.as_ref().class == ALONE {
            return Slab::destroy(slab);
        }
        if (*slab.as_ref().shared).give_back(Header::as_node(task)).is_err() {
            give_back(slab);
        }
    }
}

/// One block less is out of a slab whose loop has gone.
///
/// # Safety
///
/// It was the caller's, who does not use the slab any more.
unsafe fn give_back(slab: SlabPtr) {
    // SAFETY: the caller's; whoever gives the last back is alone with it.
    unsafe {
        if slab.as_ref().outstanding.give_back() {
            Slab::destroy(slab);
        }
    }
}

/// How many blocks of a slab are out, once its loop is gone. Others may give some back before the loop has told how many there
/// are: until then the number is negative.
struct Outstanding(AtomicI32);

impl Outstanding {
    fn new() -> Self {
        Self(AtomicI32::new(0))
    }

    /// The loop tells. True: all were given back meanwhile.
    fn settle(&self, out: u32) -> bool {
        let out = out.cast_signed();
        self.0.fetch_add(out, Ordering::AcqRel) == -out
    }

    /// One is given back. True: it was the last.
    fn give_back(&self) -> bool {
        self.0.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use loom::sync::Arc;
    use loom::thread;

    use super::Outstanding;
    use crate::remote::{Node, NodeVTable, Pushed, RemoteQueue};
    use crate::sync::UnsafeCell;

    unsafe fn deliver(_: *const Node, _: &std::rc::Rc<crate::inner::Inner>) {}
    unsafe fn release(_: *const Node) {}
    static VTABLE: NodeVTable = NodeVTable { deliver, release };

    /// What two blocks, their slab and their loop have to do with each other.
    struct Model {
        freed: RemoteQueue,
        outstanding: Outstanding,
        /// The slab's memory: written to by whoever frees it.
        freed_times: UnsafeCell<u32>,
    }

    impl Model {
        fn destroy(&self) {
            // SAFETY: the model says whether anybody else is there.
            self.freed_times.with_mut(|times| unsafe { *times += 1 });
        }

        /// `free_elsewhere`.
        fn free(&self, node: *const Node) {
            // Anybody may look at the slab while it has a block.
            // SAFETY: as above.
            self.freed_times.with(|times| assert_eq!(unsafe { *times }, 0));
            // SAFETY: a node of the model's, in no queue.
            if unsafe { self.freed.push(node) } == Pushed::Closed && self.outstanding.give_back() {
                self.destroy();
            }
        }
    }

    /// Two threads give back the last two blocks while the loop goes: the slab is freed once, when nobody looks at it.
    #[test]
    fn loom_a_slab_goes_with_the_last_of_its_blocks() {
        loom::model(|| {
            let model = Arc::new(Model {
                freed: RemoteQueue::new(),
                outstanding: Outstanding::new(),
                freed_times: UnsafeCell::new(0),
            });
            let nodes: Vec<_> = (0..2).map(|_| Box::into_raw(Box::new(Node::new(&VTABLE))) as usize).collect();
            let threads: Vec<_> = nodes
                .iter()
                .map(|&node| {
                    let model = Arc::clone(&model);
                    thread::spawn(move || model.free(node as *const Node))
                })
                .collect();
            // `forsake`.
            let taken = model.freed.close().count();
            if model.outstanding.settle(2 - taken as u32) {
                model.destroy();
            }
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            // SAFETY: everybody is done.
            model.freed_times.with(|times| assert_eq!(unsafe { *times }, 1));
            // SAFETY: from above.
            nodes.into_iter().for_each(|node| drop(unsafe { Box::from_raw(node as *mut Node) }));
        });
    }
}
