//! The way of an outcome to the loop that waits for it.
//!
//! The node that travels in the loop's remote queue lies within the future itself, in its notifier cell: an outcome that
//! arrives costs no allocation, and no look at memory that another thread wrote beside what the outcome needs anyway.
//!
//! Invariants:
//!
//! * on its way, which is once, it holds the future that it lies in; it is let go of by the loop's thread, when the loop
//!   has looked at it, or by whoever finds that the loop is closed;
//! * what is let go of may be the last hold, and so run a destructor of the user's: never while the loop takes its queue.

use std::cell::Cell;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;

use super::shared::{RESULT_DROP, Shared, contain};
use crate::inner::Inner;
use crate::ready::Ready;
use crate::remote::{Node, NodeVTable};
use crate::shared::Anchor;

/// The part that does not depend on what the outcome is.
#[repr(C)]
struct Address {
    node: Node,
    /// None once it was let go of.
    anchor: Cell<Option<Anchor>>,
    token: usize,
}

#[repr(C)]
pub(super) struct Arrival<T> {
    address: Address,
    keep: Cell<Option<Arc<Shared<T>>>>,
}

impl<T: 'static> Arrival<T> {
    const VTABLE: NodeVTable = NodeVTable { deliver, release: Self::release };

    pub(super) fn new(anchor: Anchor, token: usize) -> Self {
        let node = Node::new(const { &Self::VTABLE });
        Self { address: Address { node, anchor: Cell::new(Some(anchor)), token }, keep: Cell::new(None) }
    }

    /// Sets out to the loop.
    ///
    /// # Safety
    ///
    /// It lies in the notifier cell of this future, which is the caller's to give, and is not on its way.
    pub(super) unsafe fn send(&self, future: &Arc<Shared<T>>) {
        let Some(anchor) = self.address.anchor.take() else { return };
        let shared = anchor.to_shared();
        self.address.anchor.set(Some(anchor));
        self.keep.set(Some(Arc::clone(future)));
        let node = (&raw const *self).cast::<Node>();
        // SAFETY: it is alive until it is let go of, by the hold that it has on what it lies in, and in no queue. The loop's
        // shared part is held past the push.
        unsafe {
            if !shared.send(node) {
                Self::release(node);
            }
        }
    }

    /// # Safety
    ///
    /// The node is that of an `Arrival<T>` which is on its way, or has arrived; it is given up.
    unsafe fn release(node: *const Node) {
        // SAFETY: the caller's. Both are taken out before the future, and the arrival with it, may be gone.
        let (anchor, keep) = unsafe {
            let arrival = &*node.cast::<Self>();
            (arrival.address.anchor.take(), arrival.keep.take())
        };
        drop(anchor);
        contain(RESULT_DROP, || drop(keep));
    }
}

/// # Safety
///
/// The node is that of an `Arrival`, which is given to the ready queue.
unsafe fn deliver(node: *const Node, inner: &Rc<Inner>) {
    if let Some(node) = NonNull::new(node.cast_mut()) {
        inner.ready.push(Ready::Job(Arrived(node)));
    }
}

/// An outcome that has come to its loop, let go of when dropped.
pub(crate) struct Arrived(NonNull<Node>);

impl Arrived {
    /// What the loop knows it by.
    pub(crate) fn token(&self) -> usize {
        // SAFETY: of an arrival, which its own hold keeps alive, and whose first field is the address.
        unsafe { self.0.cast::<Address>().as_ref() }.token
    }
}

impl Drop for Arrived {
    fn drop(&mut self) {
        // SAFETY: as above; given up once.
        unsafe { (self.0.as_ref().vtable().release)(self.0.as_ptr()) };
    }
}

#[cfg(all(test, feature = "testing", not(loom)))]
mod tests {
    use std::thread;

    use crate::{ConcurrentFuture, EventLoop, Job, TaskError, testing::VirtualBackend};

    fn new_loop() -> EventLoop {
        EventLoop::new(Box::new(VirtualBackend::new()))
    }

    /// Small enough for Miri, which sees what is used after it was let go of.
    #[test]
    fn outcomes_arrive_from_other_threads() {
        let lp = new_loop();
        let (jobs, futures): (Vec<Job>, Vec<_>) = (0..8)
            .map(|number| {
                let (job, outcome) = Job::new(move || vec![number]);
                (job, lp.wrap_future(outcome).unwrap())
            })
            .unzip();
        futures[3].cancel();
        let worker = thread::spawn(|| jobs.into_iter().for_each(Job::run));
        for (number, future) in futures.into_iter().enumerate() {
            match lp.run_until_complete(future).unwrap() {
                Ok(value) => assert_eq!(value, [number]),
                Err(error) => assert!(number == 3 && error.is_cancelled()),
            }
        }
        worker.join().unwrap();
    }

    /// Nobody is there any more: the arrival is let go of in the other thread, or as the loop closes.
    #[test]
    fn outcomes_for_a_closing_loop_are_let_go_of() {
        for _ in 0..4 {
            let lp = new_loop();
            let (completer, outcome) = ConcurrentFuture::pair();
            let wrapped = lp.wrap_future(outcome.clone()).unwrap();
            let second = lp.wrap_future(outcome).unwrap();
            let worker = thread::spawn(move || completer.complete(Ok(String::from("late"))));
            thread::yield_now();
            lp.close().unwrap();
            assert!(worker.join().unwrap());
            assert!(matches!(
                (wrapped.result(), second.result()),
                (Err(TaskError::NotReady), Err(TaskError::NotReady))
            ));
        }
    }
}
