//! [`StreamReader`]: the receiving half.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use loop_core::Error as LoopError;

use crate::error::{Error, Result};

use super::DEFAULT_LIMIT;
use super::buffer::Buffer;
use super::incoming::{Incoming, ReadTransport, Source, State, Step};
use super::lines::Lines;
use super::link::Link;
use super::search::{Found, Search};

/// The receiving half of a connection (asyncio: `StreamReader`).
///
/// What arrives is kept until it is read. Above twice the limit, the transport is paused until no more than the limit is
/// left, so a peer that sends faster than is read is made to wait. The limit is also the longest line, or part up to a
/// separator, that is waited for. A read that needs more than that all the same gets it.
///
/// **Cancelling a read loses nothing**, whichever it is: bytes leave the reader only together with the result, so what
/// had arrived for a read that was cancelled, timed out or dropped is the next one's.
///
/// **An error of the connection stays**: every later read answers it, even with bytes left.
///
/// Reads take turns (`&mut self`). For those who read into memory of their own there are
/// [`read_into`](Self::read_into) and the traits of `futures-io`: `AsyncRead`, and `AsyncBufRead`, which lends the bytes
/// where they lie.
///
/// A reader needs no connection: somebody else may feed it, see [`feed_data`](Self::feed_data).
///
/// ```
/// # loop_api::run(async {
/// use loop_api::StreamReader;
///
/// let mut reader = StreamReader::new();
/// reader.feed_data(b"one\ntwo\nthr")?;
/// reader.feed_eof();
/// assert_eq!(reader.readline().await?.as_deref(), Some(&b"one\n"[..]));
/// assert_eq!(reader.readexactly(2).await?, b"tw");
/// assert_eq!(reader.read_to_end().await?, b"o\nthr");
/// assert!(reader.at_eof());
/// # Ok::<_, loop_api::Error>(()) })??;
/// # Ok::<_, loop_api::Error>(())
/// ```
pub struct StreamReader {
    link: Rc<Link>,
    /// Bytes that were taken over to be lent by `fill_buf`; they come first.
    lent: Buffer,
}

impl StreamReader {
    /// A reader of its own, with the limit of [`DEFAULT_LIMIT`].
    #[must_use]
    pub fn new() -> Self {
        Self::of(Link::new(DEFAULT_LIMIT))
    }

    /// A reader of its own, with a limit.
    ///
    /// # Errors
    ///
    /// [`LoopError::InvalidArgument`](crate::LoopError::InvalidArgument) for a limit of zero.
    pub fn with_limit(limit: usize) -> Result<Self> {
        check_limit(limit)?;
        Ok(Self::of(Link::new(limit)))
    }

    /// The one reader of a connection.
    pub(super) fn of(link: Rc<Link>) -> Self {
        Self { link, lent: Buffer::default() }
    }

    pub(super) fn link(&self) -> &Rc<Link> {
        &self.link
    }

    // ---- feeding ---------------------------------------------------------------------------------------------

    /// Gives it bytes (asyncio: `feed_data`). Readers of connections are fed by those.
    ///
    /// # Errors
    ///
    /// [`LoopError::InvalidState`](crate::LoopError::InvalidState) after [`feed_eof`](Self::feed_eof).
    pub fn feed_data(&self, data: &[u8]) -> Result<()> {
        Ok(self.link.incoming.feed(data)?)
    }

    /// Tells it that there will be no more (asyncio: `feed_eof`).
    pub fn feed_eof(&self) {
        self.link.incoming.feed_eof();
    }

    /// Has every later read fail with this, and the one that waits (asyncio: `set_exception`).
    pub fn set_exception(&self, error: impl Into<io::Error>) {
        self.link.incoming.fail(Arc::new(error.into()));
    }

    /// What every read fails with, if it was set (asyncio: `exception`).
    #[must_use]
    pub fn exception(&self) -> Option<io::Error> {
        self.link.incoming.exception()
    }

    /// Names what feeds it, to be paused and resumed (asyncio: `set_transport`).
    ///
    /// # Errors
    ///
    /// [`LoopError::InvalidState`](crate::LoopError::InvalidState) where it has a transport.
    pub fn set_transport(&self, transport: impl ReadTransport + 'static) -> Result<()> {
        Ok(self.link.incoming.set_source(Source::Other(Box::new(Rc::new(transport))))?)
    }

    /// A handle that feeds this reader while somebody reads from it.
    #[must_use]
    pub fn feeder(&self) -> StreamFeeder {
        StreamFeeder(Rc::clone(&self.link))
    }

    // ---- reading ---------------------------------------------------------------------------------------------

    /// The limit: the transport is paused above twice as much.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.link.incoming.with(|state| state.limit)
    }

    /// Whether the end of the stream was reached, and nothing is left to be read (asyncio: `at_eof`).
    #[must_use]
    pub fn at_eof(&self) -> bool {
        self.link.incoming.with(|state| state.eof && state.len() == 0)
    }

    /// Reads up to `count` bytes, as soon as there is one; none at the end of the stream (asyncio: `read`).
    ///
    /// Cancelled, it has read nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] with what broke the connection.
    pub async fn read(&mut self, count: usize) -> Result<Vec<u8>> {
        self.attempt(|state| {
            if state.buffer.is_empty() && !state.eof && count > 0 {
                return Step::Need(1);
            }
            Step::Done(Ok(if count == 0 { Vec::new() } else { state.buffer.take(count) }))
        })
        .await
    }

    /// Reads into memory of the caller's, as many bytes as there are and fit, as soon as there is one. Gives the count,
    /// which is zero at the end of the stream. Allocates nothing.
    ///
    /// Cancelled, it has read nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] with what broke the connection.
    pub async fn read_into(&mut self, place: &mut [u8]) -> Result<usize> {
        self.unlend();
        let mut wait = Wait::on(&self.link.incoming);
        poll_fn(|context| wait.incoming.poll_read_into(context, &mut wait.suspended, place)).await
    }

    /// Reads up to the end of the stream, whatever the limit (asyncio: `read` without a count).
    ///
    /// Cancelled, it has read nothing: what came so far is kept.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] with what broke the connection.
    pub async fn read_to_end(&mut self) -> Result<Vec<u8>> {
        self.attempt(|state| {
            if !state.eof {
                return Step::Need(usize::MAX);
            }
            Step::Done(Ok(state.buffer.take(usize::MAX)))
        })
        .await
    }

    /// Reads exactly `count` bytes, whatever the limit (asyncio: `readexactly`).
    ///
    /// Cancelled, it has read nothing: what came so far is kept.
    ///
    /// # Errors
    ///
    /// [`Error::IncompleteRead`] where the stream ends first, with what there was, which is taken out of the reader;
    /// [`Error::Io`] with what broke the connection.
    pub async fn readexactly(&mut self, count: usize) -> Result<Vec<u8>> {
        self.attempt(|state| {
            if state.buffer.len() >= count {
                return Step::Done(Ok(if count == 0 { Vec::new() } else { state.buffer.take(count) }));
            }
            if !state.eof {
                return Step::Need(count);
            }
            Step::Done(incomplete(state, Some(count)))
        })
        .await
    }

    /// Reads a line, with the newline that ends it; the last one may have none. `None` at the end of the stream
    /// (asyncio: `readline`).
    ///
    /// Cancelled, it has read nothing.
    ///
    /// # Errors
    ///
    /// [`Error::LineTooLong`] for a line that is longer than the limit, its newline not counted. Where its end has
    /// arrived it is dropped up to there, else all that has; so the next read begins with the next line, or within this
    /// one. [`Error::Io`] with what broke the connection.
    pub async fn readline(&mut self) -> Result<Option<Vec<u8>>> {
        let mut search = Search::newline();
        self.attempt(|state| match line_now(state, &mut search) {
            Line::Ends(end) => Step::Done(Ok(Some(state.buffer.take(end)))),
            Line::Over => Step::Done(Ok(None)),
            Line::TooLong(error) => Step::Done(Err(error)),
            Line::Need(need) => Step::Need(need),
        })
        .await
    }

    /// As [`readline`](Self::readline), appended to a buffer of the caller's, which can be used again and again. Gives
    /// the length of the line, zero at the end of the stream.
    ///
    /// Cancelled, it has read nothing.
    ///
    /// # Errors
    ///
    /// Those of [`readline`](Self::readline).
    pub async fn readline_into(&mut self, line: &mut Vec<u8>) -> Result<usize> {
        let mut search = Search::newline();
        self.attempt(|state| match line_now(state, &mut search) {
            Line::Ends(end) => {
                line.extend_from_slice(&state.buffer.as_slice()[..end]);
                state.buffer.consume(end);
                Step::Done(Ok(end))
            }
            Line::Over => Step::Done(Ok(0)),
            Line::TooLong(error) => Step::Done(Err(error)),
            Line::Need(need) => Step::Need(need),
        })
        .await
    }

    /// Reads up to a separator, and with it (asyncio: `readuntil`).
    ///
    /// Cancelled, it has read nothing.
    ///
    /// # Errors
    ///
    /// [`Error::LimitOverrun`] where more than the limit precedes the separator, or has arrived without one; the bytes
    /// stay, to be read otherwise. [`Error::IncompleteRead`] where the stream ends first, with what there was, which is
    /// taken out of the reader. [`LoopError::InvalidArgument`](crate::LoopError::InvalidArgument) for an empty
    /// separator. [`Error::Io`] with what broke the connection.
    pub async fn readuntil(&mut self, separator: impl AsRef<[u8]>) -> Result<Vec<u8>> {
        self.read_until_any(&[separator.as_ref()]).await
    }

    /// Reads up to one of several separators, and with it: the one that ends first (asyncio: `readuntil` with a tuple).
    ///
    /// Cancelled, it has read nothing.
    ///
    /// # Errors
    ///
    /// Those of [`readuntil`](Self::readuntil); also for no separators.
    pub async fn read_until_any(&mut self, separators: &[&[u8]]) -> Result<Vec<u8>> {
        let mut search = Search::new(separators)?;
        self.attempt(|state| match until_now(state, &mut search) {
            Until::Found(found) => Step::Done(Ok(state.buffer.take(found.end))),
            Until::Overrun(overrun) => Step::Done(Err(overrun.into())),
            Until::Over => Step::Done(incomplete(state, None)),
            Until::Need(need) => Step::Need(need),
        })
        .await
    }

    /// The lines, as a stream: `readline` again and again (asyncio: `async for line in reader`). It ends with the stream,
    /// and after an error of the connection.
    ///
    /// Cancel-safe: a line that was not given yet is the next read's.
    pub fn lines(&mut self) -> Lines<'_> {
        self.unlend();
        Lines::new(&self.link.incoming)
    }

    /// Attempts a read until it is done.
    async fn attempt<T>(&mut self, mut attempt: impl FnMut(&mut State) -> Step<T>) -> Result<T> {
        self.unlend();
        let mut wait = Wait::on(&self.link.incoming);
        poll_fn(|context| wait.incoming.poll_read(context, &mut wait.suspended, &mut attempt)).await
    }

    // ---- lending, for AsyncBufRead ---------------------------------------------------------------------------

    /// What was taken over to be lent goes back in front of what came since.
    fn unlend(&mut self) {
        if self.lent.is_empty() {
            return;
        }
        let lent = &mut self.lent;
        self.link.incoming.with(|state| {
            lent.append(state.buffer.as_slice());
            state.buffer.clear();
            std::mem::swap(&mut state.buffer, lent);
            state.lent = 0;
        });
    }

    pub(super) fn poll_lend(&mut self, context: &mut Context<'_>) -> Poll<Result<&[u8]>> {
        if !self.lent.is_empty() {
            self.link.incoming.refuse()?;
            return Poll::Ready(Ok(self.lent.as_slice()));
        }
        let lent = &mut self.lent;
        let taken = self.link.incoming.poll_forgetfully(|incoming, suspended| {
            incoming.poll_read(context, suspended, |state| {
                if state.buffer.is_empty() && !state.eof {
                    return Step::Need(1);
                }
                std::mem::swap(&mut state.buffer, lent);
                state.lent = lent.len();
                Step::Done(Ok(()))
            })
        });
        std::task::ready!(taken)?;
        Poll::Ready(Ok(self.lent.as_slice()))
    }

    pub(super) fn consume_lent(&mut self, count: usize) {
        self.lent.consume(count);
        let left = self.lent.len();
        self.link.incoming.with(|state| state.lent = left);
        self.link.incoming.resume_if_low();
    }

    pub(super) fn poll_read_into(&mut self, context: &mut Context<'_>, place: &mut [u8]) -> Poll<Result<usize>> {
        self.unlend();
        self.link.incoming.poll_forgetfully(|incoming, suspended| incoming.poll_read_into(context, suspended, place))
    }
}

pub(super) fn check_limit(limit: usize) -> Result<()> {
    if limit == 0 {
        return Err(LoopError::InvalidArgument("a reader's limit must not be zero").into());
    }
    Ok(())
}

/// The end of the stream came too early.
fn incomplete<T>(state: &mut State, expected: Option<usize>) -> Result<T> {
    Err(Error::IncompleteRead { partial: state.buffer.take(usize::MAX), expected })
}

/// How far the bytes up to a separator have come.
enum Until {
    Found(Found),
    Overrun(Overrun),
    /// The stream ended without one.
    Over,
    Need(usize),
}

struct Overrun {
    consumed: usize,
    /// Where the separator was found, behind too much.
    found: Option<Found>,
}

impl From<Overrun> for Error {
    fn from(overrun: Overrun) -> Self {
        Self::LimitOverrun { consumed: overrun.consumed, found: overrun.found.is_some() }
    }
}

fn until_now(state: &State, search: &mut Search<'_>) -> Until {
    let data = state.buffer.as_slice();
    match search.find(data) {
        Some(found) if found.start > state.limit => {
            Until::Overrun(Overrun { consumed: found.start, found: Some(found) })
        }
        Some(found) => Until::Found(found),
        None if search.clean() > state.limit => Until::Overrun(Overrun { consumed: search.clean(), found: None }),
        None if state.eof => Until::Over,
        None => Until::Need(data.len() + 1),
    }
}

/// How far the next line has come.
pub(super) enum Line {
    /// It has so many bytes.
    Ends(usize),
    /// There is none: the stream is over.
    Over,
    /// It was dropped.
    TooLong(Error),
    Need(usize),
}

pub(super) fn line_now(state: &mut State, search: &mut Search<'_>) -> Line {
    match until_now(state, search) {
        Until::Found(found) => Line::Ends(found.end),
        Until::Need(need) => Line::Need(need),
        Until::Over if state.buffer.is_empty() => Line::Over,
        Until::Over => Line::Ends(state.buffer.len()),
        Until::Overrun(Overrun { found, .. }) => {
            match found {
                Some(found) => state.buffer.consume(found.end),
                None => state.buffer.clear(),
            }
            search.restart();
            Line::TooLong(Error::LineTooLong { limit: state.limit })
        }
    }
}

/// The wait of one read. Dropped while it lasts, the read has read nothing.
///
/// There is one at a time (STRM-11):
///
/// ```compile_fail,E0499
/// let mut reader = loop_api::StreamReader::new();
/// let (one, two) = (reader.read(1), reader.read(1));
/// drop((one, two));
/// ```
pub(super) struct Wait<'a> {
    pub(super) incoming: &'a Incoming,
    pub(super) suspended: bool,
}

impl<'a> Wait<'a> {
    pub(super) fn on(incoming: &'a Incoming) -> Self {
        Self { incoming, suspended: false }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if self.suspended {
            self.incoming.stop_waiting();
        }
    }
}

impl Default for StreamReader {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        self.link.incoming.abandon();
    }
}

impl fmt::Debug for StreamReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<StreamReader{}>", self.link.incoming.describe())
    }
}

/// Feeds a [`StreamReader`]: what a transport does for the readers of connections. Clones feed the same reader; once that
/// is gone, what they are given is dropped.
#[derive(Clone)]
pub struct StreamFeeder(Rc<Link>);

impl StreamFeeder {
    /// Gives the reader bytes; see [`StreamReader::feed_data`].
    ///
    /// # Errors
    ///
    /// [`LoopError::InvalidState`](crate::LoopError::InvalidState) after [`feed_eof`](Self::feed_eof).
    pub fn feed_data(&self, data: &[u8]) -> Result<()> {
        Ok(self.0.incoming.feed(data)?)
    }

    /// Tells the reader that there will be no more.
    pub fn feed_eof(&self) {
        self.0.incoming.feed_eof();
    }

    /// Has every later read fail with this, and the one that waits.
    pub fn set_exception(&self, error: impl Into<io::Error>) {
        self.0.incoming.fail(Arc::new(error.into()));
    }
}

impl fmt::Debug for StreamFeeder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<StreamFeeder{}>", self.0.incoming.describe())
    }
}
