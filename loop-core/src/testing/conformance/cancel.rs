//! Cancelling: one final completion all the same (**B1**), and nothing lost that had arrived.

use super::{Make, assert_cancelled, fill, harness, is_cancelled, pattern, settle};
use crate::backend::Wait;
use crate::fd::FdKey;
use crate::op::{Op, Outcome};
use crate::op_table::OpKey;
use crate::testing::Harness;
use crate::testing::harness::recv_op;

/// Starts an operation that has nothing to go on with, asks the kernel about it or not, and cancels it.
fn cancel_while_waiting(h: &mut Harness, asked: bool, op: Op) {
    let key = h.start(op);
    if asked {
        assert!(settle(h, key).is_none(), "it was to wait");
    }
    h.cancel(key);
    let (result, _) = h.run_until(key);
    assert_cancelled(&result);
    assert!(!h.is_in_flight(key));
}

pub(super) fn a_waiting_accept_can_be_cancelled(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (fd, _) = h.listener(1);
    [false, true].into_iter().for_each(|asked| cancel_while_waiting(&mut h, asked, Op::Accept { fd }));
}

pub(super) fn a_waiting_accept_multi_can_be_cancelled(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (fd, _) = h.listener(1);
    [false, true].into_iter().for_each(|asked| cancel_while_waiting(&mut h, asked, Op::AcceptMulti { fd }));
}

pub(super) fn a_waiting_connect_can_be_cancelled(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (_listener, addr) = h.listener(0);
    let _first = h.connect(&addr);
    for asked in [false, true] {
        let fd = h.stream();
        cancel_while_waiting(&mut h, asked, Op::Connect { fd, addr: Box::new(addr.clone()) });
        h.close(fd);
    }
}

pub(super) fn a_waiting_receive_can_be_cancelled(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (client, server) = h.tcp_pair();
    [false, true].into_iter().for_each(|asked| cancel_while_waiting(&mut h, asked, recv_op(server, 10)));
    h.send_all(client, b"after");
    assert_eq!(h.recv_exact(server, 5), b"after");
}

pub(super) fn a_waiting_multishot_receive_can_be_cancelled(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (client, server) = h.tcp_pair();
    [false, true].into_iter().for_each(|asked| cancel_while_waiting(&mut h, asked, Op::RecvMulti { fd: server }));
    h.send_all(client, b"after");
    assert_eq!(h.recv_exact(server, 5), b"after");
}

pub(super) fn a_waiting_datagram_receive_can_be_cancelled(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (fd, _) = h.datagram();
    for asked in [false, true] {
        let op = Op::RecvFrom { fd, buf: Vec::with_capacity(10), limit: 10, from: crate::op::AddrBuf::new() };
        cancel_while_waiting(&mut h, asked, op);
    }
}

/// Cancels the send that waits and others behind it; the peer then gets what was sent, and no more.
fn cancel_sends(make: &mut Make<'_>, another: fn(FdKey) -> (Op, &'static [u8])) {
    let mut h = harness(make);
    let (client, server) = h.tcp_pair();
    let (waiting, mut sent) = fill(&mut h, client);
    let mut queue = vec![(waiting, pattern(1 << 16, sent.len() as u32))];
    for asked in [false, true] {
        let (op, bytes) = another(client);
        queue.push((h.start(op), bytes.to_vec()));
        if asked {
            h.poll(Wait::Now);
        }
    }
    for (key, _) in queue.iter().rev() {
        h.cancel(*key);
    }
    for (key, bytes) in queue {
        match h.run_until(key).0 {
            // A real socket may have found room after all. Then it was sent, and says so.
            Ok(Outcome::Count(count)) => sent.extend_from_slice(&bytes[..count]),
            other => assert_cancelled(&other),
        }
    }
    h.close(client);
    assert!(h.recv_exact(server, sent.len()) == sent);
    assert_eq!(h.recv(server, 10).unwrap(), b"");
}

pub(super) fn a_waiting_send_can_be_cancelled(make: &mut Make<'_>) {
    cancel_sends(make, |fd| (Op::Send { fd, buf: b"never sent".to_vec(), start: 6 }, b"sent"));
}

pub(super) fn a_waiting_gathered_send_can_be_cancelled(make: &mut Make<'_>) {
    cancel_sends(make, |fd| (Op::SendVectored { fd, bufs: vec![b"never ".to_vec(), b"sent".to_vec()] }, b"never sent"));
}

pub(super) fn cancelling_twice_is_cancelling_once(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (_client, server) = h.tcp_pair();
    let key = h.start(recv_op(server, 10));
    h.cancel(key);
    h.cancel(key);
    h.poll(Wait::Peek);
    h.cancel(key);
    assert_cancelled(&h.run_until(key).0);
    h.cancel(key);
    assert_eq!(h.poll(Wait::Now), 0);
}

pub(super) fn cancelling_what_is_over_or_unknown_is_harmless(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (client, server) = h.tcp_pair();
    let over = h.start(recv_op(server, 2));
    h.send_all(client, b"ab");
    assert_eq!(h.received(over).unwrap(), b"ab");
    // The next operation may well have the same slot.
    let next = h.start(recv_op(server, 2));
    h.cancel(over);
    h.cancel(OpKey::from_u64(u64::MAX));
    h.cancel(OpKey::from_u64(77 << 32));
    assert!(settle(&mut h, next).is_none(), "a late key hit a stranger");
    h.send_all(client, b"cd");
    assert_eq!(h.received(next).unwrap(), b"cd");
}

pub(super) fn cancelling_one_leaves_the_others(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (client, server) = h.tcp_pair();
    let keys = [(); 4].map(|()| h.start(recv_op(server, 4)));
    h.cancel(keys[0]);
    h.cancel(keys[2]);
    assert_cancelled(&h.run_until(keys[0]).0);
    assert_cancelled(&h.run_until(keys[2]).0);
    assert!(h.is_in_flight(keys[1]) && h.is_in_flight(keys[3]));
    h.send_all(client, b"aaaa");
    assert_eq!(h.received(keys[1]).unwrap(), b"aaaa");
    h.send_all(client, b"bbbb");
    assert_eq!(h.received(keys[3]).unwrap(), b"bbbb");
}

pub(super) fn a_cancel_that_races_with_bytes_loses_none(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (client, server) = h.tcp_pair();
    for round in 0..100 {
        let bytes = pattern(10, round);
        let key = h.start(recv_op(server, 10));
        if round % 3 == 0 {
            h.poll(Wait::Now);
        }
        if round % 2 == 0 {
            h.send_all(client, &bytes);
            h.cancel(key);
        } else {
            h.cancel(key);
            h.send_all(client, &bytes);
        }
        let mut got = match h.run_until(key) {
            (Ok(Outcome::Count(_)), Op::Recv { buf, .. }) => buf,
            (result, _) => {
                assert_cancelled(&result);
                Vec::new()
            }
        };
        let rest = 10 - got.len();
        got.extend(h.recv_exact(server, rest));
        assert_eq!(got, bytes);
    }
}

pub(super) fn a_cancel_that_races_with_a_connection_loses_none(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (listener, addr) = h.listener(8);
    for round in 0..20 {
        let accept = h.start(Op::Accept { fd: listener });
        if round % 2 == 0 {
            h.poll(Wait::Now);
        }
        let client = h.stream();
        let connect = h.start(Op::Connect { fd: client, addr: Box::new(addr.clone()) });
        h.cancel(accept);
        let server = match h.run_until(accept).0 {
            Ok(Outcome::Accepted(server)) => server,
            other => {
                assert_cancelled(&other);
                match h.run(Op::Accept { fd: listener }).0 {
                    Ok(Outcome::Accepted(server)) => server,
                    other => panic!("accept came to {other:?}"),
                }
            }
        };
        assert!(matches!(h.run_until(connect).0, Ok(Outcome::Done)));
        assert_eq!(h.peer_addr(server), h.local_addr(client));
        h.close(client);
        h.close(server);
    }
}

pub(super) fn a_cancel_between_resume_and_its_answer_wins_or_loses_but_once(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (client, server) = h.tcp_pair();
    for multishot in [false, true] {
        h.hold_resumes(true);
        let key = h.start(if multishot { Op::RecvMulti { fd: server } } else { recv_op(server, 4) });
        h.send_all(client, b"data");
        h.wait_for("a Resume, or an outcome", |h| (h.has_resume(key) || h.has_arrival(key)).then_some(()));
        h.cancel(key);
        if multishot {
            // The final completion comes first, and the answer to the Resume after it must be harmless.
            h.poll(Wait::Now);
        }
        h.hold_resumes(false);
        let mut got = Vec::new();
        loop {
            match h.next_of(key) {
                crate::testing::Arrival::More(_, Outcome::Chunk(chunk)) => got.extend_from_slice(&chunk),
                crate::testing::Arrival::Final(_, Ok(Outcome::Count(_)), Op::Recv { buf, .. }) => {
                    got = buf;
                    break;
                }
                crate::testing::Arrival::Final(_, result, _) => {
                    assert_cancelled(&result);
                    break;
                }
                other => panic!("a receive came to {other:?}"),
            }
        }
        let rest = 4 - got.len();
        got.extend(h.recv_exact(server, rest));
        assert_eq!(got, b"data");
    }
}

pub(super) fn a_cancelled_send_has_sent_what_it_says(make: &mut Make<'_>) {
    let mut h = harness(make);
    for round in 0..10 {
        let (client, server) = h.tcp_pair();
        let (waiting, mut sent) = fill(&mut h, client);
        let block = pattern(1 << 16, sent.len() as u32);
        // Room appears, and the cancel with it.
        let mut got = h.recv_exact(server, 1 + sent.len() * round / 10);
        h.cancel(waiting);
        let (result, _) = h.run_until(waiting);
        match result {
            Ok(Outcome::Count(count)) => sent.extend_from_slice(&block[..count]),
            other => assert_cancelled(&other),
        }
        h.close(client);
        let rest = sent.len() - got.len();
        got.extend(h.recv_exact(server, rest));
        assert!(got == sent);
        assert_eq!(h.recv(server, 10).unwrap(), b"");
    }
}

pub(super) fn no_cancel_is_lost_among_many(make: &mut Make<'_>) {
    const EACH: usize = 300;
    let mut h = harness(make);
    let pairs = [(); 4].map(|()| h.tcp_pair());
    let mut keys = Vec::new();
    for _ in 0..EACH {
        for (client, server) in pairs {
            keys.push(h.start(recv_op(client, 10)));
            keys.push(h.start(recv_op(server, 10)));
        }
    }
    for key in &keys {
        h.cancel(*key);
    }
    for key in keys {
        let (result, _) = h.run_until(key);
        assert!(is_cancelled(&result), "{result:?}");
    }
    for (client, server) in pairs {
        h.send_all(client, b"after all");
        assert_eq!(h.recv_exact(server, 9), b"after all");
    }
}
