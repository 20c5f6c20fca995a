//! Operations ended at every stage and in every way: each ends once, and nothing is left behind.

mod rings;

use std::net::TcpStream;
use std::os::fd::AsRawFd;

use loop_core::testing::{Arrival, CheckedBackend, Harness};
use loop_core::{AddrBuf, FdKey, Interest, Op, OpKey, Outcome, Wait};
use loop_uring::{Options, UringBackend};
use rings::{alone, open_descriptors, put, recv, tiny};

/// How far an operation has come when it is ended.
#[derive(Debug, Clone, Copy)]
enum Stage {
    /// Its request is in the submission queue.
    Queued,
    /// The kernel has it, and it waits.
    Waiting,
    /// What it waits for has happened, and nobody has looked.
    Ready,
    /// It has completed, and the completion was not yet taken from the ring, or was taken just now.
    Reported,
}

#[derive(Debug, Clone, Copy)]
enum Way {
    Cancel,
    CancelTwice,
    Close,
    CancelAndClose,
    Drain,
    DropBackend,
}

/// Two sockets of the backend's, a listener, and a peer outside.
struct Scene {
    h: Harness,
    fd: FdKey,
    peer: TcpStream,
    listener: FdKey,
    datagram: FdKey,
    pipe: (std::io::PipeReader, std::io::PipeWriter),
}

impl Scene {
    fn new(options: &Options) -> (Self, impl Fn() -> usize + use<>) {
        let backend = UringBackend::with(options).expect("io_uring");
        let lent = backend.lent_buffers();
        let mut h = Harness::new(Box::new(CheckedBackend::new(Box::new(backend))));
        let (fd, peer) = rings::tcp(&mut h);
        let (listener, _) = h.listener(8);
        let (datagram, _) = h.datagram();
        let pipe = std::io::pipe().expect("a pipe");
        (Self { h, fd, peer, listener, datagram, pipe }, lent)
    }

    fn op(&self, which: usize) -> Option<(Op, FdKey)> {
        let (fd, listener, datagram) = (self.fd, self.listener, self.datagram);
        Some(match which {
            0 => (recv(fd, 16), fd),
            1 => (Op::RecvMulti { fd }, fd),
            2 => (Op::Accept { fd: listener }, listener),
            3 => (Op::AcceptMulti { fd: listener }, listener),
            4 => {
                (Op::RecvFrom { fd: datagram, buf: Vec::with_capacity(16), limit: 16, from: AddrBuf::new() }, datagram)
            }
            5 => (Op::Readiness { fd: self.pipe.0.as_raw_fd(), interest: Interest::Read }, fd),
            // Too much for the socket, so it waits for the peer.
            6 => (Op::Send { fd, buf: vec![3; 32 << 20], start: 0 }, fd),
            7 => (Op::SendVectored { fd, bufs: vec![vec![3; 16 << 20], vec![4; 16 << 20]] }, fd),
            _ => return None,
        })
    }

    /// Makes happen what the operations wait for.
    fn happen(&mut self) -> Option<TcpStream> {
        put(&self.peer, b"bytes");
        put(&self.pipe.1, b"x");
        let addr = self.h.local_addr(self.datagram).as_socket().expect("an internet address");
        let outside = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        outside.send_to(b"datagram", addr).expect("send");
        let addr = self.h.local_addr(self.listener).as_socket().expect("an internet address");
        TcpStream::connect(addr).ok()
    }
}

fn play(options: &Options, which: usize, stage: Stage, way: Way) -> bool {
    let before = open_descriptors();
    let (mut scene, lent) = Scene::new(options);
    let Some((op, fd)) = scene.op(which) else { return false };
    let key: OpKey = scene.h.start(op);
    // Another in the same line.
    let behind = scene.op(which).filter(|_| which != 5).map(|(op, _)| scene.h.start(op));
    let _connection = match stage {
        Stage::Queued => None,
        Stage::Waiting => {
            scene.h.poll(Wait::Now);
            None
        }
        Stage::Ready => {
            scene.h.poll(Wait::Now);
            scene.happen()
        }
        Stage::Reported => {
            scene.h.poll(Wait::Now);
            let connection = scene.happen();
            scene.h.poll(Wait::Now);
            connection
        }
    };
    let Scene { mut h, peer, pipe, .. } = scene;
    match way {
        Way::Cancel => h.cancel(key),
        Way::CancelTwice => [key, key].into_iter().for_each(|key| h.cancel(key)),
        Way::Close => h.close(fd),
        Way::CancelAndClose => {
            h.cancel(key);
            h.close(fd);
        }
        Way::Drain => h.drain(),
        Way::DropBackend => {}
    }
    if matches!(way, Way::Cancel | Way::CancelTwice | Way::CancelAndClose) || (matches!(way, Way::Close) && which != 5)
    {
        // It ends, whatever it comes to. What it had before may have been taken already.
        while h.is_in_flight(key) {
            match h.next_of(key) {
                Arrival::More(_, Outcome::Accepted(fd)) => h.close(fd),
                Arrival::Final(_, Ok(Outcome::Accepted(fd)), _) => {
                    h.close(fd);
                    break;
                }
                Arrival::Final(..) => break,
                Arrival::More(..) => {}
            }
        }
        assert!(!h.is_in_flight(key));
        if let (Some(behind), Way::Close | Way::CancelAndClose) = (behind, way) {
            while h.is_in_flight(behind) {
                h.poll(Wait::Now);
            }
        }
    }
    drop(h);
    assert_eq!(lent(), 0, "buffers");
    drop((peer, pipe, _connection));
    // The count that matters: everything of the backend's and the operations' is closed.
    assert!(rings::are_closed_down_to(before), "descriptors, after {which} {stage:?} {way:?}");
    true
}

fn play_all(options: &Options) {
    let _alone = alone();
    for way in [Way::Cancel, Way::CancelTwice, Way::Close, Way::CancelAndClose, Way::Drain, Way::DropBackend] {
        for stage in [Stage::Queued, Stage::Waiting, Stage::Ready, Stage::Reported] {
            for which in 0.. {
                if !play(options, which, stage, way) {
                    break;
                }
            }
        }
    }
}

#[test]
fn whatever_ends_it_and_when_nothing_is_left() {
    play_all(&Options::default());
}

#[test]
fn nor_with_queues_that_are_always_full() {
    play_all(&Options { buffers: 2, buffer_size: 64, ..tiny() });
}

#[test]
fn nor_without_deferred_work() {
    play_all(&Options { hidden: vec!["IORING_SETUP_DEFER_TASKRUN"], ..Options::default() });
}

#[test]
fn a_connection_accepted_for_nobody_is_closed() {
    use std::io::Read;
    let _alone = alone();
    for closing in [false, true] {
        let mut h = rings::usual();
        let (listener, addr) = h.listener(8);
        let accept = h.start(Op::Accept { fd: listener });
        h.poll(Wait::Now);
        let mut peer = TcpStream::connect(addr.as_socket().unwrap()).unwrap();
        if closing {
            h.close(listener);
        } else {
            h.cancel(accept);
        }
        match h.run_until(accept).0 {
            // The loop closes what it got for nobody.
            Ok(Outcome::Accepted(fd)) => h.close(fd),
            other => {
                assert!(rings::is_cancelled(&other), "{other:?}");
                h.close(listener);
            }
        }
        match peer.read(&mut [0; 4]) {
            Ok(0) => {}
            other => assert_eq!(other.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
}

#[test]
fn a_number_used_again_gets_nothing_of_the_closed_one() {
    let _alone = alone();
    let mut h = rings::usual();
    for round in 0..100_u8 {
        let (old, old_peer) = rings::tcp(&mut h);
        let number = h.backend().raw_fd(old);
        let pending = [h.start(Op::RecvMulti { fd: old }), h.start(rings::send(old, b"last"))];
        if round % 2 == 0 {
            h.poll(Wait::Now);
        }
        put(&old_peer, &[round; 7]);
        if round % 3 == 0 {
            h.poll(Wait::Now);
        }
        h.close(old);
        // The number is free at once: the close has ended what was on it.
        let (ours, mut peer) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!([ours.as_raw_fd(), peer.as_raw_fd()].contains(&number.unwrap()), "a close that waits");
        let new = h.backend().adopt(ours.into()).unwrap();
        put(&mut peer, &[round + 1; 3]);
        assert_eq!(h.recv_exact(new, 3), [round + 1; 3]);
        for key in pending {
            while h.is_in_flight(key) {
                h.poll(Wait::Now);
            }
            while h.kept(key).is_some() {}
        }
        h.close(new);
    }
}

#[test]
fn the_peer_is_told_of_a_close_without_another_poll() {
    use std::io::Read;
    let _alone = alone();
    let mut h = rings::usual();
    let (fd, mut peer) = rings::unix(&mut h);
    h.start(Op::RecvMulti { fd });
    h.start(rings::send(fd, b"sent before"));
    h.close(fd);
    let mut got = Vec::new();
    peer.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"sent before");
}

#[test]
fn a_watch_that_was_ended_keeps_nothing_open() {
    use std::io::Read;
    let _alone = alone();
    let mut h = rings::usual();
    let (ours, mut peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let watch = h.start(Op::Readiness { fd: ours.as_raw_fd(), interest: Interest::Read });
    h.poll(Wait::Now);
    h.cancel(watch);
    drop(ours);
    assert_eq!(peer.read(&mut [0; 4]).unwrap(), 0, "the peer waits for ever otherwise");
}
