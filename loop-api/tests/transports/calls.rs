//! The order of calls.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use crate::net::{Call, at_data, on_each, pattern};
use crate::world::*;

/// TR-01, TR-02.
#[test]
fn a_connection_is_made_receives_ends_and_is_lost() {
    on_each(async |case| {
        let recorder = case.recorder();
        let log = recorder.log.clone();
        let (_transport, peer) = case.connection(recorder).await;
        assert_eq!(log.calls(), [Call::Made], "made when connecting returns, and nothing else");
        case.sock_sendall(&peer, *b"hello").await.unwrap();
        log.received(5).await;
        drop(peer);
        assert_eq!(log.lost().await, None);
        assert_eq!(log.bytes(), b"hello");
        assert_eq!(log.events(), [Call::Made, Call::Eof, Call::Lost(None)]);
    });
}

/// TR-02, TR-18.
#[test]
fn a_reset_goes_to_connection_lost_and_is_not_reported() {
    on_each(async |case| {
        let recorder = case.recorder();
        let log = recorder.log.clone();
        let (transport, peer) = case.connection(recorder).await;
        reset(peer);
        assert_eq!(log.lost().await, Some(io::ErrorKind::ConnectionReset));
        assert_eq!(log.events(), [Call::Made, Call::Lost(Some(io::ErrorKind::ConnectionReset))]);
        assert!(transport.is_closed());
        assert!(case.take_reports().is_empty());
    });
}

/// TR-18, for a protocol with memory of its own, whose reads do not go through the operation.
#[test]
fn a_reset_reaches_a_buffered_protocol_as_an_error_too() {
    on_each(async |case| {
        let recorder = case.recorder().buffered(100);
        let log = recorder.log.clone();
        let (_transport, peer) = case.connection(recorder).await;
        reset(peer);
        assert_eq!(log.lost().await, Some(io::ErrorKind::ConnectionReset));
    });
}

/// TR-02, TR-18.
#[test]
fn a_failed_write_goes_to_connection_lost_and_is_not_reported() {
    on_each(async |case| {
        let recorder = case.recorder();
        let log = recorder.log.clone();
        let (transport, peer) = case.connection(recorder).await;
        // Nothing is read, so that only writing can find out.
        transport.pause_reading();
        reset(peer);
        case.until(|| {
            transport.write(b"is anybody there?").unwrap();
            transport.is_closing()
        })
        .await;
        let error = log.lost().await.expect("an error");
        assert!(matches!(error, io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe), "{error:?}");
    });
}

/// TR-02: what a peer that is gone had sent is delivered before the error that ended it.
#[test]
fn bytes_that_came_before_a_reset_come_before_the_error() {
    on_each(async |case| {
        let recorder = case.recorder().on(|transport, call| {
            if *call == Call::Made {
                transport.pause_reading();
            }
        });
        let log = recorder.log.clone();
        let (transport, peer) = case.connection(recorder).await;
        case.sock_sendall(&peer, *b"last words").await.unwrap();
        case.settle().await;
        reset(peer);
        case.settle().await;
        assert_eq!(log.calls(), [Call::Made], "nothing is delivered while reading is paused");
        transport.resume_reading();
        let error = log.lost().await;
        assert_eq!(error, Some(io::ErrorKind::ConnectionReset));
        assert_eq!(log.bytes(), b"last words");
    });
}

/// TR-03.
#[test]
fn data_never_arrives_in_the_middle_of_another_call() {
    on_each(async |case| {
        // Each of these could run the protocol's own code again, were it not put off.
        let recorder = case.recorder().on(at_data(|transport, data| {
            transport.pause_reading();
            transport.resume_reading();
            transport.write(data).unwrap();
            transport.set_write_buffer_limits(Some(0), None).unwrap();
        }));
        let log = recorder.log.clone();
        let (_transport, peer) = case.connection(recorder).await;
        for _ in 0..10 {
            case.sock_sendall(&peer, *b"ping").await.unwrap();
            assert_eq!(case.read_exact(&peer, 4).await, b"ping");
        }
        assert_eq!(log.bytes().len(), 40);
    });
}

/// TR-04, CONST-02.
#[test]
fn at_most_256_kib_are_delivered_per_pass() {
    on_each(async |case| {
        let per_pass: Rc<RefCell<Vec<(u64, usize)>>> = Rc::default();
        let lp = (**case).clone();
        let seen = Rc::clone(&per_pass);
        let recorder = case.recorder().on(at_data(move |_, data| {
            let (pass, mut seen) = (lp.passes(), seen.borrow_mut());
            match seen.last_mut() {
                Some((last, count)) if *last == pass => *count += data.len(),
                _ => seen.push((pass, data.len())),
            }
        }));
        let log = recorder.log.clone();
        let (_transport, peer) = case.connection(recorder).await;
        let sent = pattern(3 * 1024 * 1024);
        case.sock_sendall(&peer, sent.clone()).await.unwrap();
        log.received(sent.len()).await;
        assert!(log.bytes() == sent, "in order and complete");
        assert!(per_pass.borrow().iter().all(|(_, count)| *count <= 256 * 1024), "{per_pass:?}");
    });
}

/// TR-05.
#[test]
fn the_end_of_the_stream_closes_unless_the_protocol_wants_to_go_on_writing() {
    on_each(async |case| {
        for stays_open in [false, true] {
            let recorder = case.recorder();
            let recorder = if stays_open { recorder.stays_open() } else { recorder };
            let log = recorder.log.clone();
            let (transport, peer) = case.connection(recorder).await;
            peer.shutdown(std::net::Shutdown::Write).unwrap();
            log.until(|log| log.count(&Call::Eof) == 1).await;
            assert_eq!(transport.is_closing(), !stays_open);
            if stays_open {
                transport.write(b"still here").unwrap();
                assert_eq!(case.read_exact(&peer, 10).await, b"still here");
                transport.close();
            }
            assert_eq!(case.read_to_end(&peer).await, b"");
            assert_eq!(log.lost().await, None);
        }
    });
}

/// TR-01, TR-05: a stream ends once.
#[test]
fn pausing_and_resuming_does_not_end_the_stream_again() {
    on_each(async |case| {
        let recorder = case.recorder().stays_open();
        let log = recorder.log.clone();
        let (transport, peer) = case.connection(recorder).await;
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        log.until(|log| log.count(&Call::Eof) == 1).await;
        for _ in 0..3 {
            transport.pause_reading();
            transport.resume_reading();
            case.settle().await;
        }
        assert_eq!(log.calls(), [Call::Made, Call::Eof]);
        transport.abort();
        log.lost().await;
    });
}
