//! `recv_now` and `send_now`: bytes that move in the caller's own call, where the backend does that.

use std::io::{self, IoSlice};
use std::time::Duration;

use super::{Make, fill, harness, pattern};
use crate::backend::Wait;
use crate::fd::FdKey;
use crate::op::{Op, Outcome};
use crate::testing::harness::recv_op;
use crate::testing::{Arrival, Harness};

/// A pair, on a backend that has synchronous calls.
fn synchronous(make: &mut Make<'_>) -> Option<(Harness, FdKey, FdKey)> {
    let mut h = harness(make);
    let (client, server) = h.tcp_pair();
    if h.backend().capabilities().synchronous {
        return Some((h, client, server));
    }
    assert!(h.backend().recv_now(server, &mut [0; 8]).is_none(), "the documented answer of one that has none");
    assert!(h.backend().send_now(client, &[IoSlice::new(b"x")]).is_none());
    None
}

/// Receives synchronously; `None` where that would block.
fn try_recv_now(h: &mut Harness, fd: FdKey, limit: usize) -> Option<Vec<u8>> {
    let mut buf = vec![0; limit];
    match h.backend().recv_now(fd, &mut buf).expect("synchronous calls") {
        Ok(count) => {
            buf.truncate(count);
            Some(buf)
        }
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            None
        }
    }
}

/// Receives synchronously until something is there.
fn recv_now(h: &mut Harness, fd: FdKey, limit: usize) -> Vec<u8> {
    let deadline = h.now() + Duration::from_secs(60);
    loop {
        if let Some(bytes) = try_recv_now(h, fd, limit) {
            return bytes;
        }
        assert!(h.now() < deadline, "nothing to receive, though it was sent");
        let soon = h.now() + Duration::from_millis(1);
        h.poll(Wait::Until(soon));
    }
}

pub(super) fn synchronous_calls_answer_or_are_none(make: &mut Make<'_>) {
    let Some((mut h, client, server)) = synchronous(make) else { return };
    let error = h.backend().recv_now(server, &mut [0; 8]).expect("synchronous calls").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    let pieces = [IoSlice::new(b"one "), IoSlice::new(b""), IoSlice::new(b"two")];
    assert_eq!(h.backend().send_now(client, &pieces).expect("synchronous calls").unwrap(), 7);
    assert_eq!(recv_now(&mut h, server, 4), b"one ");
    assert_eq!(recv_now(&mut h, server, 100), b"two");
    h.close(client);
    assert_eq!(recv_now(&mut h, server, 100), b"", "the end of the stream");
    let unknown = FdKey::new(12_345, 6);
    assert!(h.backend().recv_now(unknown, &mut [0; 8]).expect("synchronous calls").is_err());
    assert!(h.backend().send_now(unknown, &[IoSlice::new(b"x")]).expect("synchronous calls").is_err());
}

pub(super) fn a_vain_synchronous_receive_costs_no_readiness(make: &mut Make<'_>) {
    let Some((mut h, client, server)) = synchronous(make) else { return };
    for round in 0..20 {
        let bytes = pattern(8, round);
        let waiting = h.start(recv_op(server, 8));
        assert!(try_recv_now(&mut h, server, 8).is_none());
        h.send_all(client, &bytes);
        assert_eq!(h.received(waiting).unwrap(), bytes);
        // Now with the vain call after the bytes were taken, and the operation submitted after it.
        assert!(try_recv_now(&mut h, server, 8).is_none());
        let waiting = h.start(recv_op(server, 8));
        h.send_all(client, &bytes);
        assert_eq!(h.received(waiting).unwrap(), bytes);
    }
}

pub(super) fn a_synchronous_receive_takes_the_place_of_a_waiting_one(make: &mut Make<'_>) {
    let Some((mut h, client, server)) = synchronous(make) else { return };
    for multishot in [false, true] {
        h.hold_resumes(true);
        let waiting = h.start(if multishot { Op::RecvMulti { fd: server } } else { recv_op(server, 8) });
        h.send_all(client, b"first");
        h.wait_for("a Resume, or an outcome", |h| (h.has_resume(waiting) || h.has_arrival(waiting)).then_some(()));
        let resumed = h.has_resume(waiting);
        if resumed {
            // The operation was told of the bytes, and the loop takes them in another way.
            assert_eq!(try_recv_now(&mut h, server, 8).expect("the bytes that were told of"), b"first");
            assert!(try_recv_now(&mut h, server, 8).is_none());
        }
        h.hold_resumes(false);
        if resumed {
            h.poll(Wait::Now);
            assert!(h.is_in_flight(waiting) && !h.has_arrival(waiting), "there is nothing for it yet");
            h.send_all(client, b"second");
        }
        let expected: &[u8] = if resumed { b"second" } else { b"first" };
        match h.next_of(waiting) {
            Arrival::More(_, Outcome::Chunk(chunk)) => assert_eq!(&chunk[..], expected),
            Arrival::Final(_, Ok(Outcome::Count(_)), Op::Recv { buf, .. }) => assert_eq!(buf, expected),
            other => panic!("a receive came to {other:?}"),
        }
        h.cancel(waiting);
    }
}

pub(super) fn a_receive_goes_on_into_the_callers_memory(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (client, server) = h.tcp_pair();
    let receiving = h.start(Op::RecvMulti { fd: server });
    h.hold_resumes(true);
    let mut buf = [0; 8];
    let mut resumed = |h: &mut Harness| {
        h.wait_for("a Resume", |h| h.has_resume(receiving).then_some(()));
        let count = h.resume_into(receiving, &mut buf).expect("bytes, as before").expect("they were told of");
        buf[..count].to_vec()
    };
    h.send_all(client, b"a first message");
    h.wait_for("a Resume, or bytes", |h| (h.has_resume(receiving) || h.has_arrival(receiving)).then_some(()));
    if !h.has_resume(receiving) || h.resume_into(receiving, &mut []).is_none() {
        // This one completes by itself, or gives its own memory only.
        h.hold_resumes(false);
        assert!(matches!(h.next_of(receiving), Arrival::More(_, Outcome::Chunk(_))));
        h.cancel(receiving);
        return;
    }
    // A full buffer says that there may be more, of which it is told anew.
    assert_eq!(resumed(&mut h), b"a first ");
    assert_eq!(resumed(&mut h), b"message");
    assert!(!h.has_resume(receiving));
    h.send_all(client, b"second");
    assert_eq!(resumed(&mut h), b"second");
    // And as before.
    h.send_all(client, b"third");
    h.wait_for("a Resume", |h| h.has_resume(receiving).then_some(()));
    h.hold_resumes(false);
    assert!(matches!(h.next_of(receiving), Arrival::More(_, Outcome::Chunk(chunk)) if &chunk[..] == b"third"));
    // The end is `resume`'s to say.
    h.hold_resumes(true);
    h.close(client);
    h.wait_for("a Resume", |h| h.has_resume(receiving).then_some(()));
    assert!(matches!(h.resume_into(receiving, &mut [0; 8]), None | Some(Ok(0))));
    h.hold_resumes(false);
    assert!(matches!(h.next_of(receiving), Arrival::Final(_, Ok(Outcome::Count(0)), _)));
    assert!(h.resume_into(receiving, &mut [0; 8]).is_none(), "it is over");
}

pub(super) fn a_synchronous_send_does_not_overtake_a_waiting_one(make: &mut Make<'_>) {
    let Some((mut h, client, server)) = synchronous(make) else { return };
    let (waiting, mut sent) = fill(&mut h, client);
    let block = pattern(1 << 16, sent.len() as u32);
    h.hold_resumes(true);
    let mut got = Vec::new();
    while got.len() < sent.len() {
        got.extend(recv_now(&mut h, server, 1 << 16));
    }
    // There is room now, and the one that waits has not had its turn.
    h.wait_for("a Resume, or the completion", |h| (h.has_resume(waiting) || !h.is_in_flight(waiting)).then_some(()));
    let overtook = h.is_in_flight(waiting) && h.backend().send_now(client, &[IoSlice::new(b"late")]).unwrap().is_ok();
    assert!(!overtook, "the bytes of a waiting send come first");
    h.hold_resumes(false);
    let (result, _) = h.run_until(waiting);
    let Ok(Outcome::Count(count)) = result else { panic!("send came to {result:?}") };
    sent.extend_from_slice(&block[..count]);
    while got.len() < sent.len() {
        got.extend(recv_now(&mut h, server, 1 << 16));
    }
    assert!(got == sent);
}

pub(super) fn a_synchronous_send_stops_at_a_full_socket(make: &mut Make<'_>) {
    let Some((mut h, client, server)) = synchronous(make) else { return };
    let block = pattern(100_000, 5);
    let mut sent = Vec::new();
    let error = loop {
        match h.backend().send_now(client, &[IoSlice::new(&block[..1]), IoSlice::new(&block[1..])]) {
            Some(Ok(count)) if count > 0 => sent.extend_from_slice(&block[..count]),
            Some(Ok(_)) => panic!("nothing was sent, and nothing said of it"),
            Some(Err(error)) => break error,
            None => panic!("synchronous calls"),
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    // One that waits for room gets it when the peer makes some.
    let waiting = h.start(Op::Send { fd: client, buf: b"the rest".to_vec(), start: 0 });
    let mut got = Vec::new();
    while got.len() < sent.len() {
        got.extend(recv_now(&mut h, server, 100_000));
    }
    let (result, _) = h.run_until(waiting);
    let Ok(Outcome::Count(count)) = result else { panic!("send came to {result:?}") };
    sent.extend_from_slice(&b"the rest"[..count]);
    while got.len() < sent.len() {
        got.extend(recv_now(&mut h, server, 100_000));
    }
    assert!(got == sent);
}
