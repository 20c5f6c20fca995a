//! The two directions together.

use std::cell::Cell;
use std::rc::Rc;

use crate::net::{Call, on_each, pattern};
use crate::world::*;

/// TR-03: the echo of more than the socket takes pauses the protocol that is being called.
#[test]
fn an_echo_that_pauses_itself_is_told_right_after_the_call() {
    on_each(async |case| {
        let depth: Rc<Cell<u32>> = Rc::default();
        let seen = Rc::clone(&depth);
        let recorder = case.recorder().on(move |transport, call| {
            assert_eq!(depth.replace(1), 0, "entered twice");
            match call {
                Call::Data(data) => data.chunks(50_000).for_each(|piece| transport.write(piece).unwrap()),
                // asyncio's echo server, in full.
                Call::Pause => transport.pause_reading(),
                Call::Resume => transport.resume_reading(),
                _ => {}
            }
            depth.set(0);
        });
        let log = recorder.log.clone();
        let (_transport, peer) = case.connection(recorder).await;
        let sent = pattern(2 * BIG);
        // Sends first, and reads only then: in between the echo must stop reading, or it would hold everything.
        let (ours, expected) = (sent.clone(), sent.len());
        let lp = (**case).clone();
        let peer = Rc::new(peer);
        let sender = Rc::clone(&peer);
        let sending = case.create_task(async move { lp.sock_sendall(&sender, ours).await.unwrap() }).unwrap();
        log.until(|log| log.count(&Call::Pause) == 1).await;
        case.settle().await;
        assert!(!sending.done(), "this much does not fit into two sockets");
        assert!(log.bytes().len() < expected);
        assert!(case.read_exact(&peer, expected).await == sent, "in order and complete");
        sending.await.unwrap();
        drop(peer);
        log.lost().await;
        assert_eq!(seen.get(), 0);
        let flow = log.events().into_iter().filter(|call| matches!(call, Call::Pause | Call::Resume));
        assert!(flow.enumerate().all(|(place, call)| call == [Call::Pause, Call::Resume][place % 2]), "they alternate");
    });
}

/// A peer that never reads: the writer is paused, and what is held stays bounded.
#[test]
fn a_peer_that_never_reads_bounds_what_is_held() {
    on_each(async |case| {
        let recorder = case.recorder();
        let log = recorder.log.clone();
        let (transport, peer) = case.connection(recorder).await;
        let mut written = 0;
        for _ in 0..100_000 {
            if log.count(&Call::Pause) > log.count(&Call::Resume) {
                break;
            }
            transport.write(&[0; 10_000]).unwrap();
            written += 10_000;
            case.pass().await;
        }
        assert_eq!(log.count(&Call::Pause), 1, "after {written} bytes");
        assert!(transport.write_buffer_size() <= 64 * 1024 + 10_000);
        transport.abort();
        drop(peer);
        log.lost().await;
    });
}

/// A proxy: what one connection is told holds the other one back; nothing is lost, nothing waits for another event.
#[test]
fn a_protocol_may_write_to_another_connection_when_it_is_told_to_resume() {
    on_each(async |case| {
        let other = case.recorder();
        let other_log = other.log.clone();
        let (other, other_peer) = case.connection(other).await;
        let to = other.clone();
        let recorder = case.recorder().on(move |_, call| {
            if *call == Call::Resume {
                to.write(b"resumed").unwrap();
            }
        });
        let log = recorder.log.clone();
        let (transport, peer) = stalled(case, recorder).await;
        transport.set_write_buffer_limits(None, None).unwrap();
        assert_eq!(log.count(&Call::Pause), 1);
        let lp = (**case).clone();
        let reading = case.create_task(async move { lp.sock_recv(&other_peer, 100).await.unwrap() }).unwrap();
        transport.close();
        peer.read_to_end(case).await;
        assert_eq!(reading.await.unwrap(), b"resumed");
        other.abort();
        other_log.lost().await;
    });
}
