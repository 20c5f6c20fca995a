//! Servers whose connections are streams, each in the hands of a task of its own.

use std::error::Error as StdError;
use std::fmt;
use std::ops::Deref;
use std::rc::Rc;

use loop_core::{BindTo, Cancelled, Error as LoopError, ExceptionContext, LoopTask, ServerOptions, TaskError};

use crate::error::{Error, Result};
use crate::policy::get_running_loop;

use super::DEFAULT_LIMIT;
use super::protocol::{Connected, StreamProtocol};
use super::reader::{StreamReader, check_limit};
use super::writer::{Stream, StreamWriter};

/// Starts a server: every connection is given to the handler as a reader and a writer, and what the handler returns is
/// driven as a task (asyncio: `start_server`).
///
/// The handler is called from the loop; what it does before its first await happens there and then, or never waits at all:
/// a plain function returns [`std::future::ready`]. Its task may end with nothing or with a `Result`. A connection is not
/// closed because the task returned, but it is where the writer was let go of, with a warning: see
/// [`StreamWriter::close`]. An error or a panic is reported to the loop's exception handler ("Unhandled exception in
/// client_connected_cb") and the connection closed; where the task was cancelled, it is only closed.
///
/// ```
/// use loop_api as asyncio;
///
/// asyncio::run(async {
///     let server = asyncio::start_server("127.0.0.1:0", |mut reader, mut writer| async move {
///         while let Some(line) = reader.readline().await? {
///             writer.write(&line)?;
///             writer.drain().await?; // waits only while the peer is slow
///         }
///         writer.close().await
///     })
///     .await?;
///     let address = server.local_addr().expect("it listens");
///
///     let (mut reader, mut writer) = asyncio::open_connection(address).await?;
///     writer.write(b"hello\n")?;
///     assert_eq!(reader.readline().await?.as_deref(), Some(&b"hello\n"[..]));
///     writer.close().await?;
///     server.close();
///     server.wait_closed().await;
///     Ok::<_, asyncio::Error>(())
/// })??;
/// # Ok::<_, asyncio::Error>(())
/// ```
///
/// # Errors
///
/// Those of [`EventLoop::create_server`](crate::EventLoop::create_server);
/// [`LoopError::NoRunningLoop`](crate::LoopError::NoRunningLoop) outside of a loop.
pub async fn start_server<H, F>(bind_to: impl Into<BindTo>, handler: H) -> Result<Server>
where
    H: Fn(StreamReader, StreamWriter) -> F + 'static,
    F: Future<Output: HandlerOutput> + 'static,
{
    start_server_with(bind_to, handler, ServerOptions::default(), DEFAULT_LIMIT).await
}

/// [`start_server`], with options and the readers' limit.
///
/// # Errors
///
/// Those of [`start_server`]; [`LoopError::InvalidArgument`](crate::LoopError::InvalidArgument) for a limit of zero.
pub async fn start_server_with<H, F>(
    bind_to: impl Into<BindTo>,
    handler: H,
    options: ServerOptions,
    limit: usize,
) -> Result<Server>
where
    H: Fn(StreamReader, StreamWriter) -> F + 'static,
    F: Future<Output: HandlerOutput> + 'static,
{
    check_limit(limit)?;
    let event_loop = get_running_loop()?;
    let connected: Rc<Connected> = Rc::new(move |reader, writer| connect(&handler, reader, writer));
    let factory = move || StreamProtocol::of_server(limit, Rc::clone(&connected));
    Ok(Server(event_loop.create_server(factory, bind_to, options).await?))
}

/// Gives a connection to the handler, and sees to how that ends.
fn connect<F>(handler: &impl Fn(StreamReader, StreamWriter) -> F, reader: StreamReader, writer: StreamWriter)
where
    F: Future<Output: HandlerOutput> + 'static,
{
    // Kept until the task is done: a failed handler lets go of its writer, too, which then is no oversight.
    let kept = writer.keep();
    let event_loop = kept.transport.get_loop();
    // Refused by a closed loop, which has no connections.
    let Ok(task) = event_loop.create_task(handler(reader, writer)) else { return };
    let done = task.clone();
    task.add_done_callback(move |_| finish(&done, &kept));
}

fn finish<T: HandlerOutput>(task: &LoopTask<T>, stream: &Stream) {
    let failure: Box<dyn StdError + Send + Sync> = match task.take_outcome() {
        Ok(output) => match output.failure() {
            None => return,
            Some(failure) => failure,
        },
        Err(TaskError::Panicked(panic)) => panic.into(),
        Err(error) => error.into(),
    };
    if !is_cancellation(&*failure) {
        let report = ExceptionContext::new("Unhandled exception in client_connected_cb").exception(failure);
        stream.transport.get_loop().call_exception_handler(&report.detail("transport", &stream.transport));
    }
    stream.close();
}

/// Whether a handler failed because something it awaited was cancelled, which in asyncio makes it cancelled as well.
fn is_cancellation(failure: &(dyn StdError + Send + Sync + 'static)) -> bool {
    let failure: &(dyn StdError + 'static) = failure;
    failure.is::<Cancelled>()
        || failure.downcast_ref::<TaskError>().is_some_and(TaskError::is_cancelled)
        || failure.downcast_ref::<LoopError>().is_some_and(LoopError::is_cancelled)
        || failure.downcast_ref::<Error>().is_some_and(Error::is_cancelled)
}

/// What a handler of [`start_server`] may end with: nothing, or a `Result` of nothing, whose error is reported.
pub trait HandlerOutput: 'static {
    /// What went wrong.
    fn failure(self) -> Option<Box<dyn StdError + Send + Sync>>;
}

impl HandlerOutput for () {
    fn failure(self) -> Option<Box<dyn StdError + Send + Sync>> {
        None
    }
}

impl<E: Into<Box<dyn StdError + Send + Sync>> + 'static> HandlerOutput for Result<(), E> {
    fn failure(self) -> Option<Box<dyn StdError + Send + Sync>> {
        self.err().map(Into::into)
    }
}

/// A server made by [`start_server`]: loop-core's [`Server`](loop_core::Server), to which it dereferences, with this
/// crate's errors where it has any. Clones stand for the same server. Letting go of it does not close it.
#[derive(Clone)]
pub struct Server(loop_core::Server);

impl Server {
    /// Begins to accept connections. Idempotent; gives up one pass.
    ///
    /// # Errors
    ///
    /// Those of [`loop_core::Server::start_serving`].
    pub async fn start_serving(&self) -> Result<()> {
        Ok(self.0.start_serving().await?)
    }

    /// Serves until it is cancelled or closed (asyncio: `serve_forever`). Cancelled, it closes the server and waits until
    /// its connections have ended; then the cancellation goes on.
    ///
    /// # Errors
    ///
    /// Those of [`loop_core::Server::serve_forever`].
    pub async fn serve_forever(&self) -> Result<()> {
        Ok(self.0.serve_forever().await?)
    }
}

impl Deref for Server {
    type Target = loop_core::Server;

    fn deref(&self) -> &loop_core::Server {
        &self.0
    }
}

impl From<loop_core::Server> for Server {
    fn from(server: loop_core::Server) -> Self {
        Self(server)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
