//! [`StreamWriter`]: the sending half.

use std::cell::Cell;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use loop_core::{SockAddr, Transport};

use crate::error::Result;
use crate::tasks::yield_now;

use super::link::Link;
use super::outgoing::{Closing, Drain, Outgoing};

/// The sending half of a connection, and what closes it (asyncio: `StreamWriter`).
///
/// Writing never waits: what the socket does not take is kept. [`drain`](Self::drain) after writing waits while too much
/// is kept, so that a slow peer makes its writer wait instead of filling the memory.
///
/// Clones are of the same stream; any of them may write, drain and close. When the last one is let go of and the stream
/// was not closed, it is closed then, with a warning in the log.
///
/// There is also `AsyncWrite` of `futures-io`. Its `poll_close` ends the sending side only, as
/// [`write_eof`](Self::write_eof) does.
///
/// ```no_run
/// # loop_api::run(async {
/// let (mut reader, mut writer) = loop_api::open_connection("127.0.0.1:7000").await?;
/// writer.write(b"hello\n")?;
/// writer.drain().await?;
/// assert_eq!(reader.readline().await?.as_deref(), Some(&b"hello\n"[..]));
/// writer.close().await
/// # })??;
/// # Ok::<_, loop_api::Error>(())
/// ```
pub struct StreamWriter {
    stream: Rc<Stream>,
    /// The wait of `poll_write` and its like.
    drain: Drain,
}

/// What all clones share.
pub(super) struct Stream {
    pub(super) transport: Transport,
    link: Rc<Link>,
    /// The program closed it, or ended the sending side through `AsyncWrite`, which has no other way to say that.
    closed: Cell<bool>,
}

/// So many pieces are described without an allocation.
const FEW: usize = 16;

impl StreamWriter {
    pub(super) fn new(transport: Transport, link: Rc<Link>) -> Self {
        Self { stream: Rc::new(Stream { transport, link, closed: Cell::new(false) }), drain: Drain::default() }
    }

    /// Sends bytes, in order, without waiting; what is written in one pass of the loop leaves together. Once the stream is
    /// closing, they are dropped.
    ///
    /// # Errors
    ///
    /// [`LoopError::WriteAfterEof`](crate::LoopError::WriteAfterEof) after [`write_eof`](Self::write_eof). What goes wrong
    /// in sending is the error of a later drain or read.
    pub fn write(&mut self, data: &[u8]) -> Result<()> {
        Ok(self.stream.transport.write(data)?)
    }

    /// Sends several pieces, as [`write`](Self::write) does; large ones are sent from where they lie, in one system call.
    ///
    /// # Errors
    ///
    /// Those of [`write`](Self::write).
    pub fn writelines(&mut self, pieces: &[impl AsRef<[u8]>]) -> Result<()> {
        let transport = &self.stream.transport;
        if pieces.len() <= FEW {
            let mut slices = [IoSlice::new(&[]); FEW];
            for (slice, piece) in slices.iter_mut().zip(pieces) {
                *slice = IoSlice::new(piece.as_ref());
            }
            return Ok(transport.writelines(&slices[..pieces.len()])?);
        }
        let slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece.as_ref())).collect();
        Ok(transport.writelines(&slices)?)
    }

    /// Ends the sending side, behind what was written; the receiving side goes on. Again, or after closing, it does
    /// nothing.
    pub fn write_eof(&mut self) {
        self.stream.transport.write_eof();
    }

    /// Whether [`write_eof`](Self::write_eof) is supported.
    #[must_use]
    pub fn can_write_eof(&self) -> bool {
        self.stream.transport.can_write_eof()
    }

    /// Waits until it is all right to write more (asyncio: `drain`): at once while no more is unsent than the transport's
    /// high water mark (64 KiB), else until no more is than the low one (16 KiB). Any number may wait.
    ///
    /// On a closing stream it gives up a pass first, so that a loop of writes and drains comes to notice the end.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`Error::Io`](crate::Error::Io) with what broke the connection; of the kind
    /// [`ConnectionReset`](std::io::ErrorKind::ConnectionReset) where it was lost before. Where the connection ends in
    /// order while this waits, that is no error.
    pub async fn drain(&self) -> Result<()> {
        self.stream.link.incoming.refuse()?;
        if self.stream.transport.is_closing() {
            yield_now().await;
        } else if !self.stream.link.outgoing.is_paused() {
            return Ok(());
        }
        Draining { outgoing: &self.stream.link.outgoing, drain: Drain::default() }.await
    }

    /// Closes the stream and waits until it is closed: what was written is sent first. Reading stops at once (asyncio:
    /// `close` and `wait_closed`). See [`start_close`](Self::start_close) to close without waiting.
    ///
    /// Cancelled while it waits, it is closed all the same.
    ///
    /// # Errors
    ///
    /// Those of [`wait_closed`](Self::wait_closed).
    pub async fn close(&mut self) -> Result<()> {
        self.start_close();
        self.wait_closed().await
    }

    /// Begins to close the stream (asyncio: `close`): what was written is sent, then the connection ends. Again, it does
    /// nothing.
    pub fn start_close(&self) {
        self.stream.close();
    }

    /// Waits until the connection is closed (asyncio: `wait_closed`); it does not close it. Any number may wait.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`Error::Io`](crate::Error::Io) with what broke the connection.
    pub async fn wait_closed(&self) -> Result<()> {
        let outgoing = &self.stream.link.outgoing;
        Ended { outgoing, closing: Closing::default() }.await
    }

    /// Whether it is closing or closed.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.stream.transport.is_closing()
    }

    /// The stream's own address; also after closing (asyncio: `get_extra_info("sockname")`).
    #[must_use]
    pub fn sockname(&self) -> Option<SockAddr> {
        self.stream.transport.sockname()
    }

    /// The peer's address; also after closing (asyncio: `get_extra_info("peername")`).
    #[must_use]
    pub fn peername(&self) -> Option<SockAddr> {
        self.stream.transport.peername()
    }

    /// The transport beneath, for what is not found here: water marks, aborting, options of the socket.
    #[must_use]
    pub fn transport(&self) -> &Transport {
        &self.stream.transport
    }

    /// Keeps the stream from being let go of.
    pub(super) fn keep(&self) -> Rc<Stream> {
        Rc::clone(&self.stream)
    }

    // ---- for AsyncWrite --------------------------------------------------------------------------------------

    /// Waits until writing makes sense: not while it is paused, and not once the stream is closing.
    pub(super) fn poll_writable(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let Self { stream, drain } = self;
        stream.link.incoming.refuse()?;
        if stream.transport.is_closing() && !stream.link.outgoing.is_lost() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, "the stream is closing").into()));
        }
        stream.link.outgoing.poll_drain(drain, context)
    }

    /// Ends the sending side, and waits until everything is sent.
    pub(super) fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let Self { stream, drain } = self;
        if stream.link.outgoing.is_lost() && !drain.waits() {
            // Whatever could not be sent was told to whoever wrote it.
            return Poll::Ready(Ok(()));
        }
        stream.transport.write_eof();
        stream.closed.set(true);
        // Nothing more will be written: from here on writing counts as paused until everything is sent.
        stream.transport.set_write_buffer_limits(Some(0), None)?;
        stream.link.outgoing.poll_drain(drain, context)
    }
}

impl Clone for StreamWriter {
    fn clone(&self) -> Self {
        Self { stream: Rc::clone(&self.stream), drain: Drain::default() }
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        self.stream.link.outgoing.stop_draining(&mut self.drain);
    }
}

impl Stream {
    pub(super) fn close(&self) {
        self.closed.set(true);
        self.transport.close();
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // A loop that is closed has closed the transport as well: that was not the program.
        let loop_closed = self.transport.get_loop().is_closed();
        let over = if loop_closed { self.link.outgoing.is_lost() } else { self.transport.is_closing() };
        if over {
            return;
        }
        if !self.closed.get() {
            tracing::warn!("unclosed stream: {:?}", self.transport);
        }
        if !loop_closed {
            self.transport.close();
        }
    }
}

impl fmt::Debug for StreamWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stream { transport, link, .. } = &*self.stream;
        write!(f, "<StreamWriter {transport:?} <StreamReader{}>>", link.incoming.describe())
    }
}

/// A drain under way.
struct Draining<'a> {
    outgoing: &'a Outgoing,
    drain: Drain,
}

impl Future for Draining<'_> {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        this.outgoing.poll_drain(&mut this.drain, context)
    }
}

impl Drop for Draining<'_> {
    fn drop(&mut self) {
        self.outgoing.stop_draining(&mut self.drain);
    }
}

/// A wait for the end.
struct Ended<'a> {
    outgoing: &'a Outgoing,
    closing: Closing,
}

impl Future for Ended<'_> {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        this.outgoing.poll_closed(&mut this.closing, context)
    }
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.outgoing.stop_closing(&mut self.closing);
    }
}
