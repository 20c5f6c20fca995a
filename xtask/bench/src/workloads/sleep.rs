//! One who sleeps: how late it wakes.

use std::time::{Duration, Instant};

use super::{Case, Kind, Workload, in_task, lateness};
use crate::figures::Sample;
use crate::params::Params;
use crate::plan::Effort;
use crate::runtime::Runtime;

pub(super) const NAME: &str = "sleep";

pub(super) const WORKLOAD: Workload = Workload {
    name: NAME,
    about: "one task sleeps for so many microseconds, again and again: how late it wakes",
    kind: Kind::Process,
    cases: |effort| {
        let micros: &[u64] = if effort == Effort::Full { &[50, 200, 1000, 10_000] } else { &[50, 1000] };
        micros.iter().map(|&micros| Params::of(&[("micros", micros)])).collect()
    },
};

pub(super) fn measure<R: Runtime>(case: &Case) -> Vec<Sample> {
    let duration = Duration::from_micros(case.params.get("micros"));
    let budget = case.budget;
    in_task::<R, _>(async move {
        let started = Instant::now();
        let mut late = Vec::new();
        while late.len() < 10 || started.elapsed() < budget {
            let asleep = Instant::now();
            R::sleep(duration).await;
            let slept = asleep.elapsed();
            late.push(slept.checked_sub(duration).expect("nobody wakes early"));
        }
        lateness(late)
    })
}
