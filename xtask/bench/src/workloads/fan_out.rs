//! Much work for other threads at once.

use super::{Case, Kind, Workload, one_case};
use crate::figures::Sample;
use crate::runtime::Pool;

pub(super) const NAME: &str = "executor_fan_out";

pub(super) const WORKLOAD: Workload = Workload {
    name: NAME,
    about: "100,000 functions that return at once are given to the pool, then all awaited: per function",
    kind: Kind::Threads,
    cases: one_case,
};

const FUNCTIONS: u64 = 100_000;

pub(super) fn measure<P: Pool>(case: &Case) -> Vec<Sample> {
    P::block_on(case.clone().repeat(FUNCTIONS, async || {
        let given: Vec<_> = (0..FUNCTIONS).map(|number| P::run(move || number)).collect();
        for (number, outcome) in (0..).zip(given) {
            assert_eq!(outcome.await, number);
        }
    }))
}
