//! Received bytes on their way to a protocol: a chunk of the loop's own memory, lent and given back.
//!
//! Receive buffers belong to the loop, not to the connection: an idle connection holds none. A backend
//! lends a [`Chunk`] with each receive of a multishot operation; dropping the chunk gives the memory back,
//! so the buffer used last, which is warm in the cache, is the next one handed out.

use std::cell::RefCell;
use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;
use std::rc::Rc;

/// Where a chunk's memory goes back to.
///
/// # Safety
///
/// Memory lent with [`Chunk::new`] stays valid and unmoved, and nobody else writes to it, until
/// [`recycle`](ChunkSource::recycle) is called with the same id.
pub unsafe trait ChunkSource {
    /// Takes back the memory lent under `id`. Called once per chunk, on the loop's thread; must not call user code.
    fn recycle(&self, id: u32);
}

/// Received bytes, lent by the loop until this is dropped.
pub struct Chunk {
    start: NonNull<u8>,
    /// Four bytes will do, and make every event smaller by eight.
    len: u32,
    id: u32,
    source: Rc<dyn ChunkSource>,
}

impl Chunk {
    /// Lends `len` initialised bytes at `start`, to be recycled under `id`: fewer than 4 GiB.
    ///
    /// # Panics
    ///
    /// Where they are not fewer.
    ///
    /// # Safety
    ///
    /// The bytes are initialised and are `source`'s to lend (see [`ChunkSource`]).
    #[must_use]
    pub unsafe fn new(source: Rc<dyn ChunkSource>, id: u32, start: NonNull<u8>, len: usize) -> Self {
        let len = u32::try_from(len).expect("a chunk has fewer than 2^32 bytes");
        Self { start, len, id, source }
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the source lent these initialised bytes until recycle, which only our drop calls.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len as usize) }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.source.recycle(self.id);
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({} bytes)", self.len)
    }
}

/// A pool of equal receive buffers for backends that read by themselves: last in, first out.
///
/// Clones share the pool.
#[derive(Clone)]
pub struct ReceivePool(Rc<PoolInner>);

struct PoolInner {
    size: usize,
    slots: RefCell<Slots>,
}

#[derive(Default)]
struct Slots {
    /// Every buffer ever made, by id; the boxes never move their bytes.
    buffers: Vec<Buffer>,
    free: Vec<u32>,
}

/// Where a receive buffer begins: on a cache line.
///
/// Not for the program's sake, but for the kernel's, which copies with `rep movsb`: to an address that is 1 to 31 bytes
/// further into its page than the source is into its own, that takes AMD's Zen 3 thirty times as long (1.4 µs for 4 KiB and
/// more; <https://lunnova.dev/articles/ryzen-slow-short-rep-mov> found the like). The kernel's memory of a large message begins on a page; a large allocation, 16 bytes into one.
const ALIGNMENT: usize = 64;

pub(crate) struct Buffer {
    memory: Box<[u8]>,
    /// Where the first cache line begins.
    from: usize,
    size: usize,
}

impl Buffer {
    pub(crate) fn new(size: usize) -> Self {
        let memory = vec![0; size + ALIGNMENT].into_boxed_slice();
        let from = memory.as_ptr().align_offset(ALIGNMENT);
        Self { memory, from, size }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.memory[self.from..][..self.size]
    }
}

impl ReceivePool {
    /// A pool of buffers of `size` bytes each, made as they are first needed.
    #[must_use]
    pub fn new(size: usize) -> Self {
        Self(Rc::new(PoolInner { size, slots: RefCell::default() }))
    }

    /// Lets `fill` write into a free buffer, and lends what it filled.
    ///
    /// # Errors
    ///
    /// Those of `fill`; the buffer is free again then, as it is when nothing was filled.
    pub fn fill<E>(&self, fill: impl FnOnce(&mut [u8]) -> Result<usize, E>) -> Result<Chunk, E> {
        let mut slots = self.0.slots.borrow_mut();
        let id = match slots.free.pop() {
            Some(id) => id,
            None => {
                let id = u32::try_from(slots.buffers.len()).expect("fewer than 2^32 receive buffers");
                slots.buffers.push(Buffer::new(self.0.size));
                id
            }
        };
        let buffer = slots.buffers[id as usize].as_mut_slice();
        match fill(buffer) {
            Ok(len) => {
                assert!(len <= buffer.len(), "a receive filled more than its buffer");
                let start = NonNull::from(buffer).cast::<u8>();
                // SAFETY: a box's bytes never move, are zeroed at birth, and `id` is out of the free list
                // until recycle puts it back, so nobody else writes to them.
                Ok(unsafe { Chunk::new(Rc::clone(&self.0) as Rc<dyn ChunkSource>, id, start, len) })
            }
            Err(error) => {
                slots.free.push(id);
                Err(error)
            }
        }
    }

    /// How many buffers are lent now.
    #[must_use]
    pub fn lent(&self) -> usize {
        let slots = self.0.slots.borrow();
        slots.buffers.len() - slots.free.len()
    }
}

impl fmt::Debug for ReceivePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReceivePool({} lent)", self.lent())
    }
}

// SAFETY: a lent id is off the free list, `fill` writes only to ids it took from there, and the boxes live
// as long as this does, which every chunk keeps alive.
unsafe impl ChunkSource for PoolInner {
    fn recycle(&self, id: u32) {
        self.slots.borrow_mut().free.push(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(pool: &ReceivePool, bytes: &[u8]) -> Chunk {
        pool.fill(|buffer| {
            buffer[..bytes.len()].copy_from_slice(bytes);
            Ok::<_, ()>(bytes.len())
        })
        .unwrap()
    }

    #[test]
    fn the_buffer_used_last_is_used_next() {
        let pool = ReceivePool::new(16);
        let (one, two) = (filled(&pool, b"one"), filled(&pool, b"two"));
        assert_eq!((&one[..], &two[..]), (&b"one"[..], &b"two"[..]));
        let warm = two.as_ptr();
        drop(one);
        drop(two);
        assert_eq!(pool.lent(), 0);
        assert_eq!(filled(&pool, b"three").as_ptr(), warm);
    }

    #[test]
    fn buffers_begin_on_cache_lines() {
        let pool = ReceivePool::new(100);
        let chunks: Vec<Chunk> = (0..8).map(|_| filled(&pool, &[7; 100])).collect();
        for chunk in &chunks {
            assert_eq!((chunk.as_ptr().addr() % ALIGNMENT, &chunk[..]), (0, &[7; 100][..]));
        }
    }

    #[test]
    fn a_failed_fill_lends_nothing() {
        let pool = ReceivePool::new(16);
        assert_eq!(pool.fill(|_| Err("no")).err(), Some("no"));
        assert_eq!(pool.lent(), 0);
    }

    #[test]
    fn a_chunk_outlives_its_pool_handle() {
        let pool = ReceivePool::new(16);
        let chunk = filled(&pool, b"kept");
        drop(pool);
        assert_eq!(&chunk[..], b"kept");
    }
}
