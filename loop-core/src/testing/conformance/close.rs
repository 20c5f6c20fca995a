//! Closing under operations in flight: each still ends once (**B1**), and late keys hit nobody.

use super::{Make, fill, harness, pattern};
use crate::backend::Wait;
use crate::op::{Op, Outcome};
use crate::testing::harness::recv_op;

pub(super) fn closing_ends_what_is_in_flight(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (client, _server) = h.tcp_pair();
    let (other, other_peer) = h.tcp_pair();
    let (listener, _) = h.listener(1);
    let (datagram, _) = h.datagram();
    let (sending, _) = fill(&mut h, client);
    let from = Op::RecvFrom { fd: datagram, buf: Vec::with_capacity(10), limit: 10, from: crate::op::AddrBuf::new() };
    let keys = [
        sending,
        h.start(Op::Send { fd: client, buf: b"behind".to_vec(), start: 0 }),
        h.start(recv_op(client, 10)),
        h.start(recv_op(client, 10)),
        h.start(Op::RecvMulti { fd: other }),
        h.start(Op::Accept { fd: listener }),
        h.start(Op::AcceptMulti { fd: listener }),
        h.start(from),
    ];
    let bystander = h.start(recv_op(other_peer, 10));
    for fd in [client, other, listener, datagram] {
        h.close(fd);
    }
    for key in keys {
        let (result, op) = h.run_until(key);
        // A real socket may have found room for a send just before.
        let sent = matches!((&result, &op), (Ok(_), Op::Send { .. }));
        assert!(result.is_err() || sent, "{op:?} came to {result:?} on a closed socket");
    }
    // Peers are told. This one had sent nothing that was left unread.
    assert_eq!(h.received(bystander).unwrap(), b"");
}

pub(super) fn closing_under_a_receive_tells_the_peer(make: &mut Make<'_>) {
    let mut h = harness(make);
    for multishot in [false, true] {
        let (client, server) = h.tcp_pair();
        let pending = h.start(if multishot { Op::RecvMulti { fd: client } } else { recv_op(client, 10) });
        h.poll(Wait::Now);
        let peer = h.start(recv_op(server, 10));
        h.close(client);
        assert_eq!(h.received(peer).unwrap(), b"", "the peer of a closed socket waits for ever");
        assert!(h.run_until(pending).0.is_err());
    }
}

pub(super) fn closing_a_listener_ends_its_backlog(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (listener, addr) = h.listener(4);
    let client = h.connect(&addr);
    h.close(listener);
    // Reset or ended: in any case it does not wait for ever.
    match h.recv(client, 10) {
        Ok(bytes) => assert_eq!(bytes, b""),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
}

pub(super) fn a_new_socket_is_not_taken_for_a_closed_one(make: &mut Make<'_>) {
    let mut h = harness(make);
    for round in 0..50 {
        let (client, server) = h.tcp_pair();
        let pending = [h.start(recv_op(client, 10)), h.start(Op::RecvMulti { fd: server })];
        if round % 2 == 0 {
            h.poll(Wait::Now);
        }
        if round % 3 == 0 {
            h.send_all(client, b"for the closed one");
        }
        h.close(client);
        h.close(server);
        // The kernel gives the lowest free number: these get those just closed, as soon as they are free.
        let (client, server) = h.tcp_pair();
        let bytes = pattern(20, round);
        let receive = h.start(recv_op(server, 20));
        h.send_all(client, &bytes);
        assert_eq!(h.received(receive).unwrap(), bytes);
        for key in pending {
            let (result, _) = h.run_until(key);
            while h.kept(key).is_some() {}
            assert!(
                matches!(&result, Err(_) | Ok(Outcome::Count(_) | Outcome::Chunk(_))),
                "a receive came to {result:?}"
            );
        }
        h.close(client);
        h.close(server);
    }
}

pub(super) fn closing_between_resume_and_its_answer_ends_the_operation_once(make: &mut Make<'_>) {
    let mut h = harness(make);
    for round in 0..4 {
        let (client, server) = h.tcp_pair();
        h.hold_resumes(true);
        let key = h.start(if round % 2 == 0 { Op::RecvMulti { fd: server } } else { recv_op(server, 4) });
        h.send_all(client, b"data");
        h.wait_for("a Resume, or an outcome", |h| (h.has_resume(key) || h.has_arrival(key)).then_some(()));
        h.close(server);
        if round / 2 == 0 {
            h.poll(Wait::Now);
        }
        h.hold_resumes(false);
        let (result, op) = h.run_until(key);
        if let Ok(Outcome::Count(4)) = result {
            assert!(matches!(op, Op::Recv { buf, .. } if buf == b"data"), "it was over before the close");
        } else {
            assert!(result.is_err(), "{result:?}");
        }
        while h.kept(key).is_some() {}
    }
}

pub(super) fn closing_twice_is_closing_once(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (client, server) = h.tcp_pair();
    h.close(client);
    h.close(client);
    // A new socket may have the closed one's place.
    let (again, peer) = h.tcp_pair();
    h.close(client);
    h.send_all(again, b"alive");
    assert_eq!(h.recv_exact(peer, 5), b"alive");
    assert_eq!(h.recv(server, 10).unwrap(), b"");
    h.close(crate::fd::FdKey::new(9_999, 3));
}
