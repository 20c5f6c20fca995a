//! What the socket tests stand on: loops to run on, protocols that record, and peers.
//!
//! [`on_each`] runs a test on the machine's backend (the one that `LOOP_BACKEND` names) and on the simulated network,
//! there both as readiness and as completions. Peers are sockets of the same loop then. [`on_real`] is for tests that
//! need the kernel. Either way a test fails if it hangs, if the loop reports something that the test did not ask for, and
//! if a protocol outlives its closed loop.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use loop_core::testing::{CheckedBackend, VirtualBackend};
use loop_core::{
    Address, Backend, ConcurrentFuture, ConnectOptions, EventLoop, LoopBuilder, Protocol, ProtocolRef, Server,
    ServerOptions, Socket, Transport,
};
use socket2::{Domain, Type};

/// How long a test may take: by the loop's clock, which on the simulated network jumps as soon as nothing is left to do.
const PATIENCE: Duration = Duration::from_secs(30);

/// A loop under test.
pub(crate) struct Case {
    lp: EventLoop,
    reports: Rc<RefCell<Vec<Report>>>,
    alive: Rc<()>,
}

/// What the loop's exception handler was told.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) message: String,
    pub(crate) panic: Option<String>,
    pub(crate) exception: Option<String>,
    pub(crate) keys: Vec<&'static str>,
}

impl Deref for Case {
    type Target = EventLoop;

    fn deref(&self) -> &EventLoop {
        &self.lp
    }
}

/// On the machine's backend and on the simulated ones.
pub(crate) fn on_each(test: impl AsyncFn(&Case)) {
    on_real(&test);
    on_simulated(&test);
}

/// On the machine's backend.
pub(crate) fn on_real(test: impl AsyncFn(&Case)) {
    run(loop_api::new_event_loop().expect("a backend"), &test);
}

/// On the simulated network.
pub(crate) fn on_simulated(test: impl AsyncFn(&Case)) {
    for backend in [VirtualBackend::new(), VirtualBackend::new().completing()] {
        let checked: Box<dyn Backend> = Box::new(CheckedBackend::new(Box::new(backend)));
        run(LoopBuilder::new(checked).build(), &test);
    }
}

fn run(lp: EventLoop, test: &impl AsyncFn(&Case)) {
    let case = Case { lp, reports: Rc::default(), alive: Rc::new(()) };
    let reports = Rc::clone(&case.reports);
    case.lp.set_exception_handler(Some(Rc::new(move |_, context| {
        let keys = ["transport", "protocol", "socket"].into_iter().filter(|key| context.get(key).is_some());
        reports.borrow_mut().push(Report {
            message: context.message.as_deref().unwrap_or_default().to_owned(),
            panic: context.panic().map(|panic| panic.message().to_owned()),
            exception: context.exception.as_ref().map(ToString::to_string),
            keys: keys.collect(),
        });
    })));
    let kind = format!("{} (synchronous: {})", case.backend_name(), case.capabilities().synchronous);
    let watchdog = Watchdog::new(kind.clone());
    case.lp.run_until_complete(within(&case, &kind, test(&case))).expect("nobody cancels a test");
    // What is still to happen to connections happens before the loop closes.
    case.lp.close().expect("it does not run");
    drop(watchdog);
    let Case { lp, reports, alive } = case;
    let reports = reports.borrow().clone();
    assert!(reports.is_empty(), "on {kind}: reported and not asked for: {reports:#?}");
    assert_eq!(Rc::strong_count(&alive), 1, "on {kind}: a protocol outlived its loop");
    drop(lp);
}

/// Panics where the future takes too long.
async fn within(lp: &EventLoop, kind: &str, future: impl Future<Output = ()>) {
    let mut future = pin!(future);
    let mut guard = pin!(lp.sleep_for(PATIENCE));
    poll_fn(|context| {
        if future.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        assert!(guard.as_mut().poll(context).is_pending(), "on {kind}: the test hangs");
        Poll::Pending
    })
    .await;
}

/// Ends the process where a thread is stuck outside of any await.
struct Watchdog(std::sync::mpsc::Sender<()>);

impl Watchdog {
    fn new(kind: String) -> Self {
        let (alive, done) = std::sync::mpsc::channel();
        let name = std::thread::current().name().unwrap_or("a test").to_owned();
        std::thread::spawn(move || {
            #[expect(clippy::print_stderr, reason = "there is nobody else left to say it")]
            if done.recv_timeout(3 * PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                eprintln!("{name} on {kind} is stuck");
                std::process::abort();
            }
        });
        Self(alive)
    }
}

impl Case {
    /// Whether operations are tried in the call.
    pub(crate) fn is_synchronous(&self) -> bool {
        self.capabilities().synchronous
    }

    /// What was reported since the last time.
    pub(crate) fn take_reports(&self) -> Vec<Report> {
        self.reports.take()
    }

    /// Gives way to everything else, once.
    pub(crate) async fn pass(&self) {
        self.sleep_until(Duration::ZERO).await;
    }

    /// Gives way once, and comes up before whatever the backend reports by then.
    pub(crate) async fn overtake(&self) {
        let mut before = true;
        poll_fn(|context| {
            if std::mem::take(&mut before) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Gives way until something is so.
    pub(crate) async fn until(&self, mut so: impl FnMut() -> bool) {
        while !so() {
            self.pass().await;
        }
    }

    /// Passes until nothing is under way that nobody outside has to do with: for what must *not* happen.
    pub(crate) async fn settle(&self) {
        for _ in 0..20 {
            self.pass().await;
        }
    }

    /// A protocol that records.
    pub(crate) fn recorder(&self) -> Recorder {
        (self.factory())()
    }

    /// Makes protocols that record.
    pub(crate) fn factory(&self) -> impl Fn() -> Recorder + 'static {
        let alive = Rc::clone(&self.alive);
        move || Recorder {
            log: Log::default(),
            hook: None,
            stays_open: false,
            buffer: None,
            state: State::New,
            _alive: Rc::clone(&alive),
        }
    }

    /// A listening socket of this loop on a free port, and where it listens.
    pub(crate) fn listener(&self) -> (Socket, SocketAddr) {
        let socket = self.socket(Domain::IPV4, Type::STREAM).unwrap();
        socket.bind("127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
        socket.listen(16).unwrap();
        let addr = socket.local_addr().unwrap().as_socket().unwrap();
        (socket, addr)
    }

    /// Two connected sockets of this loop.
    pub(crate) async fn pair(&self) -> (Socket, Socket) {
        let (listener, addr) = self.listener();
        let client = self.connect(addr).await;
        let (accepted, _) = self.sock_accept(&listener).await.unwrap();
        (client, accepted)
    }

    /// A socket of this loop, connected.
    pub(crate) async fn connect(&self, addr: SocketAddr) -> Socket {
        let socket = self.socket(Domain::IPV4, Type::STREAM).unwrap();
        self.sock_connect(&socket, addr).await.unwrap();
        socket
    }

    /// A connection with this protocol, and its peer, a socket of this loop.
    pub(crate) async fn connection(&self, recorder: Recorder) -> (Transport, Socket) {
        let (peer, socket) = self.pair().await;
        let (transport, _) = self.connect_accepted_socket(|| recorder, socket).await.unwrap();
        (transport, peer)
    }

    /// A connection made by `create_connection`.
    pub(crate) async fn connect_with(
        &self,
        recorder: Recorder,
        to: impl Into<Address>,
    ) -> loop_core::Result<(Transport, ProtocolRef<Recorder>)> {
        self.create_connection(|| recorder, to.into(), ConnectOptions::default()).await
    }

    /// A server on a free port of the loopback address.
    pub(crate) async fn serve<P: Protocol>(&self, factory: impl Fn() -> P + 'static) -> (Server, SocketAddr) {
        let server = self.create_server(factory, "127.0.0.1:0", ServerOptions::default()).await.unwrap();
        let addr = server.local_addr().unwrap();
        (server, addr)
    }

    /// Receives exactly so many bytes.
    pub(crate) async fn read_exact(&self, socket: &Socket, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < count {
            let more = self.sock_recv(socket, count - bytes.len()).await.unwrap();
            assert!(!more.is_empty(), "the stream ended after {} of {count} bytes", bytes.len());
            bytes.extend(more);
        }
        bytes
    }

    /// Receives to the end of the stream.
    pub(crate) async fn read_to_end(&self, socket: &Socket) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let more = self.sock_recv(socket, 64 * 1024).await.unwrap();
            if more.is_empty() {
                return bytes;
            }
            bytes.extend(more);
        }
    }

    /// Runs a function in a thread of its own, and gives what it returns.
    pub(crate) async fn in_thread<T: Send + 'static>(&self, function: impl FnOnce() -> T + Send + 'static) -> T {
        let (completer, future) = ConcurrentFuture::pair();
        std::thread::spawn(move || completer.complete(Ok(function())));
        self.wrap_future(future).unwrap().await.unwrap()
    }
}

/// A waker that only notes that it was woken.
#[derive(Default)]
pub(crate) struct Flag(AtomicBool);

impl Flag {
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Polls a future once, for a waker that sets the flag.
pub(crate) fn poll_once<F: Future>(future: Pin<&mut F>, flag: &Arc<Flag>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(&Waker::from(Arc::clone(flag))))
}

/// Bytes that tell where they belong.
pub(crate) fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|place| (place % 251) as u8).collect()
}

/// A call of a protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    Made,
    Data(Vec<u8>),
    /// `buffer_updated`, with what was received.
    Updated(Vec<u8>),
    Eof,
    Lost(Option<io::ErrorKind>),
    Pause,
    Resume,
}

/// What was called, in order.
#[derive(Clone, Default)]
pub(crate) struct Log(Rc<LogInner>);

#[derive(Default)]
struct LogInner {
    calls: RefCell<Vec<Call>>,
    lost_text: RefCell<Option<String>>,
    wakers: RefCell<Vec<Waker>>,
    dropped: Cell<bool>,
}

impl Log {
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.0.calls.borrow().clone()
    }

    /// The calls other than those that bring bytes.
    pub(crate) fn events(&self) -> Vec<Call> {
        let calls = self.0.calls.borrow();
        calls.iter().filter(|call| !matches!(call, Call::Data(_) | Call::Updated(_))).cloned().collect()
    }

    /// Every byte that was received.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for call in &*self.0.calls.borrow() {
            if let Call::Data(data) | Call::Updated(data) = call {
                bytes.extend_from_slice(data);
            }
        }
        bytes
    }

    pub(crate) fn count(&self, call: &Call) -> usize {
        self.0.calls.borrow().iter().filter(|known| *known == call).count()
    }

    /// The text of the error that `connection_lost` got.
    pub(crate) fn lost_text(&self) -> Option<String> {
        self.0.lost_text.borrow().clone()
    }

    /// Whether the protocol was dropped.
    pub(crate) fn is_dropped(&self) -> bool {
        self.0.dropped.get()
    }

    fn record(&self, call: Call) {
        self.0.calls.borrow_mut().push(call);
        self.0.wakers.take().into_iter().for_each(Waker::wake);
    }

    /// Waits for what the calls so far have come to.
    pub(crate) async fn until(&self, so: impl Fn(&Self) -> bool) {
        poll_fn(|context| {
            if so(self) {
                return Poll::Ready(());
            }
            self.0.wakers.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    pub(crate) async fn received(&self, count: usize) {
        self.until(|log| log.bytes().len() >= count).await;
    }

    /// Waits for the last call, and gives what it said.
    pub(crate) async fn lost(&self) -> Option<io::ErrorKind> {
        self.until(|log| matches!(log.0.calls.borrow().last(), Some(Call::Lost(_)))).await;
        match self.0.calls.borrow().last() {
            Some(Call::Lost(error)) => *error,
            _ => unreachable!("just seen"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Made,
    Ended,
    Lost,
}

type Hook = Box<dyn FnMut(&Transport, &Call)>;

/// A protocol that records every call, checks their order (TR-01), and does what it is told to.
pub(crate) struct Recorder {
    pub(crate) log: Log,
    hook: Option<Hook>,
    stays_open: bool,
    buffer: Option<Vec<u8>>,
    state: State,
    _alive: Rc<()>,
}

impl Recorder {
    /// Does this at each call, once it is recorded.
    pub(crate) fn on(mut self, hook: impl FnMut(&Transport, &Call) + 'static) -> Self {
        self.hook = Some(Box::new(hook));
        self
    }

    /// Keeps the connection open at the end of the stream.
    pub(crate) fn stays_open(mut self) -> Self {
        self.stays_open = true;
        self
    }

    /// Receives into a buffer of its own, of this size.
    pub(crate) fn buffered(mut self, size: usize) -> Self {
        self.buffer = Some(vec![0; size]);
        self
    }

    fn call(&mut self, transport: &Transport, call: Call) {
        assert!(self.state != State::Lost, "{call:?} after connection_lost");
        match &call {
            Call::Made => assert_eq!(self.state, State::New, "connection_made comes first, and once"),
            _ => assert_ne!(self.state, State::New, "{call:?} before connection_made"),
        }
        if matches!(call, Call::Data(_) | Call::Updated(_) | Call::Eof) {
            assert_eq!(self.state, State::Made, "{call:?} behind the end of the stream");
            assert!(!transport.is_closing(), "{call:?} after close");
            assert!(transport.is_reading(), "{call:?} while reading is paused");
        }
        self.state = match &call {
            Call::Eof => State::Ended,
            Call::Lost(_) => State::Lost,
            Call::Made => State::Made,
            _ => self.state,
        };
        self.log.record(call.clone());
        if let Some(hook) = &mut self.hook {
            hook(transport, &call);
        }
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recorder({:?})", self.log.events())
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.log.0.dropped.set(true);
    }
}

impl Protocol for Recorder {
    fn connection_made(&mut self, transport: &Transport) {
        self.call(transport, Call::Made);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        assert!(!data.is_empty() && data.len() <= 256 * 1024, "{} bytes at once", data.len());
        self.call(transport, Call::Data(data.to_vec()));
    }

    fn eof_received(&mut self, transport: &Transport) -> bool {
        self.call(transport, Call::Eof);
        self.stays_open
    }

    fn connection_lost(&mut self, transport: &Transport, error: Option<io::Error>) {
        *self.log.0.lost_text.borrow_mut() = error.as_ref().map(ToString::to_string);
        self.call(transport, Call::Lost(error.map(|error| error.kind())));
    }

    fn pause_writing(&mut self, transport: &Transport) {
        self.call(transport, Call::Pause);
    }

    fn resume_writing(&mut self, transport: &Transport) {
        self.call(transport, Call::Resume);
    }

    fn get_buffer(&mut self, transport: &Transport) -> Option<&mut [u8]> {
        assert!(transport.is_reading(), "get_buffer while reading is paused, or after close");
        self.buffer.as_deref_mut()
    }

    fn buffer_updated(&mut self, transport: &Transport, count: usize) {
        let bytes = self.buffer.as_deref().map(|buffer| buffer[..count].to_vec());
        self.call(transport, Call::Updated(bytes.expect("it gave a buffer")));
    }
}

/// The boxed hook's usual shape: only at data.
pub(crate) fn at_data(mut then: impl FnMut(&Transport, &[u8]) + 'static) -> impl FnMut(&Transport, &Call) + 'static {
    move |transport, call| {
        if let Call::Data(data) | Call::Updated(data) = call {
            then(transport, data);
        }
    }
}
