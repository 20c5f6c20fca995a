//! Datagrams: whole, in order, with their senders.

use socket2::SockAddr;

use super::{Make, harness, pattern};
use crate::fd::FdKey;
use crate::op::{AddrBuf, Op, Outcome};
use crate::op_table::OpKey;
use crate::testing::Harness;
use crate::testing::harness::recv_op;

fn recv_from_op(fd: FdKey, limit: usize) -> Op {
    Op::RecvFrom { fd, buf: Vec::with_capacity(limit), limit, from: AddrBuf::new() }
}

fn received_from(h: &mut Harness, key: OpKey) -> (Vec<u8>, SockAddr) {
    match h.run_until(key) {
        (Ok(Outcome::Count(_)), Op::RecvFrom { buf, mut from, .. }) => {
            (buf, from.get().expect("a datagram names its sender"))
        }
        (other, _) => panic!("a datagram receive came to {other:?}"),
    }
}

fn send_to(h: &mut Harness, fd: FdKey, bytes: &[u8], addr: &SockAddr) {
    match h.run(Op::SendTo { fd, buf: bytes.to_vec(), addr: Box::new(addr.clone()) }).0 {
        Ok(Outcome::Count(count)) => assert_eq!(count, bytes.len()),
        other => panic!("a datagram send came to {other:?}"),
    }
}

pub(super) fn a_datagram_names_its_sender(make: &mut Make<'_>) {
    let mut h = harness(make);
    let ((one, one_addr), (two, two_addr)) = (h.datagram(), h.datagram());
    send_to(&mut h, one, b"to two", &two_addr);
    send_to(&mut h, two, b"to one", &one_addr);
    let receive = h.start(recv_from_op(two, 100));
    assert_eq!(received_from(&mut h, receive), (b"to two".to_vec(), one_addr));
    let receive = h.start(recv_from_op(one, 100));
    assert_eq!(received_from(&mut h, receive), (b"to one".to_vec(), two_addr));
}

pub(super) fn datagrams_keep_their_bounds_and_order(make: &mut Make<'_>) {
    let mut h = harness(make);
    let ((one, _), (two, two_addr)) = (h.datagram(), h.datagram());
    let sent: Vec<Vec<u8>> = (0..10).map(|round| pattern(1 + 100 * round as usize, round)).collect();
    for datagram in &sent {
        send_to(&mut h, one, datagram, &two_addr);
    }
    for datagram in &sent {
        let receive = h.start(recv_from_op(two, 2_000));
        assert_eq!(received_from(&mut h, receive).0, *datagram);
    }
}

pub(super) fn a_long_datagram_is_cut(make: &mut Make<'_>) {
    let mut h = harness(make);
    let ((one, _), (two, two_addr)) = (h.datagram(), h.datagram());
    send_to(&mut h, one, b"cut here, the rest is lost", &two_addr);
    send_to(&mut h, one, b"next", &two_addr);
    let receive = h.start(recv_from_op(two, 8));
    assert_eq!(received_from(&mut h, receive).0, b"cut here");
    let receive = h.start(recv_from_op(two, 8));
    assert_eq!(received_from(&mut h, receive).0, b"next");
}

pub(super) fn an_empty_datagram_arrives(make: &mut Make<'_>) {
    let mut h = harness(make);
    let ((one, one_addr), (two, two_addr)) = (h.datagram(), h.datagram());
    send_to(&mut h, one, b"", &two_addr);
    send_to(&mut h, one, b"after it", &two_addr);
    let receive = h.start(recv_from_op(two, 8));
    assert_eq!(received_from(&mut h, receive), (Vec::new(), one_addr));
    let receive = h.start(recv_from_op(two, 8));
    assert_eq!(received_from(&mut h, receive).0, b"after it");
}

pub(super) fn a_connected_datagram_socket_sends_and_receives(make: &mut Make<'_>) {
    let mut h = harness(make);
    let ((one, one_addr), (two, two_addr)) = (h.datagram(), h.datagram());
    let (stranger, _) = h.datagram();
    let (result, _) = h.run(Op::Connect { fd: one, addr: Box::new(two_addr.clone()) });
    assert!(matches!(result, Ok(Outcome::Done)), "{result:?}");
    assert_eq!(h.peer_addr(one), two_addr);
    let (result, _) = h.run(Op::Send { fd: one, buf: b"ping".to_vec(), start: 0 });
    assert!(matches!(result, Ok(Outcome::Count(4))), "{result:?}");
    let receive = h.start(recv_from_op(two, 10));
    assert_eq!(received_from(&mut h, receive), (b"ping".to_vec(), one_addr.clone()));
    // From others it hears nothing.
    send_to(&mut h, stranger, b"not from two", &one_addr);
    send_to(&mut h, two, b"pong", &one_addr);
    let receive = h.start(recv_op(one, 100));
    assert_eq!(h.received(receive).unwrap(), b"pong");
}

pub(super) fn a_receive_waits_for_its_datagram(make: &mut Make<'_>) {
    let mut h = harness(make);
    let ((one, one_addr), (two, two_addr)) = (h.datagram(), h.datagram());
    let waiting = [(); 3].map(|()| h.start(recv_from_op(two, 10)));
    for text in [b"1", b"2", b"3"] {
        send_to(&mut h, one, text, &two_addr);
    }
    for (key, text) in waiting.into_iter().zip([b"1", b"2", b"3"]) {
        assert_eq!(received_from(&mut h, key), (text.to_vec(), one_addr.clone()));
    }
}
