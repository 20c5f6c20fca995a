//! What a writer knows of its connection: whether it is to pause, and whether the connection is lost.

use std::cell::{Cell, RefCell};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use loop_core::cancellation;

use crate::error::{Error, Result};

use super::failure::{connection_lost, repeat};
use super::wakers::{Place, Wakers};

#[derive(Default)]
pub(super) struct Outgoing {
    paused: Cell<bool>,
    /// How often writing was resumed: whoever waited since before that may go on, even if it is paused again.
    resumed: Cell<u32>,
    draining: Wakers,
    lost: RefCell<Option<Lost>>,
    closing: Wakers,
}

/// The connection is gone: by an error, or in order.
struct Lost(Option<Arc<io::Error>>);

impl Lost {
    fn outcome(&self) -> Result<()> {
        match &self.0 {
            Some(error) => Err(Error::Io(repeat(error))),
            None => Ok(()),
        }
    }
}

/// One wait for writing to be resumed.
#[derive(Default)]
pub(super) struct Drain {
    place: Place,
    /// The count of resumptions when it began to wait.
    since: Option<u32>,
}

impl Drain {
    /// Whether it has begun to wait.
    pub(super) fn waits(&self) -> bool {
        self.since.is_some()
    }
}

/// One wait for the connection to be lost.
#[derive(Default)]
pub(super) struct Closing {
    place: Place,
    suspended: bool,
}

impl Outgoing {
    pub(super) fn pause(&self) {
        self.paused.set(true);
    }

    pub(super) fn resume(&self) {
        self.paused.set(false);
        self.resumed.set(self.resumed.get().wrapping_add(1));
        self.draining.wake_all();
    }

    pub(super) fn lose(&self, error: Option<Arc<io::Error>>) {
        self.lost.replace(Some(Lost(error)));
        self.closing.wake_all();
        self.draining.wake_all();
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused.get()
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.borrow().is_some()
    }

    /// Waits while writing is paused.
    pub(super) fn poll_drain(&self, drain: &mut Drain, context: &mut Context<'_>) -> Poll<Result<()>> {
        let since = match drain.since {
            None => {
                if self.is_lost() {
                    return Poll::Ready(Err(connection_lost().into()));
                }
                if !self.paused.get() {
                    return Poll::Ready(Ok(()));
                }
                self.resumed.get()
            }
            Some(_) if cancellation::is_pending() => return cancellation::withhold(context),
            Some(since) => {
                let outcome = match &*self.lost.borrow() {
                    _ if since != self.resumed.get() => Some(Ok(())),
                    Some(lost) => Some(lost.outcome()),
                    None => None,
                };
                if let Some(outcome) = outcome {
                    self.stop_draining(drain);
                    return Poll::Ready(outcome);
                }
                since
            }
        };
        drain.since = Some(since);
        self.draining.wait(&mut drain.place, context.waker());
        Poll::Pending
    }

    pub(super) fn stop_draining(&self, drain: &mut Drain) {
        drain.since = None;
        self.draining.leave(&mut drain.place);
    }

    /// Waits for the end.
    pub(super) fn poll_closed(&self, closing: &mut Closing, context: &mut Context<'_>) -> Poll<Result<()>> {
        if closing.suspended && cancellation::is_pending() {
            return cancellation::withhold(context);
        }
        let outcome = self.lost.borrow().as_ref().map(Lost::outcome);
        match outcome {
            Some(outcome) => {
                self.stop_closing(closing);
                Poll::Ready(outcome)
            }
            None => {
                closing.suspended = true;
                self.closing.wait(&mut closing.place, context.waker());
                Poll::Pending
            }
        }
    }

    pub(super) fn stop_closing(&self, closing: &mut Closing) {
        closing.suspended = false;
        self.closing.leave(&mut closing.place);
    }
}
