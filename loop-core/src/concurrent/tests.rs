//! What one thread can show of a concurrent future; the races are in `loom`.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use static_assertions::{assert_impl_all, assert_not_impl_any};

use super::*;
use crate::{Cancelled, Job};

assert_impl_all!(ConcurrentFuture<std::cell::Cell<u8>>: Send, Sync, Clone);
assert_not_impl_any!(ConcurrentFuture<std::rc::Rc<u8>>: Send, Sync);
assert_impl_all!(Completer<std::cell::Cell<u8>>: Send, Sync);
assert_impl_all!(Job: Send, Sync);

#[derive(Default)]
struct Tokens(parking_lot::Mutex<Vec<u64>>);

impl Notify for Tokens {
    fn notify(&self, token: u64) {
        self.0.lock().push(token);
    }
}

/// Counts its drops.
#[derive(Clone, Default)]
struct Droppable(Arc<AtomicUsize>);

impl Drop for Droppable {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("in a destructor");
    }
}

#[test]
fn a_job_runs_through_its_states() {
    let (states, seen) = mpsc::channel();
    let (job, future) = Job::new({
        let states = states.clone();
        move || states.send("runs").unwrap()
    });
    assert!(!future.done() && !future.running() && !future.cancelled());
    future.add_done_callback(move |future| {
        assert!(future.done() && !future.running());
        states.send("done").unwrap();
    });
    job.run();
    assert_eq!(seen.iter().collect::<Vec<_>>(), ["runs", "done"]);
    assert!(!future.cancel(), "too late");
    assert!(matches!(future.exception(None), Ok(None)));
    assert!(future.result(None).is_ok());
    assert!(matches!(future.result(None), Err(WaitError::Task(TaskError::Taken))));
    assert!(matches!(future.exception(None), Ok(None)), "it still ended with a value");
}

#[test]
fn running_is_seen_from_inside_and_cannot_be_cancelled() {
    let (sender, receiver) = mpsc::channel::<ConcurrentFuture<bool>>();
    let (job, future) = Job::new(move || {
        let own = receiver.recv().unwrap();
        own.running() && !own.cancel()
    });
    sender.send(future.clone()).unwrap();
    job.run();
    assert!(future.result(None).unwrap());
}

#[test]
fn cancelling_a_queued_job_drops_its_closure_at_once() {
    let dropped = Droppable::default();
    let count = Arc::clone(&dropped.0);
    let (job, future) = Job::new(move || drop(dropped));
    assert!(!job.is_cancelled());
    assert!(future.cancel());
    assert_eq!(count.load(SeqCst), 1);
    assert!(job.is_cancelled() && future.cancelled());
    assert!(future.cancel(), "it is cancelled still");
    job.run();
    assert!(matches!(future.result(None), Err(WaitError::Task(TaskError::Cancelled(_)))));
    assert!(matches!(future.exception(None), Err(WaitError::Task(TaskError::Cancelled(_)))));
}

#[test]
fn a_job_that_does_not_run_says_why() {
    let (job, future) = Job::new(|| ());
    job.cancel();
    assert!(future.cancelled());
    let (job, future) = Job::new(|| ());
    drop(job);
    assert!(matches!(future.try_take(), Some(Err(TaskError::Abandoned))));
    let (job, future) = Job::new(|| ());
    job.fail(TaskError::failed(Error::BrokenPool));
    assert_eq!(future.result(None).unwrap_err().to_string(), Error::BrokenPool.to_string());
}

#[test]
fn a_panic_is_the_outcome() {
    let (job, future) = Job::new(|| -> u8 { panic!("no number {}", 7) });
    job.run();
    let Ok(Some(TaskError::Panicked(panicked))) = future.exception(None) else { panic!("not a panic") };
    assert_eq!(panicked.message(), "no number 7");
    assert!(panicked.take_payload().is_some());
}

#[test]
fn user_code_that_panics_elsewhere_unwinds_into_nobody() {
    let (job, future) = Job::new(|| PanicsWhenDropped);
    drop(future);
    job.run();

    let trap = PanicsWhenDropped;
    let (job, future) = Job::new(move || drop(trap));
    assert!(future.cancel());
    drop(job);

    let (job, future) = Job::new(|| 5);
    future.add_done_callback(|_| panic!("in a callback"));
    let (sender, receiver) = mpsc::channel();
    future.add_done_callback(move |_| sender.send(()).unwrap());
    job.run();
    assert!(receiver.recv().is_ok(), "the others are called all the same");

    struct Evil;
    impl Drop for Evil {
        fn drop(&mut self) {
            std::panic::panic_any(PanicsWhenDropped);
        }
    }
    let (job, future) = Job::new(|| Evil);
    drop(future);
    job.run();

    let (job, future) = Job::new(|| std::panic::panic_any(PanicsWhenDropped));
    drop(future);
    job.run();
}

#[test]
fn listeners_that_come_late_are_served_at_once() {
    let (completer, future) = ConcurrentFuture::pair();
    assert!(completer.complete(Ok(5)));
    let tokens = Arc::new(Tokens::default());
    future.set_notifier(Arc::clone(&tokens) as _, 1);
    future.set_notifier(Arc::clone(&tokens) as _, 2);
    future.add_done_callback({
        let tokens = Arc::clone(&tokens);
        move |_| tokens.notify(3)
    });
    assert_eq!(*tokens.0.lock(), [1, 2, 3]);
}

#[test]
fn every_notifier_is_told_once() {
    let (completer, future) = ConcurrentFuture::<u8>::pair();
    let tokens = Arc::new(Tokens::default());
    future.set_notifier(Arc::clone(&tokens) as _, 1);
    future.set_notifier(Arc::clone(&tokens) as _, 2);
    assert!(future.cancel());
    assert!(!completer.complete(Ok(1)));
    assert_eq!(*tokens.0.lock(), [1, 2]);
    assert_eq!(Arc::strong_count(&tokens), 1);
}

#[test]
fn a_callback_may_use_the_future_and_drop_it() {
    let (completer, future) = ConcurrentFuture::pair();
    let (sender, receiver) = mpsc::channel();
    let own = future.clone();
    future.add_done_callback(move |future| {
        let sender2 = sender.clone();
        future.add_done_callback(move |_| sender2.send(1).unwrap());
        sender.send(own.try_take().unwrap().unwrap()).unwrap();
    });
    drop(future);
    completer.complete(Ok(2));
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_wait_times_out_and_may_be_tried_again() {
    let (completer, future) = ConcurrentFuture::pair();
    assert!(matches!(future.result(Some(Duration::from_millis(1))), Err(WaitError::TimedOut)));
    assert!(matches!(future.exception(Some(Duration::ZERO)), Err(WaitError::TimedOut)));
    assert!(future.try_take().is_none());
    completer.complete(Ok(5));
    assert_eq!(future.result(Some(Duration::MAX)).unwrap(), 5);
}

#[test]
fn a_completer_may_run_cancel_and_abandon() {
    let (completer, future) = ConcurrentFuture::<u8>::pair();
    assert!(completer.set_running_or_notify_cancel());
    assert!(completer.set_running_or_notify_cancel(), "saying it twice changes nothing");
    assert!(future.running() && !future.cancel());
    drop(completer);
    assert!(matches!(future.result(None), Err(WaitError::Task(TaskError::Abandoned))));

    let (completer, future) = ConcurrentFuture::<u8>::pair();
    assert!(future.cancel() && completer.is_cancelled());
    assert!(!completer.set_running_or_notify_cancel());
}

#[test]
fn a_producers_cancellation_keeps_its_message() {
    let (completer, future) = ConcurrentFuture::<u8>::pair();
    assert!(completer.complete(Err(Cancelled::with_message("enough").into())));
    assert!(future.cancelled());
    assert_eq!(future.result(None).unwrap_err().to_string(), "cancelled: enough");
}

#[test]
fn a_hook_makes_running_work_cancellable_and_is_called_once() {
    let (completer, future) = ConcurrentFuture::<u8>::pair();
    let (sender, receiver) = mpsc::channel();
    let replaced = sender.clone();
    completer.on_cancel(move || replaced.send("replaced").unwrap());
    completer.on_cancel(move || sender.send("asked").unwrap());
    assert!(completer.set_running_or_notify_cancel());
    assert!(future.cancel() && future.cancel());
    assert_eq!(receiver.iter().collect::<Vec<_>>(), ["asked"]);
    assert!(!completer.complete(Ok(1)));

    let (completer, future) = ConcurrentFuture::<u8>::pair();
    assert!(future.cancel());
    let (sender, receiver) = mpsc::channel();
    completer.on_cancel(move || sender.send("at once").unwrap());
    assert_eq!(receiver.iter().collect::<Vec<_>>(), ["at once"]);

    let (completer, _future) = ConcurrentFuture::<u8>::pair();
    let (sender, receiver) = mpsc::channel();
    completer.on_cancel(move || sender.send("never").unwrap());
    completer.complete(Ok(1));
    assert_eq!(receiver.iter().count(), 0, "dropped uncalled");
}

#[test]
fn a_time_out_is_an_operating_system_error_as_in_python() {
    assert_eq!(Error::from(WaitError::TimedOut).io_kind(), Some(std::io::ErrorKind::TimedOut));
    assert!(Error::from(WaitError::Task(Cancelled::new().into())).is_cancelled());
}
