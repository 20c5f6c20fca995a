//! Receiving many times with one operation, into memory that the backend lends.

use std::io;

use super::{Make, harness, is_cancelled, pattern};
use crate::buffer::Chunk;
use crate::control::Control;
use crate::op::{Op, Outcome};
use crate::op_table::OpKey;
use crate::testing::{Arrival, Harness};

/// The next chunk, or how the operation ended.
fn next_chunk(h: &mut Harness, key: OpKey) -> Result<Chunk, io::Result<Outcome>> {
    match h.next_of(key) {
        Arrival::More(_, Outcome::Chunk(chunk)) => Ok(chunk),
        Arrival::Final(_, result, _) => Err(result),
        other @ Arrival::More(..) => panic!("a multishot receive came to {other:?}"),
    }
}

fn is_end(result: &io::Result<Outcome>) -> bool {
    match result {
        Ok(Outcome::Count(0)) => true,
        Ok(Outcome::Chunk(chunk)) => chunk.is_empty(),
        _ => false,
    }
}

/// Every byte up to the end of the stream.
fn to_the_end(h: &mut Harness, key: OpKey) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        match next_chunk(h, key) {
            Ok(chunk) => {
                assert!(!chunk.is_empty(), "an empty chunk that is not the end");
                bytes.extend_from_slice(&chunk);
            }
            Err(result) => {
                assert!(is_end(&result), "the stream ended with {result:?}");
                return bytes;
            }
        }
    }
}

pub(super) fn chunks_come_in_order_up_to_the_end(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (client, server) = h.tcp_pair();
    let receive = h.start(Op::RecvMulti { fd: server });
    let mut sent = Vec::new();
    for round in 0..20 {
        let part = pattern(1 + 997 * round as usize, round);
        h.send_all(client, &part);
        sent.extend(part);
    }
    h.close(client);
    assert!(to_the_end(&mut h, receive) == sent);
    assert!(!h.is_in_flight(receive));
    assert_eq!(h.recv(server, 10).unwrap(), b"");
}

pub(super) fn a_multishot_receive_may_be_asked_for_more_at_once(make: &mut Make<'_>) {
    let mut h = harness(make);
    h.resume_eagerly(true);
    let (client, server) = h.tcp_pair();
    let receive = h.start(Op::RecvMulti { fd: server });
    let mut sent = Vec::new();
    for round in 0..8 {
        // Several chunks of a backend with small ones; asking once too often is told so, and costs nothing.
        let part = pattern(40_000, round);
        let key = h.start(Op::Send { fd: client, buf: part.clone(), start: 0 });
        let (result, _) = h.run_until(key);
        let Ok(Outcome::Count(count)) = result else { panic!("send came to {result:?}") };
        sent.extend_from_slice(&part[..count]);
    }
    h.close(client);
    assert!(to_the_end(&mut h, receive) == sent);
}

pub(super) fn bytes_that_were_there_before_are_a_chunk(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (client, server) = h.tcp_pair();
    h.send_all(client, b"there already");
    let receive = h.start(Op::RecvMulti { fd: server });
    let mut got = Vec::new();
    while got.len() < 13 {
        got.extend_from_slice(&next_chunk(&mut h, receive).expect("a chunk"));
    }
    assert_eq!(got, b"there already");
    // And one that comes while it waits.
    h.send_all(client, b"later");
    assert_eq!(&next_chunk(&mut h, receive).expect("a chunk")[..], b"later");
    // And an end that was there before.
    let (client, server) = h.tcp_pair();
    h.send_all(client, b"last");
    h.close(client);
    let receive = h.start(Op::RecvMulti { fd: server });
    assert_eq!(to_the_end(&mut h, receive), b"last");
}

pub(super) fn a_chunk_stays_as_it_is_while_held(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (client, server) = h.tcp_pair();
    let receive = h.start(Op::RecvMulti { fd: server });
    let mut held: Vec<(Chunk, Vec<u8>)> = Vec::new();
    for round in 0..30 {
        let part = pattern(50 + round as usize, round);
        h.send_all(client, &part);
        let chunk = next_chunk(&mut h, receive).expect("a chunk");
        assert!(chunk[..] == part);
        held.push((chunk, part));
        // Not more at a time than a small ring has.
        if held.len() > 6 {
            held.remove(round as usize % 5);
        }
        for (chunk, part) in &held {
            assert!(chunk[..] == part[..], "a chunk changed while it was held");
        }
    }
}

pub(super) fn a_chunk_outlives_its_backend(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (client, server) = h.tcp_pair();
    let receive = h.start(Op::RecvMulti { fd: server });
    h.send_all(client, b"kept");
    let chunk = next_chunk(&mut h, receive).expect("a chunk");
    drop(h);
    assert_eq!(&chunk[..], b"kept");
}

pub(super) fn a_cancelled_multishot_receive_loses_nothing(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (client, server) = h.tcp_pair();
    for round in 0..30 {
        let (first, second) = (pattern(100, round), pattern(150, round + 1_000));
        let receive = h.start(Op::RecvMulti { fd: server });
        if round % 3 == 0 {
            h.poll(crate::backend::Wait::Now);
        }
        h.send_all(client, &first);
        if round % 2 == 0 {
            h.poll(crate::backend::Wait::Now);
        }
        h.cancel(receive);
        h.send_all(client, &second);
        let mut got = Vec::new();
        let end = loop {
            match next_chunk(&mut h, receive) {
                Ok(chunk) => got.extend_from_slice(&chunk),
                Err(end) => break end,
            }
        };
        assert!(is_cancelled(&end), "a cancelled multishot receive came to {end:?}");
        let rest = 250 - got.len();
        got.extend(h.recv_exact(server, rest));
        assert!(got == [first, second].concat(), "bytes were lost or moved");
    }
}

pub(super) fn a_reset_ends_a_multishot_receive(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (client, server) = h.tcp_pair();
    let receive = h.start(Op::RecvMulti { fd: server });
    h.send_all(client, b"x");
    assert_eq!(&next_chunk(&mut h, receive).expect("a chunk")[..], b"x");
    h.control(client, &Control::ResetOnClose);
    h.close(client);
    let end = next_chunk(&mut h, receive).expect_err("no more bytes");
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}
