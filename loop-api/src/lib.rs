//! asyncio for Rust.

#![forbid(unsafe_code)]

#[cfg(not(any(feature = "epoll", feature = "uring")))]
compile_error!("loop-api needs a backend: enable the feature `epoll`, `uring` or both");

mod current;
mod error;
mod policy;
mod select;

pub use error::{Error, Result};
pub use loop_core::{
    Backend, CallbackHandle, CallbackId, Cancelled, Capabilities, Completer, ConcurrentFuture, Context, ContextToken,
    ContextVar, Delay, Error as LoopError, EventLoop, ExceptionContext, ExceptionHandler, Executor, Fatal, Future,
    Handle, Job, LoopBuilder, LoopFuture, LoopHandle, LoopTask, Panicked, RemoteHandle, Task, TaskError, TaskRef,
    TimerHandle, WaitError, catch_cancelled, fatal,
};
pub use policy::{
    DefaultPolicy, Policy, get_event_loop, get_event_loop_policy, get_running_loop, new_event_loop, set_event_loop,
    set_event_loop_policy,
};
pub use select::{BackendKind, LoopOptions, available_backends};
