//! Who looks for work, who sleeps, and when another thread is needed.
//!
//! A worker is busy (it runs a job), searching (it looks for one) or sleeping. The counts stand in one
//! word, those who sleep also in a stack under a lock, the one that fell asleep last on top.
//!
//! Invariants kept here:
//!
//! * **Nothing is lost.** Whoever makes work calls [`Idle::announce`] after it. Whoever is about to stop
//!   looking, to sleep or to run what it found, says so in the word first and looks once more after
//!   it. Between the two stands a sequentially consistent fence on either side, so either the
//!   announcer sees the word changed, or the worker sees the work.
//! * **One at a time.** While one worker searches, nobody else is woken or started: waking is what costs.
//!   When the last searcher has found something and more is left, it announces the rest *before* it
//!   runs its job. So however long jobs block, as long as there is a thread left, it is on its way.
//! * **Threads are a last resort.** One is started only if nobody searches, nobody sleeps, and the maximum
//!   is not reached.

#[cfg(all(test, loom))]
mod loom;
#[cfg(all(test, not(loom)))]
mod tests;

use std::sync::Arc;
#[cfg(not(loom))]
use std::time::{Duration, Instant};

use loop_core::sync::atomic::{AtomicU64, Ordering, fence};
use loop_core::sync::{Condvar, Mutex};
#[cfg(not(loom))]
use loop_core::sync::{hint, thread};

/// The most threads a pool can have: each count has sixteen bits.
pub(crate) const MAX_WORKERS: usize = i16::MAX as usize;

const SEARCHING: u64 = 1;
const SLEEPING: u64 = 1 << 16;
const STARTED: u64 = 1 << 32;
const COUNT: u64 = 0xffff;

/// How long a searcher keeps looking before it sleeps.
///
/// A sleeping thread costs its waker a system call, and on an idle processor it takes some 25 µs to come
/// round. The next job of someone who hands in one after the other comes sooner than that, measured
/// on two cores: 7 µs a round trip with this, 50 without.
#[cfg(not(loom))]
const PATIENCE: Duration = Duration::from_micros(30);

/// The idle side of a pool.
// On a cache line pair of its own: everyone reads the word, few write it.
#[repr(align(128))]
pub(crate) struct Idle {
    word: AtomicU64,
    sleepers: Mutex<Vec<Arc<Parker>>>,
    max_started: u64,
    /// What a thread that is being started counts as.
    starting: u64,
}

/// What an announcer has to do.
#[must_use]
pub(crate) enum Wake {
    /// Nothing: someone searches, or all threads there may be are busy.
    Nobody,
    /// Wake this worker, which counts as searching from now on.
    Sleeper(Arc<Parker>),
    /// Start a thread, which is counted already.
    Start,
}

/// What a worker looks into; see [`Idle::next`].
pub(crate) trait Source {
    type Item;
    /// Takes something, if there is anything.
    fn take(&self) -> Option<Self::Item>;
    /// Whether there is nothing.
    fn is_empty(&self) -> bool;
    /// Whether nothing will come any more. What came before is seen by an `is_empty` after it.
    fn is_over(&self) -> bool;
    /// Does what [`Idle::announce`] says.
    fn announce(&self);
}

impl Idle {
    /// `prompt` says that a new thread looks for work at once, so that it counts as searching from the
    /// moment it is being started. If it has to initialize itself first, others should not wait for it.
    pub(crate) fn new(max_workers: usize, prompt: bool) -> Self {
        Self {
            word: AtomicU64::new(0),
            sleepers: Mutex::new(Vec::new()),
            max_started: max_workers.min(MAX_WORKERS) as u64,
            starting: if prompt { STARTED + SEARCHING } else { STARTED },
        }
    }

    /// For whoever has just made work: what is to be done so that it is found. `is_empty` tells if it has
    /// been already.
    pub(crate) fn announce(&self, is_empty: impl Fn() -> bool) -> Wake {
        self.recruit(self.max_started, is_empty)
    }

    /// The same where no thread can be started.
    pub(crate) fn announce_to_sleepers(&self, is_empty: impl Fn() -> bool) -> Wake {
        self.recruit(0, is_empty)
    }

    fn recruit(&self, max_started: u64, is_empty: impl Fn() -> bool) -> Wake {
        // Pairs with the fences in `sleep` and `found`.
        fence(Ordering::SeqCst);
        let nobody = |word| searching(word) > 0 || sleeping(word) == 0 && started(word) >= max_started;
        if nobody(self.word.load(Ordering::Relaxed)) {
            return Wake::Nobody;
        }
        let mut sleepers = self.sleepers.lock();
        // Sleepers and started threads change under the lock only, but a searcher may have come meanwhile,
        // or one may have taken the work and gone. Who acquires that it went, sees what it took.
        if nobody(self.word.load(Ordering::Acquire)) || is_empty() {
            return Wake::Nobody;
        }
        if let Some(parker) = sleepers.pop() {
            self.word.fetch_add(SEARCHING.wrapping_sub(SLEEPING), Ordering::Relaxed);
            return Wake::Sleeper(parker);
        }
        self.word.fetch_add(self.starting, Ordering::Relaxed);
        Wake::Start
    }

    /// Counts a thread that is about to be started without an announcement.
    pub(crate) fn starting(&self) {
        let _sleepers = self.sleepers.lock();
        self.word.fetch_add(self.starting, Ordering::Relaxed);
    }

    /// Takes back one that could not be started. Announcers may have counted on it as a searcher, so
    /// the caller has to announce what is queued.
    pub(crate) fn not_started(&self) {
        let _sleepers = self.sleepers.lock();
        self.word.fetch_sub(self.starting, Ordering::Relaxed);
    }

    /// Wakes all who sleep: there is something to see other than work.
    pub(crate) fn wake_all(&self) {
        let woken = {
            let mut sleepers = self.sleepers.lock();
            let count = sleepers.len() as u64;
            self.word.fetch_add((SEARCHING * count).wrapping_sub(SLEEPING * count), Ordering::Relaxed);
            std::mem::take(&mut *sleepers)
        };
        for parker in woken {
            parker.unpark();
        }
    }

    /// For a thread that was started, when it is ready to look for work: from now on it counts as searching,
    /// if it did not before. Others may have come since and look too, but it is not known to them what
    /// this one was started for; so it joins them whatever their number, and passes on what it leaves.
    pub(crate) fn ready(&self) {
        self.word.fetch_add((STARTED + SEARCHING) - self.starting, Ordering::Relaxed);
    }

    /// The next item for a worker: looks, spins a little, sleeps, until there is one, or until it is over.
    ///
    /// `searching` says whether the caller counts as searching already.
    pub(crate) fn next<S: Source>(&self, parker: &Arc<Parker>, source: &S, mut searching: bool) -> Option<S::Item> {
        // The way of a busy pool: one job after the other, and the word is not even read.
        if !searching {
            if let Some(item) = source.take() {
                return Some(item);
            }
            searching = self.search();
        }
        loop {
            if searching && let Some(item) = look(source) {
                self.found(source);
                return Some(item);
            }
            if source.is_over() && source.is_empty() {
                if searching {
                    self.word.fetch_sub(SEARCHING, Ordering::Relaxed);
                }
                return None;
            }
            self.sleep(parker, searching, || !source.is_empty() || source.is_over());
            searching = true;
        }
    }

    /// From busy to searching, unless another searches already: one is enough.
    #[must_use]
    pub(crate) fn search(&self) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        while searching(word) == 0 {
            match self.word.compare_exchange_weak(word, word + SEARCHING, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// From searching to busy. Work that was announced to this searcher only is announced again.
    pub(crate) fn found<S: Source>(&self, source: &S) {
        let before = self.word.fetch_sub(SEARCHING, Ordering::Release);
        if searching(before) == 1 {
            fence(Ordering::SeqCst);
            if !source.is_empty() {
                source.announce();
            }
        }
    }

    /// To sleep, and on waking to searching. `stirs` is asked once the sleeper can be seen.
    fn sleep(&self, parker: &Arc<Parker>, searching: bool, stirs: impl Fn() -> bool) {
        {
            let mut sleepers = self.sleepers.lock();
            sleepers.push(Arc::clone(parker));
            let searched = if searching { SEARCHING } else { 0 };
            self.word.fetch_add(SLEEPING.wrapping_sub(searched), Ordering::Relaxed);
        }
        fence(Ordering::SeqCst);
        if stirs() {
            let mut sleepers = self.sleepers.lock();
            if let Some(position) = sleepers.iter().rposition(|other| Arc::ptr_eq(other, parker)) {
                sleepers.remove(position);
                self.word.fetch_add(SEARCHING.wrapping_sub(SLEEPING), Ordering::Relaxed);
                return;
            }
            // Someone has taken it off the stack to wake it, and counted it as searching.
        }
        parker.park();
    }

    /// How many threads were started.
    pub(crate) fn started(&self) -> usize {
        started(self.word.load(Ordering::Relaxed)) as usize
    }
}

fn searching(word: u64) -> u64 {
    word & COUNT
}

fn sleeping(word: u64) -> u64 {
    word >> 16 & COUNT
}

fn started(word: u64) -> u64 {
    word >> 32 & COUNT
}

/// Looks for a while.
#[cfg(not(loom))]
fn look<S: Source>(source: &S) -> Option<S::Item> {
    let first = source.take();
    if first.is_some() {
        return first;
    }
    let start = Instant::now();
    let mut round = 0_u32;
    while start.elapsed() < PATIENCE {
        for _ in 0..16 {
            hint::spin_loop();
        }
        // Now and then it lets others have the processor: who shares it may be the one to bring work.
        if round.is_multiple_of(4) {
            thread::yield_now();
        }
        round += 1;
        let item = source.take();
        if item.is_some() {
            return item;
        }
    }
    None
}

/// Looks once: to a model, looking again is the same as being slow.
#[cfg(loom)]
fn look<S: Source>(source: &S) -> Option<S::Item> {
    source.take()
}

/// What one worker sleeps on. It wakes once for each `unpark`.
#[derive(Default)]
pub(crate) struct Parker {
    woken: Mutex<bool>,
    condvar: Condvar,
}

impl Parker {
    pub(crate) fn new() -> Self {
        Self { woken: Mutex::new(false), condvar: Condvar::new() }
    }

    pub(crate) fn unpark(&self) {
        *self.woken.lock() = true;
        self.condvar.notify_one();
    }

    fn park(&self) {
        let mut woken = self.woken.lock();
        while !*woken {
            self.condvar.wait(&mut woken);
        }
        *woken = false;
    }
}
