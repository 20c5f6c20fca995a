//! Writing, water marks and the writing end.

use std::io::{IoSlice, Read as _};
use std::net::TcpListener;

use loop_core::{ConnectOptions, Error, Protocol, Socket};

use crate::net::{Call, on_each, on_real, on_simulated, pattern};
use crate::world::*;

/// TR-06.
#[test]
fn what_is_written_arrives_in_order_whatever_its_sizes() {
    on_each(async |case| {
        // Small ones are gathered, large ones are sent from the caller's memory, the largest do not fit.
        let sizes = [1, 10, 5_000, 3, 100_000, 0, 7, 4_096, 4_095, 300_000, 1, 2, 3, 1_000_000, 9];
        let recorder = case.recorder();
        let log = recorder.log.clone();
        let (transport, peer) = case.connection(recorder).await;
        let all = pattern(sizes.iter().sum());
        let expected = all.clone();
        let write = async {
            let mut rest = &all[..];
            for (place, size) in sizes.into_iter().enumerate() {
                let (piece, behind) = rest.split_at(size);
                transport.write(piece).unwrap();
                rest = behind;
                if place % 3 == 0 {
                    case.pass().await;
                }
            }
            transport.close();
        };
        let reader = case.create_task(read_slowly((**case).clone(), peer)).unwrap();
        write.await;
        assert!(reader.await.unwrap() == expected, "in order and complete");
        assert_eq!(log.lost().await, None);
    });
}

async fn read_slowly(lp: loop_core::EventLoop, peer: Socket) -> Vec<u8> {
    let (mut bytes, mut ask) = (Vec::new(), 1);
    loop {
        let more = lp.sock_recv(&peer, ask).await.unwrap();
        if more.is_empty() {
            return bytes;
        }
        bytes.extend(more);
        ask = (ask * 3) % 100_003 + 1;
    }
}

/// TR-06.
#[test]
fn an_empty_write_does_nothing() {
    on_each(async |case| {
        let recorder = case.recorder();
        let log = recorder.log.clone();
        let (transport, peer) = case.connection(recorder).await;
        transport.set_write_buffer_limits(Some(0), None).unwrap();
        transport.write(b"").unwrap();
        transport.writelines(&[]).unwrap();
        transport.writelines(&[IoSlice::new(b""), IoSlice::new(b"")]).unwrap();
        assert_eq!(transport.write_buffer_size(), 0);
        transport.close();
        assert_eq!(case.read_to_end(&peer).await, b"");
        log.lost().await;
        assert_eq!(log.events(), [Call::Made, Call::Lost(None)]);
    });
}

/// TR-06: what is written while the loop does not run is sent when it does, and does not wait for anything else.
#[test]
fn what_is_written_between_runs_is_sent_by_the_next_run() {
    let lp = loop_api::new_event_loop().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (transport, _protocol) =
        lp.run_until_complete(lp.create_connection(|| Quiet, addr, ConnectOptions::default())).unwrap().unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    transport.write(b"between").unwrap();
    // Nothing else can wake the loop but the peer's end, which comes only if the bytes came.
    let reader = std::thread::spawn(move || {
        let mut bytes = [0; 7];
        peer.read_exact(&mut bytes).unwrap();
        bytes
    });
    let handle = lp.handle();
    std::thread::spawn(move || {
        let bytes = reader.join().unwrap();
        handle.call_soon_threadsafe(|lp| lp.stop()).unwrap();
        assert_eq!(&bytes, b"between");
    });
    lp.run_forever().unwrap();
    transport.abort();
    lp.close().unwrap();
}

/// TR-06: what the last pass of a run wrote is on its way when the run returns, though the loop may never run again.
#[test]
fn what_is_written_at_the_end_of_a_run_has_left_when_it_returns() {
    let lp = loop_api::new_event_loop().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (transport, _protocol) =
        lp.run_until_complete(lp.create_connection(|| Quiet, addr, ConnectOptions::default())).unwrap().unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    for size in [5, 5000, 50_000] {
        lp.run_until_complete(async { transport.write(&pattern(size)) }).unwrap().unwrap();
        let mut bytes = vec![0; size];
        peer.read_exact(&mut bytes).unwrap();
        assert!(bytes == pattern(size));
    }
    transport.abort();
    lp.close().unwrap();
}

/// TR-07, TR-14: a backend may be late to tell of a send of which nobody waits to hear. Whoever comes to wait for it, by
/// closing or by writing more, does not wait for something else to happen first.
#[test]
fn nobody_waits_in_vain_for_a_send_that_was_not_waited_for() {
    on_real(async |case| {
        for closes in [true, false] {
            // A peer that says nothing: there is nothing else to wake the loop.
            let (ours, mut peer) = std::os::unix::net::UnixStream::pair().unwrap();
            let recorder = case.recorder();
            let log = recorder.log.clone();
            let socket = case.adopt_socket(ours).unwrap();
            let (transport, _) = case.connect_accepted_socket(|| recorder, socket).await.unwrap();
            transport.write(b"first").unwrap();
            // The end of this pass hands it over.
            loop_api::yield_now().await;
            if closes {
                transport.close();
            } else {
                // Behind what is under way.
                transport.write(b"second").unwrap();
                transport.write_eof();
                let mut bytes = [0; 11];
                let reading = case.in_thread({
                    let mut peer = peer.try_clone().unwrap();
                    move || peer.read_exact(&mut bytes).map(|()| bytes)
                });
                assert_eq!(&reading.await.unwrap(), b"firstsecond");
                transport.close();
            }
            log.lost().await;
            let mut rest = Vec::new();
            peer.read_to_end(&mut rest).unwrap();
            assert_eq!(rest, if closes { &b"first"[..] } else { b"" });
        }
    });
}

struct Quiet;

impl Protocol for Quiet {}

/// TR-07, TR-09: to the byte.
#[test]
fn writing_is_paused_strictly_above_the_high_water_mark() {
    on_each(async |case| {
        let recorder = case.recorder();
        let log = recorder.log.clone();
        let (transport, _peer) = stalled(case, recorder).await;
        let unsent = transport.write_buffer_size();
        transport.set_write_buffer_limits(Some(unsent + 10), Some(0)).unwrap();
        transport.write(&[1; 10]).unwrap();
        assert_eq!(transport.write_buffer_size(), unsent + 10);
        assert_eq!(log.count(&Call::Pause), 0, "not at the mark");
        transport.write(&[2]).unwrap();
        // TR-03: the protocol is told in the call.
        assert_eq!(log.count(&Call::Pause), 1, "above the mark, in the call");
        transport.write(&[3; 1000]).unwrap();
        case.settle().await;
        assert_eq!(log.events(), [Call::Made, Call::Pause], "once");
        assert_eq!(transport.write_buffer_size(), unsent + 1011);
        transport.abort();
        log.lost().await;
        assert_eq!(log.count(&Call::Resume), 0);
    });
}

/// TR-07: to the byte, where the network tells how much it takes.
#[test]
fn writing_is_resumed_at_the_low_water_mark() {
    on_simulated(async |case| {
        for above in [0, 1] {
            let recorder = case.recorder();
            let log = recorder.log.clone();
            let (transport, peer) = stalled(case, recorder).await;
            let unsent = transport.write_buffer_size();
            assert_eq!(unsent, 1024 * 1024 - IN_FLIGHT);
            let left = unsent - IN_FLIGHT;
            transport.set_write_buffer_limits(Some(left), Some(left - above)).unwrap();
            assert_eq!(log.count(&Call::Pause), 1, "TR-08: new limits may pause at once");
            // The peer reads what is in flight, and as much follows.
            peer.read(case, IN_FLIGHT).await;
            case.settle().await;
            assert_eq!(transport.write_buffer_size(), left);
            assert_eq!(log.count(&Call::Resume), 1 - above, "at the mark, but not above it");
            transport.abort();
            log.lost().await;
        }
    });
}

/// TR-07, on whatever the sockets hold: pause and resume alternate, and each finds what it should.
#[test]
fn pause_and_resume_alternate_and_find_the_marks_passed() {
    on_each(async |case| {
        let recorder = case.recorder().on(|transport, call| match call {
            Call::Pause => assert!(transport.write_buffer_size() > transport.write_buffer_limits().1),
            Call::Resume => assert!(transport.write_buffer_size() <= transport.write_buffer_limits().0),
            _ => {}
        });
        let log = recorder.log.clone();
        let (transport, peer) = case.connection(recorder).await;
        let total = BIG;
        let writer = async {
            for piece in pattern(total).chunks(100_000) {
                transport.write(piece).unwrap();
                log.until(|log| log.count(&Call::Pause) == log.count(&Call::Resume)).await;
            }
        };
        let reader = case.create_task(read_slowly((**case).clone(), peer)).unwrap();
        writer.await;
        transport.close();
        assert!(reader.await.unwrap() == pattern(total), "in order and complete");
        log.lost().await;
        let events = log.events();
        let flow: Vec<_> = events.iter().filter(|call| matches!(call, Call::Pause | Call::Resume)).collect();
        assert!(flow.len() >= 2, "this much does not fit into a socket");
        assert!(
            flow.chunks(2).all(|pair| pair[0] == &Call::Pause && pair.get(1).is_none_or(|call| *call == &Call::Resume))
        );
    });
}

/// TR-07, TR-09.
#[test]
fn the_default_marks_are_64_and_16_kib() {
    on_each(async |case| {
        let (transport, _peer) = case.connection(case.recorder()).await;
        assert_eq!(transport.write_buffer_limits(), (16 * 1024, 64 * 1024));
        assert_eq!(transport.write_buffer_size(), 0);
        transport.abort();
    });
}

/// TR-08.
#[test]
fn one_mark_sets_the_other() {
    on_each(async |case| {
        let (transport, _peer) = case.connection(case.recorder()).await;
        for ((high, low), marks) in [
            ((Some(1000), None), (250, 1000)),
            ((None, Some(1000)), (1000, 4000)),
            ((Some(0), None), (0, 0)),
            ((Some(7), Some(7)), (7, 7)),
            ((None, None), (16 * 1024, 64 * 1024)),
        ] {
            transport.set_write_buffer_limits(high, low).unwrap();
            assert_eq!(transport.write_buffer_limits(), marks, "for high {high:?}, low {low:?}");
        }
        let refused = transport.set_write_buffer_limits(Some(1), Some(2));
        assert!(matches!(refused, Err(Error::InvalidArgument(_))), "{refused:?}");
        assert_eq!(transport.write_buffer_limits(), (16 * 1024, 64 * 1024), "a refusal changes nothing");
        transport.abort();
    });
}

/// TR-08: a change of the limits does not resume.
#[test]
fn higher_marks_do_not_resume_by_themselves() {
    on_each(async |case| {
        let recorder = case.recorder();
        let log = recorder.log.clone();
        let (transport, peer) = stalled(case, recorder).await;
        transport.set_write_buffer_limits(Some(0), None).unwrap();
        assert_eq!(log.count(&Call::Pause), 1);
        transport.set_write_buffer_limits(Some(usize::MAX), None).unwrap();
        case.settle().await;
        assert_eq!(log.count(&Call::Resume), 0);
        transport.close();
        assert_eq!(peer.read_to_end(case).await, pattern(1024 * 1024));
        log.lost().await;
        assert_eq!(log.events(), [Call::Made, Call::Pause, Call::Resume, Call::Lost(None)]);
    });
}

/// TR-08: what only waits for the end of the pass would be sent by now in asyncio, so it counts for nothing.
#[test]
fn limits_do_not_count_what_the_socket_takes() {
    on_each(async |case| {
        if !case.is_synchronous() {
            return;
        }
        let recorder = case.recorder();
        let log = recorder.log.clone();
        let (transport, _peer) = case.connection(recorder).await;
        transport.write(&[0; 100]).unwrap();
        transport.set_write_buffer_limits(Some(10), None).unwrap();
        assert_eq!(transport.write_buffer_size(), 0);
        transport.write(&[0; 100]).unwrap();
        assert_eq!(log.calls(), [Call::Made]);
        transport.abort();
        log.lost().await;
    });
}

/// TR-10, DEF-04.
#[test]
fn writelines_sends_all_pieces_and_pauses_like_write() {
    on_each(async |case| {
        let recorder = case.recorder();
        let log = recorder.log.clone();
        let (transport, peer) = case.connection(recorder).await;
        // More pieces than one gathered call takes, and more bytes than a socket.
        let bytes = pattern(BIG);
        let pieces: Vec<IoSlice<'_>> = bytes.chunks(1_999).map(IoSlice::new).collect();
        assert!(pieces.len() > 1024);
        transport.writelines(&pieces).unwrap();
        assert_eq!(log.count(&Call::Pause), 1);
        transport.close();
        assert!(case.read_to_end(&peer).await == bytes, "in order and complete");
        log.lost().await;
    });
}

/// TR-11, TR-14, DEF-05.
#[test]
fn a_write_after_close_is_sent_while_earlier_data_is_unsent() {
    on_each(async |case| {
        let recorder = case.recorder();
        let log = recorder.log.clone();
        let (transport, peer) = stalled(case, recorder).await;
        transport.close();
        transport.write(b"one more").unwrap();
        transport.writelines(&[IoSlice::new(b" and "), IoSlice::new(b"another")]).unwrap();
        let bytes = peer.read_to_end(case).await;
        assert!(bytes.starts_with(&pattern(1024 * 1024)));
        assert_eq!(&bytes[1024 * 1024..], b"one more and another");
        assert_eq!(log.lost().await, None);
    });
}

/// TR-11, TR-12, DEF-05, CONST-01.
#[test]
fn a_write_after_the_end_is_dropped_with_a_warning_from_the_fifth_on() {
    on_each(async |case| {
        let recorder = case.recorder();
        let log = recorder.log.clone();
        let (transport, peer) = case.connection(recorder).await;
        transport.close();
        for place in 1..=6 {
            let ((), records) = crate::logs::capture(|| match place % 2 {
                0 => transport.write(b"lost").unwrap(),
                _ => transport.writelines(&[IoSlice::new(b"lost")]).unwrap(),
            });
            let warnings = crate::logs::complaints(&records);
            assert_eq!(warnings.len(), usize::from(place >= 5), "at write {place}: {warnings:?}");
        }
        assert_eq!(case.read_to_end(&peer).await, b"");
        assert_eq!(log.lost().await, None);
        transport.write(b"after connection_lost").unwrap();
    });
}

/// TR-13.
#[test]
fn write_eof_shuts_the_sending_side_behind_what_was_written() {
    on_each(async |case| {
        for stall in [false, true] {
            let recorder = case.recorder();
            let log = recorder.log.clone();
            let (transport, peer, expected) = if stall {
                let (transport, peer) = stalled(case, recorder).await;
                (transport, peer, pattern(1024 * 1024))
            } else {
                let (transport, peer) = case.connection(recorder).await;
                transport.write(b"the end").unwrap();
                (transport, Peer::Loop(peer), b"the end".to_vec())
            };
            assert!(transport.can_write_eof());
            transport.write_eof();
            transport.write_eof();
            assert!(matches!(transport.write(b"x"), Err(Error::WriteAfterEof)));
            assert!(matches!(transport.writelines(&[IoSlice::new(b"x")]), Err(Error::WriteAfterEof)));
            assert!(!transport.is_closing(), "the other direction stays open");
            assert!(peer.read_to_end(case).await == expected, "complete, then the end");
            // The peer is gone by now, which ends the connection.
            assert_eq!(log.lost().await, None);
            transport.write_eof();
        }
    });
}

/// TR-13: what the peer sends after our end still arrives.
#[test]
fn a_half_closed_connection_receives() {
    on_each(async |case| {
        let recorder = case.recorder();
        let log = recorder.log.clone();
        let (transport, peer) = case.connection(recorder).await;
        transport.write_eof();
        assert_eq!(case.read_to_end(&peer).await, b"");
        case.sock_sendall(&peer, *b"late").await.unwrap();
        log.received(4).await;
        drop(peer);
        assert_eq!(log.lost().await, None);
    });
}
