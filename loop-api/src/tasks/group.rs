//! `TaskGroup`: tasks that end together, before whoever started them goes on.
//!
//! * this file: the group as its body and its tasks see it, and the count of them;
//! * `scope` — the await that is the group: it drives the body, and then waits for the tasks;
//! * `error` — every failure in one error.
//!
//! Invariants: the scope is over only when every task of the group has ended, unless it is dropped by force, which cancels
//! them. The first failure, of a task or of the body, cancels all others; so does a cancellation of the scope. A group that
//! is ending takes no more tasks.

mod error;
mod scope;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::task::Waker;

use loop_core::{LoopTask, TaskError, TaskOptions, TaskRef, fail};

pub use error::GroupError;

use crate::error::{Error, Result};
use crate::policy::get_running_loop;

/// A group of tasks (asyncio: `TaskGroup`): made by [`scope`](Self::scope) for the time of its body. Clones stand for the
/// same group, so that a task of the group can add to it.
///
/// Its tasks and its body give a `Result`, whose `Err` is a failure, as a panic is. The first failure cancels all other tasks and
/// interrupts the body; when all have ended, [`GroupError`] holds every failure.
pub struct TaskGroup<E = Error>(Rc<State<E>>);

struct State<E> {
    phase: Cell<Phase>,
    /// Unfinished, in the order of their creation.
    tasks: RefCell<BTreeMap<u64, TaskRef>>,
    /// What tasks returned whose end is still to be noticed.
    returned: RefCell<HashMap<u64, E>>,
    /// In the order of the ends.
    errors: RefCell<Vec<E>>,
    /// Whose scope it is.
    parent: Option<TaskRef>,
    /// The scope's.
    waker: RefCell<Option<Waker>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// All are cancelled.
    Aborting,
    Finished,
}

/// What the handle of a task tells that gave an error to its group.
#[derive(Debug, thiserror::Error)]
#[error("the task failed: its error is among those of its task group")]
struct InTheGroup;

impl<E: From<TaskError> + 'static> TaskGroup<E> {
    fn new() -> Self {
        Self(Rc::new(State {
            phase: Cell::new(Phase::Open),
            tasks: RefCell::default(),
            returned: RefCell::default(),
            errors: RefCell::default(),
            parent: get_running_loop().ok().and_then(|event_loop| event_loop.current_task()),
            waker: RefCell::default(),
        }))
    }

    /// Makes a task of the group (asyncio: `create_task`). Awaiting it gives its value; where it gave an error, the error
    /// is the group's, and the await tells just that it failed.
    ///
    /// An error that is a cancellation, as from an await of a cancelled task, ends the task cancelled, which is no failure.
    ///
    /// # Errors
    ///
    /// [`Error::TaskGroupEnded`] where the group is over or ending; the coroutine is dropped.
    #[track_caller]
    pub fn create_task<T, F>(&self, coroutine: F) -> Result<LoopTask<T>>
    where
        T: 'static,
        F: Future<Output = Result<T, E>> + 'static,
    {
        self.create_task_with(TaskOptions::new(), coroutine)
    }

    /// [`create_task`](Self::create_task) with options: a name, a context, an eager start.
    ///
    /// # Errors
    ///
    /// As for [`create_task`](Self::create_task).
    #[track_caller]
    pub fn create_task_with<T, F>(&self, options: TaskOptions, coroutine: F) -> Result<LoopTask<T>>
    where
        T: 'static,
        F: Future<Output = Result<T, E>> + 'static,
    {
        if self.0.phase.get() != Phase::Open {
            return Err(Error::TaskGroupEnded);
        }
        let event_loop = get_running_loop()?;
        let state = Rc::clone(&self.0);
        let task = event_loop.create_task_with(options, async move {
            match coroutine.await {
                Ok(value) => value,
                Err(error) => state.failed(error).await,
            }
        })?;
        self.0.add(task.as_task_ref());
        Ok(task)
    }

    /// How many tasks are unfinished.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.0.tasks.borrow().len()
    }
}

impl<E: From<TaskError> + 'static> State<E> {
    fn add(self: &Rc<Self>, task: &TaskRef) {
        if task.done() {
            self.ended(task);
            return;
        }
        self.tasks.borrow_mut().insert(task.id(), task.clone());
        let state = Rc::clone(self);
        task.add_done_callback_of(self.parent.as_ref(), move |task| state.ended(task));
    }

    /// The end of a task by an error of its own.
    async fn failed<T>(&self, error: E) -> T {
        if let Some(cancelled) = cancellation_in(&error) {
            return fail(cancelled).await;
        }
        if let Ok(event_loop) = get_running_loop()
            && let Some(task) = event_loop.current_task()
        {
            self.returned.borrow_mut().insert(task.id(), error);
        }
        fail(TaskError::failed(InTheGroup)).await
    }

    /// A task is done.
    fn ended(&self, task: &TaskRef) {
        let kept = self.tasks.borrow_mut().remove(&task.id());
        drop(kept);
        let returned = self.returned.borrow_mut().remove(&task.id());
        // Asking marks it as retrieved: the group tells.
        let error = match task.exception() {
            Ok(Some(error)) => Some(returned.unwrap_or_else(|| E::from(error))),
            // A cancellation is no failure.
            Ok(None) | Err(_) => None,
        };
        if let Some(error) = error {
            self.errors.borrow_mut().push(error);
            self.abort();
            self.wake();
        } else if self.tasks.borrow().is_empty() {
            self.wake();
        }
    }

    /// Cancels all that is unfinished, and lets nothing new begin.
    fn abort(&self) {
        if self.phase.get() == Phase::Open {
            self.phase.set(Phase::Aborting);
            self.cancel_all();
        }
    }

    fn cancel_all(&self) {
        let tasks: Vec<TaskRef> = self.tasks.borrow().values().cloned().collect();
        for task in tasks {
            task.cancel();
        }
    }

    fn wake(&self) {
        let waker = self.waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The cancellation that an error of one of the known kinds is.
fn cancellation_in<E: 'static>(error: &E) -> Option<TaskError> {
    let error: &dyn Any = error;
    let found = error.downcast_ref::<TaskError>().or_else(|| match error.downcast_ref::<Error>()? {
        Error::Task(error) => Some(error),
        _ => None,
    });
    let found = found.or_else(|| match error.downcast_ref::<loop_core::Error>()? {
        loop_core::Error::Task(error) => Some(error),
        _ => None,
    });
    found.filter(|error| error.is_cancelled()).cloned()
}

impl<E> Clone for TaskGroup<E> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<E> fmt::Debug for TaskGroup<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tasks, errors) = (self.0.tasks.borrow().len(), self.0.errors.borrow().len());
        write!(f, "<TaskGroup {:?} tasks={tasks} errors={errors}>", self.0.phase.get())
    }
}
