//! Servers: rows SRV of the inventory, and the faults DEF-06 and DEF-07. (Running out of descriptors has a program of
//! its own, `servers_emfile`.)

mod net;

use std::cell::{Cell, RefCell};
use std::io::{self, Read as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use loop_core::{Address, Control, Error, Protocol, Server, ServerOptions, TaskError, Transport};
use net::{Call, Case, Flag, Log, on_each, on_real, pattern, poll_once};
use socket2::{Domain, SockRef, Type};

/// Logs of the protocols that a server made.
type Logs = Rc<RefCell<Vec<Log>>>;

/// A server whose protocols record.
async fn recording(case: &Case) -> (Server, SocketAddr, Logs) {
    let logs: Logs = Rc::default();
    let made = Rc::clone(&logs);
    let template = case.factory();
    let (server, addr) = case
        .serve(move || {
            let recorder = template();
            made.borrow_mut().push(recorder.log.clone());
            recorder
        })
        .await;
    (server, addr, logs)
}

/// Whether a connection is taken: refused, or connected and served.
async fn is_refused(case: &Case, addr: SocketAddr) -> bool {
    let socket = case.socket(Domain::IPV4, Type::STREAM).unwrap();
    match case.sock_connect(&socket, addr).await {
        Ok(()) => false,
        Err(error) => {
            assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED));
            true
        }
    }
}

struct Quiet;

impl Protocol for Quiet {}

// ---- binding ---------------------------------------------------------------------------------------------------

/// SRV-01, SRV-15.
#[test]
fn a_server_listens_when_it_is_told_to() {
    on_each(async |case| {
        let (server, addr, logs) = recording(case).await;
        assert!(server.is_serving());
        let client = case.connect(addr).await;
        case.until(|| logs.borrow().len() == 1).await;
        drop(client);
        server.close();

        let options = ServerOptions::default().start_serving(false);
        let server = case.create_server(|| Quiet, "127.0.0.1:0", options).await.unwrap();
        let addr = server.local_addr().unwrap();
        assert!(!server.is_serving());
        assert!(is_refused(case, addr).await, "bound, but not listening");
        let before = case.passes();
        server.start_serving().await.unwrap();
        assert!(case.passes() > before, "it gives up a pass");
        server.start_serving().await.unwrap();
        assert!(server.is_serving() && !is_refused(case, addr).await);
        server.close();
        server.wait_closed().await;
    });
}

/// SRV-02.
#[test]
fn nothing_to_bind_and_sockets_that_are_no_streams_are_refused() {
    on_each(async |case| {
        let none: Vec<Address> = Vec::new();
        let refused = case.create_server(|| Quiet, none, ServerOptions::default()).await;
        assert!(matches!(refused, Err(Error::InvalidArgument(_))), "{refused:?}");
        let socket = case.socket(Domain::IPV4, Type::DGRAM).unwrap();
        let refused = case.create_server(|| Quiet, socket, ServerOptions::default()).await;
        assert!(matches!(refused, Err(Error::InvalidArgument(_))), "{refused:?}");
        let refused = case.create_server(|| Quiet, "nothing", ServerOptions::default()).await;
        assert!(matches!(refused, Err(Error::InvalidArgument(_))), "{refused:?}");
        let stranger = loop_api::new_event_loop().unwrap();
        let socket = stranger.socket(Domain::IPV4, Type::STREAM).unwrap();
        let refused = case.create_server(|| Quiet, socket, ServerOptions::default()).await;
        assert!(matches!(refused, Err(Error::WrongLoop)), "{refused:?}");
        stranger.close().unwrap();
    });
}

/// SRV-02: a socket that is bound already.
#[test]
fn a_bound_socket_is_served() {
    on_each(async |case| {
        let socket = case.socket(Domain::IPV4, Type::STREAM).unwrap();
        socket.bind("127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
        let addr = socket.local_addr().unwrap().as_socket().unwrap();
        let server = case.create_server(|| Quiet, socket, ServerOptions::default()).await.unwrap();
        assert_eq!(server.local_addr(), Some(addr));
        assert!(!is_refused(case, addr).await);
        server.close();
        server.wait_closed().await;
    });
}

/// SRV-03.
#[test]
fn an_empty_host_means_all_interfaces_of_both_families() {
    on_real(async |case| {
        for bind_to in [Address::from(":0"), Address::from(("", 0))] {
            let server = case.create_server(|| Quiet, bind_to, ServerOptions::default()).await.unwrap();
            let addrs: Vec<SocketAddr> = server.local_addrs().iter().filter_map(|addr| addr.as_socket()).collect();
            assert_eq!(addrs.len(), 2);
            assert!(addrs.iter().all(|addr| addr.ip().is_unspecified()));
            let (four, six) = (addrs.iter().find(|addr| addr.is_ipv4()), addrs.iter().find(|addr| addr.is_ipv6()));
            let (four, six) = (four.unwrap().port(), six.unwrap().port());
            TcpStream::connect(("127.0.0.1", four)).unwrap();
            TcpStream::connect(("::1", six)).unwrap();
            server.close();
        }
        // The same port for both works, as the socket for IPv6 leaves IPv4 alone. Any one port may be somebody else's by
        // now, but not each of many.
        let mut last = None;
        for _ in 0..50 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            match case.create_server(|| Quiet, ("", port), ServerOptions::default()).await {
                Ok(server) => {
                    assert_eq!(server.local_addrs().len(), 2);
                    server.close();
                    return;
                }
                Err(error) => last = Some(error),
            }
        }
        panic!("no port for both: {last:?}");
    });
}

/// SRV-04.
#[test]
fn equal_addresses_are_bound_once() {
    on_each(async |case| {
        let port = case.listener().1.port();
        let hosts = [("127.0.0.1", port), ("127.0.0.2", port), ("127.0.0.1", port)].map(Address::from);
        let server = case.create_server(|| Quiet, hosts.to_vec(), ServerOptions::default()).await.unwrap();
        let mut ips: Vec<_> = server.local_addrs().iter().map(|addr| addr.as_socket().unwrap().ip()).collect();
        ips.sort();
        assert_eq!(ips, ["127.0.0.1", "127.0.0.2"].map(|ip| ip.parse::<std::net::IpAddr>().unwrap()));
        for ip in ips {
            assert!(!is_refused(case, SocketAddr::new(ip, port)).await);
        }
        server.close();
        server.wait_closed().await;
    });
}

/// SRV-05.
#[test]
fn address_options_are_set_as_asked() {
    on_real(async |case| {
        // A connection in TIME_WAIT on the port: without SO_REUSEADDR it could not be bound again.
        let (server, addr) = case.serve(|| Quiet).await;
        let mut client = TcpStream::connect(addr).unwrap();
        case.until(|| server.connection_count() == 1).await;
        server.close();
        server.close_clients();
        server.wait_closed().await;
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        drop(client);
        let again = case.create_server(|| Quiet, addr, ServerOptions::default()).await.unwrap();
        again.close();

        let both = ServerOptions::default().reuse_port(true);
        let one = case.create_server(|| Quiet, "127.0.0.1:0", both.clone()).await.unwrap();
        let two = case.create_server(|| Quiet, one.local_addr().unwrap(), both).await.unwrap();
        assert_eq!(one.local_addr(), two.local_addr());
        one.close();
        two.close();

        // What is accepted takes the option over, which tells that it was set.
        for keep_alive in [false, true] {
            let seen = Rc::new(Cell::new(None));
            let tell = Rc::clone(&seen);
            let options = ServerOptions::default().keep_alive(keep_alive);
            let factory = move || Tells(Rc::clone(&tell));
            let server = case.create_server(factory, "127.0.0.1:0", options).await.unwrap();
            let _client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
            case.until(|| seen.get().is_some()).await;
            assert_eq!(seen.get(), Some(keep_alive));
            server.close();
            server.abort_clients();
        }
    });
}

/// Tells of SO_KEEPALIVE.
struct Tells(Rc<Cell<Option<bool>>>);

impl Protocol for Tells {
    fn connection_made(&mut self, transport: &Transport) {
        let number = transport.raw_fd().unwrap();
        // SAFETY: the transport is open for the length of this call.
        let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
        self.0.set(Some(SockRef::from(&fd.as_fd()).keepalive().unwrap()));
    }
}

/// SRV-06: a port in use.
#[test]
fn a_port_in_use_is_an_error_that_names_it_and_closes_what_was_bound() {
    on_each(async |case| {
        let (_listener, taken) = case.listener();
        let free = case.listener().1;
        let error = case.create_server(|| Quiet, vec![free, taken], ServerOptions::default()).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EADDRINUSE));
        assert!(error.to_string().contains(&taken.to_string()), "{error}");
        // The first one was bound, and is free again.
        let server = case.create_server(|| Quiet, free, ServerOptions::default()).await.unwrap();
        assert_eq!(server.local_addr(), Some(free));
        server.close();
    });
}

/// SRV-06: two sockets may be bound to a port as long as neither listens; the second to listen fails.
#[test]
fn a_port_taken_between_binding_and_listening_is_an_error_that_names_it() {
    on_real(async |case| {
        let options = ServerOptions::default().start_serving(false);
        let one = case.create_server(|| Quiet, "127.0.0.1:0", options.clone()).await.unwrap();
        let addr = one.local_addr().unwrap();
        let two = case.create_server(|| Quiet, addr, options).await.unwrap();
        one.start_serving().await.unwrap();
        let error = two.start_serving().await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EADDRINUSE));
        assert!(error.to_string().contains(&addr.to_string()), "{error}");
        assert!(!two.is_serving(), "it may try again");
        one.close();
        two.start_serving().await.unwrap();
        assert!(two.is_serving());
        two.close();
    });
}

/// SRV-06.
#[test]
fn an_address_that_is_not_ours_is_passed_over_unless_it_is_the_only_one() {
    on_real(async |case| {
        // TEST-NET-1: documentation only, nobody's.
        let foreign: SocketAddr = "192.0.2.1:0".parse().unwrap();
        let ours: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let server = case.create_server(|| Quiet, vec![foreign, ours], ServerOptions::default()).await.unwrap();
        assert_eq!(server.local_addrs().len(), 1);
        server.close();
        let error = case.create_server(|| Quiet, foreign, ServerOptions::default()).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL));
        assert!(error.to_string().contains("could not bind on any address"), "{error}");
        assert!(error.to_string().contains(&foreign.to_string()), "{error}");
    });
}

/// SRV-20, SRV-12.
#[test]
fn a_server_knows_its_loop_and_its_addresses_until_it_is_closed() {
    on_each(async |case| {
        let (server, addr, _logs) = recording(case).await;
        assert!(server.get_loop().is_same(case));
        assert_eq!(server.local_addrs().len(), 1);
        assert_eq!(server.local_addr(), Some(addr));
        server.close();
        server.close();
        assert!(server.local_addrs().is_empty() && server.local_addr().is_none() && !server.is_serving());
    });
}

/// RW-06, for listening sockets.
#[test]
fn letting_go_of_a_server_does_not_end_it() {
    on_each(async |case| {
        let (server, addr, logs) = recording(case).await;
        drop(server);
        let client = case.connect(addr).await;
        case.until(|| logs.borrow().len() == 1).await;
        drop(client);
        let log = logs.borrow()[0].clone();
        log.lost().await;
        assert!(!is_refused(case, addr).await);
    });
}

/// One that never served is nobody's, and closes its sockets.
#[test]
fn letting_go_of_a_server_that_never_served_frees_its_address() {
    on_each(async |case| {
        let options = ServerOptions::default().start_serving(false);
        let server = case.create_server(|| Quiet, "127.0.0.1:0", options).await.unwrap();
        let addr = server.local_addr().unwrap();
        drop(server);
        let options = ServerOptions::default().reuse_address(false);
        let again = case.create_server(|| Quiet, addr, options).await.unwrap();
        again.close();
    });
}

// ---- connections -----------------------------------------------------------------------------------------------

/// SRV-07.
#[test]
fn a_burst_of_connections_gets_a_protocol_each() {
    on_each(async |case| {
        let (server, addr, logs) = recording(case).await;
        let mut clients = Vec::new();
        for client in 0..60_u8 {
            let socket = case.connect(addr).await;
            case.sock_sendall(&socket, [client]).await.unwrap();
            clients.push(socket);
        }
        case.until(|| logs.borrow().len() == 60).await;
        assert_eq!(server.connection_count(), 60);
        let logs = logs.borrow().clone();
        for log in &logs {
            log.received(1).await;
        }
        let mut bytes: Vec<u8> = logs.iter().flat_map(Log::bytes).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..60).collect::<Vec<u8>>());
        drop(clients);
        server.close();
        server.wait_closed().await;
        assert!(logs.iter().all(|log| log.events() == [Call::Made, Call::Eof, Call::Lost(None)]));
    });
}

/// SRV-08: a peer that gives up before it is accepted is nobody's error.
#[test]
fn connections_reset_before_they_are_accepted_do_no_harm() {
    on_real(async |case| {
        let (server, addr, logs) = recording(case).await;
        for _ in 0..10 {
            let gone = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            gone.connect(&addr.into()).unwrap();
            gone.set_linger(Some(std::time::Duration::ZERO)).unwrap();
        }
        let client = TcpStream::connect(addr).unwrap();
        case.until(|| logs.borrow().iter().any(|log| log.calls() == [Call::Made])).await;
        drop(client);
        server.close();
        server.wait_closed().await;
        for log in &*logs.borrow() {
            let calls = log.events();
            assert!(
                matches!(
                    calls[..],
                    [Call::Made, Call::Lost(Some(io::ErrorKind::ConnectionReset))]
                        | [Call::Made, Call::Eof, Call::Lost(None)]
                ),
                "{calls:?}"
            );
        }
    });
}

/// SRV-11, DEF-07.
#[test]
fn a_factory_that_fails_costs_its_connection_and_nothing_else() {
    on_each(async |case| {
        for debug in [false, true] {
            case.set_debug(debug);
            let calls = Cell::new(0);
            let made = case.factory();
            let (server, addr) = case
                .serve(move || {
                    calls.set(calls.get() + 1);
                    assert!(calls.get() % 2 == 0, "the factory fails");
                    made()
                })
                .await;
            for round in 0..6 {
                let client = case.connect(addr).await;
                if round % 2 == 0 {
                    assert_eq!(case.read_to_end(&client).await, b"", "closed");
                } else {
                    case.until(|| server.connection_count() == 1).await;
                    drop(client);
                    case.until(|| server.connection_count() == 0).await;
                }
            }
            let reports = case.take_reports();
            assert_eq!(reports.len(), if debug { 3 } else { 0 }, "only in debug mode: {reports:?}");
            assert!(reports.iter().all(|report| report.panic.as_deref() == Some("the factory fails")));
            server.close();
            server.wait_closed().await;
        }
    });
}

/// I2: a factory is called with nothing borrowed.
#[test]
fn a_factory_may_close_its_server() {
    on_each(async |case| {
        let own: Rc<RefCell<Option<Server>>> = Rc::default();
        let handle = Rc::clone(&own);
        let made = case.factory();
        let (server, addr) = case
            .serve(move || {
                let server = handle.take().expect("called once");
                server.close();
                server.close_clients();
                made()
            })
            .await;
        own.replace(Some(server.clone()));
        // All in one pass, before the first is accepted.
        let connect = async || {
            let socket = case.socket(Domain::IPV4, Type::STREAM).unwrap();
            case.sock_connect(&socket, addr).await.map(|()| socket)
        };
        let (served, two, three) = futures_util::future::join3(connect(), connect(), connect()).await;
        case.until(|| !server.is_serving()).await;
        // The first is served; the others are ended, by whoever has them.
        let served = served.unwrap();
        case.sock_sendall(&served, *b"hello").await.unwrap();
        for client in [two, three] {
            let result = match client {
                Ok(client) => case.sock_recv(&client, 1).await,
                Err(error) => Err(error),
            };
            let is_reset = |error: &Error| error.raw_os_error() == Some(libc::ECONNRESET);
            assert!(result.as_ref().map_or_else(is_reset, Vec::is_empty), "{result:?}");
        }
        assert_eq!(server.connection_count(), 1);
        server.abort_clients();
        server.wait_closed().await;
    });
}

// ---- closing ---------------------------------------------------------------------------------------------------

/// SRV-12.
#[test]
fn close_stops_listening_at_once_and_leaves_connections_alone() {
    on_each(async |case| {
        let (server, addr, logs) = recording(case).await;
        let client = case.connect(addr).await;
        case.until(|| logs.borrow().len() == 1).await;
        server.close();
        assert!(is_refused(case, addr).await);
        case.sock_sendall(&client, *b"still here").await.unwrap();
        let log = logs.borrow()[0].clone();
        log.received(10).await;
        assert_eq!(server.connection_count(), 1);
        drop(client);
        server.wait_closed().await;
        assert_eq!(server.connection_count(), 0);
    });
}

/// SRV-12: closed while connections wait to be accepted, or are accepted already and wait for their turn.
#[test]
fn connections_that_nobody_took_end_with_the_server() {
    on_each(async |case| {
        for passes in 0..4 {
            let (server, addr, logs) = recording(case).await;
            let mut clients = Vec::new();
            for _ in 0..5 {
                clients.push(case.connect(addr).await);
            }
            for _ in 0..passes {
                case.overtake().await;
            }
            server.close();
            server.abort_clients();
            for client in &clients {
                let end = case.sock_recv(client, 1).await;
                assert!(
                    end.as_ref().is_ok_and(Vec::is_empty)
                        || end.is_err_and(|error| error.raw_os_error() == Some(libc::ECONNRESET))
                );
            }
            server.wait_closed().await;
            let taken = logs.borrow().len();
            case.settle().await;
            assert_eq!(logs.borrow().len(), taken, "nobody is served any more");
        }
    });
}

/// SRV-13: in either order, and whether anybody waits or not.
#[test]
fn wait_closed_waits_for_the_close_and_for_every_connection() {
    on_each(async |case| {
        for close_first in [false, true] {
            let (server, addr, logs) = recording(case).await;
            let client = case.connect(addr).await;
            case.until(|| logs.borrow().len() == 1).await;
            let waiters: Vec<_> = (0..3)
                .map(|_| {
                    let server = server.clone();
                    case.create_task(async move { server.wait_closed().await }).unwrap()
                })
                .collect();
            // One that does not wait to the end.
            let flag = Arc::new(Flag::default());
            assert!(poll_once(pin!(server.wait_closed()), &flag).is_pending());
            case.settle().await;
            let mut client = Some(client);
            if close_first {
                server.close();
            } else {
                client.take();
                let log = logs.borrow()[0].clone();
                log.lost().await;
            }
            case.settle().await;
            assert!(waiters.iter().all(|waiter| !waiter.done()), "one of two is not enough");
            if close_first {
                client.take();
            } else {
                server.close();
            }
            for waiter in waiters {
                waiter.await.unwrap();
            }
            // From now on at once.
            assert!(poll_once(pin!(server.wait_closed()), &flag).is_ready());
        }
    });
}

/// SRV-14.
#[test]
fn clients_are_closed_gracefully_or_at_once() {
    on_each(async |case| {
        for graceful in [true, false] {
            let (server, addr, logs) = recording(case).await;
            let clients = [case.connect(addr).await, case.connect(addr).await];
            case.until(|| server.connection_count() == 2).await;
            let sent = pattern(16 * 1024 * 1024);
            for transport in server.transports() {
                transport.write(&sent).unwrap();
            }
            if graceful {
                server.close_clients()
            } else {
                server.abort_clients()
            }
            assert!(server.is_serving(), "the server goes on");
            for client in &clients {
                let received = case.read_to_end(client).await;
                assert_eq!(received.len() == sent.len(), graceful);
                assert!(sent.starts_with(&received));
            }
            case.until(|| server.connection_count() == 0).await;
            for log in &*logs.borrow() {
                assert_eq!(log.calls().last(), Some(&Call::Lost(None)));
            }
            assert!(!is_refused(case, addr).await);
            server.close();
            server.abort_clients();
            server.wait_closed().await;
        }
    });
}

/// SRV-16, SRV-17, DEF-06.
#[test]
fn a_closed_server_does_not_start_again() {
    on_each(async |case| {
        let (server, _, _logs) = recording(case).await;
        server.close();
        assert!(matches!(server.start_serving().await, Err(Error::ServerClosed)));
        assert!(!server.is_serving());
        assert!(matches!(server.serve_forever().await, Err(Error::ServerClosed)));
        assert!(!server.is_serving());
    });
}

/// SRV-17.
#[test]
fn only_one_serves_forever() {
    on_each(async |case| {
        let (server, _, _logs) = recording(case).await;
        let first = server.clone();
        let task = case.create_task(async move { first.serve_forever().await }).unwrap();
        case.settle().await;
        assert!(matches!(server.serve_forever().await, Err(Error::AlreadyServing)));
        assert!(server.is_serving() && !task.done());
        // SRV-18: close cancels it.
        server.close();
        let ended = task.await.unwrap();
        assert!(matches!(ended, Err(Error::Task(TaskError::Cancelled(_)))), "{ended:?}");
    });
}

/// SRV-18.
#[test]
fn serve_forever_cancelled_closes_waits_and_passes_the_cancellation_on() {
    on_each(async |case| {
        let options = ServerOptions::default().start_serving(false);
        let server = case.create_server(|| Quiet, "127.0.0.1:0", options).await.unwrap();
        let addr = server.local_addr().unwrap();
        let serving = server.clone();
        let task = case.create_task(async move { serving.serve_forever().await }).unwrap();
        case.until(|| server.is_serving()).await;
        let client = case.connect(addr).await;
        case.until(|| server.connection_count() == 1).await;
        task.cancel();
        case.settle().await;
        assert!(!server.is_serving() && is_refused(case, addr).await, "closed");
        assert!(!task.done(), "it waits for its connections");
        drop(client);
        assert!(task.await.unwrap_err().is_cancelled());
    });
}

/// SRV-18: dropped rather than cancelled, it cannot wait, but it closes, and nothing stays behind.
#[test]
fn serve_forever_dropped_closes_the_server() {
    on_each(async |case| {
        let (server, addr, _logs) = recording(case).await;
        let flag = Arc::new(Flag::default());
        assert!(poll_once(pin!(server.serve_forever()), &flag).is_pending());
        assert!(!server.is_serving() && is_refused(case, addr).await);
        assert!(matches!(server.serve_forever().await, Err(Error::ServerClosed)));
    });
}

/// SRV-19.
#[test]
fn a_scope_closes_and_waits_on_the_way_out() {
    on_each(async |case| {
        let (server, addr, _logs) = recording(case).await;
        let result = server
            .scope(async {
                let client = case.connect(addr).await;
                case.until(|| server.connection_count() == 1).await;
                drop(client);
                "done"
            })
            .await;
        assert_eq!(result, "done");
        assert!(!server.is_serving());
        assert_eq!(server.connection_count(), 0);
        server.wait_closed().await;

        // Cancelled in the middle, it does the same.
        let (server, _, _logs) = recording(case).await;
        let inside = server.clone();
        let task = case.create_task(async move { inside.scope(std::future::pending::<()>()).await }).unwrap();
        case.settle().await;
        assert!(server.is_serving());
        task.cancel();
        assert!(task.await.unwrap_err().is_cancelled());
        assert!(!server.is_serving());
    });
}

/// A loop that closes ends its servers, and lets go of what their factories hold.
#[test]
fn a_closed_loop_keeps_no_server_alive() {
    let lp = loop_api::new_event_loop().unwrap();
    let alive = Rc::new(());
    let own: Rc<RefCell<Option<Server>>> = Rc::default();
    let (held, handle) = (Rc::clone(&alive), Rc::clone(&own));
    let factory = move || {
        // A factory that holds its server keeps both, as long as the loop is there to end them.
        let _ = (&held, &handle);
        Quiet
    };
    let server = lp.run_until_complete(lp.create_server(factory, "127.0.0.1:0", ServerOptions::default()));
    let server = server.unwrap().unwrap();
    let addr = server.local_addr().unwrap();
    own.replace(Some(server.clone()));
    let client = TcpStream::connect(addr).unwrap();
    lp.run_until_complete(async {
        while server.connection_count() == 0 {
            lp.sleep_until(std::time::Duration::ZERO).await;
        }
    })
    .unwrap();
    lp.close().unwrap();
    assert!(!server.is_serving() && server.local_addrs().is_empty());
    server.close();
    server.close_clients();
    drop((client, server, lp));
    own.take();
    assert_eq!(Rc::strong_count(&alive), 1);
}

/// The server's part of `Control`: what is asked of accepted connections.
#[test]
fn accepted_connections_can_be_asked() {
    on_each(async |case| {
        let (server, addr, _logs) = recording(case).await;
        let client = case.connect(addr).await;
        case.until(|| server.connection_count() == 1).await;
        let transport = server.transports().remove(0);
        assert_eq!(transport.peername(), client.local_addr().ok());
        assert_eq!(transport.sockname().and_then(|name| name.as_socket()), Some(addr));
        assert!(transport.control(&Control::Type).is_ok());
        server.close();
        server.abort_clients();
        server.wait_closed().await;
    });
}
