//! A task that another thread wakes.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};
use std::{hint, thread};

use super::{Case, Kind, Workload};
use crate::figures::Sample;
use crate::machine;
use crate::params::Params;
use crate::runtime::Runtime;
use crate::statistics::median;

pub(super) const NAME: &str = "thread_wake";

pub(super) const WORKLOAD: Workload = Workload {
    name: NAME,
    about: "a task waits to be woken by a thread that pauses for so many microseconds before, or spins if for none: from \
            the wake to the task",
    kind: Kind::Threads,
    cases: |_| [0, 200].iter().map(|&pause| Params::of(&[("pause", pause)])).collect(),
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

    /// Rings it whenever somebody waits, until it is over.
    fn ring(&self, pause: Duration) {
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
            *lock(&self.rung) = Some(Instant::now());
            if let Some(waker) = waker {
                waker.wake();
            }
        }
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
            bell.ring(pause);
        })
    };
    let latencies = R::block_on(async {
        // A task of its own: what blocks on the runtime may be woken in another way.
        let bell = Arc::clone(&bell);
        let budget = case.budget;
        R::spawn(async move {
            let started = Instant::now();
            let mut latencies = Vec::new();
            while latencies.len() < 10 || started.elapsed() < budget {
                let rung = bell.wait().await;
                latencies.push(rung.elapsed().as_nanos() as f64);
            }
            latencies
        })
        .await
    });
    bell.over.store(true, Ordering::Release);
    ringer.join().expect("it does not panic");
    vec![Sample::nanoseconds(median(&latencies).expect("there are at least ten"))]
}
