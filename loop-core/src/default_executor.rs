//! `run_in_executor` and the default executor's life: made at first use, shut down by `shutdown_default_executor`, told
//! to stop, and not waited for, by `close`.
//!
//! A job's result comes back through the loop's remote queue, and brings a bare token: many results at once cost one wake.
//! What waits for it never leaves the loop's thread. Results that come after the close are dropped.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use slab::Slab;

use crate::concurrent::{Arrived, ConcurrentFuture};
use crate::error::{Error, Result};
use crate::event_loop::EventLoop;
use crate::executor::{Executor, Job};
use crate::future::{LoopFuture, Waiting};
use crate::inner::Inner;
use crate::shared::Anchor;
use crate::sleep::Sleep;

pub(crate) type ExecutorFactory = Box<dyn Fn() -> Result<Arc<dyn Executor>>>;

pub(crate) struct DefaultExecutor {
    factory: Option<ExecutorFactory>,
    current: RefCell<Option<Arc<dyn Executor>>>,
    shut_down: Cell<bool>,
    /// What waits for results of other threads, by token.
    waiting: RefCell<Slab<Waiting>>,
}

impl DefaultExecutor {
    pub(crate) fn new(factory: Option<ExecutorFactory>) -> Self {
        Self { factory, current: RefCell::new(None), shut_down: Cell::new(false), waiting: RefCell::default() }
    }

    fn get(&self) -> Result<Arc<dyn Executor>> {
        if self.shut_down.get() {
            return Err(Error::ExecutorShutdown);
        }
        if let Some(executor) = &*self.current.borrow() {
            return Ok(Arc::clone(executor));
        }
        let executor = self.factory.as_ref().ok_or(Error::NoExecutor)?()?;
        self.current.replace(Some(Arc::clone(&executor)));
        Ok(executor)
    }

    /// At close: stops the executor without waiting.
    pub(crate) fn stop(&self) {
        self.shut_down.set(true);
        let executor = self.current.take();
        if let Some(executor) = executor {
            executor.shutdown(false, false);
        }
    }

    /// At close: what waited for results that nobody will look at.
    pub(crate) fn take_waiting(&self) -> Slab<Waiting> {
        self.waiting.take()
    }
}

impl Inner {
    /// A result arrived: whoever waits for it is told.
    pub(crate) fn job_done(self: &Rc<Self>, arrived: Arrived) {
        let (waiting, last) = {
            let mut all = self.executor.waiting.borrow_mut();
            (all.try_remove(arrived.token()), all.is_empty())
        };
        if last && self.holds_clock() {
            self.hold_clock(false);
        }
        self.guard(
            move || {
                if let Some(waiting) = waiting {
                    waiting.deliver();
                }
                drop(arrived);
            },
            || crate::ExceptionContext::new("Exception while a job's result was delivered"),
        );
    }

    fn wait_for<T: Send + 'static>(self: &Rc<Self>, thread_future: ConcurrentFuture<T>) -> LoopFuture<T> {
        let future = LoopFuture::of_thread(self, thread_future.clone());
        let (token, first) = {
            let mut waiting = self.executor.waiting.borrow_mut();
            (waiting.insert(future.waiting()), waiting.len() == 1)
        };
        if first && self.holds_clock() {
            self.hold_clock(true);
        }
        thread_future.notify_loop(Anchor::take(&self.anchors), token);
        future
    }
}

impl EventLoop {
    /// Runs a function in a thread of the executor, `None` being the default one, and gives a future of what it returns
    /// (asyncio: `run_in_executor`). A panic of the function is the future's error. Cancelling the future keeps a job that
    /// is still queued from running; of one that runs, the result is dropped. The function does not see the caller's
    /// context.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`]; [`Error::ExecutorShutdown`] and [`Error::NoExecutor`] for the default executor;
    /// [`Error::PoolShutdown`] and others from the executor itself.
    pub fn run_in_executor<F, R>(&self, executor: Option<&Arc<dyn Executor>>, function: F) -> Result<LoopFuture<R>>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        self.inner.check_open()?;
        let executor = match executor {
            Some(executor) => Arc::clone(executor),
            None => self.inner.executor.get()?,
        };
        let (job, thread_future) = Job::new(function);
        // Refused jobs never wait: only a job that was taken gets a future of this loop.
        executor.execute(job)?;
        Ok(self.inner.wait_for(thread_future))
    }

    /// A future of this loop that takes the outcome of a thread's future (asyncio: `wrap_future`). Cancelling it asks the
    /// thread's future to cancel.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    pub fn wrap_future<T: Send + 'static>(&self, future: ConcurrentFuture<T>) -> Result<LoopFuture<T>> {
        self.inner.check_open()?;
        Ok(self.inner.wait_for(future))
    }

    /// Sets the default executor (asyncio: `set_default_executor`). The old one is not shut down. Works on a closed loop
    /// and after `shutdown_default_executor`, neither of which it undoes.
    pub fn set_default_executor(&self, executor: Arc<dyn Executor>) {
        let old = self.inner.executor.current.replace(Some(executor));
        drop(old);
    }

    /// Stops the default executor's intake and waits until its queued and running jobs are done, without blocking the
    /// loop (asyncio: `shutdown_default_executor`). When the timeout passes, it warns and returns; running jobs go on.
    /// Where there is no executor it is done at once, and again, it is harmless.
    ///
    /// Cancel-safe: a helper thread does the joining, and ends by itself.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where the helper thread cannot be started; the executor is stopped without waiting then.
    pub fn shutdown_default_executor(&self, timeout: Option<Duration>) -> impl Future<Output = Result<()>> + use<> {
        let inner = Rc::clone(&self.inner);
        async move {
            inner.executor.shut_down.set(true);
            let executor = inner.executor.current.take();
            let Some(executor) = executor else { return Ok(()) };
            let (completer, joined) = ConcurrentFuture::pair();
            let joining = {
                let executor = Arc::clone(&executor);
                std::thread::Builder::new().name(String::from("asyncio_shutdown")).spawn(move || {
                    executor.shutdown(true, false);
                    completer.complete(Ok(()));
                })
            };
            if let Err(error) = joining {
                executor.shutdown(false, false);
                return Err(Error::Io(error));
            }
            let joined = inner.wait_for(joined);
            let timer = timeout.map(|timeout| Sleep::new(&inner, inner.deadline(timeout)));
            if !(Either { joined, timer }).await {
                tracing::warn!("the executor did not finish joining its threads within {timeout:?}");
                executor.shutdown(false, false);
            }
            Ok(())
        }
    }
}

/// True when the future is done, false when the timer is.
struct Either {
    joined: LoopFuture<()>,
    timer: Option<Sleep>,
}

impl Future for Either {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<bool> {
        if Pin::new(&mut self.joined).poll(context).is_ready() {
            return Poll::Ready(true);
        }
        match &mut self.timer {
            Some(timer) => Pin::new(timer).poll(context).map(|()| false),
            None => Poll::Pending,
        }
    }
}
