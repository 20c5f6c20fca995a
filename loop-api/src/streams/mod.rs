//! Streams: connections as a reader and a writer (asyncio: streams).
//!
//! * this file: making a connection;
//! * `server` — [`start_server`], and how handlers end;
//! * `reader` — [`StreamReader`], every kind of read; `lines` — its lines as a stream;
//! * `writer` — [`StreamWriter`]: writing, draining, closing;
//! * `futures_io` — both through the traits of that crate;
//! * `protocol` — what makes streams of a transport's calls;
//! * `link` — what the protocol and the halves share: `incoming` and `outgoing`, bytes, who waits, how it ended;
//! * `buffer`, `search`, `wakers`, `failure` — what these are made of.
//!
//! The protocol shares state with the two halves and owns neither; the reader alone holds on to the transport by way of
//! that state, and lets go of it when it is dropped. So nothing here keeps itself alive, and a connection whose halves are
//! gone is closed.

mod buffer;
mod failure;
mod futures_io;
mod incoming;
mod lines;
mod link;
mod outgoing;
mod protocol;
mod reader;
mod search;
mod server;
mod wakers;
mod writer;

use loop_core::{ConnectOptions, ConnectTo};

use crate::error::Result;
use crate::policy::get_running_loop;

pub use incoming::ReadTransport;
pub use lines::Lines;
pub use reader::{StreamFeeder, StreamReader};
pub use server::{HandlerOutput, Server, start_server, start_server_with};
pub use writer::StreamWriter;

use protocol::StreamProtocol;

/// A reader's limit unless it is given another, in bytes: above twice as much its transport is paused.
pub const DEFAULT_LIMIT: usize = 64 * 1024;

/// Connects, and gives the two halves of the connection (asyncio: `open_connection`).
///
/// Cancel-safe: dropped on the way, the connection is closed.
///
/// ```no_run
/// # loop_api::run(async {
/// let (mut reader, mut writer) = loop_api::open_connection("example.org:80").await?;
/// writer.write(b"GET / HTTP/1.0\r\nHost: example.org\r\n\r\n")?;
/// let answer = reader.read_to_end().await?;
/// println!("{}", String::from_utf8_lossy(&answer));
/// writer.close().await
/// # })??;
/// # Ok::<_, loop_api::Error>(())
/// ```
///
/// # Errors
///
/// Those of [`EventLoop::create_connection`](crate::EventLoop::create_connection);
/// [`LoopError::NoRunningLoop`](crate::LoopError::NoRunningLoop) outside of a loop.
pub async fn open_connection(connect_to: impl Into<ConnectTo>) -> Result<(StreamReader, StreamWriter)> {
    open_connection_with(connect_to, ConnectOptions::default(), DEFAULT_LIMIT).await
}

/// [`open_connection`], with options and the reader's limit.
///
/// # Errors
///
/// Those of [`open_connection`]; [`LoopError::InvalidArgument`](crate::LoopError::InvalidArgument) for a limit of zero.
pub async fn open_connection_with(
    connect_to: impl Into<ConnectTo>,
    options: ConnectOptions,
    limit: usize,
) -> Result<(StreamReader, StreamWriter)> {
    let reader = StreamReader::with_limit(limit)?;
    let protocol = StreamProtocol::new(&reader);
    let event_loop = get_running_loop()?;
    let (transport, protocol) = event_loop.create_connection(|| protocol, connect_to, options).await?;
    let writer = protocol.borrow().writer(&transport);
    Ok((reader, writer))
}
