//! Hints to the processor about memory that will be looked at soon.
//!
//! What lies far off is waited for when it is looked at, one after the other. Of many that are known beforehand, all can be
//! on their way at once.

/// Has the memory there brought near, without waiting for it. Nothing is looked at: any address will do.
#[inline(always)]
pub(crate) fn prefetch<T>(place: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a hint, which cannot fault, and every processor of this architecture has it.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(place.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = place;
}
