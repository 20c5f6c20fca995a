//! A task in memory: one block of a slab, the part that does not depend on the coroutine's type in front.
//!
//! Invariants this file keeps:
//!
//! * a [`Header`] is the first field of the `repr(C)` [`TaskCell`] that its vtable was made for, so one pointer is both, and its
//!   [`Node`] lies at the same distance in each; likewise the node's vtable is the first field of the task's;
//! * the stage (coroutine or outcome), the extras and the links are touched on the loop's thread only;
//! * the coroutine is pinned: it is dropped where it lies, and never moved;
//! * what the stage holds is said by a cell beside it, which says *nothing* from before a destructor runs until after:
//!   the destructor may reach this very task, and must not find itself there.

use std::cell::{Cell, UnsafeCell};
use std::future::Future;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, offset_of};
use std::panic::Location;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context as TaskContext, Poll};

use crate::error::TaskError;
use crate::inner::Inner;
use crate::remote::{Node, NodeVTable};
use crate::task::local::{Held, Local};
use crate::task::slab::{self, Slab};
use crate::task::source::Source;
use crate::task::state::State;
use crate::task::waker;
use crate::waiters::Waiters;

/// A pointer to a task of any type.
pub(crate) type TaskPtr = NonNull<Header>;

#[repr(C)]
pub(crate) struct Header {
    // What a wake from another thread writes comes first, to be on one line of the cache in most blocks.
    pub(crate) state: State,
    pub(super) source: Source,
    node: Node,
    pub(crate) local: Local,
    pub(super) berth: Berth,
    /// Those who wait for it, and its extras.
    pub(crate) waiters: Waiters,
    id: Cell<u64>,
}

/// Where a task's slab begins, seen from the task: so many steps of a slab's further on, a negative number.
#[derive(Clone, Copy)]
pub(super) struct Berth(i16);

impl Berth {
    const ALONE: i16 = -((slab::START / slab::STEP) as i16);

    /// So many bytes into the slab.
    pub(super) fn at(distance: usize) -> Self {
        debug_assert!(distance.is_multiple_of(slab::STEP));
        Self(-i16::try_from(distance / slab::STEP).expect("a slab is small"))
    }

    /// The slab is this task's alone.
    #[inline(always)]
    pub(super) fn is_alone(self) -> bool {
        self.0 == Self::ALONE
    }

    /// In bytes.
    #[inline(always)]
    pub(super) fn to_slab(self) -> isize {
        self.0 as isize * slab::STEP as isize
    }
}

/// What can be done with a task without knowing its type, on the loop's thread only.
#[repr(C)]
pub(crate) struct TaskVTable {
    pub(crate) node: NodeVTable,
    /// Polls the coroutine; true when it returned, its value then being the outcome.
    pub(crate) poll: unsafe fn(TaskPtr, &mut TaskContext<'_>) -> bool,
    /// Drops the coroutine or the outcome and puts this error in its place, or nothing.
    pub(crate) replace: unsafe fn(TaskPtr, Option<TaskError>),
    /// The error that the outcome is, if it is one.
    pub(crate) error: unsafe fn(TaskPtr) -> Option<TaskError>,
    /// Where the stage begins, in bytes from the header.
    stage: usize,
    /// The coroutine's type.
    pub(crate) name: fn() -> &'static str,
}

/// Which of the two it is, [`Local`] says.
union Stage<F: Future> {
    coroutine: ManuallyDrop<F>,
    outcome: ManuallyDrop<Outcome<F>>,
}

type Outcome<F> = Result<<F as Future>::Output, TaskError>;

#[repr(C)]
pub(crate) struct TaskCell<F: Future> {
    header: Header,
    stage: UnsafeCell<Stage<F>>,
}

/// Puts an outcome into the empty stage when it goes, also where a destructor unwinds. It is given as what it is made of:
/// put together, it would be copied.
struct Fill<V, F: Future, M: FnOnce(V) -> Outcome<F>> {
    task: TaskPtr,
    made_of: ManuallyDrop<V>,
    make: ManuallyDrop<M>,
    of: PhantomData<F>,
}

impl<V, F: Future, M: FnOnce(V) -> Outcome<F>> Drop for Fill<V, F, M> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: taken once, here.
        let (made_of, make) = unsafe { (ManuallyDrop::take(&mut self.made_of), ManuallyDrop::take(&mut self.make)) };
        // SAFETY: the task is held by whoever ends it. The stage is empty, as a task ends once.
        unsafe {
            debug_assert!(self.task.as_ref().local.held.get() == Held::Nothing);
            (*TaskCell::<F>::stage(self.task)).outcome = ManuallyDrop::new(make(made_of));
            self.task.as_ref().local.held.set(Held::Outcome);
        }
    }
}

impl<F: Future> TaskCell<F> {
    const VTABLE: TaskVTable = TaskVTable {
        node: NodeVTable { deliver: super::deliver, release: super::release_node },
        poll: Self::poll,
        replace: Self::replace,
        error: Self::error,
        stage: offset_of!(Self, stage),
        name: std::any::type_name::<F>,
    };

    /// A task of this loop, held by it and by one handle; `coroutine` only gives what it has.
    ///
    /// The vtable of a type that is not `'static` is a constant all the same: it is promoted, and no lifetime of
    /// `F` is part of it.
    #[inline(always)]
    pub(crate) fn allocate(
        coroutine: impl FnOnce() -> F,
        inner: &Inner,
        id: u64,
        local: Local,
        source: &'static Location<'static>,
    ) -> TaskPtr {
        let task = inner.task_memory::<Self>();
        // SAFETY: a block has one.
        let berth = unsafe { (*task.as_ptr()).berth };
        let vtable: *const TaskVTable = const { &Self::VTABLE };
        let cell = Self {
            header: Header {
                // SAFETY: a constant, promoted: it lives for ever.
                node: unsafe { Node::with_vtable(vtable.cast()) },
                state: State::new(),
                source: Source::new(source, vtable),
                local,
                berth,
                waiters: Waiters::default(),
                id: Cell::new(id),
            },
            stage: UnsafeCell::new(Stage { coroutine: ManuallyDrop::new(coroutine()) }),
        };
        // SAFETY: memory for it, and then it is there.
        unsafe {
            task.cast().write(cell);
            Header::keep_source(task, source);
        }
        task
    }

    /// Where the stage lies.
    ///
    /// # Safety
    ///
    /// `task` is a `TaskCell<F>` that is alive. (This and all below, which are only called through its vtable.)
    unsafe fn stage(task: TaskPtr) -> *mut Stage<F> {
        // SAFETY: the caller's; nothing but the cell is referred to.
        unsafe { (*task.cast::<Self>().as_ptr()).stage.get() }
    }

    unsafe fn poll(task: TaskPtr, context: &mut TaskContext<'_>) -> bool {
        // SAFETY: the caller's; the loop's thread alone touches the stage. While the coroutine is polled nobody else
        // does: a task is not polled within its own step, and no other function touches the stage of one not done. It
        // lies in the allocation, is never moved out of it, and is dropped there.
        unsafe {
            if task.as_ref().local.held.get() != Held::Coroutine {
                return false;
            }
            match Pin::new_unchecked(&mut *(*Self::stage(task)).coroutine).poll(context) {
                Poll::Pending => false,
                Poll::Ready(value) => {
                    Self::fill(task, value, Ok);
                    true
                }
            }
        }
    }

    /// Drops what is in the stage and puts this outcome in its place.
    #[inline]
    unsafe fn fill<V>(task: TaskPtr, made_of: V, make: impl FnOnce(V) -> Outcome<F>) {
        let _fill =
            Fill { task, made_of: ManuallyDrop::new(made_of), make: ManuallyDrop::new(make), of: PhantomData::<F> };
        // SAFETY: the caller's.
        unsafe { Self::clear(task) };
    }

    /// Drops what is in the stage.
    #[inline]
    unsafe fn clear(task: TaskPtr) {
        // SAFETY: the caller's. What is dropped is dropped in place, pinned, once, as it is not said to be there any more.
        unsafe {
            match task.as_ref().local.held.replace(Held::Nothing) {
                Held::Coroutine => ManuallyDrop::drop(&mut (*Self::stage(task)).coroutine),
                Held::Outcome => ManuallyDrop::drop(&mut (*Self::stage(task)).outcome),
                Held::Nothing => {}
            }
        }
    }

    unsafe fn replace(task: TaskPtr, error: Option<TaskError>) {
        // SAFETY: the caller's.
        unsafe {
            match error {
                Some(error) => Self::fill(task, error, Err),
                None => Self::clear(task),
            }
        }
    }

    unsafe fn error(task: TaskPtr) -> Option<TaskError> {
        // SAFETY: the caller's; an outcome is there.
        unsafe {
            if task.as_ref().local.held.get() != Held::Outcome {
                return None;
            }
            (*(*Self::stage(task)).outcome).as_ref().err().cloned()
        }
    }
}

impl Header {
    /// The task whose node this is.
    ///
    /// # Safety
    ///
    /// It came from [`as_node`](Self::as_node).
    pub(crate) unsafe fn from_node(node: *const Node) -> TaskPtr {
        // SAFETY: the caller's: that far into the task.
        unsafe { NonNull::new_unchecked(node.byte_sub(offset_of!(Self, node)).cast_mut().cast()) }
    }

    pub(crate) fn vtable(&self) -> &'static TaskVTable {
        // SAFETY: `allocate` gave the node the task's whole table.
        unsafe { &*self.node.vtable_ptr().cast() }
    }

    /// Polls the coroutine; true when it returned, its value then being the outcome.
    ///
    /// # Safety
    ///
    /// The task is held, not done and not being polled, and this is its loop's thread.
    #[inline(always)]
    pub(crate) unsafe fn poll(task: TaskPtr) -> bool {
        // SAFETY: the caller's; the vtable is the task's own, and its waker lasts as long as the poll.
        unsafe {
            let waker = waker::borrowed(task);
            (task.as_ref().vtable().poll)(task, &mut TaskContext::from_waker(&waker))
        }
    }

    /// Takes the outcome out, for good or for a look: a `*mut Result<T, TaskError>`, which stays where it is, and may be given
    /// back with `give_back`.
    ///
    /// # Safety
    ///
    /// The task is held, and this is its loop's thread.
    #[inline]
    pub(crate) unsafe fn lend(task: TaskPtr) -> Option<NonNull<()>> {
        // SAFETY: the caller's; the offset is within the task.
        unsafe {
            let header = task.as_ref();
            if header.local.held.get() != Held::Outcome {
                return None;
            }
            header.local.held.set(Held::Nothing);
            Some(task.byte_add(header.vtable().stage).cast())
        }
    }

    /// Whether nothing is left to be dropped: the stage is empty, and the extras and waiters are gone.
    pub(super) fn is_bare(&self) -> bool {
        self.local.is_empty() && !self.waiters.holds_any() && !self.has_extras()
    }

    /// Its number; none that users are shown is zero.
    #[inline]
    pub(crate) fn id(&self) -> u64 {
        self.id.get()
    }

    pub(crate) fn set_id(&self, id: u64) {
        self.id.set(id);
    }

    /// The loop that drives it, unless that is gone.
    ///
    /// # Safety
    ///
    /// The task is held, and this is its loop's thread, where a loop that is found is alive for now.
    #[inline(always)]
    pub(crate) unsafe fn inner<'a>(task: TaskPtr) -> Option<&'a Inner> {
        // SAFETY: the caller's; a loop that goes says so in its slabs.
        unsafe { Slab::of(task).inner().as_ref() }
    }

    /// Its loop where that runs in this thread, as it does nearly always: one comparison tells, on any thread, and what is done
    /// with the loop need not wait for what the task knows of it.
    ///
    /// # Safety
    ///
    /// The task is held.
    #[inline(always)]
    pub(crate) unsafe fn running<'a>(task: TaskPtr) -> Option<&'a Inner> {
        let running = crate::running::running();
        // SAFETY: the caller's; a loop that runs here is alive, and no slab's is null.
        unsafe { Slab::of(task).is_of(running).then(|| NonNull::new_unchecked(running.cast_mut()).as_ref()) }
    }

    /// Whether this is its loop's thread.
    ///
    /// # Safety
    ///
    /// The task is held.
    #[inline(always)]
    pub(crate) unsafe fn is_here(task: TaskPtr) -> bool {
        // SAFETY: the caller's.
        crate::running::is_thread(unsafe { Slab::of(task) }.owner)
    }

    /// Its link for the remote queue.
    pub(crate) fn as_node(task: TaskPtr) -> *const Node {
        // SAFETY: within the task.
        unsafe { task.byte_add(offset_of!(Self, node)).cast().as_ptr() }
    }
}

#[cfg(all(test, feature = "testing", not(loom)))]
mod tests {
    use std::future::{Future, poll_fn, ready};
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use crate::{EventLoop, TaskError, testing::VirtualBackend};

    #[test]
    fn a_header_is_six_words() {
        assert_eq!(size_of::<super::Header>(), 48);
    }

    #[test]
    fn what_other_threads_write_is_side_by_side() {
        use super::{Header, offset_of};
        assert!(offset_of!(Header, state) < 16 && offset_of!(Header, node) + size_of::<usize>() <= 16);
        assert!(offset_of!(Header, local) < 32);
    }

    /// For Miri: a task whose holders were made on one side and given up on the other for so long that the counts have no room
    /// is freed with the last of them, and no sooner.
    #[test]
    fn counts_that_have_drifted_apart_are_added_up() {
        let lp = EventLoop::new(Box::new(VirtualBackend::new()));
        for up in [true, false] {
            let mut wakers = Vec::new();
            let task = lp.create_task(poll_fn(move |context| {
                let task = crate::task::waker::task_of(context.waker()).expect("a task of ours");
                // SAFETY: it is polled.
                let header = unsafe { task.as_ref() };
                wakers.push(context.waker().clone());
                header.state.take_over(-header.local.drift(up));
                if up {
                    wakers.push(context.waker().clone());
                } else {
                    wakers.clear();
                }
                assert!(header.local.counted().abs() < 8, "{}", header.local.counted());
                Poll::Ready(wakers.len())
            }));
            let held = lp.run_until_complete(task.unwrap()).unwrap().unwrap();
            assert_eq!(held, if up { 2 } else { 0 });
        }
    }

    #[test]
    fn many_cancellation_requests_are_counted_like_few() {
        let lp = EventLoop::new(Box::new(VirtualBackend::new()));
        let task = lp.create_task(Ends(false)).unwrap();
        for count in 1..=600 {
            assert!(task.cancel());
            assert_eq!(task.cancelling(), count);
        }
        for left in (0..600).rev() {
            assert_eq!((task.uncancel(), task.cancelling()), (left, left));
        }
        assert_eq!(lp.run_until_complete(task).unwrap().unwrap(), [7; 100]);
    }

    /// Ends at once, with something that is to be freed, and perhaps unwinds when it is dropped.
    struct Ends(bool);

    impl Future for Ends {
        type Output = Vec<u8>;
        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Vec<u8>> {
            Poll::Ready(vec![7; 100])
        }
    }

    impl Drop for Ends {
        fn drop(&mut self) {
            assert!(!self.0, "as it was meant to");
        }
    }

    /// For Miri: what is put into the stage, and taken out of it, is there once.
    #[test]
    fn outcomes_are_put_in_place_and_moved_out_once() {
        let lp = EventLoop::new(Box::new(VirtualBackend::new()));
        let task = lp.create_task(Ends(false)).unwrap();
        assert_eq!(lp.run_until_complete(async { (&task).await }).unwrap().unwrap(), [7; 100]);
        assert_eq!(lp.run_until_complete(task.clone()).unwrap().unwrap(), [7; 100]);
        assert!(matches!(task.take_outcome(), Err(TaskError::Taken)));
        // Nobody takes these.
        drop(lp.create_task(Ends(false)).unwrap());
        let forgotten = lp.create_task(Ends(false)).unwrap();
        lp.run_until_complete(ready(())).unwrap();
        assert!(forgotten.done());
        // A value that is there when the destructor unwinds goes; an error can be had again and again.
        let failed = lp.create_task(Ends(true)).unwrap();
        for _ in 0..2 {
            let outcome = lp.run_until_complete(async { (&failed).await }).unwrap();
            assert!(matches!(outcome, Err(TaskError::Panicked(_))));
            assert!(matches!(failed.take_outcome(), Err(TaskError::Panicked(_))));
        }
        // One that never ends, dropped with its loop.
        let pending = lp.create_task(poll_fn(|_| Poll::<Vec<u8>>::Pending)).unwrap();
        lp.run_until_complete(ready(())).unwrap();
        lp.close().unwrap();
        assert!(matches!(pending.take_outcome(), Err(TaskError::Abandoned)));
    }
}
