//! The default executor.
#![forbid(unsafe_code)]

mod park;
mod pool;
mod queue;
mod shutdown;
mod worker;

pub use loop_core::{ConcurrentFuture, Error, Executor, Job, TaskError, WaitError};
pub use pool::{ThreadPoolBuilder, ThreadPoolExecutor};
