//! A task in memory: one allocation, the part that does not depend on the coroutine's type in front.
//!
//! Invariants this file keeps:
//!
//! * a [`Header`] is the first field of the `repr(C)` [`TaskCell`] that its vtable was made for, and its [`Node`] the
//!   first field of the header, so one pointer is all three;
//! * the stage (coroutine or outcome), the extras and the links are touched on the loop's thread only;
//! * the coroutine is pinned: it is dropped where it lies, and never moved.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use crate::context::Snapshot;
use crate::error::TaskError;
use crate::remote::{Node, NodeVTable};
use crate::shared::Shared;
use crate::task::state::State;
use crate::waiters::Waiters;

/// A pointer to a task of any type.
pub(crate) type TaskPtr = NonNull<Header>;

#[repr(C)]
pub(crate) struct Header {
    node: Node,
    pub(crate) state: State,
    pub(crate) vtable: &'static TaskVTable,
    /// Held by an anchor.
    pub(crate) shared: *const Shared,
    /// Neighbours in the loop's list of unfinished tasks.
    pub(crate) previous: Cell<Option<TaskPtr>>,
    pub(crate) next: Cell<Option<TaskPtr>>,
    pub(crate) local: Local,
    pub(crate) id: Cell<u64>,
    pub(crate) waiters: Waiters,
    pub(crate) extras: RefCell<Option<Box<Extras>>>,
    /// Where it was created.
    pub(crate) source: &'static Location<'static>,
}

/// The flags that the loop's own thread works with: plain numbers.
#[derive(Default)]
pub(crate) struct Local {
    flags: Cell<u16>,
    /// Handles of the task; together they hold it once.
    pub(crate) handles: Cell<u32>,
    /// Cancellation requests that were not taken back (asyncio: `cancelling`).
    pub(crate) cancelling: Cell<u32>,
}

/// A flag of [`Local`].
#[derive(Clone, Copy)]
#[repr(u16)]
pub(crate) enum Flag {
    /// In the ready queue.
    Scheduled = 1,
    /// In its step.
    Running = 1 << 1,
    /// It ended; the outcome is there, or was taken.
    Done = 1 << 2,
    /// Its coroutine was polled at least once.
    Started = 1 << 3,
    /// A cancellation request stands: nobody has taken it yet.
    Cancel = 1 << 4,
    /// The request was raised during the step that runs now; awaits before it did not see it, so the next step
    /// shows it to all of them.
    Fresh = 1 << 5,
    /// The outcome is a cancellation.
    Cancelled = 1 << 6,
    /// The loop was closed before the task ended: it stays pending for ever, without its coroutine.
    Orphaned = 1 << 7,
    /// Somebody looked at the outcome: a failure is not reported as never retrieved.
    Retrieved = 1 << 8,
    /// A stand-in for a future that `run_until_complete` was given: not a task that anyone asked for.
    Hidden = 1 << 9,
    /// In the loop's list of unfinished tasks.
    Listed = 1 << 10,
}

impl Local {
    pub(crate) fn has(&self, flag: Flag) -> bool {
        self.flags.get() & flag as u16 != 0
    }

    pub(crate) fn set(&self, flag: Flag) {
        self.flags.set(self.flags.get() | flag as u16);
    }

    pub(crate) fn clear(&self, flag: Flag) {
        self.flags.set(self.flags.get() & !(flag as u16));
    }
}

/// What few tasks have.
#[derive(Default)]
pub(crate) struct Extras {
    pub(crate) name: Option<String>,
    pub(crate) message: Option<Arc<str>>,
    /// The context between two steps.
    pub(crate) context: Snapshot,
    /// A context that the task shares with others, instead.
    pub(crate) shared_context: Option<crate::context::Context>,
}

/// What can be done with a task without knowing its type. All but `free` on the loop's thread only.
pub(crate) struct TaskVTable {
    pub(crate) node: NodeVTable,
    /// Polls the coroutine; true when it returned, its value then being the outcome.
    pub(crate) poll: unsafe fn(TaskPtr, &mut TaskContext<'_>) -> bool,
    /// Drops the coroutine or the outcome and puts this error in its place, or nothing.
    pub(crate) replace: unsafe fn(TaskPtr, Option<TaskError>),
    /// The error that the outcome is, if it is one.
    pub(crate) error: unsafe fn(TaskPtr) -> Option<TaskError>,
    /// Moves the outcome out, into an `Option<Result<T, TaskError>>`.
    pub(crate) take: unsafe fn(TaskPtr, *mut ()),
    /// Where the outcome lies, if it is there: a `*const Result<T, TaskError>`.
    pub(crate) peek: unsafe fn(TaskPtr) -> Option<NonNull<()>>,
    /// Frees the memory, the stage being empty; any thread.
    pub(crate) free: unsafe fn(TaskPtr),
    /// The coroutine's type.
    pub(crate) name: fn() -> &'static str,
}

enum Stage<F: Future> {
    Coroutine(F),
    Outcome(Result<F::Output, TaskError>),
    Empty,
}

#[repr(C)]
pub(crate) struct TaskCell<F: Future> {
    header: Header,
    stage: UnsafeCell<Stage<F>>,
}

impl<F: Future> TaskCell<F> {
    const VTABLE: TaskVTable = TaskVTable {
        node: NodeVTable { deliver: super::deliver, release: super::release_node },
        poll: Self::poll,
        replace: Self::replace,
        error: Self::error,
        take: Self::take,
        peek: Self::peek,
        free: Self::free,
        name: std::any::type_name::<F>,
    };

    /// A task held by its loop and by one handle. `shared` comes with an anchor.
    ///
    /// The vtable of a type that is not `'static` is a constant all the same: it is promoted, and no lifetime of
    /// `F` is part of it.
    pub(crate) fn allocate(
        coroutine: F,
        shared: *const Shared,
        id: u64,
        source: &'static Location<'static>,
    ) -> TaskPtr {
        let cell = Box::new(Self {
            header: Header {
                node: Node::new(const { &Self::VTABLE.node }),
                state: State::new(2),
                vtable: const { &Self::VTABLE },
                shared,
                previous: Cell::new(None),
                next: Cell::new(None),
                local: Local::default(),
                id: Cell::new(id),
                waiters: Waiters::default(),
                extras: RefCell::new(None),
                source,
            },
            stage: UnsafeCell::new(Stage::Coroutine(coroutine)),
        });
        cell.header.local.handles.set(1);
        NonNull::from(Box::leak(cell)).cast()
    }

    /// # Safety
    ///
    /// `task` is a `TaskCell<F>` that is alive. (This and all below, which are only called through its vtable.)
    unsafe fn stage<'a>(task: TaskPtr) -> &'a mut Stage<F> {
        // SAFETY: the caller's; the loop's thread alone touches the stage, one vtable call at a time: a task is
        // never polled within its own step, and destructors run by `replace` see an empty stage.
        unsafe { &mut *task.cast::<Self>().as_ref().stage.get() }
    }

    unsafe fn poll(task: TaskPtr, context: &mut TaskContext<'_>) -> bool {
        // SAFETY: the caller's.
        let Stage::Coroutine(coroutine) = (unsafe { Self::stage(task) }) else { return false };
        // SAFETY: the coroutine lies in the allocation, is never moved out of it, and is dropped there.
        match unsafe { Pin::new_unchecked(coroutine) }.poll(context) {
            Poll::Pending => false,
            Poll::Ready(value) => {
                // SAFETY: the caller's. The coroutine is dropped in place by the assignment; should its destructor
                // panic, the outcome is in place already, as assignments unwind.
                unsafe { *Self::stage(task) = Stage::Outcome(Ok(value)) };
                true
            }
        }
    }

    unsafe fn replace(task: TaskPtr, error: Option<TaskError>) {
        let next = match error {
            Some(error) => Stage::Outcome(Err(error)),
            None => Stage::Empty,
        };
        // SAFETY: the caller's. What is dropped is dropped in place, pinned, and a destructor that looks at the task
        // does so through its flags; the outcome is written in any case.
        unsafe { *Self::stage(task) = next };
    }

    unsafe fn error(task: TaskPtr) -> Option<TaskError> {
        // SAFETY: the caller's.
        match unsafe { Self::stage(task) } {
            Stage::Outcome(Err(error)) => Some(error.clone()),
            _ => None,
        }
    }

    unsafe fn take(task: TaskPtr, out: *mut ()) {
        // SAFETY: the caller's; `out` is what the vtable says.
        unsafe {
            let out = &mut *out.cast::<Option<Result<F::Output, TaskError>>>();
            let stage = Self::stage(task);
            if let Stage::Outcome(Err(error)) = stage {
                // Errors stay: a failed task fails each time it is awaited.
                *out = Some(Err(error.clone()));
            } else if let Stage::Outcome(_) = stage
                && let Stage::Outcome(outcome) = std::mem::replace(stage, Stage::Empty)
            {
                *out = Some(outcome);
            }
        }
    }

    unsafe fn peek(task: TaskPtr) -> Option<NonNull<()>> {
        // SAFETY: the caller's.
        match unsafe { Self::stage(task) } {
            Stage::Outcome(outcome) => Some(NonNull::from(outcome).cast()),
            _ => None,
        }
    }

    unsafe fn free(task: TaskPtr) {
        // SAFETY: the caller is the last holder; the stage is empty, and the extras are gone, so what is dropped here
        // may be dropped on any thread.
        drop(unsafe { Box::from_raw(task.cast::<Self>().as_ptr()) });
    }
}

impl Header {
    /// The node's address is the task's.
    pub(crate) fn from_node(node: *const Node) -> TaskPtr {
        NonNull::new(node.cast_mut()).expect("a node has an address").cast()
    }

    pub(crate) fn as_node(task: TaskPtr) -> *const Node {
        task.as_ptr().cast()
    }
}
