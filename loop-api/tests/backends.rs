//! Which backend a loop is on: what is asked for, or what works here.
//!
//! The environment is the process's, so each test that sets it does so for a child: this program again, with the one
//! test `report` to run.

mod logs;

use std::process::Command;

use loop_api::{BackendKind, LoopError, LoopOptions, available_backends, new_event_loop};

/// In a child: says what a loop came out as. Elsewhere: the loop is on a backend that is known.
#[test]
#[allow(clippy::print_stdout, reason = "the parent reads it")]
fn report() {
    if let Some(errno) = std::env::var("SANDBOX_ERRNO").ok().and_then(|errno| errno.parse().ok()) {
        refuse_io_uring(errno);
    }
    let (made, records) = logs::capture(|| {
        // The second is not told again.
        let _first = new_event_loop();
        new_event_loop().map(|lp| lp.backend_name())
    });
    for record in records.iter().filter(|record| record.text.contains("event loops use")) {
        println!("\nlogged: {}", record.text);
    }
    match &made {
        Ok(name) => println!("\nmade on: {name}"),
        Err(error) => println!("\nrefused: {error}"),
    }
    if std::env::var_os("BACKENDS_CHILD").is_none() {
        let made = made.unwrap();
        assert!(available_backends().contains(&(made, Ok(()))));
    }
}

/// From now on `io_uring_setup` fails on this thread, as in a sandbox.
fn refuse_io_uring(errno: u32) {
    let code = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut filter = [
        // The number of the system call, which the data begins with.
        code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_io_uring_setup as u32),
        code(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | errno),
        code(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program is valid for the calls, and concerns this thread alone.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
    }
}

/// What `report` says in an environment with this `LOOP_BACKEND`.
fn reported(backend: Option<&str>) -> String {
    let lines = reported_in(backend, None);
    let line = lines.lines().find(|line| line.starts_with("made on: ") || line.starts_with("refused: "));
    line.unwrap_or_else(|| panic!("{lines}")).to_owned()
}

/// All that it says, in a sandbox that answers io_uring with an error, if one is given.
fn reported_in(backend: Option<&str>, sandbox: Option<i32>) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["report", "--exact", "--nocapture"]).env("BACKENDS_CHILD", "1").env_remove("LOOP_BACKEND");
    if let Some(backend) = backend {
        command.env("LOOP_BACKEND", backend);
    }
    if let Some(errno) = sandbox {
        command.env("SANDBOX_ERRNO", errno.to_string());
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn first_that_works() -> Option<&'static str> {
    available_backends().into_iter().find(|(_, works)| works.is_ok()).map(|(name, _)| name)
}

#[test]
fn the_environment_may_insist_on_a_backend() {
    for (name, works) in available_backends() {
        match (reported(Some(name)), works) {
            (made, Ok(())) => assert_eq!(made, format!("made on: {name}")),
            (refused, Err(reason)) => {
                assert!(refused.starts_with("refused: ") && refused.contains(name), "{refused}");
                assert!(refused.contains(reason.lines().next().unwrap()), "{refused}");
            }
        }
    }
    let refused = reported(Some("kqueue"));
    for word in ["refused: ", "LOOP_BACKEND", "kqueue", "epoll", "uring"] {
        assert!(refused.contains(word), "{refused}");
    }
}

#[test]
fn left_alone_a_loop_takes_the_first_backend_that_works() {
    let best = first_that_works().expect("a backend works here");
    assert_eq!(reported(None), format!("made on: {best}"));
    assert_eq!(reported(Some("")), format!("made on: {best}"));
}

#[test]
fn a_program_may_insist_whatever_the_environment_says() {
    for kind in BackendKind::ALL {
        let works = available_backends().into_iter().find(|(name, _)| *name == kind.name()).unwrap().1;
        match (LoopOptions::new().backend(*kind).build(), works) {
            (Ok(lp), Ok(())) => assert_eq!(lp.backend_name(), kind.name()),
            (Err(LoopError::Io(error)), Err(reason)) => assert!(error.to_string().contains(&reason), "{error}"),
            (made, works) => panic!("{kind}: {made:?}, {works:?}"),
        }
    }
}

/// A sandbox without io_uring costs one log line, not the program; whoever insists on io_uring is told why it cannot be had.
#[test]
fn a_sandbox_that_refuses_io_uring_means_epoll_and_one_line_that_says_why() {
    for (errno, reason) in [(libc::EPERM, "refuses io_uring"), (libc::ENOSYS, "no io_uring")] {
        let said = reported_in(None, Some(errno));
        assert!(said.contains("made on: epoll"), "{said}");
        let logged: Vec<&str> = said.lines().filter(|line| line.starts_with("logged: ")).collect();
        assert_eq!(logged.len(), 1, "{said}");
        assert!(logged[0].contains("event loops use epoll") && logged[0].contains(reason), "{said}");
        let said = reported_in(Some("uring"), Some(errno));
        assert!(said.contains("refused: ") && said.contains(reason), "{said}");
        assert!(reported_in(Some("epoll"), Some(errno)).contains("made on: epoll"));
    }
}
