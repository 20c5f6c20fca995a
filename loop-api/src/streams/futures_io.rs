//! The traits of `futures-io`, for what is written against those.
//!
//! Dropping a future that reads through them loses nothing that the trait does not lose by itself: each poll that
//! answers with bytes has put them into the caller's hands, and each other one has taken none.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncBufRead, AsyncRead, AsyncWrite};

use super::reader::StreamReader;
use super::writer::StreamWriter;

/// So much is taken by one `poll_write` at the most: what it takes, it may have to keep.
const MOST: usize = 256 * 1024;

impl AsyncRead for StreamReader {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, place: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_read_into(context, place).map_err(Into::into)
    }
}

/// Lends what has arrived where it lies.
impl AsyncBufRead for StreamReader {
    fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        self.get_mut().poll_lend(context).map_err(Into::into)
    }

    fn consume(mut self: Pin<&mut Self>, count: usize) {
        self.consume_lent(count);
    }
}

/// `poll_write` waits where [`drain`](StreamWriter::drain) would, before it takes anything; so does `poll_flush`, and what
/// was written leaves without it. `poll_close` ends the sending side and waits until everything is sent; the connection
/// is closed when both sides have ended and the writer is dropped.
impl AsyncWrite for StreamWriter {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_writable(context))?;
        let count = data.len().min(MOST);
        self.write(&data[..count])?;
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_writable(context))?;
        let total: usize = pieces.iter().map(|piece| piece.len()).sum();
        if total <= MOST {
            self.transport().writelines(pieces)?;
            return Poll::Ready(Ok(total));
        }
        let first = pieces.iter().find(|piece| !piece.is_empty()).map_or(&[][..], |piece| piece);
        let count = first.len().min(MOST);
        self.write(&first[..count])?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_writable(context).map_err(Into::into)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_end(context).map_err(Into::into)
    }
}
