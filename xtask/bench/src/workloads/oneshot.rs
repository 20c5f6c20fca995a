//! Two tasks that answer each other through futures made for one value each.

use std::cell::RefCell;
use std::pin::Pin;
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
struct Question {
    answer: Box<dyn FnOnce(u64)>,
    next: Pin<Box<dyn Future<Output = u64>>>,
}

pub(super) fn measure<R: Runtime>(case: &Case) -> Vec<Sample> {
    in_task::<R, _>(case.clone().repeat(ROUND_TRIPS, async || {
        let on_its_way = Rc::new(RefCell::new(None::<Question>));
        let (ask, first) = R::oneshot::<u64>();
        let mut ask: Box<dyn FnOnce(u64)> = Box::new(ask);
        let answering = {
            let on_its_way = Rc::clone(&on_its_way);
            R::spawn(async move {
                let mut next: Pin<Box<dyn Future<Output = u64>>> = Box::pin(first);
                for _ in 0..ROUND_TRIPS {
                    let asked = next.await;
                    let question = on_its_way.take().expect("it is put there before it is asked");
                    next = question.next;
                    (question.answer)(asked + 1);
                }
            })
        };
        for round_trip in 0..ROUND_TRIPS {
            let (answer, answered) = R::oneshot::<u64>();
            let (ask_next, next) = R::oneshot::<u64>();
            *on_its_way.borrow_mut() = Some(Question { answer: Box::new(answer), next: Box::pin(next) });
            ask(round_trip);
            ask = Box::new(ask_next);
            assert_eq!(answered.await, round_trip + 1);
        }
        answering.await;
    }))
}
