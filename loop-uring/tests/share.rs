//! No connection gets more than its share of a pass, and none loses anything by it.

mod rings;

use std::collections::HashMap;
use std::os::unix::net::UnixStream;

use loop_core::testing::{Arrival, Harness};
use loop_core::{Completion, Event, FdKey, Op, OpKey, Outcome, Wait};
use loop_uring::Options;
use rings::{chunk, harness, is_cancelled, put, tcp, unix};

/// What a poll may report of one receiver.
const MOST: usize = 256 * 1024;

/// Whatever the size, the ring receives: what is received by call comes one buffer a turn, which is no share to exceed.
fn ring_only() -> Options {
    Options { bulk: usize::MAX, ..Options::default() }
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8).collect()
}

/// One poll, as it is.
fn look(h: &mut Harness, wait: Wait) -> Vec<Completion> {
    let mut out = Vec::new();
    let (backend, ops) = h.parts();
    backend.poll(ops, wait, &mut out).expect("poll");
    out
}

/// A receiver with much more than its share ahead of it, written by a thread until the socket takes no more.
fn flooded(h: &mut Harness) -> (FdKey, OpKey, UnixStream, std::thread::JoinHandle<()>) {
    let (fd, peer) = unix(h);
    let receive = h.start(Op::RecvMulti { fd });
    let mut writer = peer.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        // Ends with an error where the receiver is closed under it.
        let _ = std::io::Write::write_all(&mut writer, &bytes(8 << 20));
    });
    (fd, receive, peer, writing)
}

#[test]
fn a_poll_reports_no_more_than_a_share_and_in_the_end_everything() {
    let mut h = harness(&ring_only());
    let (_fd, receive, peer, writing) = flooded(&mut h);
    let mut got = Vec::new();
    while got.len() < 8 << 20 {
        let before = got.len();
        for completion in look(&mut h, Wait::Forever) {
            match completion.event {
                Event::More(Outcome::Chunk(chunk)) if completion.op == receive => got.extend_from_slice(&chunk),
                other => panic!("a receive came to {other:?}"),
            }
        }
        assert!(got.len() - before <= MOST, "{} bytes in one poll", got.len() - before);
    }
    writing.join().unwrap();
    assert!(got == bytes(8 << 20));
    // It goes on as before.
    put(&peer, b"more");
    assert_eq!(chunk(&mut h, receive).unwrap()[..], *b"more");
}

#[test]
fn one_that_is_flooded_holds_up_nobody() {
    let mut h = harness(&ring_only());
    let (_fd, receive, _peer, writing) = flooded(&mut h);
    let (other, other_peer) = tcp(&mut h);
    let other = h.start(Op::RecvMulti { fd: other });
    let (mut got, mut pings) = (0, 0);
    let mut seen: HashMap<OpKey, usize> = HashMap::new();
    while got < 8 << 20 {
        if pings == seen.get(&other).copied().unwrap_or(0) {
            put(&other_peer, b"p");
            pings += 1;
        }
        for completion in look(&mut h, Wait::Forever) {
            let Event::More(Outcome::Chunk(chunk)) = completion.event else { panic!("{completion:?}") };
            *seen.entry(completion.op).or_default() += chunk.len();
        }
        got = seen.get(&receive).copied().unwrap_or(0);
    }
    writing.join().unwrap();
    assert!(seen.get(&other).copied().unwrap_or(0) + 1 >= pings);
}

#[test]
fn the_end_comes_behind_what_was_carried_over() {
    let mut h = harness(&ring_only());
    let (_fd, receive, peer, writing) = flooded(&mut h);
    let mut got = chunk(&mut h, receive).expect("no end").to_vec();
    std::thread::spawn(move || {
        writing.join().unwrap();
        drop(peer);
    });
    while let Some(chunk) = chunk(&mut h, receive) {
        got.extend_from_slice(&chunk);
    }
    assert!(got == bytes(8 << 20));
}

/// Polls until the receiver has had at least one whole share.
fn into_the_flood(h: &mut Harness, receive: OpKey) -> Vec<u8> {
    let mut got = Vec::new();
    while got.len() < MOST {
        h.poll(Wait::Forever);
        while let Some(Arrival::More(_, Outcome::Chunk(chunk))) = h.kept(receive) {
            got.extend_from_slice(&chunk);
        }
    }
    got
}

#[test]
fn cancelled_in_the_flood_it_loses_nothing() {
    for round in 0..10 {
        let mut h = harness(&ring_only());
        let (fd, receive, peer, writing) = flooded(&mut h);
        let mut got = into_the_flood(&mut h, receive);
        if round % 2 == 0 {
            h.poll(Wait::Now);
        }
        h.cancel(receive);
        loop {
            match h.next_of(receive) {
                Arrival::More(_, Outcome::Chunk(chunk)) => got.extend_from_slice(&chunk),
                Arrival::Final(_, result, _) => {
                    assert!(is_cancelled(&result), "{result:?}");
                    break;
                }
                other @ Arrival::More(..) => panic!("{other:?}"),
            }
        }
        // The rest is the socket's next receiver's.
        let receive = h.start(Op::RecvMulti { fd });
        std::thread::spawn(move || {
            writing.join().unwrap();
            drop(peer);
        });
        while let Some(chunk) = chunk(&mut h, receive) {
            got.extend_from_slice(&chunk);
        }
        assert!(got == bytes(8 << 20), "bytes were lost or moved");
    }
}

#[test]
fn closed_in_the_flood_it_ends_once() {
    for round in 0..6 {
        let mut h = harness(&Options { buffers: 8, ..Options::default() });
        let (fd, receive, peer, writing) = flooded(&mut h);
        into_the_flood(&mut h, receive);
        if round % 2 == 0 {
            h.poll(Wait::Now);
        }
        if round % 3 == 0 {
            h.drain();
        }
        h.close(fd);
        while h.is_in_flight(receive) {
            h.poll(Wait::Now);
        }
        while h.kept(receive).is_some() {}
        drop(peer);
        writing.join().unwrap();
    }
}
