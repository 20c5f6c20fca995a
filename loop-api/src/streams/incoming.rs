//! The state of a reader: what those who feed it and those who read from it share.
//!
//! Nothing is borrowed while somebody is woken or the transport is told to pause or to go on: either may lead back here.

use std::cell::{RefCell, RefMut};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use loop_core::{Error as LoopError, Transport, cancellation};

use crate::error::{Error, Result};

use super::buffer::Buffer;
use super::failure::repeat;

/// What feeds a [`StreamReader`](super::StreamReader), and can be told to stop for a while (asyncio: `ReadTransport`).
pub trait ReadTransport {
    /// Stops delivering data.
    ///
    /// # Errors
    ///
    /// Where that cannot be done. The reader does not ask again then, and keeps everything it is given.
    fn pause_reading(&self) -> loop_core::Result<()>;

    /// Delivers data again.
    fn resume_reading(&self);
}

impl ReadTransport for Transport {
    fn pause_reading(&self) -> loop_core::Result<()> {
        Self::pause_reading(self);
        Ok(())
    }

    fn resume_reading(&self) {
        Self::resume_reading(self);
    }
}

#[derive(Clone, Default)]
pub(super) enum Source {
    #[default]
    None,
    Transport(Transport),
    Other(Box<Rc<dyn ReadTransport>>),
}

impl Source {
    fn pause(&self) -> bool {
        match self {
            Self::None => false,
            Self::Transport(transport) => ReadTransport::pause_reading(transport).is_ok(),
            Self::Other(transport) => transport.pause_reading().is_ok(),
        }
    }

    /// Has what was left with the transport delivered: now, or from the loop.
    fn deliver(&self, now: bool) {
        match self {
            Self::Transport(transport) if now => transport.deliver_now(),
            Self::Transport(transport) => transport.deliver_soon(),
            Self::None | Self::Other(_) => {}
        }
    }

    /// Receives what was left with the transport where the reader wants it; nothing where that cannot be done.
    fn receive(&self, place: &mut [u8]) -> usize {
        match self {
            Self::Transport(transport) => transport.receive_now(place),
            Self::None | Self::Other(_) => 0,
        }
    }

    fn resume(&self) {
        match self {
            Self::None => {}
            Self::Transport(transport) => transport.resume_reading(),
            Self::Other(transport) => transport.resume_reading(),
        }
    }
}

/// The one read that may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Waiting {
    #[default]
    Nobody,
    /// Until there are so many bytes.
    For(usize),
    /// It was woken by data, or by the end, and did not look yet: an error that comes after that is the next read's.
    Woken,
}

/// What a read came to.
pub(super) enum Step<T> {
    Done(Result<T>),
    /// It goes on when there are so many bytes.
    Need(usize),
}

/// Whether a read comes for what there is to receive.
pub(super) enum Offer {
    Refused,
    Taken,
    /// It may be gone by then without a word, as polls of `futures-io` may.
    Perhaps,
}

#[derive(Default)]
pub(super) struct Incoming(RefCell<State>);

#[derive(Default)]
pub(super) struct State {
    pub(super) buffer: Buffer,
    /// Bytes of which the reader lent a view; they come before those in the buffer.
    pub(super) lent: usize,
    pub(super) limit: usize,
    pub(super) eof: bool,
    /// The transport was told to pause.
    paused: bool,
    /// The reader is gone: bytes are dropped.
    deaf: bool,
    waiting: Waiting,
    /// There is something to receive, which was left with the transport for the read that was woken by it.
    left: bool,
    /// The read that waits does not say when it is given up.
    forgetful: bool,
    /// Of the task that read last, kept for its next wait.
    waker: Option<Waker>,
    error: Option<Arc<io::Error>>,
    source: Source,
}

impl State {
    pub(super) fn len(&self) -> usize {
        self.lent + self.buffer.len()
    }

    fn refuse(&self) -> Result<()> {
        match &self.error {
            Some(error) => Err(Error::Io(repeat(error))),
            None => Ok(()),
        }
    }
}

impl Incoming {
    pub(super) fn new(limit: usize) -> Self {
        Self(RefCell::new(State { limit, ..State::default() }))
    }

    pub(super) fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.0.borrow_mut())
    }

    // ---- feeding ---------------------------------------------------------------------------------------------

    pub(super) fn set_source(&self, source: Source) -> loop_core::Result<()> {
        let mut state = self.0.borrow_mut();
        if !matches!(state.source, Source::None) {
            return Err(LoopError::InvalidState("the reader has a transport already"));
        }
        state.source = source;
        Ok(())
    }

    /// The transport is gone, or is not to be kept any longer.
    pub(super) fn forget_source(&self) {
        let source = self.with(|state| std::mem::take(&mut state.source));
        drop(source);
    }

    pub(super) fn feed(&self, data: &[u8]) -> loop_core::Result<()> {
        let mut state = self.0.borrow_mut();
        if state.eof {
            return Err(LoopError::InvalidState("feed_data after feed_eof"));
        }
        if data.is_empty() || state.deaf {
            return Ok(());
        }
        state.buffer.append(data);
        let len = state.len();
        let wakes = match state.waiting {
            // A read that needs more than there is, is not cut off from it.
            Waiting::For(need) if len < need => return Ok(()),
            Waiting::For(_) => true,
            Waiting::Nobody | Waiting::Woken => false,
        };
        let pauses = !state.paused && len > state.limit.saturating_mul(2);
        if wakes {
            self.wake(state, Waiting::Woken);
        } else {
            drop(state);
        }
        if pauses {
            self.pause();
        }
        Ok(())
    }

    /// There is something to receive, and a read that waits is told, so that it fetches that itself: received right
    /// before they are used, bytes are still in the cache, in one buffer that all readers have in turn.
    pub(super) fn offer(&self) -> Offer {
        let mut state = self.0.borrow_mut();
        let len = state.len();
        if !matches!(state.waiting, Waiting::For(need) if need == len + 1) {
            // Nobody waits, or for much more, which is to pile up without waking anybody.
            return Offer::Refused;
        }
        state.left = true;
        let taken = if state.forgetful { Offer::Perhaps } else { Offer::Taken };
        self.wake(state, Waiting::Woken);
        taken
    }

    /// What was left for a read that did not come back for it is delivered all the same.
    pub(super) fn deliver_left(&self) {
        let source =
            self.with(|state| if std::mem::take(&mut state.left) { state.source.clone() } else { Source::None });
        source.deliver(true);
    }

    #[cold]
    fn pause(&self) {
        let source = self.with(|state| {
            state.paused = !matches!(state.source, Source::None);
            state.source.clone()
        });
        if !source.pause() {
            self.with(|state| state.paused = false);
            self.forget_source();
        }
    }

    pub(super) fn feed_eof(&self) {
        let mut state = self.0.borrow_mut();
        state.eof = true;
        if matches!(state.waiting, Waiting::For(_)) {
            self.wake(state, Waiting::Woken);
        }
    }

    pub(super) fn fail(&self, error: Arc<io::Error>) {
        let mut state = self.0.borrow_mut();
        state.error = Some(error);
        if matches!(state.waiting, Waiting::For(_)) {
            self.wake(state, Waiting::Nobody);
        }
    }

    pub(super) fn exception(&self) -> Option<io::Error> {
        self.0.borrow().error.as_ref().map(repeat)
    }

    pub(super) fn refuse(&self) -> Result<()> {
        self.0.borrow().refuse()
    }

    /// Wakes the read that waits, and keeps its waker, as the next one is most likely the same task's.
    fn wake(&self, mut state: RefMut<'_, State>, waiting: Waiting) {
        state.waiting = waiting;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake_by_ref();
            let mut state = self.0.borrow_mut();
            if state.waker.is_none() && !state.deaf {
                state.waker = Some(waker);
            }
        }
    }

    // ---- reading ---------------------------------------------------------------------------------------------

    /// One attempt of a read, and if it has to wait, the wait. `suspended` is the read's own memory of having waited.
    pub(super) fn poll_read<T>(
        &self,
        context: &mut Context<'_>,
        suspended: &mut bool,
        mut attempt: impl FnMut(&mut State) -> Step<T>,
    ) -> Poll<Result<T>> {
        if *suspended && cancellation::is_pending() {
            return cancellation::withhold(context);
        }
        let mut state = self.0.borrow_mut();
        let owed = *suspended && state.waiting == Waiting::Woken;
        state.waiting = Waiting::Nobody;
        if std::mem::take(&mut state.left) {
            let source = state.source.clone();
            drop(state);
            source.deliver(true);
            state = self.0.borrow_mut();
        }
        *suspended = false;
        if !owed {
            state.refuse()?;
        }
        let need = match attempt(&mut state) {
            Step::Done(outcome) => {
                let resumes = state.paused && state.len() <= state.limit;
                if resumes {
                    self.resume(state);
                }
                return Poll::Ready(outcome);
            }
            Step::Need(need) => need,
        };
        state.refuse()?;
        *suspended = true;
        state.waiting = Waiting::For(need);
        state.forgetful = false;
        let old = match &state.waker {
            Some(waker) if waker.will_wake(context.waker()) => None,
            _ => state.waker.replace(context.waker().clone()),
        };
        if state.paused {
            // To wait while the transport waits would be to wait for ever.
            self.resume(state);
        } else {
            drop(state);
        }
        drop(old);
        Poll::Pending
    }

    /// A read into memory of the caller's: received straight into it, where that can be.
    pub(super) fn poll_read_into(
        &self,
        context: &mut Context<'_>,
        suspended: &mut bool,
        place: &mut [u8],
    ) -> Poll<Result<usize>> {
        if *suspended && cancellation::is_pending() {
            return cancellation::withhold(context);
        }
        let count = self.receive_left(place);
        if count > 0 {
            *suspended = false;
            return Poll::Ready(Ok(count));
        }
        self.poll_read(context, suspended, |state| {
            if state.buffer.is_empty() && !state.eof && !place.is_empty() {
                return Step::Need(1);
            }
            Step::Done(Ok(state.buffer.copy_to(place)))
        })
    }

    fn receive_left(&self, place: &mut [u8]) -> usize {
        let state = self.0.borrow();
        if !state.left || state.len() > 0 || state.waiting != Waiting::Woken {
            return 0;
        }
        let source = state.source.clone();
        drop(state);
        let count = source.receive(place);
        if count > 0 {
            self.with(|state| {
                state.left = false;
                state.waiting = Waiting::Nobody;
            });
        }
        count
    }

    /// For reads that keep no memory of their own between polls.
    pub(super) fn poll_forgetfully<T>(
        &self,
        poll: impl FnOnce(&Self, &mut bool) -> Poll<Result<T>>,
    ) -> Poll<Result<T>> {
        let mut suspended = self.with(|state| state.waiting != Waiting::Nobody);
        let outcome = poll(self, &mut suspended);
        if suspended {
            self.with(|state| state.forgetful = true);
        }
        outcome
    }

    #[cold]
    fn resume(&self, mut state: RefMut<'_, State>) {
        state.paused = false;
        let source = state.source.clone();
        drop(state);
        source.resume();
    }

    /// Lets the transport go on if few enough bytes are left.
    pub(super) fn resume_if_low(&self) {
        let state = self.0.borrow_mut();
        if state.paused && state.len() <= state.limit {
            self.resume(state);
        }
    }

    /// A read that waited was given up.
    pub(super) fn stop_waiting(&self) {
        let mut state = self.0.borrow_mut();
        state.waiting = Waiting::Nobody;
        let waker = state.waker.take();
        let source = if std::mem::take(&mut state.left) { state.source.clone() } else { Source::None };
        drop(state);
        drop(waker);
        source.deliver(false);
    }

    /// The reader is gone. What comes is dropped from now on; that the connection ends is still noticed, so a paused
    /// transport goes on.
    pub(super) fn abandon(&self) {
        let mut state = self.0.borrow_mut();
        state.deaf = true;
        state.waiting = Waiting::Nobody;
        state.buffer.clear();
        state.lent = 0;
        let (waker, paused) = (state.waker.take(), std::mem::take(&mut state.paused));
        let left = std::mem::take(&mut state.left);
        let source = std::mem::take(&mut state.source);
        drop(state);
        drop(waker);
        if paused {
            source.resume();
        }
        if left {
            source.deliver(false);
        }
    }

    /// What it is like, for `Debug`.
    pub(super) fn describe(&self) -> String {
        use std::fmt::Write as _;
        let Ok(state) = self.0.try_borrow() else { return String::from(" in use") };
        let mut text = String::new();
        if state.len() > 0 {
            let _ = write!(text, " {} bytes", state.len());
        }
        if state.eof {
            text.push_str(" eof");
        }
        if state.limit != super::DEFAULT_LIMIT {
            let _ = write!(text, " limit={}", state.limit);
        }
        if matches!(state.waiting, Waiting::For(_)) {
            text.push_str(" waiting");
        }
        if let Some(error) = &state.error {
            let _ = write!(text, " exception={error}");
        }
        if state.paused {
            text.push_str(" paused");
        }
        text
    }
}
