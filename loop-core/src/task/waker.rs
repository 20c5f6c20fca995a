//! The waker of a task: works from any thread (**I7**).
//!
//! On the loop's own thread a wake is a flag and a push onto the ready queue: no atomic operation, no lock, no
//! system call. From elsewhere it is one bit and a push onto the remote queue, and a system call only if the loop
//! sleeps. A waker that outlives its task, or its loop, does nothing.

use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::task::{RawWaker, RawWakerVTable, Waker};

use crate::prefetch::prefetch;
use crate::task::header::{Header, TaskPtr};
use crate::task::slab::Slab;

static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

/// The task's waker, borrowed for one poll: it holds nothing, so nothing is given up with it.
///
/// # Safety
///
/// The task is alive for as long as the waker is used.
pub(crate) unsafe fn borrowed(task: TaskPtr) -> ManuallyDrop<Waker> {
    // SAFETY: the vtable's functions are made for task pointers; the hold is the caller's.
    ManuallyDrop::new(unsafe { Waker::from_raw(RawWaker::new(task.as_ptr().cast(), &VTABLE)) })
}

/// The task that a waker wakes, if it is one of ours. It is alive while the waker is.
pub(crate) fn task_of(waker: &Waker) -> Option<TaskPtr> {
    std::ptr::eq(waker.vtable(), &raw const VTABLE).then(|| task(waker.data()))
}

/// A task of this thread, waiting to be told of something: what a clone of its waker would be, but known to run no code of
/// others.
#[repr(transparent)]
pub(crate) struct LocalWaker(TaskPtr);

impl LocalWaker {
    /// The waker's task, if it is one of this thread.
    #[inline(always)]
    pub(crate) fn of(waker: &Waker) -> Option<Self> {
        let task = task_of(waker)?;
        // SAFETY: the waker holds the task.
        unsafe {
            if !Header::is_here(task) {
                return None;
            }
            super::hold_local(task);
        }
        Some(Self(task))
    }

    /// The same where it is the task whose step runs, as it nearly always is.
    #[inline(always)]
    pub(crate) fn of_current(waker: &Waker, current: TaskPtr) -> Option<Self> {
        let is_its_own = std::ptr::eq(waker.vtable(), &raw const VTABLE) && waker.data() == current.as_ptr().cast();
        is_its_own.then(|| {
            // SAFETY: held by the loop for its step.
            unsafe { super::hold_running(current) };
            Self(current)
        })
    }

    /// Whether the waker wakes this very task.
    pub(crate) fn is_of(&self, waker: &Waker) -> bool {
        task_of(waker) == Some(self.0)
    }

    /// As a bare pointer, never null and aligned as a task is, for [`from_raw`](Self::from_raw).
    #[inline]
    pub(crate) fn into_raw(self) -> *mut () {
        let task = self.0;
        std::mem::forget(self);
        task.as_ptr().cast()
    }

    /// # Safety
    ///
    /// The pointer is from `into_raw`, and is used once.
    #[inline]
    pub(crate) unsafe fn from_raw(task: *mut ()) -> Self {
        // SAFETY: the caller's.
        Self(unsafe { NonNull::new_unchecked(task.cast()) })
    }

    /// Has the task brought near, which its step is soon to look at: the header and the beginning of the coroutine.
    pub(crate) fn prefetch(&self) {
        let task = self.0.as_ptr().cast::<u8>();
        (0..3).for_each(|line| prefetch(task.wrapping_add(64 * line)));
    }

    /// Queues the task's next step.
    #[inline(always)]
    pub(crate) fn wake(self) {
        let task = self.0;
        std::mem::forget(self);
        // SAFETY: held, and of this thread, which it never leaves; the hold is given up.
        unsafe {
            match Header::running(task) {
                Some(inner) => super::wake_in(inner, task),
                None => wake_between_runs(task),
            }
        }
    }

    /// The task's number.
    pub(crate) fn id(&self) -> u64 {
        // SAFETY: held.
        unsafe { self.0.as_ref() }.id()
    }
}

impl Drop for LocalWaker {
    fn drop(&mut self) {
        // SAFETY: the hold taken when it was made, on this thread.
        unsafe { super::release_local(self.0) };
    }
}

fn task(data: *const ()) -> TaskPtr {
    NonNull::new(data.cast_mut()).expect("a waker points to its task").cast()
}

unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: the waker that is cloned holds the task.
    unsafe { super::hold(task(data)) };
    RawWaker::new(data, &VTABLE)
}

unsafe fn wake_by_ref(data: *const ()) {
    let task = task(data);
    // SAFETY: the waker holds the task.
    unsafe {
        match Header::running(task) {
            Some(inner) => _ = super::schedule_in(inner, task),
            None => wake_by_ref_between_runs(task),
        }
    }
}

unsafe fn wake(data: *const ()) {
    let task = task(data);
    // SAFETY: as above; the waker's hold is given up.
    unsafe {
        match Header::running(task) {
            Some(inner) => super::wake_in(inner, task),
            None => wake_between_runs(task),
        }
    }
}

/// Where the task's loop does not run in this thread: it may run in another, or not at all.
///
/// # Safety
///
/// The caller holds the task.
#[inline(never)]
unsafe fn wake_by_ref_between_runs(task: TaskPtr) {
    // SAFETY: the caller's.
    unsafe {
        let state = &task.as_ref().state;
        if Header::is_here(task) {
            super::schedule(task);
        } else if state.send() {
            state.hold();
            send(task);
        }
    }
}

/// The same.
///
/// # Safety
///
/// The hold is the caller's; it goes to the queue, or is given up.
#[inline(never)]
unsafe fn wake_between_runs(task: TaskPtr) {
    // SAFETY: the caller's.
    unsafe {
        if Header::is_here(task) {
            super::schedule(task);
            super::release_local(task);
        } else if task.as_ref().state.send() {
            send(task);
        } else {
            super::release(task);
        }
    }
}

unsafe fn drop_waker(data: *const ()) {
    // SAFETY: the waker's hold, given up.
    unsafe { super::release(task(data)) };
}

/// Puts the task into its loop's remote queue, with one hold.
///
/// # Safety
///
/// The caller changed `SENT` from clear to set, and gives one hold along.
unsafe fn send(task: TaskPtr) {
    // SAFETY: the caller's; `SENT` keeps the node from being in the queue twice. The shared part is kept alive past the
    // push, which may free the task, by a hold of its own: an anchor goes with the slab, and that with its tasks, not with us.
    unsafe {
        let shared = Slab::of(task).shared;
        std::sync::Arc::increment_strong_count(shared);
        let shared = std::sync::Arc::from_raw(shared);
        if !shared.send(Header::as_node(task)) {
            super::release(task);
        }
    }
}
