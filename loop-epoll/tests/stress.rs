//! Anything in any order: no byte is lost, doubled or late, whatever is cancelled, held back or taken in between.

mod sockets;

use std::io::{ErrorKind, IoSlice};

use loop_core::testing::{Arrival, Harness};
use loop_core::{FdKey, Op, OpKey, Outcome, Wait};
use sockets::{harness, recv};

/// xorshift: the same run every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) as usize % bound
    }
}

/// One direction of a connection. The bytes are a count, so each tells its own place.
struct Stream {
    from: FdKey,
    to: FdKey,
    sent: usize,
    got: usize,
    sending: Option<OpKey>,
    receiving: Option<OpKey>,
}

fn bytes(start: usize, len: usize) -> Vec<u8> {
    (start..start + len).map(|place| (place % 251) as u8).collect()
}

impl Stream {
    fn new(from: FdKey, to: FdKey) -> Self {
        Self { from, to, sent: 0, got: 0, sending: None, receiving: None }
    }

    fn take(&mut self, part: &[u8]) {
        assert_eq!(part, bytes(self.got, part.len()), "at {}", self.got);
        self.got += part.len();
    }

    /// Looks at what has arrived.
    fn settle(&mut self, h: &mut Harness) {
        while let Some(arrival) = self.receiving.and_then(|key| h.kept(key)) {
            match arrival {
                Arrival::More(_, Outcome::Chunk(chunk)) => self.take(&chunk),
                Arrival::Final(_, Ok(Outcome::Count(_)), Op::Recv { buf, .. }) => {
                    self.receiving = None;
                    self.take(&buf);
                }
                Arrival::Final(_, Err(error), _) if error.raw_os_error() == Some(libc::ECANCELED) => {
                    self.receiving = None;
                }
                other => panic!("receive came to {other:?}"),
            }
        }
        if let Some(Arrival::Final(_, result, _)) = self.sending.and_then(|key| h.kept(key)) {
            self.sending = None;
            match result {
                Ok(Outcome::Count(count)) => self.sent += count,
                Err(error) if error.raw_os_error() == Some(libc::ECANCELED) => {}
                other => panic!("send came to {other:?}"),
            }
        }
    }

    fn step(&mut self, h: &mut Harness, dice: &mut Dice) {
        self.settle(h);
        match dice.below(12) {
            0..3 if self.sending.is_none() => {
                let buf = bytes(self.sent, 1 + dice.below(100_000));
                self.sending = Some(h.start(Op::Send { fd: self.from, buf, start: 0 }));
            }
            3 => {
                let buf = bytes(self.sent, 1 + dice.below(10_000));
                let (first, second) = buf.split_at(buf.len() / 3);
                let sent = h.backend().send_now(self.from, &[IoSlice::new(first), IoSlice::new(second)]).unwrap();
                match sent {
                    Ok(count) => {
                        assert!(self.sending.is_none(), "it overtook a send");
                        self.sent += count;
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
            }
            4..6 if self.receiving.is_none() => {
                self.receiving = Some(h.start(recv(self.to, 1 + dice.below(100_000))));
            }
            6..8 if self.receiving.is_none() => self.receiving = Some(h.start(Op::RecvMulti { fd: self.to })),
            8 => {
                let mut buf = vec![0; 1 + dice.below(50_000)];
                match h.backend().recv_now(self.to, &mut buf).unwrap() {
                    Ok(count) => self.take(&buf[..count]),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
            }
            9 => {
                if let Some(key) = self.receiving {
                    h.cancel(key);
                }
            }
            10 if dice.below(4) == 0 => {
                if let Some(key) = self.sending {
                    h.cancel(key);
                }
            }
            _ => {}
        }
        self.settle(h);
    }
}

fn run(seed: u64, pairs: impl FnOnce(&mut Harness) -> Vec<(FdKey, FdKey)>) {
    let mut dice = Dice(seed);
    let mut h = harness();
    let pairs = pairs(&mut h);
    let mut streams: Vec<Stream> =
        pairs.into_iter().flat_map(|(one, two)| [Stream::new(one, two), Stream::new(two, one)]).collect();
    for _ in 0..6_000 {
        let which = dice.below(streams.len());
        streams[which].step(&mut h, &mut dice);
        match dice.below(6) {
            0..2 => drop(h.poll(Wait::Now)),
            2 => drop(h.poll(Wait::Peek)),
            3 => h.hold_resumes(dice.below(2) == 0),
            _ => {}
        }
    }
    // And now nobody interferes: what is under way arrives, and a lost edge would be waited for in vain.
    h.hold_resumes(false);
    for stream in &mut streams {
        h.wait_for("the rest", |h| {
            stream.settle(h);
            while stream.receiving.is_none() && (stream.sending.is_some() || stream.got < stream.sent) {
                stream.receiving = Some(h.start(recv(stream.to, 65_536)));
                stream.settle(h);
            }
            (stream.sending.is_none() && stream.got == stream.sent).then_some(())
        });
        assert!(stream.sent > 0);
    }
}

#[test]
fn tcp_streams_come_through() {
    for seed in 1..=3 {
        run(seed * 0x9E37_79B9, |h| (0..3).map(|_| h.tcp_pair()).collect());
    }
}

#[test]
fn unix_streams_come_through() {
    for seed in 1..=3 {
        run(seed * 0x85EB_CA6B, |h| {
            let mut pair = || {
                let (one, two) = std::os::unix::net::UnixStream::pair().unwrap();
                (h.backend().adopt(one.into()).unwrap(), h.backend().adopt(two.into()).unwrap())
            };
            (0..3).map(|_| pair()).collect()
        });
    }
}
