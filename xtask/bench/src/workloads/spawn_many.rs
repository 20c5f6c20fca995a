//! Many tasks started, then all awaited.

use super::{Case, Kind, Workload, curve, in_task};
use crate::figures::Sample;
use crate::runtime::Runtime;

pub(super) const NAME: &str = "spawn_many";

pub(super) const WORKLOAD: Workload = Workload {
    name: NAME,
    about: "so many tasks that return at once are spawned, then all awaited: per task",
    kind: Kind::Process,
    cases: |effort| curve("tasks", effort, &[1000, 10_000, 100_000, 1_000_000]),
};

pub(super) fn measure<R: Runtime>(case: &Case) -> Vec<Sample> {
    let tasks = case.params.get("tasks");
    in_task::<R, _>(case.clone().repeat(tasks, async move || {
        let spawned: Vec<_> = (0..tasks).map(|task| R::spawn(async move { task })).collect();
        for (task, spawned) in (0..).zip(spawned) {
            assert_eq!(spawned.await, task);
        }
    }))
}
