//! A task that another thread wakes.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};
use std::{hint, thread};

use super::{Case, Kind, Workload, in_task};
use crate::figures::Sample;
use crate::machine;
use crate::params::Params;
use crate::runtime::Runtime;
use crate::statistics::median;

pub(super) const NAME: &str = "thread_wake";

pub(super) const WORKLOAD: Workload = Workload {
    name: NAME,
    about: "a task is woken by a thread, which pauses for so many microseconds before, or spins if for none, while the \
            loop is kept busy by another task, or not: from the wake to the task, and what it takes the thread",
    kind: Kind::Threads,
    cases: |_| {
        let cases = [(0, 1), (0, 0), (200, 0)];
        cases.iter().map(|&(pause, busy)| Params::of(&[("pause", pause), ("busy", busy)])).collect()
    },
};

/// Between the two threads.
#[derive(Default)]
struct Bell {
    /// Who waits, until it is rung.
    waiting: Mutex<Option<Waker>>,
    /// Whether somebody has come to wait: looked at without the lock.
    awaited: AtomicBool,
    rung: Mutex<Option<Instant>>,
    over: AtomicBool,
}

impl Bell {
    /// Waits for it to be rung; the moment when that was.
    async fn wait(&self) -> Instant {
        let mut waits = false;
        poll_fn(|cx| {
            if let Some(rung) = lock(&self.rung).take() {
                return Poll::Ready(rung);
            }
            if !waits {
                waits = true;
                *lock(&self.waiting) = Some(cx.waker().clone());
                self.awaited.store(true, Ordering::Release);
            }
            Poll::Pending
        })
        .await
    }

    /// Rings it whenever somebody waits, until it is over; the nanoseconds that each wake took here.
    fn ring(&self, pause: Duration) -> Vec<f64> {
        let mut wakes = Vec::new();
        while !self.over.load(Ordering::Acquire) {
            if !self.awaited.swap(false, Ordering::Acquire) {
                if pause.is_zero() {
                    hint::spin_loop();
                } else {
                    thread::yield_now();
                }
                continue;
            }
            if !pause.is_zero() {
                thread::sleep(pause);
            }
            let waker = lock(&self.waiting).take();
            let Some(waker) = waker else { continue };
            let rung = Instant::now();
            *lock(&self.rung) = Some(rung);
            waker.wake();
            wakes.push(rung.elapsed().as_nanos() as f64);
        }
        wakes
    }
}

fn lock<T>(mutex: &Mutex<T>) -> impl std::ops::DerefMut<Target = T> {
    // A value is replaced whole under it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn measure<R: Runtime>(case: &Case) -> Vec<Sample> {
    let bell = Arc::new(Bell::default());
    let pause = Duration::from_micros(case.params.get("pause"));
    let cores = machine::cores();
    let on = |core: Option<&usize>| core.map_or(Ok(()), |&core| machine::pin(core));
    on(cores.first()).expect("a core that is allowed");
    let last = cores.last().copied();
    let ringer = {
        let bell = Arc::clone(&bell);
        thread::spawn(move || {
            // Beside the loop, where there is a place for it.
            last.map_or(Ok(()), machine::pin).expect("a core that is allowed");
            bell.ring(pause)
        })
    };
    let (busy, budget) = (case.params.get("busy") == 1, case.budget);
    let latencies = in_task::<R, _>(async move {
        let started = Instant::now();
        let keeping_busy = Rc::new(Cell::new(busy));
        let other = {
            let keeping_busy = Rc::clone(&keeping_busy);
            R::spawn(async move {
                while keeping_busy.get() && started.elapsed() < budget {
                    R::yield_now().await;
                }
            })
        };
        let mut latencies = Vec::new();
        // Some runtimes hear of no wake while a task yields: then there is one, as late as that.
        while (latencies.len() < 10 && !busy) || started.elapsed() < budget {
            let rung = bell.wait().await;
            latencies.push(rung.elapsed().as_nanos() as f64);
        }
        bell.over.store(true, Ordering::Release);
        keeping_busy.set(false);
        other.await;
        latencies
    });
    let wakes = ringer.join().expect("it does not panic");
    let median = |values: &[f64]| median(values).expect("there is one at least");
    vec![Sample::nanoseconds(median(&latencies)), Sample::new("waker", "ns", median(&wakes))]
}
