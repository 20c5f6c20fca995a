//! The order of the timers: a small heap of those that come next, and runs of those that are further off.
//!
//! A heap of a hundred thousand entries is walked through memory that no near cache holds, a level at a time, each a wait
//! for the one before. So only what comes next is kept in order. The rest lies in *runs*: each a stretch of time, its
//! entries in no order, in memory side by side. When the heap is empty the nearest run becomes the heap, and one that is
//! long is first divided into shorter ones; an entry is moved once or twice, together with its neighbours, and never
//! waited for. With few timers there are no runs at all, and the heap is all there is.
//!
//! Invariants:
//!
//! * whatever is in the heap comes before whatever is in a run, and equal deadlines are in one place;
//! * runs lie one behind the other in time, the nearest last in the list; the furthest has no end;
//! * the heap is empty only if there are no runs, except within a call.

use super::heap::{Entry, Heap};

/// A run that is longer is divided before it becomes the heap; a heap that grows beyond is divided likewise.
const LONG: usize = 256;

/// How many entries a part is to have when something long is divided.
const PART: usize = 32;

/// How many parts there are at the most.
const MOST_PARTS: usize = 64;

/// Entries of one stretch of time, which begins here and ends where the next run begins.
struct Run {
    from: u64,
    entries: Vec<Entry>,
}

pub(super) struct Queue {
    heap: Heap,
    runs: Vec<Run>,
    /// How many entries the runs have.
    waiting: usize,
    /// Longer than this, the heap is divided.
    limit: usize,
    /// The run of the entry that was pushed last.
    recent: usize,
}

impl Default for Queue {
    fn default() -> Self {
        Self { heap: Heap::default(), runs: Vec::new(), waiting: 0, limit: LONG, recent: 0 }
    }
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.heap.len() + self.waiting
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    #[inline]
    pub(super) fn push(&mut self, entry: Entry) {
        if self.runs.last().is_some_and(|nearest| entry.when >= nearest.from) {
            return self.defer(entry);
        }
        self.heap.push(entry);
        if self.heap.len() > self.limit {
            self.shorten();
        }
    }

    /// The heap is long: what is further off becomes runs.
    #[cold]
    fn shorten(&mut self) {
        let entries: Vec<Entry> = self.heap.iter().collect();
        if self.divide(&entries) {
            self.heap.clear();
            self.admit();
        }
        self.set_limit();
    }

    /// Puts an entry into the run of its time.
    fn defer(&mut self, entry: Entry) {
        // Most timers are set for as long a time as those before them.
        let place = match self.runs.first() {
            Some(furthest) if entry.when >= furthest.from => 0,
            _ => self.runs.partition_point(|run| run.from > entry.when),
        };
        self.runs[place].entries.push(entry);
        self.waiting += 1;
        self.recent = place;
    }

    /// The least entry.
    #[inline]
    pub(super) fn first(&self) -> Option<Entry> {
        self.heap.first()
    }

    /// The least entry but one, if it is known.
    pub(super) fn second(&self) -> Option<Entry> {
        self.heap.second()
    }

    /// Takes the least entry out.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<Entry> {
        let first = self.heap.pop();
        if self.heap.is_empty() {
            self.refill();
        }
        first
    }

    /// Takes the entry that this is true of out, if it is one that can be without a move of others. True if it was.
    pub(super) fn drop_last(&mut self, is_it: impl Fn(Entry) -> bool) -> bool {
        if let Some(run) = self.runs.get_mut(self.recent)
            && run.entries.pop_if(|last| is_it(*last)).is_some()
        {
            self.waiting -= 1;
            if run.entries.is_empty() {
                self.runs.remove(self.recent);
            }
            return true;
        }
        if !self.heap.last().is_some_and(is_it) {
            return false;
        }
        self.heap.pop_last();
        if self.heap.is_empty() {
            self.refill();
        }
        true
    }

    /// Every entry, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Entry> {
        self.heap.iter().chain(self.runs.iter().flat_map(|run| run.entries.iter().copied()))
    }

    /// Entries that are not after `last`, in no order, until `enough` says so. At most `MOST` are looked at.
    pub(super) fn until<const MOST: usize>(&mut self, last: u64, mut enough: impl FnMut(Entry) -> bool) -> bool {
        // What is asked about is in the heap then.
        while self.heap.len() < MOST && self.runs.last().is_some_and(|nearest| nearest.from <= last) {
            self.admit();
        }
        self.heap.until::<MOST>(last, &mut enough)
    }

    /// Keeps those entries of which `keep` is true.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&mut Entry) -> bool) {
        self.heap.retain(&mut keep);
        for run in &mut self.runs {
            run.entries.retain_mut(&mut keep);
            if run.entries.len() < run.entries.capacity() / 4 {
                run.entries.shrink_to(LONG);
            }
        }
        self.runs.retain(|run| !run.entries.is_empty());
        self.waiting = self.runs.iter().map(|run| run.entries.len()).sum();
        if self.heap.is_empty() {
            self.refill();
        }
    }

    /// The heap is empty: the nearest run becomes it.
    #[inline]
    fn refill(&mut self) {
        if !self.runs.is_empty() {
            self.admit();
            self.set_limit();
        }
    }

    /// What could not be made shorter is not tried again before it has doubled.
    fn set_limit(&mut self) {
        self.limit = LONG.max(2 * self.heap.len());
    }

    /// Moves the nearest run into the heap, or the nearest part of it if it is long.
    #[inline(never)]
    fn admit(&mut self) {
        while let Some(run) = self.runs.pop() {
            self.waiting -= run.entries.len();
            let is_divided = run.entries.len() > LONG && self.divide(&run.entries);
            if !is_divided {
                run.entries.into_iter().for_each(|entry| self.heap.push(entry));
                return;
            }
        }
    }

    /// Makes runs of equal lengths of time out of entries that come before all other runs. False, and nothing is done, where
    /// they all have the same deadline.
    fn divide(&mut self, entries: &[Entry]) -> bool {
        let times = || entries.iter().map(|entry| entry.when);
        let (Some(first), Some(last)) = (times().min(), times().max()) else { return false };
        if first == last {
            return false;
        }
        let parts = (entries.len() / PART).clamp(2, MOST_PARTS);
        // So many bits less, and a time since the first is the number of its part.
        let shift = u64::BITS - ((last - first) / parts as u64).leading_zeros();
        let part = |when: u64| ((when - first) >> shift) as usize;
        let mut lengths = [0; MOST_PARTS];
        times().for_each(|when| lengths[part(when)] += 1);
        let mut runs: Vec<Vec<Entry>> = lengths.iter().map(|&length| Vec::with_capacity(length)).collect();
        entries.iter().for_each(|entry| runs[part(entry.when)].push(*entry));
        let runs = runs.into_iter().enumerate().filter(|(_, entries)| !entries.is_empty()).rev();
        self.runs.extend(runs.map(|(number, entries)| Run { from: first + ((number as u64) << shift), entries }));
        self.waiting += entries.len();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(when: u64, sequence: u32) -> Entry {
        Entry::new(when, sequence, sequence)
    }

    fn by_order(entry: &Entry) -> (u64, u32) {
        (entry.when, entry.sequence())
    }

    /// The invariants of the file's head.
    fn check(queue: &Queue) {
        let froms: Vec<u64> = queue.runs.iter().map(|run| run.from).collect();
        assert!(froms.is_sorted_by(|further, nearer| further > nearer), "{froms:?}");
        let heap = queue.heap.iter().map(|entry| entry.when).max();
        assert!(heap.is_some() || queue.runs.is_empty());
        if let (Some(last), Some(from)) = (heap, froms.last()) {
            assert!(last < *from);
        }
        for (place, run) in queue.runs.iter().enumerate() {
            let end = place.checked_sub(1).map_or(u64::MAX, |further| froms[further] - 1);
            assert!(run.entries.iter().all(|entry| (run.from..=end).contains(&entry.when)));
            assert!(!run.entries.is_empty());
        }
    }

    #[test]
    fn few_entries_make_no_runs_and_many_leave_a_short_heap() {
        let mut queue = Queue::default();
        (0..LONG as u32).for_each(|n| queue.push(entry(u64::from(n * 7919 % 1000), n)));
        assert!(queue.runs.is_empty());
        (0..100_000).for_each(|n| queue.push(entry(u64::from(n) * 7919 % 1_000_000, n)));
        check(&queue);
        assert!(queue.heap.len() <= LONG && queue.len() == 100_000 + LONG);
        let mut last = 0;
        while let Some(entry) = queue.pop() {
            assert!(entry.when >= last);
            last = entry.when;
            assert!(queue.heap.len() <= LONG + 1);
        }
        assert_eq!(queue.len(), 0);
    }

    /// What cannot be divided stays in the heap, and is not looked through at every push.
    #[test]
    fn equal_deadlines_stay_together() {
        let mut queue = Queue::default();
        (0..5000).for_each(|n| queue.push(entry(7, n)));
        assert!(queue.runs.is_empty() && queue.limit > 5000);
        queue.push(entry(8, 5000));
        check(&queue);
        let order: Vec<u32> = std::iter::from_fn(|| queue.pop()).map(|entry| entry.sequence()).collect();
        assert!(order.is_sorted() && order.len() == 5001);
    }

    proptest! {
        /// Against a sorted list: pushed in bursts near and far, taken out, and thinned out in between.
        #[test]
        fn entries_come_in_order(script in prop::collection::vec((0u8..10, 0u64..400, 0u32..64), 1..40)) {
            let mut queue = Queue::default();
            let mut model: Vec<Entry> = Vec::new();
            let (mut now, mut sequence) = (0, 0);
            for (action, amount, spread) in script {
                match action {
                    0..=4 => for _ in 0..amount {
                        sequence += 1;
                        let ahead = u64::from(sequence).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (63 - spread);
                        let new = entry(ahead.saturating_add(now), sequence);
                        queue.push(new);
                        model.push(new);
                    },
                    5..=6 => {
                        model.sort_by_key(by_order);
                        for expected in model.drain(..model.len().min(amount as usize)) {
                            prop_assert_eq!(queue.pop(), Some(expected));
                            now = expected.when;
                        }
                    }
                    7 => if queue.drop_last(|last| last.sequence() == sequence) {
                        model.retain(|entry| entry.sequence() != sequence);
                    },
                    8 => {
                        let last = now.saturating_add(1 << spread);
                        let mut seen = Vec::new();
                        queue.until::<16>(last, |entry| { seen.push(entry); false });
                        prop_assert!(seen.iter().all(|entry| entry.when <= last && model.contains(entry)));
                        let count = model.iter().filter(|entry| entry.when <= last).count();
                        prop_assert!(seen.len() == count || seen.len() > 3, "{} of {}", seen.len(), count);
                    }
                    _ => {
                        queue.retain(|entry| u64::from(entry.sequence()) % 3 != amount % 3);
                        model.retain(|entry| u64::from(entry.sequence()) % 3 != amount % 3);
                    }
                }
                check(&queue);
                prop_assert_eq!(queue.len(), model.len());
                prop_assert_eq!(queue.first(), model.iter().copied().min_by_key(by_order));
                let (mut all, mut expected): (Vec<_>, Vec<_>) = (queue.iter().collect(), model.clone());
                all.sort_by_key(by_order);
                expected.sort_by_key(by_order);
                prop_assert_eq!(all, expected);
            }
        }
    }
}
