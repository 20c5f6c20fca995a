//! Nothing started here outlives the command.
//!
//! A child runs in a process group of its own, so that a test that hangs, and whatever it has
//! started, can be ended as a whole. The price: Ctrl-C at the terminal no longer reaches the
//! child by itself, and is passed on from here.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicI32, Ordering};
use std::{io, process, thread};

use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// The process group of the child that runs, zero for none. Children run one at a time.
static RUNNING: AtomicI32 = AtomicI32::new(0);

/// From now on, a signal that asks the command to end also ends the running child.
pub(crate) fn watch() -> io::Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            end(RUNNING.load(Ordering::SeqCst));
            eprintln!("\nerror: interrupted by signal {signal}");
            process::exit(128 + signal);
        }
    });
    Ok(())
}

/// A child in its own process group, which ends with this value.
pub(crate) struct Group(Child);

impl Group {
    /// Starts the command.
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Self> {
        let child = command.process_group(0).spawn()?;
        RUNNING.store(child.id().cast_signed(), Ordering::SeqCst);
        Ok(Self(child))
    }

    /// The child itself.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Ends the child and everything it has started that still runs.
    pub(crate) fn end(&self) {
        end(self.0.id().cast_signed());
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
        RUNNING.store(0, Ordering::SeqCst);
    }
}

fn end(group: i32) {
    // The group may be empty by now, which is what is wanted.
    if group != 0
        && let Some(group) = Pid::from_raw(group)
    {
        _ = kill_process_group(group, Signal::KILL);
    }
}
