//! A heap of four branches a node, whose four children share a cache line.
//!
//! Taking the least of a hundred thousand entries is a walk down the levels, each of which is a look at memory that is in
//! no near cache. Four branches halve the levels of a binary heap, and with 16 bytes an entry a node's children are one line.
//!
//! Invariant: no entry comes before its parent.

/// What is kept: a deadline, the order among equal ones, and the slot that it is about. Two words, which are handed on in
/// registers: of three fields, an entry would be copied through memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// Nanoseconds.
    pub(super) when: u64,
    /// The sequence above, the slot below.
    rest: u64,
}

impl Entry {
    pub(super) fn new(when: u64, sequence: u32, slot: u32) -> Self {
        Self { when, rest: u64::from(sequence) << 32 | u64::from(slot) }
    }

    pub(super) fn sequence(self) -> u32 {
        (self.rest >> 32) as u32
    }

    pub(super) fn slot(self) -> u32 {
        self.rest as u32
    }

    /// Whether it comes before another: by deadline, then by sequence.
    fn precedes(self, other: Self) -> bool {
        self.key() < other.key()
    }

    /// One number to compare by, as that takes no branch. No two have the same sequence, so the slots do not matter.
    fn key(self) -> u128 {
        u128::from(self.when) << 64 | u128::from(self.rest)
    }
}

const BRANCHES: usize = 4;

/// The place of the first entry. The three before it are never used: so that the children of one entry are one line.
const ROOT: usize = BRANCHES - 1;

const UNUSED: Entry = Entry { when: 0, rest: 0 };

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([Entry; BRANCHES]);

#[derive(Default)]
pub(super) struct Heap {
    lines: Vec<Line>,
    len: usize,
}

fn parent(place: usize) -> usize {
    place / BRANCHES + ROOT - 1
}

/// The line with an entry's children.
fn children(place: usize) -> usize {
    place - ROOT + 1
}

impl Heap {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Behind the last entry.
    fn end(&self) -> usize {
        ROOT + self.len
    }

    fn at(&self, place: usize) -> Entry {
        self.lines[place / BRANCHES].0[place % BRANCHES]
    }

    fn put(&mut self, place: usize, entry: Entry) {
        self.lines[place / BRANCHES].0[place % BRANCHES] = entry;
    }

    /// The least entry.
    pub(super) fn first(&self) -> Option<Entry> {
        (self.len > 0).then(|| self.at(ROOT))
    }

    /// The least entry but one.
    pub(super) fn second(&self) -> Option<Entry> {
        self.least_child(ROOT).map(|(_, entry)| entry)
    }

    pub(super) fn push(&mut self, entry: Entry) {
        let place = self.end();
        if place / BRANCHES == self.lines.len() {
            self.lines.push(Line([UNUSED; BRANCHES]));
        }
        self.len += 1;
        self.rise(place, entry);
    }

    /// Takes the least entry out.
    pub(super) fn pop(&mut self) -> Option<Entry> {
        let first = self.first()?;
        self.len -= 1;
        let last = self.at(self.end());
        if self.len > 0 {
            // The last one nearly always belongs to the bottom, where it came from: the hole goes there first.
            let hole = self.sink(ROOT);
            self.rise(hole, last);
        }
        Some(first)
    }

    /// The entry in the last place, which can be taken out without a move of others.
    pub(super) fn last(&self) -> Option<Entry> {
        (self.len > 0).then(|| self.at(self.end() - 1))
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// Takes that out.
    pub(super) fn pop_last(&mut self) {
        self.len = self.len.saturating_sub(1);
    }

    /// Every entry, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Entry> {
        self.lines.iter().flat_map(|line| line.0).skip(ROOT).take(self.len)
    }

    /// Those entries, at the top of the heap, that are not after `last`: given one by one, in no order, until `each` says
    /// that it is enough. At most `most` are looked at.
    pub(super) fn until<const MOST: usize>(&self, last: u64, mut enough: impl FnMut(Entry) -> bool) -> bool {
        let mut places = [ROOT; MOST];
        let mut known = usize::from(self.len > 0);
        let mut next = 0;
        while next < known {
            let place = places[next];
            next += 1;
            let entry = self.at(place);
            if entry.when > last {
                continue;
            }
            if enough(entry) {
                return true;
            }
            let first = children(place) * BRANCHES;
            for child in first..(first + BRANCHES).min(self.end()) {
                if known < MOST && self.at(child).when <= last {
                    places[known] = child;
                    known += 1;
                }
            }
        }
        false
    }

    /// Keeps those entries of which `keep` is true.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&mut Entry) -> bool) {
        let mut kept = ROOT;
        for place in ROOT..self.end() {
            let mut entry = self.at(place);
            if keep(&mut entry) {
                self.put(kept, entry);
                kept += 1;
            }
        }
        self.len = kept - ROOT;
        self.lines.truncate(self.end().div_ceil(BRANCHES));
        // Each subtree is put in order, the small ones at the bottom first.
        if self.len > 1 {
            for place in (ROOT..=parent(self.end() - 1)).rev() {
                self.settle(place);
            }
        }
    }

    /// Moves the lesser children up, from a hole down to the bottom. Where the hole is then.
    fn sink(&mut self, mut hole: usize) -> usize {
        while let Some((child, least)) = self.least_child(hole) {
            self.put(hole, least);
            hole = child;
        }
        hole
    }

    /// The child that comes first, and where it is.
    fn least_child(&self, place: usize) -> Option<(usize, Entry)> {
        let first = children(place) * BRANCHES;
        let count = self.end().checked_sub(first).filter(|&count| count > 0)?;
        let line = self.lines[children(place)].0;
        let mut least = 0;
        for other in 1..BRANCHES.min(count) {
            if line[other].precedes(line[least]) {
                least = other;
            }
        }
        Some((first + least, line[least]))
    }

    /// Lets an entry sink to where it belongs, which mostly is where it is.
    fn settle(&mut self, mut place: usize) {
        let entry = self.at(place);
        while let Some((child, least)) = self.least_child(place)
            && least.precedes(entry)
        {
            self.put(place, least);
            place = child;
        }
        self.put(place, entry);
    }

    /// Puts an entry into a hole, and lets it rise to where it belongs.
    fn rise(&mut self, mut hole: usize, entry: Entry) {
        while hole > ROOT {
            let parent = parent(hole);
            let above = self.at(parent);
            if !entry.precedes(above) {
                break;
            }
            self.put(hole, above);
            hole = parent;
        }
        self.put(hole, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(when: u64, sequence: u32) -> Entry {
        Entry::new(when, sequence, sequence)
    }

    #[test]
    fn four_children_share_a_line() {
        assert_eq!(size_of::<Line>(), 64);
        for place in ROOT..1000 {
            let first = children(place) * BRANCHES;
            assert!((first..first + BRANCHES).all(|child| parent(child) == place));
        }
    }

    #[test]
    fn what_is_not_after_a_time_is_found_at_the_top() {
        let mut heap = Heap::default();
        (0..100).for_each(|n| heap.push(entry(u64::from(n * 37 % 100), n)));
        let mut found = Vec::new();
        assert!(!heap.until::<64>(9, |entry| {
            found.push(entry.when);
            false
        }));
        found.sort_unstable();
        assert_eq!(found, (0..10).collect::<Vec<_>>());
        assert!(heap.until::<64>(9, |entry| entry.when == 9));
        assert!(!heap.until::<2>(9, |entry| entry.when == 9));
        assert!(!Heap::default().until::<8>(9, |_| true));
    }

    proptest! {
        /// Against a sorted list: pushed, taken out, and thinned out in between.
        #[test]
        fn entries_come_in_order(script in prop::collection::vec((0u8..12, 0u64..40), 1..400)) {
            let mut heap = Heap::default();
            let mut model: Vec<Entry> = Vec::new();
            for (step, (action, value)) in script.into_iter().enumerate() {
                match action {
                    0..=6 => {
                        let new = entry(value, step as u32);
                        heap.push(new);
                        model.push(new);
                    }
                    7..=10 => {
                        model.sort_by_key(|entry| entry.key());
                        let first = if model.is_empty() { None } else { Some(model.remove(0)) };
                        prop_assert_eq!(heap.pop(), first);
                    }
                    11 if value < 20 => {
                        if let Some(last) = heap.last() {
                            model.retain(|entry| *entry != last);
                        }
                        heap.pop_last();
                    }
                    _ => {
                        heap.retain(|entry| entry.when != value);
                        model.retain(|entry| entry.when != value);
                    }
                }
                prop_assert_eq!(heap.len(), model.len());
                prop_assert_eq!(heap.first(), model.iter().copied().min_by_key(|entry| entry.key()));
                let but_first = model.iter().copied().filter(|entry| Some(*entry) != heap.first());
                prop_assert_eq!(heap.second(), but_first.min_by_key(|entry| entry.key()));
                let (mut all, mut expected): (Vec<_>, Vec<_>) = (heap.iter().collect(), model.clone());
                all.sort_by_key(|entry| entry.key());
                expected.sort_by_key(|entry| entry.key());
                prop_assert_eq!(all, expected);
            }
        }
    }
}
