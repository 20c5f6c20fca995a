//! [`FutureRef`]: a task or a future, whatever it gives.

use std::any::type_name;
use std::fmt;
use std::future::Future as StdFuture;
use std::pin::Pin;
use std::rc::Rc;

use crate::error::TaskError;
use crate::event_loop::EventLoop;
use crate::future::{LoopFuture, Shared};
use crate::probe;
use crate::task::{LoopTask, Outcome, TaskRef};
use crate::waiters::CallbackId;

/// A task or a future of a loop, whatever it gives. Clones stand for the same one.
///
/// What combines awaits is written with it: `gather` and its like need to know when something is done, and to cancel it,
/// before they know what it gives.
#[derive(Clone)]
pub struct FutureRef(Kind);

#[derive(Clone)]
enum Kind {
    Task(TaskRef),
    Future(Rc<dyn Erased>),
}

/// [`LoopFuture`] without its type.
trait Erased {
    fn done(&self) -> bool;
    fn cancelled(&self) -> bool;
    fn cancel_with(&self, message: Option<&str>) -> bool;
    fn add_done_callback(&self, function: Box<dyn FnOnce(&FutureRef)>) -> CallbackId;
    fn remove_done_callback(&self, id: CallbackId) -> bool;
    fn exception(&self) -> Result<Option<TaskError>, TaskError>;
    fn get_loop(&self) -> EventLoop;
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

impl<T: 'static> Erased for LoopFuture<T> {
    fn done(&self) -> bool {
        self.done()
    }

    fn cancelled(&self) -> bool {
        self.cancelled()
    }

    fn cancel_with(&self, message: Option<&str>) -> bool {
        self.cancel_with(message)
    }

    fn add_done_callback(&self, function: Box<dyn FnOnce(&FutureRef)>) -> CallbackId {
        self.add_done_callback(|future| function(&FutureRef::of_future(future)))
    }

    fn remove_done_callback(&self, id: CallbackId) -> bool {
        self.remove_done_callback(id)
    }

    fn exception(&self) -> Result<Option<TaskError>, TaskError> {
        self.exception()
    }

    fn get_loop(&self) -> EventLoop {
        self.get_loop()
    }

    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl FutureRef {
    /// The task or future of a loop that this is, if it is one: a [`LoopTask`], a [`LoopFuture`], or an await of either.
    /// None for a coroutine, which is not polled.
    pub fn of<F: StdFuture>(future: Pin<&mut F>) -> Option<Self> {
        Self::is::<F>().then(|| probe::who(future)).flatten()
    }

    /// Whether futures of this type are tasks or futures of a loop, or awaits of either: for whoever has to decide before
    /// there is a pin.
    ///
    /// It goes by the path of the type, which Rust does not promise to be unique; a stranger of the very same path would
    /// be polled once by [`of`](Self::of), with a waker that wakes nobody.
    #[must_use]
    pub fn is<F>() -> bool {
        fn path(name: &str) -> &str {
            name.trim_start_matches("&mut ").split('<').next().unwrap_or_default()
        }
        // All of them are a word or two long: most coroutines need no look at their name.
        if size_of::<F>() > size_of::<Outcome<'_, ()>>() {
            return false;
        }
        let names = [
            type_name::<LoopTask<()>>(),
            type_name::<LoopFuture<()>>(),
            type_name::<Outcome<'_, ()>>(),
            type_name::<Shared<'_, ()>>(),
        ];
        names.into_iter().any(|name| path(name) == path(type_name::<F>()))
    }

    pub(crate) fn of_future<T: 'static>(future: &LoopFuture<T>) -> Self {
        Self(Kind::Future(Rc::new(future.clone())))
    }

    /// The task, if it is one.
    #[must_use]
    pub fn as_task(&self) -> Option<&TaskRef> {
        match &self.0 {
            Kind::Task(task) => Some(task),
            Kind::Future(_) => None,
        }
    }

    /// Whether it has an outcome: a value, an error or a cancellation.
    #[must_use]
    pub fn done(&self) -> bool {
        match &self.0 {
            Kind::Task(task) => task.done(),
            Kind::Future(future) => future.done(),
        }
    }

    /// Whether its outcome is a cancellation.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        match &self.0 {
            Kind::Task(task) => task.cancelled(),
            Kind::Future(future) => future.cancelled(),
        }
    }

    /// Cancels it; false where it is done already.
    pub fn cancel(&self) -> bool {
        self.cancel_with(None)
    }

    /// Cancels it with a message; false where it is done already.
    pub fn cancel_with(&self, message: Option<&str>) -> bool {
        match &self.0 {
            Kind::Task(task) => task.cancel_with(message),
            Kind::Future(future) => future.cancel_with(message),
        }
    }

    /// How it failed: none where it has a value. From now on a failure is not reported as never retrieved.
    ///
    /// # Errors
    ///
    /// [`TaskError::NotReady`] while it is pending; [`TaskError::Cancelled`] where it was cancelled.
    pub fn exception(&self) -> Result<Option<TaskError>, TaskError> {
        match &self.0 {
            Kind::Task(task) => task.exception(),
            Kind::Future(future) => future.exception(),
        }
    }

    /// Calls a function with this when it is done, through the ready queue, in the context that is current now: never before this
    /// returns, also where it is done already.
    pub fn add_done_callback(&self, function: impl FnOnce(&Self) + 'static) -> CallbackId {
        self.add_done_callback_of(None, function)
    }

    /// [`add_done_callback`](Self::add_done_callback) by which a task waits for this: so it is shown in
    /// [`EventLoop::dump`].
    pub fn add_done_callback_of(
        &self,
        awaiter: Option<&TaskRef>,
        function: impl FnOnce(&Self) + 'static,
    ) -> CallbackId {
        match &self.0 {
            Kind::Task(task) => task.add_done_callback_of(awaiter, |task| function(&Self::from(task.clone()))),
            Kind::Future(future) => future.add_done_callback(Box::new(function)),
        }
    }

    /// Takes a callback off; true where it was still there. One that is queued already runs.
    pub fn remove_done_callback(&self, id: CallbackId) -> bool {
        match &self.0 {
            Kind::Task(task) => task.remove_done_callback(id),
            Kind::Future(future) => future.remove_done_callback(id),
        }
    }

    /// The loop it belongs to, unless that is gone.
    #[must_use]
    pub fn get_loop(&self) -> Option<EventLoop> {
        match &self.0 {
            Kind::Task(task) => task.get_loop(),
            Kind::Future(future) => Some(future.get_loop()),
        }
    }
}

impl From<TaskRef> for FutureRef {
    fn from(task: TaskRef) -> Self {
        Self(Kind::Task(task))
    }
}

impl<T> From<&LoopTask<T>> for FutureRef {
    fn from(task: &LoopTask<T>) -> Self {
        Self(Kind::Task(task.as_task_ref().clone()))
    }
}

impl<T: 'static> From<&LoopFuture<T>> for FutureRef {
    fn from(future: &LoopFuture<T>) -> Self {
        Self::of_future(future)
    }
}

impl fmt::Debug for FutureRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Task(task) => task.fmt(f),
            Kind::Future(future) => future.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{IntoFuture, ready};
    use std::pin::pin;

    /// Every handle is known by its name, in whatever it is wrapped; nothing else is.
    #[test]
    fn handles_are_known_and_coroutines_are_not() {
        assert!(FutureRef::is::<LoopTask<Vec<LoopTask<()>>>>());
        assert!(FutureRef::is::<&mut LoopTask<u8>>());
        assert!(FutureRef::is::<LoopFuture<String>>());
        assert!(FutureRef::is::<Outcome<'static, u8>>());
        assert!(FutureRef::is::<Shared<'static, u8>>());
        assert!(!FutureRef::is::<std::future::Ready<LoopTask<()>>>());
        assert!(!FutureRef::is::<Pin<Box<dyn StdFuture<Output = LoopTask<()>>>>>());
    }

    #[test]
    fn a_handle_says_who_it_is_and_is_not_driven() {
        let event_loop = EventLoop::new(Box::new(crate::testing::VirtualBackend::new()));
        let task = event_loop.create_task(async { 1 }).unwrap();
        let found = FutureRef::of(pin!(task.clone())).unwrap();
        assert_eq!(found.as_task(), Some(task.as_task_ref()));
        let found = FutureRef::of(pin!((&task).into_future())).unwrap();
        assert_eq!(found.as_task(), Some(task.as_task_ref()));
        let future = event_loop.create_future::<u8>();
        let found = FutureRef::of(pin!(future.clone())).unwrap();
        future.set_result(1).unwrap();
        assert!(found.done() && found.as_task().is_none());
        assert!(FutureRef::of(pin!(ready(1))).is_none());
        assert_eq!(event_loop.run_until_complete(task).unwrap().unwrap(), 1);
        event_loop.close().unwrap();
    }
}
