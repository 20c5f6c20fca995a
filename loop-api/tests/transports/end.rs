//! Closing, aborting, and being let go of.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use loop_core::Transport;

use crate::net::{Call, at_data, on_each, pattern};
use crate::world::*;

/// TR-14, TR-16, TR-17.
#[test]
fn close_flushes_then_calls_connection_lost_then_closes_the_socket() {
    on_each(async |case| {
        let at_loss: Rc<Cell<bool>> = Rc::default();
        let open = Rc::clone(&at_loss);
        let recorder = case.recorder().on(move |transport, call| {
            if matches!(call, Call::Lost(_)) {
                open.set(!transport.is_closed());
            }
        });
        let log = recorder.log.clone();
        let (transport, peer) = stalled(case, recorder).await;
        assert!(!transport.is_closing());
        transport.close();
        assert!(transport.is_closing() && !transport.is_reading());
        case.settle().await;
        assert_eq!(log.calls(), [Call::Made], "nothing is lost while something is unsent");
        assert!(peer.read_to_end(case).await == pattern(1024 * 1024));
        assert_eq!(log.lost().await, None);
        assert!(at_loss.get(), "the socket is closed after the last call, not before");
        assert!(transport.is_closed());
    });
}

/// TR-14: reading stops with close, in the call.
#[test]
fn nothing_is_delivered_after_close() {
    on_each(async |case| {
        let recorder = case.recorder().on(at_data(|transport, _| transport.close()));
        let log = recorder.log.clone();
        let (_transport, peer) = case.connection(recorder).await;
        // More than one read's worth.
        case.sock_sendall(&peer, pattern(60_000)).await.unwrap();
        log.lost().await;
        assert_eq!(log.calls().len(), 3, "made, data, lost");
    });
}

/// TR-15, TR-17.
#[test]
fn abort_drops_what_is_unsent() {
    on_each(async |case| {
        let recorder = case.recorder();
        let log = recorder.log.clone();
        let (transport, peer) = stalled(case, recorder).await;
        let unsent = transport.write_buffer_size();
        transport.abort();
        assert!(transport.is_closing());
        assert_eq!(transport.write_buffer_size(), 0);
        assert_eq!(log.calls(), [Call::Made]);
        assert_eq!(log.lost().await, None);
        assert_eq!(peer.read_to_end(case).await.len(), 1024 * 1024 - unsent);
    });
}

/// TR-16.
#[test]
fn any_mix_of_close_and_abort_loses_the_connection_once_and_later() {
    on_each(async |case| {
        let close: fn(&Transport) = Transport::close;
        let abort: fn(&Transport) = Transport::abort;
        for mix in [
            vec![close],
            vec![abort],
            vec![close, close],
            vec![abort, abort],
            vec![close, abort],
            vec![abort, close, abort],
        ] {
            for stall in [false, true] {
                let recorder = case.recorder();
                let log = recorder.log.clone();
                let (transport, peer) = if stall {
                    stalled(case, recorder).await
                } else {
                    let (transport, peer) = case.connection(recorder).await;
                    (transport, Peer::Loop(peer))
                };
                for step in &mix {
                    step(&transport);
                    assert_eq!(log.events(), [Call::Made], "a pass later at the earliest");
                }
                let reader = peer.read_to_end(case);
                reader.await;
                assert_eq!(log.lost().await, None);
                mix.iter().for_each(|step| step(&transport));
                case.settle().await;
                assert_eq!(log.events(), [Call::Made, Call::Lost(None)]);
            }
        }
    });
}

/// TR-16: also where it is called in the last call itself.
#[test]
fn closing_in_connection_lost_changes_nothing() {
    on_each(async |case| {
        let recorder = case.recorder().on(|transport, call| {
            if matches!(call, Call::Lost(_)) {
                transport.close();
                transport.abort();
                transport.write(b"nobody gets this").unwrap();
                transport.resume_reading();
                transport.write_eof();
            }
        });
        let log = recorder.log.clone();
        let (transport, _peer) = case.connection(recorder).await;
        transport.close();
        log.lost().await;
        case.settle().await;
        assert_eq!(log.events(), [Call::Made, Call::Lost(None)]);
        assert!(transport.get_protocol().is_none() && log.is_dropped(), "it is let go of");
    });
}

/// TR-27.
#[test]
fn an_open_transport_that_is_let_go_of_warns_and_is_closed() {
    on_each(async |case| {
        let recorder = case.recorder();
        let log = recorder.log.clone();
        let (transport, peer) = case.connection(recorder).await;
        // While it reads, the loop keeps it.
        let again = transport.clone();
        drop(transport);
        case.settle().await;
        again.pause_reading();
        case.settle().await;
        let ((), records) = crate::logs::capture(|| drop(again));
        let warnings = crate::logs::complaints(&records);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("unclosed transport"), "{warnings:?}");
        assert!(log.is_dropped());
        assert_eq!(case.read_to_end(&peer).await, b"");
        assert_eq!(log.calls(), [Call::Made], "nobody is left to be called");
    });
}

/// A loop that closes calls nobody, and lets go of everything: also of a protocol that holds its transport, and so itself.
#[test]
fn a_closed_loop_keeps_no_protocol_alive() {
    on_each(async |case| {
        for paused in [false, true] {
            let own: Rc<RefCell<Option<Transport>>> = Rc::default();
            let hold = Rc::clone(&own);
            let recorder = case.recorder().on(move |transport, call| {
                if *call == Call::Made {
                    hold.replace(Some(transport.clone()));
                    if paused {
                        transport.pause_reading();
                    }
                }
            });
            // Held by nobody but itself: the case asserts that it is gone once the loop is closed.
            let (transport, peer) = case.connection(recorder).await;
            transport.write(&pattern(1024 * 1024)).unwrap();
            std::mem::forget(own);
            drop(transport);
            drop(peer.into_fd());
        }
    });
}
