//! One piece of work at a time on another thread.

use super::{Case, Kind, Workload, one_case};
use crate::figures::Sample;
use crate::runtime::Pool;

pub(super) const NAME: &str = "executor_round_trip";

pub(super) const WORKLOAD: Workload = Workload {
    name: NAME,
    about: "a function that returns at once is run on the pool and awaited, one by one: per function",
    kind: Kind::Threads,
    cases: one_case,
};

const ROUND_TRIPS: u64 = 1000;

pub(super) fn measure<P: Pool>(case: &Case) -> Vec<Sample> {
    P::block_on(case.clone().repeat(ROUND_TRIPS, async || {
        for number in 0..ROUND_TRIPS {
            assert_eq!(P::run(move || number).await, number);
        }
    }))
}
