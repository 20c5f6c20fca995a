//! Bytes that a dropped receive had received: they are the socket's next ones.
//!
//! A receive that is dropped while it is under way may still have received something when its cancellation arrives. Until
//! then the socket's next receive must wait, or it would overtake those bytes.

use std::collections::HashMap;
use std::task::Waker;

use crate::fd::FdKey;

#[derive(Default)]
pub(crate) struct Stash {
    sockets: HashMap<FdKey, Left>,
}

#[derive(Default)]
struct Left {
    bytes: Vec<u8>,
    /// Dropped receives that are still under way.
    abandoned: u32,
    /// Who waits for them to end.
    waiting: Vec<Waker>,
}

impl Stash {
    /// A receive under way was dropped.
    pub(crate) fn abandon(&mut self, fd: FdKey) {
        self.sockets.entry(fd).or_default().abandoned += 1;
    }

    /// It ended, with these bytes. Whoever is to be woken comes back.
    pub(crate) fn landed(&mut self, fd: FdKey, bytes: &[u8]) -> Vec<Waker> {
        // Closed meanwhile: nobody can ask for the bytes.
        let Some(left) = self.sockets.get_mut(&fd) else { return Vec::new() };
        left.bytes.extend_from_slice(bytes);
        left.abandoned -= 1;
        if left.abandoned > 0 {
            return Vec::new();
        }
        let waiting = std::mem::take(&mut left.waiting);
        if left.bytes.is_empty() {
            self.sockets.remove(&fd);
        }
        waiting
    }

    /// A receive was dropped that had ended, with these bytes.
    pub(crate) fn put(&mut self, fd: FdKey, bytes: &[u8]) {
        self.sockets.entry(fd).or_default().bytes.extend_from_slice(bytes);
    }

    /// Whether a dropped receive is still under way.
    pub(crate) fn is_unsettled(&self, fd: FdKey) -> bool {
        self.sockets.get(&fd).is_some_and(|left| left.abandoned > 0)
    }

    /// Wakes this one when none is any more.
    pub(crate) fn wait(&mut self, fd: FdKey, waker: Waker) {
        if let Some(left) = self.sockets.get_mut(&fd) {
            left.waiting.push(waker);
        }
    }

    /// Whether there is anything of this socket's.
    pub(crate) fn has(&self, fd: FdKey) -> bool {
        !self.sockets.is_empty() && self.sockets.contains_key(&fd)
    }

    /// The first bytes, up to a limit.
    pub(crate) fn take(&mut self, fd: FdKey, limit: usize) -> Option<Vec<u8>> {
        if self.sockets.is_empty() || limit == 0 {
            return None;
        }
        let left = self.sockets.get_mut(&fd).filter(|left| !left.bytes.is_empty())?;
        let rest = left.bytes.split_off(limit.min(left.bytes.len()));
        let taken = std::mem::replace(&mut left.bytes, rest);
        if left.bytes.is_empty() && left.abandoned == 0 {
            self.sockets.remove(&fd);
        }
        Some(taken)
    }

    /// The socket is closed. Whoever waits comes back, to be woken: there is nothing to wait for any more.
    pub(crate) fn forget(&mut self, fd: FdKey) -> Vec<Waker> {
        if self.sockets.is_empty() {
            return Vec::new();
        }
        self.sockets.remove(&fd).map(|left| left.waiting).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FD: FdKey = FdKey::new(3, 0);

    #[test]
    fn bytes_come_back_in_order_and_in_pieces() {
        let mut stash = Stash::default();
        stash.put(FD, b"abc");
        stash.put(FD, b"de");
        assert_eq!(stash.take(FD, 2).as_deref(), Some(&b"ab"[..]));
        assert_eq!(stash.take(FD, 100).as_deref(), Some(&b"cde"[..]));
        assert_eq!(stash.take(FD, 100), None);
        assert!(!stash.has(FD), "nothing is kept of a socket that has nothing");
    }

    #[test]
    fn a_socket_is_unsettled_until_every_dropped_receive_has_ended() {
        let mut stash = Stash::default();
        stash.abandon(FD);
        stash.abandon(FD);
        stash.wait(FD, Waker::noop().clone());
        assert!(stash.landed(FD, b"").is_empty());
        assert!(stash.is_unsettled(FD));
        assert_eq!(stash.landed(FD, b"x").len(), 1);
        assert!(!stash.is_unsettled(FD) && stash.has(FD));
        assert_eq!(stash.take(FD, 9).as_deref(), Some(&b"x"[..]));
        assert!(!stash.has(FD));
    }

    #[test]
    fn a_close_wakes_whoever_waits() {
        let mut stash = Stash::default();
        stash.abandon(FD);
        stash.wait(FD, Waker::noop().clone());
        assert_eq!(stash.forget(FD).len(), 1);
        assert!(!stash.is_unsettled(FD));
    }

    #[test]
    fn what_lands_after_the_close_is_dropped() {
        let mut stash = Stash::default();
        stash.abandon(FD);
        stash.forget(FD);
        stash.landed(FD, b"late");
        assert!(!stash.has(FD));
    }
}
