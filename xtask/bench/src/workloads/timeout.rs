//! A timeout around something that does not take long: set, never due, dropped.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use super::{Case, Kind, Workload, in_task, one_case};
use crate::figures::Sample;
use crate::runtime::Runtime;

pub(super) const NAME: &str = "timeout";

pub(super) const WORKLOAD: Workload = Workload {
    name: NAME,
    about: "a sleep of about a second is polled once and dropped; every 64th time the task yields: per sleep",
    kind: Kind::Process,
    cases: one_case,
};

const TIMEOUTS: u64 = 10_000;

/// Polls a future once, whatever comes of it.
pub(super) struct Once<'a, F>(pub(super) Pin<&'a mut F>);

impl<F: Future> Future for Once<'_, F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        assert!(self.0.as_mut().poll(cx).is_pending(), "it is not due for long");
        Poll::Ready(())
    }
}

/// Sets and drops so many timeouts.
pub(super) async fn set_and_drop<R: Runtime>(count: u64) {
    for number in 0..count {
        // Not all alike, as timeouts of one kind would be, and not sorted.
        let sleep = pin!(R::sleep(Duration::from_millis(1000 + number % 977)));
        Once(sleep).await;
        if number % 64 == 0 {
            R::yield_now().await;
        }
    }
}

pub(super) fn measure<R: Runtime>(case: &Case) -> Vec<Sample> {
    in_task::<R, _>(case.clone().repeat(TIMEOUTS, async || set_and_drop::<R>(TIMEOUTS).await))
}
