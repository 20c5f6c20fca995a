//! Looking for a separator in bytes that are still coming in: no byte is looked at twice but for the last few, with which
//! a separator may begin.

use crate::error::Result;
use loop_core::Error as LoopError;

/// Where a separator was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// The first of several separators: of those in the bytes, the one that ends first, and of those the shortest.
pub(super) struct Search<'a> {
    separators: &'a [&'a [u8]],
    longest: usize,
    /// No separator begins before this.
    clean: usize,
}

/// What ends a line.
pub(super) const NEWLINE: &[&[u8]] = &[b"\n"];

impl<'a> Search<'a> {
    pub(super) fn new(separators: &'a [&'a [u8]]) -> Result<Self> {
        if separators.is_empty() {
            return Err(LoopError::InvalidArgument("at least one separator is needed").into());
        }
        if separators.iter().any(|separator| separator.is_empty()) {
            return Err(LoopError::InvalidArgument("a separator must have at least one byte").into());
        }
        Ok(Self::among(separators))
    }

    pub(super) fn newline() -> Self {
        Self::among(NEWLINE)
    }

    fn among(separators: &'a [&'a [u8]]) -> Self {
        let longest = separators.iter().map(|separator| separator.len()).max().unwrap_or_default();
        Self { separators, longest, clean: 0 }
    }

    /// How many bytes from the beginning are known to be before any separator.
    pub(super) fn clean(&self) -> usize {
        self.clean
    }

    /// Starts anew: with other bytes at the beginning.
    pub(super) fn restart(&mut self) {
        self.clean = 0;
    }

    /// Looks on, in bytes that begin with those of the last time.
    pub(super) fn find(&mut self, data: &[u8]) -> Option<Found> {
        let mut best: Option<Found> = None;
        for separator in self.separators {
            let until = best.map_or(data.len(), |found| found.end);
            let Some(place) = data.get(self.clean..until).and_then(|data| position(data, separator)) else { continue };
            let start = self.clean + place;
            let found = Found { start, end: start + separator.len() };
            if best.is_none_or(|best| (found.end, best.start) < (best.end, found.start)) {
                best = Some(found);
            }
        }
        if best.is_none() {
            self.clean = self.clean.max((data.len() + 1).saturating_sub(self.longest));
        }
        best
    }
}

fn position(data: &[u8], separator: &[u8]) -> Option<usize> {
    match separator {
        [byte] => memchr::memchr(*byte, data),
        _ => memchr::memmem::find(data, separator),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(separators: &[&[u8]], data: &[u8]) -> Option<(usize, usize)> {
        Search::new(separators).unwrap().find(data).map(|found| (found.start, found.end))
    }

    /// STRM-09.
    #[test]
    fn the_match_that_ends_first_wins() {
        assert_eq!(find(&[b"\r\n", b"\n"], b"ab\r\ncd\n"), Some((3, 4)));
        assert_eq!(find(&[b"\n", b"\r\n"], b"ab\r\ncd\n"), Some((3, 4)));
        assert_eq!(find(&[b"bcde", b"cd"], b"abcdef"), Some((2, 4)));
        assert_eq!(find(&[b"x", b"abc"], b"abcx"), Some((0, 3)));
        assert_eq!(find(&[b"x"], b"abc"), None);
    }

    /// STRM-09.
    #[test]
    fn no_separator_and_an_empty_one_are_refused() {
        assert!(Search::new(&[]).is_err());
        assert!(Search::new(&[b"a", b""]).is_err());
    }

    #[test]
    fn only_the_beginning_of_a_separator_is_looked_at_twice() {
        let mut search = Search::new(&[b"<end>", b"\n"]).unwrap();
        assert_eq!(search.find(b"some <e"), None);
        assert_eq!(search.clean(), 3);
        assert_eq!(search.find(b"some <end"), None);
        assert_eq!(search.clean(), 5);
        assert_eq!(search.find(b"some <end>"), Some(Found { start: 5, end: 10 }));
    }
}
