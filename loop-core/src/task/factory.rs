//! How tasks are made: options for one, and a factory that has a say in all of a loop's.

use std::fmt;
use std::future::Future;
use std::hint::black_box;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::ptr;
use std::rc::Rc;

use crate::context::{self, Context};
use crate::error::{Error, Result};
use crate::event_loop::EventLoop;
use crate::inner::Inner;
use crate::ready::Ready;
use crate::running::with_running;
use crate::task::header::TaskCell;
use crate::task::{Flag, Local, LoopTask, Scheduled, TaskRef, next_id, schedule, span};

/// How a task is made (asyncio: the keywords of `create_task`).
///
/// ```
/// # use loop_core::{EventLoop, TaskOptions, testing::VirtualBackend};
/// # let lp = EventLoop::new(Box::new(VirtualBackend::new()));
/// let task = lp.create_task_with(TaskOptions::new().name("download"), async { 1 })?;
/// assert_eq!(task.name(), "download");
/// # lp.close()?;
/// # Ok::<(), loop_core::Error>(())
/// ```
#[derive(Clone, Default)]
#[must_use = "options are given to `create_task_with`"]
pub struct TaskOptions {
    name: Option<String>,
    context: Option<Context>,
    eager_start: Option<bool>,
}

impl TaskOptions {
    /// Nothing out of the ordinary.
    pub fn new() -> Self {
        Self::default()
    }

    /// Its name; `Task-N` otherwise.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The context of all its steps, which it shares; otherwise a copy of the one that is current when it is made.
    pub fn context(mut self, context: &Context) -> Self {
        self.context = Some(context.clone());
        self
    }

    /// Whether its first step is made at once, within `create_task`, where the loop runs: it may be done when that
    /// returns. Otherwise it is in the next pass.
    pub fn eager_start(mut self, eager: bool) -> Self {
        self.eager_start = Some(eager);
        self
    }

    /// The name, where one was given.
    #[must_use]
    pub fn get_name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The context, where one was given.
    #[must_use]
    pub fn get_context(&self) -> Option<&Context> {
        self.context.as_ref()
    }

    /// Whether to start eagerly, where that was said.
    #[must_use]
    pub fn is_eager(&self) -> Option<bool> {
        self.eager_start
    }
}

impl fmt::Debug for TaskOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskOptions")
            .field("name", &self.name)
            .field("context", &self.context.is_some())
            .field("eager_start", &self.eager_start)
            .finish()
    }
}

/// Has a say in every task that a loop makes (asyncio: a task factory): it is given the options, and may change them, or
/// refuse the task by an error, which `create_task` then gives.
///
/// Tasks of another kind than [`LoopTask`], of another language for one, are driven through
/// [`EventLoop::schedule`].
pub type TaskFactory = Rc<dyn Fn(&EventLoop, TaskOptions) -> Result<TaskOptions>>;

/// A factory that has every task start eagerly, unless its options say otherwise (asyncio: `eager_task_factory`).
///
/// ```
/// # use loop_core::{EventLoop, eager_task_factory, testing::VirtualBackend};
/// # let lp = EventLoop::new(Box::new(VirtualBackend::new()));
/// lp.set_task_factory(Some(eager_task_factory()));
/// lp.run_until_complete(async {
///     let task = EventLoop::running()?.create_task(async { 1 })?;
///     assert!(task.done());
///     Ok::<_, loop_core::Error>(())
/// })??;
/// # lp.close()?;
/// # Ok::<(), loop_core::Error>(())
/// ```
#[must_use]
pub fn eager_task_factory() -> TaskFactory {
    Rc::new(|_, options| {
        let eager = options.is_eager().unwrap_or(true);
        Ok(options.eager_start(eager))
    })
}

impl EventLoop {
    /// Sets what has a say in the tasks that this loop makes from now on; none leaves them as they are asked for.
    pub fn set_task_factory(&self, factory: Option<TaskFactory>) {
        let old = self.inner.task_factory.replace(factory);
        drop(old);
    }

    /// What was set by [`set_task_factory`](Self::set_task_factory).
    #[must_use]
    pub fn get_task_factory(&self) -> Option<TaskFactory> {
        self.inner.task_factory.borrow().clone()
    }

    /// Makes a task that drives a coroutine (asyncio: `create_task`). Its first step is in the next pass; tasks begin in
    /// the order of their creation.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`](crate::Error::Closed), and what the task factory refuses with; the coroutine is dropped.
    #[track_caller]
    #[inline]
    pub fn create_task<F>(&self, coroutine: F) -> Result<LoopTask<F::Output>>
    where
        F: Future + 'static,
    {
        self.inner.spawn(ManuallyDrop::new(coroutine), Location::caller())
    }

    /// [`create_task`](Self::create_task) of the loop that runs in this thread.
    ///
    /// # Errors
    ///
    /// As for [`create_task`](Self::create_task), and [`Error::NoRunningLoop`].
    #[track_caller]
    #[inline(always)]
    pub fn create_task_here<F>(coroutine: F) -> Result<LoopTask<F::Output>>
    where
        F: Future + 'static,
    {
        let source = Location::caller();
        let coroutine = ManuallyDrop::new(coroutine);
        with_running(|running| match running {
            Some(inner) => inner.spawn(coroutine, source),
            None => {
                // SAFETY: this is its end.
                drop(unsafe { copied(&coroutine) });
                Err(Error::NoRunningLoop)
            }
        })
    }

    /// [`create_task`](Self::create_task), with every step in an explicit context, which the task shares.
    ///
    /// # Errors
    ///
    /// As for [`create_task`](Self::create_task).
    #[track_caller]
    pub fn create_task_in<F>(&self, context: &Context, coroutine: F) -> Result<LoopTask<F::Output>>
    where
        F: Future + 'static,
    {
        self.create_task_with(TaskOptions::new().context(context), coroutine)
    }

    /// [`create_task`](Self::create_task), with options.
    ///
    /// # Errors
    ///
    /// As for [`create_task`](Self::create_task).
    #[track_caller]
    pub fn create_task_with<F>(&self, options: TaskOptions, coroutine: F) -> Result<LoopTask<F::Output>>
    where
        F: Future + 'static,
    {
        self.inner.spawn_with(options, coroutine, Location::caller())
    }
}

/// Moves a coroutine out, to a place in memory of its own: only that place has an address that others are shown, and so where
/// this is not called the coroutine need not be in memory at all. (The box is black, as a plain move is optimised away, early.)
///
/// # Safety
///
/// It is not used again where it was.
#[inline(always)]
unsafe fn copied<F>(coroutine: &ManuallyDrop<F>) -> F {
    // SAFETY: the caller's.
    black_box(unsafe { ptr::read(&raw const **coroutine) })
}

impl Inner {
    /// A task, to be started in the next pass.
    ///
    /// Nearly always there is nothing to it but the coroutine. Then nothing here could unwind before that is where it is to
    /// be, nor drop it: so it is made there, if its making is within sight, and not copied.
    #[inline(always)]
    fn spawn<F>(
        self: &Rc<Self>,
        coroutine: ManuallyDrop<F>,
        source: &'static Location<'static>,
    ) -> Result<LoopTask<F::Output>>
    where
        F: Future + 'static,
    {
        if self.closed.get() || context::is_set() || span::is_wanted() || self.task_factory.borrow().is_some() {
            // SAFETY: this is its end.
            return self.spawn_with(TaskOptions::new(), unsafe { copied(&coroutine) }, source);
        }
        let local = Local::new([Flag::Listed, Flag::Scheduled]);
        let task = TaskCell::allocate(|| ManuallyDrop::into_inner(coroutine), self, next_id(), local, source);
        self.ready.push_with(|| Ready::Task(Scheduled(task)));
        // SAFETY: its output is the coroutine's.
        Ok(unsafe { LoopTask::new(TaskRef::adopt(task)) })
    }

    #[inline(never)]
    fn spawn_with<F>(
        self: &Rc<Self>,
        options: TaskOptions,
        coroutine: F,
        source: &'static Location<'static>,
    ) -> Result<LoopTask<F::Output>>
    where
        F: Future + 'static,
    {
        self.check_open()?;
        let factory = self.task_factory.borrow().clone();
        let options = match factory {
            Some(factory) => EventLoop::lend(self, |event_loop| factory(event_loop, options))?,
            None => options,
        };
        // The factory is anybody's code.
        self.check_open()?;
        let TaskOptions { name, context, eager_start } = options;
        let task = self.new_task(coroutine, false, source);
        let handle = TaskRef::adopt(task);
        if name.is_some() || context.is_some() {
            handle.header().with_extras(|extras| {
                extras.name = name;
                extras.shared_context = context;
            });
            handle.header().trace_name();
        }
        let runs_here = with_running(|running| running.is_some_and(|inner| Rc::ptr_eq(inner, self)));
        if eager_start == Some(true) && runs_here {
            self.step_now(&handle);
        } else {
            // SAFETY: just made, by this loop, on its thread.
            unsafe { schedule(task) };
        }
        // SAFETY: its output is the coroutine's.
        Ok(unsafe { LoopTask::new(handle) })
    }
}
