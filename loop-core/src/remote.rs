//! What other threads send to a loop: an intrusive queue, and the word that says whether the loop sleeps.
//!
//! **The queue** is a stack of nodes that the sender pushes with one compare-and-swap and the loop takes
//! whole with one swap, then reverses: first in, first out per sender, no lock, no allocation of its own (the
//! node lies inside the task, the callback or the job that is sent). A closed queue answers `Closed` for ever.
//!
//! **The wake word** is one of three, each transition one atomic operation:
//!
//! * `AWAKE` — the loop is at work and will look at the queue before it sleeps;
//! * `SLEEPING` — the loop waits, or is about to: whoever pushes must unpark it;
//! * `NOTIFIED` — something was pushed since the loop last woke: it must not sleep, and nobody need unpark.
//!
//! The sender pushes first and notifies after; the loop declares sleep first and looks at the word's answer
//! after. Either the loop's attempt to sleep sees `NOTIFIED`, or the sender's swap sees `SLEEPING`: a wake is
//! never lost, and a system call is made only when the loop sleeps. Only the push onto an *empty* queue
//! notifies: whoever made it non-empty has notified, or is about to.

use std::ptr;

use crate::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

/// The link through which an object travels in the queue, and how to recognise it at the other end.
///
/// It must be a field of a `repr(C)` object, nearly always the first, so that a pointer to it leads to the object.
#[repr(C)]
pub(crate) struct Node {
    next: AtomicPtr<Node>,
    vtable: *const NodeVTable,
}

// SAFETY: the link is atomic, and the table is never written to.
unsafe impl Send for Node {}
// SAFETY: as above.
unsafe impl Sync for Node {}

/// What the receiving end does with a node. The pushed reference is consumed by either call.
pub(crate) struct NodeVTable {
    /// On the loop's thread, in the pass that found the node.
    pub(crate) deliver: unsafe fn(*const Node, &std::rc::Rc<crate::inner::Inner>),
    /// Where the loop is gone; any thread.
    pub(crate) release: unsafe fn(*const Node),
}

impl Node {
    pub(crate) fn new(vtable: &'static NodeVTable) -> Self {
        // SAFETY: as its lifetime says.
        unsafe { Self::with_vtable(vtable) }
    }

    /// What the table is the first field of may be reached through it (see [`Node::vtable_ptr`]), so it comes as a pointer.
    ///
    /// # Safety
    ///
    /// It points to a table that lives for ever.
    pub(crate) unsafe fn with_vtable(vtable: *const NodeVTable) -> Self {
        Self { next: AtomicPtr::new(ptr::null_mut()), vtable }
    }

    pub(crate) fn vtable(&self) -> &'static NodeVTable {
        // SAFETY: it lives for ever.
        unsafe { &*self.vtable }
    }

    /// As it was given.
    pub(crate) const fn vtable_ptr(&self) -> *const NodeVTable {
        self.vtable
    }
}

/// What a push found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Pushed {
    /// The queue was empty: the sender must notify.
    First,
    /// Others were there, one of which notifies.
    Behind,
    /// The queue is closed; the node was not taken.
    Closed,
}

pub(crate) struct RemoteQueue {
    head: AtomicPtr<Node>,
}

impl RemoteQueue {
    pub(crate) fn new() -> Self {
        Self { head: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Marks the closed queue: an address that no node has.
    fn closed() -> *mut Node {
        ptr::without_provenance_mut(usize::MAX)
    }

    /// Pushes a node; on success the queue holds the reference that the caller held.
    ///
    /// # Safety
    ///
    /// The node is alive, stays so until its vtable is called, and is in no queue now.
    pub(crate) unsafe fn push(&self, node: *const Node) -> Pushed {
        let node = node.cast_mut();
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            if head == Self::closed() {
                return Pushed::Closed;
            }
            // SAFETY: the caller says that the node is alive; only its pusher writes the link until it is in.
            unsafe { (*node).next.store(head, Ordering::Relaxed) };
            match self.head.compare_exchange_weak(head, node, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) if head.is_null() => return Pushed::First,
                Ok(_) => return Pushed::Behind,
                Err(now) => head = now,
            }
        }
    }

    /// Whether there is something, as far as one look can tell.
    pub(crate) fn has_nodes(&self) -> bool {
        let head = self.head.load(Ordering::Acquire);
        !head.is_null() && head != Self::closed()
    }

    /// Whether it is open, and nothing is there.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head.load(Ordering::Acquire).is_null()
    }

    /// Takes everything, oldest first.
    pub(crate) fn take(&self) -> Chain {
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            if head.is_null() || head == Self::closed() {
                return Chain { next: ptr::null_mut() };
            }
            match self.head.compare_exchange_weak(head, ptr::null_mut(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Chain::reversed(head),
                Err(now) => head = now,
            }
        }
    }

    /// Closes the queue and takes what was in it.
    pub(crate) fn close(&self) -> Chain {
        let head = self.head.swap(Self::closed(), Ordering::AcqRel);
        if head == Self::closed() { Chain { next: ptr::null_mut() } } else { Chain::reversed(head) }
    }
}

/// Nodes taken from the queue, oldest first. Dropping it releases those not taken.
pub(crate) struct Chain {
    next: *mut Node,
}

impl Chain {
    fn reversed(mut newest: *mut Node) -> Self {
        let mut next = ptr::null_mut();
        while !newest.is_null() {
            // SAFETY: nodes in the queue are alive, and the taker alone holds them now.
            let link = unsafe { &(*newest).next };
            let older = link.load(Ordering::Relaxed);
            link.store(next, Ordering::Relaxed);
            next = newest;
            newest = older;
        }
        Self { next }
    }
}

impl Iterator for Chain {
    type Item = *const Node;

    fn next(&mut self) -> Option<*const Node> {
        if self.next.is_null() {
            return None;
        }
        let node = self.next;
        // SAFETY: as in `reversed`; the link is read before the node is given out, after which it may be reused.
        self.next = unsafe { (*node).next.load(Ordering::Relaxed) };
        Some(node)
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        for node in self.by_ref() {
            // SAFETY: the node is alive until one of its vtable's functions is called, which is here.
            unsafe { ((*node).vtable().release)(node) };
        }
    }
}

const AWAKE: u8 = 0;
const SLEEPING: u8 = 1;
const NOTIFIED: u8 = 2;

pub(crate) struct WakeWord(AtomicU8);

impl WakeWord {
    pub(crate) fn new() -> Self {
        Self(AtomicU8::new(AWAKE))
    }

    /// The loop is about to wait. False: it was notified, and must not.
    #[must_use]
    pub(crate) fn try_sleep(&self) -> bool {
        self.0.compare_exchange(AWAKE, SLEEPING, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Whether something was pushed since the loop woke: then it would not be let sleep.
    pub(crate) fn is_notified(&self) -> bool {
        self.0.load(Ordering::Relaxed) == NOTIFIED
    }

    /// The loop is at work and will look at the queue next.
    pub(crate) fn wake_up(&self) {
        self.0.swap(AWAKE, Ordering::AcqRel);
    }

    /// A sender has pushed. True: the loop sleeps, and this sender must unpark it.
    #[must_use]
    pub(crate) fn notify(&self) -> bool {
        self.0.swap(NOTIFIED, Ordering::AcqRel) == SLEEPING
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    unsafe fn deliver(_: *const Node, _: &std::rc::Rc<crate::inner::Inner>) {}
    unsafe fn release(node: *const Node) {
        // SAFETY: every node of these tests is a leaked box.
        drop(unsafe { Box::from_raw(node.cast_mut()) });
    }
    static VTABLE: NodeVTable = NodeVTable { deliver, release };

    fn node() -> *const Node {
        Box::into_raw(Box::new(Node::new(&VTABLE)))
    }

    #[test]
    fn nodes_come_out_in_the_order_they_went_in() {
        let queue = RemoteQueue::new();
        let nodes = [node(), node(), node()];
        // SAFETY: fresh nodes.
        let pushed = nodes.map(|node| unsafe { queue.push(node) });
        assert_eq!(pushed, [Pushed::First, Pushed::Behind, Pushed::Behind]);
        assert!(queue.has_nodes());
        let mut taken = Vec::new();
        for node in queue.take() {
            taken.push(node);
        }
        assert_eq!(taken, nodes);
        assert!(!queue.has_nodes());
        // SAFETY: taken out, each once.
        taken.into_iter().for_each(|node| unsafe { release(node) });
    }

    #[test]
    fn a_closed_queue_takes_nothing_and_releases_what_it_held() {
        let queue = RemoteQueue::new();
        // SAFETY: fresh nodes.
        unsafe {
            assert_eq!(queue.push(node()), Pushed::First);
            drop(queue.close());
            let late = node();
            assert_eq!(queue.push(late), Pushed::Closed);
            release(late);
        }
        assert!(!queue.has_nodes());
        assert_eq!(queue.take().count(), 0);
    }

    #[test]
    fn only_a_sleeping_loop_is_unparked() {
        let word = WakeWord::new();
        assert!(!word.notify());
        assert!(!word.try_sleep(), "a notified loop must not sleep");
        word.wake_up();
        assert!(word.try_sleep());
        assert!(word.notify());
        assert!(!word.notify(), "one unpark is enough");
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    //! Two senders and a loop that sleeps: nothing that was pushed is left behind by a loop that sleeps for ever.

    use super::*;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicUsize;
    use loom::thread;

    unsafe fn deliver(_: *const Node, _: &std::rc::Rc<crate::inner::Inner>) {}
    unsafe fn release(node: *const Node) {
        // SAFETY: every node of these tests is a leaked box.
        drop(unsafe { Box::from_raw(node.cast_mut()) });
    }
    static VTABLE: NodeVTable = NodeVTable { deliver, release };

    struct Model {
        queue: RemoteQueue,
        word: WakeWord,
        /// The kernel's part: a count of unparks, like an eventfd.
        unparks: AtomicUsize,
    }

    impl Model {
        fn send(&self) -> bool {
            let node = Box::into_raw(Box::new(Node::new(&VTABLE)));
            // SAFETY: a fresh node.
            match unsafe { self.queue.push(node) } {
                Pushed::First => {
                    if self.word.notify() {
                        self.unparks.fetch_add(1, Ordering::SeqCst);
                    }
                    true
                }
                Pushed::Behind => true,
                Pushed::Closed => {
                    // SAFETY: it was not taken.
                    unsafe { release(node) };
                    false
                }
            }
        }

        fn collect(&self) -> usize {
            self.word.wake_up();
            let mut count = 0;
            for node in self.queue.take() {
                // SAFETY: taken out, once.
                unsafe { release(node) };
                count += 1;
            }
            count
        }
    }

    fn model() -> Arc<Model> {
        Arc::new(Model { queue: RemoteQueue::new(), word: WakeWord::new(), unparks: AtomicUsize::new(0) })
    }

    #[test]
    fn loom_no_wake_is_lost() {
        loom::model(|| {
            let model = model();
            let senders: Vec<_> = (0..2)
                .map(|_| {
                    let model = model.clone();
                    thread::spawn(move || assert!(model.send()))
                })
                .collect();
            let mut got = 0;
            // The loop: sleep if allowed, and then only an unpark ends the wait.
            while got < 2 {
                if model.word.try_sleep() {
                    while model.unparks.load(Ordering::SeqCst) == 0 {
                        thread::yield_now();
                    }
                    model.unparks.store(0, Ordering::SeqCst);
                }
                got += model.collect();
            }
            senders.into_iter().for_each(|sender| sender.join().unwrap());
            assert_eq!(got, 2);
        });
    }

    #[test]
    fn loom_closing_loses_no_node() {
        loom::model(|| {
            let model = model();
            let sender = {
                let model = model.clone();
                thread::spawn(move || usize::from(model.send()) + usize::from(model.send()))
            };
            let mut got = model.collect();
            for node in model.queue.close() {
                // SAFETY: taken out, once.
                unsafe { release(node) };
                got += 1;
            }
            assert_eq!(got, sender.join().unwrap(), "what was taken is delivered or released, each once");
        });
    }
}
