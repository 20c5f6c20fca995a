//! Random data, in random pieces, read in random ways: what comes out is what asyncio's own algorithm gives.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use loop_api::{Error, LoopError, ReadTransport, Result, StreamReader};
use proptest::prelude::*;

/// A reader as asyncio has it, down to its slicing: `streams.py` of 3.13, with the waits taken out.
#[derive(Default)]
struct Model {
    buffer: Vec<u8>,
    eof: bool,
    limit: usize,
    paused: bool,
}

/// How an attempt ended; none where it has to wait.
type Attempt = Option<std::result::Result<Vec<u8>, Failure>>;

#[derive(Debug, Clone, PartialEq)]
enum Failure {
    Incomplete { partial: Vec<u8>, expected: Option<usize> },
    Overrun { consumed: usize, found: bool },
    TooLong,
}

#[derive(Debug, Clone)]
enum Read {
    Some(usize),
    Into(usize),
    ToEnd,
    Exactly(usize),
    Line,
    Until(Vec<Vec<u8>>),
    /// One poll of a read, which is then dropped.
    GiveUp(Box<Self>),
}

impl Model {
    fn feed(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
        self.paused |= self.buffer.len() > 2 * self.limit;
    }

    fn maybe_resume(&mut self) {
        if self.paused && self.buffer.len() <= self.limit {
            self.paused = false;
        }
    }

    fn cut(&mut self, count: usize) -> Vec<u8> {
        let count = count.min(self.buffer.len());
        let cut = self.buffer.drain(..count).collect();
        self.maybe_resume();
        cut
    }

    fn find(data: &[u8], separator: &[u8], from: usize) -> Option<usize> {
        (from..(data.len() + 1).saturating_sub(separator.len())).find(|&at| data[at..].starts_with(separator))
    }

    /// `offset` is asyncio's local variable, which outlives the wait.
    fn until(&mut self, separators: &[Vec<u8>], offset: &mut usize) -> Attempt {
        let mut separators = separators.to_vec();
        separators.sort_by_key(Vec::len);
        let (shortest, longest) = (separators[0].len(), separators.last().unwrap().len());
        let len = self.buffer.len();
        if len - *offset >= shortest {
            let mut matched: Option<(usize, usize)> = None;
            for separator in &separators {
                if let Some(start) = Self::find(&self.buffer, separator, *offset) {
                    let end = start + separator.len();
                    if matched.is_none_or(|matched| end < matched.1) {
                        matched = Some((start, end));
                    }
                }
            }
            if let Some((start, end)) = matched {
                if start > self.limit {
                    return Some(Err(Failure::Overrun { consumed: start, found: true }));
                }
                return Some(Ok(self.cut(end)));
            }
            *offset = (len + 1).saturating_sub(longest);
            if *offset > self.limit {
                return Some(Err(Failure::Overrun { consumed: *offset, found: false }));
            }
        }
        if self.eof {
            let partial = std::mem::take(&mut self.buffer);
            return Some(Err(Failure::Incomplete { partial, expected: None }));
        }
        None
    }

    fn line(&mut self, offset: &mut usize) -> Attempt {
        match self.until(&[b"\n".to_vec()], offset)? {
            Ok(line) => Some(Ok(line)),
            Err(Failure::Incomplete { partial, .. }) => Some(Ok(partial)),
            Err(Failure::Overrun { consumed, .. }) => {
                if self.buffer[consumed..].starts_with(b"\n") {
                    self.buffer.drain(..=consumed);
                } else {
                    self.buffer.clear();
                }
                self.maybe_resume();
                Some(Err(Failure::TooLong))
            }
            Err(other) => Some(Err(other)),
        }
    }

    fn attempt(&mut self, read: &Read, offset: &mut usize) -> Attempt {
        match read {
            Read::Some(0) | Read::Into(0) | Read::Exactly(0) => Some(Ok(Vec::new())),
            Read::Some(_) | Read::Into(_) if self.buffer.is_empty() && !self.eof => None,
            Read::Some(count) | Read::Into(count) => Some(Ok(self.cut(*count))),
            Read::ToEnd => self.eof.then(|| Ok(self.cut(usize::MAX))),
            Read::Exactly(count) if self.buffer.len() >= *count => Some(Ok(self.cut(*count))),
            Read::Exactly(count) if self.eof => {
                let partial = std::mem::take(&mut self.buffer);
                Some(Err(Failure::Incomplete { partial, expected: Some(*count) }))
            }
            Read::Exactly(_) => None,
            Read::Line => self.line(offset),
            Read::Until(separators) => self.until(separators, offset),
            Read::GiveUp(_) => unreachable!("given up by whoever drives it"),
        }
    }
}

async fn perform(reader: &mut StreamReader, read: &Read) -> Result<Vec<u8>> {
    match read {
        Read::Some(count) => reader.read(*count).await,
        Read::Into(count) => {
            let mut place = vec![0; *count];
            let count = reader.read_into(&mut place).await?;
            place.truncate(count);
            Ok(place)
        }
        Read::ToEnd => reader.read_to_end().await,
        Read::Exactly(count) => reader.readexactly(*count).await,
        Read::Line => Ok(reader.readline().await?.unwrap_or_default()),
        Read::Until(separators) => {
            let separators: Vec<&[u8]> = separators.iter().map(Vec::as_slice).collect();
            reader.read_until_any(&separators).await
        }
        Read::GiveUp(_) => unreachable!("given up by whoever drives it"),
    }
}

fn failure(error: Error) -> Failure {
    match error {
        Error::IncompleteRead { partial, expected } => Failure::Incomplete { partial, expected },
        Error::LimitOverrun { consumed, found } => Failure::Overrun { consumed, found },
        Error::LineTooLong { .. } => Failure::TooLong,
        other => panic!("not an error of these reads: {other:?}"),
    }
}

/// What the reader told its transport last.
#[derive(Clone, Default)]
struct Paused(std::rc::Rc<std::cell::Cell<bool>>);

impl ReadTransport for Paused {
    fn pause_reading(&self) -> std::result::Result<(), LoopError> {
        assert!(!self.0.replace(true), "paused twice");
        Ok(())
    }

    fn resume_reading(&self) {
        assert!(self.0.replace(false), "resumed without a pause");
    }
}

/// Feeds both the next piece, or the end.
fn feed(reader: &loop_api::StreamFeeder, model: &mut Model, pieces: &mut impl Iterator<Item = Vec<u8>>) {
    match pieces.next() {
        Some(piece) => {
            reader.feed_data(&piece).unwrap();
            model.feed(&piece);
        }
        None => {
            reader.feed_eof();
            model.eof = true;
        }
    }
}

fn compare(limit: usize, pieces: Vec<Vec<u8>>, reads: &[(usize, Read)]) {
    let mut reader = StreamReader::with_limit(limit).unwrap();
    let paused = Paused::default();
    reader.set_transport(paused.clone()).unwrap();
    let feeder = reader.feeder();
    let mut model = Model { limit, ..Model::default() };
    let mut pieces = pieces.into_iter();
    let mut context = Context::from_waker(Waker::noop());
    for (ahead, read) in reads {
        for _ in 0..*ahead {
            // Before anybody reads.
            if !model.eof {
                feed(&feeder, &mut model, &mut pieces);
            }
        }
        let mut offset = 0;
        if let Read::GiveUp(read) = read {
            let given_up = pin!(perform(&mut reader, read)).poll(&mut context);
            match (given_up, model.attempt(read, &mut offset)) {
                (Poll::Pending, None) => model.paused = false,
                (Poll::Ready(ours), Some(theirs)) => assert_eq!(ours.map_err(failure), theirs, "{read:?}"),
                (ours, theirs) => panic!("{read:?}: {ours:?} here, {theirs:?} there"),
            }
        } else {
            let mut ours = pin!(perform(&mut reader, read));
            loop {
                match (ours.as_mut().poll(&mut context), model.attempt(read, &mut offset)) {
                    (Poll::Ready(ours), Some(theirs)) => {
                        assert_eq!(ours.map_err(failure), theirs, "{read:?}");
                        break;
                    }
                    // A read that waits has the transport go on.
                    (Poll::Pending, None) => model.paused = false,
                    (ours, theirs) => panic!("{read:?}: {ours:?} here, {theirs:?} there"),
                }
                feed(&feeder, &mut model, &mut pieces);
            }
        }
        assert_eq!(reader.at_eof(), model.eof && model.buffer.is_empty(), "after {read:?}");
        if !model.eof {
            assert_eq!(paused.0.get(), model.paused, "after {read:?}: {reader:?}");
        }
    }
    let left = pin!(reader.read(usize::MAX)).poll(&mut context);
    match left {
        Poll::Ready(left) => assert_eq!(left.unwrap(), model.buffer),
        Poll::Pending => assert!(model.buffer.is_empty() && !model.eof),
    }
}

/// Few different bytes, so that separators come about often, also across pieces.
fn bytes(len: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop::sample::select(b"ab\n-".to_vec()), len)
}

fn read() -> impl Strategy<Value = Read> {
    let plain = prop_oneof![
        3 => (0..20_usize).prop_map(Read::Some),
        2 => (0..20_usize).prop_map(Read::Into),
        1 => Just(Read::ToEnd),
        3 => (0..60_usize).prop_map(Read::Exactly),
        4 => Just(Read::Line),
        4 => proptest::collection::vec(bytes(1..4), 1..4).prop_map(Read::Until),
    ];
    plain.prop_flat_map(|read| prop_oneof![4 => Just(read.clone()), 1 => Just(Read::GiveUp(Box::new(read)))])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reads_are_those_of_asyncio(
        limit in 1..30_usize,
        pieces in proptest::collection::vec(bytes(1..40), 0..30),
        reads in proptest::collection::vec((0..3_usize, read()), 1..30),
    ) {
        compare(limit, pieces, &reads);
    }
}

#[test]
fn a_separator_in_pieces_is_found() {
    for sizes in 1..7 {
        let pieces = b"aa--ab-\n--b".chunks(sizes).map(<[u8]>::to_vec).collect();
        let until = Read::Until(vec![b"-\n--".to_vec(), b"--b".to_vec()]);
        compare(20, pieces, &[(0, until.clone()), (0, until)]);
    }
}

mod over_a_connection {
    use loop_api::Result;
    use proptest::prelude::*;

    use super::{Read, perform};
    use crate::world::{pair, run};

    fn read() -> impl Strategy<Value = Read> {
        prop_oneof![
            (1..200_000_usize).prop_map(Read::Some),
            (1..200_000_usize).prop_map(Read::Into),
            (0..300_000_usize).prop_map(Read::Exactly),
            Just(Read::Line),
            Just(Read::Until(vec![b"end".to_vec(), b"\r\n".to_vec()])),
        ]
    }

    async fn exchange(pieces: &[Vec<u8>], reads: &[Read]) -> Result<()> {
        let ((mut reader, mut writer), (mut far_reader, mut far_writer)) = pair(1 << 20).await?;
        let sent = pieces.concat();
        let there = loop_api::create_task(async move {
            let all = far_reader.read_to_end().await?;
            far_writer.write(&all)?;
            far_writer.drain().await?;
            far_writer.close().await?;
            Ok::<_, loop_api::Error>(all.len())
        })?;
        for piece in pieces {
            writer.write(piece)?;
            writer.drain().await?;
        }
        writer.write_eof();
        let mut back = Vec::new();
        for read in reads {
            match perform(&mut reader, read).await {
                Ok(bytes) => back.extend_from_slice(&bytes),
                Err(loop_api::Error::IncompleteRead { partial, .. }) => back.extend_from_slice(&partial),
                Err(loop_api::Error::LimitOverrun { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        back.extend_from_slice(&reader.read_to_end().await?);
        assert_eq!(there.await??, sent.len());
        assert!(back == sent, "{} bytes came back of {}", back.len(), sent.len());
        writer.close().await
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn everything_comes_back_as_it_was_sent(
            pieces in proptest::collection::vec(
                (any::<u8>(), 1..100_000_usize).prop_map(|(first, len)| {
                    (0..len).map(|place| (place as u8).wrapping_mul(first | 1)).collect::<Vec<u8>>()
                }),
                0..20,
            ),
            reads in proptest::collection::vec(read(), 0..20),
        ) {
            run(async |_| exchange(&pieces, &reads).await);
        }
    }
}
