//! Making connections: rows TCP and RW-06 of the inventory, what of DNS concerns them, and the fault DEF-07.

mod net;

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use loop_core::{Address, ConnectOptions, Error, Executor, Job, Protocol, Socket, TaskError, Transport};
use net::{Call, Case, Flag, on_each, on_real, poll_once};
use socket2::{Domain, SockRef, Type};

/// A descriptor's number, for calls that take descriptors.
struct Number(RawFd);

impl AsRawFd for Number {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

impl AsFd for Number {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the tests below ask options of descriptors of transports that they hold open.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}

/// An address where nobody listens.
fn refusing(case: &Case) -> SocketAddr {
    case.listener().1
}

/// A listening socket that answers nobody, as its backlog is full; and who fills it.
async fn black_hole(case: &Case) -> (Socket, SocketAddr, Vec<Socket>) {
    let listener = case.socket(Domain::IPV4, Type::STREAM).unwrap();
    listener.bind("127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
    listener.listen(0).unwrap();
    let addr = listener.local_addr().unwrap().as_socket().unwrap();
    let mut full = Vec::new();
    loop {
        let socket = case.socket(Domain::IPV4, Type::STREAM).unwrap();
        let flag = Arc::new(Flag::default());
        let connected = {
            let mut connecting = pin!(case.sock_connect(&socket, addr));
            let mut connected = poll_once(connecting.as_mut(), &flag).is_ready();
            for _ in 0..50 {
                case.overtake().await;
                connected = connected || flag.is_set();
            }
            connected
        };
        if !connected {
            return (listener, addr, full);
        }
        full.push(socket);
        assert!(full.len() < 10, "a backlog of 0 is full at some time");
    }
}

/// An executor that keeps its jobs until it is told to run them.
#[derive(Default)]
struct Held(Mutex<VecDeque<Job>>);

impl Held {
    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn run_all(&self) {
        let jobs = std::mem::take(&mut *self.0.lock().unwrap());
        jobs.into_iter().for_each(Job::run);
    }
}

impl Executor for Held {
    fn execute(&self, job: Job) -> Result<(), Error> {
        self.0.lock().unwrap().push_back(job);
        Ok(())
    }

    fn shutdown(&self, _: bool, _: bool) {}
}

// ---- the usual way ---------------------------------------------------------------------------------------------

/// TCP-01.
#[test]
fn the_factory_is_called_once_connected_and_connection_made_before_returning() {
    on_each(async |case| {
        let (listener, addr) = case.listener();
        let recorder = case.recorder();
        let log = recorder.log.clone();
        let made = Cell::new(0);
        let connecting = case.create_connection(
            || {
                made.set(made.get() + 1);
                assert!(log.calls().is_empty());
                recorder
            },
            addr,
            ConnectOptions::default(),
        );
        let accepting = async {
            let (peer, _) = case.sock_accept(&listener).await.unwrap();
            // Before the connection is made on the other side, if need be.
            case.sock_sendall(&peer, *b"greeting").await.unwrap();
            peer
        };
        let (connected, peer) = futures_util::future::join(connecting, accepting).await;
        let (transport, protocol) = connected.unwrap();
        assert_eq!(made.get(), 1);
        assert_eq!(log.calls()[0], Call::Made);
        log.received(8).await;
        assert_eq!(log.bytes(), b"greeting");
        assert_eq!(transport.peername().unwrap().as_socket(), Some(addr));
        assert_eq!(peer.peer_addr().unwrap(), transport.sockname().unwrap());
        assert_eq!(protocol.borrow().log.bytes(), b"greeting", "the protocol that comes back is the factory's");
        transport.abort();
    });
}

/// TCP-01: no factory where there is no connection.
#[test]
fn the_factory_is_not_called_where_connecting_fails() {
    on_each(async |case| {
        let called = Cell::new(false);
        let factory = || {
            called.set(true);
            case.recorder()
        };
        let failed = case.create_connection(factory, refusing(case), ConnectOptions::default()).await;
        assert!(failed.is_err() && !called.get());
    });
}

/// TCP-02, TCP-13.
#[test]
fn a_socket_that_is_no_stream_is_refused_before_the_factory_is_called() {
    on_each(async |case| {
        let called = Cell::new(false);
        let factory = || {
            called.set(true);
            case.recorder()
        };
        let socket = case.socket(Domain::IPV4, Type::DGRAM).unwrap();
        let refused = case.create_connection(factory, socket, ConnectOptions::default()).await;
        assert!(matches!(refused, Err(Error::InvalidArgument(_))));
        let socket = case.socket(Domain::IPV4, Type::DGRAM).unwrap();
        let refused = case.connect_accepted_socket(factory, socket).await;
        assert!(matches!(refused, Err(Error::InvalidArgument(_))));
        assert!(!called.get());
    });
}

/// TCP-09, TCP-13.
#[test]
fn a_connected_socket_becomes_a_connection() {
    on_each(async |case| {
        let (one, other) = case.pair().await;
        let recorder = case.recorder();
        let log = recorder.log.clone();
        let (transport, _) = case.create_connection(|| recorder, one, ConnectOptions::default()).await.unwrap();
        assert_eq!(log.calls(), [Call::Made]);
        transport.write(b"hello").unwrap();
        assert_eq!(case.read_exact(&other, 5).await, b"hello");
        transport.close();
        assert_eq!(case.read_to_end(&other).await, b"", "the transport owns the socket, and closes it");
    });
}

/// TCP-09: a blocking one, from elsewhere.
#[test]
fn a_socket_from_elsewhere_becomes_a_connection() {
    on_real(async |case| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        let socket = case.adopt_socket(stream).unwrap();
        let recorder = case.recorder();
        let log = recorder.log.clone();
        let (transport, _) = case.create_connection(|| recorder, socket, ConnectOptions::default()).await.unwrap();
        io::Write::write_all(&mut peer, b"hello").unwrap();
        log.received(5).await;
        transport.abort();
    });
}

/// A socket of one loop is of no use to another.
#[test]
fn a_socket_of_another_loop_is_refused() {
    on_each(async |case| {
        let stranger = loop_api::new_event_loop().unwrap();
        let socket = stranger.socket(Domain::IPV4, Type::STREAM).unwrap();
        let refused = case.create_connection(|| case.recorder(), socket, ConnectOptions::default()).await;
        assert!(matches!(refused, Err(Error::WrongLoop)));
        stranger.close().unwrap();
    });
}

/// TCP-10.
#[test]
fn replies_do_not_wait_for_more() {
    on_real(async |case| {
        let accepted = Rc::new(Cell::new(None));
        let seen = Rc::clone(&accepted);
        let (server, addr) = case.serve(move || Delay(Rc::clone(&seen))).await;
        let (transport, _) = case.connect_with(case.recorder(), addr).await.unwrap();
        assert!(SockRef::from(&Number(transport.raw_fd().unwrap())).tcp_nodelay().unwrap());
        case.until(|| accepted.get().is_some()).await;
        assert_eq!(accepted.get(), Some(true), "accepted ones, too");
        server.close();
        transport.abort();
    });
}

/// Tells of TCP_NODELAY.
struct Delay(Rc<Cell<Option<bool>>>);

impl Protocol for Delay {
    fn connection_made(&mut self, transport: &Transport) {
        let fd = Number(transport.raw_fd().unwrap());
        self.0.set(Some(SockRef::from(&fd).tcp_nodelay().unwrap()));
    }
}

// ---- several addresses -----------------------------------------------------------------------------------------

/// TCP-04.
#[test]
fn addresses_are_tried_in_order_until_one_connects() {
    on_each(async |case| {
        let ((_listener, good), (_another, better)) = (case.listener(), case.listener());
        let list = vec![refusing(case), refusing(case), good, better];
        let (transport, _) = case.connect_with(case.recorder(), list).await.unwrap();
        assert_eq!(transport.peername().unwrap().as_socket(), Some(good));
        transport.abort();
    });
}

/// TCP-05.
#[test]
fn one_error_is_given_as_it_is_and_several_together() {
    on_each(async |case| {
        let (one, other) = (refusing(case), refusing(case));
        let fail = async |list: Vec<SocketAddr>, all: bool| {
            let options = ConnectOptions::default().all_errors(all);
            case.create_connection(|| case.recorder(), list, options).await.unwrap_err()
        };
        for list in [vec![one], vec![one, one]] {
            let error = fail(list, false).await;
            assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED));
            assert!(error.to_string().contains(&one.to_string()), "{error}");
        }
        let error = fail(vec![one, other], false).await;
        let text = error.to_string();
        assert!(text.contains(&one.to_string()) && text.contains(&other.to_string()), "{text}");
        let Error::Connect(errors) = error else { panic!("{text}") };
        assert_eq!(errors.len(), 2);
        assert!(errors.iter().all(|error| error.kind() == io::ErrorKind::ConnectionRefused));
        let Error::Connect(errors) = fail(vec![one, one], true).await else { panic!("all errors were asked for") };
        assert_eq!(errors.len(), 2);
        // DNS-05.
        let error = fail(Vec::new(), false).await;
        assert!(error.to_string().contains("empty list"), "{error}");
    });
}

/// TCP-06.
#[test]
fn the_local_address_is_bound_first() {
    on_each(async |case| {
        let (_listener, addr) = case.listener();
        let local = refusing(case);
        let options = ConnectOptions::default().local_addr(local);
        let (transport, _) = case.create_connection(|| case.recorder(), addr, options).await.unwrap();
        assert_eq!(transport.sockname().unwrap().as_socket(), Some(local));
        transport.abort();
    });
}

/// TCP-06: of several local addresses, the first of the right family that can be had.
#[test]
fn local_addresses_are_tried_in_order_too() {
    on_each(async |case| {
        let (_listener, addr) = case.listener();
        let (_taken, in_use) = case.listener();
        let free = refusing(case);
        let six: SocketAddr = "[::1]:0".parse().unwrap();
        let options = ConnectOptions::default().local_addr(vec![six, in_use, free]);
        let (transport, _) = case.create_connection(|| case.recorder(), addr, options).await.unwrap();
        assert_eq!(transport.sockname().unwrap().as_socket(), Some(free));
        transport.abort();

        let options = ConnectOptions::default().local_addr(vec![six]);
        let error = case.create_connection(|| case.recorder(), addr, options).await.unwrap_err();
        assert!(error.to_string().contains("no matching local address"), "{error}");

        let options = ConnectOptions::default().local_addr(in_use);
        let error = case.create_connection(|| case.recorder(), addr, options).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EADDRINUSE));
        assert!(error.to_string().contains(&in_use.to_string()), "{error}");
    });
}

/// TCP-07, CH-65.
#[test]
fn the_next_attempt_starts_after_the_delay_and_the_first_to_connect_wins() {
    on_each(async |case| {
        let (hole_listener, hole, full) = black_hole(case).await;
        let (_listener, good) = case.listener();
        let options = ConnectOptions::default().happy_eyeballs_delay(Duration::from_millis(20));
        let start = case.time();
        let (transport, _) = case.create_connection(|| case.recorder(), vec![hole, good], options).await.unwrap();
        assert_eq!(transport.peername().unwrap().as_socket(), Some(good));
        assert!(case.time() - start >= Duration::from_millis(20), "not before the delay");
        transport.abort();
        // The loser's socket is closed: where there is room again, it does not come in any more.
        let fillers = full.len();
        for _ in 0..fillers {
            case.sock_accept(&hole_listener).await.unwrap();
        }
        case.settle().await;
        let flag = Arc::new(Flag::default());
        assert!(poll_once(pin!(case.sock_accept(&hole_listener)), &flag).is_pending());
    });
}

/// TCP-07.
#[test]
fn a_failure_starts_the_next_attempt_at_once() {
    on_each(async |case| {
        let (_listener, good) = case.listener();
        // By the loop's clock: far beyond what a test may take.
        let options = ConnectOptions::default().happy_eyeballs_delay(Duration::from_secs(3600));
        let list = vec![refusing(case), refusing(case), good];
        let (transport, _) = case.create_connection(|| case.recorder(), list, options).await.unwrap();
        assert_eq!(transport.peername().unwrap().as_socket(), Some(good));
        transport.abort();
    });
}

/// TCP-07: a later failure does not end an earlier attempt, which still may win.
#[test]
fn an_earlier_attempt_may_win_after_later_ones_failed() {
    on_each(async |case| {
        let (hole_listener, hole, full) = black_hole(case).await;
        let options = ConnectOptions::default().happy_eyeballs_delay(Duration::from_millis(1));
        let list = vec![hole, refusing(case)];
        let flag = Arc::new(Flag::default());
        let mut connecting = Box::pin(case.create_connection(|| case.recorder(), list, options));
        assert!(poll_once(connecting.as_mut(), &flag).is_pending());
        case.sleep_for(Duration::from_millis(5)).await;
        assert!(poll_once(connecting.as_mut(), &flag).is_pending(), "the second has failed, the first goes on");
        for _ in 0..full.len() {
            case.sock_accept(&hole_listener).await.unwrap();
        }
        // Now there is room.
        let (transport, _) = connecting.await.unwrap();
        assert_eq!(transport.peername().unwrap().as_socket(), Some(hole));
        transport.abort();
    });
}

/// TCP-04: without a delay one attempt follows the other.
#[test]
fn without_a_delay_an_attempt_that_hangs_is_waited_for() {
    on_each(async |case| {
        let (_hole_listener, hole, _full) = black_hole(case).await;
        let (_listener, good) = case.listener();
        let flag = Arc::new(Flag::default());
        let mut connecting = Box::pin(case.connect_with(case.recorder(), vec![hole, good]));
        assert!(poll_once(connecting.as_mut(), &flag).is_pending());
        case.settle().await;
        assert!(!flag.is_set());
    });
}

// ---- host names ------------------------------------------------------------------------------------------------

/// DNS-01, DNS-03, DNS-04, TCP-01.
#[test]
fn a_host_name_is_resolved_in_the_executor_while_the_loop_goes_on() {
    on_real(async |case| {
        let held = Arc::new(Held::default());
        case.set_default_executor(Arc::clone(&held) as Arc<dyn Executor>);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();

        let (transport, _) = case.connect_with(case.recorder(), ("127.0.0.1", port)).await.unwrap();
        transport.abort();
        assert_eq!(held.count(), 0, "a numeric address is not looked up");

        let options = ConnectOptions::default().local_addr(("localhost", 0));
        let factory = || case.recorder();
        let mut connecting = Box::pin(case.create_connection(factory, ("localhost", port), options));
        let flag = Arc::new(Flag::default());
        for lookups in 1..=2 {
            assert!(poll_once(connecting.as_mut(), &flag).is_pending());
            let ticks = Rc::new(Cell::new(0));
            let ticking = Rc::clone(&ticks);
            case.call_soon(move || ticking.set(ticking.get() + 1)).unwrap();
            case.settle().await;
            assert_eq!((ticks.get(), held.count()), (1, 1), "the loop goes on while lookup {lookups} is under way");
            held.run_all();
            case.until(|| flag.is_set()).await;
        }
        let (transport, _) = connecting.await.unwrap();
        assert!(transport.sockname().unwrap().as_socket().unwrap().ip().is_loopback());
        transport.abort();

        // A zone needs the resolver, too.
        let zone = Address::from(("::1%lo", port));
        let mut resolving = Box::pin(case.resolve(&zone));
        assert!(poll_once(resolving.as_mut(), &flag).is_pending());
        assert_eq!(held.count(), 1);
        held.run_all();
        // Whatever the resolver makes of it.
        let _ = resolving.await;
    });
}

/// A host that does not resolve.
#[test]
fn an_unknown_host_is_the_resolvers_error() {
    on_real(async |case| {
        let Err(error) = case.connect_with(case.recorder(), ("no..such..name", 80)).await else { panic!("connected") };
        assert!(matches!(error, Error::Io(_)), "{error:?}");
        let Err(error) = case.connect_with(case.recorder(), "no port").await else { panic!("connected") };
        assert!(matches!(error, Error::InvalidArgument(_)), "{error:?}");
    });
}

// ---- failures --------------------------------------------------------------------------------------------------

/// TCP-12, DEF-07.
#[test]
fn a_factory_that_fails_leaves_no_connection_behind() {
    on_each(async |case| {
        fn fails() -> net::Recorder {
            panic!("the factory fails")
        }
        let (listener, addr) = case.listener();
        let connecting = case.create_connection(fails, addr, ConnectOptions::default());
        let accepting = async { case.sock_accept(&listener).await.unwrap().0 };
        let (failed, peer) = futures_util::future::join(connecting, accepting).await;
        let Err(Error::Task(TaskError::Panicked(panic))) = failed else { panic!("the panic comes back") };
        assert_eq!(panic.message(), "the factory fails");
        assert_eq!(case.read_to_end(&peer).await, b"");

        let (one, other) = case.pair().await;
        assert!(case.connect_accepted_socket(fails, one).await.is_err());
        assert_eq!(case.read_to_end(&other).await, b"");
    });
}

/// TCP-11.
#[test]
fn cancelled_while_it_connects_the_socket_is_closed() {
    on_each(async |case| {
        let (hole_listener, hole, full) = black_hole(case).await;
        let (lp, recorder) = ((**case).clone(), case.recorder());
        let log = recorder.log.clone();
        let task = case
            .create_task(async move {
                let connected = lp.create_connection(|| recorder, hole, ConnectOptions::default()).await;
                connected.map(drop)
            })
            .unwrap();
        case.settle().await;
        task.cancel();
        assert!(task.await.unwrap_err().is_cancelled());
        assert!(log.is_dropped() && log.calls().is_empty());
        for _ in 0..full.len() {
            case.sock_accept(&hole_listener).await.unwrap();
        }
        case.settle().await;
        let flag = Arc::new(Flag::default());
        assert!(poll_once(pin!(case.sock_accept(&hole_listener)), &flag).is_pending(), "nobody knocks any more");
    });
}

/// TCP-11.
#[test]
fn cancelled_before_connection_made_is_seen_the_connection_is_closed() {
    on_each(async |case| {
        // At every point from the first poll to the last, the connection comes to an end, and so does its protocol.
        let mut finished = false;
        for polls in 1.. {
            let (one, other) = case.pair().await;
            let recorder = case.recorder();
            let log = recorder.log.clone();
            let flag = Arc::new(Flag::default());
            {
                let mut connecting = pin!(case.connect_accepted_socket(|| recorder, one));
                for _ in 0..polls {
                    if let Poll::Ready(connected) = poll_once(connecting.as_mut(), &flag) {
                        connected.unwrap().0.close();
                        finished = true;
                        break;
                    }
                    case.overtake().await;
                }
            }
            assert_eq!(case.read_to_end(&other).await, b"");
            case.until(|| log.is_dropped()).await;
            let calls = log.events();
            assert!(calls.is_empty() || calls == [Call::Made, Call::Lost(None)], "{calls:?}");
            if finished {
                assert!(polls > 1, "it was dropped half-way at least once");
                break;
            }
        }
    });
}

/// A loop that is closed connects nobody.
#[test]
fn nothing_connects_on_a_closed_loop() {
    let lp = loop_api::new_event_loop().unwrap();
    lp.close().unwrap();
    let flag = Arc::new(Flag::default());
    let addr: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let refused =
        poll_once(pin!(lp.create_connection(|| Delay(Rc::default()), addr, ConnectOptions::default())), &flag);
    assert!(matches!(refused, Poll::Ready(Err(Error::Closed))));
}

// ---- descriptors of transports ---------------------------------------------------------------------------------

/// RW-06, TCP-14.
#[test]
fn the_descriptor_of_an_open_transport_cannot_be_watched() {
    on_real(async |case| {
        let recorder = case.recorder();
        let log = recorder.log.clone();
        let (transport, _peer) = case.connection(recorder).await;
        let fd = Number(transport.raw_fd().unwrap());
        let in_use =
            |result: Result<(), Error>| matches!(result, Err(Error::DescriptorInUse(number)) if number == fd.0);
        assert!(in_use(case.add_reader(&fd, || ())));
        assert!(in_use(case.add_writer(&fd, || ())));
        assert!(in_use(case.remove_reader(&fd).map(drop)));
        assert!(in_use(case.remove_writer(&fd).map(drop)));
        // Once it is closing, its number is anybody's; here it stays open as long as something is unsent.
        transport.write(&vec![0; 16 * 1024 * 1024]).unwrap();
        transport.close();
        case.add_reader(&fd, || ()).unwrap();
        case.add_writer(&fd, || ()).unwrap();
        assert!(case.remove_reader(&fd).unwrap() && case.remove_writer(&fd).unwrap());
        assert!(!transport.is_closed());
        transport.abort();
        log.lost().await;
    });
}

/// RW-06: the number of a transport that is gone is free, whoever has it next.
#[test]
fn the_numbers_of_closed_transports_can_be_used_again() {
    on_real(async |case| {
        for paused in [false, true] {
            for _ in 0..3 {
                let (transport, peer) = case.connection(case.recorder()).await;
                if paused {
                    transport.pause_reading();
                } else {
                    transport.close();
                }
                drop((transport, peer));
                case.settle().await;
            }
        }
        let server = case.create_server(|| Delay(Rc::default()), "127.0.0.1:0", server_options()).await.unwrap();
        drop(server);
        let (transport, _peer) = case.connection(case.recorder()).await;
        transport.abort();
    });
}

fn server_options() -> loop_core::ServerOptions {
    loop_core::ServerOptions::default().start_serving(false)
}

/// A reader of a bare socket is replaced when a transport takes the socket over, as in asyncio.
#[test]
fn a_transport_takes_the_place_of_who_watched_its_socket() {
    on_real(async |case| {
        let (one, other) = case.pair().await;
        let calls = Rc::new(Cell::new(0));
        let seen = Rc::clone(&calls);
        case.add_reader(&Number(one.raw_fd().unwrap()), move || seen.set(seen.get() + 1)).unwrap();
        let recorder = case.recorder();
        let log = recorder.log.clone();
        let (transport, _) = case.connect_accepted_socket(|| recorder, one).await.unwrap();
        case.sock_sendall(&other, *b"data").await.unwrap();
        log.received(4).await;
        assert_eq!(calls.get(), 0);
        transport.abort();
    });
}
