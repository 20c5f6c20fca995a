//! One entry per descriptor, and its one registration with mio.
//!
//! Invariants:
//!
//! * an event carries the entry's key, generation included, as its token, so an event of a descriptor that was
//!   closed meanwhile (or lives on only as somebody's duplicate) misses, whoever has its number by now;
//! * a number names at most one entry: the one that has it now;
//! * a descriptor is registered before an operation waits on it, one of ours for good and for both directions,
//!   a foreign one for what is waited for (see `watch`);
//! * a descriptor of ours is not deregistered before its close: closing does that, and where a duplicate keeps
//!   the registration alive, its edges miss. (Edges, so they cannot make `poll` spin.)

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use loop_core::{FdKey, FdTable, Interest};
use mio::unix::SourceFd;
use mio::{Registry, Token};

use crate::readiness::{Kind, Ready};
use crate::waiting::{Line, Queue};

const _: () = assert!(usize::BITS == 64, "tokens hold a key of 64 bits");

/// No entry.
const NONE: u32 = u32::MAX;

/// Priority too: an urgent mark ends reads early, and only this tells (see `readiness`).
const BOTH: mio::Interest = mio::Interest::READABLE.add(mio::Interest::WRITABLE).add(mio::Interest::PRIORITY);

/// The key as epoll carries it.
pub(crate) const fn token(key: FdKey) -> Token {
    Token((key.generation() as usize) << 32 | key.index() as usize)
}

/// Back from the token.
pub(crate) const fn key(token: u64) -> FdKey {
    FdKey::new(token as u32, (token >> 32) as u32)
}

/// What an entry stands for.
#[derive(Debug)]
pub(crate) enum Descriptor {
    /// One of ours: closed with the entry.
    Owned(OwnedFd),
    /// One that a user watches.
    Foreign(RawFd),
    /// A foreign one whose number was closed under its watchers: they stay, silent, until cancelled.
    Gone,
}

/// What is kept for each descriptor.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) descriptor: Descriptor,
    registered: bool,
    /// A foreign one's last event found nobody waiting.
    pub(crate) deserted: bool,
    pub(crate) ready: Ready,
    transfers: [Queue; 2],
    watchers: [Queue; 2],
}

impl Entry {
    fn new(descriptor: Descriptor, kind: Kind) -> Self {
        Self {
            descriptor,
            registered: false,
            deserted: false,
            ready: Ready::unknown(kind),
            transfers: [Queue::new(), Queue::new()],
            watchers: [Queue::new(), Queue::new()],
        }
    }

    /// Our own descriptor, with what is known of it.
    pub(crate) fn owned(&mut self) -> Option<(BorrowedFd<'_>, &mut Ready)> {
        match &self.descriptor {
            Descriptor::Owned(fd) => Some((fd.as_fd(), &mut self.ready)),
            Descriptor::Foreign(_) | Descriptor::Gone => None,
        }
    }

    pub(crate) fn number(&self) -> Option<RawFd> {
        match &self.descriptor {
            Descriptor::Owned(fd) => Some(fd.as_raw_fd()),
            Descriptor::Foreign(number) => Some(*number),
            Descriptor::Gone => None,
        }
    }

    pub(crate) const fn is_owned(&self) -> bool {
        matches!(self.descriptor, Descriptor::Owned(_))
    }

    pub(crate) const fn is_registered(&self) -> bool {
        self.registered
    }

    /// Whether to try the system call. Of an unregistered descriptor nothing lasting is known.
    pub(crate) const fn may(&self, interest: Interest) -> bool {
        self.ready.may(interest) || !self.registered
    }

    pub(crate) const fn line(&self, line: Line) -> &Queue {
        match line {
            Line::Transfer(interest) => &self.transfers[interest as usize],
            Line::Watch(interest) => &self.watchers[interest as usize],
        }
    }

    pub(crate) const fn line_mut(&mut self, line: Line) -> &mut Queue {
        match line {
            Line::Transfer(interest) => &mut self.transfers[interest as usize],
            Line::Watch(interest) => &mut self.watchers[interest as usize],
        }
    }

    /// Whether nobody waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.transfers.iter().chain(&self.watchers).all(Queue::is_empty)
    }
}

/// Every descriptor of a backend.
#[derive(Debug, Default)]
pub(crate) struct Descriptors {
    table: FdTable<Entry>,
    /// The entry's place by the descriptor's number.
    numbers: Vec<u32>,
}

impl Descriptors {
    /// Takes in a descriptor of our own.
    pub(crate) fn insert_owned(&mut self, fd: OwnedFd, kind: Kind) -> FdKey {
        let number = fd.as_raw_fd();
        self.insert(Entry::new(Descriptor::Owned(fd), kind), number)
    }

    /// Takes note of a number that a user watches.
    pub(crate) fn insert_foreign(&mut self, number: RawFd) -> FdKey {
        self.insert(Entry::new(Descriptor::Foreign(number), Kind::Unknown), number)
    }

    fn insert(&mut self, entry: Entry, number: RawFd) -> FdKey {
        // Somebody who still has the number must have closed it, or given it to us.
        if let Some((former, _)) = self.by_number(number) {
            self.abandon(former);
        }
        let key = self.table.insert(entry);
        let place = number as usize;
        if place >= self.numbers.len() {
            self.numbers.resize(place + 1, NONE);
        }
        self.numbers[place] = key.index();
        key
    }

    pub(crate) fn get(&self, key: FdKey) -> Option<&Entry> {
        self.table.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: FdKey) -> Option<&mut Entry> {
        self.table.get_mut(key)
    }

    /// One of our own, by its key. Keys of foreign entries are never handed out.
    pub(crate) fn owned_mut(&mut self, key: FdKey) -> io::Result<&mut Entry> {
        self.table.get_mut(key).filter(|entry| entry.is_owned()).ok_or_else(unknown)
    }

    /// Whoever has the number now.
    pub(crate) fn by_number(&mut self, number: RawFd) -> Option<(FdKey, &mut Entry)> {
        let place = usize::try_from(number).ok()?;
        match *self.numbers.get(place)? {
            NONE => None,
            index => self.table.at_mut(index),
        }
    }

    /// Takes an entry out; its key, and every event still to come for it, is dead from then on.
    pub(crate) fn remove(&mut self, key: FdKey) -> Option<Entry> {
        let entry = self.table.remove(key)?;
        if let Some(number) = entry.number() {
            self.numbers[number as usize] = NONE;
        }
        Some(entry)
    }

    /// A foreign number turned out not to be what it was. Its watchers, if any, wait in silence from now on.
    pub(crate) fn abandon(&mut self, key: FdKey) {
        let Some(entry) = self.table.get_mut(key) else { return };
        debug_assert!(!entry.is_owned(), "a number of ours is not reused before we close it");
        if entry.is_idle() {
            self.remove(key);
        } else if let Some(number) = entry.number() {
            entry.descriptor = Descriptor::Gone;
            self.numbers[number as usize] = NONE;
        }
    }

    /// Registers a descriptor, unless it is. What is ready by then is reported by the next poll.
    pub(crate) fn register(&mut self, registry: &Registry, key: FdKey) -> io::Result<()> {
        let entry = self.table.get_mut(key).ok_or_else(unknown)?;
        if !entry.registered {
            let number = entry.number().ok_or_else(unknown)?;
            enter(registry, number, key, BOTH)?;
            entry.registered = true;
        }
        Ok(())
    }

    /// Registers a foreign descriptor, or renews its registration: for `interest` and whatever else is waited
    /// for. [`io::ErrorKind::NotFound`] says that the number has come to stand for another open file.
    pub(crate) fn register_foreign(&mut self, registry: &Registry, key: FdKey, interest: Interest) -> io::Result<()> {
        let entry = self.table.get_mut(key).ok_or_else(unknown)?;
        let number = entry.number().ok_or_else(unknown)?;
        let reads = interest == Interest::Read || !entry.line(Line::Watch(Interest::Read)).is_empty();
        let writes = interest == Interest::Write || !entry.line(Line::Watch(Interest::Write)).is_empty();
        let wanted = match (reads, writes) {
            (true, true) => mio::Interest::READABLE.add(mio::Interest::WRITABLE),
            (true, false) => mio::Interest::READABLE,
            (false, _) => mio::Interest::WRITABLE,
        };
        if entry.registered {
            registry.reregister(&mut SourceFd(&number), token(key), wanted)?;
        } else {
            enter(registry, number, key, wanted)?;
            entry.registered = true;
        }
        entry.deserted = false;
        Ok(())
    }

    /// Ends a registration. That there is none any more is no concern: then the number was closed.
    pub(crate) fn deregister(&mut self, registry: &Registry, key: FdKey) {
        if let Some(entry) = self.table.get_mut(key)
            && let Some(number) = entry.number()
            && std::mem::take(&mut entry.registered)
        {
            let _ = registry.deregister(&mut SourceFd(&number));
        }
    }
}

/// A number's first registration, as far as its entry knows: it may have been watched as a foreign one before we
/// owned it, or owned before it was watched.
fn enter(registry: &Registry, number: RawFd, key: FdKey, wanted: mio::Interest) -> io::Result<()> {
    let source = &mut SourceFd(&number);
    match registry.register(source, token(key), wanted) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => registry.reregister(source, token(key), wanted),
        result => result,
    }
}

/// The answer to an unknown key.
pub(crate) fn unknown() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the descriptor is closed, or was never this backend's")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_key() {
        for it in [FdKey::new(0, 0), FdKey::new(7, 9), FdKey::new(u32::MAX, u32::MAX)] {
            assert_eq!(key(token(it).0 as u64), it);
        }
    }

    #[test]
    fn a_number_names_who_has_it_now() {
        let mut descriptors = Descriptors::default();
        let watched = descriptors.insert_foreign(5);
        let ours = descriptors.insert_foreign(5);
        assert!(descriptors.get(watched).is_none(), "nobody waited on it");
        assert_eq!(descriptors.by_number(5).map(|(key, _)| key), Some(ours));
        assert!(descriptors.by_number(4).is_none() && descriptors.by_number(-1).is_none());
        descriptors.remove(ours);
        assert!(descriptors.by_number(5).is_none());
    }
}
