//! The timers of one loop: a heap on `(deadline, sequence)`, so equal deadlines fire in the order they were set.
//!
//! Setting is a push; cancelling marks, touching only the timer's own slot. Cancelled entries leave the heap
//! when they reach its head, or all at once when they are more than half of more than a hundred (asyncio's
//! rule): a million timeouts, nearly all cancelled, cost a push and a mark each. Slots are reused, so re-arming
//! allocates nothing.
//!
//! No user code runs here: whatever a cancel or an expiry lets go is handed to the caller to drop.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use crate::handle::Handle;

/// The heap is compacted when it has more entries than this, and more than half of them are cancelled.
const COMPACT_ABOVE: usize = 100;

/// Names one timer; stale once it fired or was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimerKey {
    slot: u32,
    generation: u32,
}

/// What happens at the deadline.
pub(crate) enum Target {
    Handle(Rc<dyn Handle>),
    Waker(Waker),
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    when: u64,
    sequence: u64,
    slot: u32,
}

struct Slot {
    generation: u32,
    /// None once cancelled: the heap's entry is still there.
    target: Option<Target>,
}

#[derive(Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<Entry>>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    sequence: u64,
    cancelled: usize,
}

/// Deadlines are nanoseconds on the loop's clock; what lies beyond 584 years never comes.
fn nanos(when: Duration) -> u64 {
    u64::try_from(when.as_nanos()).unwrap_or(u64::MAX)
}

impl Timers {
    pub(crate) fn insert(&mut self, when: Duration, target: Target) -> TimerKey {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(Slot { generation: 0, target: None });
                u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 timers")
            }
        };
        let entry = &mut self.slots[slot as usize];
        entry.target = Some(target);
        let generation = entry.generation;
        self.sequence += 1;
        self.heap.push(Reverse(Entry { when: nanos(when), sequence: self.sequence, slot }));
        TimerKey { slot, generation }
    }

    /// Whether the timer is still to come.
    pub(crate) fn is_set(&self, key: TimerKey) -> bool {
        let slot = &self.slots[key.slot as usize];
        slot.generation == key.generation && slot.target.is_some()
    }

    /// Whether the timer is still to come with this waker; none where it is not to come any more.
    pub(crate) fn wakes(&self, key: TimerKey, waker: &Waker) -> Option<bool> {
        let slot = &self.slots[key.slot as usize];
        match &slot.target {
            Some(Target::Waker(old)) if slot.generation == key.generation => Some(old.will_wake(waker)),
            _ => None,
        }
    }

    /// The timers that wake somebody, with their times.
    pub(crate) fn each_waker(&self, mut each: impl FnMut(Duration, &Waker)) {
        for Reverse(entry) in &self.heap {
            if let Some(Target::Waker(waker)) = &self.slots[entry.slot as usize].target {
                each(Duration::from_nanos(entry.when), waker);
            }
        }
    }

    /// Gives a timer that is still to come another target; the old one comes back.
    pub(crate) fn retarget(&mut self, key: TimerKey, target: Target) -> Target {
        let slot = &mut self.slots[key.slot as usize];
        match &mut slot.target {
            Some(place) if slot.generation == key.generation => std::mem::replace(place, target),
            _ => target,
        }
    }

    /// Takes the timer back, if it is still to come, and gives what it held.
    pub(crate) fn cancel(&mut self, key: TimerKey) -> Option<Target> {
        let slot = &mut self.slots[key.slot as usize];
        if slot.generation != key.generation {
            return None;
        }
        let target = slot.target.take()?;
        self.cancelled += 1;
        Some(target)
    }

    /// Compacts when there are too many cancelled entries.
    #[inline]
    pub(crate) fn tidy(&mut self) {
        if self.heap.len() > COMPACT_ABOVE && self.cancelled * 2 > self.heap.len() {
            self.compact();
        }
    }

    /// The nearest deadline of a timer that was not cancelled. Takes cancelled ones off the head.
    #[inline]
    pub(crate) fn next_deadline(&mut self) -> Option<Duration> {
        if self.heap.is_empty() { None } else { self.nearest() }
    }

    fn nearest(&mut self) -> Option<Duration> {
        self.tidy();
        loop {
            let Reverse(entry) = self.heap.peek()?;
            let (when, slot) = (entry.when, entry.slot);
            if self.slots[slot as usize].target.is_some() {
                return Some(Duration::from_nanos(when));
            }
            self.heap.pop();
            self.cancelled -= 1;
            self.retire(slot);
        }
    }

    /// The next timer that is due at `now`, taken out.
    pub(crate) fn pop_due(&mut self, now: Duration) -> Option<Target> {
        if self.heap.is_empty() {
            return None;
        }
        let now = nanos(now);
        loop {
            let Reverse(entry) = self.heap.peek()?;
            if entry.when > now {
                return None;
            }
            let slot = entry.slot;
            self.heap.pop();
            let target = self.slots[slot as usize].target.take();
            self.retire(slot);
            match target {
                Some(target) => return Some(target),
                None => self.cancelled -= 1,
            }
        }
    }

    /// Everything that is set, to be dropped by the caller; the timers are empty then.
    pub(crate) fn clear(&mut self) -> Vec<Target> {
        let mut targets = Vec::new();
        while let Some(Reverse(entry)) = self.heap.pop() {
            targets.extend(self.slots[entry.slot as usize].target.take());
            self.retire(entry.slot);
        }
        self.cancelled = 0;
        targets
    }

    /// How many timers are set, cancelled ones not counted.
    pub(crate) fn len(&self) -> usize {
        self.heap.len() - self.cancelled
    }

    fn compact(&mut self) {
        let Self { heap, slots, free, cancelled, .. } = self;
        heap.retain(|Reverse(entry)| {
            let slot = &mut slots[entry.slot as usize];
            let live = slot.target.is_some();
            if !live {
                slot.generation = slot.generation.wrapping_add(1);
                free.push(entry.slot);
            }
            live
        });
        *cancelled = 0;
    }

    fn retire(&mut self, slot: u32) {
        let entry = &mut self.slots[slot as usize];
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(slot);
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

    /// TIME-08, TIME-09: cancelled heads go at once, deeper ones when they are more than half of over a hundred.
    #[test]
    fn cancelled_timers_are_compacted() {
        let mut timers = Timers::default();
        let keys: Vec<TimerKey> = (0..100).map(|n| timers.insert(ms(n + 1), counter().1)).collect();
        for key in &keys[1..] {
            assert!(timers.cancel(*key).is_some());
        }
        assert_eq!((timers.next_deadline(), timers.heap.len()), (Some(ms(1)), 100));
        timers.insert(ms(500), counter().1);
        assert_eq!((timers.next_deadline(), timers.heap.len(), timers.cancelled), (Some(ms(1)), 2, 0));
        assert!(timers.cancel(keys[0]).is_some());
        assert_eq!((timers.next_deadline(), timers.heap.len()), (Some(ms(500)), 1));
    }

    /// TIME-10: a timer that fired cannot be cancelled, nor its slot's next tenant by it.
    #[test]
    fn a_stale_key_cancels_nothing() {
        let mut timers = Timers::default();
        let first = timers.insert(ms(1), counter().1);
        assert!(timers.pop_due(ms(1)).is_some());
        let second = timers.insert(ms(2), counter().1);
        assert_eq!(first.slot, second.slot);
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
                        let key = timers.insert(ms(now + value), target);
                        model.push((now + value, step, key, count));
                    }
                    5..=7 if !model.is_empty() => {
                        let (_, _, key, _) = model.remove(value as usize % model.len());
                        prop_assert!(timers.cancel(key).is_some());
                    }
                    _ => {
                        now += value;
                        model.sort_by_key(|timer| (timer.0, timer.1));
                        while model.first().is_some_and(|timer| timer.0 <= now) {
                            let (.., count) = model.remove(0);
                            match timers.pop_due(ms(now)) {
                                Some(Target::Waker(waker)) => waker.wake(),
                                _ => prop_assert!(false, "a due timer is missing"),
                            }
                            prop_assert_eq!(count.0.load(Ordering::Relaxed), 1);
                        }
                        prop_assert!(timers.pop_due(ms(now)).is_none());
                    }
                }
                prop_assert_eq!(timers.len(), model.len());
                let nearest = model.iter().map(|timer| ms(timer.0)).min();
                prop_assert_eq!(timers.next_deadline(), nearest);
            }
        }
    }
}
