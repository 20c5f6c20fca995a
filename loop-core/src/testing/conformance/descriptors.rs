//! Real descriptors: taken over, handed back, closed; and the documented answers of a backend without any.
//!
//! Whether a descriptor is closed is asked of its peer, not of the table of open files: other tests run in the
//! same process at the same time.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::{Make, harness, has_descriptors, settle};
use crate::op::{Op, Outcome};
use crate::testing::Harness;
use crate::testing::harness::recv_op;

/// A harness, if the backend has real descriptors.
fn real(make: &mut Make<'_>) -> Option<Harness> {
    let mut h = harness(make);
    if has_descriptors(&mut h) {
        return Some(h);
    }
    let fd = h.stream();
    assert!(h.backend().raw_fd(fd).is_none());
    let (backend, ops) = h.parts();
    assert_eq!(backend.release(ops, fd).unwrap_err().kind(), io::ErrorKind::Unsupported);
    let (ours, mut theirs) = UnixStream::pair().expect("a pair");
    assert_eq!(h.backend().adopt(ours.into()).unwrap_err().kind(), io::ErrorKind::Unsupported);
    assert_eq!(theirs.read(&mut [0]).expect("read"), 0, "an adoption that fails closes the descriptor");
    None
}

#[track_caller]
fn assert_flags(fd: RawFd) {
    // SAFETY: the number is open, as its owner has just said.
    let (status, flags) = unsafe { (libc::fcntl(fd, libc::F_GETFL), libc::fcntl(fd, libc::F_GETFD)) };
    assert_ne!(status & libc::O_NONBLOCK, 0, "non-blocking");
    assert_ne!(flags & libc::FD_CLOEXEC, 0, "close-on-exec");
}

/// Waits for the end of what a peer outside the backend receives.
#[track_caller]
pub(super) fn assert_peer_sees_the_end(mut peer: TcpStream) {
    peer.set_nonblocking(false).expect("blocking");
    peer.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    match peer.read(&mut [0; 16]) {
        Ok(0) => {}
        Ok(count) => panic!("{count} bytes from a socket that was to be closed"),
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "the socket was not closed"),
    }
}

pub(super) fn an_adopted_descriptor_works_and_is_non_blocking(make: &mut Make<'_>) {
    let Some(mut h) = real(make) else { return };
    let (ours, mut theirs) = UnixStream::pair().expect("a pair");
    let number = ours.as_raw_fd();
    let fd = h.backend().adopt(ours.into()).expect("adopt");
    assert_eq!(h.backend().raw_fd(fd), Some(number));
    assert_flags(number);
    let waiting = h.start(recv_op(fd, 16));
    assert!(settle(&mut h, waiting).is_none());
    theirs.write_all(b"in").expect("write");
    assert_eq!(h.received(waiting).unwrap(), b"in");
    h.send_all(fd, b"out");
    let mut out = [0; 3];
    theirs.read_exact(&mut out).expect("read");
    assert_eq!(&out, b"out");
    h.close(fd);
    assert_eq!(h.backend().raw_fd(fd), None);
    h.poll(crate::backend::Wait::Now);
    assert_eq!(theirs.read(&mut out).expect("read"), 0, "closed");
}

pub(super) fn opened_and_accepted_sockets_are_non_blocking_and_close_on_exec(make: &mut Make<'_>) {
    let Some(mut h) = real(make) else { return };
    let (client, server) = h.tcp_pair();
    for fd in [client, server] {
        assert_flags(h.backend().raw_fd(fd).expect("a real descriptor"));
    }
    let (listener, addr) = h.listener(1);
    let accept = h.start(Op::AcceptMulti { fd: listener });
    h.connect(&addr);
    let crate::testing::Arrival::More(_, Outcome::Accepted(server)) = h.next_of(accept) else {
        panic!("accept came to something else")
    };
    assert_flags(h.backend().raw_fd(server).expect("a real descriptor"));
}

pub(super) fn a_refused_adoption_closes_the_descriptor(make: &mut Make<'_>) {
    // A backend without descriptors refuses all, and `real` has checked that it closes them.
    let Some(mut h) = real(make) else { return };
    // Others may adopt anything: then it is theirs, and closed with the rest.
    let file = std::fs::File::open("/proc/self/exe").expect("a regular file");
    if let Ok(fd) = h.backend().adopt(file.into()) {
        h.close(fd);
    }
}

pub(super) fn a_released_descriptor_lives_on(make: &mut Make<'_>) {
    let Some(mut h) = real(make) else { return };
    let (client, server) = h.tcp_pair();
    let number = h.backend().raw_fd(server);
    // It has been waited on, so the backend knows it well.
    let waiting = h.start(recv_op(server, 10));
    assert!(settle(&mut h, waiting).is_none());
    h.cancel(waiting);
    assert!(h.run_until(waiting).0.is_err());
    let (backend, ops) = h.parts();
    let released = backend.release(ops, server).expect("nothing is in flight on it");
    assert_eq!(Some(released.as_raw_fd()), number);
    assert_eq!(h.backend().raw_fd(server), None);
    assert!(h.run(recv_op(server, 10)).0.is_err(), "its key is dead");
    let (backend, ops) = h.parts();
    assert!(backend.release(ops, server).is_err());
    // It is open, works, and may come back.
    h.send_all(client, b"ping");
    let fd = h.backend().adopt(released).expect("adopt");
    assert_ne!(fd, server);
    assert_eq!(h.recv_exact(fd, 4), b"ping");
    let (backend, ops) = h.parts();
    let released: OwnedFd = backend.release(ops, fd).expect("nothing is in flight on it");
    let mut stream = TcpStream::from(released);
    stream.set_nonblocking(false).expect("blocking");
    stream.write_all(b"pong").expect("write");
    assert_eq!(h.recv_exact(client, 4), b"pong");
}

pub(super) fn a_busy_descriptor_is_not_released(make: &mut Make<'_>) {
    let Some(mut h) = real(make) else { return };
    let (client, server) = h.tcp_pair();
    let waiting = h.start(recv_op(server, 10));
    let (backend, ops) = h.parts();
    assert_eq!(backend.release(ops, server).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
    // Nothing has changed.
    assert!(h.is_in_flight(waiting));
    h.send_all(client, b"still");
    assert_eq!(h.received(waiting).unwrap(), b"still");
    let (backend, ops) = h.parts();
    assert!(backend.release(ops, server).is_ok());
}

pub(super) fn a_closed_descriptor_is_really_closed(make: &mut Make<'_>) {
    let Some(mut h) = real(make) else { return };
    let (listener, addr) = h.listener(1);
    let peer = TcpStream::connect(addr.as_socket().expect("an internet address")).expect("connect");
    let (result, _) = h.run(Op::Accept { fd: listener });
    let Ok(Outcome::Accepted(server)) = result else { panic!("accept came to {result:?}") };
    let number = h.backend().raw_fd(server).expect("a real descriptor");
    // SAFETY: the number is open: its key has just said so.
    let twin = unsafe { BorrowedFd::borrow_raw(number) }.try_clone_to_owned().expect("a second descriptor");
    drop(twin);
    let pending = h.start(recv_op(server, 10));
    h.close(server);
    assert!(h.run_until(pending).0.is_err());
    h.poll(crate::backend::Wait::Now);
    assert_peer_sees_the_end(peer);
}
