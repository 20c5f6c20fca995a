//! Sends that only tell of failure.

mod rings;

use std::io::Read;

use loop_core::testing::Harness;
use loop_core::{Completion, Event, Op, OpKey, Outcome, Wait};
use loop_uring::Options;
use rings::{harness, put, send, tiny, unix};

fn patient() -> Options {
    Options { patient: true, ..Options::default() }
}

/// One poll, as it is.
fn look(h: &mut Harness, wait: Wait) -> Vec<Completion> {
    let mut out = Vec::new();
    let (backend, ops) = h.parts();
    backend.poll(ops, wait, &mut out).expect("poll");
    out
}

fn finals(completions: &[Completion]) -> Vec<OpKey> {
    let is_final = |one: &&Completion| matches!(one.event, Event::Final(_));
    completions.iter().filter(is_final).map(|one| one.op).collect()
}

#[test]
fn success_is_told_with_whatever_ends_the_wait_and_before_it() {
    let mut h = harness(&patient());
    let (fd, mut peer) = unix(&mut h);
    let receive = h.start(Op::RecvMulti { fd });
    let sent = h.start(send(fd, b"reply"));
    // Sends what is queued and waits: the peer answers, so it is the answer that ends it.
    let answering = std::thread::spawn(move || {
        let mut got = [0; 5];
        peer.read_exact(&mut got).unwrap();
        put(&mut peer, b"next");
        (got, peer)
    });
    let mut seen = look(&mut h, Wait::Forever);
    while seen.len() < 2 {
        seen.extend(look(&mut h, Wait::Forever));
    }
    assert!(
        matches!(&seen[0], Completion { op, event: Event::Final(Ok(Outcome::Count(5))) } if *op == sent),
        "{seen:?}"
    );
    assert!(matches!(&seen[1], Completion { op, event: Event::More(_) } if *op == receive), "{seen:?}");
    let (got, _peer) = answering.join().unwrap();
    assert_eq!(&got, b"reply");
}

#[test]
fn success_is_told_by_a_poll_that_does_not_wait() {
    let mut h = harness(&patient());
    let (fd, _peer) = unix(&mut h);
    let sent = h.start(send(fd, b"x"));
    assert_eq!(finals(&look(&mut h, Wait::Now)), [sent]);
    let sent = h.start(send(fd, b"x"));
    let soon = h.now() + std::time::Duration::from_millis(1);
    assert_eq!(finals(&look(&mut h, Wait::Until(soon))), [sent]);
}

#[test]
fn a_failure_ends_the_wait() {
    let mut h = harness(&patient());
    let (fd, peer) = unix(&mut h);
    drop(peer);
    let sent = h.start(send(fd, b"x"));
    let (result, _) = h.run_until(sent);
    assert_eq!(result.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
}

#[test]
fn what_does_not_fit_is_sent_when_it_does() {
    let mut h = harness(&patient());
    let (fd, mut peer) = unix(&mut h);
    let bytes: Vec<u8> = (0..4_000_000_u32).map(|n| (n / 7) as u8).collect();
    let reader = std::thread::spawn(move || {
        let mut got = Vec::new();
        peer.read_to_end(&mut got).unwrap();
        got
    });
    let (mut buf, mut start) = (bytes.clone(), 0);
    while start < buf.len() {
        let key = h.start(Op::Send { fd, buf, start });
        let result = loop {
            h.poll(Wait::Now);
            if let Some(loop_core::testing::Arrival::Final(_, result, op)) = h.kept(key) {
                let Op::Send { buf: back, .. } = op else { panic!("another operation") };
                buf = back;
                break result;
            }
        };
        let Ok(Outcome::Count(count)) = result else { panic!("{result:?}") };
        assert!(count > 0);
        start += count;
    }
    h.close(fd);
    assert!(reader.join().unwrap() == bytes);
}

#[test]
fn failures_among_successes_are_not_mistaken_in_a_full_queue() {
    let mut h = harness(&Options { patient: true, ..tiny() });
    let mut sockets: Vec<_> = (0..30).map(|_| unix(&mut h)).collect();
    for (number, (_, peer)) in sockets.iter_mut().enumerate() {
        if number % 3 == 0 {
            // Gone: a send to it fails.
            *peer = std::os::unix::net::UnixStream::pair().unwrap().0;
        }
    }
    for _ in 0..5 {
        let keys: Vec<OpKey> = sockets.iter().map(|(fd, _)| h.start(send(*fd, b"abc"))).collect();
        for (number, key) in keys.into_iter().enumerate() {
            while !h.has_arrival(key) {
                h.poll(Wait::Now);
            }
            match h.run_until(key).0 {
                Ok(Outcome::Count(3)) => assert_ne!(number % 3, 0, "a failure was taken for a success"),
                other => assert_eq!((number % 3, other.is_err()), (0, true), "a success was taken for a failure"),
            }
        }
    }
}

#[test]
fn a_quiet_send_that_is_cancelled_or_closed_ends_once() {
    let mut h = harness(&patient());
    let (fd, mut peer) = unix(&mut h);
    let sent = h.start(send(fd, b"one"));
    h.cancel(sent);
    assert!(finals(&look(&mut h, Wait::Now)).contains(&sent));
    h.drain();
    let sent = h.start(send(fd, b"two"));
    h.close(fd);
    while h.is_in_flight(sent) {
        h.poll(Wait::Now);
    }
    let mut got = Vec::new();
    peer.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"onetwo");
}
