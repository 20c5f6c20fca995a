//! The completion backend: [`loop_core::Backend`] on io_uring.
//!
//! The kernel is asked for whole operations and reports what they came to. Asking is writing an entry into a queue in
//! memory, and hearing is reading one; [`poll`](loop_core::Backend::poll) makes the one system call, which submits
//! everything and waits. (What has nothing beside it, and what is large, is moved by a call: `now`, `bulk`.) Listeners and
//! connections have one request each for as long as they are open, and received bytes lie in buffers that the kernel picks
//! from a ring and the program gets to see without a copy.
//!
//! It needs what Linux 6.1 has. [`probe`] says whether that is there, or why not; so does [`UringBackend::new`].
//!
//! # The map
//!
//! | file | one idea |
//! |---|---|
//! | `backend` | [`UringBackend`]: the contract's methods, each a few lines over the files below |
//! | `probe` | what is needed, and why it cannot be had: [`Unavailable`] |
//! | `setup` | the ladder of setup flags |
//! | `ring` | entries in, entries out, the one system call between; the backlog of a full queue |
//! | `sqe` | from an operation to a request |
//! | `cqe` | what a completion's numbers mean |
//! | `flights` | operations under way: tickets, and lines that keep the order |
//! | `descriptors` | what is kept for each descriptor; which ones can be watched |
//! | `launch` | submission: an operation becomes a flight, a flight a request |
//! | `landing` | completion: what the loop hears of what the kernel reports |
//! | `share` | no connection gets more than its share of a pass |
//! | `quiet` | sends that only tell of failure |
//! | `bulk` | receivers of large messages: readiness from the ring, bytes by a call, into warm memory |
//! | `now` | bytes that move in the caller's own call |
//! | `buffer_ring` | receive buffers: free, provided, lent |
//! | `cancel` | cancelling, closing, draining |
//! | `wake` | unparks |
//! | `clock` | the loop's clock |
//! | `options` | sizes, and what tests hide |
//!
//! # Terms
//!
//! * A **flight** is an operation under way, from `submit` to its final completion. It **waits** behind others of the same
//!   descriptor and direction, **flies** while the kernel has a request of it, **polls** where the kernel said "try again",
//!   is **parked** where there was no receive buffer, **held** where it received more than its share, and **announced**
//!   where the loop was told to receive for it by a call.
//! * A **ticket** names a flight; it travels through the kernel as user data, and its generation makes late ones miss.
//! * A **request** is what the kernel has. A multishot operation may need several, one after another.
//! * The **window** is how many receive buffers the kernel is given at a time.
//!
//! # Example
//!
//! ```
//! use loop_core::{Backend, Wait};
//! use loop_uring::UringBackend;
//!
//! # if loop_uring::probe().is_err() { return Ok(()); }
//! let mut backend = UringBackend::new()?;
//! let mut ops = loop_core::OpTable::new();
//! let unparker = backend.unparker();
//! let waker = std::thread::spawn(move || unparker.unpark());
//!
//! let mut completions = Vec::new();
//! backend.poll(&mut ops, Wait::Forever, &mut completions)?;
//! assert!(completions.is_empty());
//! # waker.join().expect("the thread");
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Notes for users
//!
//! * A backend belongs to the thread that made it, and must be polled there.
//! * `close` ends what is under way on the descriptor and closes it before it returns, where the kernel can: the peer is
//!   told even if the loop is never polled again. The same holds for a watch that is cancelled, whose descriptor the
//!   program may close next.
//! * `Op::Shutdown` takes effect at once, behind sends that were submitted before it, but not behind those that wait for
//!   room.
//! * A program may keep received chunks for as long as it likes. Once half of the buffers are lent, further ones are
//!   copies, so nobody else is held up.
//! * Pipes, terminals and the like can be adopted too: they are read and written instead of received and sent.
//! * Regular files are read and written by threads of the kernel's, which cannot be interrupted once they have begun.
//!   `drain` waits for them as long as it may; what is left then keeps its memory for good.

#![deny(unsafe_code)]

#[allow(unsafe_code)]
mod alarms;
#[allow(unsafe_code)]
mod backend;
#[allow(unsafe_code)]
mod buffer_ring;
mod bulk;
mod cancel;
mod clock;
mod cqe;
#[allow(unsafe_code)]
mod descriptors;
mod flights;
mod landing;
#[allow(unsafe_code)]
mod launch;
mod now;
mod options;
mod probe;
mod quiet;
#[allow(unsafe_code)]
mod ring;
mod setup;
mod share;
#[allow(unsafe_code)]
mod sqe;
mod wake;

pub use backend::UringBackend;
#[doc(hidden)]
pub use options::Options;
#[doc(hidden)]
pub use probe::probe_with;
pub use probe::{Unavailable, probe};
