//! Interest in descriptors that are not the backend's own: level-triggered, whatever the kernel offers.
//!
//! The last cases are about numbers that are reused. Outside an operation in flight the program may close its
//! descriptor and get another of the same number; what a backend remembers of the first must not confuse it.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

use super::{Make, assert_cancelled, harness, has_descriptors, settle};
use crate::op::{Interest, Op, Outcome};
use crate::op_table::OpKey;
use crate::testing::{Harness, Started};

/// A harness, if the backend watches descriptors. One without real ones says that it does not support it.
fn watching(make: &mut Make<'_>) -> Option<Harness> {
    let mut h = harness(make);
    if has_descriptors(&mut h) {
        return Some(h);
    }
    let (reader, _writer) = io::pipe().expect("a pipe");
    for interest in [Interest::Read, Interest::Write] {
        let answer = h.submit(Op::Readiness { fd: reader.as_raw_fd(), interest });
        assert!(matches!(answer, Started::Unsupported(_)), "the documented answer, not {answer:?}");
    }
    assert!(h.ops().is_empty(), "nothing was queued");
    None
}

fn watch(h: &mut Harness, fd: &impl AsRawFd, interest: Interest) -> OpKey {
    h.start(Op::Readiness { fd: fd.as_raw_fd(), interest })
}

#[track_caller]
fn assert_ready(h: &mut Harness, key: OpKey) {
    let (result, _) = h.run_until(key);
    assert!(matches!(result, Ok(Outcome::Done)), "readiness came to {result:?}");
}

#[track_caller]
fn assert_waits(h: &mut Harness, key: OpKey) {
    let result = settle(h, key);
    assert!(result.is_none(), "not ready, yet readiness came to {result:?}");
}

fn pipe() -> (PipeReader, PipeWriter) {
    io::pipe().expect("a pipe")
}

pub(super) fn a_pipe_becomes_readable(make: &mut Make<'_>) {
    let Some(mut h) = watching(make) else { return };
    let (reader, mut writer) = pipe();
    let key = watch(&mut h, &reader, Interest::Read);
    assert_waits(&mut h, key);
    writer.write_all(b"x").expect("write");
    assert_ready(&mut h, key);
}

pub(super) fn readiness_is_level_triggered(make: &mut Make<'_>) {
    let Some(mut h) = watching(make) else { return };
    let (mut reader, mut writer) = pipe();
    writer.write_all(b"xyz").expect("write");
    for _ in 0..5 {
        // Nothing was read since: it is ready again, and again.
        let key = watch(&mut h, &reader, Interest::Read);
        assert_ready(&mut h, key);
    }
    let mut byte = [0];
    for _ in 0..3 {
        let key = watch(&mut h, &reader, Interest::Read);
        assert_ready(&mut h, key);
        reader.read_exact(&mut byte).expect("read");
    }
    let key = watch(&mut h, &reader, Interest::Read);
    assert_waits(&mut h, key);
    writer.write_all(b"x").expect("write");
    assert_ready(&mut h, key);
}

pub(super) fn readiness_is_asked_for_when_its_turn_comes(make: &mut Make<'_>) {
    let Some(mut h) = watching(make) else { return };
    let (mut reader, mut writer) = pipe();
    h.hold_resumes(true);
    let key = watch(&mut h, &reader, Interest::Read);
    writer.write_all(b"x").expect("write");
    h.wait_for("a Resume, or the completion", |h| (h.has_resume(key) || !h.is_in_flight(key)).then_some(()));
    // Somebody else reads it, between the report and its turn.
    reader.read_exact(&mut [0]).expect("read");
    let resumed = h.is_in_flight(key);
    h.hold_resumes(false);
    if resumed {
        assert_waits(&mut h, key);
        writer.write_all(b"y").expect("write");
    }
    assert_ready(&mut h, key);
}

pub(super) fn a_socket_is_writable_at_once(make: &mut Make<'_>) {
    let Some(mut h) = watching(make) else { return };
    let (one, _two) = UnixStream::pair().expect("a pair");
    for _ in 0..3 {
        let key = watch(&mut h, &one, Interest::Write);
        assert_ready(&mut h, key);
    }
}

pub(super) fn a_full_pipe_becomes_writable(make: &mut Make<'_>) {
    let Some(mut h) = watching(make) else { return };
    let (one, mut two) = UnixStream::pair().expect("a pair");
    one.set_nonblocking(true).expect("non-blocking");
    two.set_nonblocking(true).expect("non-blocking");
    let block = [0; 4_096];
    while (&one).write(&block).is_ok() {}
    let key = watch(&mut h, &one, Interest::Write);
    assert_waits(&mut h, key);
    let mut sink = vec![0; 1 << 20];
    while two.read(&mut sink).is_ok() {}
    assert_ready(&mut h, key);
}

pub(super) fn a_hang_up_is_ready_for_both(make: &mut Make<'_>) {
    let Some(mut h) = watching(make) else { return };
    // One that waits hears of it, for reading and for writing.
    let (reader, writer) = pipe();
    let reading = watch(&mut h, &reader, Interest::Read);
    let other = watch(&mut h, &reader, Interest::Write);
    assert_waits(&mut h, reading);
    assert_waits(&mut h, other);
    drop(writer);
    assert_ready(&mut h, reading);
    assert_ready(&mut h, other);
    // One that comes later too.
    for interest in [Interest::Read, Interest::Write] {
        let key = watch(&mut h, &reader, interest);
        assert_ready(&mut h, key);
    }
    // An error, as a writer sees it whose reader is gone, is ready as well.
    let (reader, writer) = pipe();
    let reading = watch(&mut h, &writer, Interest::Read);
    assert_waits(&mut h, reading);
    drop(reader);
    assert_ready(&mut h, reading);
    let key = watch(&mut h, &writer, Interest::Write);
    assert_ready(&mut h, key);
    // And a socket whose peer is gone.
    let (one, two) = UnixStream::pair().expect("a pair");
    let key = watch(&mut h, &one, Interest::Read);
    drop(two);
    assert_ready(&mut h, key);
}

pub(super) fn both_interests_of_one_descriptor_are_apart(make: &mut Make<'_>) {
    let Some(mut h) = watching(make) else { return };
    let (one, mut two) = UnixStream::pair().expect("a pair");
    let reading = watch(&mut h, &one, Interest::Read);
    let writing = watch(&mut h, &one, Interest::Write);
    assert_ready(&mut h, writing);
    assert_waits(&mut h, reading);
    let writing = watch(&mut h, &one, Interest::Write);
    assert_ready(&mut h, writing);
    assert_waits(&mut h, reading);
    two.write_all(b"x").expect("write");
    assert_ready(&mut h, reading);
    // And with the writing one cancelled, or over, before.
    let (reader, mut writer) = pipe();
    let other = watch(&mut h, &reader, Interest::Write);
    let reading = watch(&mut h, &reader, Interest::Read);
    h.cancel(other);
    assert_cancelled(&h.run_until(other).0);
    writer.write_all(b"x").expect("write");
    assert_ready(&mut h, reading);
}

pub(super) fn two_may_wait_for_the_same(make: &mut Make<'_>) {
    let Some(mut h) = watching(make) else { return };
    let (reader, mut writer) = pipe();
    let keys = [(); 3].map(|()| watch(&mut h, &reader, Interest::Read));
    h.cancel(keys[1]);
    assert_cancelled(&h.run_until(keys[1]).0);
    writer.write_all(b"x").expect("write");
    assert_ready(&mut h, keys[0]);
    assert_ready(&mut h, keys[2]);
}

pub(super) fn the_backends_own_sockets_can_be_watched(make: &mut Make<'_>) {
    let Some(mut h) = watching(make) else { return };
    let (client, server) = h.tcp_pair();
    let fd = h.backend().raw_fd(server).expect("a real descriptor");
    let writing = h.start(Op::Readiness { fd, interest: Interest::Write });
    assert_ready(&mut h, writing);
    let reading = h.start(Op::Readiness { fd, interest: Interest::Read });
    assert_waits(&mut h, reading);
    h.send_all(client, b"watched");
    assert_ready(&mut h, reading);
    // Watching took nothing from the socket.
    assert_eq!(h.recv_exact(server, 7), b"watched");
    let receive = h.start(crate::testing::harness::recv_op(server, 10));
    let reading = h.start(Op::Readiness { fd, interest: Interest::Read });
    h.send_all(client, b"both");
    assert_eq!(h.received(receive).unwrap(), b"both");
    // Whether the other heard of bytes that were taken before it looked is left open; of more it hears.
    h.send_all(client, b"more");
    assert_ready(&mut h, reading);
}

pub(super) fn a_regular_file_is_ready_or_refused(make: &mut Make<'_>) {
    let Some(mut h) = watching(make) else { return };
    let file = File::open("/proc/self/exe").expect("a regular file");
    for interest in [Interest::Read, Interest::Write] {
        // epoll refuses regular files, as asyncio's selectors do; a poll finds them always ready.
        let key = watch(&mut h, &file, interest);
        match h.run_until(key).0 {
            Ok(Outcome::Done) => {}
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
            other => panic!("readiness came to {other:?}"),
        }
    }
}

pub(super) fn a_bad_descriptor_is_an_error(make: &mut Make<'_>) {
    let Some(mut h) = watching(make) else { return };
    for interest in [Interest::Read, Interest::Write] {
        let (result, _) = h.run(Op::Readiness { fd: -1, interest });
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EBADF));
    }
}

pub(super) fn a_waiting_readiness_can_be_cancelled(make: &mut Make<'_>) {
    let Some(mut h) = watching(make) else { return };
    let (reader, mut writer) = pipe();
    for asked in [false, true] {
        let key = watch(&mut h, &reader, Interest::Read);
        if asked {
            assert_waits(&mut h, key);
        }
        h.cancel(key);
        assert_cancelled(&h.run_until(key).0);
    }
    writer.write_all(b"x").expect("write");
    let key = watch(&mut h, &reader, Interest::Read);
    assert_ready(&mut h, key);
}

/// Makes `number` name what `from` names.
fn renumber(from: &impl AsRawFd, number: RawFd) {
    // SAFETY: plain numbers; the caller owns both, and what `number` named is closed as it means to.
    let result = unsafe { libc::dup3(from.as_raw_fd(), number, libc::O_CLOEXEC) };
    assert_eq!(result, number, "dup3: {}", io::Error::last_os_error());
}

/// A new pipe whose reading end has the number of the old one's.
fn reuse(old: &PipeReader) -> PipeWriter {
    let (reader, writer) = pipe();
    renumber(&reader, old.as_raw_fd());
    writer
}

/// What holds for the new pipe under the old number: it waits, then is ready.
fn assert_fresh(h: &mut Harness, reader: &mut PipeReader, mut writer: PipeWriter) {
    let key = watch(h, reader, Interest::Read);
    assert_waits(h, key);
    writer.write_all(b"x").expect("write");
    assert_ready(h, key);
    reader.read_exact(&mut [0]).expect("read");
    let key = watch(h, reader, Interest::Read);
    assert_waits(h, key);
    drop(writer);
    assert_ready(h, key);
}

pub(super) fn a_number_reused_after_completion_is_a_new_descriptor(make: &mut Make<'_>) {
    let Some(mut h) = watching(make) else { return };
    let (mut reader, mut writer) = pipe();
    for _ in 0..3 {
        let key = watch(&mut h, &reader, Interest::Read);
        writer.write_all(b"x").expect("write");
        assert_ready(&mut h, key);
        writer = reuse(&reader);
    }
    assert_fresh(&mut h, &mut reader, writer);
}

pub(super) fn a_number_reused_after_cancel_is_a_new_descriptor(make: &mut Make<'_>) {
    let Some(mut h) = watching(make) else { return };
    let (mut reader, mut writer) = pipe();
    for _ in 0..3 {
        let key = watch(&mut h, &reader, Interest::Read);
        assert_waits(&mut h, key);
        h.cancel(key);
        assert_cancelled(&h.run_until(key).0);
        drop(writer);
        writer = reuse(&reader);
    }
    assert_fresh(&mut h, &mut reader, writer);
}

pub(super) fn a_number_reused_while_the_old_file_lives_is_a_new_descriptor(make: &mut Make<'_>) {
    let Some(mut h) = watching(make) else { return };
    for cancelled in [false, true] {
        let (mut reader, mut old) = pipe();
        // Another descriptor of the same file, as a child process may have it: closing the number closes no file.
        let _twin = reader.try_clone().expect("a second descriptor");
        let key = watch(&mut h, &reader, Interest::Read);
        if cancelled {
            assert_waits(&mut h, key);
            h.cancel(key);
            assert_cancelled(&h.run_until(key).0);
        } else {
            old.write_all(b"x").expect("write");
            assert_ready(&mut h, key);
            reader.read_exact(&mut [0]).expect("read");
        }
        let writer = reuse(&reader);
        let key = watch(&mut h, &reader, Interest::Read);
        assert_waits(&mut h, key);
        old.write_all(b"for the old one").expect("write");
        assert_waits(&mut h, key);
        h.cancel(key);
        assert_cancelled(&h.run_until(key).0);
        assert_fresh(&mut h, &mut reader, writer);
    }
}
