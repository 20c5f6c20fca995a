//! The numbers of tasks.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many numbers a thread takes at once.
const BLOCK: u64 = 256;

/// A number for a task: unique in this process. Threads take them in blocks, so a task costs no atomic operation; in one
/// thread, and so in most programs, they are 1, 2, 3 ...
pub(crate) fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local!(static BLOCK_LEFT: Cell<(u64, u64)> = const { Cell::new((0, 0)) });
    let (mut id, mut end) = BLOCK_LEFT.get();
    if id == end {
        id = NEXT.fetch_add(BLOCK, Ordering::Relaxed);
        end = id + BLOCK;
    }
    BLOCK_LEFT.set((id + 1, end));
    id
}
