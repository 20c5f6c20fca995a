//! What only a simulation has: exact times, and a network whose every turn can be had.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::time::Duration;

use socket2::{Domain, SockAddr, Type};

use super::VirtualBackend;
use super::stream::IN_FLIGHT;
use crate::backend::Wait;
use crate::control::{Control, Reply};
use crate::fd::FdKey;
use crate::op::{AddrBuf, Op, Outcome};
use crate::testing::harness::recv_op;
use crate::testing::{Arrival, CheckedBackend, Harness};

fn harness() -> Harness {
    Harness::new(Box::new(CheckedBackend::new(Box::new(VirtualBackend::new()))))
}

fn addr(ip: impl Into<IpAddr>, port: u16) -> SockAddr {
    SocketAddr::new(ip.into(), port).into()
}

fn open(h: &mut Harness, domain: Domain, kind: Type) -> FdKey {
    h.backend().open(domain, kind, None).unwrap()
}

fn listen_at(h: &mut Harness, domain: Domain, at: &SockAddr) -> io::Result<FdKey> {
    let fd = open(h, domain, Type::STREAM);
    h.backend().control(fd, &Control::Bind(at))?;
    h.backend().control(fd, &Control::Listen(4))?;
    Ok(fd)
}

fn accept(h: &mut Harness, listener: FdKey) -> FdKey {
    match h.run(Op::Accept { fd: listener }).0 {
        Ok(Outcome::Accepted(fd)) => fd,
        other => panic!("accept came to {other:?}"),
    }
}

fn datagram_at(h: &mut Harness, at: &SockAddr) -> FdKey {
    let fd = open(h, Domain::IPV4, Type::DGRAM);
    h.control(fd, &Control::Bind(at));
    fd
}

fn recv_from_op(fd: FdKey) -> Op {
    Op::RecvFrom { fd, buf: Vec::with_capacity(100), limit: 100, from: AddrBuf::new() }
}

fn kind_of(result: io::Result<Outcome>) -> io::ErrorKind {
    result.unwrap_err().kind()
}

// ---- time ----

#[test]
fn the_clock_is_moved_by_hand_from_anywhere() {
    let backend = VirtualBackend::starting_at(Duration::from_secs(5));
    let clock = backend.clock();
    let mut h = Harness::new(Box::new(backend));
    assert_eq!(h.now(), Duration::from_secs(5));
    clock.advance(Duration::from_nanos(1));
    assert_eq!(h.now(), Duration::from_nanos(5_000_000_001));
    // A deadline that it has passed is not waited for.
    h.poll(Wait::Until(Duration::from_secs(5)));
    assert_eq!(clock.now(), Duration::from_nanos(5_000_000_001));
    clock.advance(Duration::MAX);
    assert_eq!(h.now(), Duration::MAX);
}

#[test]
fn a_wait_does_not_jump_over_what_there_is_to_report() {
    let mut h = harness();
    let (client, server) = h.tcp_pair();
    let before = h.now();
    let receive = h.start(recv_op(server, 10));
    h.send_all(client, b"now");
    h.poll(Wait::Until(before + Duration::from_secs(10)));
    assert_eq!(h.now(), before);
    assert_eq!(h.received(receive).unwrap(), b"now");
    h.backend().unparker().unpark();
    h.poll(Wait::Until(before + Duration::from_secs(10)));
    assert_eq!(h.now(), before, "nor over an unpark");
}

// ---- addresses ----

#[test]
fn ports_are_given_in_turn_and_not_twice() {
    let mut h = harness();
    let any = addr(Ipv4Addr::UNSPECIFIED, 0);
    let taken = listen_at(&mut h, Domain::IPV4, &addr(Ipv4Addr::LOCALHOST, 49_153)).unwrap();
    let ports = [(); 3].map(|()| {
        let fd = listen_at(&mut h, Domain::IPV4, &any).unwrap();
        h.local_addr(fd).as_socket().unwrap().port()
    });
    assert_eq!(ports, [49_152, 49_154, 49_155], "the one that is taken is passed over");
    h.close(taken);
    assert!(listen_at(&mut h, Domain::IPV4, &addr(Ipv4Addr::LOCALHOST, 49_153)).is_ok(), "free again");
}

#[test]
fn an_address_is_shared_only_by_those_who_agree() {
    let mut h = harness();
    let at = addr(Ipv4Addr::LOCALHOST, 80);
    let first = listen_at(&mut h, Domain::IPV4, &at).unwrap();
    for (ip, free) in [(Ipv4Addr::LOCALHOST, false), (Ipv4Addr::UNSPECIFIED, false), (Ipv4Addr::new(10, 0, 0, 1), true)]
    {
        assert_eq!(listen_at(&mut h, Domain::IPV4, &addr(ip, 80)).is_ok(), free, "{ip}");
    }
    assert!(datagram_at(&mut h, &at) != first, "datagrams have ports of their own");

    let shared = addr(Ipv4Addr::LOCALHOST, 81);
    for request in [Control::ReuseAddress(true), Control::ReusePort(true)] {
        let [one, two] = [(); 2].map(|()| open(&mut h, Domain::IPV4, Type::STREAM));
        for fd in [one, two] {
            h.control(fd, &request);
            h.control(fd, &Control::Bind(&shared));
        }
        h.control(one, &Control::Listen(1));
        // With SO_REUSEADDR one may bind, as long as nobody listens.
        let second = h.backend().control(two, &Control::Listen(1));
        assert_eq!(second.is_ok(), matches!(request, Control::ReusePort(_)));
        h.close(one);
        h.close(two);
    }
}

#[test]
fn a_wildcard_of_ipv6_takes_ipv4_too_unless_told_otherwise() {
    let mut h = harness();
    let both = listen_at(&mut h, Domain::IPV6, &addr(Ipv6Addr::UNSPECIFIED, 80)).unwrap();
    let client = h.connect(&addr(Ipv4Addr::LOCALHOST, 80));
    let server = accept(&mut h, both);
    let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
    assert_eq!(h.local_addr(server), addr(mapped, 80), "an IPv6 socket says it in IPv6");
    assert_eq!(h.peer_addr(server).as_socket().unwrap().ip(), mapped);
    assert_eq!(h.peer_addr(client), addr(Ipv4Addr::LOCALHOST, 80));
    assert!(listen_at(&mut h, Domain::IPV4, &addr(Ipv4Addr::UNSPECIFIED, 80)).is_err());

    let only = open(&mut h, Domain::IPV6, Type::STREAM);
    h.control(only, &Control::OnlyV6(true));
    h.control(only, &Control::Bind(&addr(Ipv6Addr::UNSPECIFIED, 81)));
    h.control(only, &Control::Listen(1));
    assert!(listen_at(&mut h, Domain::IPV4, &addr(Ipv4Addr::UNSPECIFIED, 81)).is_ok());
    // The mapped address is the IPv4 one.
    let client = open(&mut h, Domain::IPV6, Type::STREAM);
    let (result, _) = h.run(Op::Connect { fd: client, addr: Box::new(addr(mapped, 80)) });
    assert!(matches!(result, Ok(Outcome::Done)));
    assert_eq!(h.peer_addr(client), addr(mapped, 80));
}

#[test]
fn the_nearest_listener_is_meant() {
    let mut h = harness();
    let any = open(&mut h, Domain::IPV4, Type::STREAM);
    let exact = open(&mut h, Domain::IPV4, Type::STREAM);
    for (fd, ip) in [(any, Ipv4Addr::UNSPECIFIED), (exact, Ipv4Addr::LOCALHOST)] {
        h.control(fd, &Control::ReusePort(true));
        h.control(fd, &Control::Bind(&addr(ip, 80)));
        h.control(fd, &Control::Listen(1));
    }
    let near = h.connect(&addr(Ipv4Addr::LOCALHOST, 80));
    let far = h.connect(&addr(Ipv4Addr::new(10, 0, 0, 1), 80));
    let (exact, any) = (accept(&mut h, exact), accept(&mut h, any));
    assert_eq!(h.peer_addr(exact), h.local_addr(near));
    assert_eq!(h.peer_addr(any), h.local_addr(far));
}

#[test]
fn what_is_not_simulated_says_so() {
    let mut h = harness();
    assert!(h.backend().open(Domain::UNIX, Type::STREAM, None).is_err());
    assert!(h.backend().open(Domain::IPV4, Type::RAW, None).is_err());
    let fd = h.stream();
    let error = h.backend().control(fd, &Control::Bind(&addr(Ipv6Addr::LOCALHOST, 0))).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EAFNOSUPPORT));
    assert!(h.backend().control(fd, &Control::OnlyV6(true)).is_err());
}

// ---- connections ----

#[test]
fn a_connection_that_waits_for_room_is_made_when_there_is_some() {
    let mut h = harness();
    let (listener, at) = h.listener(0);
    let first = h.connect(&at);
    let late = h.stream();
    let connect = h.start(Op::Connect { fd: late, addr: Box::new(at) });
    let send = h.start(Op::Send { fd: late, buf: b"early".to_vec(), start: 0 });
    let receive = h.start(recv_op(late, 10));
    assert_eq!(h.poll(Wait::Now), 0);
    let server = accept(&mut h, listener);
    assert_eq!(h.peer_addr(server), h.local_addr(first));
    assert!(matches!(h.run_until(connect).0, Ok(Outcome::Done)));
    assert!(matches!(h.run_until(send).0, Ok(Outcome::Count(5))));
    let server = accept(&mut h, listener);
    assert_eq!(h.recv_exact(server, 5), b"early");
    h.send_all(server, b"answer");
    assert_eq!(h.received(receive).unwrap(), b"answer");
}

#[test]
fn a_socket_whose_connect_was_cancelled_or_refused_may_connect_again() {
    let mut h = harness();
    let (listener, at) = h.listener(0);
    let first = h.connect(&at);
    let fd = h.stream();
    let connect = h.start(Op::Connect { fd, addr: Box::new(at.clone()) });
    assert_eq!(kind_of(h.run(Op::Connect { fd, addr: Box::new(at.clone()) }).0), raw(libc::EALREADY));
    h.cancel(connect);
    assert!(h.run_until(connect).0.is_err());
    let connect = h.start(Op::Connect { fd, addr: Box::new(at.clone()) });
    h.close(listener);
    assert_eq!(kind_of(h.run_until(connect).0), io::ErrorKind::ConnectionRefused);
    assert_eq!(h.recv(first, 10).unwrap_err().kind(), io::ErrorKind::ConnectionReset);

    let again = listen_at(&mut h, Domain::IPV4, &at).unwrap();
    assert!(matches!(h.run(Op::Connect { fd, addr: Box::new(at.clone()) }).0, Ok(Outcome::Done)));
    let server = accept(&mut h, again);
    h.send_all(fd, b"at last");
    assert_eq!(h.recv_exact(server, 7), b"at last");
    assert_eq!(h.run(Op::Connect { fd, addr: Box::new(at) }).0.unwrap_err().raw_os_error(), Some(libc::EISCONN));
}

fn raw(code: i32) -> io::ErrorKind {
    io::Error::from_raw_os_error(code).kind()
}

#[test]
fn a_socket_closed_while_it_waits_for_room_is_forgotten() {
    let mut h = harness();
    let (listener, at) = h.listener(0);
    h.connect(&at);
    let late = h.stream();
    let connect = h.start(Op::Connect { fd: late, addr: Box::new(at) });
    h.close(late);
    assert!(h.run_until(connect).0.is_err());
    accept(&mut h, listener);
    let waiting = h.start(Op::Accept { fd: listener });
    assert_eq!(h.poll(Wait::Now), 0);
    h.cancel(waiting);
}

#[test]
fn a_listener_that_is_shut_down_listens_no_more() {
    let mut h = harness();
    let (listener, at) = h.listener(4);
    let waiting = h.start(Op::Accept { fd: listener });
    h.control(listener, &Control::Shutdown(Shutdown::Both));
    assert_eq!(h.run_until(waiting).0.unwrap_err().raw_os_error(), Some(libc::EINVAL));
    let fd = h.stream();
    assert_eq!(kind_of(h.run(Op::Connect { fd, addr: Box::new(at.clone()) }).0), io::ErrorKind::ConnectionRefused);
    h.control(listener, &Control::Listen(4));
    assert!(matches!(h.run(Op::Connect { fd, addr: Box::new(at) }).0, Ok(Outcome::Done)));
}

#[test]
fn a_connection_holds_a_bounded_number_of_bytes() {
    let mut h = harness();
    let (client, server) = h.tcp_pair();
    let send = |h: &mut Harness| h.run(Op::Send { fd: client, buf: vec![7; 50_000], start: 0 }).0;
    assert!(matches!(send(&mut h), Ok(Outcome::Count(50_000))));
    assert!(matches!(send(&mut h), Ok(Outcome::Count(count)) if count == IN_FLIGHT - 50_000));
    let waiting = h.start(Op::Send { fd: client, buf: vec![7; 50_000], start: 0 });
    // A little room is not worth a wake.
    h.recv_exact(server, 1_000);
    assert_eq!(h.poll(Wait::Now), 0);
    h.recv_exact(server, 40_000);
    assert!(matches!(h.run_until(waiting).0, Ok(Outcome::Count(41_000))));
}

#[test]
fn an_end_shows_after_the_bytes_and_an_error_once() {
    let mut h = harness();
    let (client, server) = h.tcp_pair();
    h.send_all(client, b"bytes");
    h.control(client, &Control::ResetOnClose);
    h.close(client);
    assert_eq!(h.recv(server, 10).unwrap(), b"bytes");
    assert!(matches!(h.control(server, &Control::TakeError), Reply::Error(Some(error))
        if error.kind() == io::ErrorKind::ConnectionReset));
    assert_eq!(h.recv(server, 10).unwrap(), b"");
    let (result, _) = h.run(Op::Send { fd: server, buf: b"x".to_vec(), start: 0 });
    assert_eq!(kind_of(result), io::ErrorKind::BrokenPipe);
}

#[test]
fn a_shut_down_reader_reads_no_more() {
    let mut h = harness();
    let (client, server) = h.tcp_pair();
    let waiting = h.start(recv_op(server, 10));
    let (result, _) = h.run(Op::Shutdown { fd: server, how: Shutdown::Read });
    assert!(matches!(result, Ok(Outcome::Done)));
    assert_eq!(h.received(waiting).unwrap(), b"");
    // Its writing half is as before.
    h.send_all(server, b"still");
    assert_eq!(h.recv_exact(client, 5), b"still");
}

#[test]
fn after_a_drain_the_sockets_live_and_the_operations_do_not() {
    let mut h = harness();
    let (client, server) = h.tcp_pair();
    h.start(recv_op(server, 10));
    h.start(Op::RecvMulti { fd: client });
    h.drain();
    h.send_all(client, b"to nobody");
    h.send_all(server, b"to nobody");
    assert_eq!(h.poll(Wait::Now), 0);
    assert_eq!(h.recv_exact(server, 9), b"to nobody");
}

// ---- datagrams ----

#[test]
fn a_datagram_to_nobody_is_refused_to_who_is_connected() {
    let mut h = harness();
    let nobody = addr(Ipv4Addr::LOCALHOST, 9);
    let (fd, _) = h.datagram();
    let (result, _) = h.run(Op::SendTo { fd, buf: b"x".to_vec(), addr: Box::new(nobody.clone()) });
    assert!(matches!(result, Ok(Outcome::Count(1))), "lost, as datagrams are");
    assert!(matches!(h.run(Op::Connect { fd, addr: Box::new(nobody) }).0, Ok(Outcome::Done)));
    let waiting = h.start(recv_from_op(fd));
    let (result, _) = h.run(Op::Send { fd, buf: b"x".to_vec(), start: 0 });
    assert!(matches!(result, Ok(Outcome::Count(1))));
    assert_eq!(kind_of(h.run_until(waiting).0), io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_full_mailbox_drops_and_a_huge_datagram_is_refused() {
    let mut h = harness();
    let (from, _) = h.datagram();
    let (to, to_addr) = h.datagram();
    let (result, _) = h.run(Op::SendTo { fd: from, buf: vec![0; 65_508], addr: Box::new(to_addr.clone()) });
    assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EMSGSIZE));
    for _ in 0..10 {
        let (result, _) = h.run(Op::SendTo { fd: from, buf: vec![0; 60_000], addr: Box::new(to_addr.clone()) });
        assert!(matches!(result, Ok(Outcome::Count(60_000))));
    }
    for _ in 0..4 {
        assert!(h.run(recv_from_op(to)).0.is_ok());
    }
    let waiting = h.start(recv_from_op(to));
    assert_eq!(h.poll(Wait::Now), 0, "the fifth was dropped");
    h.cancel(waiting);
}

#[test]
fn a_broadcast_reaches_all_who_may_hear_it() {
    let mut h = harness();
    let all = addr(Ipv4Addr::BROADCAST, 500);
    let hearers = [Ipv4Addr::LOCALHOST, Ipv4Addr::new(10, 0, 0, 1)].map(|ip| datagram_at(&mut h, &addr(ip, 500)));
    let (from, _) = h.datagram();
    let send = |h: &mut Harness| h.run(Op::SendTo { fd: from, buf: b"all".to_vec(), addr: Box::new(all.clone()) }).0;
    assert_eq!(kind_of(send(&mut h)), io::ErrorKind::PermissionDenied);
    h.control(from, &Control::Broadcast(true));
    assert!(send(&mut h).is_ok());
    for hearer in hearers {
        assert!(matches!(h.run(recv_from_op(hearer)).0, Ok(Outcome::Count(3))));
    }
}

#[test]
fn a_datagram_socket_needs_somebody_to_send_to() {
    let mut h = harness();
    let fd = open(&mut h, Domain::IPV4, Type::DGRAM);
    let (result, _) = h.run(Op::Send { fd, buf: b"x".to_vec(), start: 0 });
    assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EDESTADDRREQ));
    assert_eq!(kind_of(h.run(Op::Shutdown { fd, how: Shutdown::Both }).0), io::ErrorKind::NotConnected);
    assert_eq!(h.run(Op::Accept { fd }).0.unwrap_err().raw_os_error(), Some(libc::EOPNOTSUPP));
    assert!(h.backend().control(fd, &Control::Listen(1)).is_err());
}

#[test]
fn a_multishot_receive_takes_datagrams_one_by_one() {
    let mut h = harness();
    let (from, _) = h.datagram();
    let (to, to_addr) = h.datagram();
    let receive = h.start(Op::RecvMulti { fd: to });
    for text in [&b"one"[..], b"", b"three"] {
        let (result, _) = h.run(Op::SendTo { fd: from, buf: text.to_vec(), addr: Box::new(to_addr.clone()) });
        assert!(result.is_ok());
    }
    for text in [&b"one"[..], b"", b"three"] {
        match h.next_of(receive) {
            Arrival::More(_, Outcome::Chunk(chunk)) => assert_eq!(&chunk[..], text),
            other => panic!("a multishot receive came to {other:?}"),
        }
    }
    h.cancel(receive);
}

// ---- always the same ----

/// A busy scene, as the list of what was reported.
fn scene(completing: bool) -> Vec<String> {
    let backend = VirtualBackend::new();
    let backend = if completing { backend.completing() } else { backend };
    let mut h = Harness::new(Box::new(CheckedBackend::new(Box::new(backend))));
    let pairs = [(); 5].map(|()| h.tcp_pair());
    for (client, server) in pairs {
        h.start(recv_op(server, 10));
        h.start(Op::RecvMulti { fd: client });
        h.start(recv_op(server, 10));
    }
    for (client, server) in pairs.into_iter().rev() {
        h.start(Op::Send { fd: server, buf: vec![1; 40_000], start: 0 });
        h.start(Op::Send { fd: client, buf: vec![2; 15], start: 0 });
    }
    let first = h.ops().keys_in_flight().next().unwrap();
    h.cancel(first);
    h.close(pairs[2].0);
    while h.poll(Wait::Now) > 0 {}
    std::iter::from_fn(|| h.take_kept()).map(|arrival| format!("{arrival:?}")).collect()
}

#[test]
fn a_run_is_always_the_same() {
    for completing in [false, true] {
        let once = scene(completing);
        assert!(once.len() > 20);
        for _ in 0..5 {
            assert_eq!(scene(completing), once);
        }
    }
}
