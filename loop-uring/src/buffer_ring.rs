//! Receive buffers that the kernel picks from, and what programs get to see of them.
//!
//! The buffers lie in one mapping; most of it is never touched, and then costs nothing. A buffer is in one of three
//! places: *free*, on a stack; *provided*, in the ring that the kernel takes from; or *lent* to the program, in a
//! [`Chunk`]. The kernel's ring is first in, first out, so only a few buffers (the *window*) are provided at a time, and
//! those used last, which are still in the cache, go back first. The window grows when it turns out too small and
//! shrinks when it stays unused.
//!
//! A program may keep chunks for as long as it likes. Once half of all buffers are lent, further chunks are copies in
//! memory of their own, and the buffers go back at once: the kernel always has some, and a program that keeps its chunks
//! holds up nobody.
//!
//! Invariants this file keeps:
//!
//! * the kernel writes to provided buffers only, and a buffer is lent only after the completion that names it, so
//!   nobody writes to what a chunk shows;
//! * an id is in one place at a time, and is lent at most once;
//! * the mapping lives as long as the pool and every chunk of it, and for good if [`Pool::leak`] was called: the kernel
//!   may then still write to what was provided.

use std::cell::RefCell;
use std::io;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;
use loop_core::{Chunk, ChunkSource};

/// The one group of buffers.
pub(crate) const GROUP: u16 = 0;

/// The least and first number of buffers provided at a time: more than the some twenty connections that one entry into the
/// kernel serves. A receiver that finds none costs a request more.
const WINDOW: u16 = 64;

/// So many times in a row a window must have been too large before it shrinks.
const PATIENCE: u8 = 64;

const PAGE: usize = 4096;

/// Between one buffer and the next. Were they all on a page's boundary, their first bytes, which is all that small messages
/// use, would fall into the same few places of the cache.
const APART: usize = 5 * 64;

/// The buffers of one ring.
#[derive(Clone)]
pub(crate) struct Pool(Rc<Shared>);

struct Shared {
    /// The ring of entries first, the buffers behind it.
    mapping: NonNull<u8>,
    len: usize,
    buffers: NonNull<u8>,
    size: usize,
    stride: usize,
    count: u16,
    book: RefCell<Book>,
}

/// Who has which buffer.
struct Book {
    /// Free ones, the one used last on top.
    free: Vec<u16>,
    provided: u16,
    lent: u16,
    window: u16,
    unused: u8,
    tail: u16,
    leaked: bool,
}

impl Pool {
    /// `count` buffers, a power of two, of `size` bytes each.
    pub(crate) fn new(count: u16, size: usize) -> io::Result<Self> {
        assert!(count.is_power_of_two() && count >= 2, "a buffer ring has a power of two of entries, two at least");
        let ring = (usize::from(count) * size_of::<BufRingEntry>()).next_multiple_of(PAGE);
        let stride = size + APART;
        let len = ring + usize::from(count) * stride;
        // SAFETY: a new anonymous mapping at a place of the kernel's choice touches nothing that exists.
        let mapping = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if mapping == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mapping = NonNull::new(mapping.cast::<u8>()).expect("a mapping is not at zero");
        let book = Book {
            free: (0..count).rev().collect(),
            provided: 0,
            lent: 0,
            window: WINDOW.min(count / 2),
            unused: 0,
            tail: 0,
            leaked: false,
        };
        // SAFETY: `ring` bytes lie within the mapping.
        let buffers = unsafe { mapping.add(ring) };
        Ok(Self(Rc::new(Shared { mapping, len, buffers, size, stride, count, book: RefCell::new(book) })))
    }

    /// Tells the kernel of the ring.
    pub(crate) fn register(&self, submitter: &Submitter<'_>) -> io::Result<()> {
        // SAFETY: the mapping begins with that many entries, on a page's boundary, and outlives the io_uring instance:
        // whoever owns both drops the instance first, or leaks the pool.
        unsafe { submitter.register_buf_ring_with_flags(self.0.mapping.as_ptr() as u64, self.0.count, GROUP, 0) }
    }

    /// How many bytes a buffer has.
    pub(crate) fn buffer_size(&self) -> usize {
        self.0.size
    }

    /// Provides free buffers until the window is full. How many the kernel has.
    pub(crate) fn provide(&self) -> u16 {
        let shared = &*self.0;
        let mut book = shared.book.borrow_mut();
        let before = book.tail;
        while book.provided < book.window
            && let Some(id) = book.free.pop()
        {
            shared.write_entry(book.tail, id);
            book.tail = book.tail.wrapping_add(1);
            book.provided += 1;
        }
        if book.tail != before {
            shared.publish(book.tail);
        }
        book.provided
    }

    /// The kernel found no buffer: from now on it gets more at a time.
    pub(crate) fn starved(&self) {
        let mut book = self.0.book.borrow_mut();
        book.window = book.window.saturating_mul(2).min(self.0.count / 2);
        book.unused = 0;
    }

    /// Before a wait: learns from what the kernel left of the window.
    pub(crate) fn learn(&self) {
        let mut book = self.0.book.borrow_mut();
        if book.window > WINDOW && book.provided > book.window / 2 {
            book.unused += 1;
            if book.unused == PATIENCE {
                book.window /= 2;
                book.unused = 0;
            }
        } else {
            book.unused = 0;
        }
    }

    /// The kernel used a buffer and put `len` bytes into it: they go to the program.
    pub(crate) fn lend(&self, id: u16, len: usize) -> Chunk {
        let shared = &*self.0;
        assert!(id < shared.count && len <= shared.size, "the kernel names a buffer of ours, and stays within it");
        let start = shared.buffer(id);
        let mut book = shared.book.borrow_mut();
        book.provided = book.provided.saturating_sub(1);
        if book.lent < shared.count / 2 {
            book.lent += 1;
            drop(book);
            // SAFETY: the kernel has written the bytes and is done with the buffer; it gets it back only after `recycle`.
            return unsafe { Chunk::new(Rc::clone(&self.0) as Rc<dyn ChunkSource>, u32::from(id), start, len) };
        }
        // SAFETY: as above, and nobody else has the buffer until it is free again, below.
        let copy = Copy(unsafe { std::slice::from_raw_parts(start.as_ptr(), len) }.into());
        book.free.push(id);
        drop(book);
        copy.lend()
    }

    /// Lets `fill` write into the free buffer that was used last, and lends what it filled; in memory of its own where none
    /// is to be had. None where nothing was filled.
    pub(crate) fn fill(&self, fill: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<Option<Chunk>> {
        let shared = &*self.0;
        let mut book = shared.book.borrow_mut();
        let free = if book.lent < shared.count / 2 { book.free.pop() } else { None };
        drop(book);
        let Some(id) = free else {
            let mut bytes = vec![0; shared.size];
            let len = fill(&mut bytes)?;
            bytes.truncate(len);
            return Ok((len > 0).then(|| Copy(bytes.into()).lend()));
        };
        let start = shared.buffer(id);
        // SAFETY: the buffer is in no list, so it is neither the kernel's nor lent: nobody else has it. The mapping is
        // zeroed at birth and lives as long as this.
        let filled = fill(unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), shared.size) });
        let mut book = shared.book.borrow_mut();
        match filled {
            Ok(0) => {
                book.free.push(id);
                Ok(None)
            }
            Ok(len) => {
                assert!(len <= shared.size, "a receive filled more than its buffer");
                book.lent += 1;
                drop(book);
                // SAFETY: `len` bytes were written, and the buffer is nobody's until `recycle`.
                Ok(Some(unsafe { Chunk::new(Rc::clone(&self.0) as Rc<dyn ChunkSource>, u32::from(id), start, len) }))
            }
            Err(error) => {
                book.free.push(id);
                Err(error)
            }
        }
    }

    /// The kernel used a buffer and put nothing into it, or nothing that anybody waits for.
    pub(crate) fn take_back(&self, id: u16) {
        let mut book = self.0.book.borrow_mut();
        book.provided = book.provided.saturating_sub(1);
        book.free.push(id);
    }

    /// How many buffers are lent.
    pub(crate) fn lent(&self) -> usize {
        usize::from(self.0.book.borrow().lent)
    }

    /// From now on the mapping stays for ever.
    pub(crate) fn leak(&self) {
        self.0.book.borrow_mut().leaked = true;
    }
}

impl Shared {
    fn buffer(&self, id: u16) -> NonNull<u8> {
        debug_assert!(id < self.count);
        // SAFETY: `count` buffers lie there, each of `stride` bytes.
        unsafe { self.buffers.add(usize::from(id) * self.stride) }
    }

    /// Writes the entry at a place that the kernel does not look at yet.
    fn write_entry(&self, tail: u16, id: u16) {
        let place = usize::from(tail & (self.count - 1));
        // SAFETY: within the ring. The kernel reads entries before the tail only, and this one is behind it; the tail
        // itself lies in a field of the first entry that the setters do not write.
        let entry = unsafe { &mut *self.mapping.as_ptr().cast::<BufRingEntry>().add(place) };
        entry.set_addr(self.buffer(id).as_ptr() as u64);
        entry.set_len(self.size as u32);
        entry.set_bid(id);
    }

    /// Shows the kernel the entries up to the tail.
    fn publish(&self, tail: u16) {
        // SAFETY: the mapping begins with the first entry, which holds the tail, aligned, for as long as it lives.
        let shown = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.mapping.as_ptr().cast()).cast_mut()) };
        shown.store(tail, Ordering::Release);
    }
}

// SAFETY: a lent id is neither free nor provided, so neither the kernel nor `lend` touches its buffer; the mapping lives
// as long as this, which every chunk keeps alive.
unsafe impl ChunkSource for Shared {
    fn recycle(&self, id: u32) {
        let mut book = self.book.borrow_mut();
        book.lent -= 1;
        book.free.push(id as u16);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if !self.book.get_mut().leaked {
            // SAFETY: mapped by `new` with this length; no chunk and no ring refers to it any more.
            unsafe { libc::munmap(self.mapping.as_ptr().cast(), self.len) };
        }
    }
}

/// A chunk's bytes in memory of their own.
struct Copy(Box<[u8]>);

impl Copy {
    fn lend(self) -> Chunk {
        let source = Rc::new(self);
        let start = NonNull::from(&source.0[..]).cast::<u8>();
        let len = source.0.len();
        // SAFETY: the box's bytes do not move, nobody writes to them, and they live until the chunk lets go of `source`.
        unsafe { Chunk::new(source, 0, start, len) }
    }
}

// SAFETY: nobody writes to the bytes at all, and they live as long as this.
unsafe impl ChunkSource for Copy {
    fn recycle(&self, _: u32) {}
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let book = self.0.book.borrow();
        f.debug_struct("Pool")
            .field("free", &book.free.len())
            .field("provided", &book.provided)
            .field("lent", &book.lent)
            .field("window", &book.window)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_used_last_is_provided_next() {
        let pool = Pool::new(2 * WINDOW, 64).unwrap();
        assert_eq!(pool.provide(), WINDOW);
        // As if the kernel had used two.
        let (one, two) = (pool.lend(0, 3), pool.lend(1, 4));
        assert_eq!((one.len(), two.len(), pool.lent()), (3, 4, 2));
        drop(one);
        drop(two);
        assert_eq!(pool.lent(), 0);
        assert_eq!(pool.0.book.borrow().free.last(), Some(&1));
        pool.provide();
        assert_eq!(usize::from(pool.0.book.borrow().provided), usize::from(WINDOW));
    }

    #[test]
    fn a_program_that_keeps_its_chunks_gets_copies() {
        let pool = Pool::new(4, 16).unwrap();
        pool.provide();
        let kept: Vec<Chunk> = (0..4)
            .map(|_| {
                pool.provide();
                pool.lend(kernel_takes(&pool), 5)
            })
            .collect();
        assert_eq!(pool.lent(), 2, "half of the buffers");
        assert_eq!(kept.len(), 4);
        drop(kept);
        assert_eq!(pool.lent(), 0);
        assert_eq!(pool.0.book.borrow().free.len() + usize::from(pool.0.book.borrow().provided), 4);
    }

    /// The id that the kernel would take next.
    fn kernel_takes(pool: &Pool) -> u16 {
        let book = pool.0.book.borrow();
        let place = usize::from(book.tail.wrapping_sub(book.provided) & (pool.0.count - 1));
        // SAFETY: within the ring, which is initialised.
        unsafe { &*pool.0.mapping.as_ptr().cast::<BufRingEntry>().add(place) }.bid()
    }

    #[test]
    fn the_window_grows_and_shrinks_with_the_need() {
        let pool = Pool::new(16 * WINDOW, 16).unwrap();
        pool.starved();
        pool.starved();
        pool.provide();
        let provided = || pool.0.book.borrow().provided;
        assert_eq!(provided(), 4 * WINDOW);
        for _ in 0..PATIENCE {
            pool.learn();
        }
        assert_eq!(pool.0.book.borrow().window, 2 * WINDOW);
    }

    #[test]
    fn a_chunk_outlives_its_pool() {
        let pool = Pool::new(2, 16).unwrap();
        pool.provide();
        let chunk = pool.lend(kernel_takes(&pool), 16);
        drop(pool);
        assert_eq!(&chunk[..], [0; 16]);
    }
}
