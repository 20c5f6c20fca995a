//! The slabs of a loop, and in them its tasks: memory for new ones, and those that are unfinished.
//!
//! Each size of task has a list of the slabs that have room; the first of them stays, as tasks of that size are likely to
//! follow, while another that is empty goes: a few are kept for whatever size comes next, and the rest are given up.
//!
//! Invariants: on the loop's thread only; a shared slab that is not listed is full; a task that has a slab to itself, being large,
//! is in a list of such while it is unfinished, and nobody here knows of it afterwards. Under Miri and the sanitizer each task
//! has one: they are to see a use after free.

use std::alloc::Layout;
use std::cell::{Cell, RefCell};
use std::ptr::NonNull;

use crate::inner::Inner;
use crate::shared::Shared;
use crate::task::header::{Header, TaskPtr};
use crate::task::slab::{self, ALONE, CLASSES, Slab, SlabPtr};

/// As many slabs that are empty are kept: a quarter of a megabyte.
const SPARE: usize = 16;

pub(crate) struct Slabs {
    /// The first of each class's that have room, as far as is known.
    first: [Cell<Option<SlabPtr>>; CLASSES],
    /// All that are shared.
    all: RefCell<Vec<SlabPtr>>,
    /// The last of those that have one task, which is unfinished.
    alone: Cell<Option<SlabPtr>>,
    spare: RefCell<Vec<NonNull<u8>>>,
    /// Each task has one to itself.
    apart: Cell<bool>,
}

impl Slabs {
    pub(crate) fn new() -> Self {
        Self {
            first: [const { Cell::new(None) }; CLASSES],
            all: RefCell::default(),
            alone: Cell::new(None),
            spare: RefCell::default(),
            apart: Cell::new(cfg!(any(miri, loop_sanitizer))),
        }
    }

    /// Every unfinished task, oldest first. They are alive until they end, which the caller must not have them do.
    pub(crate) fn unfinished(&self) -> Vec<TaskPtr> {
        let mut tasks = Vec::new();
        let all = self.all.borrow();
        // SAFETY: the loop's, and this is its thread.
        let alone = std::iter::successors(self.alone.get(), |slab| unsafe { slab.as_ref() }.next.get());
        // SAFETY: as above.
        all.iter().copied().chain(alone).for_each(|slab| unsafe { Slab::each_listed(slab, |task| tasks.push(task)) });
        // SAFETY: listed tasks are alive: the loop holds them.
        tasks.sort_unstable_by_key(|task| unsafe { task.as_ref() }.id());
        tasks
    }

    /// Puts a slab at its class's list: the first, if there is none.
    fn list(&self, slab: SlabPtr) {
        // SAFETY: the loop's, as are those in the list, and this is its thread. The first counts for one block.
        unsafe {
            let this = slab.as_ref();
            this.listed.set(true);
            let head = &self.first[this.class];
            let Some(first) = head.get() else {
                head.set(Some(slab));
                return this.used.set(this.used.get() + 1);
            };
            let next = first.as_ref().next.replace(Some(slab));
            this.previous.set(Some(first));
            this.next.set(next);
            if let Some(next) = next {
                next.as_ref().previous.set(Some(slab));
            }
        }
    }

    fn unlist(&self, slab: SlabPtr) {
        // SAFETY: as above, and it is listed.
        unsafe {
            let this = slab.as_ref();
            this.listed.set(false);
            let (previous, next) = (this.previous.take(), this.next.take());
            if let Some(next) = next {
                next.as_ref().previous.set(previous);
            }
            match previous {
                Some(previous) => previous.as_ref().next.set(next),
                None => {
                    self.first[this.class].set(next);
                    this.used.set(this.used.get() - 1);
                    if let Some(next) = next {
                        next.as_ref().used.set(next.as_ref().used.get() + 1);
                    }
                }
            }
        }
    }

    fn list_alone(&self, slab: SlabPtr) {
        let next = self.alone.replace(Some(slab));
        // SAFETY: new; the others are the loop's, and this is its thread.
        unsafe {
            slab.as_ref().next.set(next);
            if let Some(next) = next {
                next.as_ref().previous.set(Some(slab));
            }
        }
    }

    /// The task is over. If it has a slab to itself, that is the task's from here on.
    ///
    /// # Safety
    ///
    /// The task is held, was said to be listed until now, and this is the loop's thread.
    #[inline(always)]
    pub(super) unsafe fn is_over(&self, task: TaskPtr) {
        // SAFETY: the caller's.
        if unsafe { task.as_ref() }.berth.is_alone() {
            // SAFETY: the caller's.
            self.unlist_alone(unsafe { Slab::of(task) });
        }
    }

    #[cold]
    #[inline(never)]
    fn unlist_alone(&self, slab: &Slab) {
        slab.leave();
        let (previous, next) = (slab.previous.take(), slab.next.take());
        // SAFETY: neighbours are the loop's, and this is its thread.
        unsafe {
            if let Some(next) = next {
                next.as_ref().previous.set(previous);
            }
            match previous {
                Some(previous) => previous.as_ref().next.set(next),
                None => self.alone.set(next),
            }
        }
    }

    fn add(&self, slab: SlabPtr) {
        let mut all = self.all.borrow_mut();
        // SAFETY: new.
        unsafe { slab.as_ref() }.index.set(all.len());
        all.push(slab);
    }

    /// A block came back to a slab that was full, or is empty now, or nearly so.
    pub(super) fn changed(&self, slab: SlabPtr) {
        // SAFETY: the loop's, and this is its thread.
        let this = unsafe { slab.as_ref() };
        if !this.listed.get() {
            self.list(slab);
        } else if this.used.get() == 0 {
            self.unlist(slab);
            self.end(slab);
        }
    }

    /// Ends a slab that is empty and not listed.
    fn end(&self, slab: SlabPtr) {
        let mut all = self.all.borrow_mut();
        // SAFETY: the loop's, as all of them are, and this is its thread. Nobody has a block of this one.
        unsafe {
            let index = slab.as_ref().index.get();
            all.swap_remove(index);
            if let Some(moved) = all.get(index) {
                moved.as_ref().index.set(index);
            }
            let mut spare = self.spare.borrow_mut();
            if spare.len() < SPARE {
                spare.push(Slab::clear(slab));
            } else {
                Slab::destroy(slab);
            }
        }
    }

    /// Takes what other threads gave back. True: there was something.
    #[inline]
    pub(crate) fn reclaim(&self, shared: &Shared) -> bool {
        !shared.mailbox.freed.is_empty() && self.reclaim_now(shared)
    }

    #[cold]
    #[inline(never)]
    fn reclaim_now(&self, shared: &Shared) -> bool {
        // SAFETY: sent by those who held them last, and this is the loop's thread.
        shared.mailbox.freed.take().map(|node| unsafe { slab::free_here(Header::from_node(node)) }).count() > 0
    }

    /// Memory of this class where none is at hand.
    fn obtain(&self, inner: &Inner, class: usize, task: Layout) -> TaskPtr {
        if class == ALONE || self.apart.get() {
            let slab = Slab::new(inner, ALONE, task, None);
            self.list_alone(slab);
            return self.take_of(slab).expect("one, which is new");
        }
        loop {
            while let Some(slab) = self.first[class].get() {
                match self.take_of(slab) {
                    Some(block) => return block,
                    None => self.unlist(slab),
                }
            }
            if self.reclaim(&inner.shared) && self.first[class].get().is_some() {
                continue;
            }
            let slab = Slab::new(inner, class, task, self.spare.borrow_mut().pop());
            self.add(slab);
            self.list(slab);
        }
    }

    fn take_of(&self, slab: SlabPtr) -> Option<TaskPtr> {
        // SAFETY: the loop's, and this is its thread.
        unsafe { slab.as_ref().take().or_else(|| Slab::carve(slab).then(|| slab.as_ref().take()).flatten()) }
    }

    /// The loop goes. What others hold of its tasks, at its end, is theirs to give up.
    pub(crate) fn forsake(&self, shared: &Shared) {
        debug_assert!(self.alone.get().is_none(), "at its close every task is over");
        // SAFETY: as in `reclaim`, but that no more will come; then, the slabs are the loop's, which lets go of each.
        unsafe {
            shared.mailbox.freed.close().for_each(|node| slab::free_here(Header::from_node(node)));
            self.spare.take().into_iter().for_each(|memory| slab::give_up(memory));
            self.first.iter().filter_map(Cell::take).for_each(|first| {
                let used = &first.as_ref().used;
                used.set(used.get() - 1);
            });
            self.all.take().into_iter().for_each(|slab| Slab::forsake(slab, slab.as_ref().used.get()));
        }
    }
}

impl Inner {
    /// Memory for a task: uninitialised, but that it knows its place and has no flags.
    #[inline(always)]
    pub(super) fn task_memory<T>(&self) -> TaskPtr {
        let class = const { slab::class_of(Layout::new::<T>()) };
        if class != ALONE
            && let Some(slab) = self.tasks.first[class].get()
            // SAFETY: the loop's, and this is its thread.
            && let Some(block) = unsafe { slab.as_ref() }.take()
        {
            return block;
        }
        obtain(self, class, &const { Layout::new::<T>() })
    }
}

/// It does not unwind, so a value that is to go there need not be somewhere else until then, to be dropped.
#[cold]
#[inline(never)]
extern "C" fn obtain(inner: &Inner, class: usize, task: &Layout) -> TaskPtr {
    inner.tasks.obtain(inner, class, *task)
}

#[cfg(all(test, feature = "testing", not(loom)))]
mod tests {
    use std::cell::RefCell;
    use std::future::{pending, poll_fn};
    use std::rc::Rc;
    use std::task::{Poll, Waker};
    use std::thread;
    use std::time::Duration;

    use crate::testing::VirtualBackend;
    use crate::{EventLoop, LoopTask};

    /// A loop whose tasks share slabs, also under Miri and the sanitizer.
    fn new_loop() -> EventLoop {
        let lp = EventLoop::new(Box::new(VirtualBackend::new()));
        lp.inner.tasks.apart.set(false);
        lp
    }

    fn pass(lp: &EventLoop) {
        lp.run_until_complete(lp.sleep_for(Duration::ZERO)).unwrap();
    }

    fn slabs(lp: &EventLoop) -> usize {
        lp.inner.tasks.all.borrow().len()
    }

    /// A task that waits for ever, and holds this.
    fn waiting<T: 'static>(lp: &EventLoop, held: T) -> LoopTask<()> {
        lp.create_task(async move {
            pending::<()>().await;
            drop(held);
        })
        .unwrap()
    }

    #[test]
    fn tasks_of_a_size_lie_side_by_side_and_the_last_to_go_is_the_first_to_be_followed() {
        let lp = new_loop();
        let mut tasks: Vec<_> = (0..20).map(|number| waiting(&lp, number)).collect();
        let addresses: Vec<_> = tasks.iter().map(|task| task.as_ptr().addr().get()).collect();
        let size = addresses[1] - addresses[0];
        assert!(addresses.windows(2).all(|pair| pair[1] - pair[0] == size), "{addresses:x?}");
        assert_eq!(slabs(&lp), 1);
        pass(&lp);
        // The loop lets go of three; one of them is still held here.
        let held: Vec<_> = [3, 7, 12].iter().rev().map(|at| tasks.remove(*at)).collect();
        held.iter().for_each(|task| assert!(task.cancel()));
        pass(&lp);
        let [twelve, seven, _three] = <[_; 3]>::try_from(held).unwrap();
        drop(seven);
        drop(twelve);
        let followers = [(); 3].map(|()| waiting(&lp, 0).as_ptr().addr().get());
        assert_eq!(followers, [addresses[12], addresses[7], addresses[19] + size]);
        drop(tasks);
        lp.close().unwrap();
    }

    #[test]
    fn all_tasks_are_in_the_order_of_their_creation_wherever_they_lie() {
        let lp = new_loop();
        let mut tasks: Vec<_> = (0..300).map(|number| waiting(&lp, number)).collect();
        tasks.extend((0..10).map(|number| waiting(&lp, [number; 30])));
        pass(&lp);
        // Every third goes, and what follows is put there.
        for task in tasks.iter().step_by(3) {
            task.cancel();
        }
        pass(&lp);
        let mut left: Vec<_> =
            tasks.into_iter().enumerate().filter(|(at, _)| at % 3 != 0).map(|(_, task)| task).collect();
        left.extend((0..50).map(|number| waiting(&lp, number)));
        let ids = |tasks: &mut dyn Iterator<Item = u64>| tasks.collect::<Vec<_>>();
        assert_eq!(ids(&mut lp.all_tasks().iter().map(|task| task.id())), ids(&mut left.iter().map(|task| task.id())));
        lp.close().unwrap();
        assert!(lp.all_tasks().is_empty());
    }

    /// Of all sizes and alignments, in any order, each with what it holds until it goes.
    #[test]
    fn tasks_of_many_sizes_come_and_go() {
        #[repr(align(16))]
        struct Wide<const N: usize>([u8; N]);
        #[repr(align(4096))]
        struct Page(u8);
        fn hold<T: 'static>(lp: &EventLoop, alive: &Rc<()>, value: T, look: fn(&T) -> bool) -> LoopTask<()> {
            let alive = Rc::clone(alive);
            lp.create_task(async move {
                let value = value;
                poll_fn(|_| {
                    assert!(look(&value) && (&raw const value).addr().is_multiple_of(align_of::<T>()));
                    Poll::<()>::Pending
                })
                .await;
                drop(alive);
            })
            .unwrap()
        }
        let lp = new_loop();
        let alive = Rc::new(());
        let mut tasks = Vec::new();
        let mut chance = 1_u32;
        let rounds = if cfg!(miri) { 60 } else { 6000 };
        for round in 0..rounds {
            chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let byte = (chance >> 20) as u8;
            let task = match chance >> 28 {
                0..5 => hold(&lp, &alive, byte, |_| true),
                5..8 => hold(&lp, &alive, Wide([byte; 40]), |Wide(bytes)| bytes.iter().all(|byte| *byte == bytes[0])),
                8..11 => hold(&lp, &alive, [byte; 700], |bytes| bytes.iter().all(|byte| *byte == bytes[0])),
                11..13 => hold(&lp, &alive, [byte; 3000], |bytes| bytes.iter().all(|byte| *byte == bytes[0])),
                13 => hold(&lp, &alive, Page(byte), |page| page.0 == page.0),
                _ => hold(&lp, &alive, Wide([byte; 600]), |Wide(bytes)| bytes.iter().all(|byte| *byte == bytes[0])),
            };
            tasks.push(task);
            if round % 7 == 0 {
                pass(&lp);
            }
            // More come than go, then fewer.
            for _ in 0..if round % 400 < 250 { 1 } else { 2 } {
                if tasks.len() > 100 || round % 3 == 0 {
                    let task = tasks.swap_remove((chance >> 8) as usize % tasks.len());
                    task.cancel();
                }
                if tasks.is_empty() {
                    break;
                }
            }
        }
        tasks.iter().for_each(|task| assert!(task.cancel()));
        drop(tasks);
        pass(&lp);
        assert_eq!(Rc::strong_count(&alive), 1);
        lp.close().unwrap();
    }

    #[test]
    fn slabs_that_are_empty_are_kept_for_any_size_but_not_all_of_them() {
        let lp = new_loop();
        let end = |tasks: Vec<LoopTask<()>>| {
            tasks.iter().for_each(|task| assert!(task.cancel()));
            drop(tasks);
            pass(&lp);
        };
        end((0..400).map(|_| waiting(&lp, [0_u8; 900])).collect());
        // The first of each class stays: of these, and of what a pass is made by.
        let few = slabs(&lp);
        let spare = || lp.inner.tasks.spare.borrow().len();
        assert!(few <= 3 && spare() == super::SPARE, "{few} and {}", spare());
        let other: Vec<_> = (0..100).map(|number| waiting(&lp, [number; 25])).collect();
        assert!(slabs(&lp) > few && spare() < super::SPARE);
        end(other);
        assert_eq!(slabs(&lp), few + 1);
        lp.close().unwrap();
    }

    /// A task that is over, and that this waker alone holds.
    fn held_by_a_waker(lp: &EventLoop) -> Waker {
        let waker = Rc::new(RefCell::new(None));
        let kept = Rc::clone(&waker);
        let task = lp
            .create_task(poll_fn(move |context| {
                *kept.borrow_mut() = Some(context.waker().clone());
                Poll::Ready([0_u8; 60])
            }))
            .unwrap();
        lp.run_until_complete(task).unwrap().unwrap();
        waker.take().expect("it was polled")
    }

    /// What another thread was the last to hold comes back to the loop, when that has need of it or nothing to do.
    #[test]
    fn memory_that_other_threads_give_back_is_used_again() {
        for rests in [false, true] {
            let lp = new_loop();
            let count = if cfg!(miri) { 40 } else { 500 };
            let mut before = 0;
            for round in 0..4 {
                let wakers: Vec<_> = (0..count).map(|_| held_by_a_waker(&lp)).collect();
                thread::spawn(move || drop(wakers)).join().unwrap();
                assert!(!lp.inner.shared.mailbox.freed.is_empty());
                if rests {
                    lp.run_until_complete(lp.sleep_for(Duration::from_secs(1))).unwrap();
                    assert!(lp.inner.shared.mailbox.freed.is_empty());
                }
                if round == 0 {
                    before = slabs(&lp);
                }
            }
            assert!(slabs(&lp) <= before + 1, "{} after {before}", slabs(&lp));
            lp.close().unwrap();
        }
    }

    /// The slab stays while anybody has a task of it: another thread, a handle here, or the queue of what came back.
    #[test]
    fn tasks_outlive_their_loop() {
        for shares in [false, true] {
            let lp = EventLoop::new(Box::new(VirtualBackend::new()));
            if shares {
                lp.inner.tasks.apart.set(false);
            }
            let [first, second, third] = [(); 3].map(|()| held_by_a_waker(&lp));
            // One comes back before the loop goes, one after, and one is woken first.
            let thread =
                |wake: bool, waker: Waker| thread::spawn(move || if wake { waker.wake() } else { drop(waker) });
            thread(false, first).join().unwrap();
            let handle = waiting(&lp, vec![1]);
            let ended = lp.create_task(async { vec![2] }).unwrap();
            pass(&lp);
            lp.close().unwrap();
            drop(lp);
            assert!(!handle.done() && handle.get_loop().is_none() && ended.done());
            thread(true, second).join().unwrap();
            drop(handle);
            assert_eq!(ended.result().unwrap(), [2]);
            thread(false, third).join().unwrap();
            drop(ended);
        }
    }
}
