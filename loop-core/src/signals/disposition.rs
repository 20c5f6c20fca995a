//! What this process does when a signal comes: writes its number into the pipe of the loop that handles it.
//!
//! Everything that the signal handler touches is an atomic in a static table. A handler that runs in another thread may
//! have read a pipe's number just before that pipe is to be closed, so handlers are counted while they run, and whoever
//! gives a signal back waits until none does; they take a few instructions.

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering::SeqCst};

use libc::c_int;
use parking_lot::Mutex;

use crate::error::{Error, Result};

/// Signals are numbered from 1 to 64 here.
const SIGNALS: usize = 65;
const NONE: i32 = -1;

struct Slot {
    /// Where its number goes, or `NONE`.
    pipe: AtomicI32,
    /// The process that this is for: a child that was forked has no loop.
    process: AtomicI32,
    /// Came, and was not noticed by the loop yet.
    unseen: AtomicU32,
    /// A second one that is unseen does what it does by default.
    impatient: AtomicBool,
}

static SLOTS: [Slot; SIGNALS] = [const {
    Slot {
        pipe: AtomicI32::new(NONE),
        process: AtomicI32::new(0),
        unseen: AtomicU32::new(0),
        impatient: AtomicBool::new(false),
    }
}; SIGNALS];

/// Handlers that run at this moment.
static INSIDE: AtomicUsize = AtomicUsize::new(0);

/// Held while a disposition is changed.
static CHANGING: Mutex<()> = Mutex::new(());

/// The process that counts them. A child is forked with the count as it was, and no handler of other threads goes on in it.
static COUNTS: AtomicI32 = AtomicI32::new(0);

extern "C" fn came(signal: c_int) {
    // SAFETY: errno is this thread's, and is put back below. All that is called is async-signal-safe: `getpid`, `write`,
    // and in `by_default` `sigaction` and `raise`. The table is static and atomic.
    unsafe {
        let errno = *libc::__errno_location();
        let slot = usize::try_from(signal).ok().and_then(|signal| SLOTS.get(signal));
        if let Some(slot) = slot.filter(|slot| slot.process.load(SeqCst) == libc::getpid()) {
            INSIDE.fetch_add(1, SeqCst);
            let pipe = slot.pipe.load(SeqCst);
            if pipe != NONE {
                let unseen = slot.unseen.fetch_add(1, SeqCst);
                if unseen > 0 && slot.impatient.load(SeqCst) {
                    by_default(signal);
                } else {
                    let number = signal as u8;
                    // A full pipe has tens of thousands of signals to be noticed before this one.
                    libc::write(pipe, (&raw const number).cast(), 1);
                }
            }
            INSIDE.fetch_sub(1, SeqCst);
        }
        *libc::__errno_location() = errno;
    }
}

/// Has the signal do what it does by default, when the handler that runs has returned.
///
/// # Safety
///
/// Called from a handler of this signal, which is blocked meanwhile.
unsafe fn by_default(signal: c_int) {
    // SAFETY: an action of zeros is the default one, with no flags and an empty mask.
    unsafe {
        let action = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
        libc::sigaction(signal, &raw const action, ptr::null_mut());
        libc::raise(signal);
    }
}

/// What happens when the signal comes now.
fn current(signal: i32) -> Option<libc::sigaction> {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the kernel writes an action, and changes nothing.
    let result = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: written by the kernel.
    (result == 0).then(|| unsafe { action.assume_init() })
}

pub(super) fn is_default(signal: i32) -> bool {
    current(signal).is_some_and(|action| action.sa_sigaction == libc::SIG_DFL)
}

/// Refuses what a loop cannot handle.
pub(super) fn check(signal: i32) -> Result<()> {
    match signal {
        libc::SIGKILL | libc::SIGSTOP => Err(Error::UncatchableSignal(signal)),
        // The instruction that caused it would be tried again, and again, before the loop's turn.
        libc::SIGSEGV | libc::SIGBUS | libc::SIGFPE | libc::SIGILL => Err(Error::UncatchableSignal(signal)),
        signal if usize::try_from(signal).is_ok_and(|signal| (1..SIGNALS).contains(&signal)) => Ok(()),
        _ => Err(Error::InvalidArgument("no signal has this number")),
    }
}

/// A signal that is handled by a loop, until this is dropped.
pub(super) struct Installed {
    signal: i32,
    before: libc::sigaction,
}

impl Installed {
    /// `pipe` is open until this is dropped. The number was checked.
    pub(super) fn new(signal: i32, pipe: i32, impatient: bool) -> Result<Self> {
        let _changing = CHANGING.lock();
        let slot = slot(signal);
        if slot.pipe.load(SeqCst) != NONE && slot.process.load(SeqCst) == process() {
            return Err(Error::SignalInUse(signal));
        }
        if COUNTS.swap(process(), SeqCst) != process() {
            INSIDE.store(0, SeqCst);
        }
        slot.process.store(process(), SeqCst);
        slot.unseen.store(0, SeqCst);
        slot.impatient.store(impatient, SeqCst);
        slot.pipe.store(pipe, SeqCst);
        let mut before = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: an action is plain data, of which zeros are an empty mask; the handler is async-signal-safe, and the
        // kernel writes the action that was.
        let result = unsafe {
            let mut action = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
            action.sa_sigaction = came as *const () as usize;
            action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
            libc::sigaction(signal, &raw const action, before.as_mut_ptr())
        };
        if result != 0 {
            slot.pipe.store(NONE, SeqCst);
            return Err(Error::UncatchableSignal(signal));
        }
        // SAFETY: written by the kernel.
        Ok(Self { signal, before: unsafe { before.assume_init() } })
    }

    /// The loop has noticed the signal.
    pub(super) fn seen(&self) {
        slot(self.signal).unseen.store(0, SeqCst);
    }

    pub(super) fn set_impatient(&self, impatient: bool) {
        slot(self.signal).impatient.store(impatient, SeqCst);
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        let _changing = CHANGING.lock();
        // Where somebody else took the signal over meanwhile, it stays theirs.
        if current(self.signal).is_some_and(|action| action.sa_sigaction == came as *const () as usize) {
            // SAFETY: the action that the kernel gave.
            unsafe { libc::sigaction(self.signal, &raw const self.before, ptr::null_mut()) };
        }
        let slot = slot(self.signal);
        slot.pipe.store(NONE, SeqCst);
        // In a child that was forked no other thread is inside, whatever the count says.
        while slot.process.load(SeqCst) == process() && INSIDE.load(SeqCst) != 0 {
            std::thread::yield_now();
        }
    }
}

fn slot(signal: i32) -> &'static Slot {
    &SLOTS[usize::try_from(signal).expect("checked")]
}

fn process() -> i32 {
    rustix::process::getpid().as_raw_pid()
}
