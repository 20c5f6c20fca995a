//! A program's whole life on a loop: [`run`] and [`Runner`] (asyncio: runners).
//!
//! * this file: the runner, from its loop's making to its end;
//! * `interrupt` — Ctrl-C;
//! * `in_context` — the context that the runs of one runner share;
//! * `shutdown` — what is done between the end of the main coroutine and that of the loop.
//!
//! Whatever ended the main coroutine, a panic included, the shutdown is gone through, the loop is closed, and only then
//! does the outcome leave.

mod in_context;
mod interrupt;
mod shutdown;

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use loop_core::{Context, Error as LoopError, EventLoop};

use crate::error::{Error, Result};
use crate::policy;

use in_context::InContext;
use interrupt::Interrupts;

/// How long a runner waits for the default executor at its end (asyncio: `THREAD_JOIN_TIMEOUT`).
const EXECUTOR_TIMEOUT: Duration = Duration::from_secs(300);

/// Runs a coroutine on a loop of its own, and gives its output (asyncio: `run`): what a program calls once, in `main`.
///
/// When the coroutine has ended, in whatever way, all other tasks are cancelled and awaited, without a limit; the
/// default executor is shut down, with a limit of 300 s; the thread is left without a current loop; and the loop is
/// closed, which drops callbacks and timers that are left. A task that fails while it is being cancelled is reported to
/// the loop's exception handler. A panic of the coroutine goes on in the caller after all that. Where `stop` ended the
/// run, the coroutine is dropped where it stands.
///
/// In the main thread, unless the program has a handler for it, Ctrl-C (`SIGINT`) cancels the coroutine, which may clean up;
/// if it ends cancelled, the outcome is [`Error::Interrupted`]. A second Ctrl-C leaves the loop at once, by a panic that is
/// [`Fatal::Interrupt`](crate::Fatal::Interrupt); where the loop does not even turn, it ends the program.
///
/// The coroutine may borrow from the caller. See [`Runner`] for several runs on one loop and for a loop made otherwise.
///
/// ```
/// let answer = loop_api::run(async {
///     let half = loop_api::create_task(async { 21 })?;
///     Ok::<_, loop_api::TaskError>(2 * half.await?)
/// })??;
/// assert_eq!(answer, 42);
/// # Ok::<(), loop_api::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Task`] where the coroutine was cancelled; [`Error::Interrupted`]. [`Error::Loop`] with
/// [`OtherLoopRunning`](LoopError::OtherLoopRunning) where a loop runs in this thread already: the coroutine was not
/// started; with [`StoppedBeforeComplete`](LoopError::StoppedBeforeComplete) where `stop` ended the run. [`Error::Io`]
/// where no loop can be made, or its backend cannot go on.
pub fn run<F: Future>(main: F) -> Result<F::Output> {
    Runner::builder().run(main)
}

/// Runs coroutines, one after the other, on one loop (asyncio: `Runner`).
///
/// The loop is made when it is first needed and closed by [`close`](Self::close), or when the runner is dropped; either
/// way with the shutdown that [`run`] describes. All runs share one context: a context variable that one sets, the next
/// one sees.
///
/// ```
/// use loop_api::{ContextVar, Runner};
///
/// let user = ContextVar::new("user");
/// let mut runner = Runner::new();
/// runner.run(async { user.set("ada") })?;
/// assert_eq!(runner.run(async { user.get() })?, Some("ada"));
/// runner.close()?;
/// # Ok::<(), loop_api::Error>(())
/// ```
pub struct Runner {
    options: RunnerBuilder,
    state: State,
}

enum State {
    /// The loop is yet to be made.
    Created,
    Open {
        event_loop: EventLoop,
        context: Context,
    },
    Closed,
}

impl Runner {
    /// A runner with the defaults. Nothing is made yet.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// A runner with options.
    pub fn builder() -> RunnerBuilder {
        RunnerBuilder { factory: None, debug: None, executor_timeout: EXECUTOR_TIMEOUT, dump_signal: None }
    }

    /// Runs a coroutine until it ends, in the context that all runs of this runner share, and gives its output. Tasks
    /// and callbacks that it leaves behind go on in the next run. A panic of the coroutine goes on in the caller.
    ///
    /// # Errors
    ///
    /// [`Error::RunnerClosed`]; those of [`run`](crate::run).
    #[track_caller]
    pub fn run<F: Future>(&mut self, main: F) -> Result<F::Output> {
        refuse_nesting()?;
        let (event_loop, context) = self.open()?;
        run_main(event_loop, context, main)
    }

    /// Like [`run`](Self::run), in a context of the caller's.
    ///
    /// # Errors
    ///
    /// Those of [`run`](Self::run).
    #[track_caller]
    pub fn run_in<F: Future>(&mut self, context: &Context, main: F) -> Result<F::Output> {
        refuse_nesting()?;
        let (event_loop, _) = self.open()?;
        run_main(event_loop, context, main)
    }

    /// The loop, which is made if need be (asyncio: `Runner.get_loop`).
    ///
    /// # Errors
    ///
    /// [`Error::RunnerClosed`]; whatever keeps the loop from being made.
    pub fn get_loop(&mut self) -> Result<EventLoop> {
        Ok(self.open()?.0.clone())
    }

    /// Goes through the shutdown that [`run`](crate::run) describes, and closes the loop. A runner that never made its
    /// loop stays as it is; one that is closed already, too.
    ///
    /// # Errors
    ///
    /// [`Error::Loop`] with [`OtherLoopRunning`](LoopError::OtherLoopRunning) where a loop runs in this thread: nothing
    /// was done. Otherwise the first error of the shutdown; the loop is closed all the same.
    pub fn close(&mut self) -> Result<()> {
        let State::Open { .. } = self.state else { return Ok(()) };
        refuse_nesting()?;
        let State::Open { event_loop, .. } = std::mem::replace(&mut self.state, State::Closed) else { return Ok(()) };
        let end = End { event_loop: &event_loop, is_current: self.options.factory.is_none() };
        let result = shutdown::shut_down(&event_loop, self.options.executor_timeout);
        drop(end);
        result
    }

    fn open(&mut self) -> Result<(&EventLoop, &Context)> {
        if let State::Created = self.state {
            let event_loop = self.options.make_loop()?;
            self.state = State::Open { event_loop, context: Context::copy() };
        }
        match &self.state {
            State::Open { event_loop, context } => Ok((event_loop, context)),
            State::Created | State::Closed => Err(Error::RunnerClosed),
        }
    }
}

#[track_caller]
fn run_main<F: Future>(event_loop: &EventLoop, context: &Context, main: F) -> Result<F::Output> {
    let interrupts = Interrupts::catch(event_loop);
    let main = InContext::new(context, interrupts.state(), main);
    interrupts.outcome(event_loop.run_until_complete(main))
}

/// Refuses what would run a loop inside a running one, before anything is touched.
fn refuse_nesting() -> Result<()> {
    match EventLoop::running() {
        Ok(_) => Err(LoopError::OtherLoopRunning.into()),
        Err(_) => Ok(()),
    }
}

/// The last steps of the shutdown, taken on every way out of it.
struct End<'a> {
    event_loop: &'a EventLoop,
    is_current: bool,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        if self.is_current {
            policy::set_event_loop(None);
        }
        if let Err(error) = self.event_loop.close() {
            tracing::error!("a runner cannot close its loop: {error}");
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        match catch_unwind(AssertUnwindSafe(|| self.close())) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!("a runner that was dropped was not shut down in order: {error}"),
            Err(payload) if !std::thread::panicking() => resume_unwind(payload),
            Err(_) => tracing::error!("a runner that was dropped by a panic panicked in its shutdown"),
        }
    }
}

impl Default for Runner {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            State::Created => f.write_str("<Runner created>"),
            State::Open { event_loop, .. } => write!(f, "<Runner {event_loop:?}>"),
            State::Closed => f.write_str("<Runner closed>"),
        }
    }
}

type LoopFactory = Box<dyn FnMut() -> Result<EventLoop, LoopError>>;

/// What a [`Runner`] is made of, where the defaults do not fit.
#[must_use = "a runner is made by `build`, or used at once by `run`"]
pub struct RunnerBuilder {
    factory: Option<LoopFactory>,
    debug: Option<bool>,
    executor_timeout: Duration,
    dump_signal: Option<i32>,
}

impl RunnerBuilder {
    /// Turns the loop's debug mode on or off; `None`, the default, leaves it as it is made.
    pub fn debug(mut self, debug: impl Into<Option<bool>>) -> Self {
        self.debug = debug.into();
        self
    }

    /// Has the loop made by a function instead of [`new_event_loop`](crate::new_event_loop) (asyncio: `loop_factory`).
    /// The thread's current loop is then never touched.
    pub fn loop_factory(mut self, factory: impl FnMut() -> Result<EventLoop, LoopError> + 'static) -> Self {
        self.factory = Some(Box::new(factory));
        self
    }

    /// How long the shutdown waits for jobs of the default executor; 300 s unless set. When that has passed, it warns
    /// and goes on.
    pub fn executor_timeout(mut self, timeout: Duration) -> Self {
        self.executor_timeout = timeout;
        self
    }

    /// Has a signal, `libc::SIGUSR1` for one, write every task and what it waits for to the standard error: see
    /// [`EventLoop::dump_on_signal`]. What the signal does otherwise comes back when the runner is closed.
    pub fn dump_on_signal(mut self, signal: i32) -> Self {
        self.dump_signal = Some(signal);
        self
    }

    /// Makes the runner.
    #[must_use]
    pub fn build(self) -> Runner {
        Runner { options: self, state: State::Created }
    }

    /// Runs one coroutine, then closes the runner: [`run`](crate::run), with options.
    ///
    /// # Errors
    ///
    /// Those of [`run`](crate::run).
    pub fn run<F: Future>(self, main: F) -> Result<F::Output> {
        let mut runner = self.build();
        let ended = catch_unwind(AssertUnwindSafe(|| runner.run(main)));
        let closed = catch_unwind(AssertUnwindSafe(|| runner.close()));
        // How main ended counts for more than how the shutdown went.
        match (ended, closed) {
            (Ok(Ok(value)), Ok(Ok(()))) => Ok(value),
            (Ok(Ok(_)), Ok(Err(error))) => Err(error),
            (Ok(Ok(_)), Err(payload)) => resume_unwind(payload),
            (Ok(Err(error)), closed) => {
                note(closed);
                Err(error)
            }
            (Err(payload), closed) => {
                note(closed);
                resume_unwind(payload)
            }
        }
    }

    fn make_loop(&mut self) -> Result<EventLoop> {
        let event_loop = match &mut self.factory {
            Some(factory) => factory()?,
            None => {
                let event_loop = policy::new_event_loop()?;
                policy::set_event_loop(Some(&event_loop));
                event_loop
            }
        };
        if let Some(on) = self.debug {
            event_loop.set_debug(on);
        }
        if let Some(signal) = self.dump_signal
            && let Err(error) = event_loop.dump_on_signal(signal)
        {
            if self.factory.is_none() {
                policy::set_event_loop(None);
            }
            event_loop.close()?;
            return Err(error.into());
        }
        Ok(event_loop)
    }
}

/// A failure of the shutdown that nobody is told of, since main failed first.
fn note(closed: std::result::Result<Result<()>, Box<dyn Any + Send>>) {
    match closed {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!("the shutdown after a failed main coroutine failed as well: {error}"),
        Err(_) => tracing::error!("the shutdown after a failed main coroutine panicked as well"),
    }
}

impl fmt::Debug for RunnerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunnerBuilder")
            .field("debug", &self.debug)
            .field("loop_factory", &self.factory.is_some())
            .field("executor_timeout", &self.executor_timeout)
            .field("dump_on_signal", &self.dump_signal)
            .finish()
    }
}
