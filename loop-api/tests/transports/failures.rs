//! Protocols that fail.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use loop_core::{Protocol, Transport};

use crate::net::{Call, on_each, pattern};
use crate::world::*;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fails {
    Made,
    Data,
    Updated,
    Buffer,
    EmptyBuffer,
    Eof,
    Lost,
    Pause,
    Resume,
}

/// A protocol that fails somewhere, once.
struct Failing {
    at: Fails,
    failed: bool,
    calls: Rc<RefCell<Vec<&'static str>>>,
    lost: Rc<RefCell<Option<Option<String>>>>,
    buffer: Vec<u8>,
}

impl Failing {
    fn new(at: Fails) -> Self {
        Self { at, failed: false, calls: Rc::default(), lost: Rc::default(), buffer: vec![0; 64] }
    }

    fn may_fail(&mut self, at: Fails, name: &'static str) {
        self.calls.borrow_mut().push(name);
        if self.at == at && !std::mem::replace(&mut self.failed, true) {
            panic!("{name} fails");
        }
    }
}

impl Protocol for Failing {
    fn connection_made(&mut self, _: &Transport) {
        self.may_fail(Fails::Made, "connection_made");
    }

    fn data_received(&mut self, _: &Transport, _: &[u8]) {
        self.may_fail(Fails::Data, "data_received");
    }

    fn eof_received(&mut self, _: &Transport) -> bool {
        self.may_fail(Fails::Eof, "eof_received");
        true
    }

    fn connection_lost(&mut self, _: &Transport, error: Option<io::Error>) {
        self.lost.replace(Some(error.map(|error| error.to_string())));
        self.may_fail(Fails::Lost, "connection_lost");
    }

    fn pause_writing(&mut self, _: &Transport) {
        self.may_fail(Fails::Pause, "pause_writing");
    }

    fn resume_writing(&mut self, _: &Transport) {
        self.may_fail(Fails::Resume, "resume_writing");
    }

    fn get_buffer(&mut self, _: &Transport) -> Option<&mut [u8]> {
        if !matches!(self.at, Fails::Buffer | Fails::Updated | Fails::EmptyBuffer) {
            return None;
        }
        self.may_fail(Fails::Buffer, "get_buffer");
        if self.at == Fails::EmptyBuffer { Some(&mut []) } else { Some(&mut self.buffer) }
    }

    fn buffer_updated(&mut self, _: &Transport, _: usize) {
        self.may_fail(Fails::Updated, "buffer_updated");
    }
}

/// TR-02, TR-19, TR-24.
#[test]
fn a_panic_while_receiving_is_reported_and_ends_the_connection_with_it() {
    on_each(async |case| {
        for (at, name) in [
            (Fails::Data, "data_received"),
            (Fails::Buffer, "get_buffer"),
            (Fails::Updated, "buffer_updated"),
            (Fails::Eof, "eof_received"),
        ] {
            let protocol = Failing::new(at);
            let lost = Rc::clone(&protocol.lost);
            let (peer, socket) = case.pair().await;
            let (transport, _) = case.connect_accepted_socket(|| protocol, socket).await.unwrap();
            case.sock_sendall(&peer, *b"x").await.unwrap();
            peer.shutdown(std::net::Shutdown::Write).unwrap();
            case.until(|| transport.is_closed()).await;
            let error = lost.borrow().clone().expect("connection_lost was called").expect("with an error");
            assert!(error.contains(&format!("{name} fails")), "{error}");
            let reports = case.take_reports();
            assert_eq!(reports.len(), 1, "{reports:?}");
            assert_eq!(reports[0].panic, Some(format!("{name} fails")));
            assert_eq!(reports[0].keys, ["transport", "protocol"]);
        }
    });
}

/// TR-24.
#[test]
fn an_empty_buffer_ends_the_connection() {
    on_each(async |case| {
        let protocol = Failing::new(Fails::EmptyBuffer);
        let lost = Rc::clone(&protocol.lost);
        let (peer, socket) = case.pair().await;
        let (transport, _) = case.connect_accepted_socket(|| protocol, socket).await.unwrap();
        case.sock_sendall(&peer, *b"x").await.unwrap();
        case.until(|| transport.is_closed()).await;
        let error = lost.borrow().clone().expect("connection_lost was called").expect("with an error");
        assert!(error.contains("empty buffer"), "{error}");
    });
}

/// TR-20.
#[test]
fn a_panic_in_connection_made_is_reported_and_the_connection_reads_on() {
    on_each(async |case| {
        let protocol = Failing::new(Fails::Made);
        let calls = Rc::clone(&protocol.calls);
        let (peer, socket) = case.pair().await;
        let (transport, _) = case.connect_accepted_socket(|| protocol, socket).await.unwrap();
        assert_eq!(case.take_reports().len(), 1);
        case.sock_sendall(&peer, *b"x").await.unwrap();
        case.until(|| calls.borrow().len() >= 2).await;
        assert_eq!(*calls.borrow(), ["connection_made", "data_received"]);
        assert!(!transport.is_closing());
        transport.abort();
    });
}

/// TR-21.
#[test]
fn a_panic_in_pause_or_resume_is_reported_and_ignored() {
    on_each(async |case| {
        for at in [Fails::Pause, Fails::Resume] {
            let protocol = Failing::new(at);
            let calls = Rc::clone(&protocol.calls);
            let (peer, socket) = case.pair().await;
            let (transport, _) = case.connect_accepted_socket(|| protocol, socket).await.unwrap();
            transport.write(&pattern(BIG)).unwrap();
            assert_eq!(*calls.borrow(), ["connection_made", "pause_writing"]);
            assert_eq!(case.take_reports().len(), usize::from(at == Fails::Pause));
            assert!(case.read_exact(&peer, BIG).await == pattern(BIG));
            case.until(|| calls.borrow().len() == 3).await;
            assert_eq!(calls.borrow()[2], "resume_writing");
            assert_eq!(case.take_reports().len(), usize::from(at == Fails::Resume));
            assert!(!transport.is_closing());
            transport.abort();
        }
    });
}

/// TR-16: the end comes to its end.
#[test]
fn a_panic_in_connection_lost_is_reported_and_the_socket_is_closed() {
    on_each(async |case| {
        let (peer, socket) = case.pair().await;
        let protocol = Failing::new(Fails::Lost);
        let (transport, _) = case.connect_accepted_socket(|| protocol, socket).await.unwrap();
        transport.close();
        assert_eq!(case.read_to_end(&peer).await, b"");
        assert!(transport.is_closed() && transport.get_protocol().is_none());
        assert_eq!(case.take_reports().len(), 1);
    });
}

/// A protocol is never entered twice: where the program holds it, it cannot be called, which is said clearly.
#[test]
fn a_protocol_that_is_held_borrowed_is_told_of_the_flow_later() {
    on_each(async |case| {
        let recorder = case.recorder();
        let log = recorder.log.clone();
        let (peer, socket) = case.pair().await;
        let (transport, protocol) = case.connect_accepted_socket(|| recorder, socket).await.unwrap();
        {
            let held = protocol.borrow_mut();
            transport.write(&pattern(BIG)).unwrap();
            assert_eq!(held.log.count(&Call::Pause), 0, "it cannot be told now");
        }
        log.until(|log| log.count(&Call::Pause) == 1).await;
        transport.abort();
        drop(peer);
        log.lost().await;
    });
}
