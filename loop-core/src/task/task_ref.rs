//! [`TaskRef`]: a task whatever its type, what can be done with it, and what it is called.

use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::rc::Rc;

use crate::context::Context;
use crate::done::DoneCallback;
use crate::error::{Cancelled, Result, TaskError};
use crate::event_loop::EventLoop;
use crate::exception::Finally;
use crate::inner::Inner;
use crate::placed::Placed;
use crate::ready::Ready;
use crate::task::header::{Header, TaskPtr};
use crate::task::local::Flag;
use crate::task::slab::Slab;
use crate::waiters::CallbackId;

/// A task, whatever its type. Clones stand for the same task.
///
/// Letting go of every handle neither cancels nor drops the task: the loop owns its tasks until they end.
pub struct TaskRef {
    /// A task, and, where this is a part of a [`LoopTask`](crate::LoopTask) that is awaited, where that waits.
    task: Placed,
    _not_send: PhantomData<Rc<()>>,
}

impl TaskRef {
    /// A handle more on a task that is alive.
    pub(crate) fn hold(task: TaskPtr) -> Self {
        // SAFETY: the caller has it from the loop, or from a handle.
        let header = unsafe { task.as_ref() };
        if !header.local.has_handles() {
            // SAFETY: alive, as said, and a handle is made on the loop's thread.
            unsafe { super::hold_local(task) };
        }
        if !header.local.add_handle() {
            header.add_handle_to_many();
        }
        Self::adopt(task)
    }

    /// The one handle that a new task comes with.
    pub(crate) fn adopt(task: TaskPtr) -> Self {
        Self { task: Placed::new(task.cast()), _not_send: PhantomData }
    }

    #[inline(always)]
    pub(crate) fn as_ptr(&self) -> TaskPtr {
        self.task.target().cast()
    }

    #[inline(always)]
    pub(crate) fn header(&self) -> &Header {
        // SAFETY: all handles together hold the task.
        unsafe { self.as_ptr().as_ref() }
    }

    /// The pointer, with the place where an await of this handle waits.
    #[inline(always)]
    pub(super) fn placed(&mut self) -> &mut Placed {
        &mut self.task
    }

    pub(crate) fn inner(&self) -> Option<Rc<Inner>> {
        // SAFETY: handles hold the task, and never leave the loop's thread.
        unsafe { Inner::rc_of(Slab::of(self.as_ptr()).inner()) }
    }

    /// A number that no other task of the process has.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.header().id()
    }

    /// Its name: `Task-N`, with N rising process-wide, unless it was given one (asyncio: `get_name`).
    #[must_use]
    pub fn name(&self) -> String {
        self.header().name()
    }

    /// Gives it a name.
    pub fn set_name(&self, name: impl Into<String>) {
        let name = name.into();
        self.header().with_extras(|extras| extras.name = Some(name));
        self.header().trace_name();
    }

    /// Whether it ended: by a value, a panic or a cancellation.
    #[must_use]
    pub fn done(&self) -> bool {
        self.header().local.has(Flag::Done)
    }

    /// Whether it ended by a cancellation.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.header().local.has(Flag::Cancelled)
    }

    /// Asks it to end: see the cancellation rules of this module. False where it is done already.
    pub fn cancel(&self) -> bool {
        self.cancel_with(None)
    }

    /// `cancel` with a message, which the [`Cancelled`](crate::Cancelled) that results from it carries.
    pub fn cancel_with(&self, message: Option<&str>) -> bool {
        let header = self.header();
        let local = &header.local;
        if local.has(Flag::Done) || local.has(Flag::Orphaned) {
            return false;
        }
        header.set_cancelling(header.cancelling().saturating_add(1));
        if message.is_some() || header.has_extras() {
            header.with_extras(|extras| extras.request = message.map_or_else(Cancelled::new, Cancelled::with_message));
        }
        local.set(Flag::Cancel);
        if local.has(Flag::Running) {
            local.set(Flag::Fresh);
        }
        // SAFETY: held by this handle; handles never leave the loop's thread.
        unsafe { super::schedule(self.as_ptr()) };
        true
    }

    /// How many cancellation requests were made and not taken back.
    #[must_use]
    pub fn cancelling(&self) -> u32 {
        self.header().cancelling()
    }

    /// Takes one request back and tells how many are left; at zero a request that was not delivered yet is gone.
    pub fn uncancel(&self) -> u32 {
        self.header().uncancel()
    }

    /// The context that its steps run in (asyncio: `get_context`).
    #[must_use]
    pub fn context(&self) -> Option<Context> {
        Some(self.header().context())
    }

    /// Where it was created.
    #[must_use]
    pub fn source(&self) -> &'static Location<'static> {
        self.header().source()
    }

    /// The loop that drives it, unless that is gone.
    #[must_use]
    pub fn get_loop(&self) -> Option<EventLoop> {
        self.inner().map(|inner| EventLoop::of(&inner))
    }

    /// How it failed: none where it ended with a value.
    ///
    /// # Errors
    ///
    /// [`TaskError::NotReady`] while it is pending; [`TaskError::Cancelled`] where it was cancelled.
    pub fn exception(&self) -> Result<Option<TaskError>, TaskError> {
        let header = self.header();
        if !self.done() {
            return Err(TaskError::NotReady);
        }
        header.local.set(Flag::Retrieved);
        // SAFETY: held, done, and this is its thread.
        match unsafe { (header.vtable().error)(self.as_ptr()) } {
            Some(error @ TaskError::Cancelled(_)) => Err(error),
            other => Ok(other),
        }
    }

    /// Calls a function with the task when it is done, through the ready queue, in the context that is current now:
    /// never before this returns, also where the task is done already.
    #[track_caller]
    pub fn add_done_callback(&self, function: impl FnOnce(&Self) + 'static) -> CallbackId {
        self.call_when_done(None, function, Location::caller())
    }

    /// [`add_done_callback`](Self::add_done_callback) by which a task waits for this one: so it is shown in
    /// [`EventLoop::dump`] (Python 3.14: `future_add_to_awaited_by`).
    #[track_caller]
    pub fn add_done_callback_of(&self, awaiter: Option<&Self>, function: impl FnOnce(&Self) + 'static) -> CallbackId {
        self.call_when_done(awaiter.map(Self::id), function, Location::caller())
    }

    fn call_when_done(
        &self,
        awaiter: Option<u64>,
        function: impl FnOnce(&Self) + 'static,
        source: &'static Location<'static>,
    ) -> CallbackId {
        let id = CallbackId::next();
        let callback = DoneCallback::of(awaiter, function, source);
        if !self.done() {
            self.header().waiters.add_callback(id, callback);
        } else if let Some(inner) = self.inner()
            && !inner.closed.get()
        {
            callback.bind(self.clone());
            inner.ready.push(Ready::Handle(callback));
        }
        id
    }

    /// Takes a callback off; true where it was still there. One that is queued already runs.
    pub fn remove_done_callback(&self, id: CallbackId) -> bool {
        self.header().waiters.remove_callback(id)
    }
}

impl Clone for TaskRef {
    fn clone(&self) -> Self {
        Self::hold(self.as_ptr())
    }
}

impl Drop for TaskRef {
    #[inline]
    fn drop(&mut self) {
        let task = self.as_ptr();
        // SAFETY: this handle holds it, and is given up.
        if unsafe { task.as_ref() }.local.drop_handle() {
            // SAFETY: as above, and handles never leave the loop's thread.
            unsafe { Self::give_up(task) };
        }
    }
}

impl TaskRef {
    /// The last handle goes, or the last of those that the header counts.
    ///
    /// # Safety
    ///
    /// The hold of all handles is the caller's, on the loop's thread.
    #[inline(never)]
    unsafe fn give_up(task: TaskPtr) {
        // SAFETY: the caller's.
        let header = unsafe { task.as_ref() };
        if header.has_extras() && header.take_handles_back() {
            return;
        }
        if header.local.has_any([Flag::Done, Flag::Orphaned]) && header.holds_any() {
            // SAFETY: the caller's.
            return unsafe { Self::give_up_outcome(task) };
        }
        // SAFETY: the caller's.
        unsafe { super::release_local(task) };
    }

    /// The same where there is something that nobody can ask for any more.
    ///
    /// # Safety
    ///
    /// As said.
    #[inline(never)]
    unsafe fn give_up_outcome(task: TaskPtr) {
        // SAFETY: the caller's.
        let (header, inner) = unsafe { (task.as_ref(), Inner::rc_of(Slab::of(task).inner())) };
        let finally = inner.as_ref().map(|inner| {
            let mut finally = Finally::new(inner);
            inner.drop_outcome(task, &mut finally);
            finally
        });
        if finally.is_none() {
            // The loop being gone, nobody can be told of a panic. All that is not `Send` goes here: a waker in another thread
            // may be the one that frees the memory.
            // SAFETY: held until below, and this is its thread.
            unsafe { (header.vtable().replace)(task, None) };
            header.waiters.clear();
            header.drop_extras();
        }
        // SAFETY: as above; a fatal panic goes on only after that.
        unsafe { super::release_local(task) };
        if let Some(finally) = finally {
            finally.end();
        }
    }
}

impl PartialEq for TaskRef {
    fn eq(&self, other: &Self) -> bool {
        self.as_ptr() == other.as_ptr()
    }
}

impl Eq for TaskRef {}

impl std::hash::Hash for TaskRef {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_ptr().hash(state);
    }
}

impl Header {
    pub(crate) fn uncancel(&self) -> u32 {
        let local = &self.local;
        let left = self.cancelling().saturating_sub(1);
        self.set_cancelling(left);
        if left == 0 {
            local.clear(Flag::Cancel);
            local.clear(Flag::Fresh);
        }
        left
    }

    /// How many cancellation requests were not taken back (asyncio: `cancelling`).
    pub(crate) fn cancelling(&self) -> u32 {
        let few = self.local.few_cancelling();
        few.or_else(|| self.look_at_extras(|extras| Some(extras.cancelling))).unwrap_or_default()
    }

    pub(crate) fn set_cancelling(&self, count: u32) {
        if !self.local.set_few_cancelling(count) {
            self.with_extras(|extras| extras.cancelling = count);
        }
    }

    pub(crate) fn name(&self) -> String {
        let name = self.look_at_extras(|extras| extras.name.clone());
        name.unwrap_or_else(|| format!("Task-{}", self.id()))
    }

    /// The task as reports show it.
    pub(crate) fn display(task: TaskPtr) -> impl fmt::Debug + use<> {
        // SAFETY: the caller has the task from the loop, or from a handle.
        let header = unsafe { task.as_ref() };
        let state = match () {
            () if header.local.has(Flag::Cancelled) => "cancelled",
            () if header.local.has(Flag::Done) => "finished",
            () if header.local.has(Flag::Cancel) => "cancelling",
            () => "pending",
        };
        fmt::from_fn({
            let text = format!("<Task {state} name='{}' coro={}>", header.name(), (header.vtable().name)());
            move |f| f.write_str(&text)
        })
    }
}

impl fmt::Debug for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Header::display(self.as_ptr()).fmt(f)
    }
}
