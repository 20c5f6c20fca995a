//! Two tasks that wake each other in turns, through nothing but their wakers.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::{Case, Kind, Workload, in_task, one_case};
use crate::figures::Sample;
use crate::runtime::Runtime;

pub(super) const NAME: &str = "wake";

pub(super) const WORKLOAD: Workload = Workload {
    name: NAME,
    about: "two tasks wake each other in turns: per round trip",
    kind: Kind::Process,
    cases: one_case,
};

const ROUND_TRIPS: u64 = 10_000;

/// Whose turn it is, and who waits for it.
#[derive(Default)]
struct Turns {
    whose: Cell<usize>,
    waiting: [Cell<Option<Waker>>; 2],
}

impl Turns {
    /// Waits until it is this one's turn.
    fn wait(&self, who: usize) -> Turn<'_> {
        Turn { turns: self, who }
    }

    /// Gives the turn to this one.
    fn give(&self, who: usize) {
        self.whose.set(who);
        if let Some(waker) = self.waiting[who].take() {
            waker.wake();
        }
    }
}

struct Turn<'a> {
    turns: &'a Turns,
    who: usize,
}

impl Future for Turn<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.turns.whose.get() == self.who {
            return Poll::Ready(());
        }
        self.turns.waiting[self.who].set(Some(cx.waker().clone()));
        Poll::Pending
    }
}

pub(super) fn measure<R: Runtime>(case: &Case) -> Vec<Sample> {
    in_task::<R, _>(case.clone().repeat(ROUND_TRIPS, async || {
        let turns = Rc::new(Turns::default());
        let play = |who: usize| {
            let turns = Rc::clone(&turns);
            R::spawn(async move {
                for _ in 0..ROUND_TRIPS {
                    turns.wait(who).await;
                    turns.give(1 - who);
                }
            })
        };
        let (first, second) = (play(0), play(1));
        first.await;
        second.await;
    }))
}
