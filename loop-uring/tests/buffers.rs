//! The pool of receive buffers: when it is empty, when its chunks are kept, and when it ends.

mod rings;

use std::process::Command;

use loop_core::testing::Harness;
use loop_core::{Chunk, Completion, Event, Op, OpKey, Outcome, Wait};
use loop_uring::{Options, UringBackend};
use rings::{chunk, harness, put, unix, usual};

/// `count` buffers of 64 bytes.
fn few(count: u16) -> Options {
    Options { buffers: count, buffer_size: 64, ..Options::default() }
}

#[test]
fn a_program_may_keep_every_chunk() {
    let mut h = harness(&few(4));
    let (fd, mut peer) = unix(&mut h);
    let receive = h.start(Op::RecvMulti { fd });
    // Far more than there are buffers, none of them given back.
    let kept: Vec<Chunk> = (0..100_u8)
        .map(|round| {
            put(&mut peer, &[round; 60]);
            chunk(&mut h, receive).expect("no end")
        })
        .collect();
    for (round, chunk) in kept.iter().enumerate() {
        assert_eq!(chunk[..], [round as u8; 60], "a chunk changed while it was kept");
    }
}

#[test]
fn one_that_keeps_its_chunks_holds_up_nobody() {
    let mut h = harness(&few(4));
    let (greedy, mut greedy_peer) = unix(&mut h);
    let (other, mut other_peer) = unix(&mut h);
    let greedy = h.start(Op::RecvMulti { fd: greedy });
    let other = h.start(Op::RecvMulti { fd: other });
    let mut kept = Vec::new();
    for round in 0..20_u8 {
        put(&mut greedy_peer, &[round; 64]);
        kept.push(chunk(&mut h, greedy));
        put(&mut other_peer, &[round; 8]);
        assert_eq!(chunk(&mut h, other).expect("no end")[..], [round; 8]);
    }
}

#[test]
fn receivers_that_find_no_buffer_go_on_when_there_is_one() {
    // One buffer at a time, and forty that want it.
    let mut h = harness(&few(2));
    let mut sockets: Vec<_> = (0..40).map(|_| unix(&mut h)).collect();
    let receives: Vec<OpKey> = sockets.iter().map(|(fd, _)| h.start(Op::RecvMulti { fd: *fd })).collect();
    h.poll(Wait::Now);
    let mut sent = vec![Vec::new(); sockets.len()];
    for round in 0..5_usize {
        for (number, (_, peer)) in sockets.iter_mut().enumerate() {
            let bytes = vec![(round * 50 + number) as u8; 100 + number];
            put(peer, &bytes);
            sent[number].extend(bytes);
        }
        h.poll(Wait::Now);
    }
    for ((_, peer), (receive, sent)) in sockets.into_iter().zip(receives.into_iter().zip(sent)) {
        drop(peer);
        let mut got = Vec::new();
        while let Some(chunk) = chunk(&mut h, receive) {
            got.extend_from_slice(&chunk);
        }
        assert!(got == sent, "bytes were lost or moved");
    }
}

#[test]
fn a_parked_receiver_can_be_cancelled_and_closed() {
    let mut h = harness(&few(2));
    let mut sockets: Vec<_> = (0..20).map(|_| unix(&mut h)).collect();
    for closing in [false, true] {
        let receives: Vec<OpKey> = sockets.iter().map(|(fd, _)| h.start(Op::RecvMulti { fd: *fd })).collect();
        for (_, peer) in &mut sockets {
            put(peer, &[1; 200]);
        }
        h.poll(Wait::Now);
        for (receive, (fd, _)) in receives.iter().zip(&sockets) {
            if closing { h.close(*fd) } else { h.cancel(*receive) }
        }
        for receive in receives {
            assert!(h.run_until(receive).0.is_err());
            while h.kept(receive).is_some() {}
        }
    }
}

#[test]
fn buffers_come_back_also_when_the_ring_is_gone() {
    let backend = UringBackend::with(&few(16)).unwrap();
    let lent = backend.lent_buffers();
    let mut h = Harness::new(Box::new(backend));
    let (fd, mut peer) = unix(&mut h);
    let receive = h.start(Op::RecvMulti { fd });
    for round in 0..500_u32 {
        put(&mut peer, &round.to_ne_bytes());
        let got = chunk(&mut h, receive).expect("no end");
        assert_eq!((&got[..], lent()), (&round.to_ne_bytes()[..], 1));
    }
    assert_eq!(lent(), 0);
    let kept = [(); 3].map(|()| {
        put(&mut peer, b"lent");
        chunk(&mut h, receive).unwrap()
    });
    // And one that nobody has looked at.
    put(&mut peer, b"unseen");
    h.poll(Wait::Now);
    drop(h);
    assert_eq!(lent(), 3);
    assert!(kept.iter().all(|chunk| chunk[..] == *b"lent"));
    drop(kept);
    assert_eq!(lent(), 0);
}

#[test]
fn a_child_process_leaves_the_buffers_alone() {
    let mut h = usual();
    let (fd, mut peer) = unix(&mut h);
    let receive = h.start(Op::RecvMulti { fd });
    for round in 0..200_u32 {
        put(&mut peer, &round.to_ne_bytes());
        if round % 50 == 0 {
            // Forked while buffers are provided: what the parent writes from now on must still be what the kernel reads.
            assert!(Command::new("true").status().unwrap().success());
        }
        assert_eq!(chunk(&mut h, receive).expect("no end")[..], round.to_ne_bytes());
    }
}

#[test]
fn large_streams_arrive_whole_through_small_buffers() {
    let mut h = harness(&Options { buffers: 16, buffer_size: 1000, ..Options::default() });
    let (fd, peer) = unix(&mut h);
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let writer = std::thread::spawn({
        let bytes = bytes.clone();
        move || put(peer, &bytes)
    });
    let receive = h.start(Op::RecvMulti { fd });
    let mut got = Vec::new();
    while let Some(chunk) = chunk(&mut h, receive) {
        got.extend_from_slice(&chunk);
    }
    writer.join().unwrap();
    assert!(got == bytes);
}

#[test]
fn pipes_can_be_received_from_and_sent_to() {
    let mut h = usual();
    let (reader, writer) = std::io::pipe().unwrap();
    let reader = h.backend().adopt(reader.into()).unwrap();
    let writer = h.backend().adopt(writer.into()).unwrap();
    let receive = h.start(Op::RecvMulti { fd: reader });
    h.send_all(writer, b"through");
    assert_eq!(chunk(&mut h, receive).unwrap()[..], *b"through");
    let (result, _) = h.run(Op::SendVectored { fd: writer, bufs: vec![b"a ".to_vec(), b"pipe".to_vec()] });
    assert!(matches!(result, Ok(Outcome::Count(6))));
    assert_eq!(chunk(&mut h, receive).unwrap()[..], *b"a pipe");
    h.close(writer);
    assert!(chunk(&mut h, receive).is_none());
}

#[test]
fn a_terminal_can_be_received_from() {
    use std::os::fd::{FromRawFd, OwnedFd};
    let (mut master, mut slave) = (0, 0);
    // SAFETY: both numbers are written by the call, and owned from then on.
    let (master, slave) = unsafe {
        let none = std::ptr::null_mut();
        assert_eq!(libc::openpty(&raw mut master, &raw mut slave, none, none.cast(), none.cast()), 0);
        (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(slave))
    };
    // The kernel does not wait for these by itself: it says "try again".
    let mut h = usual();
    let fd = h.backend().adopt(slave).unwrap();
    let waiting = h.start(rings::recv(fd, 16));
    h.poll(Wait::Now);
    assert!(h.is_in_flight(waiting));
    let mut master = std::fs::File::from(master);
    put(&mut master, b"typed\n");
    assert_eq!(h.received(waiting).unwrap(), b"typed\n");
    let receive = h.start(Op::RecvMulti { fd });
    h.poll(Wait::Now);
    put(&mut master, b"more\n");
    assert_eq!(chunk(&mut h, receive).unwrap()[..], *b"more\n");
    // And one that waits so is cancelled.
    h.cancel(receive);
    let mut out = Vec::new();
    while !out.iter().any(|one: &Completion| matches!(one.event, Event::Final(_))) {
        let (backend, ops) = h.parts();
        backend.poll(ops, Wait::Forever, &mut out).unwrap();
    }
}
