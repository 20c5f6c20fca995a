//! Models of everything that can race on one concurrent future, explored by loom:
//! `RUSTFLAGS="--cfg loom" cargo test --release -p loop-core --lib loom`.
//!
//! loom also watches every access to the three cells, so a rule of the state word that let two threads
//! into one of them fails here even where the assertions would not notice.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize as Count;
use std::sync::atomic::Ordering::SeqCst;

use loom::thread;

use super::{ConcurrentFuture, Notify, WaitError};
use crate::{Job, TaskError};

/// Counts calls with std's atomics: they are what is observed, not what is modelled.
#[derive(Default)]
struct Counter(Count);

impl Counter {
    fn get(&self) -> usize {
        self.0.load(SeqCst)
    }
}

impl Notify for Counter {
    fn notify(&self, token: u64) {
        assert_eq!(token, 7);
        self.0.fetch_add(1, SeqCst);
    }
}

fn counter() -> Arc<Counter> {
    Arc::default()
}

#[test]
fn a_job_runs_or_is_cancelled_and_never_both() {
    loom::model(|| {
        let runs = counter();
        let (job, future) = Job::new({
            let runs = Arc::clone(&runs);
            move || runs.notify(7)
        });
        let runner = thread::spawn(move || job.run());
        let cancelled = future.cancel();
        runner.join().unwrap();
        assert!(future.done());
        assert_eq!(future.cancelled(), cancelled);
        assert_eq!(runs.get(), usize::from(!cancelled));
        assert_eq!(future.try_take().unwrap().is_ok(), !cancelled);
    });
}

#[test]
fn a_dropped_job_and_a_cancel_end_it_once() {
    loom::model(|| {
        let notified = counter();
        let (job, future) = Job::new(|| ());
        future.set_notifier(Arc::clone(&notified) as _, 7);
        let dropper = thread::spawn(move || drop(job));
        let cancelled = future.cancel();
        dropper.join().unwrap();
        assert_eq!(future.cancelled(), cancelled);
        assert_eq!(notified.get(), 1);
    });
}

#[test]
fn a_waiting_thread_wakes_with_the_value() {
    loom::model(|| {
        let (job, future) = Job::new(|| 5);
        let runner = thread::spawn(move || job.run());
        assert_eq!(future.result(None).unwrap(), 5);
        runner.join().unwrap();
    });
}

#[test]
fn a_waiting_thread_wakes_when_another_cancels() {
    loom::model(|| {
        let (completer, future) = ConcurrentFuture::<u32>::pair();
        let canceller = thread::spawn({
            let future = future.clone();
            move || assert!(future.cancel())
        });
        assert!(matches!(future.result(None), Err(WaitError::Task(TaskError::Cancelled(_)))));
        canceller.join().unwrap();
        assert!(!completer.complete(Ok(1)));
    });
}

#[test]
fn a_notifier_that_comes_while_the_job_ends_is_told_once() {
    loom::model(|| {
        let notified = counter();
        let (job, future) = Job::new(|| 5);
        let runner = thread::spawn(move || job.run());
        future.set_notifier(Arc::clone(&notified) as _, 7);
        runner.join().unwrap();
        assert_eq!(notified.get(), 1);
        assert_eq!(Arc::strong_count(&notified), 1, "and is let go of");
    });
}

#[test]
fn two_notifiers_at_once_are_both_told() {
    loom::model(|| {
        let notified = counter();
        let (job, future) = Job::new(|| 5);
        let other = thread::spawn({
            let (future, notified) = (future.clone(), Arc::clone(&notified));
            move || future.set_notifier(notified as _, 7)
        });
        let runner = thread::spawn(move || job.run());
        future.set_notifier(Arc::clone(&notified) as _, 7);
        other.join().unwrap();
        runner.join().unwrap();
        assert_eq!(notified.get(), 2);
    });
}

#[test]
fn notifier_cancel_and_run_meet() {
    loom::model(|| {
        let notified = counter();
        let (job, future) = Job::new(|| 5);
        let runner = thread::spawn(move || job.run());
        let canceller = thread::spawn({
            let future = future.clone();
            move || future.cancel()
        });
        future.set_notifier(Arc::clone(&notified) as _, 7);
        let cancelled = canceller.join().unwrap();
        runner.join().unwrap();
        assert_eq!(notified.get(), 1);
        assert_eq!(future.cancelled(), cancelled);
    });
}

#[test]
fn a_callback_that_comes_while_the_job_ends_is_called_once() {
    loom::model(|| {
        let called = counter();
        let (job, future) = Job::new(|| 5);
        let runner = thread::spawn(move || job.run());
        future.add_done_callback({
            let called = Arc::clone(&called);
            move |_| called.notify(7)
        });
        runner.join().unwrap();
        assert_eq!(called.get(), 1);
    });
}

#[test]
fn of_two_takers_one_has_the_value() {
    loom::model(|| {
        let (completer, future) = ConcurrentFuture::pair();
        let taker = thread::spawn({
            let future = future.clone();
            move || future.result(None).is_ok()
        });
        assert!(completer.complete(Ok(String::from("value"))));
        let mine = future.result(None).is_ok();
        assert!(mine ^ taker.join().unwrap());
    });
}

#[test]
fn an_error_is_read_by_all() {
    loom::model(|| {
        let (completer, future) = ConcurrentFuture::<u32>::pair();
        let reader = thread::spawn({
            let future = future.clone();
            move || future.exception(None).unwrap().is_some()
        });
        assert!(completer.complete(Err(TaskError::Abandoned)));
        assert!(matches!(future.try_take(), Some(Err(TaskError::Abandoned))));
        assert!(reader.join().unwrap());
    });
}

#[test]
fn a_hook_is_called_if_and_only_if_the_cancel_came_in_time() {
    loom::model(|| {
        let asked = counter();
        let (completer, future) = ConcurrentFuture::pair();
        let worker = thread::spawn({
            let asked = Arc::clone(&asked);
            move || {
                completer.on_cancel(move || asked.notify(7));
                let _ = completer.set_running_or_notify_cancel();
                completer.complete(Ok(5))
            }
        });
        let cancelled = future.cancel();
        let completed = worker.join().unwrap();
        assert!(completed ^ cancelled);
        assert_eq!(asked.get(), usize::from(cancelled));
        assert_eq!(future.cancelled(), cancelled);
    });
}
