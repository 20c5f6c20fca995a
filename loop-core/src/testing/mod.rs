//! For tests: of this crate, of backends, and of programs.
//!
//! * [`Harness`] plays the loop for a backend: it keeps the operations, polls, resumes and waits.
//! * [`CheckedBackend`] wraps any backend and panics when it breaks an invariant (**B1** to **B7**).
//! * [`VirtualBackend`] is a backend in memory: a clock that jumps and a network of its own.
//! * [`conformance`] is the set of tests that every backend passes;
//!   [`conformance_tests!`](crate::conformance_tests) makes a `#[test]` of each.
//!
//! A failure here is a panic: this module is compiled only for tests and under the feature `testing`.

mod checked;
pub mod conformance;
mod harness;
mod simulated;

pub use checked::CheckedBackend;
pub use harness::{Arrival, Harness, Started};
pub use simulated::{VirtualBackend, VirtualClock};
