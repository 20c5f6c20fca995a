//! Keys, numbers and registrations: what is late misses, what is many is reported at once.

mod sockets;

use std::os::unix::net::UnixStream;

use loop_core::testing::Started;
use loop_core::{Event, FdKey, Op, OpKey, Outcome, Wait};
use sockets::{harness, harness_with_timerfd, look, put, recv, resumed, unix};

fn is_cancelled(completions: &[loop_core::Completion], op: OpKey) -> bool {
    matches!(
        completions,
        [one] if one.op == op
            && matches!(&one.event, Event::Final(Err(error)) if error.raw_os_error() == Some(libc::ECANCELED))
    )
}

#[test]
fn an_event_of_a_closed_descriptor_misses_its_successor() {
    /// So high that no other test's descriptor gets it.
    const NUMBER: i32 = 1_000;
    let mut h = harness();
    let (ours, peer) = UnixStream::pair().unwrap();
    let numbered = |socket: UnixStream| rustix::io::fcntl_dupfd_cloexec(&socket, NUMBER).unwrap();
    // What keeps the old socket open, and so its registration alive, is a duplicate.
    let duplicate = ours.try_clone().unwrap();
    let old = h.backend().adopt(numbered(ours)).unwrap();
    let waiting = h.start(recv(old, 8));
    put(&peer, b"late");
    h.close(old);
    let (ours, _new_peer) = UnixStream::pair().unwrap();
    let new = h.backend().adopt(numbered(ours)).unwrap();
    assert_eq!(h.backend().raw_fd(new), Some(NUMBER), "the number is reused");
    assert_eq!(new.index(), old.index(), "so is the place");
    assert_ne!(new, old);
    let Started::Queued(fresh) = h.submit(recv(new, 8)) else { panic!("it should wait") };
    let seen = look(&mut h, Wait::Now);
    assert!(is_cancelled(&seen, waiting), "{seen:?}");
    for _ in 0..5 {
        put(&peer, b"later");
        assert!(look(&mut h, Wait::Now).is_empty());
    }
    assert!(h.is_in_flight(fresh));
    drop(duplicate);
}

#[test]
fn keys_that_never_were_are_refused() {
    let mut h = harness();
    for key in [FdKey::new(7, 0), FdKey::new(u32::MAX, 0), FdKey::new(u32::MAX, 1)] {
        assert!(matches!(h.submit(recv(key, 1)), Started::Done(Err(_), _)));
        assert!(matches!(h.submit(Op::RecvMulti { fd: key }), Started::Done(Err(_), _)));
        assert!(h.backend().raw_fd(key).is_none());
        assert!(h.backend().recv_now(key, &mut [0]).unwrap().is_err());
        h.close(key);
    }
}

#[test]
fn of_many_that_are_ready_a_poll_reports_some_and_the_next_the_others() {
    const MANY: usize = 300;
    for mut h in [harness(), harness_with_timerfd()] {
        let pairs: Vec<_> = (0..MANY).map(|_| unix(&mut h)).collect();
        let mut waiting: Vec<OpKey> = pairs.iter().map(|(fd, _)| h.start(recv(*fd, 8))).collect();
        for (_, peer) in &pairs {
            put(peer, b"x");
        }
        let first = resumed(&look(&mut h, Wait::Forever));
        // Those that were told of are ready again, and come after the others.
        for (_, peer) in &pairs {
            put(peer, b"y");
        }
        let then = resumed(&look(&mut h, Wait::Forever));
        assert!(first.len() < MANY && first.len() + then.len() >= MANY, "{} and {}", first.len(), then.len());
        let mut told: Vec<OpKey> = first.into_iter().chain(then).take(MANY).collect();
        told.sort_by_key(|key| key.to_u64());
        waiting.sort_by_key(|key| key.to_u64());
        assert_eq!(told, waiting);
        let (backend, ops) = h.parts();
        for key in waiting {
            assert!(matches!(backend.resume(ops, key), loop_core::Submitted::Done(Ok(Outcome::Count(2)))));
        }
    }
}

#[test]
fn waiting_operations_are_told_one_after_the_other() {
    let mut h = harness();
    let (fd, peer) = unix(&mut h);
    let [first, second, third] = [(); 3].map(|()| h.start(recv(fd, 1)));
    put(&peer, b"abc");
    let told = h.wait_for("a resume", |h| resumed(&look(h, Wait::Now)).pop());
    assert_eq!(told, first);
    // The one told of it is cancelled: the next inherits what it was told.
    h.cancel(first);
    let seen = look(&mut h, Wait::Peek);
    assert_eq!(resumed(&seen), [second]);
    assert_eq!(seen.len(), 2);
    let (backend, ops) = h.parts();
    assert!(matches!(backend.resume(ops, first), loop_core::Submitted::Queued));
    assert!(matches!(backend.resume(ops, second), loop_core::Submitted::Done(Ok(Outcome::Count(1)))));
    assert_eq!(resumed(&look(&mut h, Wait::Peek)), [third]);
}

#[test]
fn accepting_takes_one_connection_a_turn() {
    let mut h = harness();
    let (listener, addr) = h.listener(8);
    let accept = h.start(Op::AcceptMulti { fd: listener });
    let addr = addr.as_socket().unwrap();
    let _clients = [(); 3].map(|()| std::net::TcpStream::connect(addr).unwrap());
    h.hold_resumes(true);
    h.wait_for("a resume", |h| h.has_resume(accept).then_some(()));
    h.hold_resumes(false);
    for left in (0..3).rev() {
        assert!(h.kept(accept).is_some());
        assert!(h.kept(accept).is_none(), "one at a time");
        h.poll(Wait::Peek);
        if left == 0 {
            assert!(h.kept(accept).is_none() && h.is_in_flight(accept), "the last turn ends quietly");
        }
    }
}

#[test]
fn a_synchronous_send_does_not_overtake_one_that_waits() {
    use std::io::{IoSlice, Read};
    let mut h = harness();
    let (fd, mut peer) = unix(&mut h);
    let block = [1; 65_536];
    let mut sent = 0;
    while let Ok(count) = h.backend().send_now(fd, &[IoSlice::new(&block)]).unwrap() {
        sent += count;
    }
    let waiting = h.start(Op::Send { fd, buf: vec![2; 3], start: 0 });
    peer.read_exact(&mut vec![0; sent]).unwrap();
    h.hold_resumes(true);
    h.wait_for("a resume", |h| h.has_resume(waiting).then_some(()));
    let early = h.backend().send_now(fd, &[IoSlice::new(b"early")]).unwrap();
    assert_eq!(early.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    h.hold_resumes(false);
    assert!(matches!(h.run_until(waiting).0, Ok(Outcome::Count(3))));
    assert_eq!(h.backend().send_now(fd, &[IoSlice::new(b"late")]).unwrap().unwrap(), 4);
    let mut got = [0; 7];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"\x02\x02\x02late");
}
