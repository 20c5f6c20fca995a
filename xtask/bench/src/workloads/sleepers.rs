//! Many who sleep at once: what each costs, and how late they wake.

use std::time::{Duration, Instant};

use super::{Case, Kind, Workload, curve, in_task, lateness};
use crate::clock::processor_time;
use crate::figures::Sample;
use crate::runtime::Runtime;

pub(super) const NAME: &str = "sleepers";

pub(super) const WORKLOAD: Workload = Workload {
    name: NAME,
    about: "so many tasks sleep until moments spread over a second: processor time of each, all told, and how late they wake",
    kind: Kind::Process,
    cases: |effort| curve("tasks", effort, &[100_000, 1000, 10_000]),
};

/// Until all sleep nobody shall have to wake.
const HEAD_START: Duration = Duration::from_millis(300);

pub(super) fn measure<R: Runtime>(case: &Case) -> Vec<Sample> {
    let tasks = case.params.get("tasks");
    let own_time = || processor_time(std::process::id()).expect("this process has a clock");
    in_task::<R, _>(async move {
        let before = own_time();
        let start = Instant::now() + HEAD_START;
        let sleep_until = |number: u64| {
            // All over the second, in no order.
            let place = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 34;
            let due = start + Duration::from_nanos(place * 1_000_000_000 / (1 << 30));
            R::spawn(async move {
                R::sleep(due.saturating_duration_since(Instant::now())).await;
                Instant::now().saturating_duration_since(due)
            })
        };
        let mut late = Vec::with_capacity(tasks as usize);
        for task in (0..tasks).map(sleep_until).collect::<Vec<_>>() {
            late.push(task.await);
        }
        let used = own_time() - before;
        let mut samples = vec![Sample::new("cpu", "ns", used.as_nanos() as f64 / tasks as f64)];
        samples.extend(lateness(late));
        samples
    })
}
