//! Real peers.

use std::cell::RefCell;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::rc::Rc;

use loop_core::{Protocol, Transport};

use crate::net::{Log, on_real, on_simulated, pattern};

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
