//! What can go wrong, named for what the caller did.
//!
//! Two types: [`Error`] is what a call on the loop answers when it refuses, [`TaskError`] is how a
//! future or task ended when it did not end with a value. Misuse is always one of these, never a
//! panic and never silence. Operating-system errors keep their [`io::Error`], errno included.

use std::any::Any;
use std::fmt;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::shared_error::SharedError;

/// What a call answers when it refuses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `get_running_loop` where no loop runs in this thread (`RuntimeError: no running event loop`).
    #[error("no running event loop: this must be called from a callback or a coroutine that a loop drives")]
    NoRunningLoop,
    /// `get_event_loop` where none is current and making one was turned off by `set_event_loop(None)`.
    #[error("there is no current event loop in thread {thread}: call set_event_loop first")]
    NoCurrentLoop {
        /// The thread's name, or its id where it has none.
        thread: String,
    },
    /// The loop is running already, here or in another thread.
    #[error("this event loop is already running")]
    AlreadyRunning,
    /// Another loop is running in this thread.
    #[error("cannot run the event loop while another loop is running in this thread")]
    OtherLoopRunning,
    /// `close` while the loop runs.
    #[error("cannot close a running event loop: call stop first")]
    Running,
    /// The loop is closed.
    #[error("the event loop is closed")]
    Closed,
    /// `run_until_complete` was ended by `stop` before its future was done.
    #[error("the event loop was stopped before the future completed")]
    StoppedBeforeComplete,
    /// A future, task or socket of one loop was given to another.
    #[error("this object belongs to a different event loop")]
    WrongLoop,
    /// A future was used in a state that does not allow it (`InvalidStateError`).
    #[error("invalid state: {0}")]
    InvalidState(&'static str),
    /// An argument has a value that makes no sense (`ValueError`).
    #[error("invalid argument: {0}")]
    InvalidArgument(&'static str),
    /// The default executor is used after `shutdown_default_executor` or `close`.
    #[error("the default executor has been shut down")]
    ExecutorShutdown,
    /// An executor is given a job after its `shutdown`.
    #[error("cannot schedule new jobs after the pool was shut down")]
    PoolShutdown,
    /// A thread initializer of the pool failed, so the pool takes no jobs (`BrokenThreadPool`).
    #[error("the thread pool is broken: its initializer failed")]
    BrokenPool,
    /// `run_in_executor(None, ..)` on a loop that was built without a default executor.
    #[error("this event loop has no default executor: set one with set_default_executor")]
    NoExecutor,
    /// The descriptor belongs to an open transport, or to another operation that excludes this one.
    #[error("file descriptor {0} is used by an open transport")]
    DescriptorInUse(i32),
    /// A second operation of the same direction on a socket whose first one still waits.
    #[error("another operation of this kind is already waiting on the socket")]
    Busy,
    /// The backend or the object cannot do this.
    #[error("not supported: {0}")]
    Unsupported(&'static str),
    /// `write` after `write_eof`.
    #[error("cannot write after write_eof")]
    WriteAfterEof,
    /// The server is closed.
    #[error("the server is closed")]
    ServerClosed,
    /// `serve_forever` while another `serve_forever` waits on the same server.
    #[error("the server is already being served by another serve_forever")]
    AlreadyServing,
    /// The transport is closing or closed.
    #[error("the transport is closing")]
    Closing,
    /// Every address of the peer failed, each for its own reason (`Multiple exceptions: ..`).
    #[error("every address failed: {}", join(.0))]
    Connect(Vec<io::Error>),
    /// A signal that no handler can catch.
    #[error("signal {0} cannot be caught")]
    UncatchableSignal(i32),
    /// A signal that another loop handles.
    #[error("signal {0} is handled by another event loop")]
    SignalInUse(i32),
    /// A step of an async generator while another one is under way.
    #[error("asynchronous generator is already running")]
    GeneratorRunning,
    /// An async generator gave another value after it was closed; it was dropped where it stood.
    #[error("async generator ignored GeneratorExit")]
    IgnoredGeneratorExit,
    /// What an `emit` failed with, let through by the generator's body.
    #[error("{0}")]
    Thrown(#[from] crate::asyncgen::Thrown),
    /// A future or task that was awaited did not end with a value.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// `std::result::Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

fn join(errors: &[io::Error]) -> String {
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

impl Error {
    /// The operating system's error number, where there is one.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Io(error) => error.raw_os_error().or_else(|| {
                let inner = error.get_ref()?.downcast_ref::<crate::address::AddressError>()?;
                inner.error.raw_os_error()
            }),
            _ => None,
        }
    }

    /// The kind of the operating system's error, where it is one.
    #[must_use]
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Io(error) => Some(error.kind()),
            _ => None,
        }
    }

    /// Whether this is a cancellation (`CancelledError`), which ordinary error handling should let through.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Task(TaskError::Cancelled(_)))
    }
}

/// How a future or task ended when it did not end with a value.
///
/// Cheap to clone: a failed future may be asked, and awaited, any number of times.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// It was cancelled (`CancelledError`).
    #[error("{0}")]
    Cancelled(#[from] Cancelled),
    /// It panicked.
    #[error(transparent)]
    Panicked(#[from] Panicked),
    /// `set_exception` was called with this error.
    #[error(transparent)]
    Failed(SharedError),
    /// Asked for its outcome while it is pending (`InvalidStateError`).
    #[error("the result is not ready")]
    NotReady,
    /// Its value was moved out by an earlier await; await a reference to clone it instead.
    #[error("the result was already taken: await a reference to it to take a clone and leave the value")]
    Taken,
    /// Awaited by a task of another loop.
    #[error("the awaited future belongs to a different event loop")]
    WrongLoop,
    /// A task that awaits itself.
    #[error("a task cannot await itself")]
    SelfAwait,
    /// Whoever was to complete it is gone: the job was dropped unrun, or the loop was closed first.
    #[error("abandoned: it was dropped before it could complete")]
    Abandoned,
}

impl TaskError {
    /// Wraps any error as the outcome `set_exception` stores.
    pub fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Failed(SharedError::new(error))
    }

    /// Whether it was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled(_))
    }

    /// Whether it panicked.
    #[must_use]
    pub fn is_panic(&self) -> bool {
        matches!(self, Self::Panicked(_))
    }
}

impl From<Error> for TaskError {
    fn from(error: Error) -> Self {
        match error {
            Error::Task(error) => error,
            other => Self::failed(other),
        }
    }
}

impl From<io::Error> for TaskError {
    fn from(error: io::Error) -> Self {
        Self::failed(error)
    }
}

/// A cancellation (asyncio: `CancelledError`), with the message given to `cancel`, if any.
///
/// It is kept apart from ordinary errors on purpose: code that handles errors should not swallow it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cancelled {
    /// Behind one pointer: see [`SharedError`].
    message: Option<Arc<Box<str>>>,
}

impl Cancelled {
    /// A cancellation without a message.
    #[must_use]
    pub const fn new() -> Self {
        Self { message: None }
    }

    /// A cancellation with a message.
    #[must_use]
    pub fn with_message(message: impl Into<Box<str>>) -> Self {
        Self { message: Some(Arc::new(message.into())) }
    }

    /// The cancellation that an error is, which may be wrapped by errors that add nothing of their own.
    pub(crate) fn shown_by(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        // What adds nothing has the text of what it wraps.
        let cause = error.source().filter(|source| source.to_string() == error.to_string());
        error.downcast_ref::<Self>().or_else(|| cause?.downcast_ref::<Self>()).cloned()
    }

    /// The message given to `cancel`.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        self.message.as_ref().map(|message| &***message)
    }
}

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.message {
            Some(message) => write!(f, "cancelled: {message}"),
            None => f.write_str("cancelled"),
        }
    }
}

impl std::error::Error for Cancelled {}

/// A panic caught by the loop or by an executor: its text, and its payload for whoever wants it.
#[derive(Clone)]
pub struct Panicked(Arc<PanicInner>);

struct PanicInner {
    message: String,
    payload: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Panicked {
    /// Wraps what `catch_unwind` caught.
    #[must_use]
    pub fn new(payload: Box<dyn Any + Send>) -> Self {
        let message = if let Some(text) = payload.downcast_ref::<&'static str>() {
            (*text).to_owned()
        } else if let Some(text) = payload.downcast_ref::<String>() {
            text.clone()
        } else {
            String::from("a panic without a text")
        };
        Self(Arc::new(PanicInner { message, payload: Mutex::new(Some(payload)) }))
    }

    /// The panic's text.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Takes the payload, to `resume_unwind` it. All clones share one payload: the first taker gets it.
    #[must_use]
    pub fn take_payload(&self) -> Option<Box<dyn Any + Send>> {
        self.0.payload.lock().take()
    }
}

impl fmt::Debug for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Panicked").field(&self.0.message).finish()
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panicked: {}", self.0.message)
    }
}

impl std::error::Error for Panicked {}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an await gives fits into two registers, and a task that gives nothing is as large as its coroutine.
    #[test]
    fn an_error_is_two_words_and_a_result_no_more() {
        assert_eq!(size_of::<TaskError>(), 16);
        assert_eq!(size_of::<std::task::Poll<Result<(), TaskError>>>(), 16);
        assert_eq!(size_of::<std::task::Poll<Result<u64, TaskError>>>(), 16);
    }

    /// The error that was wrapped is found, at whatever depth, and its source is its own.
    #[test]
    fn a_shared_error_is_the_one_it_was_made_of() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] io::Error);

        let error = TaskError::failed(Outer(io::Error::other("inner")));
        let TaskError::Failed(shared) = error.clone() else { panic!("not failed: {error}") };
        assert!(shared.downcast_ref::<Outer>().is_some());
        for shown in [&error as &dyn std::error::Error, &shared] {
            assert_eq!(shown.to_string(), "outer");
            assert_eq!(shown.source().unwrap().to_string(), "inner");
        }
    }
}
