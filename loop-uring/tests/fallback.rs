//! Why io_uring cannot be used, each reason forced; and the rungs below the best one.

use std::io;

use loop_uring::{Options, Unavailable, UringBackend, probe, probe_with};

fn hiding(hidden: &[&'static str]) -> Options {
    Options { hidden: hidden.to_vec(), ..Options::default() }
}

fn refused(errno: i32) -> Options {
    Options { refused: Some(errno), ..Options::default() }
}

#[test]
fn a_kernel_that_has_it_all_is_found_to() {
    probe().unwrap();
    UringBackend::new().unwrap();
}

#[test]
fn every_rung_below_the_best_holds() {
    for hidden in [
        &["IORING_SETUP_DEFER_TASKRUN"][..],
        &["IORING_SETUP_SINGLE_ISSUER"],
        &["IORING_SETUP_SINGLE_ISSUER", "IORING_SETUP_COOP_TASKRUN"],
    ] {
        probe_with(&hiding(hidden)).unwrap();
    }
}

#[test]
fn what_is_missing_is_named() {
    for name in [
        "IORING_OP_ACCEPT",
        "IORING_OP_ASYNC_CANCEL",
        "IORING_OP_SENDMSG_ZC",
        "IORING_FEAT_NODROP",
        "IORING_FEAT_EXT_ARG",
        "IORING_FEAT_CQE_SKIP",
        "IORING_REGISTER_PBUF_RING",
        "IORING_RECV_MULTISHOT",
    ] {
        let why = probe_with(&hiding(&[name])).unwrap_err();
        assert!(matches!(why, Unavailable::Missing(_) | Unavailable::TooOld { .. }), "{why:?}");
        assert!(why.to_string().contains(name), "{why}");
    }
}

#[test]
fn refusals_are_told_apart() {
    for (errno, text) in [
        (libc::ENOSYS, "no io_uring"),
        (libc::EPERM, "refuses io_uring"),
        (libc::EACCES, "refuses io_uring"),
        (libc::ENOMEM, "locked memory"),
        (libc::EMFILE, "io_uring_setup"),
    ] {
        let why = probe_with(&refused(errno)).unwrap_err().to_string();
        assert!(why.contains(text), "{errno}: {why}");
    }
}

#[test]
fn a_backend_that_cannot_be_had_says_why() {
    let error = UringBackend::with(&refused(libc::ENOSYS)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    assert!(error.get_ref().is_some_and(|inner| inner.is::<Unavailable>()), "{error:?}");
    // Being out of descriptors says nothing of io_uring.
    let error = UringBackend::with(&refused(libc::EMFILE)).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
}

/// The real case: a filter on this thread refuses the system call, as containers do.
#[test]
fn a_sandbox_that_refuses_the_call_is_recognised() {
    for (errno, text) in [(libc::EPERM, "refuses io_uring"), (libc::ENOSYS, "no io_uring")] {
        let why = std::thread::spawn(move || {
            refuse_setup(errno as u32);
            probe().unwrap_err().to_string()
        });
        let why = why.join().unwrap();
        assert!(why.contains(text), "{why}");
    }
    // Other threads have no such filter.
    probe().unwrap();
}

/// From now on `io_uring_setup` fails on this thread.
fn refuse_setup(errno: u32) {
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

/// The real case of the limit on locked memory, which kernels apply to rings from 6.13 on: in a child without privileges.
#[test]
fn a_limit_on_locked_memory_is_named_where_it_applies() {
    const FITS: i32 = 0;
    const NAMED: i32 = 1;
    const ANOTHER: i32 = 2;
    // SAFETY: the child touches what it makes itself, and leaves without running anything of the parent's.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", io::Error::last_os_error()),
        0 => {
            let nothing = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            // SAFETY: plain calls. Without privileges already, the second one is refused, and not needed.
            unsafe {
                libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const nothing);
                libc::setresuid(65534, 65534, 65534);
            }
            let code = match UringBackend::with(&Options::default()) {
                Ok(_) => FITS,
                Err(error) if error.to_string().contains("locked memory") => NAMED,
                Err(_) => ANOTHER,
            };
            // SAFETY: ends the process.
            unsafe { libc::_exit(code) }
        }
        child => {
            let mut status = 0;
            // SAFETY: `status` outlives the call.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert!(libc::WIFEXITED(status), "{status}");
            assert!([FITS, NAMED].contains(&libc::WEXITSTATUS(status)), "{status}");
        }
    }
}
