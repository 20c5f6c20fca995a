//! Keys that name nothing: an error, never a panic, never a stranger's socket.

use std::io;
use std::net::Shutdown;

use socket2::SockAddr;

use super::{Make, harness};
use crate::control::Control;
use crate::fd::FdKey;
use crate::op::{AddrBuf, Op};
use crate::testing::harness::loopback;
use crate::testing::{Harness, Started};

fn every_socket_operation(fd: FdKey, addr: &SockAddr) -> Vec<Op> {
    vec![
        Op::Accept { fd },
        Op::AcceptMulti { fd },
        Op::Connect { fd, addr: Box::new(addr.clone()) },
        Op::Recv { fd, buf: Vec::with_capacity(8), limit: 8 },
        Op::RecvMulti { fd },
        Op::RecvFrom { fd, buf: Vec::with_capacity(8), limit: 8, from: AddrBuf::new() },
        Op::Send { fd, buf: b"x".to_vec(), start: 0 },
        Op::SendVectored { fd, bufs: vec![b"x".to_vec()] },
        Op::SendTo { fd, buf: b"x".to_vec(), addr: Box::new(addr.clone()) },
        Op::Shutdown { fd, how: Shutdown::Both },
    ]
}

fn assert_all_fail(h: &mut Harness, fd: FdKey) {
    let addr = loopback();
    for op in every_socket_operation(fd, &addr) {
        let (result, op) = match h.submit(op) {
            Started::Done(result, op) => (result, op),
            Started::Queued(key) => h.run_until(key),
            other => panic!("an operation on {fd:?}, which is not open, was answered by {other:?}"),
        };
        assert!(result.is_err(), "{op:?} came to {result:?}");
    }
    assert!(h.ops().is_empty());
}

pub(super) fn operations_on_an_unknown_key_fail(make: &mut Make<'_>) {
    let mut h = harness(make);
    h.tcp_pair();
    for fd in [FdKey::new(4_000, 0), FdKey::new(0, 4_000), FdKey::new(u32::MAX, u32::MAX)] {
        assert_all_fail(&mut h, fd);
    }
}

pub(super) fn operations_on_a_closed_key_fail(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (client, server) = h.tcp_pair();
    h.close(client);
    assert_all_fail(&mut h, client);
    // With somebody else in its place.
    let (again, peer) = h.tcp_pair();
    assert_all_fail(&mut h, client);
    h.send_all(again, b"untouched");
    assert_eq!(h.recv_exact(peer, 9), b"untouched");
    assert_eq!(h.recv(server, 10).unwrap(), b"");
}

pub(super) fn requests_on_an_unknown_key_are_not_connected(make: &mut Make<'_>) {
    let mut h = harness(make);
    let closed = h.stream();
    h.close(closed);
    for fd in [closed, FdKey::new(4_000, 0)] {
        for request in [Control::LocalAddr, Control::Type, Control::TakeError, Control::Listen(1)] {
            let error = h.backend().control(fd, &request).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotConnected);
        }
        assert!(h.backend().raw_fd(fd).is_none());
        let (backend, ops) = h.parts();
        assert!(backend.release(ops, fd).is_err());
        h.close(fd);
    }
}
