//! The completion backend: io_uring.
//!
//! **Not part of this version.** [`UringBackend`] has no values, and [`UringBackend::new`] always says so; whoever picks
//! a backend goes on to the next one.

#![forbid(unsafe_code)]

use std::io;

/// A loop's backend on io_uring. This version has none.
#[derive(Debug)]
pub enum UringBackend {}

impl UringBackend {
    /// Sets up a ring.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`], always, in this version.
    pub fn new() -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "the io_uring backend is not part of this version"))
    }
}
