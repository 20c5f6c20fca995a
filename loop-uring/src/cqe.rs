//! A completion as the kernel reports it, and what its numbers mean.

use io_uring::cqueue;
use rustix::io::Errno;

use crate::flights::Ticket;

/// One entry of the completion queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cqe {
    /// Whose it is.
    pub(crate) ticket: Ticket,
    result: i32,
    flags: u32,
}

impl Cqe {
    pub(crate) fn new(entry: &cqueue::Entry) -> Self {
        Self { ticket: Ticket::from_user_data(entry.user_data()), result: entry.result(), flags: entry.flags() }
    }

    /// What the request came to.
    pub(crate) fn result(self) -> Result<u32, Errno> {
        u32::try_from(self.result).map_err(|_| Errno::from_raw_os_error(-self.result))
    }

    /// Whether the request goes on: more of its completions follow.
    pub(crate) fn goes_on(self) -> bool {
        cqueue::more(self.flags)
    }

    /// The provided buffer that the kernel used for it.
    pub(crate) fn buffer(self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }
}
