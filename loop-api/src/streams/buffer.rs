//! Bytes that were received and not read yet.
//!
//! Reading moves a mark, never the bytes: what was read goes when there is no room behind the rest, at most as many bytes
//! being moved as were read before. Once everything is read the memory is given up, to a few spare buffers that all
//! streams of the thread share; so an idle connection holds none, and a busy one takes the buffer that is still warm from
//! the one before.

use std::cell::RefCell;

/// So many spare buffers are kept per thread, of so much capacity at the most.
const SPARE_BUFFERS: usize = 16;
const SPARE_CAPACITY: usize = 64 * 1024;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer with room for so much.
fn spare(room: usize) -> Vec<u8> {
    // A thread that is ending has no spare buffers any more.
    let spare = SPARE.try_with(|spare| spare.borrow_mut().pop()).ok().flatten();
    match spare {
        Some(buffer) if buffer.capacity() >= room => buffer,
        _ => Vec::with_capacity(room),
    }
}

fn recycle(mut buffer: Vec<u8>) {
    if buffer.capacity() == 0 || buffer.capacity() > SPARE_CAPACITY {
        return;
    }
    buffer.clear();
    let _ = SPARE.try_with(|spare| {
        let mut spare = spare.borrow_mut();
        if spare.len() < SPARE_BUFFERS {
            spare.push(buffer);
        }
    });
}

#[derive(Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    /// So many were read.
    start: usize,
}

impl Buffer {
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.len() == self.start
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(super) fn append(&mut self, data: &[u8]) {
        if self.bytes.capacity() - self.bytes.len() < data.len() {
            self.make_room(data.len());
        }
        self.bytes.extend_from_slice(data);
    }

    fn make_room(&mut self, more: usize) {
        let (len, capacity) = (self.len(), self.bytes.capacity());
        if self.start == 0 && len > 0 {
            self.bytes.reserve(more);
        } else if len <= self.start && len + more <= capacity {
            self.bytes.copy_within(self.start.., 0);
            self.bytes.truncate(len);
            self.start = 0;
        } else {
            // Doubled, so that bytes that trickle in are moved a few times each, not once per arrival.
            let room = if len == 0 { more } else { (len + more).max(2 * len) };
            let mut bytes = spare(room);
            bytes.extend_from_slice(self.as_slice());
            recycle(std::mem::replace(&mut self.bytes, bytes));
            self.start = 0;
        }
    }

    /// The first `count` bytes were read.
    pub(super) fn consume(&mut self, count: usize) {
        self.start += count.min(self.len());
        let len = self.len();
        if len == 0 {
            self.clear();
        } else if self.bytes.capacity() > SPARE_CAPACITY && len < self.bytes.capacity() / 4 {
            // A long message is over; what follows it should not keep its memory.
            self.bytes = self.as_slice().to_vec();
            self.start = 0;
        }
    }

    /// Gives the memory up, with what is in it.
    pub(super) fn clear(&mut self) {
        self.start = 0;
        recycle(std::mem::take(&mut self.bytes));
    }

    /// Takes the first `count` bytes out, or as many as there are: without a copy where they are all there is, and fill
    /// the memory they lie in well enough to be given away with it.
    pub(super) fn take(&mut self, count: usize) -> Vec<u8> {
        if count >= self.len() && self.start == 0 && self.bytes.capacity() / 2 <= self.bytes.len() {
            return std::mem::take(&mut self.bytes);
        }
        let count = count.min(self.len());
        let taken = self.as_slice()[..count].to_vec();
        self.consume(count);
        taken
    }

    /// Copies the first bytes out, as many as there are and fit.
    pub(super) fn copy_to(&mut self, place: &mut [u8]) -> usize {
        let count = place.len().min(self.len());
        place[..count].copy_from_slice(&self.as_slice()[..count]);
        self.consume(count);
        count
    }

    #[cfg(test)]
    fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(data: &[u8]) -> Buffer {
        let mut buffer = Buffer::default();
        buffer.append(data);
        buffer
    }

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let mut buffer = filled(b"one ");
        buffer.append(b"two ");
        assert_eq!(buffer.take(3), b"one");
        buffer.append(b"three");
        let mut place = [0; 5];
        assert_eq!(buffer.copy_to(&mut place), 5);
        assert_eq!(&place, b" two ");
        assert_eq!(buffer.as_slice(), b"three");
        assert_eq!(buffer.take(100), b"three");
        assert!(buffer.is_empty());
    }

    #[test]
    fn an_empty_buffer_holds_no_memory() {
        let mut buffer = filled(&[7; 1000]);
        buffer.consume(1000);
        assert_eq!(buffer.capacity(), 0);
        buffer.append(&[7; 1000]);
        buffer.take(400);
        buffer.take(600);
        assert_eq!(buffer.capacity(), 0);
    }

    #[test]
    fn all_there_is_is_taken_without_a_copy() {
        let mut buffer = filled(&[7; 1000]);
        let place = buffer.as_slice().as_ptr();
        let taken = buffer.take(1000);
        assert_eq!(taken.as_ptr(), place);
    }

    #[test]
    fn a_few_bytes_are_not_taken_with_the_memory_of_many() {
        let mut buffer = filled(&[7; 10_000]);
        buffer.consume(10_000);
        buffer.append(b"few");
        assert!(buffer.take(3).capacity() < 100);
    }

    #[test]
    fn what_follows_a_long_message_does_not_keep_its_memory() {
        let mut buffer = filled(&[7; 1_000_000]);
        buffer.consume(999_000);
        assert!(buffer.capacity() < 10_000);
        assert_eq!(buffer.as_slice(), [7; 1000]);
    }

    #[test]
    fn reading_a_little_of_much_moves_little() {
        let mut buffer = filled(&[7; 100_000]);
        let mut moved = 0;
        for _ in 0..1000 {
            buffer.consume(10);
            let before = buffer.as_slice().as_ptr();
            buffer.append(&[7; 10]);
            if buffer.as_slice().as_ptr() != before {
                moved += buffer.len();
            }
        }
        assert!(moved <= 200_000, "{moved} bytes were moved for 10,000 that came");
        assert_eq!(buffer.len(), 100_000);
    }
}
