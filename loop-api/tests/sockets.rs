//! Operations on bare sockets: rows SOCK of the inventory, what of DNS concerns host names, and the fault DEF-09.

mod net;

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use loop_core::{Address, Error, Socket};
use net::{Case, Flag, on_each, on_real, pattern, poll_once};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::{FdFlags, fcntl_getfd};
use socket2::{Domain, Type};

/// A datagram socket on a free port, and its address.
fn datagrams(case: &Case) -> (Socket, SocketAddr) {
    let socket = case.socket(Domain::IPV4, Type::DGRAM).unwrap();
    socket.bind("127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, addr)
}

/// A port where nobody listens.
fn free_port(case: &Case) -> SocketAddr {
    case.listener().1
}

/// SOCK-01.
#[test]
fn what_is_ready_completes_without_suspending() {
    on_each(async |case| {
        if !case.is_synchronous() {
            return;
        }
        let flag = Arc::new(Flag::default());
        let (one, other) = case.pair().await;
        assert!(poll_once(pin!(case.sock_sendall(&one, *b"abc")), &flag).is_ready());
        let Poll::Ready(received) = poll_once(pin!(case.sock_recv(&other, 10)), &flag) else { panic!("it suspended") };
        assert_eq!(received.unwrap(), b"abc");
        let (listener, addr) = case.listener();
        let _client = case.connect(addr).await;
        assert!(poll_once(pin!(case.sock_accept(&listener)), &flag).is_ready());
        let (letters, to) = datagrams(case);
        assert!(poll_once(pin!(case.sock_sendto(&letters, *b"x", to)), &flag).is_ready());
        assert!(poll_once(pin!(case.sock_recvfrom(&letters, 10)), &flag).is_ready());
        assert!(!flag.is_set());
    });
}

/// SOCK-01: also where sends are gathered, one that has nothing to wait for is made at once.
#[test]
fn a_send_with_nothing_beside_it_completes_without_suspending() {
    on_real(async |case| {
        let flag = Arc::new(Flag::default());
        let (one, other) = case.pair().await;
        assert!(poll_once(pin!(case.sock_sendall(&one, *b"alone")), &flag).is_ready());
        assert_eq!(case.sock_recv(&other, 10).await.unwrap(), b"alone");
        case.call_soon(|| {}).unwrap();
        let mut beside = Box::pin(case.sock_sendall(&one, *b"beside"));
        let is_made = poll_once(beside.as_mut(), &flag).is_ready();
        assert_eq!(is_made, case.is_synchronous(), "a backend that gathers waits for what else is ready");
        if !is_made {
            beside.await.unwrap();
        }
        assert_eq!(case.sock_recv(&other, 10).await.unwrap(), b"beside");
    });
}

/// SOCK-02.
#[test]
fn recv_gives_from_one_to_so_many_bytes_and_none_at_the_end() {
    on_each(async |case| {
        let (one, other) = case.pair().await;
        case.sock_sendall(&one, *b"abcdef").await.unwrap();
        assert_eq!(case.sock_recv(&other, 4).await.unwrap(), b"abcd");
        assert_eq!(case.sock_recv(&other, 4).await.unwrap(), b"ef");
        assert_eq!(case.sock_recv(&other, 0).await.unwrap(), b"", "nothing was asked for");
        drop(one);
        assert_eq!(case.sock_recv(&other, 4).await.unwrap(), b"");
        assert_eq!(case.sock_recv(&other, 4).await.unwrap(), b"", "the end stays the end");
    });
}

/// SOCK-02.
#[test]
fn recv_into_fills_a_buffer_from_its_start_and_leaves_the_rest() {
    on_each(async |case| {
        let (one, other) = case.pair().await;
        case.sock_sendall(&one, *b"abc").await.unwrap();
        let (count, buffer) = case.sock_recv_into(&other, vec![b'-'; 5]).await;
        assert_eq!((count.unwrap(), &buffer[..]), (3, &b"abc--"[..]));
        case.sock_sendall(&one, *b"defgh").await.unwrap();
        let place = buffer.as_ptr();
        let (count, buffer) = case.sock_recv_into(&other, buffer).await;
        assert_eq!((count.unwrap(), &buffer[..]), (5, &b"defgh"[..]));
        assert_eq!(buffer.as_ptr(), place, "the same memory comes back");
        let (count, buffer) = case.sock_recv_into(&other, Vec::new()).await;
        assert_eq!((count.unwrap(), &buffer[..]), (0, &b""[..]));
        drop(one);
        let (count, buffer) = case.sock_recv_into(&other, vec![7; 3]).await;
        assert_eq!((count.unwrap(), &buffer[..]), (0, &[7, 7, 7][..]));
    });
}

/// SOCK-02: the buffer comes back with an error, too.
#[test]
fn recv_into_gives_the_buffer_back_with_an_error() {
    on_each(async |case| {
        let (one, other) = case.pair().await;
        one.set(&loop_core::Control::ResetOnClose).unwrap();
        drop(one);
        let (result, buffer) = case.sock_recv_into(&other, vec![7; 3]).await;
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::ECONNRESET));
        assert_eq!(buffer, [7, 7, 7]);
    });
}

/// SOCK-03, SOCK-05.
#[test]
fn datagrams_come_whole_with_their_senders() {
    on_each(async |case| {
        let ((one, one_addr), (other, other_addr)) = (datagrams(case), datagrams(case));
        assert_eq!(case.sock_sendto(&one, *b"first", other_addr).await.unwrap(), 5);
        assert_eq!(case.sock_sendto(&one, *b"", other_addr).await.unwrap(), 0);
        assert_eq!(case.sock_sendto(&one, *b"truncated", other_addr).await.unwrap(), 9);
        let (data, from) = case.sock_recvfrom(&other, 100).await.unwrap();
        assert_eq!((&data[..], from.and_then(|from| from.as_socket())), (&b"first"[..], Some(one_addr)));
        assert_eq!(case.sock_recvfrom(&other, 100).await.unwrap().0, b"");
        assert_eq!(case.sock_recvfrom(&other, 4).await.unwrap().0, b"trun");
        // And one that has to be waited for.
        let waiting = async { case.sock_recvfrom(&one, 100).await.unwrap().0 };
        let sending = async {
            case.settle().await;
            case.sock_sendto(&other, *b"back", one_addr).await.unwrap();
        };
        let (data, ()) = futures_util::future::join(waiting, sending).await;
        assert_eq!(data, b"back");
    });
}

/// SOCK-04.
#[test]
fn sendall_returns_only_when_all_is_sent() {
    on_each(async |case| {
        let (one, other) = case.pair().await;
        let sent = pattern(32 * 1024 * 1024);
        let done = std::cell::Cell::new(false);
        let sending = async {
            case.sock_sendall(&one, sent.clone()).await.unwrap();
            done.set(true);
        };
        let receiving = async {
            case.settle().await;
            assert!(!done.get(), "so much does not fit into two sockets");
            case.read_exact(&other, sent.len()).await
        };
        let ((), received) = futures_util::future::join(sending, receiving).await;
        assert!(received == sent, "in order and complete");
    });
}

/// SOCK-04.
#[test]
fn sendall_of_nothing_returns_at_once() {
    on_each(async |case| {
        // Not even connected.
        let socket = case.socket(Domain::IPV4, Type::STREAM).unwrap();
        let flag = Arc::new(Flag::default());
        assert!(matches!(poll_once(pin!(case.sock_sendall(&socket, [])), &flag), Poll::Ready(Ok(()))));
    });
}

/// SOCK-04.
#[test]
fn sendall_to_a_peer_that_is_gone_is_an_error() {
    on_each(async |case| {
        let (one, other) = case.pair().await;
        drop(other);
        let error = loop {
            if let Err(error) = case.sock_sendall(&one, *b"anybody?").await {
                break error;
            }
            case.pass().await;
        };
        assert!(matches!(error.raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET)), "{error:?}");
    });
}

/// SOCK-06, DNS-01, DNS-04.
#[test]
fn connect_resolves_a_host_name_for_the_family_of_the_socket() {
    on_real(async |case| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let socket = case.socket(Domain::IPV4, Type::STREAM).unwrap();
        case.sock_connect(&socket, ("localhost", port)).await.unwrap();
        assert_eq!(socket.peer_addr().unwrap().as_socket(), listener.local_addr().ok());
        let addresses = case.resolve(&Address::from(("localhost", port))).await.unwrap();
        assert!(addresses.iter().all(|addr| addr.port() == port && addr.ip().is_loopback()), "{addresses:?}");
    });
}

/// DNS-04: the simulated loops have no executor, so nobody could resolve anything.
#[test]
fn numeric_addresses_ask_nobody() {
    on_each(async |case| {
        let (_listener, addr) = case.listener();
        for address in [Address::from(addr), Address::from(addr.to_string()), Address::from(("127.0.0.1", addr.port()))]
        {
            let socket = case.socket(Domain::IPV4, Type::STREAM).unwrap();
            case.sock_connect(&socket, address).await.unwrap();
        }
        let six = case.resolve(&Address::from("[::1]:80")).await.unwrap();
        assert_eq!(six, ["[::1]:80".parse::<SocketAddr>().unwrap()]);
        if case.backend_name() == "virtual" {
            let refused = case.resolve(&Address::from("localhost:80")).await;
            assert!(matches!(refused, Err(Error::NoExecutor)), "{refused:?}");
        }
    });
}

/// DNS-01, DNS-03, DNS-06.
#[test]
fn a_lookup_may_fail_be_dropped_or_come_too_late() {
    on_real(async |case| {
        // The resolver's own rules: no name has an empty label.
        let failed = case.resolve(&Address::from(("no..such..name", 80))).await;
        assert!(matches!(failed, Err(Error::Io(_))), "{failed:?}");
        let flag = Arc::new(Flag::default());
        let local = Address::from(("localhost", 80));
        assert!(poll_once(pin!(case.resolve(&local)), &flag).is_pending(), "asked in another thread, then let go of");
        let malformed = case.resolve(&Address::from("localhost")).await;
        assert!(matches!(malformed, Err(Error::InvalidArgument(_))), "{malformed:?}");
        case.shutdown_default_executor(None).await.unwrap();
        let late = case.resolve(&local).await;
        assert!(matches!(late, Err(Error::ExecutorShutdown)), "{late:?}");
    });
}

/// SOCK-07.
#[test]
fn a_refused_connect_says_where_and_keeps_its_number() {
    on_each(async |case| {
        let addr = free_port(case);
        let socket = case.socket(Domain::IPV4, Type::STREAM).unwrap();
        let error = case.sock_connect(&socket, addr).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED));
        assert_eq!(error.io_kind(), Some(io::ErrorKind::ConnectionRefused));
        assert!(error.to_string().contains(&addr.to_string()), "{error}");
    });
}

/// SOCK-08.
#[test]
fn accept_gives_a_nonblocking_socket_and_the_address_of_its_peer() {
    on_each(async |case| {
        let (listener, addr) = case.listener();
        let accepting = async { case.sock_accept(&listener).await.unwrap() };
        let connecting = async {
            case.settle().await;
            case.connect(addr).await
        };
        let ((accepted, peer), client) = futures_util::future::join(accepting, connecting).await;
        assert_eq!(peer, client.local_addr().unwrap());
        assert_eq!(accepted.peer_addr().unwrap(), peer);
        assert_eq!(accepted.local_addr().unwrap().as_socket(), Some(addr));
        if case.backend_name() != "virtual" {
            let accepted = accepted.into_fd().unwrap();
            assert!(fcntl_getfl(&accepted).unwrap().contains(OFlags::NONBLOCK));
            assert!(fcntl_getfd(&accepted).unwrap().contains(FdFlags::CLOEXEC));
        }
    });
}

/// SOCK-08: a peer that has given up by the time it is accepted is nobody's error.
#[test]
fn accept_passes_over_a_connection_that_was_reset_meanwhile() {
    on_real(async |case| {
        let (listener, addr) = case.listener();
        let gone = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        gone.connect(&addr.into()).unwrap();
        gone.set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(gone);
        let there = TcpStream::connect(addr).unwrap();
        let (_accepted, peer) = case.sock_accept(&listener).await.unwrap();
        assert_eq!(peer.as_socket(), there.local_addr().ok());
    });
}

/// SOCK-13: a blocking socket cannot get in.
#[test]
fn a_socket_from_elsewhere_is_made_nonblocking_and_comes_back_so() {
    on_real(async |case| {
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(!fcntl_getfl(&ours).unwrap().contains(OFlags::NONBLOCK));
        let socket = case.adopt_socket(ours).unwrap();
        let waiting = case.sock_recv(&socket, 10);
        let sending = async {
            case.settle().await;
            theirs.write_all(b"hello").unwrap();
        };
        let (received, ()) = futures_util::future::join(waiting, sending).await;
        assert_eq!(received.unwrap(), b"hello");
        let number = socket.raw_fd().unwrap();
        let fd = socket.into_fd().unwrap();
        assert_eq!(std::os::fd::AsRawFd::as_raw_fd(&fd), number);
        assert!(fcntl_getfl(&fd).unwrap().contains(OFlags::NONBLOCK));
        // And back again, as another socket.
        let socket = case.adopt_socket(fd).unwrap();
        case.sock_sendall(&socket, *b"bye").await.unwrap();
        drop(socket);
        let mut rest = String::new();
        theirs.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "bye");
    });
}

/// SOCK-10.
#[test]
fn a_wake_up_for_nothing_keeps_waiting() {
    on_real(async |case| {
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut thief = ours.try_clone().unwrap();
        let socket = case.adopt_socket(ours).unwrap();
        let flag = Arc::new(Flag::default());
        let mut waiting = pin!(case.sock_recv(&socket, 10));
        assert!(poll_once(waiting.as_mut(), &flag).is_pending());
        for _ in 0..5 {
            case.settle().await;
            theirs.write_all(b"stolen").unwrap();
            // Before the loop looks; unless it has read it already in its own time, as a completion may.
            let mut bytes = [0; 6];
            if thief.read(&mut bytes).is_err() {
                break;
            }
            assert!(!flag.is_set());
        }
        case.settle().await;
        if !flag.is_set() {
            theirs.write_all(b"ours").unwrap();
        }
        let received = waiting.await.unwrap();
        assert!(received == b"ours" || received == b"stolen");
    });
}

/// SOCK-11, DEF-09: both wait, and both are served, in order.
#[test]
fn a_second_operation_waits_behind_the_first() {
    on_each(async |case| {
        let (one, other) = case.pair().await;
        let received = std::cell::RefCell::new(Vec::new());
        let receive = async |name: &str| {
            let bytes = case.sock_recv(&other, 1).await.unwrap();
            received.borrow_mut().push(format!("{name} {}", bytes[0] as char));
        };
        let sending = async {
            case.settle().await;
            case.sock_sendall(&one, *b"xy").await.unwrap();
        };
        let both = futures_util::future::join(receive("first"), receive("second"));
        futures_util::future::join(both, sending).await;
        assert_eq!(*received.borrow(), ["first x", "second y"]);
    });
}

/// SOCK-11: two senders' bytes do not mix within one operation's worth, and none are lost.
#[test]
fn both_directions_go_on_at_once() {
    on_each(async |case| {
        let (one, other) = case.pair().await;
        let (there, back) = (pattern(700_000), pattern(500_000));
        let exchange = async |socket: &Socket, send: &[u8], expected: usize| {
            let sending = async { case.sock_sendall(socket, send).await.unwrap() };
            futures_util::future::join(sending, case.read_exact(socket, expected)).await.1
        };
        let (got_back, got_there) =
            futures_util::future::join(exchange(&one, &there, back.len()), exchange(&other, &back, there.len())).await;
        assert!(got_back == back && got_there == there);
    });
}

/// SOCK-09.
#[test]
fn a_cancelled_operation_leaves_the_socket_ready_for_the_next() {
    on_each(async |case| {
        let (one, other) = case.pair().await;
        let other = Rc::new(other);
        for round in 0..10_u8 {
            let (lp, socket) = ((**case).clone(), Rc::clone(&other));
            let task = case.create_task(async move { lp.sock_recv(&socket, 10).await }).unwrap();
            case.settle().await;
            task.cancel();
            assert!(task.await.unwrap_err().is_cancelled());
            // At once, in the same pass.
            let receiving = case.sock_recv(&other, 10);
            let sending = async { case.sock_sendall(&one, [round]).await.unwrap() };
            let (received, ()) = futures_util::future::join(receiving, sending).await;
            assert_eq!(received.unwrap(), [round]);
        }
    });
}

/// Bytes that were received for a future that was dropped before it saw them are the next receive's.
#[test]
fn a_receive_dropped_after_its_completion_loses_nothing() {
    on_each(async |case| {
        let (one, other) = case.pair().await;
        let flag = Arc::new(Flag::default());
        {
            let mut first = pin!(case.sock_recv(&other, 100));
            assert!(poll_once(first.as_mut(), &flag).is_pending());
            case.sock_sendall(&one, *b"kept").await.unwrap();
            case.until(|| flag.is_set()).await;
        }
        case.sock_sendall(&one, *b" and more").await.unwrap();
        assert_eq!(case.sock_recv(&other, 2).await.unwrap(), b"ke");
        let (count, buffer) = case.sock_recv_into(&other, vec![0; 5]).await;
        assert_eq!((count.unwrap(), &buffer[..2]), (2, &b"pt"[..]));
        assert_eq!(case.read_exact(&other, 9).await, b" and more");
    });
}

/// As before, dropped between the completion's arrival and its delivery: the next receive must not overtake the bytes.
#[test]
fn a_receive_dropped_while_its_completion_waits_loses_and_reorders_nothing() {
    on_each(async |case| {
        for early in 0..4 {
            let (one, other) = case.pair().await;
            let flag = Arc::new(Flag::default());
            let mut expected = Vec::new();
            let mut received = Vec::new();
            for round in 0..50_u8 {
                let mut waiting = Box::pin(case.sock_recv(&other, 100));
                let at_once = poll_once(waiting.as_mut(), &flag);
                case.sock_sendall(&one, [round, round]).await.unwrap();
                expected.extend([round, round]);
                for _ in 0..early {
                    case.overtake().await;
                }
                drop(waiting);
                if let Poll::Ready(bytes) = at_once {
                    received.extend(bytes.unwrap());
                }
                // The next one starts in the same breath, while the first may not have landed.
                received.extend(case.sock_recv(&other, 1).await.unwrap());
            }
            received.extend(case.read_exact(&other, expected.len() - received.len()).await);
            assert_eq!(received, expected, "after {early} passes each");
        }
    });
}

/// A connection that was accepted for a future that was dropped before it saw it is closed.
#[test]
fn an_accept_dropped_after_its_completion_closes_the_connection() {
    on_each(async |case| {
        let (listener, addr) = case.listener();
        let flag = Arc::new(Flag::default());
        let client = {
            let mut accepting = pin!(case.sock_accept(&listener));
            assert!(poll_once(accepting.as_mut(), &flag).is_pending());
            let client = case.connect(addr).await;
            case.until(|| flag.is_set()).await;
            client
        };
        assert_eq!(case.sock_recv(&client, 1).await.unwrap(), b"");
        // The listener goes on.
        let second = case.connect(addr).await;
        let (_accepted, peer) = case.sock_accept(&listener).await.unwrap();
        assert_eq!(peer, second.local_addr().unwrap());
    });
}

/// An accept dropped while it waits takes nothing away.
#[test]
fn an_accept_dropped_while_it_waits_leaves_the_connection_to_the_next() {
    on_each(async |case| {
        let (listener, addr) = case.listener();
        for _ in 0..10 {
            let flag = Arc::new(Flag::default());
            assert!(poll_once(pin!(case.sock_accept(&listener)), &flag).is_pending());
            case.settle().await;
            let client = case.connect(addr).await;
            let (_accepted, peer) = case.sock_accept(&listener).await.unwrap();
            assert_eq!(peer, client.local_addr().unwrap());
        }
    });
}

/// A connect dropped on the way leaves a socket that can be let go of.
#[test]
fn a_connect_dropped_on_the_way_is_taken_back() {
    on_each(async |case| {
        let (listener, addr) = case.listener();
        for _ in 0..10 {
            let socket = case.socket(Domain::IPV4, Type::STREAM).unwrap();
            let flag = Arc::new(Flag::default());
            let _ = poll_once(pin!(case.sock_connect(&socket, addr)), &flag);
            drop(socket);
        }
        let client = case.connect(addr).await;
        loop {
            let (_accepted, peer) = case.sock_accept(&listener).await.unwrap();
            if peer == client.local_addr().unwrap() {
                break;
            }
        }
    });
}

/// What a dropped receive has left goes to the protocol of a connection made of the socket, first.
#[test]
fn bytes_left_by_a_receive_are_the_first_of_a_connection() {
    on_each(async |case| {
        let (one, other) = case.pair().await;
        let flag = Arc::new(Flag::default());
        {
            let mut first = pin!(case.sock_recv(&other, 100));
            assert!(poll_once(first.as_mut(), &flag).is_pending());
            case.sock_sendall(&one, *b"left").await.unwrap();
            case.until(|| flag.is_set()).await;
        }
        case.sock_sendall(&one, *b" behind").await.unwrap();
        let recorder = case.recorder();
        let log = recorder.log.clone();
        let (transport, _) = case.connect_accepted_socket(|| recorder, other).await.unwrap();
        log.received(11).await;
        assert_eq!(log.bytes(), b"left behind");
        transport.abort();
    });
}

/// They cannot go with the bare descriptor, which is refused rather than losing them in silence.
#[test]
fn a_socket_with_bytes_left_cannot_be_taken_out() {
    on_real(async |case| {
        let (one, other) = case.pair().await;
        let flag = Arc::new(Flag::default());
        {
            let mut first = pin!(case.sock_recv(&other, 100));
            assert!(poll_once(first.as_mut(), &flag).is_pending());
            case.sock_sendall(&one, *b"left").await.unwrap();
            case.until(|| flag.is_set()).await;
        }
        let refused = other.into_fd().unwrap_err();
        assert_eq!(refused.io_kind(), Some(io::ErrorKind::ResourceBusy));
    });
}

/// An operation on a socket of another loop, or of a closed one.
#[test]
fn sockets_stay_with_their_loop() {
    on_each(async |case| {
        let stranger = loop_api::new_event_loop().unwrap();
        let socket = stranger.socket(Domain::IPV4, Type::STREAM).unwrap();
        let addr: SocketAddr = "127.0.0.1:1".parse().unwrap();
        assert!(matches!(case.sock_recv(&socket, 1).await, Err(Error::WrongLoop)));
        assert!(
            matches!(case.sock_recv_into(&socket, vec![0]).await, (Err(Error::WrongLoop), buffer) if buffer == [0])
        );
        assert!(matches!(case.sock_sendall(&socket, [0]).await, Err(Error::WrongLoop)));
        assert!(matches!(case.sock_connect(&socket, addr).await, Err(Error::WrongLoop)));
        assert!(matches!(case.sock_accept(&socket).await, Err(Error::WrongLoop)));
        assert!(matches!(case.sock_recvfrom(&socket, 1).await, Err(Error::WrongLoop)));
        assert!(matches!(case.sock_sendto(&socket, [0], addr).await, Err(Error::WrongLoop)));
        stranger.close().unwrap();
        let flag = Arc::new(Flag::default());
        let closed = poll_once(pin!(stranger.sock_recv(&socket, 1)), &flag);
        assert!(matches!(closed, Poll::Ready(Err(Error::Closed))));
        assert!(matches!(stranger.socket(Domain::IPV4, Type::STREAM), Err(Error::Closed)));
        assert_eq!(socket.local_addr().unwrap_err().io_kind(), Some(io::ErrorKind::NotConnected));
        assert_eq!(socket.raw_fd(), None);
    });
}

/// Futures of operations outlive their loop: they stay pending, and nothing breaks when they go.
#[test]
fn operations_in_flight_outlive_their_loop() {
    let lp = loop_api::new_event_loop().unwrap();
    let (one, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let socket = lp.adopt_socket(one).unwrap();
    let flag = Arc::new(Flag::default());
    let mut waiting = pin!(lp.sock_recv(&socket, 10));
    assert!(poll_once(waiting.as_mut(), &flag).is_pending());
    lp.close().unwrap();
    assert!(poll_once(waiting.as_mut(), &flag).is_pending());
    assert!(!flag.is_set());
}
