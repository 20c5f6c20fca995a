//! asyncio's event loop, native in Rust: one loop per thread, callbacks and coroutines run in a fixed order, the operating
//! system behind one small trait.
//!
//! This crate is what asyncio documents on its *event loop* page: the loop, its timers, futures and tasks, sockets,
//! transports and protocols, and the traits at its seams. It knows no operating system: a [`Backend`] is given to it.
//! Programs usually depend on `loop-api` instead, which picks the backend and adds the high-level pages.
//!
//! ```
//! # #[cfg(feature = "testing")] {
//! use std::time::Duration;
//! use loop_core::EventLoop;
//! use loop_core::testing::VirtualBackend;     // a clock that jumps; epoll and io_uring are crates of their own
//!
//! let lp = EventLoop::new(Box::new(VirtualBackend::new()));
//! lp.call_soon(|| println!("in the first pass"))?;
//! let answer = lp.run_until_complete({
//!     let lp = lp.clone();
//!     async move {
//!         lp.sleep_for(Duration::from_secs(3600)).await;
//!         lp.create_task(async { 6 * 7 })?.await
//!     }
//! })??;
//! assert_eq!(answer, 42);
//! lp.close()?;
//! # }
//! # Ok::<(), loop_core::Error>(())
//! ```
//!
//! # The map
//!
//! | to read about | open |
//! |---|---|
//! | one turn of the loop: the whole of it | `pass`, with `ready` (the queue) and `pace` (when to look at the kernel) |
//! | the loop from outside, from inside, from other threads | [`event_loop`](EventLoop), `inner`, [`loop_handle`](LoopHandle) |
//! | what is queued | [`handle`](Handle), [`future`](Future), [`task`](Task), `waiters` and `done` (who is told), `awaiting` |
//! | what that lies in | `memory` (blocks that are used again), `counted` (a pointer into them) |
//! | cancelling | [`catch_cancelled`]; [`cancellation`] for whoever writes an await |
//! | time | `timers`, [`sleep`](Sleep), [`delay`](Delay) |
//! | other threads | `remote` (the queue and the wake word), `shared`, `concurrent` ([`ConcurrentFuture`]) |
//! | the operating system | [`backend`](Backend), [`op`](Op), [`op_table`](OpTable), [`fd`](FdKey), [`buffer`](Chunk) |
//! | who gets what an operation came to | `driver` |
//! | the network | [`socket`](Socket), `connect`, [`transport`](Transport), [`protocol`](Protocol), [`server`](Server), `watch` |
//! | blocking work | [`executor`](Executor), `default_executor`, [`file`](File) |
//! | what nobody awaits | [`exception`](ExceptionContext) |
//!
//! # Terms
//!
//! * A **pass** is one turn of a loop: wait, collect what happened, run what was ready then.
//! * An **operation** is data in the loop's table; the backend interprets it, and reports one final **completion** for it.
//! * A **handle** is anything the loop runs once; a **step** is one poll of a task's coroutine.
//! * A **request** (to cancel) stands in a task until an await or a scope takes it.
//!
//! # Seams
//!
//! Other languages and other systems are embedded through traits: [`Backend`], [`Executor`], [`Handle`] (a callback of
//! another language in the ready queue, by [`EventLoop::schedule`]), [`Future`] and [`Task`], [`Protocol`].
//!
//! # Unsafe code
//!
//! It is in few files, each of which opens with the invariants it keeps: the task's memory (`task`), the remote queue, the
//! operation table, buffers lent to the kernel, the running loop's slot, blocks that are used again and the pointer that
//! counts them (`memory`, `counted`), a handle with its await's place in one word (`placed`), the way of a thread's outcome
//! (`concurrent`), and two lists that do without a borrow flag (the ready queue, who waits for a future or task). loom models the parts that threads share; Miri runs the tests of
//! the rest, and `testing::CheckedBackend` watches every operation of a test run.

mod address;
mod asyncgen;
mod at_close;
mod awaiting;
mod backend;
mod buffer;
mod builder;
pub mod cancellation;
mod concurrent;
mod connect;
mod context;
mod control;
mod counted;
mod default_executor;
mod delay;
mod done;
mod driver;
mod error;
mod event_loop;
mod exception;
mod executor;
mod fd;
mod file;
mod flush;
mod future;
mod future_ref;
mod handle;
mod inner;
mod lookout;
mod loop_handle;
mod memory;
mod op;
mod op_table;
mod pace;
mod pass;
mod placed;
mod prefetch;
mod probe;
mod protocol;
mod ready;
mod remote;
mod resolve;
mod root;
mod running;
mod server;
mod shared;
mod shared_error;
mod signals;
mod sleep;
mod socket;
mod stash;
#[doc(hidden)]
pub mod sync;
mod task;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod timers;
mod transport;
mod turn;
mod waiters;
mod watch;

pub use address::Address;
pub use asyncgen::{Aclose, Anext, AsyncGenerator, Emit, GeneratorOutput, Thrown, Yielder, async_generator};
pub use backend::{Backend, Capabilities, Unpark, Wait};
pub use buffer::{Chunk, ChunkSource, ReceivePool};
pub use builder::LoopBuilder;
pub use concurrent::{Completer, ConcurrentFuture, Notify, WaitError};
pub use connect::{ConnectOptions, ConnectTo};
pub use context::{Context, ContextToken, ContextVar};
pub use control::{Control, Reply};
pub use delay::{Delay, Limit};
pub use error::{Cancelled, Error, Panicked, Result, TaskError};
pub use event_loop::EventLoop;
pub use exception::{ExceptionContext, ExceptionHandler, Fatal, fatal};
pub use executor::{Aftermath, Ended, Executor, Job};
pub use fd::{FdKey, FdTable};
pub use file::File;
pub use future::{Future, LoopFuture};
pub use future_ref::FutureRef;
pub use handle::{CallbackHandle, Handle, TimerHandle};
pub use loop_handle::{LoopHandle, RemoteHandle};
pub use op::{AddrBuf, Completion, Event, Interest, Op, Outcome, Submitted};
pub use op_table::{OpKey, OpTable, Scratch};
pub use protocol::{Protocol, ProtocolRef};
pub use running::fork_generation;
pub use server::{BindTo, Server, ServerOptions};
pub use shared_error::SharedError;
pub use signals::CaughtInterrupt;
pub use sleep::Sleep;
pub use socket::Socket;
pub use socket2::SockAddr;
pub use task::{
    CatchCancelled, Fail, LoopTask, Raise, Task, TaskDump, TaskFactory, TaskOptions, TaskRef, TaskSnapshot, TaskState,
    WaitsFor, catch_cancelled, eager_task_factory, fail,
};
pub use transport::Transport;
pub use waiters::CallbackId;
