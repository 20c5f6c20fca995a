//! Tasks started and awaited one by one.

use super::{Case, Kind, Workload, in_task, one_case};
use crate::figures::Sample;
use crate::runtime::Runtime;

pub(super) const NAME: &str = "spawn_join";

pub(super) const WORKLOAD: Workload = Workload {
    name: NAME,
    about: "a task that returns at once is spawned and awaited, one by one: per task",
    kind: Kind::Process,
    cases: one_case,
};

const TASKS: u64 = 10_000;

pub(super) fn measure<R: Runtime>(case: &Case) -> Vec<Sample> {
    in_task::<R, _>(case.clone().repeat(TASKS, async || {
        for task in 0..TASKS {
            assert_eq!(R::spawn(async move { task }).await, task);
        }
    }))
}
