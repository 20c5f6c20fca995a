//! Long lives by chance: many operations, cancels and closes at once, the bytes accounted for to the last.
//!
//! The choices come from a seed, so a failure can be had again. What is checked beyond **B1** to **B7**: the
//! bytes received on a connection are those of its sends, in the order of their submission, each as far as it
//! says; nothing is lost by cancelling.

use std::net::Shutdown;

use super::{Make, harness, is_cancelled};
use crate::backend::Wait;
use crate::fd::FdKey;
use crate::op::{Op, Outcome};
use crate::op_table::OpKey;
use crate::testing::harness::recv_op;
use crate::testing::{Arrival, Harness};

struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

/// One direction of a connection.
struct Way {
    from: FdKey,
    to: FdKey,
    /// What was submitted, and how much of it was sent, once that is known.
    sends: Vec<(OpKey, Vec<u8>, Option<usize>)>,
    receives: Vec<OpKey>,
    got: Vec<u8>,
    closed: bool,
}

impl Way {
    fn new(from: FdKey, to: FdKey) -> Self {
        Self { from, to, sends: Vec::new(), receives: Vec::new(), got: Vec::new(), closed: false }
    }

    fn sent(&self) -> Vec<u8> {
        let sent = self.sends.iter().map(|(_, bytes, count)| &bytes[..count.unwrap_or(0)]);
        sent.collect::<Vec<_>>().concat()
    }

    fn is_sending(&self) -> bool {
        self.sends.iter().any(|(_, _, count)| count.is_none())
    }

    /// Takes an arrival, if it is of this direction.
    fn take(&mut self, arrival: &Arrival) -> bool {
        let key = arrival.key();
        if let Some((_, _, count)) = self.sends.iter_mut().find(|(other, ..)| *other == key) {
            match arrival {
                Arrival::Final(_, Ok(Outcome::Count(sent)), _) => *count = Some(*sent),
                Arrival::Final(_, result @ Err(_), _) if self.closed || is_cancelled(result) => *count = Some(0),
                other => panic!("a send came to {other:?}"),
            }
            return true;
        }
        let Some(place) = self.receives.iter().position(|other| *other == key) else { return false };
        match arrival {
            Arrival::More(_, Outcome::Chunk(chunk)) => self.got.extend_from_slice(chunk),
            Arrival::Final(_, Ok(Outcome::Count(count)), op) => {
                assert!(*count > 0 || self.closed, "end of a stream that nobody ended");
                if let Op::Recv { buf, .. } = op {
                    self.got.extend_from_slice(buf);
                }
            }
            Arrival::Final(_, Ok(Outcome::Chunk(chunk)), _) => assert!(chunk.is_empty() && self.closed),
            Arrival::Final(_, result @ Err(_), _) => {
                assert!(self.closed || is_cancelled(result), "a receive came to {result:?}");
            }
            other => panic!("a receive came to {other:?}"),
        }
        if arrival.is_final() {
            self.receives.remove(place);
        }
        true
    }
}

struct Life {
    h: Harness,
    chance: Chance,
    ways: Vec<Way>,
    serial: u32,
}

impl Life {
    fn take_arrivals(&mut self) {
        while let Some(arrival) = self.h.take_kept() {
            let known = self.ways.iter_mut().any(|way| way.take(&arrival));
            assert!(known, "nobody knows of {arrival:?}");
        }
    }

    fn step(&mut self) {
        let index = self.chance.below(self.ways.len());
        let way = &mut self.ways[index];
        match self.chance.below(16) {
            0..=3 if !way.closed => {
                let receive = match self.chance.below(4) {
                    // Behind a multishot receive, what waits would wait for ever.
                    0 if way.receives.is_empty() => Op::RecvMulti { fd: way.to },
                    _ => recv_op(way.to, 1 + self.chance.below(40_000)),
                };
                way.receives.push(self.h.start(receive));
            }
            4..=7 if !way.closed => {
                self.serial += 1;
                let bytes = super::pattern(1 + self.chance.below(50_000), self.serial);
                let send = if self.chance.below(3) == 0 {
                    let (one, two) = bytes.split_at(self.chance.below(bytes.len()));
                    Op::SendVectored { fd: way.from, bufs: vec![one.to_vec(), Vec::new(), two.to_vec()] }
                } else {
                    Op::Send { fd: way.from, buf: bytes.clone(), start: 0 }
                };
                way.sends.push((self.h.start(send), bytes, None));
            }
            8 if !way.receives.is_empty() => {
                let receive = way.receives[self.chance.below(way.receives.len())];
                self.h.cancel(receive);
            }
            9 if !way.sends.is_empty() => {
                let recent = way.sends.len() - 1 - self.chance.below(way.sends.len().min(4));
                self.h.cancel(way.sends[recent].0);
            }
            10 => {
                let hold = self.chance.below(2) == 0;
                self.h.hold_resumes(hold);
                let eager = self.chance.below(2) == 0;
                self.h.resume_eagerly(eager);
            }
            11 if self.chance.below(30) == 0 => {
                // Both directions end, in the midst of whatever is going on.
                let (from, to) = (way.from, way.to);
                self.ways.iter_mut().filter(|way| way.from == from || way.from == to).for_each(|way| way.closed = true);
                self.h.close(from);
                self.take_arrivals();
                self.h.close(to);
                self.h.hold_resumes(false);
                let (from, to) = self.h.tcp_pair();
                self.ways.extend([Way::new(from, to), Way::new(to, from)]);
            }
            12 => _ = self.h.poll(Wait::Peek),
            _ => _ = self.h.poll(Wait::Now),
        }
        self.take_arrivals();
    }

    /// Lets everything come to its end, and compares.
    fn end(mut self) {
        self.h.hold_resumes(false);
        for index in 0..self.ways.len() {
            for receive in self.ways[index].receives.clone() {
                self.h.cancel(receive);
            }
        }
        while self.ways.iter().any(|way| !way.receives.is_empty()) {
            self.wait();
        }
        for index in 0..self.ways.len() {
            if self.ways[index].closed {
                continue;
            }
            let (from, to) = (self.ways[index].from, self.ways[index].to);
            while self.ways[index].is_sending() {
                let receive = self.h.start(recv_op(to, 100_000));
                self.ways[index].receives.push(receive);
                while self.ways[index].is_sending() && !self.ways[index].receives.is_empty() {
                    self.wait();
                }
                self.h.cancel(receive);
                while !self.ways[index].receives.is_empty() {
                    self.wait();
                }
            }
            let (result, _) = self.h.run(Op::Shutdown { fd: from, how: Shutdown::Write });
            assert!(matches!(result, Ok(Outcome::Done)), "{result:?}");
            loop {
                let rest = self.h.recv(to, 100_000).expect("receive");
                if rest.is_empty() {
                    break;
                }
                self.ways[index].got.extend(rest);
            }
        }
        while self.ways.iter().any(Way::is_sending) {
            self.wait();
        }
        for way in &self.ways {
            let sent = way.sent();
            if way.closed {
                assert!(sent.starts_with(&way.got), "what arrived before the close is not what was sent");
            } else {
                assert_eq!(sent.len(), way.got.len(), "bytes were lost or doubled");
                assert!(sent == way.got, "bytes changed places");
            }
        }
    }

    fn wait(&mut self) {
        let arrival = self.h.wait_event();
        let known = self.ways.iter_mut().any(|way| way.take(&arrival));
        assert!(known, "nobody knows of {arrival:?}");
    }
}

fn live(make: &mut Make<'_>, seed: u64, steps: usize) {
    let mut h = harness(make);
    let mut ways = Vec::new();
    for _ in 0..2 {
        let (one, two) = h.tcp_pair();
        ways.extend([Way::new(one, two), Way::new(two, one)]);
    }
    let mut life = Life { h, chance: Chance(seed), ways, serial: 0 };
    for _ in 0..steps {
        life.step();
    }
    life.end();
}

pub(super) fn a_long_life_by_chance_keeps_every_byte(make: &mut Make<'_>) {
    live(make, 1, 4_000);
}

pub(super) fn many_short_lives_by_chance_keep_every_byte(make: &mut Make<'_>) {
    for seed in 2..80 {
        live(make, seed, 60);
    }
}

pub(super) fn a_life_may_end_anywhere(make: &mut Make<'_>) {
    for seed in 100..160 {
        let mut h = harness(make);
        let (one, two) = h.tcp_pair();
        let ways = vec![Way::new(one, two), Way::new(two, one)];
        let mut life = Life { h, chance: Chance(seed), ways, serial: 0 };
        for _ in 0..seed % 50 {
            life.step();
        }
        // Drained with all that is in flight, Resumes unanswered.
        drop(life);
    }
}
