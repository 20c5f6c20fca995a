//! `add_reader` and `add_writer`: callbacks for descriptors, level-triggered.

mod loops;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fs::File;
use std::io::{ErrorKind, Read, Write, pipe};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use loop_api::{Context, ContextVar, EventLoop, Fatal, LoopError, fatal};
use loops::{Alive, Log, Mine, collect_reports, messages, new_loop, one_pass, quiet_panic};

/// Runs until `log` has this many entries.
fn run_until<T: 'static>(lp: &EventLoop, log: &Log<T>, entries: usize) {
    while log.len() < entries {
        one_pass(lp);
    }
}

/// Some passes in which nothing is to happen.
fn idle_passes(lp: &EventLoop) {
    (0..10).for_each(|_| one_pass(lp));
}

fn pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().unwrap()
}

/// RW-01, ITER-10: as often as the descriptor is found ready.
#[test]
fn a_reader_is_called_for_as_long_as_there_is_something_to_read() {
    let lp = new_loop();
    let (reader, mut writer) = pipe().unwrap();
    let log = Log::new();
    let seen = log.clone();
    lp.add_reader(&reader, move || seen.add(())).unwrap();
    idle_passes(&lp);
    assert_eq!(log.len(), 0);
    writer.write_all(b"abc").unwrap();
    run_until(&lp, &log, 5);
    (&reader).read_exact(&mut [0; 3]).unwrap();
    // What was found ready before may still be called.
    one_pass(&lp);
    log.take();
    idle_passes(&lp);
    assert_eq!(log.len(), 0, "empty again");
    writer.write_all(b"x").unwrap();
    run_until(&lp, &log, 1);
}

/// RW-01: not more than once a pass.
#[test]
fn a_ready_descriptor_is_called_once_a_pass() {
    let lp = new_loop();
    let (_ours, theirs) = pair();
    let calls = Rc::new(Cell::new(0));
    let counted = Rc::clone(&calls);
    lp.add_writer(&theirs, move || counted.set(counted.get() + 1)).unwrap();
    let passes = lp.passes();
    for _ in 0..50 {
        let before = calls.get();
        one_pass(&lp);
        assert!(calls.get() - before <= 1);
    }
    assert!(calls.get() >= 40, "{} calls in {} passes", calls.get(), lp.passes() - passes);
}

/// ITER-03.
#[test]
fn what_was_queued_goes_before_events_and_these_before_timers() {
    let lp = new_loop();
    let (ours, mut theirs) = pair();
    let log = Log::new();
    let seen = log.clone();
    lp.add_reader(&ours, move || seen.add("io")).unwrap();
    idle_passes(&lp);
    theirs.write_all(b"x").unwrap();
    lp.call_later(0.0, log.adds("timer")).unwrap();
    lp.call_soon(log.adds("soon")).unwrap();
    one_pass(&lp);
    assert_eq!(log, ["soon", "io", "timer"]);
}

/// ITER-03: also where the descriptor is ready when it is added.
#[test]
fn a_reader_added_to_a_ready_descriptor_takes_its_turn_as_an_event() {
    let lp = new_loop();
    let (ours, mut theirs) = pair();
    theirs.write_all(b"x").unwrap();
    let log = Log::new();
    let seen = log.clone();
    lp.add_reader(&ours, move || seen.add("io")).unwrap();
    lp.call_later(0.0, log.adds("timer")).unwrap();
    lp.call_soon(log.adds("soon")).unwrap();
    one_pass(&lp);
    assert_eq!(log, ["soon", "io", "timer"]);
}

/// ITER-12: a pass hears of some 256 at once, the next of the others, and those that were ready first are not overtaken.
#[test]
fn of_many_that_are_ready_none_waits_for_those_that_are_ready_again() {
    const COUNT: usize = 700;
    let lp = new_loop();
    let pairs: Vec<_> = (0..COUNT).map(|_| pair()).collect();
    let log = Log::new();
    for (n, (ours, _)) in pairs.iter().enumerate() {
        let log = log.clone();
        // What is there is left there: it is readable again.
        lp.add_reader(ours, move || log.add(n)).unwrap();
    }
    idle_passes(&lp);
    pairs.iter().for_each(|(_, theirs)| (&*theirs).write_all(b"x").unwrap());
    let (mut seen, mut passes) = (HashSet::new(), 0);
    while seen.len() < COUNT {
        one_pass(&lp);
        seen.extend(log.take());
        passes += 1;
        assert!(passes <= 5, "{} of {COUNT} were heard of in {passes} passes", seen.len());
    }
    pairs.iter().for_each(|(ours, _)| assert!(lp.remove_reader(ours).unwrap()));
}

/// ITER-13, RW-04: of two that are ready, the first to run takes the other back.
#[test]
fn a_removed_reader_does_not_run_even_if_it_was_queued() {
    let lp = new_loop();
    let (one, two) = (pair(), pair());
    let log = Log::new();
    for (this, that) in [(&one, &two), (&two, &one)] {
        let (lp2, fd, log) = (lp.clone(), that.0.as_raw_fd(), log.clone());
        lp.add_reader(&this.0, move || {
            log.add(());
            lp2.remove_reader(&fd).unwrap();
        })
        .unwrap();
    }
    idle_passes(&lp);
    (&one.1).write_all(b"x").unwrap();
    (&two.1).write_all(b"x").unwrap();
    one_pass(&lp);
    assert_eq!(log.len(), 1);
}

/// RW-02.
#[test]
fn a_second_reader_replaces_the_first_also_if_that_was_queued() {
    let lp = new_loop();
    let (ours, mut theirs) = pair();
    let (log, alive) = (Log::new(), Alive::none());
    let captured = alive.clone();
    lp.add_reader(&ours, move || {
        let _captured = &captured;
        unreachable!("it was replaced")
    })
    .unwrap();
    idle_passes(&lp);
    theirs.write_all(b"x").unwrap();
    // Runs in the pass that finds the event, before it.
    let (lp2, fd, seen) = (lp.clone(), ours.as_raw_fd(), log.clone());
    lp.call_soon(move || lp2.add_reader(&fd, move || seen.add("second")).unwrap()).unwrap();
    run_until(&lp, &log, 1);
    assert_eq!(alive.others(), 0);
}

/// RW-02: from within itself.
#[test]
fn a_reader_may_replace_or_remove_itself() {
    let lp = new_loop();
    let (ours, mut theirs) = pair();
    theirs.write_all(b"x").unwrap();
    let (log, alive) = (Log::new(), Alive::none());
    let (lp2, fd, seen, captured) = (lp.clone(), ours.as_raw_fd(), log.clone(), alive.clone());
    lp.add_reader(&ours, move || {
        let _captured = &captured;
        seen.add("first");
        let (lp3, seen) = (lp2.clone(), seen.clone());
        lp2.add_reader(&fd, move || {
            seen.add("second");
            assert!(lp3.remove_reader(&fd).unwrap());
            assert!(!lp3.remove_reader(&fd).unwrap());
        })
        .unwrap();
    })
    .unwrap();
    run_until(&lp, &log, 2);
    idle_passes(&lp);
    assert_eq!(log, ["first", "second"]);
    assert_eq!(alive.others(), 0);
}

/// RW-03.
#[test]
fn reader_and_writer_of_a_descriptor_are_independent() {
    let lp = new_loop();
    let (ours, mut theirs) = pair();
    let (reads, writes) = (Log::new(), Log::new());
    let (seen_reads, seen_writes) = (reads.clone(), writes.clone());
    lp.add_reader(&ours, move || seen_reads.add(())).unwrap();
    lp.add_writer(&ours, move || seen_writes.add(())).unwrap();
    run_until(&lp, &writes, 2);
    assert_eq!(reads.len(), 0);
    assert!(lp.remove_writer(&ours).unwrap());
    writes.take();
    theirs.write_all(b"x").unwrap();
    run_until(&lp, &reads, 2);
    assert_eq!(writes.len(), 0);
    assert!(!lp.remove_writer(&ours).unwrap() && lp.remove_reader(&ours).unwrap());
}

/// RW-04.
#[test]
fn remove_tells_whether_there_was_something() {
    let lp = new_loop();
    let (ours, _theirs) = pair();
    assert!(!lp.remove_reader(&ours).unwrap() && !lp.remove_writer(&ours).unwrap());
    lp.add_reader(&ours, || ()).unwrap();
    assert!(!lp.remove_writer(&ours).unwrap());
    assert!(lp.remove_reader(&ours).unwrap());
    assert!(!lp.remove_reader(&ours).unwrap());
}

/// RW-05.
#[test]
fn a_negative_descriptor_is_refused() {
    let lp = new_loop();
    let negative: RawFd = -1;
    assert!(matches!(lp.add_reader(&negative, || ()), Err(LoopError::InvalidArgument(_))));
    assert!(matches!(lp.add_writer(&negative, || ()), Err(LoopError::InvalidArgument(_))));
    assert!(matches!(lp.remove_reader(&negative), Err(LoopError::InvalidArgument(_))));
}

/// RW-07, LIFE-29.
#[test]
fn a_closed_loop_takes_no_readers_and_lets_go_of_those_it_had() {
    let lp = new_loop();
    let (ours, _theirs) = pair();
    let alive = Alive::none();
    let captured = alive.clone();
    lp.add_reader(&ours, move || drop(captured.clone())).unwrap();
    lp.close().unwrap();
    assert_eq!(alive.others(), 0);
    assert!(!lp.remove_reader(&ours).unwrap());
    assert!(matches!(lp.add_reader(&ours, || ()), Err(LoopError::Closed)));
    assert!(matches!(lp.add_writer(&ours, || ()), Err(LoopError::Closed)));
}

/// RW-08.
#[test]
fn a_regular_file_is_refused_and_nothing_stays_registered() {
    let lp = new_loop();
    let file = File::open(std::env::current_exe().unwrap()).unwrap();
    let alive = Alive::none();
    let captured = alive.clone();
    match lp.add_reader(&file, move || drop(captured.clone())) {
        Err(error) => {
            assert_eq!(error.io_kind(), Some(ErrorKind::PermissionDenied));
            assert!(!lp.remove_reader(&file).unwrap());
            assert_eq!(alive.others(), 0);
        }
        // A file is always ready: a backend may say so.
        Ok(()) => assert!(lp.remove_reader(&file).unwrap()),
    }
}

/// RW-09.
#[test]
fn a_hang_up_calls_whoever_watches() {
    let lp = new_loop();
    let (ours, theirs) = pair();
    let (log, wrote) = (Log::new(), Log::new());
    let seen = log.clone();
    lp.add_reader(&ours, move || seen.add("reader")).unwrap();
    idle_passes(&lp);
    drop(theirs);
    run_until(&lp, &log, 1);
    // A pipe that nobody reads any more is an error for its writer.
    let (reader, mut writer) = pipe().unwrap();
    // SAFETY: sets the descriptor's flags, nothing else.
    assert_eq!(unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) }, 0);
    while writer.write(&[0; 4096]).is_ok() {}
    let seen = wrote.clone();
    lp.add_writer(&writer, move || seen.add("writer")).unwrap();
    idle_passes(&lp);
    assert_eq!(wrote.len(), 0);
    drop(reader);
    run_until(&lp, &wrote, 1);
}

/// RW-10: a number that is used again belongs to its new descriptor.
#[test]
fn a_descriptor_closed_without_being_removed_breaks_nothing() {
    /// The same socket under a number that no other test of this process gets.
    fn far_off(stream: UnixStream) -> UnixStream {
        // SAFETY: makes a new descriptor, which nobody else owns, and which is a socket.
        unsafe { UnixStream::from_raw_fd(libc::fcntl(stream.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 900)) }
    }
    let lp = new_loop();
    let (ours, theirs) = pair();
    let ours = far_off(ours);
    let fd = ours.as_raw_fd();
    lp.add_reader(&ours, || unreachable!("nothing was ever written")).unwrap();
    idle_passes(&lp);
    drop(ours);
    drop(theirs);
    idle_passes(&lp);
    let (ours, mut theirs) = pair();
    let ours = far_off(ours);
    assert_eq!(ours.as_raw_fd(), fd, "the number is used again");
    theirs.write_all(b"x").unwrap();
    lp.remove_reader(&ours).unwrap();
    let log = Log::new();
    let seen = log.clone();
    lp.add_reader(&ours, move || seen.add(())).unwrap();
    run_until(&lp, &log, 3);
}

/// RW-11.
#[test]
fn a_reader_runs_in_the_context_of_the_moment_it_was_added() {
    let lp = new_loop();
    let (ours, mut theirs) = pair();
    theirs.write_all(b"x").unwrap();
    let (var, log) = (Rc::new(ContextVar::new("var")), Log::new());
    var.set(1);
    let (inside, seen) = (Rc::clone(&var), log.clone());
    lp.add_reader(&ours, move || {
        seen.add(inside.get());
        inside.set(7);
    })
    .unwrap();
    var.set(2);
    run_until(&lp, &log, 2);
    assert_eq!(log.take()[..2], [Some(1), Some(7)]);
    assert_eq!(var.get(), Some(2));
}

/// RW-12.
#[test]
fn a_reader_that_fails_is_reported_and_called_again() {
    let lp = new_loop();
    let reports = collect_reports(&lp);
    let (ours, mut theirs) = pair();
    theirs.write_all(b"x").unwrap();
    lp.add_reader(&ours, || quiet_panic("reader")).unwrap();
    run_until(&lp, &reports, 3);
    assert!(messages(&reports).iter().all(|message| message.starts_with("Exception in callback of reader")));
}

/// What is dropped with a reader, its context's values too, may panic.
#[test]
fn a_destructor_that_panics_with_a_reader_is_reported() {
    let lp = new_loop();
    let (reports, log) = (collect_reports(&lp), Log::new());
    let (ours, mut theirs) = pair();
    theirs.write_all(b"x").unwrap();
    let var = ContextVar::new("var");
    Context::new().run(|| {
        var.set(Rc::new(Mine("value")));
        let (lp2, fd, seen) = (lp.clone(), ours.as_raw_fd(), log.clone());
        lp.add_reader(&ours, move || {
            lp2.remove_reader(&fd).unwrap();
            seen.add(());
        })
        .unwrap();
    });
    run_until(&lp, &log, 1);
    idle_passes(&lp);
    assert_eq!(reports.take().pop().unwrap().panic().unwrap().message(), "value");
}

/// LIFE-22: after a fatal panic too.
#[test]
fn a_reader_outlasts_its_own_fatal_panic() {
    let lp = new_loop();
    let (ours, mut theirs) = pair();
    theirs.write_all(b"x").unwrap();
    let calls = Rc::new(Cell::new(0));
    let counted = Rc::clone(&calls);
    lp.add_reader(&ours, move || {
        counted.set(counted.get() + 1);
        fatal(Fatal::Interrupt);
    })
    .unwrap();
    for wanted in 1..=3 {
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| lp.run_forever())).is_err());
        assert_eq!(calls.get(), wanted);
    }
}

/// LIFE-09: readers outlast runs.
#[test]
fn readers_outlast_the_run_they_were_added_in() {
    let lp = new_loop();
    let (ours, mut theirs) = pair();
    let log = Log::new();
    let (lp2, seen) = (lp.clone(), log.clone());
    lp.add_reader(&ours, move || {
        seen.add(());
        lp2.stop();
    })
    .unwrap();
    for wanted in 1..=3 {
        theirs.write_all(b"x").unwrap();
        lp.run_forever().unwrap();
        assert_eq!(log.len(), wanted);
        (&ours).read_exact(&mut [0]).unwrap();
    }
}

/// I2: a reader may close descriptors, add others, and stop the loop.
#[test]
fn a_reader_may_change_what_is_watched() {
    let lp = new_loop();
    let (ours, mut theirs) = pair();
    let (other, mut their_other) = pair();
    theirs.write_all(b"x").unwrap();
    let slot = Rc::new(RefCell::new(Some(ours)));
    let log = Log::new();
    let (lp2, taken, seen, other2) = (lp.clone(), Rc::clone(&slot), log.clone(), other.as_raw_fd());
    let fd = slot.borrow().as_ref().unwrap().as_raw_fd();
    lp.add_reader(&fd, move || {
        lp2.remove_reader(&fd).unwrap();
        taken.take();
        let (lp3, seen) = (lp2.clone(), seen.clone());
        lp2.add_reader(&other2, move || {
            seen.add("other");
            lp3.stop();
        })
        .unwrap();
    })
    .unwrap();
    let handle = lp.handle();
    let thread = std::thread::spawn(move || {
        handle
            .call_soon_threadsafe(move |_| {
                their_other.write_all(b"x").unwrap();
                std::mem::forget(their_other);
            })
            .unwrap();
    });
    lp.run_forever().unwrap();
    thread.join().unwrap();
    assert_eq!(log, ["other"]);
}

/// A wait that only a timer would end is ended by a descriptor.
#[test]
fn a_descriptor_ends_the_wait_for_a_timer() {
    let lp = new_loop();
    let (ours, mut theirs) = pair();
    let lp2 = lp.clone();
    lp.add_reader(&ours, move || lp2.stop()).unwrap();
    let timer = lp.call_later(Duration::from_secs(3600), || ()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || theirs.write_all(b"x").map(|()| theirs));
        lp.run_forever().unwrap();
    });
    assert!(!timer.cancelled() && lp.timer_count() == 1);
}
