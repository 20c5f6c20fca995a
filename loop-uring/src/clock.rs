//! The loop's clock: the one that the kernel waits by.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Monotonic, from an arbitrary origin; no system call.
pub(crate) fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}
