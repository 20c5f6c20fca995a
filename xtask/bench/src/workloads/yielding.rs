//! Tasks that give way to each other.

use super::{Case, Kind, Workload, curve, in_task};
use crate::figures::Sample;
use crate::runtime::Runtime;

pub(super) const NAME: &str = "yield";

pub(super) const WORKLOAD: Workload = Workload {
    name: NAME,
    about: "so many tasks yield in turns: per yield (spawning them is part of it, at a hundredth)",
    kind: Kind::Process,
    cases: |effort| curve("tasks", effort, &[1000, 10_000, 100_000, 1_000_000]),
};

const YIELDS: u64 = 100;

pub(super) fn measure<R: Runtime>(case: &Case) -> Vec<Sample> {
    let tasks = case.params.get("tasks");
    in_task::<R, _>(case.clone().repeat(tasks * YIELDS, async move || {
        let yielding = |_| {
            R::spawn(async {
                for _ in 0..YIELDS {
                    R::yield_now().await;
                }
            })
        };
        for task in (0..tasks).map(yielding).collect::<Vec<_>>() {
            task.await;
        }
    }))
}
