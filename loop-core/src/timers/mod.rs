//! The timers of one loop: a queue on `(deadline, sequence)`, so equal deadlines fire in the order they were set.
//!
//! Setting is a push; cancelling marks, touching only the timer's own slot, or takes the entry out where it is the last in
//! its memory. Cancelled entries leave the queue when they reach its head, or all at once when they are more than half
//! of more than a hundred (asyncio's rule): a million timeouts, nearly all cancelled, cost a push and a mark each. Slots are
//! reused, so re-arming allocates nothing.
//!
//! Timers that are alone are exact; those that lie microseconds apart are a crowd, which the loop wakes for together (`crowd.rs`).
//!
//! No user code runs here: whatever a cancel or an expiry lets go is handed to the caller to drop.

mod crowd;
mod heap;
mod queue;
mod slots;

use std::num::{NonZeroU32, NonZeroU64};
use std::task::Waker;
use std::time::Duration;

use crate::handle::CallbackHandle;
use crate::prefetch::prefetch;
use crate::task::LocalWaker;
use crowd::{CROWD, Crowds, SLACK, Wake};
use heap::Entry;
use queue::Queue;
use slots::{Look, Slots};

/// The queue is compacted when it has more entries than this, and more than half of them are cancelled.
const COMPACT_ABOVE: usize = 100;

/// So many due timers are looked at together: what each is about is far off in memory, and fetched while the others are
/// taken out.
const BATCH: usize = 16;

/// What is further off than this is not foreseen: much may happen until then.
const FORESEEN: Duration = Duration::from_millis(10);

/// Names one timer; stale once it fired or was cancelled. One word: the slot's generation above, the slot below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimerKey(NonZeroU64);

impl TimerKey {
    fn new(slot: u32, generation: NonZeroU32) -> Self {
        // Not zero, as its upper half is not.
        Self(NonZeroU64::new(u64::from(generation.get()) << 32 | u64::from(slot)).unwrap_or(NonZeroU64::MIN))
    }

    fn slot(self) -> u32 {
        self.0.get() as u32
    }

    fn generation(self) -> u32 {
        (self.0.get() >> 32) as u32
    }
}

/// What happens at the deadline.
pub(crate) enum Target {
    Callback(CallbackHandle),
    /// A task of this thread.
    Task(LocalWaker),
    Waker(Waker),
}

impl Target {
    /// Whoever this waker wakes.
    pub(crate) fn of(waker: &Waker) -> Self {
        LocalWaker::of(waker).map_or_else(|| Self::Waker(waker.clone()), Self::Task)
    }
}

#[derive(Default)]
pub(crate) struct Timers {
    queue: Queue,
    slots: Slots,
    sequence: u32,
    cancelled: usize,
    crowds: Crowds,
}

/// Deadlines are nanoseconds on the loop's clock; what lies beyond 584 years never comes.
pub(crate) fn nanos(when: Duration) -> u64 {
    u64::try_from(when.as_nanos()).unwrap_or(u64::MAX)
}

impl Timers {
    /// Sets a timer, in nanoseconds.
    #[inline]
    pub(crate) fn insert(&mut self, when: u64, target: Target) -> TimerKey {
        if self.sequence == u32::MAX {
            self.renumber();
        }
        self.sequence += 1;
        let (number, slot) = self.slots.obtain();
        slot.set(target);
        self.queue.push(Entry::new(when, self.sequence, number));
        TimerKey::new(number, slot.generation)
    }

    /// Whether the timer is still to come.
    pub(crate) fn is_set(&self, key: TimerKey) -> bool {
        let slot = self.slots.get(key.slot());
        slot.generation.get() == key.generation() && slot.is_set()
    }

    /// Whether the timer is still to come with this waker; none where it is not to come any more.
    pub(crate) fn wakes(&self, key: TimerKey, waker: &Waker) -> Option<bool> {
        let slot = self.slots.get(key.slot());
        if slot.generation.get() != key.generation() {
            return None;
        }
        match slot.look()? {
            Look::Task(old) => Some(old.is_of(waker)),
            Look::Waker(old) => Some(old.will_wake(waker)),
            Look::Callback => None,
        }
    }

    /// The tasks that timers wake, as far as they are known, by number, with their times.
    pub(crate) fn each_sleeper(&self, mut each: impl FnMut(Duration, u64)) {
        for entry in self.queue.iter() {
            let sleeper = match self.slots.get(entry.slot()).look() {
                Some(Look::Task(task)) => Some(task.id()),
                Some(Look::Waker(waker)) => crate::task::woken_by(waker),
                Some(Look::Callback) | None => None,
            };
            if let Some(sleeper) = sleeper {
                each(Duration::from_nanos(entry.when), sleeper);
            }
        }
    }

    /// Gives a timer that is still to come another target; the old one comes back.
    pub(crate) fn retarget(&mut self, key: TimerKey, target: Target) -> Target {
        if !self.is_set(key) {
            return target;
        }
        let slot = self.slots.get_mut(key.slot());
        let old = slot.take();
        slot.set(target);
        old.expect("it is set")
    }

    /// Takes the timer back, if it is still to come, and gives what it held.
    pub(crate) fn cancel(&mut self, key: TimerKey) -> Option<Target> {
        if !self.is_set(key) {
            return None;
        }
        if self.queue.drop_last(|last| last.slot() == key.slot()) {
            // It was set last and is far off, as a time limit that was kept: it need not stay.
            self.slots.release(key.slot());
        } else {
            self.cancelled += 1;
        }
        // At the end, to where it goes: kept until here it would be copied.
        self.slots.get_mut(key.slot()).take()
    }

    /// Compacts when there are too many cancelled entries.
    #[inline]
    pub(crate) fn tidy(&mut self) {
        if self.queue.len() > COMPACT_ABOVE && self.cancelled * 2 > self.queue.len() {
            self.compact();
        }
    }

    /// The nearest deadline of a timer that was not cancelled. Takes cancelled ones off the head.
    #[inline]
    pub(crate) fn next_deadline(&mut self) -> Option<Duration> {
        if self.queue.is_empty() { None } else { self.nearest() }
    }

    /// When to wake for the next timer: at its deadline, which this is, unless it is one of a crowd.
    pub(crate) fn next_wake(&mut self, at: Duration, now: Duration) -> Wake {
        let first = nanos(at);
        if self.is_crowded(first, 0) {
            return self.crowds.wake(first);
        }
        let then = if at <= now + FORESEEN { self.wake_after(first) } else { None };
        Wake { at, then }
    }

    /// When to wake for the timer after the next, which this is, if that is soon.
    fn wake_after(&mut self, first: u64) -> Option<Duration> {
        let second = self.queue.second()?;
        let is_soon = second.when - first <= nanos(FORESEEN);
        if !is_soon || second.when == first || !self.slots.get(second.slot()).is_set() {
            return None;
        }
        let at = Duration::from_nanos(second.when);
        Some(if self.is_crowded(second.when, 1) { at.saturating_add(SLACK) } else { at })
    }

    /// Whether a deadline is the first of a crowd, where so many are before it: a look at a few entries at the queue's head.
    fn is_crowded(&mut self, first: u64, before: usize) -> bool {
        let Self { queue, slots, .. } = self;
        let mut live = 0;
        queue.until::<{ 4 * CROWD }>(first.saturating_add(nanos(SLACK)), |entry| {
            live += usize::from(slots.get(entry.slot()).is_set());
            live == CROWD + before
        })
    }

    fn nearest(&mut self) -> Option<Duration> {
        self.tidy();
        loop {
            let entry = self.queue.first()?;
            let (when, slot) = (entry.when, entry.slot());
            if self.slots.get(slot).is_set() {
                return Some(Duration::from_nanos(when));
            }
            self.queue.pop();
            self.cancelled -= 1;
            self.slots.release(slot);
        }
    }

    /// Takes out every timer that is due at `now`, in order, and hands over what it is for. `give` only puts that somewhere.
    pub(crate) fn take_due(&mut self, now: Duration, mut give: impl FnMut(Target)) {
        let now = nanos(now);
        let mut due = [0; BATCH];
        let mut count = BATCH;
        while count == BATCH {
            count = 0;
            while count < BATCH
                && let Some(entry) = self.queue.first()
                && entry.when <= now
            {
                self.queue.pop();
                due[count] = entry.slot();
                count += 1;
            }
            let due = &due[..count];
            // A loop each, for the looks of one loop are on their way together.
            if count > 1 {
                due.iter().for_each(|&slot| prefetch(self.slots.get(slot)));
                for &slot in due {
                    if let Some(Look::Task(task)) = self.slots.get(slot).look() {
                        task.prefetch();
                    }
                }
            }
            for &slot in due {
                let target = self.slots.get_mut(slot).take();
                self.slots.release(slot);
                match target {
                    Some(target) => give(target),
                    None => self.cancelled -= 1,
                }
            }
        }
    }

    /// Everything that is set, to be dropped by the caller; the timers are empty then.
    pub(crate) fn clear(&mut self) -> Vec<Target> {
        let mut targets = Vec::new();
        while let Some(entry) = self.queue.pop() {
            targets.extend(self.slots.get_mut(entry.slot()).take());
            self.slots.release(entry.slot());
        }
        self.cancelled = 0;
        targets
    }

    /// How many timers are set, cancelled ones not counted.
    pub(crate) fn len(&self) -> usize {
        self.queue.len() - self.cancelled
    }

    fn compact(&mut self) {
        let Self { queue, slots, cancelled, .. } = self;
        queue.retain(|entry| {
            let live = slots.get(entry.slot()).is_set();
            if !live {
                slots.release(entry.slot());
            }
            live
        });
        *cancelled = 0;
    }

    /// The numbers have run out, after some four thousand million timers: those that are set are numbered anew, in order.
    #[cold]
    fn renumber(&mut self) {
        let mut entries: Vec<Entry> = self.queue.iter().collect();
        entries.sort_unstable_by_key(|entry| entry.sequence());
        self.queue = Queue::default();
        self.sequence = 0;
        for entry in entries {
            self.sequence += 1;
            self.queue.push(Entry::new(entry.when, self.sequence, entry.slot()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn counter() -> (Arc<Count>, Target) {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        (count.clone(), Target::Waker(count.into()))
    }

    fn set(timers: &mut Timers, when: Duration, target: Target) -> TimerKey {
        timers.insert(nanos(when), target)
    }

    /// The wakers of the timers that are due.
    fn due(timers: &mut Timers, now: Duration) -> Vec<Waker> {
        let mut wakers = Vec::new();
        timers.take_due(now, |target| match target {
            Target::Waker(waker) => wakers.push(waker),
            Target::Task(_) | Target::Callback(_) => panic!("nobody set such a timer"),
        });
        wakers
    }

    /// TIME-08, TIME-09: cancelled heads go at once, deeper ones when they are more than half of over a hundred.
    #[test]
    fn cancelled_timers_are_compacted() {
        let mut timers = Timers::default();
        let keys: Vec<TimerKey> = (0..101).map(|n| set(&mut timers, ms(n + 1), counter().1)).collect();
        for key in &keys[1..] {
            assert!(timers.cancel(*key).is_some());
        }
        // The last one has gone at once.
        assert_eq!((timers.next_deadline(), timers.queue.len()), (Some(ms(1)), 100));
        set(&mut timers, ms(500), counter().1);
        assert_eq!((timers.next_deadline(), timers.queue.len(), timers.cancelled), (Some(ms(1)), 2, 0));
        assert!(timers.cancel(keys[0]).is_some());
        assert_eq!((timers.next_deadline(), timers.queue.len()), (Some(ms(500)), 1));
    }

    /// A crowd is woken for at once; a timer that is alone, or has few beside it, to the nanosecond.
    #[test]
    fn a_crowd_waits_for_its_last() {
        let us = Duration::from_micros;
        let mut timers = Timers::default();
        let set = |timers: &mut Timers, micros| set(timers, us(micros), counter().1);
        let wake = |timers: &mut Timers| timers.next_deadline().map(|at| timers.next_wake(at, Duration::ZERO).at);
        let keys = [10, 20, 30].map(|at| set(&mut timers, at));
        set(&mut timers, 5000);
        assert_eq!(wake(&mut timers), Some(us(10)));
        let fourth = set(&mut timers, 120);
        assert_eq!(wake(&mut timers), Some(us(120)));
        // Those that were cancelled do not count.
        timers.cancel(keys[1]);
        assert_eq!(wake(&mut timers), Some(us(10)));
        set(&mut timers, 40);
        assert_eq!(wake(&mut timers), Some(us(120)));
        timers.cancel(fourth);
        assert_eq!(wake(&mut timers), Some(us(10)));
    }

    /// What comes after the next wake is known, where it is soon: for the backend to be told.
    #[test]
    fn the_wake_after_the_next_is_foreseen() {
        let us = Duration::from_micros;
        let mut timers = Timers::default();
        let set = |timers: &mut Timers, micros| set(timers, us(micros), counter().1);
        let then = |timers: &mut Timers, now| {
            let first = timers.next_deadline().expect("there is one");
            timers.next_wake(first, us(now)).then
        };
        set(&mut timers, 20_000);
        assert_eq!(then(&mut timers, 15_000), None, "there is none");
        let second = set(&mut timers, 21_000);
        assert_eq!(then(&mut timers, 15_000), Some(us(21_000)));
        assert_eq!(then(&mut timers, 5000), None, "both are far off");
        // A crowd begins there, of which the first timer is none.
        for at in [21_030, 21_060] {
            set(&mut timers, at);
            assert_eq!(then(&mut timers, 15_000), Some(us(21_000)));
        }
        set(&mut timers, 21_090);
        assert_eq!(then(&mut timers, 15_000), Some(us(21_000) + SLACK));
        timers.cancel(second);
        assert_eq!(then(&mut timers, 15_000), None, "a cancelled one is not waited for");
        let mut timers = Timers::default();
        set(&mut timers, 0);
        set(&mut timers, 10_001);
        assert_eq!(then(&mut timers, 0), None, "it is far behind the first");
        set(&mut timers, 0);
        assert_eq!(then(&mut timers, 0), None, "both are due at once");
    }

    /// Equal deadlines keep the order in which they were set, also when their numbers begin anew.
    #[test]
    fn the_order_outlasts_the_numbers() {
        let mut timers = Timers { sequence: u32::MAX - 5, ..Timers::default() };
        let counts: Vec<Arc<Count>> = (0..10)
            .map(|_| {
                let (count, target) = counter();
                set(&mut timers, ms(7), target);
                count
            })
            .collect();
        assert!(timers.sequence < 20);
        let due = due(&mut timers, ms(7));
        assert_eq!(due.len(), counts.len());
        for (count, waker) in counts.iter().zip(due) {
            waker.wake();
            assert_eq!(count.0.load(Ordering::Relaxed), 1);
        }
    }

    /// TIME-10: a timer that fired cannot be cancelled, nor its slot's next tenant by it.
    #[test]
    fn a_stale_key_cancels_nothing() {
        let mut timers = Timers::default();
        let first = set(&mut timers, ms(1), counter().1);
        assert_eq!(due(&mut timers, ms(1)).len(), 1);
        let second = set(&mut timers, ms(2), counter().1);
        assert_eq!(first.slot(), second.slot());
        assert!(timers.cancel(first).is_none());
        assert!(timers.is_set(second) && !timers.is_set(first));
        assert_eq!(timers.cancelled, 0);
    }

    proptest! {
        /// Against the plainest model: due timers come in (deadline, order of setting), cancelled ones never.
        #[test]
        fn timers_agree_with_a_sorted_list(script in prop::collection::vec((0u8..10, 0u64..50), 1..600)) {
            let mut timers = Timers::default();
            let mut model: Vec<(u64, usize, TimerKey, Arc<Count>)> = Vec::new();
            let mut now = 0;
            for (step, (action, value)) in script.into_iter().enumerate() {
                match action {
                    0..=4 => {
                        let (count, target) = counter();
                        let key = set(&mut timers, ms(now + value), target);
                        model.push((now + value, step, key, count));
                    }
                    5..=7 if !model.is_empty() => {
                        let (_, _, key, _) = model.remove(value as usize % model.len());
                        prop_assert!(timers.cancel(key).is_some());
                    }
                    _ => {
                        now += value;
                        model.sort_by_key(|timer| (timer.0, timer.1));
                        for waker in due(&mut timers, ms(now)) {
                            prop_assert!(model.first().is_some_and(|timer| timer.0 <= now), "one too many");
                            let (.., count) = model.remove(0);
                            waker.wake();
                            prop_assert_eq!(count.0.load(Ordering::Relaxed), 1);
                        }
                        prop_assert!(model.first().is_none_or(|timer| timer.0 > now), "a due timer is missing");
                    }
                }
                prop_assert_eq!(timers.len(), model.len());
                let nearest = model.iter().map(|timer| ms(timer.0)).min();
                prop_assert_eq!(timers.next_deadline(), nearest);
            }
        }
    }
}
