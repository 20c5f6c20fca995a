//! The part of a loop that other threads may hold: its queue, its wake word, and what it answers when it is gone.
//!
//! Tasks outlive their loop through wakers that other threads keep, and so do jobs on their way back; what they lie in holds the
//! shared part alive. So that this costs no atomic operation each time, the loop takes such holds (*anchors*) in batches and
//! hands them out by counting down a plain number; only the last to go looks at the atomic count.

use std::cell::Cell;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;

use crate::backend::Unpark;
use crate::inner::Inner;
use crate::remote::{Node, Pushed, RemoteQueue, WakeWord};

/// Anchors taken at once.
const BATCH: usize = 4096;

/// What other threads write lies on a cache line of its own: what else the loop looks at all the time, the loop's own thread
/// and address, or whatever the allocator has put beside it, would be taken from it with each of their writes.
pub(crate) struct Shared {
    /// The thread whose loop this is, for ever: loops do not move.
    pub(crate) owner: u64,
    pub(crate) mailbox: CachePadded<Mailbox>,
    pub(crate) running: AtomicBool,
    pub(crate) closed: AtomicBool,
    /// None once the loop is closed: the descriptor behind it is closed with the backend.
    unparker: Mutex<Option<Arc<dyn Unpark>>>,
    /// The loop itself, for its own thread only; null once it is gone.
    local: AtomicPtr<Inner>,
    /// Anchors handed out or kept in the loop's pool. While there are any, they hold one reference together.
    anchors: AtomicUsize,
}

/// One line for all, for who sends needs two of them.
pub(crate) struct Mailbox {
    pub(crate) queue: RemoteQueue,
    pub(crate) word: WakeWord,
    /// Tasks that other threads were the last to hold: their memory. The loop takes it when it has need of it, or nothing to do.
    pub(crate) freed: RemoteQueue,
}

impl Shared {
    pub(crate) fn new(unparker: Arc<dyn Unpark>) -> Arc<Self> {
        Arc::new(Self {
            owner: crate::running::thread_id(),
            mailbox: CachePadded::new(Mailbox {
                queue: RemoteQueue::new(),
                word: WakeWord::new(),
                freed: RemoteQueue::new(),
            }),
            running: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            unparker: Mutex::new(Some(unparker)),
            local: AtomicPtr::new(ptr::null_mut()),
            anchors: AtomicUsize::new(0),
        })
    }

    #[inline]
    pub(crate) fn is_own_thread(&self) -> bool {
        crate::running::is_thread(self.owner)
    }

    pub(crate) fn set_local(&self, inner: *const Inner) {
        self.local.store(inner.cast_mut(), Ordering::Relaxed);
    }

    /// The loop, on its own thread, while it is there.
    pub(crate) fn local(&self) -> *const Inner {
        debug_assert!(self.is_own_thread());
        self.local.load(Ordering::Relaxed)
    }

    /// Sends a node to the loop and wakes it if it sleeps. False: the loop is closed, and the node was not taken.
    ///
    /// # Safety
    ///
    /// That of [`RemoteQueue::push`].
    #[must_use]
    pub(crate) unsafe fn send(&self, node: *const Node) -> bool {
        // SAFETY: the caller's.
        match unsafe { self.mailbox.queue.push(node) } {
            Pushed::First => {
                if self.mailbox.word.notify() {
                    // Only a loop that sleeps is unparked, so the lock is off the busy path.
                    let unparker = self.unparker.lock().clone();
                    if let Some(unparker) = unparker {
                        unparker.unpark();
                    }
                }
                true
            }
            Pushed::Behind => true,
            Pushed::Closed => false,
        }
    }

    /// Sends the memory of a task to the loop, which is not woken for that.
    ///
    /// # Errors
    ///
    /// The loop is gone, and the memory the caller's.
    ///
    /// # Safety
    ///
    /// That of [`RemoteQueue::push`], the node being a task's that nobody holds. When it is in the queue this may be gone.
    pub(crate) unsafe fn give_back(&self, node: *const Node) -> Result<(), ()> {
        // SAFETY: the caller's; the push does not look at the queue again once the node is in.
        match unsafe { self.mailbox.freed.push(node) } {
            Pushed::First | Pushed::Behind => Ok(()),
            Pushed::Closed => Err(()),
        }
    }

    /// The loop closes: nothing wakes it any more.
    pub(crate) fn drop_unparker(&self) {
        let unparker = self.unparker.lock().take();
        drop(unparker);
    }

    /// Lets go of anchors, from any thread.
    ///
    /// # Safety
    ///
    /// `shared` is what the anchor was taken on; the caller gives its hold up, and must not use it any more.
    pub(crate) unsafe fn release_anchors(shared: *const Self, count: usize) {
        // SAFETY: the anchors that are given up here still keep it alive.
        if unsafe { (*shared).anchors.fetch_sub(count, Ordering::AcqRel) } == count {
            // SAFETY: these were the last; the reference that they held together is given up, once.
            unsafe { Arc::decrement_strong_count(shared) };
        }
    }
}

/// The loop's own supply of anchors.
pub(crate) struct AnchorPool {
    shared: *const Shared,
    left: Cell<usize>,
}

impl AnchorPool {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        shared.anchors.store(BATCH, Ordering::Relaxed);
        Self { shared: Arc::into_raw(Arc::clone(shared)), left: Cell::new(BATCH) }
    }

    /// One anchor on the shared part, with the pointer that it makes safe to follow from any thread.
    pub(crate) fn take(&self) -> *const Shared {
        let left = self.left.get();
        // One always stays, so that the count cannot reach zero and come back.
        if left == 1 {
            // SAFETY: the pool's own anchors keep it alive.
            unsafe { (*self.shared).anchors.fetch_add(BATCH, Ordering::Relaxed) };
            self.left.set(BATCH);
        } else {
            self.left.set(left - 1);
        }
        self.shared
    }

    /// Takes one back, on the loop's thread.
    pub(crate) fn give_back(&self) {
        self.left.set(self.left.get() + 1);
    }
}

impl Drop for AnchorPool {
    fn drop(&mut self) {
        // SAFETY: the pool's own anchors, given up once.
        unsafe { Shared::release_anchors(self.shared, self.left.get()) };
    }
}

/// An anchor that gives itself up, wherever it is dropped.
pub(crate) struct Anchor(NonNull<Shared>);

// SAFETY: it holds what it points to, which is `Sync`, and may be given up on any thread.
unsafe impl Send for Anchor {}

impl Anchor {
    pub(crate) fn take(pool: &AnchorPool) -> Self {
        Self(NonNull::new(pool.take().cast_mut()).expect("a pool has its loop's shared part"))
    }

    /// What it keeps alive.
    pub(crate) fn to_shared(&self) -> Arc<Shared> {
        // SAFETY: the anchor keeps it alive; the pointer came from `Arc::into_raw`.
        unsafe {
            Arc::increment_strong_count(self.0.as_ptr());
            Arc::from_raw(self.0.as_ptr())
        }
    }
}

impl Drop for Anchor {
    fn drop(&mut self) {
        // SAFETY: it is this one's.
        unsafe { drop_anchor(self.0.as_ptr()) };
    }
}

/// Gives one anchor up from wherever the caller is: back to the pool on the loop's thread, to the count elsewhere.
///
/// # Safety
///
/// That of [`Shared::release_anchors`].
pub(crate) unsafe fn drop_anchor(shared: *const Shared) {
    // SAFETY: the anchor keeps it alive, and is the caller's.
    unsafe { if (*shared).is_own_thread() { drop_local_anchor(shared) } else { Shared::release_anchors(shared, 1) } }
}

/// The same on the loop's thread.
///
/// # Safety
///
/// That of [`Shared::release_anchors`], and this is the loop's thread.
#[inline]
pub(crate) unsafe fn drop_local_anchor(shared: *const Shared) {
    // SAFETY: the anchor keeps it alive, and is the caller's; on its own thread, a loop that is not null is alive.
    unsafe {
        match (*shared).local().as_ref() {
            Some(inner) => inner.anchors.give_back(),
            None => Shared::release_anchors(shared, 1),
        }
    }
}
