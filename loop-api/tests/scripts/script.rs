//! What is played: a few connections, and what their two ends do, one step after the other.

use std::fmt;

/// Which end of a connection, and so also which direction: that in which this end sends.
pub(crate) type Side = usize;

/// What somebody does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    /// Sends so many bytes, behind what it sent before, and does not wait.
    Send(usize),
    /// Starts to receive up to so many bytes, and does not wait.
    Receive(usize),
    /// Gives the oldest receive that waits up: by cancelling its task, or by dropping the future.
    GiveUp { by_cancelling: bool },
    /// Gives up what it sends: how much of that went is anybody's guess.
    CancelSend,
    /// Sends no more, once what it sends is sent.
    HalfClose,
    /// Is gone, with what it has not read.
    Close,
    /// Lets so many passes go by.
    Wait(usize),
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) connection: usize,
    pub(crate) side: Side,
    pub(crate) act: Act,
}

/// On one line: a script is long.
impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} {:?}", self.connection, self.side, self.act)
    }
}

/// On which layer a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layer {
    Sockets,
    Streams,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Script {
    pub(crate) connections: Vec<Layer>,
    pub(crate) steps: Vec<Step>,
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}", self.connections)?;
        self.steps.iter().try_for_each(|step| writeln!(f, "  {step:?}"))
    }
}

/// Numbers from a seed (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Mostly small, now and then large.
    fn size(&mut self) -> usize {
        match self.below(8) {
            0 => 1 + self.below(3),
            1..=4 => 1 + self.below(2000),
            5 | 6 => 1 + self.below(40_000),
            _ => 1 + self.below(300_000),
        }
    }
}

impl Script {
    pub(crate) fn of(seed: u64) -> Self {
        let mut numbers = Numbers(seed);
        let layer = |numbers: &mut Numbers| if numbers.below(2) == 0 { Layer::Sockets } else { Layer::Streams };
        let connections: Vec<Layer> = (0..1 + numbers.below(4)).map(|_| layer(&mut numbers)).collect();
        let steps = (0..5 + numbers.below(40)).map(|_| {
            let (connection, side) = (numbers.below(connections.len()), numbers.below(2));
            let act = match numbers.below(20) {
                0..=5 => Act::Send(numbers.size()),
                6..=11 => Act::Receive(numbers.size()),
                12..=14 => Act::GiveUp { by_cancelling: numbers.below(2) == 0 },
                15 if numbers.below(2) == 0 => Act::CancelSend,
                16 if numbers.below(2) == 0 => Act::HalfClose,
                17 if numbers.below(3) == 0 => Act::Close,
                _ => Act::Wait(numbers.below(5)),
            };
            Step { connection, side, act }
        });
        let steps = steps.collect();
        Self { connections, steps }
    }
}

fn byte(stream: usize, place: usize) -> u8 {
    // Of a long period, and different at neighbouring places.
    ((place.wrapping_mul(167) ^ (place >> 8).wrapping_mul(59)) as u8).wrapping_add(stream as u8 * 31)
}

/// What a stream consists of, from a place on.
pub(crate) fn bytes(stream: usize, from: usize, count: usize) -> Vec<u8> {
    (from..from + count).map(|place| byte(stream, place)).collect()
}

/// The first byte that is not what the stream has there.
pub(crate) fn first_wrong(stream: usize, from: usize, got: &[u8]) -> Option<usize> {
    got.iter().enumerate().find(|(place, got)| **got != byte(stream, from + place)).map(|(place, _)| place)
}
