//! Whether io_uring can be used here, and if not, why: one line for a log, or for whoever asked for it.
//!
//! What is needed is what Linux 6.1 has. It is asked for by name, not by version, since distributions move features
//! about; the version only makes the message plainer. Buffer rings and multishot receives have no flag of their own, so
//! they are tried.

use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use io_uring::{Parameters, Probe, opcode};

use crate::buffer_ring::Pool;
use crate::clock;
use crate::flights::Ticket;
use crate::options::Options;
use crate::ring::{Ring, Until};
use crate::sqe::Bare;

/// The requests that operations are made of. The last is not used: it came with Linux 6.1, as deferred work did.
const OPCODES: &[(&str, u8)] = &[
    ("IORING_OP_ACCEPT", opcode::Accept::CODE),
    ("IORING_OP_ASYNC_CANCEL", opcode::AsyncCancel::CODE),
    ("IORING_OP_CONNECT", opcode::Connect::CODE),
    ("IORING_OP_POLL_ADD", opcode::PollAdd::CODE),
    ("IORING_OP_READ", opcode::Read::CODE),
    ("IORING_OP_RECV", opcode::Recv::CODE),
    ("IORING_OP_RECVMSG", opcode::RecvMsg::CODE),
    ("IORING_OP_SEND", opcode::Send::CODE),
    ("IORING_OP_SENDMSG", opcode::SendMsg::CODE),
    ("IORING_OP_WRITE", opcode::Write::CODE),
    ("IORING_OP_WRITEV", opcode::Writev::CODE),
    ("IORING_OP_SENDMSG_ZC", opcode::SendMsgZc::CODE),
];

type HasFeature = fn(&Parameters) -> bool;

/// What else is needed: that no completion is lost, that waits have timeouts, that requests wait for readiness without
/// a thread, and that what describes them is read when they are submitted.
const FEATURES: &[(&str, HasFeature)] = &[
    ("IORING_FEAT_NODROP", Parameters::is_feature_nodrop),
    ("IORING_FEAT_SUBMIT_STABLE", Parameters::is_feature_submit_stable),
    ("IORING_FEAT_FAST_POLL", Parameters::is_feature_fast_poll),
    ("IORING_FEAT_EXT_ARG", Parameters::is_feature_ext_arg),
    ("IORING_FEAT_CQE_SKIP", Parameters::is_feature_skip_cqe_on_success),
];

const BUFFER_RING: &str = "IORING_REGISTER_PBUF_RING";
const MULTISHOT: &str = "IORING_RECV_MULTISHOT";

/// The oldest kernel that has it all.
const NEEDED: (u32, u32) = (6, 1);

/// Where the administrator turns it off.
const SWITCH: &str = "/proc/sys/kernel/io_uring_disabled";

/// Why io_uring cannot be used here.
#[derive(Debug)]
#[non_exhaustive]
pub enum Unavailable {
    /// The system call does not exist: the kernel is built without it, or a sandbox says so.
    NotThere,
    /// The administrator has turned it off.
    Disabled(String),
    /// A sandbox or a security policy forbids it.
    Refused(io::Error),
    /// The limit on locked memory is too low.
    LockedMemory,
    /// The kernel is older than Linux 6.1 and lacks something that is needed.
    TooOld {
        /// Its release.
        release: String,
        /// What it lacks first.
        missing: &'static str,
    },
    /// The kernel is new enough, and lacks something that is needed all the same.
    Missing(&'static str),
    /// Something else failed.
    Failed {
        /// What was tried.
        what: &'static str,
        /// The operating system's answer.
        error: io::Error,
    },
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotThere => f.write_str("this kernel has no io_uring, or a sandbox hides it (ENOSYS)"),
            Self::Disabled(value) => write!(f, "io_uring is turned off on this system ({SWITCH} is {value})"),
            Self::Refused(error) => write!(f, "a sandbox or security policy refuses io_uring: {error}"),
            Self::LockedMemory => {
                f.write_str("the limit on locked memory is too low for io_uring (ENOMEM; raise `ulimit -l`)")
            }
            Self::TooOld { release, missing } => {
                write!(f, "kernel {release} is too old, Linux {}.{} is needed: no {missing}", NEEDED.0, NEEDED.1)
            }
            Self::Missing(what) => write!(f, "this kernel's io_uring lacks {what}"),
            Self::Failed { what, error } => write!(f, "io_uring cannot be used: {what}: {error}"),
        }
    }
}

impl Error for Unavailable {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Refused(error) | Self::Failed { error, .. } => Some(error),
            _ => None,
        }
    }
}

impl From<Unavailable> for io::Error {
    fn from(why: Unavailable) -> Self {
        match why {
            // Out of descriptors, say: no reason to think that the next attempt fails too.
            Unavailable::Failed { error, .. } => error,
            why => Self::new(io::ErrorKind::Unsupported, why),
        }
    }
}

impl Unavailable {
    fn lacking(missing: &'static str) -> Self {
        let release = release();
        match version(&release) {
            Some(version) if version >= NEEDED => Self::Missing(missing),
            _ => Self::TooOld { release, missing },
        }
    }

    /// What a failed `io_uring_setup` means.
    fn at_setup(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ENOSYS) => Self::NotThere,
            Some(libc::EPERM | libc::EACCES) => match std::fs::read_to_string(SWITCH) {
                Ok(value) if !matches!(value.trim(), "0" | "") => Self::Disabled(value.trim().to_owned()),
                _ => Self::Refused(error),
            },
            Some(libc::ENOMEM) => Self::LockedMemory,
            Some(libc::EINVAL) => Self::lacking("the flags of io_uring_setup"),
            _ => Self::Failed { what: "io_uring_setup", error },
        }
    }
}

/// Finds out whether a backend can be made here. Everything that is needed is really tried.
///
/// # Errors
///
/// The reason why not.
///
/// ```
/// match loop_uring::probe() {
///     Ok(()) => assert!(loop_uring::UringBackend::new().is_ok()),
///     Err(why) => println!("no io_uring: {why}"),
/// }
/// ```
pub fn probe() -> Result<(), Unavailable> {
    probe_with(&Options { submissions: 8, completions: 16, buffers: 2, buffer_size: 4096, ..Options::default() })
}

/// As on another kernel.
#[doc(hidden)]
pub fn probe_with(options: &Options) -> Result<(), Unavailable> {
    let (ring, pool) = parts(options)?;
    try_multishot(options, ring, &pool)
}

/// A ring and its buffers.
///
/// # Errors
///
/// As of [`UringBackend::new`](crate::UringBackend::new).
pub(crate) fn assemble(options: &Options) -> io::Result<(Ring, Pool)> {
    parts(options).map_err(io::Error::from)
}

fn parts(options: &Options) -> Result<(Ring, Pool), Unavailable> {
    let ring = Ring::new(options).map_err(Unavailable::at_setup)?;
    for (name, has) in FEATURES {
        if options.hides(name) || !has(ring.io().params()) {
            return Err(Unavailable::lacking(name));
        }
    }
    let mut known = Probe::new();
    if let Err(error) = ring.io().submitter().register_probe(&mut known) {
        return Err(Unavailable::Failed { what: "asking which requests there are", error });
    }
    for (name, code) in OPCODES {
        if options.hides(name) || !known.is_supported(*code) {
            return Err(Unavailable::lacking(name));
        }
    }
    let pool = Pool::new(options.buffers, options.buffer_size)
        .map_err(|error| Unavailable::Failed { what: "reserving memory for receive buffers", error })?;
    if options.hides(BUFFER_RING) {
        return Err(Unavailable::lacking(BUFFER_RING));
    }
    pool.register(&ring.io().submitter()).map_err(|error| match error.raw_os_error() {
        Some(libc::EINVAL) => Unavailable::lacking(BUFFER_RING),
        Some(libc::ENOMEM) => Unavailable::LockedMemory,
        _ => Unavailable::Failed { what: "registering a buffer ring", error },
    })?;
    Ok((ring, pool))
}

/// Receives one byte the way connections will.
fn try_multishot(options: &Options, mut ring: Ring, pool: &Pool) -> Result<(), Unavailable> {
    let failed = |error| Unavailable::Failed { what: "trying a multishot receive", error };
    let (ours, mut theirs) = UnixStream::pair().map_err(failed)?;
    theirs.write_all(&[1]).map_err(failed)?;
    pool.provide();
    ring.ask(Bare::receive(ours.as_raw_fd(), Ticket::CANCEL));
    let deadline = clock::now() + Duration::from_secs(5);
    ring.enter(Until::Clock(deadline)).map_err(failed)?;
    let works = ring.pop().is_some_and(|cqe| cqe.result() == Ok(1) && cqe.goes_on() && cqe.buffer().is_some());
    drop(ring);
    if works && !options.hides(MULTISHOT) { Ok(()) } else { Err(Unavailable::lacking(MULTISHOT)) }
}

fn release() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease");
    release.map_or_else(|_| String::from("of unknown version"), |release| release.trim().to_owned())
}

/// Major and minor number of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_as_distributions_write_them() {
        assert_eq!(version("6.18.44-fc-v657"), Some((6, 18)));
        assert_eq!(version("5.15.0-91-generic"), Some((5, 15)));
        assert_eq!(version("6.1"), Some((6, 1)));
        assert_eq!(version("Linux"), None);
    }

    #[test]
    fn a_refusal_is_told_in_one_line() {
        for why in [
            Unavailable::at_setup(io::Error::from_raw_os_error(libc::ENOSYS)),
            Unavailable::at_setup(io::Error::from_raw_os_error(libc::ENOMEM)),
            Unavailable::at_setup(io::Error::from_raw_os_error(libc::EMFILE)),
            Unavailable::Disabled("2".to_owned()),
            Unavailable::TooOld { release: "5.15.0".to_owned(), missing: "IORING_OP_SEND_ZC" },
        ] {
            assert!(!why.to_string().contains('\n') && why.to_string().len() < 120, "{why}");
        }
    }
}
