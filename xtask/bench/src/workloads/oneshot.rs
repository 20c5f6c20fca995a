//! Two tasks that answer each other through futures made for one value each.

use std::cell::RefCell;
use std::rc::Rc;

use super::{Case, Kind, Workload, in_task, one_case};
use crate::figures::Sample;
use crate::runtime::Runtime;

pub(super) const NAME: &str = "oneshot";

pub(super) const WORKLOAD: Workload = Workload {
    name: NAME,
    about: "two tasks answer each other, a new oneshot (or future) for each way: per round trip",
    kind: Kind::Process,
    cases: one_case,
};

const ROUND_TRIPS: u64 = 10_000;

/// A question on its way: whom to answer, and where the next question will come from.
struct Question<S, F> {
    answer: S,
    next: F,
}

pub(super) fn measure<R: Runtime>(case: &Case) -> Vec<Sample> {
    in_task::<R, _>(case.clone().repeat(ROUND_TRIPS, async || ask_and_answer::<R, _, _>(R::oneshot::<u64>).await))
}

/// One pair of types for all the oneshots, so that they are passed on as they are: boxes would cost as much again.
async fn ask_and_answer<R, S, F>(oneshot: impl Fn() -> (S, F))
where
    R: Runtime,
    S: FnOnce(u64) + 'static,
    F: Future<Output = u64> + 'static,
{
    let on_its_way = Rc::new(RefCell::new(None::<Question<S, F>>));
    let (mut ask, mut next) = oneshot();
    let answering = {
        let on_its_way = Rc::clone(&on_its_way);
        R::spawn(async move {
            for _ in 0..ROUND_TRIPS {
                let asked = next.await;
                let question = on_its_way.take().expect("it is put there before it is asked");
                next = question.next;
                (question.answer)(asked + 1);
            }
        })
    };
    for round_trip in 0..ROUND_TRIPS {
        let (answer, answered) = oneshot();
        let (ask_next, next) = oneshot();
        *on_its_way.borrow_mut() = Some(Question { answer, next });
        ask(round_trip);
        ask = ask_next;
        assert_eq!(answered.await, round_trip + 1);
    }
    answering.await;
}
