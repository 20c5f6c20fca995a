//! The counts, step by step in one order; `loom` explores all orders.

use super::*;

/// Work that is never taken.
struct Endless;

impl Source for Endless {
    type Item = ();

    fn take(&self) -> Option<()> {
        Some(())
    }

    fn is_empty(&self) -> bool {
        false
    }

    fn is_over(&self) -> bool {
        false
    }

    fn announce(&self) {}
}

fn queued() -> bool {
    false
}

/// A worker that sleeps until it is woken.
fn sleeper(idle: &Arc<Idle>) -> (Arc<Parker>, thread::JoinHandle<()>) {
    let parker = Arc::new(Parker::new());
    let before = sleeping(idle.word.load(Ordering::Relaxed));
    let thread = thread::spawn({
        let (idle, parker) = (Arc::clone(idle), Arc::clone(&parker));
        move || idle.sleep(&parker, false, || false)
    });
    while sleeping(idle.word.load(Ordering::Relaxed)) == before {
        thread::yield_now();
    }
    (parker, thread)
}

#[test]
fn a_thread_is_started_only_while_none_is_idle_and_the_maximum_is_not_reached() {
    let idle = Arc::new(Idle::new(2, true));
    idle.starting();
    assert!(matches!(idle.announce(queued), Wake::Nobody), "the first is on its way");
    idle.found(&Endless);
    assert!(matches!(idle.announce(|| true), Wake::Nobody), "it has taken all there was");
    assert!(matches!(idle.announce(queued), Wake::Start));
    assert!(matches!(idle.announce(queued), Wake::Nobody), "the second is on its way");
    idle.found(&Endless);
    assert!(matches!(idle.announce(queued), Wake::Nobody), "two are all there may be");
    assert_eq!(idle.started(), 2);

    let (parker, thread) = sleeper(&idle);
    let Wake::Sleeper(woken) = idle.announce(queued) else { panic!("one sleeps") };
    assert!(Arc::ptr_eq(&woken, &parker));
    assert!(matches!(idle.announce(queued), Wake::Nobody), "it is on its way");
    woken.unpark();
    thread.join().unwrap();
}

#[test]
fn who_fell_asleep_last_is_woken_first() {
    let idle = Arc::new(Idle::new(2, true));
    let (first, first_thread) = sleeper(&idle);
    let (second, second_thread) = sleeper(&idle);
    let Wake::Sleeper(woken) = idle.announce(queued) else { panic!("two sleep") };
    assert!(Arc::ptr_eq(&woken, &second));
    woken.unpark();
    second_thread.join().unwrap();
    idle.found(&Endless);
    let Wake::Sleeper(woken) = idle.announce(queued) else { panic!("one sleeps") };
    assert!(Arc::ptr_eq(&woken, &first));
    woken.unpark();
    first_thread.join().unwrap();
}

#[test]
fn threads_that_initialize_themselves_first_are_not_waited_for() {
    let idle = Idle::new(3, false);
    idle.starting();
    assert!(matches!(idle.announce(queued), Wake::Start));
    idle.ready();
    assert!(matches!(idle.announce(queued), Wake::Nobody), "now one searches");
    idle.ready();
    idle.found(&Endless);
    assert!(matches!(idle.announce(queued), Wake::Nobody), "and the other still does");
    idle.found(&Endless);
    assert!(matches!(idle.announce(queued), Wake::Start));
}

#[test]
fn who_counted_on_a_thread_that_could_not_be_started_has_a_sleeper_woken() {
    let idle = Arc::new(Idle::new(2, true));
    idle.starting();
    idle.found(&Endless);
    assert!(matches!(idle.announce(queued), Wake::Start));
    let (_, thread) = sleeper(&idle);
    assert!(matches!(idle.announce(queued), Wake::Nobody), "this one counts on the new thread");
    idle.not_started();
    let Wake::Sleeper(woken) = idle.announce_to_sleepers(queued) else { panic!("one sleeps") };
    woken.unpark();
    thread.join().unwrap();
    idle.found(&Endless);
    assert!(matches!(idle.announce_to_sleepers(queued), Wake::Nobody), "here none can be started");
    assert_eq!(idle.started(), 1);
    assert!(matches!(idle.announce(queued), Wake::Start), "but it is tried again");
}

#[test]
fn one_searcher_is_enough() {
    let idle = Idle::new(4, true);
    assert!(idle.search());
    assert!(!idle.search());
    idle.found(&Endless);
    assert!(idle.search());
}
