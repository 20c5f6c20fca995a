//! Tasks: coroutines that the loop drives.
//!
//! * `state` — what other threads touch: holders, and the way to the loop;
//! * `local` — what the loop's own thread knows: flags and counts;
//! * `extras` — what few tasks have;
//! * `header` — a task in memory, header and coroutine together;
//! * `waker` — how a task is woken, from here and from elsewhere;
//! * `step` — one poll, and how a task ends;
//! * `cancel` — cancellation requests, and who takes them;
//! * `factory` — making tasks;
//! * `dump` — every task and what it waits for;
//! * `fail` — ending a task with an error;
//! * `source` — where a task was made, in four bytes;
//! * `span` — a task as a `tracing` span;
//! * `loop_task`, `task_ref` — [`LoopTask`] and [`TaskRef`], what users hold, and the trait [`Task`];
//! * `id` — their numbers;
//! * `slab`, `slabs` — the memory that tasks of a size share, and with it their loop; all the unfinished ones of it.
//!
//! **I5** A coroutine does nothing until the loop drives it. **I6** Coroutines need not be `Send` and never leave the
//! loop's thread, destructors included: whoever holds the last waker, what is inside was dropped by the loop.

mod cancel;
mod dump;
mod extras;
mod factory;
mod fail;
mod header;
mod id;
mod local;
mod loop_task;
mod slab;
mod slabs;
mod source;
mod span;
mod state;
mod step;
mod task_ref;
mod waker;

use std::panic::Location;
use std::rc::Rc;

pub use cancel::{CatchCancelled, Raise, catch_cancelled};
pub(crate) use dump::woken_by;
pub use dump::{TaskDump, TaskSnapshot, TaskState, WaitsFor};
pub use factory::{TaskFactory, TaskOptions, eager_task_factory};
pub use fail::{Fail, fail};
pub(crate) use header::{Header, TaskPtr};
pub(crate) use id::next_id;
pub(crate) use local::{Flag, Local};
pub(crate) use loop_task::Outcome;
pub use loop_task::{LoopTask, Task};
pub(crate) use slabs::Slabs;
pub use task_ref::TaskRef;
pub(crate) use waker::LocalWaker;

use crate::exception::Finally;
use crate::inner::Inner;
use crate::ready::Ready;
use crate::remote::Node;

/// A task in the ready queue. The loop's hold covers it, also where the task ended or was orphaned meanwhile: whoever
/// takes it out gives that hold up then.
pub(crate) struct Scheduled(TaskPtr);

impl Scheduled {
    pub(crate) fn as_task(&self) -> TaskPtr {
        self.0
    }

    /// Out of the queue, for its step. It is still said to be there.
    pub(crate) fn into_task(self) -> TaskPtr {
        let task = self.0;
        std::mem::forget(self);
        task
    }

    /// The task as debug mode shows it.
    pub(crate) fn display(&self) -> impl std::fmt::Debug + use<> {
        Header::display(self.0)
    }
}

/// At close: the step is not to be.
impl Drop for Scheduled {
    fn drop(&mut self) {
        // SAFETY: a scheduled task is held; that hold is given up here where the task's end left it to us.
        unsafe {
            let local = &self.0.as_ref().local;
            local.clear(Flag::Scheduled);
            if local.has(Flag::Done) || local.has(Flag::Orphaned) {
                let_go(self.0);
            }
        }
    }
}

/// Queues the task's next step, unless it is queued already or done.
///
/// # Safety
///
/// The task is alive, and this is its loop's thread.
#[inline(always)]
pub(crate) unsafe fn schedule(task: TaskPtr) {
    // SAFETY: the caller's.
    unsafe {
        match Header::running(task) {
            Some(inner) => _ = schedule_in(inner, task),
            None => schedule_between_runs(task),
        }
    }
}

/// # Safety
///
/// As for [`schedule`].
#[cold]
#[inline(never)]
unsafe fn schedule_between_runs(task: TaskPtr) {
    // SAFETY: the caller's.
    unsafe {
        if let Some(inner) = Header::inner(task) {
            schedule_in(inner, task);
        }
    }
}

/// True: it was not queued, nor is it over.
///
/// # Safety
///
/// As for [`schedule`], and this is its loop.
#[inline(always)]
unsafe fn schedule_in(inner: &Inner, task: TaskPtr) -> bool {
    // SAFETY: the caller's.
    let local = unsafe { &task.as_ref().local };
    if local.has_any([Flag::Scheduled, Flag::Done, Flag::Orphaned]) {
        return false;
    }
    local.set(Flag::Scheduled);
    inner.ready.push_with(|| Ready::Task(Scheduled(task)));
    true
}

/// Queues the task's next step, and gives one hold up.
///
/// # Safety
///
/// The hold is the caller's, and this is the task's loop, on its thread.
#[inline(always)]
unsafe fn wake_in(inner: &Inner, task: TaskPtr) {
    // SAFETY: the caller's. What was queued just now is not over, and so its loop holds it.
    unsafe {
        match schedule_in(inner, task) {
            true => release_running(task),
            false => release_local(task),
        }
    }
}

/// One hold more. Any thread.
///
/// # Safety
///
/// The task is alive.
#[inline(always)]
pub(crate) unsafe fn hold(task: TaskPtr) {
    // SAFETY: the caller's.
    unsafe {
        if Header::running(task).is_some() {
            hold_local(task);
        } else {
            hold_between_runs(task);
        }
    }
}

/// The same where its loop does not run in this thread.
///
/// # Safety
///
/// As said.
#[cold]
#[inline(never)]
unsafe fn hold_between_runs(task: TaskPtr) {
    // SAFETY: the caller's.
    unsafe {
        if Header::is_here(task) {
            hold_local(task);
        } else {
            task.as_ref().state.hold();
        }
    }
}

/// One hold more, on the loop's thread: a plain number, for as long as the loop holds the task.
///
/// # Safety
///
/// The task is alive, and this is its loop's thread.
#[inline(always)]
pub(crate) unsafe fn hold_local(task: TaskPtr) {
    // SAFETY: the caller's.
    let header = unsafe { task.as_ref() };
    if header.local.has(Flag::Merged) {
        return header.state.hold();
    }
    // SAFETY: the caller's, and the loop holds it.
    unsafe { hold_running(task) };
}

/// One hold more, of a task that its loop holds, as it does for a step.
///
/// # Safety
///
/// As said, and this is its loop's thread.
#[inline(always)]
unsafe fn hold_running(task: TaskPtr) {
    // SAFETY: the caller's.
    let header = unsafe { task.as_ref() };
    debug_assert!(!header.local.has(Flag::Merged));
    if !header.local.hold() {
        hand_over(header, 1);
    }
}

/// Wakers were made here and given up elsewhere for so long, or the other way round, that there is no number for one more or
/// less here: the state takes over what was counted.
#[cold]
fn hand_over(header: &Header, more: i32) {
    header.state.take_over(header.local.counted() + more);
    header.local.count_anew();
}

/// Gives one hold up; the last one frees the memory. Any thread.
///
/// # Safety
///
/// The hold is the caller's.
#[inline]
pub(crate) unsafe fn release(task: TaskPtr) {
    // SAFETY: the caller's.
    unsafe {
        if Header::running(task).is_some() {
            release_local(task);
        } else {
            release_between_runs(task);
        }
    }
}

/// The same where its loop does not run in this thread.
///
/// # Safety
///
/// As said.
#[cold]
#[inline(never)]
unsafe fn release_between_runs(task: TaskPtr) {
    // SAFETY: the caller's; where nobody holds the task any more, nobody comes to.
    unsafe {
        if Header::is_here(task) {
            release_local(task);
        } else if task.as_ref().state.release() {
            debug_assert!(task.as_ref().is_bare());
            slab::free_elsewhere(task);
        }
    }
}

/// Gives one hold up, on the loop's thread.
///
/// # Safety
///
/// The hold is the caller's, and this is the loop's thread.
#[inline(always)]
pub(crate) unsafe fn release_local(task: TaskPtr) {
    // SAFETY: the caller's hold keeps the task alive until the count says otherwise.
    unsafe {
        match task.as_ref().local.has(Flag::Merged) {
            true => release_merged(task),
            false => release_running(task),
        }
    }
}

/// The same of a task that its loop holds.
///
/// # Safety
///
/// As said.
#[inline(always)]
unsafe fn release_running(task: TaskPtr) {
    // SAFETY: the caller's.
    let header = unsafe { task.as_ref() };
    debug_assert!(!header.local.has(Flag::Merged));
    if !header.local.release() {
        hand_over(header, -1);
    }
}

/// The same of a task that its loop does not hold any more.
///
/// # Safety
///
/// As said.
#[inline(never)]
unsafe fn release_merged(task: TaskPtr) {
    // SAFETY: the caller's.
    unsafe {
        if task.as_ref().state.release() {
            free_local(task);
        }
    }
}

/// The loop gives its own hold up: once for each task.
///
/// # Safety
///
/// The loop's hold is the caller's to give, and this is the loop's thread.
#[inline]
pub(crate) unsafe fn let_go(task: TaskPtr) {
    // SAFETY: the caller's.
    unsafe {
        let header = task.as_ref();
        let local = &header.local;
        local.set(Flag::Merged);
        // Handles stay, and together are one.
        let stay = i32::from(local.has_handles());
        if header.state.merge(local.counted() - 1, stay) {
            free_local(task);
        }
    }
}

/// # Safety
///
/// Nobody holds the task, or comes to, and this is its loop's thread.
#[inline]
unsafe fn free_local(task: TaskPtr) {
    // SAFETY: the caller's.
    unsafe {
        debug_assert!(task.as_ref().is_bare());
        slab::free_here(task);
    }
}

/// A wake arrived from another thread.
///
/// # Safety
///
/// The node is that of a task, whose hold comes with it, and this is the loop's thread.
unsafe fn deliver(node: *const Node, _: &Rc<Inner>) {
    // SAFETY: the caller's.
    unsafe {
        let task = Header::from_node(node);
        task.as_ref().state.received();
        schedule(task);
        release(task);
    }
}

/// A wake arrived at a loop that is gone.
///
/// # Safety
///
/// The node is that of a task, whose hold comes with it.
unsafe fn release_node(node: *const Node) {
    // SAFETY: the caller's.
    unsafe { release(Header::from_node(node)) };
}

impl Inner {
    /// Makes a task and lists it; its first step is queued by the caller. The returned pointer comes with the hold of
    /// one handle.
    pub(crate) fn new_task<F: Future>(
        self: &Rc<Self>,
        coroutine: F,
        hidden: bool,
        source: &'static Location<'static>,
    ) -> TaskPtr {
        let (id, local) = match hidden {
            true => (0, Local::new([Flag::Listed, Flag::Hidden])),
            false => (next_id(), Local::new([Flag::Listed])),
        };
        let task = header::TaskCell::allocate(|| coroutine, self, id, local, source);
        // SAFETY: fresh, and held by the loop until it ends.
        let header = unsafe { task.as_ref() };
        let context = crate::context::snapshot();
        if context.is_some() {
            header.with_extras(|extras| extras.context = context);
        }
        if !hidden {
            header.trace();
        }
        task
    }

    /// At close: every unfinished task loses its coroutine and stays pending for ever.
    pub(crate) fn orphan_tasks(self: &Rc<Self>, finally: &mut Finally<'_>) {
        let tasks = self.tasks.unfinished();
        // The end of one runs anybody's code, which may be the end of another.
        // SAFETY: listed tasks are alive, and these are held from here on; each hold is given up once, the loop's own with it.
        unsafe {
            tasks.iter().for_each(|task| hold_local(*task));
            for task in tasks {
                let local = &task.as_ref().local;
                if local.has(Flag::Listed) {
                    local.clear(Flag::Listed);
                    self.tasks.is_over(task);
                    self.orphan(task, finally);
                }
                release_local(task);
            }
        }
    }

    /// # Safety
    ///
    /// The task is alive, not done, not listed, and this is its loop's thread; the loop's hold is given up.
    unsafe fn orphan(self: &Rc<Self>, task: TaskPtr, finally: &mut Finally<'_>) {
        // SAFETY: the caller's.
        let header = unsafe { task.as_ref() };
        header.local.set(Flag::Orphaned);
        if !header.local.has(Flag::Hidden) {
            let context = crate::ExceptionContext::new("Task was destroyed but it is pending!");
            finally.report(&context.detail("task", Header::display(task)).detail("created", header.source()));
        }
        self.drop_coroutine(task, None, finally);
        self.drop_outcome(task, finally);
        if !header.local.has(Flag::Scheduled) {
            // SAFETY: the caller's; what is scheduled is released by its entry in the queue.
            unsafe { let_go(task) };
        }
    }
}
