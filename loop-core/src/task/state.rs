//! The part of a task's state that other threads touch: who holds it, and whether it is on its way to its loop.
//!
//! One word: the count of holders, and one bit, `SENT`. The rules:
//!
//! * The loop holds a task until it is done *and* in no queue of the loop's. All handles together hold it once;
//!   they are counted by a plain number, as they never leave the loop's thread. Each waker holds it once. While it
//!   is in the remote queue, the queue holds it once.
//! * On the loop's own thread a wake touches none of this: it looks at plain flags (see `Local`).
//! * On another thread a wake sets `SENT`. Whoever changes it from clear to set puts the task into the remote
//!   queue; all others are done: the step that follows will see what they wrote, because setting the bit releases
//!   and clearing it acquires, both as read-modify-writes.
//! * The loop clears `SENT` when it takes the task from the queue, *before* the step. A wake after that sends anew.
//! * Whoever lets go last frees the memory, on whatever thread. The coroutine, its output and everything else
//!   that is not `Send` were dropped before, on the loop's thread: the loop's own hold and the handles' outlive them.

use crate::sync::atomic::{AtomicUsize, Ordering};

const SENT: usize = 1;
const ONE: usize = 2;

pub(crate) struct State(AtomicUsize);

impl State {
    /// Held by the loop, and by the handles if there is one.
    pub(crate) fn new(holders: usize) -> Self {
        Self(AtomicUsize::new(holders * ONE))
    }

    /// One holder more.
    pub(crate) fn hold(&self) {
        let before = self.0.fetch_add(ONE, Ordering::Relaxed);
        // Half the address space of holders can only come from leaking wakers in a loop; wrapping would free a
        // task that is in use.
        if before > usize::MAX / 2 {
            std::process::abort();
        }
    }

    /// One holder less. True: that was the last, and the caller must free the task.
    #[must_use]
    pub(crate) fn release(&self) -> bool {
        let before = self.0.fetch_sub(ONE, Ordering::AcqRel);
        debug_assert!(before >= ONE);
        before & !SENT == ONE
    }

    /// A wake from another thread. True: the caller must put the task into the remote queue.
    #[must_use]
    pub(crate) fn send(&self) -> bool {
        self.0.fetch_or(SENT, Ordering::AcqRel) & SENT == 0
    }

    /// The loop took the task from the remote queue.
    pub(crate) fn received(&self) {
        self.0.fetch_and(!SENT, Ordering::AcqRel);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_holder_frees() {
        let state = State::new(2);
        state.hold();
        assert!(!state.release());
        assert!(!state.release());
        assert!(state.release());
    }

    #[test]
    fn one_wake_of_many_sends() {
        let state = State::new(1);
        assert!(state.send());
        assert!(!state.send());
        state.received();
        assert!(state.send());
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicBool, AtomicUsize as LoomUsize};
    use loom::thread;

    /// A waker writes, then wakes; the step that follows the last wake sees everything that was written.
    #[test]
    fn loom_a_step_sees_what_was_written_before_the_wake() {
        struct Model {
            state: State,
            queued: LoomUsize,
            written: [LoomUsize; 2],
        }
        loom::model(|| {
            let model = Arc::new(Model {
                state: State::new(1),
                queued: LoomUsize::new(0),
                written: [LoomUsize::new(0), LoomUsize::new(0)],
            });
            let wakers: Vec<_> = (0..2)
                .map(|who| {
                    let model = model.clone();
                    thread::spawn(move || {
                        model.written[who].store(1, Ordering::Relaxed);
                        if model.state.send() {
                            model.queued.fetch_add(1, Ordering::AcqRel);
                        }
                    })
                })
                .collect();
            let mut seen = 0;
            while seen < 2 {
                // The loop: take from the queue, clear the bit, then step.
                let taken = model.queued.load(Ordering::Acquire);
                if taken == 0 {
                    thread::yield_now();
                    continue;
                }
                assert_eq!(taken, 1, "a task is in the queue once at a time");
                model.queued.fetch_sub(1, Ordering::AcqRel);
                model.state.received();
                seen = model.written.iter().map(|cell| cell.load(Ordering::Relaxed)).sum();
            }
            wakers.into_iter().for_each(|waker| waker.join().unwrap());
        });
    }

    /// Holders on three threads let go: exactly one frees, and after everyone's last use.
    #[test]
    fn loom_the_last_holder_frees_once() {
        struct Model {
            state: State,
            memory: UnsafeCell<usize>,
            freed: AtomicBool,
        }
        loom::model(|| {
            let model =
                Arc::new(Model { state: State::new(2), memory: UnsafeCell::new(0), freed: AtomicBool::new(false) });
            let let_go = |model: &Model| {
                // SAFETY: a read while held; freeing, modelled as the write, comes after every release.
                model.memory.with(|memory| unsafe { std::ptr::read(memory) });
                if model.state.release() {
                    // SAFETY: the last holder is alone.
                    model.memory.with_mut(|memory| unsafe { *memory = 1 });
                    assert!(!model.freed.swap(true, Ordering::AcqRel));
                }
            };
            let other = {
                let model = model.clone();
                thread::spawn(move || {
                    model.state.hold();
                    let_go(&model);
                    let_go(&model);
                })
            };
            let_go(&model);
            other.join().unwrap();
            assert!(model.freed.load(Ordering::Acquire));
        });
    }
}
