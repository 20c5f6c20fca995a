//! What these tests start from: checked backends of any size, plain sockets for the other end, and counts.

#![allow(dead_code, unreachable_pub)]

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};

use loop_core::testing::{Arrival, CheckedBackend, Harness};
use loop_core::{Chunk, FdKey, Op, OpKey, Outcome};
use loop_uring::{Options, UringBackend};

pub fn harness(options: &Options) -> Harness {
    let backend = UringBackend::with(options).expect("io_uring");
    Harness::new(Box::new(CheckedBackend::new(Box::new(backend))))
}

pub fn usual() -> Harness {
    harness(&Options::default())
}

/// Queues so small that they are full at every turn.
pub fn tiny() -> Options {
    Options { submissions: 2, completions: 4, ..Options::default() }
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
    (h.backend().adopt(ours.into()).expect("adopt"), peer)
}

pub fn put(mut peer: impl Write, bytes: &[u8]) {
    peer.write_all(bytes).expect("the peer writes");
}

pub fn recv(fd: FdKey, limit: usize) -> Op {
    Op::Recv { fd, buf: Vec::with_capacity(limit), limit }
}

pub fn send(fd: FdKey, bytes: &[u8]) -> Op {
    Op::Send { fd, buf: bytes.to_vec(), start: 0 }
}

/// The next chunk of a multishot receive; `None` is the end of the stream.
pub fn chunk(h: &mut Harness, receive: OpKey) -> Option<Chunk> {
    match h.next_of(receive) {
        Arrival::More(_, Outcome::Chunk(chunk)) => Some(chunk),
        Arrival::Final(_, Ok(Outcome::Count(0)), _) => None,
        other => panic!("receive came to {other:?}"),
    }
}

pub fn is_cancelled(result: &std::io::Result<Outcome>) -> bool {
    matches!(result, Err(error) if error.raw_os_error() == Some(libc::ECANCELED))
}

/// Tests that count the process's descriptors run one at a time.
pub fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many descriptors the process has.
pub fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("procfs").count()
}

/// Whether no more are open than there were. Threads that start, other tests' for one, open some for a moment, before or
/// now: what is left for longer is left.
pub fn are_closed_down_to(before: usize) -> bool {
    (0..10_000).any(|_| {
        std::thread::yield_now();
        open_descriptors() <= before
    })
}
