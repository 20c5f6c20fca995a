//! Receivers that get much at a time: switched over to calls, and back, without a byte lost or out of order.

mod rings;

use std::io::Write;
use std::net::TcpStream;

use loop_core::testing::{Arrival, Harness};
use loop_core::{Op, OpKey, Outcome, Wait};
use loop_uring::Options;
use rings::{chunk, harness, is_cancelled, put, tcp, unix, usual};

const MESSAGE: usize = 64 * 1024;

fn message(seed: usize) -> Vec<u8> {
    (0..MESSAGE).map(|n| (n * 31 + seed * 7) as u8).collect()
}

/// Receives so much.
fn receive(h: &mut Harness, key: OpKey, count: usize) -> Vec<u8> {
    let mut got = Vec::new();
    while got.len() < count {
        got.extend_from_slice(&chunk(h, key).expect("no end"));
    }
    got
}

/// A receiver that has been switched over.
fn switched(h: &mut Harness) -> (loop_core::FdKey, OpKey, TcpStream) {
    let (fd, mut peer) = tcp(h);
    let key = h.start(Op::RecvMulti { fd });
    for round in 0..8 {
        let mut writer = peer.try_clone().unwrap();
        let writing = std::thread::spawn(move || writer.write_all(&message(round)).unwrap());
        assert!(receive(h, key, MESSAGE) == message(round));
        writing.join().unwrap();
    }
    put(&mut peer, b"?");
    assert_eq!(receive(h, key, 1), b"?");
    (fd, key, peer)
}

#[test]
fn large_and_small_messages_in_turn_arrive_whole_and_in_order() {
    let mut h = usual();
    let (_fd, key, peer) = switched(&mut h);
    for round in 0..60 {
        // Long enough a row of small ones that it is switched back, and over again.
        let sent = if round % 30 < 5 { message(round) } else { vec![round as u8; 100] };
        let (mut writer, copy) = (peer.try_clone().unwrap(), sent.clone());
        let writing = std::thread::spawn(move || writer.write_all(&copy).unwrap());
        assert!(receive(&mut h, key, sent.len()) == sent, "round {round}");
        writing.join().unwrap();
    }
    drop(peer);
    assert!(chunk(&mut h, key).is_none());
}

#[test]
fn the_end_and_a_reset_are_told() {
    let mut h = usual();
    let (_fd, key, peer) = switched(&mut h);
    drop(peer);
    assert!(chunk(&mut h, key).is_none());
    let (_fd, key, peer) = switched(&mut h);
    socket2::SockRef::from(&peer).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(peer);
    assert!(
        matches!(h.next_of(key), Arrival::Final(_, Err(error), _) if error.raw_os_error() == Some(libc::ECONNRESET))
    );
}

#[test]
fn cancelled_while_it_waits_it_ends_once_and_loses_nothing() {
    let mut h = usual();
    let (fd, key, mut peer) = switched(&mut h);
    h.poll(Wait::Now);
    h.cancel(key);
    assert!(matches!(h.next_of(key), Arrival::Final(_, result, _) if is_cancelled(&result)));
    put(&mut peer, b"for the next");
    let next = h.start(Op::RecvMulti { fd });
    assert_eq!(receive(&mut h, next, 12), b"for the next");
}

#[test]
fn cancelled_when_it_was_announced_it_ends_once_and_loses_nothing() {
    let mut h = usual();
    let (fd, key, mut peer) = switched(&mut h);
    put(&mut peer, b"for the next");
    // Announced, and cancelled before its turn.
    let mut out = Vec::new();
    let (backend, ops) = h.parts();
    while out.is_empty() {
        backend.poll(ops, Wait::Forever, &mut out).unwrap();
    }
    backend.cancel(ops, key);
    assert!(matches!(backend.resume(ops, key), loop_core::Submitted::Queued));
    assert!(matches!(h.next_of(key), Arrival::Final(_, result, _) if is_cancelled(&result)));
    let next = h.start(Op::RecvMulti { fd });
    assert_eq!(receive(&mut h, next, 12), b"for the next");
}

#[test]
fn closed_at_any_moment_it_ends_once() {
    for polls in 0..3 {
        let mut h = usual();
        let (fd, key, mut peer) = switched(&mut h);
        put(&mut peer, b"unread");
        let mut out = Vec::new();
        let (backend, ops) = h.parts();
        for _ in 0..polls {
            backend.poll(ops, Wait::Now, &mut out).unwrap();
        }
        h.close(fd);
        assert!(matches!(h.next_of(key), Arrival::Final(_, result, _) if is_cancelled(&result)), "{polls}");
    }
}

/// A chunk lies in the buffer that was used last, so that what is received next is received into warm memory.
#[test]
fn one_buffer_serves_in_turn() {
    let mut h = usual();
    let (_fd, key, mut peer) = switched(&mut h);
    let mut places = std::collections::HashSet::new();
    for _ in 0..5 {
        put(&mut peer, &[1; 8000]);
        let mut left = 8000;
        while left > 0 {
            let chunk = chunk(&mut h, key).unwrap();
            left -= chunk.len();
            places.insert(chunk.as_ptr());
        }
    }
    assert_eq!(places.len(), 1);
}

#[test]
fn a_program_that_keeps_every_buffer_still_receives() {
    let mut h = harness(&Options { buffers: 4, ..Options::default() });
    let (_fd, key, mut peer) = switched(&mut h);
    let mut kept = Vec::new();
    for round in 0..20_u8 {
        put(&mut peer, &[round; 5000]);
        let mut left = 5000;
        while left > 0 {
            let chunk = chunk(&mut h, key).unwrap();
            assert!(chunk.iter().all(|byte| *byte == round));
            left -= chunk.len();
            kept.push(chunk);
        }
    }
    assert!(kept.iter().map(|chunk| chunk.len()).sum::<usize>() == 100_000);
}

/// The caller's memory does as well as the backend's.
#[test]
fn what_is_told_of_goes_into_the_callers_memory() {
    let mut h = usual();
    let (_fd, key, mut peer) = switched(&mut h);
    h.hold_resumes(true);
    // Fewer small ones than have it switched back.
    for round in 0..7 {
        put(&mut peer, &[round; 100]);
        let mut got = Vec::new();
        while got.len() < 100 {
            h.wait_for("a Resume", |h| h.has_resume(key).then_some(()));
            let mut buf = [0; 64];
            let count = h.resume_into(key, &mut buf).expect("it goes by calls").expect("there are bytes");
            got.extend_from_slice(&buf[..count]);
        }
        assert!(got.iter().all(|byte| *byte == round) && got.len() == 100);
        assert!(h.resume_into(key, &mut [0; 8]).is_none(), "it has not been told of more");
    }
    h.hold_resumes(false);
    put(&mut peer, b"and so on");
    assert_eq!(receive(&mut h, key, 9), b"and so on");
    drop(peer);
    assert!(chunk(&mut h, key).is_none());
}

/// While another receiver goes by calls, one that does not is served by the ring.
#[test]
fn receivers_are_switched_one_by_one() {
    let mut h = usual();
    let (_fd, bulk, peer) = switched(&mut h);
    let (fd, mut other) = unix(&mut h);
    let small = h.start(Op::RecvMulti { fd });
    for round in 0..10 {
        put(&mut other, b"ping");
        let mut writer = peer.try_clone().unwrap();
        let writing = std::thread::spawn(move || writer.write_all(&message(round)).unwrap());
        assert!(receive(&mut h, bulk, MESSAGE) == message(round));
        assert_eq!(receive(&mut h, small, 4), b"ping");
        writing.join().unwrap();
    }
}

/// Large sends need no operation; small ones, and such as would overtake another, do.
#[test]
fn a_large_send_is_made_at_once_unless_another_is_under_way() {
    use std::io::{IoSlice, Read};
    let mut h = usual();
    let (fd, mut peer) = unix(&mut h);
    assert!(h.backend().send_now(fd, &[IoSlice::new(&[1; 1000])]).is_none());
    let large = vec![2; 32 * 1024];
    let sent = h.backend().send_now(fd, &[IoSlice::new(&large)]).expect("large").expect("room");
    let mut got = vec![0; sent];
    peer.read_exact(&mut got).unwrap();
    assert!(sent > 0 && got.iter().all(|byte| *byte == 2));
    let under_way = h.start(Op::Send { fd, buf: b"first".to_vec(), start: 0 });
    let refused = h.backend().send_now(fd, &[IoSlice::new(&large)]).expect("large").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::WouldBlock);
    let (result, _) = h.run_until(under_way);
    assert!(matches!(result, Ok(Outcome::Count(5))));
}
