//! asyncio for Rust: an event loop per thread, and everything a program does with it.
//!
//! This is the crate that a program depends on. It knows the backends and picks one, it keeps the policy, it runs
//! programs from beginning to end, and it holds asyncio's high-level pages; what it re-exports from `loop-core` is
//! asyncio's low-level page. Names are asyncio's, so that its documentation can be read as documentation of this.
//!
//! ```
//! use loop_api as asyncio;
//! use std::time::Duration;
//!
//! async fn greet(who: &str, delay: Duration) -> asyncio::Result<String> {
//!     asyncio::sleep(delay).await?;
//!     Ok(format!("hello, {who}"))
//! }
//!
//! fn main() -> asyncio::Result<()> {
//!     asyncio::run(async {
//!         let first = asyncio::create_task(greet("ada", Duration::from_millis(2)))?;
//!         let second = asyncio::create_task(greet("grace", Duration::from_millis(1)))?;
//!         assert_eq!(first.await??, "hello, ada");
//!         assert_eq!(second.await??, "hello, grace");
//!         Ok(())
//!     })?
//! }
//! ```
//!
//! # The map
//!
//! | asyncio's page | here | in |
//! |---|---|---|
//! | policies | [`get_running_loop`], [`get_event_loop`], [`set_event_loop`], [`new_event_loop`], [`Policy`] | `policy`, `current` |
//! | runners | [`run`], [`Runner`] | `runner` |
//! | coroutines and tasks | [`create_task`], [`TaskGroup`], [`gather`], [`timeout`], [`wait`], [`shield`], [`sleep`], … | `tasks` |
//! | synchronisation | [`Lock`], [`Event`], [`Condition`], [`Semaphore`], [`BoundedSemaphore`], [`Barrier`] | `sync` |
//! | queues | [`Queue`], [`PriorityQueue`], [`LifoQueue`] | `queue` |
//! | streams | [`open_connection`], [`start_server`], [`StreamReader`], [`StreamWriter`] | `streams` |
//! | event loop | [`EventLoop`], [`LoopHandle`], [`Handle`], [`TimerHandle`] | loop-core |
//! | futures | [`LoopFuture`], [`LoopTask`], [`ConcurrentFuture`]; the traits [`Future`] and [`Task`] | loop-core |
//! | transports and protocols | [`Transport`], [`Protocol`], [`Server`], [`Socket`] | loop-core |
//! | `contextvars` | [`Context`], [`ContextVar`] | loop-core |
//! | `concurrent.futures` | [`ThreadPoolExecutor`], [`Executor`] | loop-executor |
//!
//! Which backend a loop is on is `select`'s business: [`LoopOptions`], [`BackendKind`], [`available_backends`].
//! [`loop_core`] is re-exported whole for whoever builds a [`Backend`] or another part of a loop.
//!
//! # Terms
//!
//! * A **loop** belongs to the thread that made it. The **running** loop of a thread is the one inside whose callbacks
//!   and coroutines we are; the **current** one counts where none runs.
//! * A **pass** is one turn of a loop: wait, collect what happened, run what was ready then. What runs makes things
//!   ready for the next pass.
//! * A **coroutine** is any Rust future; it does nothing until it is awaited or made a **task**, which the loop drives.
//!   Neither has to be `Send`.
//! * To **cancel** a task is to make a request that its coroutine is given at its next await. It may clean up, with
//!   awaits, and may even refuse: [`catch_cancelled`].
//!
//! # Errors
//!
//! Misuse is an error with a text that says what to do, not a panic. What only the loop can refuse answers with its own
//! [`LoopError`]; [`Error`] is this crate's, and `?` turns the one into the other. A panic in a callback or a task does
//! not end the loop: it is reported to the exception handler, or is what awaiting the task gives. Only [`fatal`] ends
//! a run, as `SystemExit` does.
//!
//! # Features and environment
//!
//! * `epoll`, `uring`: the backends, both on by default. With both, io_uring is taken where it works, else epoll.
//! * `testing`: virtual time and the checking backend of [`loop_core`], for tests.
//! * `LOOP_BACKEND=epoll` or `uring` insists on a backend; `LOOP_DEBUG=1` turns debug mode on; `LOOP_CHECKED=1`, under
//!   the feature `testing`, has every backend's invariants asserted while it works.
//!
//! What there is to log goes to [`tracing`].

#![forbid(unsafe_code)]

#[cfg(not(any(feature = "epoll", feature = "uring")))]
compile_error!("loop-api needs a backend: enable the feature `epoll`, `uring` or both");

mod current;
mod error;
mod policy;
mod queue;
mod runner;
mod select;
mod streams;
mod sync;
mod tasks;

pub use error::{Error, Result};
pub use loop_core;
#[doc(no_inline)]
pub use loop_core::{
    Aclose, Address, Anext, AsyncGenerator, Backend, BindTo, CallbackHandle, CallbackId, Cancelled, Capabilities,
    CatchCancelled, CaughtInterrupt, Completer, ConcurrentFuture, ConnectOptions, ConnectTo, Context, ContextToken,
    ContextVar, Delay, Emit, Error as LoopError, EventLoop, ExceptionContext, ExceptionHandler, Executor, Fail, Fatal,
    File, Future, FutureRef, GeneratorOutput, Handle, Job, Limit, LoopBuilder, LoopFuture, LoopHandle, LoopTask,
    Panicked, Protocol, ProtocolRef, Raise, RemoteHandle, ServerOptions, SharedError, Sleep, SockAddr, Socket, Task,
    TaskDump, TaskError, TaskFactory, TaskOptions, TaskRef, TaskSnapshot, TaskState, Thrown, TimerHandle, Transport,
    WaitError, WaitsFor, Yielder, async_generator, catch_cancelled, eager_task_factory, fail, fatal,
};
pub use loop_executor::{ThreadPoolBuilder, ThreadPoolExecutor};
pub use policy::{
    DefaultPolicy, Policy, get_event_loop, get_event_loop_policy, get_running_loop, new_event_loop, set_event_loop,
    set_event_loop_policy,
};
pub use queue::{LifoQueue, NotPut, PriorityQueue, Queue};
pub use runner::{Runner, RunnerBuilder, run};
pub use select::{BackendKind, LoopOptions, available_backends};
pub use streams::{
    DEFAULT_LIMIT, HandlerOutput, Lines, ReadTransport, Server, StreamFeeder, StreamReader, StreamWriter,
    open_connection, open_connection_with, start_server, start_server_with,
};
pub use sync::{Barrier, BoundedSemaphore, Condition, Event, Lock, LockGuard, Semaphore, SemaphorePermit};
pub use tasks::{
    AsCompleted, Carry, Gather, GatherOutcomes, GroupError, Limited, NextCompleted, ReturnWhen, Shield, TaskGroup,
    Timeout, TimeoutFuture, TryGather, YieldNow, all_tasks, as_completed, create_future, create_task, create_task_with,
    current_task, gather, gather_outcomes, shield, sleep, timeout, timeout_at, to_thread, to_thread_with, try_gather,
    wait, wait_for, yield_now,
};

/// The README's programs compile, and those that end by themselves run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
