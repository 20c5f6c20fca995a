//! Bytes between two sockets: all of them, in order (**B3**), to the end.

use std::io;
use std::net::Shutdown;
use std::time::Duration;

use super::{Make, fill, harness, pattern};
use crate::backend::Wait;
use crate::control::Control;
use crate::fd::FdKey;
use crate::op::{Op, Outcome};
use crate::op_table::OpKey;
use crate::testing::harness::recv_op;
use crate::testing::{Arrival, Harness};

pub(super) fn bytes_go_both_ways(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (client, server) = h.tcp_pair();
    for round in 0..10 {
        let (ping, pong) = (pattern(100, round), pattern(200, round + 100));
        let receive = h.start(recv_op(server, 100));
        h.send_all(client, &ping);
        assert_eq!(h.received(receive).unwrap(), ping);
        h.send_all(server, &pong);
        assert_eq!(h.recv_exact(client, 200), pong);
    }
}

pub(super) fn a_receive_appends(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (client, server) = h.tcp_pair();
    h.send_all(client, b"world and more");
    let mut buf = Vec::with_capacity(64);
    buf.extend_from_slice(b"hello ");
    let (result, op) = h.run(Op::Recv { fd: server, buf, limit: 5 });
    assert!(matches!(result, Ok(Outcome::Count(5))), "{result:?}");
    let Op::Recv { buf, .. } = op else { panic!("another operation came back") };
    assert_eq!(buf, b"hello world");
    assert_eq!(h.recv_exact(server, 9), b" and more");
}

pub(super) fn a_send_starts_where_told(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (client, server) = h.tcp_pair();
    let (result, _) = h.run(Op::Send { fd: client, buf: b"skipped, sent".to_vec(), start: 9 });
    assert!(matches!(result, Ok(Outcome::Count(4))), "{result:?}");
    assert_eq!(h.recv_exact(server, 4), b"sent");
}

pub(super) fn short_receives_lose_nothing(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (client, server) = h.tcp_pair();
    let bytes = pattern(1_000, 1);
    h.send_all(client, &bytes);
    let mut got = Vec::new();
    for limit in (1..).take_while(|limit| limit * (limit - 1) / 2 < 1_000) {
        let part = h.recv(server, limit).unwrap();
        assert!(!part.is_empty() && part.len() <= limit);
        got.extend(part);
    }
    let rest = 1_000 - got.len();
    got.extend(h.recv_exact(server, rest));
    assert_eq!(got, bytes);
}

pub(super) fn a_second_receive_queues_behind_the_first(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (client, server) = h.tcp_pair();
    for round in 0..20 {
        let bytes = pattern(12, round);
        let waiting = [(); 3].map(|()| h.start(recv_op(server, 4)));
        h.send_all(client, &bytes);
        let mut got = Vec::new();
        for key in waiting {
            got.extend(h.received(key).unwrap());
        }
        let rest = 12 - got.len();
        got.extend(h.recv_exact(server, rest));
        assert_eq!(got, bytes);
    }
}

/// One side of a transfer: what it still has to send, and what it has received.
struct Side {
    fd: FdKey,
    bytes: Vec<u8>,
    sent: usize,
    got: Vec<u8>,
    sending: Option<OpKey>,
    receiving: Option<OpKey>,
}

impl Side {
    fn new(fd: FdKey, bytes: Vec<u8>) -> Self {
        Self { fd, bytes, sent: 0, got: Vec::new(), sending: None, receiving: None }
    }

    fn go_on(&mut self, h: &mut Harness, expected: usize) {
        if self.sending.is_none() && self.sent < self.bytes.len() {
            let part = 1 + (self.sent * 7 + 60_000) % 300_000;
            let end = self.bytes.len().min(self.sent + part);
            let buf = self.bytes[self.sent..end].to_vec();
            self.sending = Some(h.start(Op::Send { fd: self.fd, buf, start: 0 }));
        }
        if self.receiving.is_none() && self.got.len() < expected {
            let limit = 1 + (self.got.len() * 13 + 5) % 70_000;
            self.receiving = Some(h.start(recv_op(self.fd, limit)));
        }
    }

    fn take(&mut self, arrival: &Arrival) {
        match arrival {
            Arrival::Final(key, Ok(Outcome::Count(count)), Op::Send { .. }) if self.sending == Some(*key) => {
                assert!(*count > 0, "nothing sent after {} bytes, and no error", self.sent);
                self.sending = None;
                self.sent += count;
            }
            Arrival::Final(key, Ok(Outcome::Count(count)), Op::Recv { buf, .. }) if self.receiving == Some(*key) => {
                assert!(*count > 0, "end of stream after {} bytes", self.got.len());
                self.receiving = None;
                self.got.extend_from_slice(buf);
            }
            Arrival::Final(_, Ok(_), _) => {}
            other => panic!("a transfer came to {other:?}"),
        }
    }
}

pub(super) fn large_transfers_arrive_whole(make: &mut Make<'_>) {
    const LEN: usize = 3 << 20;
    let mut h = harness(make);
    let (client, server) = h.tcp_pair();
    let mut sides = [Side::new(client, pattern(LEN, 1)), Side::new(server, pattern(LEN, 2))];
    while sides.iter().any(|side| side.sent < LEN || side.got.len() < LEN) {
        sides.iter_mut().for_each(|side| side.go_on(&mut h, LEN));
        let arrival = h.wait_event();
        sides.iter_mut().for_each(|side| side.take(&arrival));
    }
    assert!(sides[0].got == sides[1].bytes, "bytes to the client changed on the way");
    assert!(sides[1].got == sides[0].bytes, "bytes to the server changed on the way");
}

pub(super) fn a_send_into_a_full_socket_waits_for_the_peer(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (client, server) = h.tcp_pair();
    let (waiting, mut sent) = fill(&mut h, client);
    assert!(h.is_in_flight(waiting));
    let block = pattern(1 << 16, sent.len() as u32);
    let mut got = Vec::new();
    while got.len() < sent.len() {
        got.extend(h.recv(server, 1 << 16).unwrap());
    }
    let (result, _) = h.run_until(waiting);
    let Ok(Outcome::Count(count)) = result else { panic!("send came to {result:?}") };
    assert!(count > 0);
    sent.extend_from_slice(&block[..count]);
    let rest = sent.len() - got.len();
    got.extend(h.recv_exact(server, rest));
    assert!(got == sent, "bytes were lost, doubled or moved");
}

pub(super) fn sends_queue_in_order(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (client, server) = h.tcp_pair();
    let (first, mut sent) = fill(&mut h, client);
    let mut queue = vec![(first, pattern(1 << 16, sent.len() as u32))];
    for seed in 1..4 {
        let buf = pattern(10_000, seed);
        queue.push((h.start(Op::Send { fd: client, buf: buf.clone(), start: 0 }), buf));
    }
    let mut got = Vec::new();
    for (key, buf) in queue {
        let result = loop {
            match h.kept(key) {
                Some(Arrival::Final(_, result, _)) => break result,
                _ => got.extend(h.recv(server, 1 << 14).unwrap()),
            }
            h.poll(Wait::Now);
        };
        let Ok(Outcome::Count(count)) = result else { panic!("send came to {result:?}") };
        sent.extend_from_slice(&buf[..count]);
    }
    let rest = sent.len() - got.len();
    got.extend(h.recv_exact(server, rest));
    assert!(got == sent, "each send's bytes follow those of the one before");
}

/// Sends the pieces, again from where the last send stopped, and gives back how many bytes went out.
fn gather(h: &mut Harness, fd: FdKey, bufs: Vec<Vec<u8>>) -> usize {
    let (result, op) = h.run(Op::SendVectored { fd, bufs });
    assert!(matches!(op, Op::SendVectored { .. }));
    match result {
        Ok(Outcome::Count(count)) => count,
        other => panic!("gathered send came to {other:?}"),
    }
}

pub(super) fn a_gathered_send_keeps_its_order(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (client, server) = h.tcp_pair();
    let bufs = vec![b"one ".to_vec(), Vec::new(), b"two ".to_vec(), b"three".to_vec()];
    assert_eq!(gather(&mut h, client, bufs), 13);
    assert_eq!(h.recv_exact(server, 13), b"one two three");
}

pub(super) fn a_gathered_send_may_have_more_pieces_than_the_kernel_takes(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (client, server) = h.tcp_pair();
    let mut bufs: Vec<Vec<u8>> = (0..3_000).map(|piece| pattern(1 + piece % 3, piece as u32)).collect();
    let all = bufs.concat();
    let mut sent = 0;
    while sent < all.len() {
        let count = gather(&mut h, client, bufs);
        assert!(count > 0);
        sent += count;
        bufs = vec![all[sent..].to_vec()];
    }
    assert!(h.recv_exact(server, all.len()) == all);
}

pub(super) fn nothing_is_sent_at_once(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (client, server) = h.tcp_pair();
    let (result, _) = h.run(Op::Send { fd: client, buf: Vec::new(), start: 0 });
    assert!(matches!(result, Ok(Outcome::Count(0))), "{result:?}");
    let (result, _) = h.run(Op::Send { fd: client, buf: b"all".to_vec(), start: 3 });
    assert!(matches!(result, Ok(Outcome::Count(0))), "{result:?}");
    assert_eq!(gather(&mut h, client, Vec::new()), 0);
    h.send_all(client, b"x");
    assert_eq!(h.recv_exact(server, 1), b"x");
}

pub(super) fn the_end_of_the_stream_comes_after_its_bytes(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (client, server) = h.tcp_pair();
    let bytes = pattern(30_000, 3);
    h.send_all(client, &bytes);
    h.close(client);
    assert!(h.recv_exact(server, 30_000) == bytes);
    for _ in 0..3 {
        assert_eq!(h.recv(server, 10).unwrap(), b"", "and stays there");
    }
    // One that waits is told too.
    let (client, server) = h.tcp_pair();
    let waiting = h.start(recv_op(server, 10));
    h.close(client);
    assert_eq!(h.received(waiting).unwrap(), b"");
}

pub(super) fn a_half_closed_connection_still_carries_the_other_half(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (client, server) = h.tcp_pair();
    h.send_all(client, b"question");
    let (result, _) = h.run(Op::Shutdown { fd: client, how: Shutdown::Write });
    assert!(matches!(result, Ok(Outcome::Done)), "{result:?}");
    assert_eq!(h.recv_exact(server, 8), b"question");
    assert_eq!(h.recv(server, 8).unwrap(), b"");
    h.send_all(server, b"answer");
    assert_eq!(h.recv_exact(client, 6), b"answer");
    let (result, _) = h.run(Op::Send { fd: client, buf: b"more".to_vec(), start: 0 });
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    // The same by request.
    h.control(server, &Control::Shutdown(Shutdown::Write));
    assert_eq!(h.recv(client, 8).unwrap(), b"");
}

pub(super) fn shutdown_needs_a_connection(make: &mut Make<'_>) {
    let mut h = harness(make);
    let fd = h.stream();
    let (result, _) = h.run(Op::Shutdown { fd, how: Shutdown::Both });
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::NotConnected);
    let error = h.backend().control(fd, &Control::Shutdown(Shutdown::Write)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotConnected);
}

pub(super) fn a_reset_is_an_error_for_the_peer(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (client, server) = h.tcp_pair();
    h.control(client, &Control::ResetOnClose);
    let waiting = h.start(recv_op(server, 10));
    h.close(client);
    assert_eq!(h.received(waiting).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    // The error is told once; after it there is nothing to come.
    assert_eq!(h.recv(server, 10).unwrap(), b"");
}

pub(super) fn unread_bytes_at_close_reset_the_connection(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (client, server) = h.tcp_pair();
    h.send_all(client, b"never read");
    // Once a part is read, all of it has arrived.
    assert_eq!(h.recv_exact(server, 2), b"ne");
    h.close(server);
    assert_eq!(h.recv(client, 10).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

pub(super) fn sending_to_a_closed_peer_fails_in_the_end(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (client, server) = h.tcp_pair();
    h.close(server);
    assert_eq!(h.recv(client, 10).unwrap(), b"");
    let deadline = h.now() + Duration::from_secs(60);
    let error = loop {
        assert!(h.now() < deadline, "sends to a closed peer go on and on");
        match h.run(Op::Send { fd: client, buf: b"anybody?".to_vec(), start: 0 }).0 {
            Ok(Outcome::Count(8)) => {
                let soon = h.now() + Duration::from_millis(1);
                h.poll(Wait::Until(soon));
            }
            Err(error) => break error,
            other => panic!("send came to {other:?}"),
        }
    };
    assert!(matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset), "{error}");
}

pub(super) fn send_and_receive_need_a_connection(make: &mut Make<'_>) {
    let mut h = harness(make);
    let fd = h.stream();
    assert_eq!(h.recv(fd, 10).unwrap_err().kind(), io::ErrorKind::NotConnected);
    let (result, _) = h.run(Op::Send { fd, buf: b"x".to_vec(), start: 0 });
    let kind = result.unwrap_err().kind();
    assert!(matches!(kind, io::ErrorKind::NotConnected | io::ErrorKind::BrokenPipe), "{kind:?}");
    assert!(h.run(Op::RecvMulti { fd }).0.is_err());
}
