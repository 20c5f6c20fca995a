//! The readiness backend: [`loop_core::Backend`] on mio's epoll.
//!
//! epoll says *that* something can be done; this crate then does it, in the loop's own call. Every operation
//! is tried first, and waits only if it would block. Bytes are read when their turn in the loop's ready queue
//! comes, into memory that is still warm, and an idle connection holds a few dozen bytes here and no buffer.
//!
//! # The map
//!
//! | file | one idea |
//! |---|---|
//! | `backend` | [`EpollBackend`]: the contract's methods, each a few lines over the files below |
//! | `progress` | the way of an operation: attempted, queued, announced, resumed, completed |
//! | `descriptors` | one entry per descriptor, keys with a generation, the one registration with mio |
//! | `readiness` | what is known of a descriptor without asking: may it be read, may it be written |
//! | `waiting` | who waits: queues through a slab, one line per descriptor and direction |
//! | `transfer` | bytes in, bytes out, and what a short count says about readiness |
//! | `exec` | one attempt at each operation that completes once |
//! | `multishot` | operations that stay armed: receive and accept, one outcome a turn |
//! | `watch` | readiness of any descriptor, level-triggered: `add_reader`, `add_writer` |
//! | `clock` | the loop's clock, and waits that end on the microsecond |
//!
//! # Terms
//!
//! * A descriptor is **registered** at the first operation that has to wait, once, edge-triggered, for both
//!   directions, and stays so until it is closed or released: `epoll_ctl` is called once per connection.
//! * A direction **may be ready** until a system call shows that it is not: by `EAGAIN`, or by a count shorter
//!   than what was asked for. An edge reported by `poll` makes it so again.
//! * An operation that waits is a **waiter**. The first waiter of a line is **announced** when its direction
//!   may be ready: `poll` reports [`Event::Resume`](loop_core::Event::Resume), and the loop calls
//!   [`resume`](loop_core::Backend::resume) when its turn comes. No waiter is announced twice before that.
//! * A **foreign** descriptor is one that the user watches and that this backend does not own. Its number may
//!   be closed and reused without a word, so nothing is believed about it from one wait to the next.
//!
//! # Example
//!
//! ```
//! use loop_core::{Backend, Control, Reply, Wait};
//! use loop_epoll::EpollBackend;
//! use socket2::{Domain, Type};
//!
//! let mut backend = EpollBackend::new()?;
//! let mut ops = loop_core::OpTable::new();
//! let socket = backend.open(Domain::IPV4, Type::STREAM, None)?;
//! let kind = backend.control(socket, &Control::Type)?;
//! assert!(matches!(kind, Reply::Type(Type::STREAM)));
//!
//! let mut completions = Vec::new();
//! let deadline = backend.now() + std::time::Duration::from_micros(200);
//! backend.poll(&mut ops, Wait::Until(deadline), &mut completions)?;
//! assert!(backend.now() >= deadline && completions.is_empty());
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Notes for users
//!
//! * `Op::Shutdown` takes effect at once: sends that still wait on the descriptor do not go first.
//! * The first wait for a deadline sets the thread's timer slack to a nanosecond (the kernel's default allows
//!   itself 50 µs); threads and processes started from then on inherit it. Dropping the backend restores it.
//! * Pipes, terminals and the like can be adopted too: they are read and written instead of received and sent.
//!   Writing to a pipe without readers raises `SIGPIPE`, which Rust programs ignore unless told otherwise.

#![deny(unsafe_code)]

mod alarms;
#[expect(unsafe_code, reason = "the contract's trait is unsafe to implement")]
mod backend;
#[expect(unsafe_code, reason = "epoll_pwait2 has no safe wrapper")]
mod clock;
mod descriptors;
mod exec;
mod multishot;
mod progress;
mod readiness;
#[expect(unsafe_code, reason = "recvmsg into memory that is not initialised has no safe wrapper")]
mod transfer;
mod waiting;
#[expect(unsafe_code, reason = "users name descriptors by number")]
mod watch;

pub use backend::EpollBackend;

/// How much a multishot receive asks for at once. One buffer of this size serves every connection in turn.
pub const READ_SIZE: usize = 256 * 1024;
