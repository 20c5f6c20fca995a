//! What tasks cost in memory while they wait: for nothing in particular, or for a time.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::{Case, Kind, Workload, in_task};
use crate::figures::Sample;
use crate::memory::own_memory;
use crate::params::Params;
use crate::plan::Effort;
use crate::runtime::Runtime;

pub(super) const NAME: &str = "memory_tasks";

pub(super) const WORKLOAD: Workload = Workload {
    name: NAME,
    about: "so many tasks wait, asleep or for nothing: the process's own memory per task, handles that await them included",
    kind: Kind::Process,
    cases: |effort| {
        let tasks: &[u64] = if effort == Effort::Full { &[10_000, 100_000, 1_000_000] } else { &[100_000] };
        let with = |&tasks: &u64| [0, 1].map(|asleep| Params::of(&[("tasks", tasks), ("asleep", asleep)]));
        tasks.iter().flat_map(with).collect()
    },
};

pub(super) fn measure<R: Runtime>(case: &Case) -> Vec<Sample> {
    let (tasks, asleep) = (case.params.get("tasks"), case.params.get("asleep") == 1);
    let own = || own_memory(std::process::id()).expect("this process has memory") as f64;
    in_task::<R, _>(async move {
        let (pending, sleeping) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let before = own();
        // Two kinds of futures, for one that might sleep is as large as one that does.
        let handles: (Vec<_>, Vec<_>) = if asleep {
            (Vec::new(), (0..tasks).map(|_| R::spawn(sleep::<R>(Rc::clone(&sleeping)))).collect())
        } else {
            ((0..tasks).map(|_| R::spawn(wait(Rc::clone(&pending)))).collect(), Vec::new())
        };
        while pending.get() + sleeping.get() < tasks {
            R::sleep(Duration::from_millis(1)).await;
        }
        // What it took to start them all at once is gone when the runtime has had nothing to do, if it ever goes.
        R::sleep(Duration::from_millis(1)).await;
        let after = own();
        // Nobody wakes any of them: the process ends without having them end.
        std::mem::forget(handles);
        vec![Sample::new("memory", "B", (after - before) / tasks as f64)]
    })
}

async fn wait(begun: Rc<Cell<u64>>) {
    begun.set(begun.get() + 1);
    drop(begun);
    poll_fn(|_| Poll::<()>::Pending).await;
}

async fn sleep<R: Runtime>(begun: Rc<Cell<u64>>) {
    begun.set(begun.get() + 1);
    drop(begun);
    R::sleep(Duration::from_secs(3600)).await;
}
