//! Whose loop is whose: running, current, new; and the policy that decides.
//!
//! The policy is the process's, and the current loop is the thread's. So each test here runs in a thread of its own, and
//! those that replace the policy run alone.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, mpsc};
use std::thread;

use loop_api::{
    EventLoop, LoopError, LoopOptions, Policy, get_event_loop, get_event_loop_policy, get_running_loop, new_event_loop,
    run, set_event_loop, set_event_loop_policy,
};

static POLICY: RwLock<()> = RwLock::new(());

/// In a thread that has never seen a loop, with the default policy.
fn fresh_thread(test: impl FnOnce() + Send + 'static) {
    let _shared = POLICY.read().unwrap_or_else(PoisonError::into_inner);
    if let Err(payload) = thread::spawn(test).join() {
        resume_unwind(payload);
    }
}

/// In such a thread, with a policy of the test's.
fn with_policy(policy: Arc<dyn Policy>, test: impl FnOnce() + Send + 'static) {
    let _alone = POLICY.write().unwrap_or_else(PoisonError::into_inner);
    set_event_loop_policy(Some(policy));
    let outcome = thread::spawn(test).join();
    set_event_loop_policy(None);
    if let Err(payload) = outcome {
        resume_unwind(payload);
    }
}

/// Runs `look` in a callback of the loop.
fn inside<R: 'static>(lp: &EventLoop, look: impl FnOnce() -> R + 'static) -> R {
    let (sender, receiver) = mpsc::channel();
    lp.call_soon(move || sender.send(look()).unwrap()).unwrap();
    lp.stop();
    lp.run_forever().unwrap();
    receiver.try_recv().unwrap()
}

/// POL-01.
#[test]
fn inside_a_callback_or_a_coroutine_the_running_loop_is_the_one_that_drives_it() {
    fresh_thread(|| {
        let (lp, other) = (new_event_loop().unwrap(), new_event_loop().unwrap());
        set_event_loop(Some(&other));
        assert_eq!(inside(&lp, || get_running_loop().unwrap()), lp);
        assert_eq!(lp.run_until_complete(async { get_running_loop().unwrap() }).unwrap(), lp);
        assert_ne!(lp, other);
    });
}

/// POL-02, POL-04.
#[test]
fn outside_of_a_run_there_is_no_running_loop() {
    let none = || matches!(get_running_loop(), Err(LoopError::NoRunningLoop));
    fresh_thread(move || {
        assert!(none());
        let lp = new_event_loop().unwrap();
        set_event_loop(Some(&lp));
        assert!(none(), "current is not running");
        assert!(!inside(&lp, none));
        assert!(none(), "after stop");
        let stopped = lp.run_until_complete(async {
            get_running_loop().unwrap().stop();
            std::future::pending::<()>().await;
        });
        assert!(matches!(stopped, Err(LoopError::StoppedBeforeComplete)));
        assert!(none(), "after an early stop");
        lp.call_soon(|| loop_api::fatal(loop_api::Fatal::Exit(3))).unwrap();
        let left = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| lp.run_forever()));
        assert!(left.is_err());
        assert!(none(), "after a fatal error");
        assert!(matches!(loop_api::create_task(async {}), Err(LoopError::NoRunningLoop)));
    });
}

/// POL-02.
#[test]
fn a_worker_thread_of_a_running_loop_has_no_running_loop() {
    fresh_thread(|| {
        let lp = new_event_loop().unwrap();
        let seen = lp.run_until_complete(async {
            let (sender, receiver) = mpsc::channel();
            thread::spawn(move || sender.send(get_running_loop().is_ok()).unwrap()).join().unwrap();
            receiver.recv().unwrap()
        });
        assert!(!seen.unwrap());
    });
}

/// POL-03.
#[test]
fn two_threads_run_two_loops_and_each_sees_its_own() {
    fresh_thread(|| {
        let (at_once, meet) = (Arc::new(std::sync::Barrier::new(2)), Arc::new(std::sync::Barrier::new(2)));
        let mut threads = Vec::new();
        for _ in 0..2 {
            let (at_once, meet) = (Arc::clone(&at_once), Arc::clone(&meet));
            threads.push(thread::spawn(move || {
                let lp = new_event_loop().unwrap();
                let running = inside(&lp, move || {
                    // Both are inside now, and stay so until both have looked.
                    at_once.wait();
                    let running = get_running_loop().unwrap();
                    meet.wait();
                    running
                });
                assert_eq!(running, lp);
            }));
        }
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// POL-05.
#[test]
fn while_a_loop_runs_it_counts_whatever_is_current() {
    fresh_thread(|| {
        let (lp, other) = (new_event_loop().unwrap(), new_event_loop().unwrap());
        set_event_loop(Some(&other));
        assert_eq!(inside(&lp, || get_event_loop().unwrap()), lp);
        let seen = inside(&lp, || {
            set_event_loop(None);
            get_event_loop().unwrap()
        });
        assert_eq!(seen, lp);
    });
}

/// POL-06.
#[test]
fn with_nothing_running_the_loop_last_set_counts_even_a_closed_one() {
    fresh_thread(|| {
        let (first, second) = (new_event_loop().unwrap(), new_event_loop().unwrap());
        set_event_loop(Some(&first));
        set_event_loop(Some(&second));
        assert_eq!(get_event_loop().unwrap(), second);
        second.close().unwrap();
        assert_eq!(get_event_loop().unwrap(), second);
        assert!(get_event_loop().unwrap().is_closed());
    });
}

/// POL-06: the slot is an owner.
#[test]
fn the_current_loop_does_not_close_itself() {
    fresh_thread(|| {
        set_event_loop(Some(&new_event_loop().unwrap()));
        assert!(!get_event_loop().unwrap().is_closed());
        assert_eq!(get_event_loop().unwrap().run_until_complete(async { 1 }).unwrap(), 1);
    });
}

/// POL-07.
#[test]
fn a_thread_that_never_had_a_loop_is_given_one() {
    fresh_thread(|| {
        let made = get_event_loop().unwrap();
        assert!(!made.is_running() && !made.is_closed());
        assert_eq!(get_event_loop().unwrap(), made, "twice gives the same");
        assert_eq!(made.run_until_complete(async { 1 }).unwrap(), 1);
    });
}

/// POL-07, POL-09: a loop that was set counts as having had one.
#[test]
fn making_a_loop_does_not_make_it_current() {
    fresh_thread(|| {
        let lp = new_event_loop().unwrap();
        assert_ne!(get_event_loop().unwrap(), lp);
    });
}

/// POL-08, POL-09.
#[test]
fn after_the_slot_was_emptied_there_is_no_current_loop_and_none_is_made() {
    fresh_thread(|| {
        let lp = new_event_loop().unwrap();
        let named = thread::Builder::new().name(String::from("the quiet one")).spawn(|| {
            set_event_loop(None);
            get_event_loop().map(|_| ()).unwrap_err()
        });
        let error = named.unwrap().join().unwrap();
        assert!(matches!(&error, LoopError::NoCurrentLoop { thread } if thread == "the quiet one"), "{error:?}");
        assert!(error.to_string().contains("the quiet one"), "{error}");
        set_event_loop(Some(&lp));
        set_event_loop(None);
        assert!(matches!(get_event_loop(), Err(LoopError::NoCurrentLoop { .. })));
        set_event_loop(Some(&lp));
        assert_eq!(get_event_loop().unwrap(), lp, "until one is set again");
    });
}

/// POL-10.
#[test]
fn setting_the_current_loop_touches_no_loop_and_no_other_thread() {
    fresh_thread(|| {
        let (old, new) = (new_event_loop().unwrap(), new_event_loop().unwrap());
        set_event_loop(Some(&old));
        set_event_loop(Some(&new));
        for lp in [&old, &new] {
            assert!(!lp.is_running() && !lp.is_closed());
        }
        assert!(!inside(&old, {
            let new = new.clone();
            move || {
                set_event_loop(Some(&new));
                new.is_running() || !get_running_loop().unwrap().is_running()
            }
        }));
        thread::spawn(|| {
            set_event_loop(None);
            assert!(get_event_loop().is_err());
        })
        .join()
        .unwrap();
        assert_eq!(get_event_loop().unwrap(), new);
    });
}

/// POL-12.
#[test]
fn every_new_loop_is_a_fresh_one() {
    fresh_thread(|| {
        let (one, two) = (new_event_loop().unwrap(), new_event_loop().unwrap());
        assert_ne!(one, two);
        for lp in [&one, &two] {
            assert!(!lp.is_running() && !lp.is_closed() && lp.all_tasks().is_empty());
        }
        one.call_soon(|| panic!("this queue is the other loop's")).unwrap();
        two.stop();
        two.run_forever().unwrap();
        one.close().unwrap();
        assert!(!two.is_closed());
    });
}

/// POL-13.
#[test]
fn run_leaves_the_thread_without_a_current_loop() {
    fresh_thread(|| {
        run(async { assert!(get_event_loop().is_ok()) }).unwrap();
        assert!(matches!(get_event_loop(), Err(LoopError::NoCurrentLoop { .. })));
        let lp = new_event_loop().unwrap();
        set_event_loop(Some(&lp));
        run(async {}).unwrap();
        assert!(matches!(get_event_loop(), Err(LoopError::NoCurrentLoop { .. })), "whatever was set before");
        assert!(!lp.is_closed());
    });
}

/// POL-13.
#[test]
fn run_with_a_loop_factory_leaves_the_current_loop_as_it_was() {
    fresh_thread(|| {
        let lp = new_event_loop().unwrap();
        set_event_loop(Some(&lp));
        let other = loop_api::Runner::builder().loop_factory(new_event_loop);
        let ran_on = other.run(async { get_running_loop().unwrap().to_owner() }).unwrap();
        assert_ne!(ran_on, lp);
        assert_eq!(get_event_loop().unwrap(), lp);
    });
}

/// Counts what it is asked for.
#[derive(Default)]
struct Counting {
    got: AtomicUsize,
    set: AtomicUsize,
    made: AtomicUsize,
}

impl Counting {
    fn counts(&self) -> [usize; 3] {
        [&self.got, &self.set, &self.made].map(|count| count.load(Ordering::Relaxed))
    }
}

impl Policy for Counting {
    fn get_event_loop(&self) -> Result<EventLoop, LoopError> {
        self.got.fetch_add(1, Ordering::Relaxed);
        self.new_event_loop()
    }

    fn set_event_loop(&self, _: Option<&EventLoop>) {
        self.set.fetch_add(1, Ordering::Relaxed);
    }

    fn new_event_loop(&self) -> Result<EventLoop, LoopError> {
        self.made.fetch_add(1, Ordering::Relaxed);
        LoopOptions::new().debug(true).build()
    }
}

/// POL-14.
#[test]
fn the_policy_is_the_process_and_the_default_one_comes_back() {
    fresh_thread(|| {
        let default = get_event_loop_policy();
        assert!(Arc::ptr_eq(&default, &get_event_loop_policy()));
        let elsewhere: Vec<_> = (0..4).map(|_| thread::spawn(get_event_loop_policy)).collect();
        for thread in elsewhere {
            assert!(Arc::ptr_eq(&default, &thread.join().unwrap()), "one for all threads, however many ask at once");
        }
    });
    let default = get_event_loop_policy();
    let mine: Arc<dyn Policy> = Arc::new(Counting::default());
    with_policy(Arc::clone(&mine), move || {
        assert!(Arc::ptr_eq(&get_event_loop_policy(), &mine));
        thread::spawn(move || assert!(Arc::ptr_eq(&get_event_loop_policy(), &mine))).join().unwrap();
        set_event_loop_policy(None);
        assert!(Arc::ptr_eq(&get_event_loop_policy(), &default));
    });
}

/// POL-15.
#[test]
fn everything_but_the_running_loop_goes_through_the_policy() {
    let policy = Arc::new(Counting::default());
    with_policy(Arc::clone(&policy) as Arc<dyn Policy>, move || {
        let lp = new_event_loop().unwrap();
        assert!(lp.get_debug(), "made by the policy");
        assert_eq!(policy.counts(), [0, 0, 1]);
        set_event_loop(Some(&lp));
        assert_eq!(policy.counts(), [0, 1, 1]);
        assert_ne!(get_event_loop().unwrap(), lp, "the policy remembers nothing");
        assert_eq!(policy.counts(), [1, 1, 2]);
        assert_eq!(inside(&lp, || get_event_loop().unwrap()), lp);
        assert_eq!(policy.counts(), [1, 1, 2], "while a loop runs the policy is not asked");
        inside(&lp, || set_event_loop(None));
        assert_eq!(policy.counts(), [1, 2, 2], "but it is told");
        run(async {}).unwrap();
        assert_eq!(policy.counts(), [1, 4, 3], "run makes a loop, sets it, and takes it away");
    });
}

/// POL-07, POL-15: a policy that only makes loops otherwise.
#[test]
fn what_a_policy_does_not_override_works_as_by_default() {
    struct Debugging;
    impl Policy for Debugging {
        fn new_event_loop(&self) -> Result<EventLoop, LoopError> {
            LoopOptions::new().debug(true).build()
        }
    }
    with_policy(Arc::new(Debugging), || {
        let made = get_event_loop().unwrap();
        assert!(made.get_debug());
        assert_eq!(get_event_loop().unwrap(), made);
        set_event_loop(None);
        assert!(get_event_loop().is_err());
    });
}

/// POL-17: what is made without naming a loop is made of the running loop, else of the current one.
#[test]
fn a_future_belongs_to_the_running_loop_else_to_the_current_one() {
    fresh_thread(|| {
        let future = || get_event_loop().map(|lp| lp.create_future::<()>().get_loop());
        let (lp, current) = (new_event_loop().unwrap(), new_event_loop().unwrap());
        set_event_loop(Some(&current));
        assert_eq!(inside(&lp, future).unwrap(), lp);
        assert_eq!(future().unwrap(), current);
        set_event_loop(None);
        assert!(matches!(future(), Err(LoopError::NoCurrentLoop { .. })));
    });
}

/// A thread that ends with an open loop in its slot closes it.
#[test]
fn the_current_loop_ends_with_its_thread() {
    fresh_thread(|| {
        let handle = thread::spawn(|| get_event_loop().unwrap().handle()).join().unwrap();
        assert!(handle.is_closed());
    });
}
