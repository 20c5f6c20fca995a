//! The machine: its cores, its limits, and whether it stayed the same during a run.

use std::fmt;
use std::hint::black_box;
use std::time::Instant;

use rustix::process::{Resource, Signal, getppid, getrlimit, set_parent_process_death_signal, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores that this process may use, in order.
pub(crate) fn cores() -> Vec<usize> {
    let allowed = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
    (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect()
}

/// Keeps this process, and what it starts from now on, on one core.
pub(crate) fn pin(core: usize) -> Result<(), String> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).map_err(|error| format!("cannot be pinned to core {core}: {error}"))
}

/// Raises the number of files that may be open to what is allowed, and gives it.
pub(crate) fn raise_open_files() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where it cannot be raised, what there is counts.
    _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Has this process end with the one that started it, however that ends.
pub(crate) fn end_with_parent() -> Result<(), String> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| format!("cannot end with its parent: {error}"))
}

/// How fast the machine is right now: a fixed amount of arithmetic, and of system calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Speed {
    /// Nanoseconds of six operations that wait for each other.
    pub(crate) step: f64,
    /// Nanoseconds of a system call that does nothing.
    pub(crate) system_call: f64,
}

const STEPS: u32 = 1_000_000;
const CALLS: u32 = 10_000;

impl Speed {
    /// Takes some ten milliseconds.
    pub(crate) fn measure() -> Self {
        let best = |work: fn(), items: u32| {
            let timed = |_| {
                let started = Instant::now();
                work();
                started.elapsed()
            };
            (0..5).map(timed).min().unwrap_or_default().as_nanos() as f64 / f64::from(items)
        };
        Self { step: best(arithmetic, STEPS), system_call: best(system_calls, CALLS) }
    }

    /// By how many percent the slower of the two differs.
    pub(crate) fn drift(self, later: Self) -> f64 {
        let change = |before: f64, after: f64| (after / before - 1.0).abs();
        100.0 * change(self.step, later.step).max(change(self.system_call, later.system_call))
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ns a step of arithmetic, {:.0} ns a system call", self.step, self.system_call)
    }
}

fn arithmetic() {
    let mut state = black_box(1_u64);
    for _ in 0..STEPS {
        // No compiler knows how to do many of these at once.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    black_box(state);
}

fn system_calls() {
    for _ in 0..CALLS {
        black_box(getppid());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_is_the_greater_change_either_way() {
        let speed = |step, system_call| Speed { step, system_call };
        assert_eq!(speed(1.0, 100.0).drift(speed(1.0, 100.0)), 0.0);
        assert_eq!(speed(1.0, 100.0).drift(speed(1.25, 90.0)).round(), 25.0);
        assert_eq!(speed(1.0, 100.0).drift(speed(1.01, 70.0)).round(), 30.0);
    }

    #[test]
    fn there_is_a_core() {
        assert!(!cores().is_empty());
    }
}
