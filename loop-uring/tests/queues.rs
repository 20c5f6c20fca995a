//! Queues that are full: nothing is lost, nothing overtakes.

mod rings;

use loop_core::testing::{Arrival, CheckedBackend, Harness};
use loop_core::{Interest, Op, OpKey, Outcome, Wait};
use loop_uring::{Options, UringBackend};
use rings::{chunk, harness, is_cancelled, put, recv, send, tcp, tiny, unix};

#[test]
fn more_operations_than_the_queue_has_room_for_all_complete() {
    let mut h = harness(&tiny());
    let mut sockets: Vec<_> = (0..40).map(|_| unix(&mut h)).collect();
    let keys: Vec<OpKey> = sockets.iter().map(|(fd, _)| h.start(recv(*fd, 4))).collect();
    for (number, (_, peer)) in sockets.iter_mut().enumerate() {
        put(peer, &[number as u8; 4]);
    }
    for (number, key) in keys.into_iter().enumerate() {
        assert_eq!(h.received(key).unwrap(), [number as u8; 4]);
    }
}

#[test]
fn no_cancel_is_lost_in_a_full_queue() {
    let mut h = harness(&tiny());
    let sockets: Vec<_> = (0..40).map(|_| unix(&mut h)).collect();
    for round in 0..3 {
        let keys: Vec<OpKey> = sockets.iter().map(|(fd, _)| h.start(recv(*fd, 4))).collect();
        if round == 1 {
            h.poll(Wait::Now);
        }
        for key in &keys {
            h.cancel(*key);
            h.cancel(*key);
        }
        for key in keys {
            assert!(is_cancelled(&h.run_until(key).0));
        }
    }
}

#[test]
fn a_cancel_does_not_overtake_its_operation() {
    let mut h = harness(&tiny());
    let (_, idle) = std::io::pipe().unwrap();
    let (fd, mut peer) = unix(&mut h);
    // What fills the queue, so that operation and cancel go through the backlog together.
    for _ in 0..50 {
        let number = std::os::fd::AsRawFd::as_raw_fd(&idle);
        let filling = [(); 7].map(|()| h.start(Op::Readiness { fd: number, interest: Interest::Write }));
        let key = h.start(recv(fd, 4));
        h.cancel(key);
        assert!(is_cancelled(&h.run_until(key).0));
        filling.into_iter().for_each(|key| drop(h.run_until(key)));
    }
    put(&mut peer, b"left");
    assert_eq!(h.recv_exact(fd, 4), b"left");
}

/// A checked backend, and how often its completion queue was seen to overflow.
fn overflowing(options: &Options) -> (Harness, impl Fn() -> usize + use<>) {
    let backend = UringBackend::with(options).expect("io_uring");
    let overflows = backend.overflows();
    (Harness::new(Box::new(CheckedBackend::new(Box::new(backend)))), overflows)
}

#[test]
fn a_flood_of_completions_overflows_and_loses_none() {
    const EACH: usize = 50;
    let (mut h, overflows) = overflowing(&Options { buffers: 64, buffer_size: 64, ..tiny() });
    let mut sockets: Vec<_> = (0..16).map(|_| unix(&mut h)).collect();
    let receives: Vec<OpKey> = sockets.iter().map(|(fd, _)| h.start(Op::RecvMulti { fd: *fd })).collect();
    h.poll(Wait::Now);
    let mut sent = vec![Vec::new(); sockets.len()];
    for round in 0..EACH {
        for (number, (_, peer)) in sockets.iter_mut().enumerate() {
            let bytes = [round as u8; 3].map(|byte| byte.wrapping_mul(7).wrapping_add(number as u8));
            put(peer, &bytes);
            sent[number].extend(bytes);
        }
        if round % 10 == 0 {
            h.poll(Wait::Now);
        }
    }
    for ((_, peer), (receive, sent)) in sockets.into_iter().zip(receives.into_iter().zip(sent)) {
        drop(peer);
        let mut got = Vec::new();
        while let Some(chunk) = chunk(&mut h, receive) {
            got.extend_from_slice(&chunk);
        }
        assert_eq!(got, sent);
    }
    assert!(overflows() > 0, "there was room for all of them");
}

#[test]
fn accepts_go_on_after_an_overflow() {
    let (mut h, overflows) = overflowing(&tiny());
    let (listener, addr) = h.listener(64);
    let accept = h.start(Op::AcceptMulti { fd: listener });
    h.poll(Wait::Now);
    let addr = addr.as_socket().unwrap();
    let mut peers: Vec<_> = (0..30).map(|_| std::net::TcpStream::connect(addr).unwrap()).collect();
    let mut accepted = Vec::new();
    for _ in 0..peers.len() {
        match h.next_of(accept) {
            Arrival::More(_, Outcome::Accepted(fd)) => accepted.push(fd),
            other => panic!("accept came to {other:?}"),
        }
    }
    put(&mut peers[29], b"last");
    peers.push(std::net::TcpStream::connect(addr).unwrap());
    assert!(matches!(h.next_of(accept), Arrival::More(_, Outcome::Accepted(_))), "it is still armed");
    assert_eq!(h.recv_exact(accepted[29], 4), b"last");
    assert!(overflows() > 0, "there was room for all of them");
}

#[test]
fn unparks_survive_an_overflow() {
    let mut h = harness(&tiny());
    let unparker = h.backend().unparker();
    let sockets: Vec<_> = (0..20).map(|_| tcp(&mut h)).collect();
    for _ in 0..20 {
        let sends: Vec<OpKey> = sockets.iter().map(|(fd, _)| h.start(send(*fd, b"x"))).collect();
        unparker.unpark();
        for key in sends {
            assert!(matches!(h.run_until(key).0, Ok(Outcome::Count(1))));
        }
        unparker.unpark();
        h.poll(Wait::Forever);
    }
}
