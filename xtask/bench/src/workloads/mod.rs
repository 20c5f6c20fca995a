//! What is measured: one file per workload, each with what it is, its sizes, and how it is done by anyone.

use std::time::{Duration, Instant};

use crate::figures::{Sample, distribution};
use crate::params::Params;
use crate::peers;
use crate::plan::Effort;
use crate::runtime::{Pool, Runtime};
use crate::statistics::{median, percentile};

mod call_later;
mod call_soon;
mod fan_out;
mod memory_tasks;
mod oneshot;
mod round_trip;
mod sleep;
mod sleepers;
mod spawn_join;
mod spawn_many;
mod thread_wake;
mod timeout;
mod timers;
mod wake;
mod yielding;

/// A kind of work.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    /// What is done, and what of it is measured.
    pub(crate) about: &'static str,
    pub(crate) kind: Kind,
    /// The sizes it is measured at.
    pub(crate) cases: fn(Effort) -> Vec<Params>,
}

/// How a workload is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// In one process on one core: [`Measure`].
    Process,
    /// In one process, which has several threads and all cores: [`Measure`].
    Threads,
    /// As a server under load.
    Echo,
    /// As a server with idle connections.
    Idle,
}

/// Does a workload, and says what it came to.
pub(crate) type Measure = fn(&Case) -> Vec<Sample>;

/// What one measurement is given.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) params: Params,
    /// For how long it is to be repeated.
    pub(crate) budget: Duration,
}

/// Every workload, in the order in which they are measured and shown.
pub(crate) const ALL: &[Workload] = &[
    call_soon::WORKLOAD,
    spawn_join::WORKLOAD,
    spawn_many::WORKLOAD,
    yielding::WORKLOAD,
    wake::WORKLOAD,
    oneshot::WORKLOAD,
    timeout::WORKLOAD,
    timers::WORKLOAD,
    call_later::WORKLOAD,
    sleep::WORKLOAD,
    sleepers::WORKLOAD,
    thread_wake::WORKLOAD,
    round_trip::WORKLOAD,
    fan_out::WORKLOAD,
    memory_tasks::WORKLOAD,
    crate::idle::WORKLOAD,
    crate::echo::WORKLOAD,
];

/// How a runtime does the workload of this name.
pub(crate) fn tasks<R: Runtime>(workload: &str) -> Option<Measure> {
    Some(match workload {
        spawn_join::NAME => spawn_join::measure::<R>,
        spawn_many::NAME => spawn_many::measure::<R>,
        yielding::NAME => yielding::measure::<R>,
        wake::NAME => wake::measure::<R>,
        oneshot::NAME => oneshot::measure::<R>,
        timeout::NAME => timeout::measure::<R>,
        timers::NAME => timers::measure::<R>,
        sleep::NAME => sleep::measure::<R>,
        sleepers::NAME => sleepers::measure::<R>,
        memory_tasks::NAME => memory_tasks::measure::<R>,
        thread_wake::NAME => thread_wake::measure::<R>,
        _ => return None,
    })
}

/// How our loop does the workload of this name, where nobody else has the like.
pub(crate) fn callbacks<B: peers::On>(workload: &str) -> Option<Measure> {
    Some(match workload {
        call_soon::NAME => call_soon::measure::<B>,
        call_later::NAME => call_later::measure::<B>,
        _ => return None,
    })
}

/// How a pool does the workload of this name.
pub(crate) fn pool<P: Pool>(workload: &str) -> Option<Measure> {
    Some(match workload {
        round_trip::NAME => round_trip::measure::<P>,
        fan_out::NAME => fan_out::measure::<P>,
        _ => return None,
    })
}

impl Case {
    /// Repeats a batch of so many items until the time is up, and at least once after one that warms up. The median of
    /// the nanoseconds per item.
    async fn repeat(self, items: u64, batch: impl AsyncFn()) -> Vec<Sample> {
        batch().await;
        let mut times = Vec::new();
        let started = Instant::now();
        while times.is_empty() || started.elapsed() < self.budget {
            let batch_started = Instant::now();
            batch().await;
            times.push(batch_started.elapsed().as_nanos() as f64 / items as f64);
        }
        vec![Sample::nanoseconds(median(&times).expect("there is one at least"))]
    }
}

/// How late some were.
fn lateness(mut late: Vec<Duration>) -> Vec<Sample> {
    distribution("late", |share| percentile(&mut late, share).unwrap_or_default().as_nanos() as f64 / 1e3)
}

/// Runs a future as a task of the runtime, for what the runtime itself blocks on may be woken in another way.
fn in_task<R: Runtime, T: 'static>(future: impl Future<Output = T> + 'static) -> T {
    R::block_on(async { R::spawn(future).await })
}

/// No sizes to choose.
fn one_case(_: Effort) -> Vec<Params> {
    vec![Params::default()]
}

/// The sizes of a curve: the first alone, unless everything is asked for.
fn curve(name: &'static str, effort: Effort, sizes: &[u64]) -> Vec<Params> {
    let count = if effort == Effort::Full { sizes.len() } else { 1 };
    sizes[..count].iter().map(|&size| Params::of(&[(name, size)])).collect()
}
