//! Streams: readers by themselves, and over a connection.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use futures_util::StreamExt as _;
use loop_api::{
    Error, HandlerOutput, Server, StreamReader, StreamWriter, create_task, current_task, open_connection, start_server,
    yield_now,
};

use crate::stage::{Raised, Show, attempt, in_a_task};

/// A reader that was fed, with a limit, and is to have no more.
fn fed(data: &[u8], limit: usize) -> StreamReader {
    let reader = open(data, limit);
    reader.feed_eof();
    reader
}

/// A reader that was fed, with a limit, and may have more.
fn open(data: &[u8], limit: usize) -> StreamReader {
    let reader = StreamReader::with_limit(limit).unwrap();
    reader.feed_data(data).unwrap();
    reader
}

/// Traces a read that ends too early.
fn incomplete(result: loop_api::Result<Vec<u8>>) {
    if let Err(Error::IncompleteRead { partial, expected }) = result {
        trace!("partial: {} expected: {}", partial.show(), expected.show());
    }
}

/// Traces a read that exceeds the limit.
fn overrun(result: loop_api::Result<Vec<u8>>) {
    if let Err(Error::LimitOverrun { consumed, .. }) = result {
        trace!("consumed: {consumed}");
    }
}

/// STRM-02
#[test]
fn read_gives_what_there_is() {
    in_a_task(async || {
        let mut stream = fed(b"hello", 64);
        attempt("zero", stream.read(0).await);
        attempt("three", stream.read(3).await);
        attempt("many", stream.read(100).await);
        attempt("at the end", stream.read(100).await);
        Ok(())
    });
}

/// STRM-03
#[test]
fn reading_to_the_end_knows_no_limit() {
    in_a_task(async || {
        let mut stream = fed(&[b'x'; 200], 8);
        trace!("bytes: {}", stream.read_to_end().await?.len());
        attempt("again", stream.read_to_end().await);
        Ok(())
    });
}

/// STRM-04
#[test]
fn readexactly_gives_that_much() {
    in_a_task(async || {
        let mut stream = fed(b"abcdef", 64);
        attempt("four", stream.readexactly(4).await);
        attempt("none", stream.readexactly(0).await);
        attempt("two", stream.readexactly(2).await);
        Ok(())
    });
}

/// STRM-04
#[test]
fn an_incomplete_read_takes_what_there_was() {
    in_a_task(async || {
        let mut stream = fed(b"abc", 64);
        incomplete(stream.readexactly(5).await);
        attempt("left", stream.read(100).await);
        Ok(())
    });
}

/// STRM-05
#[test]
fn readline_gives_lines_and_then_the_rest() {
    in_a_task(async || {
        let mut stream = fed(b"one\ntwo\nrest", 64);
        for _ in 0..4 {
            trace!("{}", stream.readline().await?.show());
        }
        Ok(())
    });
}

/// STRM-06
#[test]
fn a_line_that_is_too_long_is_dropped_alone() {
    in_a_task(async || {
        let mut stream = fed(b"0123456789\nnext\n", 4);
        attempt("long", stream.readline().await);
        attempt("next", stream.readline().await);
        Ok(())
    });
}

/// STRM-06
#[test]
fn a_line_without_an_end_takes_the_buffer_with_it() {
    in_a_task(async || {
        let mut stream = open(b"0123456789", 4);
        attempt("long", stream.readline().await);
        stream.feed_data(b"new\n")?;
        attempt("next", stream.readline().await);
        Ok(())
    });
}

/// STRM-07
#[test]
fn readuntil_includes_the_separator() {
    in_a_task(async || {
        let mut stream = fed(b"one--two--rest", 64);
        attempt("one", stream.readuntil("--").await);
        attempt("two", stream.readuntil("--").await);
        incomplete(stream.readuntil("--").await);
        attempt("left", stream.read(100).await);
        Ok(())
    });
}

/// STRM-08
#[test]
fn an_overrun_leaves_the_data() {
    in_a_task(async || {
        let mut stream = fed(b"12345--", 4);
        overrun(stream.readuntil("--").await);
        attempt("consumed", stream.readexactly(5).await);
        attempt("separator", stream.readuntil("--").await);
        Ok(())
    });
}

/// STRM-08
#[test]
fn the_limit_counts_what_precedes_the_separator() {
    in_a_task(async || {
        let mut stream = fed(b"1234--", 4);
        attempt("exactly the limit", stream.readuntil("--").await);
        Ok(())
    });
}

/// STRM-08
#[test]
fn what_may_begin_a_separator_is_not_counted() {
    in_a_task(async || {
        let mut stream = open(b"12345-", 4);
        overrun(stream.readuntil("--").await);
        attempt("all", stream.read(100).await);
        Ok(())
    });
}

/// STRM-09, STRM-07
#[test]
fn an_empty_separator_is_refused() {
    in_a_task(async || {
        if let Err(Error::Loop(loop_api::LoopError::InvalidArgument(_))) = fed(b"abc", 64).readuntil("").await {
            trace!("ValueError");
        }
        Ok(())
    });
}

/// STRM-09
#[test]
fn the_separator_that_ends_first_wins() {
    in_a_task(async || {
        let mut stream = fed(b"one;two\nthree", 64);
        attempt("first", stream.read_until_any(&[b"\n", b";"]).await);
        attempt("second", stream.read_until_any(&[b"\n", b";"]).await);
        Ok(())
    });
}

/// STRM-10
#[test]
fn iterating_gives_the_lines() {
    in_a_task(async || {
        let mut stream = fed(b"one\ntwo\nrest", 64);
        let mut lines = stream.lines();
        while let Some(line) = lines.next().await {
            trace!("{}", line?.show());
        }
        Ok(())
    });
}

/// STRM-14
#[test]
fn the_end_is_reached_when_all_is_read() {
    in_a_task(async || {
        let mut stream = fed(b"ab", 64);
        trace!("at_eof: {}", stream.at_eof().show());
        stream.read(2).await?;
        trace!("at_eof: {}", stream.at_eof().show());
        trace!("open: {}", open(b"", 64).at_eof().show());
        Ok(())
    });
}

/// STRM-13
#[test]
fn an_error_of_the_connection_sticks() {
    in_a_task(async || {
        let mut stream = open(b"left", 64);
        stream.set_exception(io::ErrorKind::ConnectionReset);
        attempt("read", stream.read(4).await);
        attempt("readline", stream.readline().await);
        attempt("readexactly", stream.readexactly(0).await);
        trace!("set: {}", stream.exception().is_some().show());
        Ok(())
    });
}

/// STRM-02, FUT-02
#[test]
fn a_read_waits_until_it_is_fed() {
    in_a_task(async || {
        let mut stream = open(b"", 64);
        let feeder = stream.feeder();
        let task = create_task(async move {
            trace!("waits");
            trace!("read {}", stream.read(10).await.unwrap().show());
        })?;
        yield_now().await;
        feeder.feed_data(b"food")?;
        trace!("fed");
        task.await?;
        Ok(())
    });
}

/// STRM-02, TASK-10
#[test]
fn a_cancelled_read_loses_nothing() {
    in_a_task(async || {
        let stream = Rc::new(RefCell::new(open(b"", 64)));
        let (feeder, reads) = (stream.borrow().feeder(), Rc::clone(&stream));
        #[allow(clippy::await_holding_refcell_ref, reason = "nobody else borrows it before this has ended")]
        let task = create_task(async move { trace!("first {}", reads.borrow_mut().read(10).await.unwrap().show()) })?;
        yield_now().await;
        task.cancel();
        feeder.feed_data(b"kept")?;
        attempt("cancelled", task.await);
        let mut stream = Rc::into_inner(stream).expect("the task has let go of it").into_inner();
        attempt("second", stream.read(10).await);
        Ok(())
    });
}

/// A server on this machine, and its address.
async fn serve<H, F>(handler: H) -> loop_api::Result<(Server, SocketAddr)>
where
    H: Fn(StreamReader, StreamWriter) -> F + 'static,
    F: Future<Output: HandlerOutput> + 'static,
{
    let server = start_server("127.0.0.1:0", handler).await?;
    let address = server.local_addr().expect("it listens");
    Ok((server, address))
}

/// STRM-01, STRM-05, STRM-15
#[test]
fn lines_are_echoed() {
    in_a_task(async || {
        let echo = async |mut reader: StreamReader, mut writer: StreamWriter| {
            while let Some(line) = reader.readline().await? {
                writer.write(&line)?;
                writer.drain().await?;
            }
            writer.close().await
        };
        let (server, address) = serve(echo).await?;
        let (mut reader, mut writer) = open_connection(address).await?;
        for text in ["one\n", "two\n", "three\n"] {
            writer.write(text.as_bytes())?;
            trace!("echoed {}", reader.readline().await?.show());
        }
        writer.write_eof();
        trace!("end: {}", reader.readline().await?.show());
        attempt("closed", writer.close().await);
        server.close();
        Ok(())
    });
}

/// STRM-19
#[test]
fn a_handler_runs_as_a_task() {
    in_a_task(async || {
        let handler = async |_: StreamReader, mut writer: StreamWriter| {
            trace!("task: {}", current_task().unwrap().is_some().show());
            writer.write(b"hello")?;
            writer.close().await
        };
        let (server, address) = serve(handler).await?;
        let (mut reader, writer) = open_connection(address).await?;
        trace!("read {}", reader.read_to_end().await?.show());
        writer.start_close();
        server.close();
        Ok(())
    });
}

/// STRM-20
#[test]
fn a_handler_that_fails_is_reported_and_its_connection_closed() {
    in_a_task(async || {
        let handler = async |_: StreamReader, mut writer: StreamWriter| {
            writer.write(b"no").unwrap();
            Err::<(), _>(Raised("ValueError: x"))
        };
        let (server, address) = serve(handler).await?;
        let (mut reader, writer) = open_connection(address).await?;
        trace!("read {}", reader.read_to_end().await?.show());
        writer.start_close();
        server.close();
        Ok(())
    });
}

/// STRM-21, TR-13
#[test]
fn after_write_eof_one_can_still_read() {
    in_a_task(async || {
        let count = async |mut reader: StreamReader, mut writer: StreamWriter| {
            let data = reader.read_to_end().await?;
            writer.write(data.len().to_string().as_bytes())?;
            writer.close().await
        };
        let (server, address) = serve(count).await?;
        let (mut reader, mut writer) = open_connection(address).await?;
        trace!("can_write_eof: {}", writer.can_write_eof().show());
        writer.write(b"twelve bytes")?;
        writer.write_eof();
        attempt("write", writer.write(b"more"));
        trace!("read {}", reader.read_to_end().await?.show());
        writer.start_close();
        server.close();
        Ok(())
    });
}

/// STRM-16
#[test]
fn draining_a_lost_connection_is_an_error() {
    in_a_task(async || {
        let handler = async |mut reader: StreamReader, mut writer: StreamWriter| {
            reader.read_to_end().await?;
            writer.close().await
        };
        let (server, address) = serve(handler).await?;
        let (_reader, writer) = open_connection(address).await?;
        trace!("is_closing: {}", writer.is_closing().show());
        writer.start_close();
        trace!("is_closing: {}", writer.is_closing().show());
        attempt("wait_closed", writer.wait_closed().await);
        attempt("again", writer.wait_closed().await);
        attempt("drain", writer.drain().await);
        server.close();
        Ok(())
    });
}

/// TCP-05, SOCK-07
#[test]
fn nobody_listening_is_an_error() {
    in_a_task(async || {
        let (server, address) = serve(async |_: StreamReader, _: StreamWriter| ()).await?;
        server.close();
        attempt("connect", open_connection(address).await.map(|_| "a connection"));
        Ok(())
    });
}

/// STRM-02, TR-15
#[test]
fn an_abort_reaches_the_reader_as_an_end() {
    in_a_task(async || {
        let handler = async |mut reader: StreamReader, writer: StreamWriter| {
            reader.readline().await?;
            writer.transport().abort();
            Ok::<_, Error>(())
        };
        let (server, address) = serve(handler).await?;
        let (mut reader, mut writer) = open_connection(address).await?;
        writer.write(b"go\n")?;
        trace!("read {}", reader.read(10).await?.show());
        trace!("at_eof: {}", reader.at_eof().show());
        writer.start_close();
        server.close();
        Ok(())
    });
}
