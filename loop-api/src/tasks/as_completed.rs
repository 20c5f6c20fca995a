//! `as_completed`: tasks or futures in the order in which they are done.
//!
//! A done callback per future puts it into a queue, from which whoever asked first gets the first one. A waiter that was
//! woken and went away passes its turn on. When the time is over, the queue gets one blank for each that is missing.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use loop_core::{CallbackId, Error as LoopError, Future as LoopFutureTrait, Limit, LoopFuture, TimerHandle};

use crate::error::{Error, Result};
use crate::policy::get_running_loop;
use crate::tasks::wait::poll_waiter;

/// Gives tasks or futures of the loop in the order in which they are done (asyncio: `as_completed`): a [`Stream`] of those
/// very handles, which do not have to be waited for any more. Coroutines have to be made tasks first.
///
/// The time limit counts from here. When it is over, each one that is still missing comes as [`Error::TimedOut`], and is
/// not cancelled. Dropping the stream leaves all of them as they are, and so does a `break`: it can be resumed.
///
/// ```
/// use loop_api::{as_completed, create_task, sleep};
///
/// async fn after(seconds: f64) -> f64 {
///     sleep(seconds).await.map_or(0.0, |()| seconds)
/// }
///
/// # fn main() -> loop_api::Result<()> {
/// # loop_api::run(async {
/// let tasks = [create_task(after(0.02))?, create_task(after(0.0))?, create_task(after(0.01))?];
/// let mut completed = as_completed(tasks, None)?;
/// let mut order = Vec::new();
/// while let Some(task) = completed.next_completed().await {
///     order.push(task?.await?);
/// }
/// assert_eq!(order, [0.0, 0.01, 0.02]);
/// # Ok::<_, loop_api::Error>(())
/// # })?
/// # }
/// ```
///
/// # Errors
///
/// [`LoopError::NoRunningLoop`](crate::LoopError::NoRunningLoop);
/// [`LoopError::InvalidArgument`](crate::LoopError::InvalidArgument) for futures of another loop, and for a limit that is
/// not a number.
pub fn as_completed<F>(futures: impl IntoIterator<Item = F>, limit: impl Limit) -> Result<AsCompleted<F>>
where
    F: LoopFutureTrait + Clone + 'static,
{
    let event_loop = get_running_loop()?;
    let limit = limit.into_limit()?;
    let futures: Vec<F> = futures.into_iter().collect();
    if futures.iter().any(|future| future.get_loop().is_some_and(|its| its != event_loop)) {
        return Err(LoopError::InvalidArgument("the tasks and futures must be of the running loop").into());
    }
    let watch = Rc::new(Watch {
        queue: Queue { total: futures.len(), ..Queue::default() },
        callbacks: RefCell::default(),
        timer: Cell::new(None),
    });
    // Whoever waits holds the watch; what it watches does not.
    for future in futures {
        let weak = Rc::downgrade(&watch);
        let callback = future.add_done_callback(Box::new(move |future: &F| {
            if let Some(watch) = weak.upgrade() {
                watch.queue.put(future.clone());
            }
        }));
        watch.callbacks.borrow_mut().push((future, callback));
    }
    if let Some(limit) = limit {
        let weak = Rc::downgrade(&watch);
        let timer = event_loop.call_later(limit, move || {
            if let Some(watch) = weak.upgrade() {
                watch.queue.time_is_over();
            }
        })?;
        watch.timer.set(Some(timer));
    }
    Ok(AsCompleted { next: NextCompleted::new(Rc::clone(&watch)), watch })
}

/// The futures, each with the callback that is taken off when nobody waits any more.
struct Watch<F: LoopFutureTrait> {
    queue: Queue<F>,
    callbacks: RefCell<Vec<(F, CallbackId)>>,
    timer: Cell<Option<TimerHandle>>,
}

impl<F: LoopFutureTrait> Drop for Watch<F> {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.take() {
            timer.cancel();
        }
        for (future, callback) in self.callbacks.take() {
            future.remove_done_callback(callback);
        }
    }
}

/// What is done and not given yet, and who waits for it.
struct Queue<F> {
    total: usize,
    /// How many are done.
    came: Cell<usize>,
    /// How many were given, or are claimed by somebody who waits.
    claimed: Cell<usize>,
    /// None for one that did not come in time.
    done: RefCell<VecDeque<Option<F>>>,
    /// In the order in which they asked.
    waiters: RefCell<VecDeque<LoopFuture<()>>>,
    /// No more are waited for.
    over: Cell<bool>,
}

impl<F> Default for Queue<F> {
    fn default() -> Self {
        Self {
            total: 0,
            came: Cell::new(0),
            claimed: Cell::new(0),
            done: RefCell::default(),
            waiters: RefCell::default(),
            over: Cell::new(false),
        }
    }
}

impl<F> Queue<F> {
    fn put(&self, future: F) {
        if self.over.get() {
            return;
        }
        self.came.set(self.came.get() + 1);
        self.done.borrow_mut().push_back(Some(future));
        self.wake_one();
    }

    fn time_is_over(&self) {
        self.over.set(true);
        for _ in self.came.get()..self.total {
            self.done.borrow_mut().push_back(None);
            self.wake_one();
        }
    }

    fn wake_one(&self) {
        loop {
            let waiter = self.waiters.borrow_mut().pop_front();
            match waiter {
                None => return,
                // Gone.
                Some(waiter) if waiter.done() => {}
                Some(waiter) => {
                    // Not done, and of the loop that runs this.
                    _ = waiter.set_result(());
                    return;
                }
            }
        }
    }
}

/// Futures as they are done, from [`as_completed`].
#[must_use = "streams do nothing unless polled"]
pub struct AsCompleted<F: LoopFutureTrait> {
    watch: Rc<Watch<F>>,
    /// The stream's own wait.
    next: NextCompleted<F>,
}

impl<F: LoopFutureTrait> AsCompleted<F> {
    /// The next one that is done; none where there is none to come (asyncio: `async for`, and the items of plain
    /// iteration). Several may wait at a time: who asked first gets the first. Cancel safe: what was not received is the
    /// next one's.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] for each that was not done in time.
    pub fn next_completed(&self) -> NextCompleted<F> {
        NextCompleted::new(Rc::clone(&self.watch))
    }
}

impl<F: LoopFutureTrait> Unpin for AsCompleted<F> {}

impl<F: LoopFutureTrait> Stream for AsCompleted<F> {
    type Item = Result<F>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(Pin::new(&mut self.next).poll(context));
        self.next = self.next_completed();
        Poll::Ready(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let queue = &self.watch.queue;
        let left = queue.total - queue.claimed.get() + usize::from(self.next.claims);
        (left, Some(left))
    }
}

impl<F: LoopFutureTrait> fmt::Debug for AsCompleted<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queue = &self.watch.queue;
        write!(f, "<AsCompleted: {} of {} are done>", queue.came.get(), queue.total)
    }
}

/// The future of [`AsCompleted::next_completed`].
#[must_use = "futures do nothing unless awaited"]
pub struct NextCompleted<F: LoopFutureTrait> {
    watch: Rc<Watch<F>>,
    claims: bool,
    waiter: Option<LoopFuture<()>>,
}

impl<F: LoopFutureTrait> NextCompleted<F> {
    fn new(watch: Rc<Watch<F>>) -> Self {
        Self { watch, claims: false, waiter: None }
    }
}

impl<F: LoopFutureTrait> Unpin for NextCompleted<F> {}

impl<F: LoopFutureTrait> Future for NextCompleted<F> {
    type Output = Option<Result<F>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let queue = &this.watch.queue;
        if !this.claims {
            if queue.claimed.get() == queue.total {
                return Poll::Ready(None);
            }
            queue.claimed.set(queue.claimed.get() + 1);
            this.claims = true;
        }
        loop {
            if let Some(waiter) = &mut this.waiter {
                if let Err(error) = ready!(poll_waiter(waiter, context)) {
                    return Poll::Ready(Some(Err(error.into())));
                }
                this.waiter = None;
            }
            let item = queue.done.borrow_mut().pop_front();
            if let Some(item) = item {
                // The claim is used up.
                this.claims = false;
                return Poll::Ready(Some(item.ok_or(Error::TimedOut)));
            }
            let waiter = match get_running_loop() {
                Ok(event_loop) => event_loop.create_future(),
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            };
            queue.waiters.borrow_mut().push_back(waiter.clone());
            this.waiter = Some(waiter);
        }
    }
}

impl<F: LoopFutureTrait> Drop for NextCompleted<F> {
    fn drop(&mut self) {
        let queue = &self.watch.queue;
        if std::mem::take(&mut self.claims) {
            queue.claimed.set(queue.claimed.get() - 1);
        }
        if let Some(waiter) = self.waiter.take()
            && !waiter.cancel()
            && !waiter.cancelled()
        {
            // Woken, and not there to take it.
            queue.wake_one();
        }
    }
}

impl<F: LoopFutureTrait> fmt::Debug for NextCompleted<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NextCompleted").field("waits", &self.waiter.is_some()).finish_non_exhaustive()
    }
}
