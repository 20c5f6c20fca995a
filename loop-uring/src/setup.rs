//! Setting up a ring: the ladder of flags, from what suits a loop best down to what every kernel with the rest takes.
//!
//! | rung | what it adds |
//! |---|---|
//! | `SINGLE_ISSUER`, `DEFER_TASKRUN` | the kernel's part of a completion runs when the loop asks for it, never in between |
//! | `SINGLE_ISSUER`, `COOP_TASKRUN` | it runs at the next system call, without interrupting the thread |
//! | `COOP_TASKRUN` | the same, and the kernel does not know that there is one submitter |
//! | none | it interrupts the thread |
//!
//! On all but the last a flag in memory (`TASKRUN_FLAG`) tells that there is something to ask for.

use std::io;

use io_uring::{Builder, IoUring};

use crate::options::Options;

const DEFER: &str = "IORING_SETUP_DEFER_TASKRUN";
const SINGLE: &str = "IORING_SETUP_SINGLE_ISSUER";
const COOP: &str = "IORING_SETUP_COOP_TASKRUN";

/// The rungs, the best first.
const LADDER: [&[&str]; 4] = [&[SINGLE, DEFER], &[SINGLE, COOP], &[COOP], &[]];

/// Sets up a ring on the first rung that holds.
///
/// # Errors
///
/// The kernel's, where it is not about the flags; the last rung's otherwise.
pub(crate) fn ladder(options: &Options) -> io::Result<IoUring> {
    if let Some(errno) = options.refused {
        return Err(io::Error::from_raw_os_error(errno));
    }
    let mut unsuitable = io::Error::from_raw_os_error(libc::EINVAL);
    for rung in LADDER {
        if rung.iter().any(|flag| options.hides(flag)) {
            continue;
        }
        match builder(options, rung).build(options.submissions) {
            Ok(ring) => {
                tracing::debug!(?rung, submissions = ring.params().sq_entries(), "io_uring is set up");
                return Ok(ring);
            }
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                tracing::debug!(?rung, "this kernel does not take these io_uring flags");
                unsuitable = error;
            }
            Err(error) => return Err(error),
        }
    }
    Err(unsuitable)
}

fn builder(options: &Options, rung: &[&str]) -> Builder {
    let mut builder = IoUring::builder();
    builder.setup_clamp().setup_cqsize(options.completions);
    if !rung.is_empty() {
        // Of the age of the flags that follow: one bad entry does not hold up the others.
        builder.setup_submit_all().setup_taskrun_flag();
    }
    for flag in rung {
        match *flag {
            SINGLE => builder.setup_single_issuer(),
            DEFER => builder.setup_defer_taskrun(),
            _ => builder.setup_coop_taskrun(),
        };
    }
    builder
}
