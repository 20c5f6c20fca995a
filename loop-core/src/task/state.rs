//! The part of a task's state that other threads touch: who holds it, and whether it is on its way to its loop.
//!
//! One word: a count of holders, and two bits, `SENT` and `MERGED`. The rules:
//!
//! * The loop holds a task until it is done *and* in no queue of the loop's. All handles together hold it once, as does
//!   each waker, and the remote queue while the task is in it.
//! * What is taken and given up on the loop's own thread is counted by a plain number beside this one (`Local::holds`), what
//!   is taken or given up elsewhere by this one. A waker may be made here and dropped there, so either may be negative; the
//!   sum is what counts. While the loop holds the task, nobody has to know it.
//! * Holders that are always made on one side and given up on the other would have both numbers grow for ever: from time to
//!   time the loop adds its own to this one, and counts from zero.
//! * When the loop lets go, it adds its number to this one and sets `MERGED`: from then on everyone counts here, and
//!   whoever brings the count to zero gives the memory back, on whatever thread (see `slab`). The coroutine, its output and everything
//!   else that is not `Send` were dropped before, on the loop's thread: the loop's own hold and the handles' outlive them.
//! * On the loop's own thread a wake touches none of this: it looks at plain flags (see `Local`).
//! * On another thread a wake sets `SENT`. Whoever changes it from clear to set puts the task into the remote
//!   queue; all others are done: the step that follows will see what they wrote, because setting the bit releases
//!   and clearing it acquires, both as read-modify-writes.
//! * The loop clears `SENT` when it takes the task from the queue, *before* the step. A wake after that sends anew.

use crate::sync::atomic::{AtomicU32, Ordering};

const SENT: u32 = 1;
const MERGED: u32 = 2;
/// The count, in two's complement, begins here.
const ONE: u32 = 4;

pub(crate) struct State(AtomicU32);

impl State {
    /// Nobody elsewhere has had to do with it.
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// One holder more.
    pub(crate) fn hold(&self) {
        let before = self.0.fetch_add(ONE, Ordering::Relaxed);
        Self::check(before);
    }

    /// So many holders as there are in a quarter of the numbers can only come from leaking wakers in a loop; wrapping would
    /// free a task that is in use.
    fn check(state: u32) {
        if state.cast_signed() > i32::MAX / 2 {
            std::process::abort();
        }
    }

    /// The loop, which still holds the task, has counted so many, or so many less than none, and counts from zero again.
    #[cold]
    pub(crate) fn take_over(&self, counted: i32) {
        let added = (counted as u32).wrapping_mul(ONE);
        Self::check(self.0.fetch_add(added, Ordering::AcqRel).wrapping_add(added));
    }

    /// One holder less. True: that was the last, and the caller must free the task.
    #[must_use]
    pub(crate) fn release(&self) -> bool {
        // The only holder there is is alone: nobody else can add one, so it need not be said aloud.
        if self.0.load(Ordering::Acquire) & !SENT == ONE | MERGED {
            return true;
        }
        let before = self.0.fetch_sub(ONE, Ordering::AcqRel);
        before & !SENT == ONE | MERGED
    }

    /// The loop lets go, and counts here from now on, as everyone does: it has counted so many holders other than itself, of
    /// whom so many never leave this thread. True: there are none, and the caller must free the task.
    #[must_use]
    #[inline]
    pub(crate) fn merge(&self, counted: i32, stay: i32) -> bool {
        // Nobody is elsewhere, if those who went and those who came have cancelled out on both sides: then nobody else can
        // look, and it need not be said aloud.
        if counted == stay && self.0.load(Ordering::Acquire) == 0 {
            self.0.store((counted as u32).wrapping_mul(ONE) | MERGED, Ordering::Relaxed);
            return counted == 0;
        }
        let added = (counted as u32).wrapping_mul(ONE).wrapping_add(MERGED);
        let before = self.0.fetch_add(added, Ordering::AcqRel);
        before.wrapping_add(added) & !SENT == MERGED
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
        let state = State::new();
        state.hold();
        assert!(!state.merge(2, 1));
        assert!(!state.release());
        assert!(!state.release());
        assert!(state.release());
    }

    #[test]
    fn holders_that_went_elsewhere_are_not_missed() {
        // Three were made on the loop's thread, and given up on others.
        let state = State::new();
        assert!(!state.release() && !state.release());
        assert!(!state.merge(3, 0));
        assert!(state.release());
        // One was made elsewhere and given up on the loop's thread; none is left when the loop lets go.
        let state = State::new();
        state.hold();
        assert!(state.merge(-1, 0));
        // On its way to the loop, it is held by the queue.
        let state = State::new();
        state.hold();
        assert!(state.send());
        assert!(!state.merge(0, 0));
        state.received();
        assert!(state.release());
    }

    #[test]
    fn where_nobody_is_elsewhere_the_last_here_frees() {
        let state = State::new();
        assert!(state.merge(0, 0));
        let state = State::new();
        assert!(!state.merge(1, 1));
        assert!(state.release());
        // Its one holder may be anywhere.
        let state = State::new();
        assert!(!state.merge(1, 0));
        assert!(state.release());
    }

    #[test]
    fn what_the_loop_has_counted_can_be_taken_over() {
        let state = State::new();
        for _ in 0..1000 {
            // A million were made on the loop's thread, and given up elsewhere; and the other way round.
            state.take_over(1_000_000);
            state.take_over(-1_000_000);
        }
        state.take_over(5);
        assert!(!state.merge(-3, 0));
        assert!(!state.release());
        assert!(state.release());
    }

    #[test]
    fn one_wake_of_many_sends() {
        let state = State::new();
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
                state: State::new(),
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

    /// Holders made on the loop's thread and elsewhere are given up on either, while the loop lets go: exactly one frees, and
    /// after everyone's last use.
    #[test]
    fn loom_the_last_holder_frees_once() {
        struct Model {
            state: State,
            memory: UnsafeCell<usize>,
            freed: AtomicBool,
        }
        loom::model(|| {
            let model =
                Arc::new(Model { state: State::new(), memory: UnsafeCell::new(0), freed: AtomicBool::new(false) });
            let uses = |model: &Model| {
                // SAFETY: a read while held; freeing, modelled as the write, comes after every release.
                model.memory.with(|memory| unsafe { std::ptr::read(memory) });
            };
            let frees = |model: &Model, last: bool| {
                if last {
                    // SAFETY: the last holder is alone.
                    model.memory.with_mut(|memory| unsafe { *memory = 1 });
                    assert!(!model.freed.swap(true, Ordering::AcqRel));
                }
            };
            let give_up = move |model: &Model| {
                uses(model);
                frees(model, model.state.release());
            };
            // The loop and two wakers, which go to other threads. One of them is cloned there.
            let mut counted = 3;
            let others = [true, false].map(|clones| {
                let model = model.clone();
                thread::spawn(move || {
                    if clones {
                        model.state.hold();
                        give_up(&model);
                    }
                    give_up(&model);
                })
            });
            // A waker more, made and given up here: plain numbers.
            counted += 1;
            uses(&model);
            counted -= 1;
            // The loop lets go.
            uses(&model);
            frees(&model, model.state.merge(counted - 1, 0));
            others.into_iter().for_each(|other| other.join().unwrap());
            assert!(model.freed.load(Ordering::Acquire));
        });
    }

    /// A waker went, another came back: what the loop counts says that nobody is elsewhere while the first may still be.
    #[test]
    fn loom_a_waker_that_went_is_not_missed_for_one_that_came() {
        struct Model {
            state: State,
            memory: UnsafeCell<usize>,
            came: AtomicBool,
            freed: AtomicBool,
        }
        loom::model(|| {
            let model = Arc::new(Model {
                state: State::new(),
                memory: UnsafeCell::new(0),
                came: AtomicBool::new(false),
                freed: AtomicBool::new(false),
            });
            // SAFETY: a read while held; freeing, modelled as the write, comes after every release.
            let uses = |model: &Model| model.memory.with(|memory| unsafe { std::ptr::read(memory) });
            let frees = |model: &Model, last: bool| {
                if last {
                    // SAFETY: the last holder is alone.
                    model.memory.with_mut(|memory| unsafe { *memory = 1 });
                    assert!(!model.freed.swap(true, Ordering::AcqRel));
                }
            };
            // The loop, and the waker that goes.
            let mut counted = 2;
            let other = {
                let model = model.clone();
                thread::spawn(move || {
                    model.state.hold();
                    model.came.store(true, Ordering::Release);
                    uses(&model);
                    frees(&model, model.state.release());
                })
            };
            while !model.came.load(Ordering::Acquire) {
                thread::yield_now();
            }
            // The one that came is given up here.
            counted -= 1;
            uses(&model);
            frees(&model, model.state.merge(counted - 1, 0));
            other.join().unwrap();
            assert!(model.freed.load(Ordering::Acquire));
        });
    }
}
