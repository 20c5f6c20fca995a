//! What a child process finds after `fork`. A program of its own, with a single test: the child of a process with many
//! threads may do next to nothing.

use std::cell::Cell;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use loop_api::{LoopError, get_event_loop, get_running_loop, new_event_loop, set_event_loop};

/// Runs `child` in a forked process; whether it came to its end there.
fn in_a_child(child: impl FnOnce()) -> bool {
    // SAFETY: the child touches only what the forking thread owns, and leaves without running anything of the parent's.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", std::io::Error::last_os_error()),
        0 => {
            let code = i32::from(catch_unwind(AssertUnwindSafe(child)).is_err());
            // SAFETY: ends the process.
            unsafe { libc::_exit(code) }
        }
        pid => {
            let mut status = 0;
            // SAFETY: `status` outlives the call.
            assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
            libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
        }
    }
}

/// POL-16, inside a callback of the running loop, where a fork hurts most.
#[test]
fn a_forked_child_begins_without_a_loop_and_leaves_the_parents_alone() {
    let lp = new_event_loop().unwrap();
    set_event_loop(Some(&lp));
    let (reader, mut writer) = UnixStream::pair().unwrap();
    let read = Rc::new(Cell::new(0));
    lp.add_reader(&reader, {
        let (lp, read) = (lp.clone(), Rc::clone(&read));
        move || {
            read.set(read.get() + 1);
            lp.stop();
        }
    })
    .unwrap();
    // The reader is registered with the kernel by now.
    lp.stop();
    lp.run_forever().unwrap();

    let parents = lp.clone();
    let child_fared_well = lp.run_until_complete(async move {
        in_a_child(|| {
            assert!(matches!(get_running_loop(), Err(LoopError::NoRunningLoop)), "the parent's loop runs there");
            let made = get_event_loop().unwrap();
            assert_ne!(made, parents, "the parent's current loop is not the child's");
            assert_eq!(get_event_loop().unwrap(), made);
            let slept = made.run_until_complete(async {
                loop_api::sleep(Duration::from_millis(1)).await.unwrap();
                get_running_loop().unwrap()
            });
            assert_eq!(slept.unwrap(), made);
            set_event_loop(None);
            assert!(get_event_loop().is_err());
            loop_api::run(async { loop_api::yield_now().await }).unwrap();
        })
    });
    assert!(child_fared_well.unwrap());

    assert_eq!(get_event_loop().unwrap(), lp);
    writer.write_all(b"!").unwrap();
    lp.run_forever().unwrap();
    assert_eq!(read.get(), 1, "what the parent registered is still registered");
    assert!(lp.remove_reader(&reader).unwrap());
    lp.close().unwrap();
}
