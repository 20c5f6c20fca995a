//! Readiness of any descriptor, whatever its owner does with the number.

mod sockets;

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, pipe};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use loop_core::testing::{Harness, Started};
use loop_core::{Interest, Op, OpKey, Outcome, Wait};
use sockets::{harness, look, put, resumed, unix};

fn readable(fd: RawFd) -> Op {
    Op::Readiness { fd, interest: Interest::Read }
}

fn writable(fd: RawFd) -> Op {
    Op::Readiness { fd, interest: Interest::Write }
}

fn waits(h: &mut Harness, op: Op) -> OpKey {
    match h.submit(op) {
        Started::Queued(key) => key,
        other => panic!("it should wait, and came to {other:?}"),
    }
}

fn done(h: &mut Harness, key: OpKey) {
    let (result, _) = h.run_until(key);
    assert!(matches!(result, Ok(Outcome::Done)), "{result:?}");
}

/// Nothing happens to it, however often the kernel is asked.
fn stays(h: &mut Harness, key: OpKey) {
    for _ in 0..5 {
        h.poll(Wait::Now);
    }
    assert!(h.is_in_flight(key));
}

/// Puts `file` at the number, which is free, or another file's that is closed by this.
fn at_number(number: RawFd, file: impl Into<OwnedFd>) -> OwnedFd {
    let file = file.into();
    // SAFETY: the number was given up by its former owner (`into_raw_fd`), so nobody else closes it.
    let mut place = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::dup2(&file, &mut place).unwrap();
    place
}

/// A pipe whose reader's number nobody owns: the test closes it by hand. The number is so high that the other
/// tests' descriptors do not get it meanwhile, and each test has its own.
fn loose_pipe(number: RawFd) -> (RawFd, PipeWriter) {
    let (reader, writer) = pipe().unwrap();
    let reader = rustix::io::fcntl_dupfd_cloexec(&reader, number).unwrap().into_raw_fd();
    assert_eq!(reader, number);
    (reader, writer)
}

fn close(number: RawFd) {
    // SAFETY: the number was given up by its former owner, so nobody else closes it.
    drop(unsafe { OwnedFd::from_raw_fd(number) });
}

fn drain(mut reader: &PipeReader, len: usize) {
    reader.read_exact(&mut vec![0; len]).unwrap();
}

#[test]
fn a_level_is_reported_as_often_as_it_is_asked_for() {
    let mut h = harness();
    let (reader, writer) = pipe().unwrap();
    let fd = reader.as_raw_fd();
    for _ in 0..3 {
        let key = waits(&mut h, readable(fd));
        put(&writer, b"x");
        done(&mut h, key);
        for _ in 0..3 {
            assert!(matches!(h.submit(readable(fd)), Started::Done(Ok(Outcome::Done), _)), "still readable");
            h.poll(Wait::Now);
        }
        drain(&reader, 1);
    }
}

#[test]
fn an_edge_whose_level_is_gone_keeps_waiting() {
    let mut h = harness();
    let (reader, writer) = pipe().unwrap();
    let key = waits(&mut h, readable(reader.as_raw_fd()));
    put(&writer, b"x");
    h.hold_resumes(true);
    h.wait_for("a resume", |h| h.has_resume(key).then_some(()));
    drain(&reader, 1);
    h.hold_resumes(false);
    stays(&mut h, key);
    put(&writer, b"y");
    done(&mut h, key);
}

#[test]
fn a_regular_file_is_refused_and_leaves_nothing_behind() {
    let mut h = harness();
    let file = File::open("/proc/self/exe").unwrap();
    for _ in 0..2 {
        for op in [readable(file.as_raw_fd()), writable(file.as_raw_fd())] {
            match h.submit(op) {
                Started::Done(Err(error), _) => assert_eq!(error.raw_os_error(), Some(libc::EPERM)),
                other => panic!("a file came to {other:?}"),
            }
        }
    }
}

#[test]
fn a_regular_file_is_refused_at_a_number_that_was_a_pipe() {
    let mut h = harness();
    let (number, writer) = loose_pipe(901);
    let key = waits(&mut h, readable(number));
    put(&writer, b"x");
    done(&mut h, key);
    let _file = at_number(number, File::open("/proc/self/exe").unwrap());
    match h.submit(readable(number)) {
        Started::Done(Err(error), _) => assert_eq!(error.raw_os_error(), Some(libc::EPERM)),
        other => panic!("a file came to {other:?}"),
    }
}

#[test]
fn bad_numbers_are_bad() {
    let mut h = harness();
    let (number, writer) = loose_pipe(902);
    let key = waits(&mut h, readable(number));
    put(&writer, b"x");
    done(&mut h, key);
    close(number);
    for number in [-1, i32::MIN, number, 1_000_000] {
        match h.submit(readable(number)) {
            Started::Done(Err(error), _) => assert_eq!(error.raw_os_error(), Some(libc::EBADF)),
            other => panic!("number {number} came to {other:?}"),
        }
    }
}

#[test]
fn a_number_closed_under_its_watcher_is_silent_and_can_be_watched_anew() {
    let mut h = harness();
    let (number, writer) = loose_pipe(903);
    let old = waits(&mut h, readable(number));
    let (reader, new_writer) = pipe().unwrap();
    // Closed, and another pipe in its place, without a word.
    let _place = at_number(number, reader);
    drop(writer);
    let new = waits(&mut h, readable(number));
    put(&new_writer, b"x");
    done(&mut h, new);
    stays(&mut h, old);
    h.cancel(old);
    assert_eq!(h.run_until(old).0.unwrap_err().raw_os_error(), Some(libc::ECANCELED));
    // The number is the new pipe's all along.
    assert!(matches!(h.submit(readable(number)), Started::Done(Ok(_), _)));
}

#[test]
fn events_of_a_duplicate_do_not_reach_the_numbers_next_tenant() {
    let mut h = harness();
    let (number, writer) = loose_pipe(904);
    let old = waits(&mut h, readable(number));
    // SAFETY: open, and borrowed for one call.
    let duplicate = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) }.try_clone_to_owned().unwrap();
    let (reader, new_writer) = pipe().unwrap();
    let _place = at_number(number, reader);
    let new = waits(&mut h, readable(number));
    // epoll goes on watching the old pipe, through the duplicate.
    put(&writer, b"x");
    h.hold_resumes(true);
    for _ in 0..5 {
        h.poll(Wait::Now);
        assert!(!h.has_resume(new));
    }
    h.hold_resumes(false);
    stays(&mut h, old);
    stays(&mut h, new);
    put(&new_writer, b"y");
    done(&mut h, new);
    // The duplicate is a descriptor like any other.
    assert!(matches!(h.submit(readable(duplicate.as_raw_fd())), Started::Done(Ok(_), _)));
}

#[test]
fn an_event_of_a_closed_number_does_not_end_its_watch() {
    let mut h = harness();
    let (number, writer) = loose_pipe(905);
    // SAFETY: open, and borrowed for one call.
    let _duplicate = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) }.try_clone_to_owned().unwrap();
    let key = waits(&mut h, readable(number));
    close(number);
    put(&writer, b"x");
    stays(&mut h, key);
    put(&writer, b"y");
    stays(&mut h, key);
}

#[test]
fn both_interests_are_apart() {
    let mut h = harness();
    let (ours, peer) = std::os::unix::net::UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let block = [0; 4096];
    while std::io::Write::write(&mut &ours, &block).is_ok() {}
    let read = waits(&mut h, readable(ours.as_raw_fd()));
    let write = waits(&mut h, writable(ours.as_raw_fd()));
    put(&peer, b"x");
    done(&mut h, read);
    stays(&mut h, write);
    let again = waits_after(&mut h, &ours);
    h.cancel(again);
    assert!(h.run_until(again).0.is_err());
    while h.kept(write).is_none() {
        (&peer).read_exact(&mut [0; 4096]).unwrap();
        h.poll(Wait::Now);
    }
}

fn waits_after(h: &mut Harness, mut ours: &std::os::unix::net::UnixStream) -> OpKey {
    ours.read_exact(&mut [0]).unwrap();
    waits(h, readable(ours.as_raw_fd()))
}

#[test]
fn a_hang_up_is_ready_for_both() {
    let mut h = harness();
    let (reader, writer) = pipe().unwrap();
    let read = waits(&mut h, readable(reader.as_raw_fd()));
    drop(writer);
    done(&mut h, read);
    assert!(matches!(h.submit(writable(reader.as_raw_fd())), Started::Done(Ok(_), _)));
    let (reader, writer) = pipe().unwrap();
    let read = waits(&mut h, readable(writer.as_raw_fd()));
    drop(reader);
    done(&mut h, read);
}

#[test]
fn our_own_descriptor_can_be_watched_beside_its_transfers() {
    let mut h = harness();
    let (fd, peer) = unix(&mut h);
    let number = h.backend().raw_fd(fd).unwrap();
    let watch = waits(&mut h, readable(number));
    let receive = h.start(Op::RecvMulti { fd });
    let second = waits(&mut h, readable(number));
    stays(&mut h, receive);
    put(&peer, b"bytes");
    // Watchers hear of it first; whether the level is still there is told when their turn comes.
    let told = h.wait_for("resumes", |h| {
        let told = resumed(&look(h, Wait::Now));
        (!told.is_empty()).then_some(told)
    });
    assert_eq!(told, [watch, second, receive]);
    let (backend, ops) = h.parts();
    assert!(matches!(backend.resume(ops, watch), loop_core::Submitted::Done(Ok(Outcome::Done))));
    assert!(matches!(backend.resume(ops, receive), loop_core::Submitted::More(_)));
    assert!(matches!(backend.resume(ops, second), loop_core::Submitted::Queued), "drained meanwhile");
}

#[test]
fn closing_our_own_descriptor_ends_its_watchers() {
    let mut h = harness();
    let (fd, _peer) = unix(&mut h);
    let number = h.backend().raw_fd(fd).unwrap();
    let watch = waits(&mut h, readable(number));
    let (backend, ops) = h.parts();
    assert_eq!(backend.release(ops, fd).unwrap_err().kind(), std::io::ErrorKind::ResourceBusy);
    h.close(fd);
    assert_eq!(h.run_until(watch).0.unwrap_err().raw_os_error(), Some(libc::ECANCELED));
}

#[test]
fn a_watched_number_may_become_ours_and_cease_to_be() {
    let mut h = harness();
    let (ours, peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let number = ours.as_raw_fd();
    let watch = waits(&mut h, readable(number));
    h.cancel(watch);
    assert!(h.run_until(watch).0.is_err());
    // epoll knows the number already, under another token.
    let fd = h.backend().adopt(ours.into()).unwrap();
    let receive = h.start(Op::RecvMulti { fd });
    put(&peer, b"x");
    assert_eq!(sockets::chunk(&mut h, receive).unwrap(), b"x");
    h.cancel(receive);
    assert!(h.run_until(receive).0.is_err());
    let (backend, ops) = h.parts();
    let ours = backend.release(ops, fd).unwrap();
    let watch = waits(&mut h, readable(number));
    put(&peer, b"y");
    done(&mut h, watch);
    drop(ours);
}

#[test]
fn a_registration_without_watchers_is_taken_back() {
    let mut h = harness();
    let (reader, writer) = pipe().unwrap();
    let number = reader.as_raw_fd();
    let key = waits(&mut h, readable(number));
    h.cancel(key);
    assert!(h.run_until(key).0.is_err());
    for _ in 0..3 {
        put(&writer, b"x");
        h.poll(Wait::Now);
    }
    let deadline = h.now() + std::time::Duration::from_micros(100);
    put(&writer, b"x");
    while h.now() < deadline {
        assert!(look(&mut h, Wait::Until(deadline)).is_empty());
    }
    drain(&reader, 4);
    let key = waits(&mut h, readable(number));
    put(&writer, b"x");
    done(&mut h, key);
    let _ = reader.as_fd();
}
