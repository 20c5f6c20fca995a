//! The loop as other threads see it: `call_soon_threadsafe`, `run_coroutine_threadsafe`, `stop`.
//!
//! What is sent runs on the loop's thread in the order of sending, behind what was ready when it arrived. Every
//! call answers at once; on a closed loop it answers [`Error::Closed`].

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::Mutex;

use crate::concurrent::{Completer, ConcurrentFuture};
use crate::context::Context;
use crate::error::{Error, Panicked, Result, TaskError};
use crate::event_loop::EventLoop;
use crate::exception::{ExceptionContext, is_fatal};
use crate::handle::{Handle, Scope};
use crate::inner::Inner;
use crate::ready::Ready;
use crate::remote::{Node, NodeVTable};
use crate::shared::Shared;
use crate::task::TaskRef;

/// A loop, for other threads (`Send + Sync`). Keeps the loop's mailbox alive, not the loop.
#[derive(Clone)]
pub struct LoopHandle {
    pub(crate) shared: Arc<Shared>,
}

impl LoopHandle {
    /// Runs a function on the loop's thread, in one of its next passes, and wakes the loop if it sleeps (asyncio:
    /// `call_soon_threadsafe`). Many calls cost one wake.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    pub fn call_soon_threadsafe<F>(&self, function: F) -> Result<RemoteHandle>
    where
        F: FnOnce(&EventLoop) + Send + 'static,
    {
        let callback = RemoteCallback::new(function);
        let handle = RemoteHandle(Arc::clone(&callback) as Arc<dyn RemoteCancel>);
        // SAFETY: a fresh node, first field of its repr(C) object, whose reference goes with it.
        if unsafe { self.shared.send(Arc::into_raw(Arc::clone(&callback)).cast::<Node>()) } {
            Ok(handle)
        } else {
            // SAFETY: the queue did not take the reference.
            drop(unsafe { Arc::from_raw(Arc::as_ptr(&callback)) });
            Err(Error::Closed)
        }
    }

    /// Makes a task on the loop of the coroutine that `make` gives there, and answers with a future that a thread
    /// can block on (asyncio: `run_coroutine_threadsafe`). The coroutine itself need not be `Send`. Cancelling the
    /// future cancels the task.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    pub fn run_coroutine_threadsafe<F, C>(&self, make: F) -> Result<ConcurrentFuture<C::Output>>
    where
        F: FnOnce() -> C + Send + 'static,
        C: Future + 'static,
        C::Output: Send + 'static,
    {
        let (completer, future) = ConcurrentFuture::pair();
        let handle = self.clone();
        self.call_soon_threadsafe(move |event_loop| {
            let completer: Completer<C::Output> = completer;
            if !completer.set_running_or_notify_cancel() {
                return;
            }
            let coroutine = match catch_unwind(AssertUnwindSafe(make)) {
                Ok(coroutine) => coroutine,
                Err(payload) if is_fatal(&*payload) => resume_unwind(payload),
                Err(payload) => {
                    // Told to both: the thread that waits, and the loop's exception handler.
                    let panicked = Panicked::new(payload);
                    completer.complete(Err(TaskError::Panicked(panicked.clone())));
                    let context = ExceptionContext::new("Exception while a coroutine was made for another thread");
                    return event_loop.inner.report(&context.exception(panicked));
                }
            };
            match event_loop.create_task(coroutine) {
                Ok(task) => forward(task, completer, handle),
                Err(error) => {
                    // A factory refused; again both are told.
                    let error = TaskError::from(error);
                    completer.complete(Err(error.clone()));
                    let context = ExceptionContext::new("No task could be made for another thread");
                    event_loop.inner.report(&context.exception(error));
                }
            }
        })?;
        Ok(future)
    }

    /// Stops the loop: sent like a callback, so it wakes a loop that sleeps, and the pass that finds it is the
    /// last one. After close it does nothing.
    pub fn stop(&self) {
        let _ = self.call_soon_threadsafe(EventLoop::stop);
    }

    /// Whether the loop runs at this moment.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.shared.running.load(Ordering::Acquire)
    }

    /// Whether the loop is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }
}

impl fmt::Debug for LoopHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<LoopHandle running={} closed={}>", self.is_running(), self.is_closed())
    }
}

/// Ties a task's outcome and a thread's future together, both ways.
fn forward<T: Send + 'static>(task: crate::task::LoopTask<T>, completer: Completer<T>, handle: LoopHandle) {
    // A task may be cancelled only on its own thread: the hook finds it there by its id.
    let id = task.id();
    completer.on_cancel(move || {
        let _ = handle.call_soon_threadsafe(move |event_loop| {
            if let Some(task) = event_loop.all_tasks().into_iter().find(|task| task.id() == id) {
                task.cancel();
            }
        });
    });
    let mut held = Some((task.clone(), completer));
    task.add_done_callback(move |_: &TaskRef| {
        if let Some((task, completer)) = held.take() {
            completer.complete(task.take_outcome());
        }
    });
}

/// A remote callback that is queued in the loop's own thread.
pub(crate) fn local<F>(function: F) -> (RemoteHandle, Rc<dyn Handle>)
where
    F: FnOnce(&EventLoop) + Send + 'static,
{
    let callback = RemoteCallback::new(function);
    (RemoteHandle(Arc::clone(&callback) as Arc<dyn RemoteCancel>), Rc::new(Arrived::new(callback)))
}

const PENDING: u8 = 0;
const CANCELLED: u8 = 1;
const STARTED: u8 = 2;

/// A callback sent to a loop, which any thread may cancel.
#[derive(Clone)]
pub struct RemoteHandle(Arc<dyn RemoteCancel>);

impl RemoteHandle {
    /// Keeps the callback from running, if it has not started; true where it did. Safe from any thread: a cancel
    /// that returns before the callback started keeps it from running.
    pub fn cancel(&self) -> bool {
        self.0.cancel()
    }

    /// Whether it was cancelled.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.0.state() == CANCELLED
    }
}

impl fmt::Debug for RemoteHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<RemoteHandle{}>", if self.cancelled() { " cancelled" } else { "" })
    }
}

trait RemoteCancel: Send + Sync {
    fn cancel(&self) -> bool;
    fn state(&self) -> u8;
}

#[repr(C)]
struct RemoteCallback<F> {
    node: Node,
    state: AtomicU8,
    function: Mutex<Option<F>>,
}

impl<F: FnOnce(&EventLoop) + Send + 'static> RemoteCallback<F> {
    const VTABLE: NodeVTable = NodeVTable { deliver: Self::deliver, release: Self::release };

    fn new(function: F) -> Arc<Self> {
        Arc::new(Self {
            node: Node::new(const { &Self::VTABLE }),
            state: AtomicU8::new(PENDING),
            function: Mutex::new(Some(function)),
        })
    }

    /// # Safety
    ///
    /// `node` is the first field of an `Arc<Self>` whose reference is given up.
    unsafe fn deliver(node: *const Node, inner: &Rc<Inner>) {
        // SAFETY: the caller's.
        let callback = unsafe { Arc::from_raw(node.cast::<Self>()) };
        inner.ready.push(Ready::Handle(Rc::new(Arrived::new(callback))));
    }

    /// # Safety
    ///
    /// As for `deliver`.
    unsafe fn release(node: *const Node) {
        // SAFETY: the caller's.
        drop(unsafe { Arc::from_raw(node.cast::<Self>()) });
    }
}

impl<F: Send> RemoteCancel for RemoteCallback<F> {
    fn cancel(&self) -> bool {
        let cancelled = self.state.compare_exchange(PENDING, CANCELLED, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if cancelled {
            // Taken out first: its destructor may look at this handle.
            let function = self.function.lock().take();
            drop(function);
        }
        cancelled
    }

    fn state(&self) -> u8 {
        self.state.load(Ordering::Acquire)
    }
}

/// A remote callback in the ready queue. Contexts stay in their threads: what comes from another one runs in a copy of
/// what is current outside all callbacks.
struct Arrived<F> {
    callback: Arc<RemoteCallback<F>>,
    scope: Scope,
}

impl<F> Arrived<F> {
    fn new(callback: Arc<RemoteCallback<F>>) -> Self {
        Self { callback, scope: Scope::capture() }
    }
}

impl<F: FnOnce(&EventLoop) + Send> Handle for Arrived<F> {
    fn run(&self, event_loop: &EventLoop) {
        let state = &self.callback.state;
        if state.compare_exchange(PENDING, STARTED, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return;
        }
        let function = self.callback.function.lock().take();
        if let Some(function) = function {
            self.scope.run(|| function(event_loop));
        }
    }

    fn cancel(&self) {
        RemoteCancel::cancel(&*self.callback);
    }

    fn cancelled(&self) -> bool {
        self.callback.state() == CANCELLED
    }

    fn context(&self) -> Option<Context> {
        Some(self.scope.context())
    }

    fn describe(&self) -> &str {
        std::any::type_name::<F>()
    }
}
