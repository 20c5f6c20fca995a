//! Pausing what is received, and switching who receives it.

use std::cell::RefCell;
use std::rc::Rc;

use loop_core::{Protocol, ProtocolRef, Transport};

use crate::net::{Call, at_data, on_each, pattern};

/// TR-22.
#[test]
fn nothing_is_delivered_while_reading_is_paused() {
    on_each(async |case| {
        let recorder = case.recorder();
        let log = recorder.log.clone();
        let (transport, peer) = case.connection(recorder).await;
        assert!(transport.is_reading());
        transport.pause_reading();
        transport.pause_reading();
        assert!(!transport.is_reading());
        case.sock_sendall(&peer, *b"wait").await.unwrap();
        case.settle().await;
        assert_eq!(log.calls(), [Call::Made]);
        transport.resume_reading();
        transport.resume_reading();
        assert!(transport.is_reading());
        assert_eq!(log.calls(), [Call::Made], "the protocol is called from the loop, not from resume_reading");
        log.received(4).await;
        // Many changes of mind in one pass come to the last one.
        for _ in 0..5 {
            transport.pause_reading();
            transport.resume_reading();
        }
        transport.pause_reading();
        case.sock_sendall(&peer, *b"more").await.unwrap();
        case.settle().await;
        assert_eq!(log.bytes(), b"wait");
        transport.resume_reading();
        log.received(8).await;
        assert_eq!(log.bytes(), b"waitmore");
        transport.close();
        transport.resume_reading();
        transport.pause_reading();
        assert!(!transport.is_reading());
        log.lost().await;
    });
}

/// TR-22.
#[test]
fn a_pause_in_connection_made_holds() {
    on_each(async |case| {
        let recorder = case.recorder().on(|transport, call| {
            if *call == Call::Made {
                transport.pause_reading();
            }
        });
        let log = recorder.log.clone();
        let (transport, peer) = case.connection(recorder).await;
        case.sock_sendall(&peer, *b"early").await.unwrap();
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        case.settle().await;
        assert_eq!(log.calls(), [Call::Made]);
        transport.resume_reading();
        log.lost().await;
        assert_eq!(log.bytes(), b"early");
        assert_eq!(log.events(), [Call::Made, Call::Eof, Call::Lost(None)]);
    });
}

/// TR-22: paused and resumed at every chunk, from outside of the call, a stream still arrives whole and in order.
#[test]
fn pausing_at_every_chunk_loses_and_reorders_nothing() {
    on_each(async |case| {
        for buffer in [None, Some(1_000), Some(100_000)] {
            let lp = (**case).clone();
            let mut recorder = case.recorder().on(at_data(move |transport, data| {
                transport.pause_reading();
                let transport = transport.clone();
                // Sometimes in the same pass, sometimes a few later.
                let when = lp.time() + std::time::Duration::from_micros(data.len() as u64 % 3 * 50);
                lp.call_at(when, move || transport.resume_reading()).unwrap();
            }));
            if let Some(size) = buffer {
                recorder = recorder.buffered(size);
            }
            let log = recorder.log.clone();
            let (_transport, peer) = case.connection(recorder).await;
            let sent = pattern(700_001);
            case.sock_sendall(&peer, sent.clone()).await.unwrap();
            drop(peer);
            assert_eq!(log.lost().await, None);
            assert!(log.bytes() == sent, "in order and complete");
            assert_eq!(log.count(&Call::Eof), 1);
        }
    });
}

/// TR-23, TR-24.
#[test]
fn set_protocol_switches_where_calls_go_between_plain_and_buffered() {
    on_each(async |case| {
        let first = case.recorder();
        let first_log = first.log.clone();
        let (transport, peer) = case.connection(first).await;
        case.sock_sendall(&peer, *b"one").await.unwrap();
        first_log.received(3).await;

        let second = Rc::new(RefCell::new(Switched { buffer: vec![0; 2], bytes: Vec::new(), updates: 0 }));
        let as_protocol: ProtocolRef = second.clone();
        transport.set_protocol(Rc::clone(&as_protocol));
        assert!(first_log.is_dropped(), "the old one is let go of");
        assert!(Rc::ptr_eq(&transport.get_protocol().unwrap(), &as_protocol));
        case.sock_sendall(&peer, *b"two").await.unwrap();
        case.until(|| second.borrow().bytes == b"two").await;
        assert!(second.borrow().updates >= 2, "two bytes at a time");

        let third = Rc::new(RefCell::new(Plain(Vec::new())));
        transport.set_protocol(third.clone());
        case.sock_sendall(&peer, *b"three").await.unwrap();
        case.until(|| third.borrow().0 == b"three").await;
        assert_eq!(first_log.bytes(), b"one");
        transport.abort();
    });
}

struct Switched {
    buffer: Vec<u8>,
    bytes: Vec<u8>,
    updates: usize,
}

impl Protocol for Switched {
    fn data_received(&mut self, _: &Transport, _: &[u8]) {
        panic!("it has a buffer of its own");
    }

    fn get_buffer(&mut self, _: &Transport) -> Option<&mut [u8]> {
        Some(&mut self.buffer)
    }

    fn buffer_updated(&mut self, _: &Transport, count: usize) {
        self.updates += 1;
        self.bytes.extend_from_slice(&self.buffer[..count]);
    }
}

struct Plain(Vec<u8>);

impl Protocol for Plain {
    fn data_received(&mut self, _: &Transport, data: &[u8]) {
        self.0.extend_from_slice(data);
    }
}

/// TR-23: in the middle of a call, the new one gets the next.
#[test]
fn a_protocol_may_replace_itself_while_it_is_called() {
    on_each(async |case| {
        let next = Rc::new(RefCell::new(Plain(Vec::new())));
        let to = next.clone();
        let recorder = case.recorder().on(at_data(move |transport, _| transport.set_protocol(to.clone())));
        let log = recorder.log.clone();
        let (transport, peer) = case.connection(recorder).await;
        case.sock_sendall(&peer, *b"a").await.unwrap();
        case.until(|| log.is_dropped()).await;
        case.sock_sendall(&peer, *b"b").await.unwrap();
        case.until(|| next.borrow().0 == b"b").await;
        assert_eq!(log.bytes(), b"a");
        transport.abort();
    });
}

/// TR-24.
#[test]
fn a_buffered_protocol_receives_into_its_own_memory() {
    on_each(async |case| {
        for size in [1, 10, 4_096, 1_000_000] {
            let recorder = case.recorder().buffered(size);
            let log = recorder.log.clone();
            let (_transport, peer) = case.connection(recorder).await;
            let sent = pattern(if size == 1 { 500 } else { 100_000 });
            case.sock_sendall(&peer, sent.clone()).await.unwrap();
            drop(peer);
            assert_eq!(log.lost().await, None);
            assert!(log.bytes() == sent, "in order and complete");
            for call in log.calls() {
                match call {
                    Call::Updated(bytes) => assert!((1..=size).contains(&bytes.len())),
                    other => assert!(!matches!(other, Call::Data(_)), "data_received of a buffered protocol"),
                }
            }
        }
    });
}
