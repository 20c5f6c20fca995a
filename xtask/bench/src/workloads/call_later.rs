//! Timer callbacks set and cancelled while many others stand.

use std::time::Duration;

use super::{Case, Kind, Workload, timers};
use crate::figures::Sample;
use crate::peers::{On, Ours};
use crate::runtime::Runtime as _;

pub(super) const NAME: &str = "call_later";

pub(super) const WORKLOAD: Workload = Workload {
    name: NAME,
    about: "as `timers`, with call_later and cancel: per timer (asyncio's; the peers have none)",
    kind: Kind::Process,
    cases: timers::cases,
};

const TIMERS: u64 = 10_000;

pub(super) fn measure<B: On>(case: &Case) -> Vec<Sample> {
    Ours::<B>::block_on(async {
        let lp = loop_api::get_running_loop().expect("a loop runs here");
        let later = |delay| lp.call_later(delay, || ()).expect("the loop is open");
        let live = (0..case.params.get("live")).map(|number| later(Duration::from_secs(100 + number % 100)));
        let live: Vec<_> = live.collect();
        let figures = case
            .clone()
            .repeat(TIMERS, async || {
                for number in 0..TIMERS {
                    later(Duration::from_millis(1000 + number % 977)).cancel();
                    if number % 64 == 0 {
                        loop_api::yield_now().await;
                    }
                }
            })
            .await;
        for timer in live {
            timer.cancel();
        }
        figures
    })
}
