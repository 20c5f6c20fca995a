//! A reader's lines, as a stream.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::error::{Error, Result};

use super::incoming::{Incoming, Step};
use super::reader::{Line, Wait, line_now};
use super::search::Search;

/// The lines of a [`StreamReader`](super::StreamReader), made by its [`lines`](super::StreamReader::lines).
///
/// ```
/// # loop_api::run(async {
/// use futures_util::StreamExt;
/// use loop_api::StreamReader;
///
/// let mut reader = StreamReader::new();
/// reader.feed_data(b"one\ntwo")?;
/// reader.feed_eof();
/// let mut lines = reader.lines();
/// while let Some(line) = lines.next().await {
///     println!("{} bytes", line?.len());
/// }
/// # Ok::<_, loop_api::Error>(()) })??;
/// # Ok::<_, loop_api::Error>(())
/// ```
#[must_use = "streams do nothing unless polled"]
pub struct Lines<'a> {
    wait: Wait<'a>,
    search: Search<'static>,
    over: bool,
}

impl<'a> Lines<'a> {
    pub(super) fn new(incoming: &'a Incoming) -> Self {
        Self { wait: Wait::on(incoming), search: Search::newline(), over: false }
    }
}

impl Stream for Lines<'_> {
    type Item = Result<Vec<u8>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Vec<u8>>>> {
        let this = &mut *self;
        if this.over {
            return Poll::Ready(None);
        }
        let (wait, search) = (&mut this.wait, &mut this.search);
        let next = wait.incoming.poll_read(context, &mut wait.suspended, |state| match line_now(state, search) {
            Line::Ends(end) => {
                search.restart();
                Step::Done(Ok(Some(state.buffer.take(end))))
            }
            Line::Over => Step::Done(Ok(None)),
            Line::TooLong(error) => Step::Done(Err(error)),
            Line::Need(need) => Step::Need(need),
        });
        let next = std::task::ready!(next).transpose();
        this.over = matches!(next, None | Some(Err(Error::Io(_))));
        Poll::Ready(next)
    }
}

impl fmt::Debug for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Lines{}>", self.wait.incoming.describe())
    }
}
