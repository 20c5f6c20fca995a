//! Binding, listening, connecting, and what a socket says of itself.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};

use socket2::{Domain, SockAddr, Type};

use super::{Make, assert_cancelled, harness, settle};
use crate::control::{Control, Reply};
use crate::op::{Op, Outcome};
use crate::testing::harness::loopback;

pub(super) fn both_ends_know_both_addresses(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (client, server) = h.tcp_pair();
    assert_ne!(client, server);
    assert_eq!(h.local_addr(client), h.peer_addr(server));
    assert_eq!(h.local_addr(server), h.peer_addr(client));
    assert_ne!(h.local_addr(client), h.local_addr(server));
}

pub(super) fn a_connection_waits_in_the_backlog(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (listener, addr) = h.listener(8);
    let clients = [h.connect(&addr), h.connect(&addr), h.connect(&addr)];
    h.send_all(clients[0], b"before it is accepted");
    for client in clients {
        let (result, _) = h.run(Op::Accept { fd: listener });
        let Ok(Outcome::Accepted(server)) = result else { panic!("accept came to {result:?}") };
        assert_eq!(h.peer_addr(server), h.local_addr(client), "in the order of the connections");
        if client == clients[0] {
            assert_eq!(h.recv_exact(server, 21), b"before it is accepted");
        }
    }
}

pub(super) fn a_connection_is_refused_where_nobody_listens(make: &mut Make<'_>) {
    let mut h = harness(make);
    // Bound and not listening: nobody else can listen there meanwhile.
    let bound = h.stream();
    h.control(bound, &Control::Bind(&loopback()));
    let addr = h.local_addr(bound);
    for _ in 0..3 {
        let fd = h.stream();
        let (result, op) = h.run(Op::Connect { fd, addr: Box::new(addr.clone()) });
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert!(matches!(op, Op::Connect { .. }), "the operation comes back");
        h.close(fd);
    }
}

pub(super) fn a_full_backlog_makes_connect_wait(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (listener, addr) = h.listener(0);
    let first = h.connect(&addr);
    let late = h.stream();
    let waiting = h.start(Op::Connect { fd: late, addr: Box::new(addr) });
    assert!(settle(&mut h, waiting).is_none(), "a backlog of nothing holds one connection, and no second");
    // The waiting connection is made in the end on some systems after a second; cancelled, it ends at once.
    h.cancel(waiting);
    assert_cancelled(&h.run_until(waiting).0);
    let (result, _) = h.run(Op::Accept { fd: listener });
    let Ok(Outcome::Accepted(server)) = result else { panic!("accept came to {result:?}") };
    assert_eq!(h.peer_addr(server), h.local_addr(first));
}

pub(super) fn ipv6_works_alike(make: &mut Make<'_>) {
    let mut h = harness(make);
    let any: SockAddr = SocketAddr::from((Ipv6Addr::LOCALHOST, 0)).into();
    let Ok(listener) = h.backend().open(Domain::IPV6, Type::STREAM, None) else { return };
    h.control(listener, &Control::OnlyV6(true));
    if h.backend().control(listener, &Control::Bind(&any)).is_err() {
        // A machine without IPv6; a simulated one always has it.
        assert!(!h.backend().capabilities().virtual_time);
        return;
    }
    h.control(listener, &Control::Listen(1));
    let addr = h.local_addr(listener);
    let client = h.backend().open(Domain::IPV6, Type::STREAM, None).expect("open");
    let accept = h.start(Op::Accept { fd: listener });
    let (result, _) = h.run(Op::Connect { fd: client, addr: Box::new(addr.clone()) });
    assert!(matches!(result, Ok(Outcome::Done)), "connect came to {result:?}");
    let (result, _) = h.run_until(accept);
    let Ok(Outcome::Accepted(server)) = result else { panic!("accept came to {result:?}") };
    assert_eq!(h.local_addr(server), addr);
    h.send_all(client, b"six");
    assert_eq!(h.recv_exact(server, 3), b"six");
}

pub(super) fn an_address_is_bound_once(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (_listener, addr) = h.listener(1);
    let second = h.stream();
    let error = h.backend().control(second, &Control::Bind(&addr)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}

pub(super) fn control_answers(make: &mut Make<'_>) {
    let mut h = harness(make);
    let fd = h.stream();
    assert!(matches!(h.control(fd, &Control::Type), Reply::Type(kind) if kind == Type::STREAM));
    assert!(matches!(h.control(fd, &Control::TakeError), Reply::Error(None)));
    let error = h.backend().control(fd, &Control::PeerAddr).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotConnected);
    for request in [
        Control::ReuseAddress(true),
        Control::ReusePort(true),
        Control::KeepAlive(true),
        Control::NoDelay(true),
        Control::Bind(&loopback()),
    ] {
        assert!(matches!(h.control(fd, &request), Reply::Done));
    }
    assert_ne!(h.local_addr(fd).as_socket().expect("an internet address").port(), 0, "port 0 picks one");

    let datagram = h.backend().open(Domain::IPV4, Type::DGRAM, None).expect("open");
    assert!(matches!(h.control(datagram, &Control::Type), Reply::Type(kind) if kind == Type::DGRAM));
    assert!(matches!(h.control(datagram, &Control::Broadcast(true)), Reply::Done));
}

pub(super) fn accepted_sockets_live_longer_than_the_listener(make: &mut Make<'_>) {
    let mut h = harness(make);
    // The pair closes its listener.
    let (client, server) = h.tcp_pair();
    h.send_all(server, b"still here");
    assert_eq!(h.recv_exact(client, 10), b"still here");
}
