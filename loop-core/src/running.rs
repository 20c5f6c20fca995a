//! Which loop runs in this thread, and which thread this is.
//!
//! The slot is a bare thread-local pointer, set by the guard of `run_*` and restored by it on every way out, an
//! unwinding one included; the guard's loop outlives it. Thread ids are never reused, unlike addresses: a waker
//! that outlived its loop must not take a stranger's thread for its own. After `fork`, the child's slot is empty: the
//! loop runs in the parent.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::inner::Inner;

thread_local! {
    static RUNNING: Cell<*const Inner> = const { Cell::new(ptr::null()) };
    static THREAD: Cell<u64> = const { Cell::new(0) };
}

static FORKS: AtomicU32 = AtomicU32::new(0);

extern "C" fn forked() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    // Of the thread that forked, the only one in the child.
    RUNNING.set(ptr::null());
}

/// How many forks lie between this process and the first that made a loop: what is kept per thread across a
/// fork is stale when this has changed.
#[must_use]
pub fn fork_generation() -> u32 {
    static REGISTER: Once = Once::new();
    REGISTER.call_once(|| {
        if cfg!(miri) {
            // Which knows no forks.
            return;
        }
        // SAFETY: the handler only increments an atomic and sets a plain thread-local cell, which is async-signal-safe. A
        // failure (out of memory) leaves forks undetected, as they are without it.
        unsafe {
            libc::pthread_atfork(None, None, Some(forked));
        }
    });
    FORKS.load(Ordering::Relaxed)
}

/// This thread's number in this process; never reused.
pub(crate) fn thread_id() -> u64 {
    THREAD.with(|id| {
        if id.get() == 0 {
            static NEXT: AtomicU64 = AtomicU64::new(1);
            id.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        id.get()
    })
}

/// Whether this thread has that number.
#[inline]
pub(crate) fn is_thread(number: u64) -> bool {
    // One that was never asked for its number has none.
    THREAD.get() == number
}

/// The loop that runs in this thread, or null.
#[inline(always)]
pub(crate) fn running() -> *const Inner {
    RUNNING.get()
}

/// The loop that runs in this thread.
#[inline]
pub(crate) fn with_running<R>(f: impl FnOnce(Option<&Rc<Inner>>) -> R) -> R {
    let inner = RUNNING.get();
    if inner.is_null() {
        return f(None);
    }
    // SAFETY: the pointer came from Rc::as_ptr of a loop that the guard, which clears the slot, keeps alive; the
    // count is left as it is.
    let inner = ManuallyDrop::new(unsafe { Rc::from_raw(inner) });
    f(Some(&inner))
}

/// This loop, if it runs in this thread: found here, so that nothing has to wait until the caller knows which it is.
#[inline(always)]
pub(crate) fn if_running(inner: &Rc<Inner>) -> Option<&Inner> {
    let running = RUNNING.get();
    // SAFETY: the same loop, which the caller has.
    ptr::eq(running, Rc::as_ptr(inner)).then(|| unsafe { NonNull::new_unchecked(running.cast_mut()).as_ref() })
}

/// Whether a loop runs in this thread.
pub(crate) fn is_any_running() -> bool {
    with_running(|running| running.is_some())
}

/// The slot, taken for a loop until dropped.
pub(crate) struct RunningSlot {
    before: *const Inner,
    _inner: Rc<Inner>,
}

impl RunningSlot {
    pub(crate) fn take(inner: &Rc<Inner>) -> Self {
        // Has forks noticed from here on.
        let _ = fork_generation();
        let before = RUNNING.replace(Rc::as_ptr(inner));
        Self { before, _inner: Rc::clone(inner) }
    }
}

impl Drop for RunningSlot {
    fn drop(&mut self) {
        RUNNING.set(self.before);
    }
}
