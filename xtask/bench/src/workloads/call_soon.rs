//! Callbacks scheduled and run, a thousand at a time.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use super::{Case, Kind, Workload, one_case};
use crate::figures::Sample;
use crate::peers::{self, On};
use crate::statistics::median;

pub(super) const NAME: &str = "call_soon";

pub(super) const WORKLOAD: Workload = Workload {
    name: NAME,
    about: "a thousand callbacks are scheduled, then run: per callback (asyncio's; the peers have none)",
    kind: Kind::Process,
    cases: one_case,
};

const CALLBACKS: u64 = 1000;
const PASSES: u64 = 10;

pub(super) fn measure<B: On>(case: &Case) -> Vec<Sample> {
    let lp = peers::new_loop::<B>();
    let called = Rc::new(Cell::new(0));
    let mut times = Vec::new();
    let started = Instant::now();
    while times.len() < 3 || started.elapsed() < case.budget {
        called.set(0);
        let batch_started = Instant::now();
        for _ in 0..PASSES {
            for _ in 0..CALLBACKS {
                let called = Rc::clone(&called);
                lp.call_soon(move || called.set(called.get() + 1)).expect("the loop is open");
            }
            // Before it runs, this has it make one pass.
            lp.stop();
            lp.run_forever().expect("the loop is open");
        }
        times.push(batch_started.elapsed().as_nanos() as f64 / (PASSES * CALLBACKS) as f64);
        assert_eq!(called.get(), PASSES * CALLBACKS);
    }
    vec![Sample::nanoseconds(median(&times).expect("there are at least three"))]
}
