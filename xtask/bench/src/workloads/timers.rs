//! Timers set and cancelled while many others stand.

use std::time::Duration;

use super::timeout::{Once, set_and_drop};
use super::{Case, Kind, Workload, in_task};
use crate::figures::Sample;
use crate::params::Params;
use crate::plan::Effort;
use crate::runtime::Runtime;

pub(super) const NAME: &str = "timers";

pub(super) const WORKLOAD: Workload = Workload {
    name: NAME,
    about: "as `timeout`, while so many other sleeps stand: per sleep",
    kind: Kind::Process,
    cases,
};

const TIMEOUTS: u64 = 10_000;

pub(super) fn cases(effort: Effort) -> Vec<Params> {
    let live: &[u64] = match effort {
        Effort::Quick => &[10_000],
        Effort::Default => &[10_000, 1_000_000],
        Effort::Full => &[1000, 10_000, 100_000, 1_000_000],
    };
    live.iter().map(|&live| Params::of(&[("live", live)])).collect()
}

pub(super) fn measure<R: Runtime>(case: &Case) -> Vec<Sample> {
    let case = case.clone();
    in_task::<R, _>(async move {
        let mut live = Vec::new();
        for number in 0..case.params.get("live") {
            let mut sleep = Box::pin(R::sleep(Duration::from_secs(100 + number % 100)));
            Once(sleep.as_mut()).await;
            live.push(sleep);
        }
        R::yield_now().await;
        case.repeat(TIMEOUTS, async || set_and_drop::<R>(TIMEOUTS).await).await
    })
}
