//! What these tests start from: a checked backend, and sockets with one end in it and the other in plain std.

#![allow(dead_code, unreachable_pub)]

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

use loop_core::testing::{Arrival, CheckedBackend, Harness};
use loop_core::{Completion, Event, FdKey, Op, OpKey, Outcome, Wait};
use loop_epoll::EpollBackend;

pub fn harness() -> Harness {
    checked(EpollBackend::new().expect("epoll"))
}

pub fn harness_with_timerfd() -> Harness {
    checked(EpollBackend::with_timerfd().expect("epoll"))
}

fn checked(backend: EpollBackend) -> Harness {
    Harness::new(Box::new(CheckedBackend::new(Box::new(backend)).indulgent()))
}

/// Ours, and the peer.
pub fn unix(h: &mut Harness) -> (FdKey, UnixStream) {
    let (ours, peer) = UnixStream::pair().expect("a pair");
    (h.backend().adopt(ours.into()).expect("adopt"), peer)
}

/// Ours, and the peer.
pub fn tcp(h: &mut Harness) -> (FdKey, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let ours = TcpStream::connect(listener.local_addr().expect("an address")).expect("connect");
    let (peer, _) = listener.accept().expect("accept");
    peer.set_nodelay(true).expect("nodelay");
    (h.backend().adopt(ours.into()).expect("adopt"), peer)
}

pub fn recv(fd: FdKey, limit: usize) -> Op {
    Op::Recv { fd, buf: Vec::with_capacity(limit), limit }
}

pub fn put(mut peer: impl Write, bytes: &[u8]) {
    peer.write_all(bytes).expect("the peer writes");
}

/// One poll, told apart from what follows from it: who may go on, and who is over.
pub fn look(h: &mut Harness, wait: Wait) -> Vec<Completion> {
    let mut out = Vec::new();
    let (backend, ops) = h.parts();
    backend.poll(ops, wait, &mut out).expect("poll");
    out
}

pub fn resumed(completions: &[Completion]) -> Vec<OpKey> {
    completions.iter().filter(|one| matches!(one.event, Event::Resume)).map(|one| one.op).collect()
}

/// The next chunk of a multishot receive, as bytes; `None` is the end of the stream.
pub fn chunk(h: &mut Harness, receive: OpKey) -> Option<Vec<u8>> {
    match h.next_of(receive) {
        Arrival::More(_, Outcome::Chunk(chunk)) => Some(chunk.to_vec()),
        Arrival::Final(_, Ok(Outcome::Count(0)), _) => None,
        other => panic!("receive came to {other:?}"),
    }
}
