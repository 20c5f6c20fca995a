//! Receiving: when it is tried, when it waits, and when a read is known to be the last.

mod sockets;

use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;

use loop_core::testing::Started;
use loop_core::{Op, Outcome, Wait};
use loop_epoll::READ_SIZE;
use sockets::{chunk, harness, look, put, recv, resumed, tcp, unix};

#[test]
fn what_is_there_is_received_at_once() {
    let mut h = harness();
    let (fd, peer) = tcp(&mut h);
    put(&peer, b"there");
    match h.submit(recv(fd, 16)) {
        Started::Done(Ok(Outcome::Count(5)), Op::Recv { buf, .. }) => assert_eq!(buf, b"there"),
        other => panic!("receive came to {other:?}"),
    }
}

#[test]
fn a_multishot_receive_moves_nothing_before_its_turn() {
    let mut h = harness();
    let (fd, peer) = tcp(&mut h);
    put(&peer, b"there");
    let receive = h.start(Op::RecvMulti { fd });
    assert!(h.kept(receive).is_none(), "not in submit");
    h.hold_resumes(true);
    h.wait_for("a resume", |h| h.has_resume(receive).then_some(()));
    assert!(h.kept(receive).is_none(), "not in poll");
    h.hold_resumes(false);
    assert_eq!(chunk(&mut h, receive).unwrap(), b"there");
}

#[test]
fn nobody_is_told_twice_before_he_has_answered() {
    let mut h = harness();
    let (fd, peer) = tcp(&mut h);
    let receive = h.start(Op::RecvMulti { fd });
    put(&peer, b"one");
    let told = h.wait_for("a resume", |h| resumed(&look(h, Wait::Now)).pop());
    assert_eq!(told, receive);
    put(&peer, b"two");
    for _ in 0..10 {
        assert!(look(&mut h, Wait::Now).is_empty());
    }
    let (backend, ops) = h.parts();
    let answer = backend.resume(ops, receive);
    let loop_core::Submitted::More(Outcome::Chunk(chunk)) = answer else { panic!("resume came to {answer:?}") };
    assert_eq!(&chunk[..], b"onetwo");
}

#[test]
fn a_full_read_is_followed_by_another_turn_out_of_memory() {
    let mut h = harness();
    let (fd, mut peer) = unix(&mut h);
    let receive = h.start(Op::RecvMulti { fd });
    put(&peer, b"first");
    assert_eq!(chunk(&mut h, receive).unwrap(), b"first");
    socket2::SockRef::from(&peer).set_send_buffer_size(4 * READ_SIZE).unwrap();
    peer.set_nonblocking(true).unwrap();
    let mut sent = 0;
    while sent <= READ_SIZE
        && let Ok(count) = peer.write(&[7; 4096])
    {
        sent += count;
    }
    if sent <= READ_SIZE {
        return; // The system's limits leave no room for a full read.
    }
    assert_eq!(chunk(&mut h, receive).unwrap().len(), READ_SIZE);
    assert_eq!(resumed(&look(&mut h, Wait::Peek)), [receive]);
    assert!(look(&mut h, Wait::Peek).is_empty(), "told once");
    let (backend, ops) = h.parts();
    let answer = backend.resume(ops, receive);
    let loop_core::Submitted::More(Outcome::Chunk(rest)) = answer else { panic!("resume came to {answer:?}") };
    assert_eq!(READ_SIZE + rest.len(), sent);
    assert!(look(&mut h, Wait::Peek).is_empty(), "a short read means drained");
}

#[test]
fn a_short_read_before_the_end_is_followed_by_the_end() {
    for tcp_not_unix in [true, false] {
        let mut h = harness();
        let receive;
        if tcp_not_unix {
            let (fd, peer) = tcp(&mut h);
            receive = h.start(Op::RecvMulti { fd });
            put(&peer, b"last words");
            drop(peer);
        } else {
            let (fd, peer) = unix(&mut h);
            receive = h.start(Op::RecvMulti { fd });
            put(&peer, b"last words");
            drop(peer);
        }
        // Bytes and end are there before the first look: one edge tells of both.
        assert_eq!(chunk(&mut h, receive).unwrap(), b"last words");
        assert_eq!(chunk(&mut h, receive), None);
    }
}

#[test]
fn an_end_after_a_drained_read_is_an_edge_of_its_own() {
    let mut h = harness();
    let (fd, peer) = tcp(&mut h);
    let receive = h.start(Op::RecvMulti { fd });
    put(&peer, b"words");
    assert_eq!(chunk(&mut h, receive).unwrap(), b"words");
    assert!(look(&mut h, Wait::Peek).is_empty());
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(chunk(&mut h, receive), None);
}

#[test]
fn a_drained_socket_waits_without_asking_and_hears_of_more() {
    let mut h = harness();
    let (fd, peer) = tcp(&mut h);
    for round in 0..5 {
        let receive = h.start(recv(fd, 16));
        put(&peer, &[round; 3]);
        assert_eq!(h.received(receive).unwrap(), [round; 3]);
    }
}

#[test]
fn bytes_behind_a_passed_descriptor_are_not_overlooked() {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    let mut h = harness();
    let (fd, peer) = unix(&mut h);
    let receive = h.start(Op::RecvMulti { fd });
    // Let the kind be found out, so that short reads have a meaning.
    put(&peer, b"first");
    assert_eq!(chunk(&mut h, receive).unwrap(), b"first");

    let passed = [peer.as_fd()];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&passed)));
    sendmsg(&peer, &[std::io::IoSlice::new(b"with")], &mut control, SendFlags::empty()).unwrap();
    put(&peer, b"without");
    let mut got = Vec::new();
    while got.len() < 11 {
        got.extend(chunk(&mut h, receive).expect("no end"));
    }
    assert_eq!(got, b"withwithout");
}

#[test]
fn bytes_behind_an_urgent_mark_are_not_overlooked() {
    use rustix::net::{SendFlags, send};
    let mut h = harness();
    let (fd, peer) = tcp(&mut h);
    let receive = h.start(Op::RecvMulti { fd });
    put(&peer, b"first");
    assert_eq!(chunk(&mut h, receive).unwrap(), b"first");
    put(&peer, b"before");
    send(&peer, b"!", SendFlags::OOB).unwrap();
    put(&peer, b"behind");
    let mut got = Vec::new();
    while got.len() < 12 {
        got.extend(chunk(&mut h, receive).expect("no end"));
    }
    assert_eq!(got, b"beforebehind", "the urgent byte is not in line");
}

#[test]
fn pipes_can_be_received_from_and_sent_to() {
    let mut h = harness();
    let (reader, writer) = std::io::pipe().unwrap();
    let reader = h.backend().adopt(reader.into()).unwrap();
    let writer = h.backend().adopt(writer.into()).unwrap();
    let receive = h.start(Op::RecvMulti { fd: reader });
    h.send_all(writer, b"through");
    assert_eq!(chunk(&mut h, receive).unwrap(), b"through");
    let (result, _) = h.run(Op::SendVectored { fd: writer, bufs: vec![b"a ".to_vec(), b"pipe".to_vec()] });
    assert!(matches!(result, Ok(Outcome::Count(6))));
    assert_eq!(chunk(&mut h, receive).unwrap(), b"a pipe");
    h.close(writer);
    assert_eq!(chunk(&mut h, receive), None);
}

#[test]
fn a_cancelled_receive_is_not_resumed() {
    let mut h = harness();
    let (fd, peer) = tcp(&mut h);
    let receive = h.start(Op::RecvMulti { fd });
    put(&peer, &vec![1; READ_SIZE / 64]);
    assert!(chunk(&mut h, receive).is_some());
    peer.shutdown(Shutdown::Write).unwrap();
    // Told of the end, and cancelled before the loop came to it.
    let told = h.wait_for("a resume", |h| resumed(&look(h, Wait::Now)).pop());
    h.cancel(told);
    let (backend, ops) = h.parts();
    assert!(matches!(backend.resume(ops, receive), loop_core::Submitted::Queued));
    let (result, _) = h.run_until(receive);
    assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::ECANCELED));
    // The next one finds everything as it was.
    assert!(matches!(h.submit(recv(fd, 1)), Started::Done(Ok(Outcome::Count(0)), _)));
}

#[test]
fn a_turn_that_is_due_is_dropped_by_a_cancel() {
    let mut h = harness();
    let (fd, peer) = tcp(&mut h);
    let receive = h.start(Op::RecvMulti { fd });
    put(&peer, b"bytes");
    drop(peer);
    // Bytes and end in one edge, so after the bytes the next turn is due already.
    loop {
        h.poll(Wait::Now);
        if h.kept(receive).is_some() {
            break;
        }
    }
    h.cancel(receive);
    let seen = look(&mut h, Wait::Peek);
    assert!(resumed(&seen).is_empty(), "{seen:?}");
    assert_eq!(seen.len(), 1, "the final completion alone");
    // It was taken past the harness, so hand its slot back by draining.
}

#[test]
fn a_synchronous_receive_takes_the_turn_of_the_one_that_was_told() {
    let mut h = harness();
    let (fd, peer) = tcp(&mut h);
    let receive = h.start(Op::RecvMulti { fd });
    put(&peer, b"first");
    assert_eq!(chunk(&mut h, receive).unwrap(), b"first");
    let mut buf = [0; 16];
    for word in [&b"second"[..], b"third"] {
        put(&peer, word);
        let told = h.wait_for("a resume", |h| resumed(&look(h, Wait::Now)).pop());
        assert_eq!(told, receive);
        assert_eq!(h.backend().recv_now(fd, &mut buf).unwrap().unwrap(), word.len());
        assert_eq!(&buf[..word.len()], word);
        let vain = h.backend().recv_now(fd, &mut buf).unwrap();
        assert_eq!(vain.unwrap_err().kind(), ErrorKind::WouldBlock);
        let (backend, ops) = h.parts();
        assert!(matches!(backend.resume(ops, receive), loop_core::Submitted::Queued));
    }
}

#[test]
fn a_synchronous_receive_that_leaves_something_leaves_it_to_the_one_that_was_told() {
    let mut h = harness();
    let (fd, peer) = tcp(&mut h);
    let receive = h.start(Op::RecvMulti { fd });
    put(&peer, b"for both");
    let told = h.wait_for("a resume", |h| resumed(&look(h, Wait::Now)).pop());
    let mut buf = [0; 4];
    assert_eq!(h.backend().recv_now(fd, &mut buf).unwrap().unwrap(), 4);
    let (backend, ops) = h.parts();
    let answer = backend.resume(ops, told);
    let loop_core::Submitted::More(Outcome::Chunk(rest)) = answer else { panic!("resume came to {answer:?}") };
    assert_eq!((&buf[..], &rest[..]), (&b"for "[..], &b"both"[..]));
    drop(rest);
    put(&peer, b"more");
    assert_eq!(chunk(&mut h, receive).unwrap(), b"more");
}
