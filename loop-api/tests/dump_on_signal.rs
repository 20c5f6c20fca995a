//! A program that is stuck, asked by a signal. Alone in its process, as it looks at the standard error.

mod loops;

use std::io::Read as _;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;

use loop_api::{LoopError, Runner, TaskOptions, create_task_with, get_running_loop, yield_now};

/// The standard error goes into `to` as long as this lives.
struct Diverted(OwnedFd);

impl Diverted {
    fn new(to: &UnixStream) -> Self {
        // SAFETY: descriptors that are open; the copy is ours alone.
        unsafe {
            let kept = libc::dup(2);
            assert!(kept >= 0 && libc::dup2(to.as_raw_fd(), 2) == 2);
            Self(OwnedFd::from_raw_fd(kept))
        }
    }
}

impl Drop for Diverted {
    fn drop(&mut self) {
        // SAFETY: the copy is open.
        unsafe { libc::dup2(self.0.as_raw_fd(), 2) };
    }
}

#[test]
fn a_signal_has_every_task_written_to_the_standard_error() {
    let (mut reads, writes) = UnixStream::pair().unwrap();
    let diverted = Diverted::new(&writes);
    let mut runner = Runner::builder().loop_factory(loop_api::new_event_loop).dump_on_signal(libc::SIGUSR1).build();
    let ended = runner.run(async {
        let stuck = create_task_with(TaskOptions::new().name("stuck"), std::future::pending::<()>())?;
        let waits = stuck.clone();
        let waiter = create_task_with(TaskOptions::new().name("waiter"), async move { _ = waits.await })?;
        yield_now().await;
        yield_now().await;
        let event_loop = get_running_loop()?;
        let written = event_loop.create_future::<()>();
        let told = written.clone();
        event_loop.add_reader(&reads, move || _ = told.set_result(()))?;
        // SAFETY: handled, as asked.
        assert_eq!(unsafe { libc::raise(libc::SIGUSR1) }, 0);
        written.await?;
        event_loop.remove_reader(&reads)?;
        stuck.cancel();
        waiter.await?;
        Ok::<_, LoopError>(())
    });
    runner.close().unwrap();
    drop(diverted);
    drop(writes);
    ended.unwrap().unwrap();
    let mut text = String::new();
    reads.read_to_string(&mut text).unwrap();
    for part in ["stuck", "waiter", "dump_on_signal.rs:"] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    // After the runner the signal is what it was.
    // SAFETY: asks only.
    let action = unsafe {
        let mut action = std::mem::zeroed::<libc::sigaction>();
        libc::sigaction(libc::SIGUSR1, std::ptr::null(), &raw mut action);
        action.sa_sigaction
    };
    assert_eq!(action, libc::SIG_DFL);
}
