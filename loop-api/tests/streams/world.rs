//! What the tests live in: a loop that cannot hang, connections, and peers that do as they are told.

use std::cell::RefCell;
use std::future::ready;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use loop_api::{
    ConnectOptions, Error, EventLoop, LoopFuture, Result, ServerOptions, StreamReader, StreamWriter, get_running_loop,
    open_connection_with, start_server_with, yield_now,
};
use socket2::SockRef;

/// A test that takes longer hangs.
const LONG: Duration = Duration::from_secs(20);

/// Runs a test in a loop of its own; one that hangs fails.
pub(crate) fn run<T>(test: impl AsyncFnOnce(EventLoop) -> Result<T>) -> T {
    let ended = loop_api::run(async {
        let event_loop = get_running_loop()?;
        let stuck = event_loop.clone();
        let alarm = event_loop.call_later(LONG, move || stuck.stop())?;
        let outcome = test(event_loop).await;
        alarm.cancel();
        outcome
    });
    match ended {
        Ok(Ok(value)) => value,
        Ok(Err(error)) => panic!("the test failed: {error:?}"),
        Err(error) => panic!("the test hangs: {error}"),
    }
}

/// Passes until something is so.
pub(crate) async fn until(mut so: impl FnMut() -> bool) {
    while !so() {
        yield_now().await;
    }
}

/// A few passes, for things that must not happen.
pub(crate) async fn some_passes() {
    for _ in 0..200 {
        yield_now().await;
    }
}

/// How a connection comes about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Side {
    Opened,
    Accepted,
}

/// Runs a test on the streams of an opened connection, then on those of an accepted one.
pub(crate) fn on_both_sides(limit: usize, test: impl AsyncFn(StreamReader, StreamWriter, Peer) -> Result<()>) {
    for side in [Side::Opened, Side::Accepted] {
        run(async |_| {
            let (reader, writer, peer) = connected(side, limit).await?;
            test(reader, writer, peer).await
        });
    }
}

/// A connection with a peer that is not of the loop.
pub(crate) async fn connected(side: Side, limit: usize) -> Result<(StreamReader, StreamWriter, Peer)> {
    match side {
        Side::Opened => {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let (reader, writer) =
                open_connection_with(listener.local_addr()?, ConnectOptions::default(), limit).await?;
            let (peer, _) = listener.accept()?;
            Ok((reader, writer, Peer::new(peer)?))
        }
        Side::Accepted => {
            let halves: LoopFuture<(StreamReader, StreamWriter)> = get_running_loop()?.create_future();
            let found = halves.clone();
            let handler = move |reader, writer| {
                found.set_result((reader, writer)).expect("one connection");
                ready(())
            };
            let server = start_server_with("127.0.0.1:0", handler, ServerOptions::default(), limit).await?;
            let peer = TcpStream::connect(server.local_addr().expect("it listens"))?;
            let (reader, writer) = halves.await?;
            server.close();
            Ok((reader, writer, Peer::new(peer)?))
        }
    }
}

/// Both ends of a connection as streams: the one that was opened, and the one that was accepted.
pub(crate) async fn pair(limit: usize) -> Result<((StreamReader, StreamWriter), (StreamReader, StreamWriter))> {
    let accepted: LoopFuture<(StreamReader, StreamWriter)> = get_running_loop()?.create_future();
    let found = accepted.clone();
    let handler = move |reader, writer| {
        found.set_result((reader, writer)).expect("one connection");
        ready(())
    };
    let server = start_server_with("127.0.0.1:0", handler, ServerOptions::default(), limit).await?;
    let address = server.local_addr().expect("it listens");
    let opened = open_connection_with(address, ConnectOptions::default(), limit).await?;
    let accepted = accepted.await?;
    server.close();
    Ok((opened, accepted))
}

/// The other end of a connection: a plain socket.
pub(crate) struct Peer(TcpStream);

impl Peer {
    fn new(socket: TcpStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        Ok(Self(socket))
    }

    pub(crate) async fn send(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            match self.0.write(data) {
                Ok(count) => data = &data[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => yield_now().await,
                Err(error) => panic!("the peer cannot send: {error}"),
            }
        }
    }

    /// Receives so many bytes, or all there are up to the end.
    pub(crate) async fn receive(&mut self, most: usize) -> Vec<u8> {
        let mut received = Vec::new();
        let mut place = vec![0; 64 * 1024];
        while received.len() < most {
            let room = place.len().min(most - received.len());
            match self.0.read(&mut place[..room]) {
                Ok(0) => break,
                Ok(count) => received.extend_from_slice(&place[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => yield_now().await,
                Err(error) => panic!("the peer cannot receive: {error}"),
            }
        }
        received
    }

    pub(crate) async fn receive_all(&mut self) -> Vec<u8> {
        self.receive(usize::MAX).await
    }

    /// Whether the connection was closed, with nothing left to receive.
    pub(crate) fn sees_the_end(&mut self) -> bool {
        matches!(self.0.read(&mut [0]), Ok(0))
    }

    pub(crate) fn end_sending(&self) {
        self.0.shutdown(Shutdown::Write).expect("a connected socket");
    }

    /// Goes away in such a way that the connection is reset.
    pub(crate) fn reset(self) {
        SockRef::from(&self.0).set_linger(Some(Duration::ZERO)).expect("an open socket");
    }
}

/// What the loop's exception handler was given: messages, errors, and details by key.
#[derive(Clone, Default)]
pub(crate) struct Reports(Rc<RefCell<Vec<loop_api::ExceptionContext>>>);

impl Reports {
    pub(crate) fn of(event_loop: &EventLoop) -> Self {
        let reports = Self::default();
        let kept = reports.clone();
        event_loop.set_exception_handler(Some(Rc::new(move |_, context| kept.0.borrow_mut().push(context.clone()))));
        reports
    }

    pub(crate) fn take(&self) -> Vec<loop_api::ExceptionContext> {
        self.0.take()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }
}

/// The kind of an operating-system error.
pub(crate) fn kind(error: &Error) -> Option<ErrorKind> {
    match error {
        Error::Io(error) => Some(error.kind()),
        _ => None,
    }
}

/// Bytes that tell their places apart.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|place| (place ^ (place >> 8) ^ (place >> 16)) as u8).collect()
}

/// As many bytes as the kernel will not take from a writer whose peer does not read.
pub(crate) const TOO_MUCH: usize = 32 * 1024 * 1024;
