//! Transports and protocols: rows TR of the inventory, and the faults DEF-04 and DEF-05.

mod logs;
mod net;

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;

use loop_core::{ConnectOptions, Control, Error, Protocol, ProtocolRef, Reply, Socket, Transport};
use net::{Call, Case, Log, at_data, on_each, on_real, on_simulated, pattern};

/// More than a socket and its peer's can hold.
const BIG: usize = 16 * 1024 * 1024;

/// What the simulated network holds in flight.
const IN_FLIGHT: usize = 64 * 1024;

/// Resets the connection rather than ending it.
fn reset(socket: Socket) {
    socket.set(&Control::ResetOnClose).unwrap();
}

/// A connection whose socket takes nothing more, as its peer reads nothing: what is written from now on is unsent, to
/// the byte. The high water mark is out of reach.
async fn stalled(case: &Case, log_of: net::Recorder) -> (Transport, Peer) {
    let (transport, peer) = if case.backend_name() == "virtual" {
        let (transport, peer) = case.connection(log_of).await;
        (transport, Peer::Loop(peer))
    } else {
        // Unix sockets, unlike TCP's, have buffers of a fixed size.
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let socket = case.adopt_socket(ours).unwrap();
        let (transport, _) = case.connect_accepted_socket(|| log_of, socket).await.unwrap();
        (transport, Peer::Std(theirs))
    };
    transport.set_write_buffer_limits(Some(usize::MAX), None).unwrap();
    transport.write(&pattern(1024 * 1024)).unwrap();
    case.settle().await;
    assert!(transport.write_buffer_size() > 0, "a megabyte fits into no socket");
    (transport, peer)
}

enum Peer {
    Loop(Socket),
    Std(std::os::unix::net::UnixStream),
}

impl Peer {
    /// Reads to the end of the stream.
    async fn read_to_end(self, case: &Case) -> Vec<u8> {
        match self {
            Self::Loop(socket) => case.read_to_end(&socket).await,
            Self::Std(mut socket) => {
                case.in_thread(move || {
                    let mut bytes = Vec::new();
                    socket.read_to_end(&mut bytes).unwrap();
                    bytes
                })
                .await
            }
        }
    }

    /// Reads so many bytes.
    async fn read(&self, case: &Case, count: usize) -> Vec<u8> {
        match self {
            Self::Loop(socket) => case.read_exact(socket, count).await,
            Self::Std(socket) => {
                let mut socket = socket.try_clone().unwrap();
                case.in_thread(move || {
                    let mut bytes = vec![0; count];
                    socket.read_exact(&mut bytes).unwrap();
                    bytes
                })
                .await
            }
        }
    }
}

// ---- the order of calls ----------------------------------------------------------------------------------------

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

// ---- writing ---------------------------------------------------------------------------------------------------

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
            let ((), records) = logs::capture(|| match place % 2 {
                0 => transport.write(b"lost").unwrap(),
                _ => transport.writelines(&[IoSlice::new(b"lost")]).unwrap(),
            });
            let warnings = logs::complaints(&records);
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

// ---- the end ---------------------------------------------------------------------------------------------------

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
        let ((), records) = logs::capture(|| drop(again));
        let warnings = logs::complaints(&records);
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

// ---- failures of the protocol ----------------------------------------------------------------------------------

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

// ---- flow of what is received ----------------------------------------------------------------------------------

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

// ---- the two directions together -------------------------------------------------------------------------------

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

// ---- names -----------------------------------------------------------------------------------------------------

/// TR-25.
#[test]
fn names_are_known_also_after_close() {
    on_each(async |case| {
        let recorder = case.recorder();
        let log = recorder.log.clone();
        let (transport, peer) = case.connection(recorder).await;
        let (ours, theirs) = (peer.peer_addr().unwrap(), peer.local_addr().unwrap());
        assert_eq!(transport.sockname().unwrap(), ours);
        assert_eq!(transport.peername().unwrap(), theirs);
        transport.close();
        log.lost().await;
        assert_eq!(transport.sockname().unwrap(), ours);
        assert_eq!(transport.peername().unwrap(), theirs);
        assert_eq!(transport.raw_fd(), None);
        let gone = transport.control(&Control::Type);
        assert_eq!(gone.unwrap_err().kind(), io::ErrorKind::NotConnected);
    });
}

/// TR-25, TR-26.
#[test]
fn the_socket_can_be_asked() {
    on_each(async |case| {
        let (transport, _peer) = case.connection(case.recorder()).await;
        assert!(matches!(transport.control(&Control::Type), Ok(Reply::Type(socket2::Type::STREAM))));
        assert!(transport.get_loop().is_same(case));
        transport.abort();
    });
}

/// TR-25: a Unix socket pair has no names.
#[test]
fn a_connection_without_names_has_none() {
    on_real(async |case| {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let socket = case.adopt_socket(ours).unwrap();
        let (transport, _) = case.connect_accepted_socket(|| case.recorder(), socket).await.unwrap();
        assert!(transport.sockname().is_some_and(|name| name.as_pathname().is_none()));
        transport.abort();
    });
}

// ---- real peers ------------------------------------------------------------------------------------------------

/// Blocking peers in threads of their own, as programs have them.
#[test]
fn real_peers_in_threads_get_their_echo() {
    on_real(async |case| {
        let (server, addr) = case.serve(|| Echo).await;
        let peers: Vec<_> = (0..8)
            .map(|peer| {
                case.in_thread(move || {
                    let mut stream = TcpStream::connect(addr).unwrap();
                    for size in [1, 64, 4_096, 70_000, 1_000_000, 1, 64] {
                        let sent: Vec<u8> = pattern(size + peer).split_off(peer);
                        let mut writer = stream.try_clone().unwrap();
                        let copy = sent.clone();
                        let writing = std::thread::spawn(move || writer.write_all(&copy).unwrap());
                        let mut echoed = vec![0; sent.len()];
                        stream.read_exact(&mut echoed).unwrap();
                        writing.join().unwrap();
                        assert!(echoed == sent, "in order and complete");
                    }
                    stream.shutdown(std::net::Shutdown::Write).unwrap();
                    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
                })
            })
            .collect();
        for peer in peers {
            peer.await;
        }
        server.close();
        server.wait_closed().await;
    });
}

struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data).unwrap();
    }

    fn pause_writing(&mut self, transport: &Transport) {
        transport.pause_reading();
    }

    fn resume_writing(&mut self, transport: &Transport) {
        transport.resume_reading();
    }
}

/// What is kept for tests that look at both ends of a log.
#[test]
fn the_recorder_notices_a_wrong_order() {
    on_simulated(async |case| {
        let (transport, _peer) = case.connection(case.recorder()).await;
        // A protocol that starts in the middle has missed `connection_made`, and says so when it is called.
        let late = Rc::new(RefCell::new(case.recorder()));
        let log: Log = late.borrow().log.clone();
        transport.set_protocol(late);
        transport.close();
        case.settle().await;
        let reports = case.take_reports();
        assert!(reports[0].panic.as_ref().is_some_and(|text| text.contains("before connection_made")), "{reports:?}");
        assert!(log.calls().is_empty());
    });
}
