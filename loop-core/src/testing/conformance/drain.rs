//! The end: nothing stays in flight, nothing stays open.

use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

use super::descriptors::assert_peer_sees_the_end;
use super::{Make, fill, harness, has_descriptors};
use crate::backend::Wait;
use crate::op::{AddrBuf, Interest, Op, Outcome};
use crate::testing::harness::recv_op;

pub(super) fn drain_ends_everything(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (client, server) = h.tcp_pair();
    let (other, other_peer) = h.tcp_pair();
    let (listener, _) = h.listener(1);
    let (_full, full_addr) = h.listener(0);
    let (datagram, _) = h.datagram();
    let (reader, _writer) = std::io::pipe().expect("a pipe");
    fill(&mut h, client);
    h.connect(&full_addr);
    let late = h.stream();
    h.start(Op::Connect { fd: late, addr: Box::new(full_addr) });
    h.start(Op::SendVectored { fd: client, bufs: vec![b"behind".to_vec()] });
    h.start(recv_op(client, 10));
    h.start(recv_op(client, 10));
    h.start(Op::RecvMulti { fd: other });
    h.start(Op::Accept { fd: listener });
    h.start(Op::AcceptMulti { fd: listener });
    h.start(Op::RecvFrom { fd: datagram, buf: Vec::with_capacity(10), limit: 10, from: AddrBuf::new() });
    if has_descriptors(&mut h) {
        h.start(Op::Readiness { fd: reader.as_raw_fd(), interest: Interest::Read });
    }
    // Some is waiting, some has come and was not looked at, and one is being cancelled.
    h.send_all(other_peer, b"never read");
    let cancelled = h.start(recv_op(server, 10));
    h.cancel(cancelled);
    assert!(h.ops().in_flight() >= 8);
    h.drain();
    assert_eq!(h.ops().in_flight(), 0);
    assert!(h.ops().is_empty());
    // What is over is over: nothing of it is heard of any more.
    for _ in 0..3 {
        assert_eq!(h.poll(Wait::Now), 0);
    }
    h.drain();
}

pub(super) fn drain_of_nothing_is_nothing(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (backend, ops) = h.parts();
    assert_eq!(backend.drain(ops, Duration::ZERO), 0);
    assert_eq!(backend.drain(ops, Duration::from_secs(3_600)), 0, "there is nothing to wait for");
    let (client, _server) = h.tcp_pair();
    h.start(recv_op(client, 10));
    // The table may be dropped as it is, once the backend is done with it: dropping the harness shows it.
}

pub(super) fn drain_closes_connections_that_nobody_took(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (listener, addr) = h.listener(8);
    h.start(Op::AcceptMulti { fd: listener });
    if !has_descriptors(&mut h) {
        // No peer can be outside. That nothing is left to accept shows inside.
        let fd = h.stream();
        h.start(Op::Connect { fd, addr: Box::new(addr) });
        h.drain();
        return;
    }
    let peers = [(); 3].map(|()| TcpStream::connect(addr.as_socket().expect("an internet address")).expect("connect"));
    h.drain();
    drop(h);
    peers.into_iter().for_each(assert_peer_sees_the_end);
}

pub(super) fn dropping_the_backend_closes_its_sockets(make: &mut Make<'_>) {
    let mut h = harness(make);
    if !has_descriptors(&mut h) {
        // Two backends share no network: what one leaves behind, the other does not see.
        let (_listener, addr) = h.listener(1);
        let mut other = harness(make);
        let fd = other.stream();
        assert!(other.run(Op::Connect { fd, addr: Box::new(addr) }).0.is_err());
        return;
    }
    let (listener, addr) = h.listener(8);
    let mut peers = Vec::new();
    for pending in [false, true] {
        peers.push(TcpStream::connect(addr.as_socket().expect("an internet address")).expect("connect"));
        let (result, _) = h.run(Op::Accept { fd: listener });
        let Ok(Outcome::Accepted(server)) = result else { panic!("accept came to {result:?}") };
        if pending {
            h.start(recv_op(server, 10));
        }
    }
    // And one in the backlog.
    peers.push(TcpStream::connect(addr.as_socket().expect("an internet address")).expect("connect"));
    drop(h);
    peers.into_iter().for_each(assert_peer_sees_the_end);
}
