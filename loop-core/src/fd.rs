//! Descriptors as the loop names them: a key with a generation, never a bare number.
//!
//! The kernel reuses descriptor numbers at once; a key is never reused, so an operation, an event or a
//! handle that is late can only miss, never hit a stranger. Backends hold the descriptors themselves, in
//! an [`FdTable`] of whatever they keep for each.

/// Names one open descriptor (or simulated socket) of one backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FdKey {
    index: u32,
    generation: u32,
}

impl FdKey {
    /// A key from its parts, for backends that keep a table of their own.
    #[must_use]
    pub const fn new(index: u32, generation: u32) -> Self {
        Self { index, generation }
    }

    /// The place in the backend's table; reused after a close.
    #[must_use]
    pub const fn index(self) -> u32 {
        self.index
    }

    /// How often the place has been used before.
    #[must_use]
    pub const fn generation(self) -> u32 {
        self.generation
    }
}

/// A slab with generations: what a backend keeps for each of its descriptors.
#[derive(Debug)]
pub struct FdTable<T> {
    entries: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Default for FdTable<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), free: Vec::new() }
    }
}

impl<T> FdTable<T> {
    /// Puts a value in and names it.
    pub fn insert(&mut self, value: T) -> FdKey {
        if let Some(index) = self.free.pop() {
            let entry = &mut self.entries[index as usize];
            entry.1 = Some(value);
            return FdKey::new(index, entry.0);
        }
        let index = u32::try_from(self.entries.len()).expect("fewer than 2^32 descriptors");
        self.entries.push((0, Some(value)));
        FdKey::new(index, 0)
    }

    /// The value, unless it was removed.
    #[must_use]
    pub fn get(&self, key: FdKey) -> Option<&T> {
        match self.entries.get(key.index as usize) {
            Some((generation, value)) if *generation == key.generation => value.as_ref(),
            _ => None,
        }
    }

    /// The value, unless it was removed.
    pub fn get_mut(&mut self, key: FdKey) -> Option<&mut T> {
        match self.entries.get_mut(key.index as usize) {
            Some((generation, value)) if *generation == key.generation => value.as_mut(),
            _ => None,
        }
    }

    /// The value at a place, whatever its generation, with its key: for events that carry only the place.
    pub fn at_mut(&mut self, index: u32) -> Option<(FdKey, &mut T)> {
        let (generation, value) = self.entries.get_mut(index as usize)?;
        Some((FdKey::new(index, *generation), value.as_mut()?))
    }

    /// Takes the value out; the key is dead from then on.
    pub fn remove(&mut self, key: FdKey) -> Option<T> {
        let entry = self.entries.get_mut(key.index as usize)?;
        if entry.0 != key.generation {
            return None;
        }
        let value = entry.1.take()?;
        // A place whose generations are used up is retired rather than wrapped.
        if let Some(next) = entry.0.checked_add(1) {
            entry.0 = next;
            self.free.push(key.index);
        }
        Some(value)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.iter().filter(|entry| entry.1.is_some()).count()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every value with its key.
    pub fn iter(&self) -> impl Iterator<Item = (FdKey, &T)> {
        self.entries.iter().enumerate().filter_map(|(index, (generation, value))| {
            value.as_ref().map(|value| (FdKey::new(index as u32, *generation), value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_never_names_a_later_tenant() {
        let mut table = FdTable::default();
        let first = table.insert("first");
        assert_eq!(table.remove(first), Some("first"));
        let second = table.insert("second");
        assert_eq!(first.index(), second.index());
        assert_eq!(table.get(first), None);
        assert_eq!(table.remove(first), None);
        assert_eq!(table.get(second), Some(&"second"));
    }
}
