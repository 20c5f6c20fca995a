//! A work-stealing thread pool with the life cycle of `concurrent.futures.ThreadPoolExecutor`: the event
//! loop's default executor, and of use without a loop.
//!
//! Blocking work, such as looking up a name or reading a file, would stop an event loop. It goes to a
//! thread of this pool instead, and its outcome comes back as a [`ConcurrentFuture`].
//!
//! ```
//! use loop_executor::{Error, ThreadPoolExecutor};
//!
//! let pool = ThreadPoolExecutor::builder().max_workers(4).thread_name_prefix("files").build()?;
//! let size = pool.submit(|| std::fs::metadata("/etc/hostname").map_or(0, |file| file.len()))?;
//! let sum = pool.submit(|| (1..=100).sum::<u64>())?;
//! assert_eq!(sum.result(None)?, 5050);
//! println!("{} bytes", size.result(None)?);
//! pool.shutdown(true, false);
//! assert!(matches!(pool.submit(|| ()), Err(Error::PoolShutdown)));
//! # Ok::<(), Error>(())
//! ```
//!
//! # Map
//!
//! A job passes through the files in this order:
//!
//! | file | what it is |
//! |---|---|
//! | `pool` | the public face: how a job gets in, how threads are started, how all is ended |
//! | `shutdown` | the gate: whether jobs may get in, and when the last one has |
//! | `queue` | where jobs wait: the injector, and a deque for each worker |
//! | `park` | who looks for work, who sleeps, who is woken and when a thread is started |
//! | `worker` | the threads that run jobs |
//!
//! What a job and its future are is told in loop-core: [`Job`], [`ConcurrentFuture`], [`Executor`].
//!
//! # Terms
//!
//! A worker is *busy* while it runs a job, *searching* while it looks for one, and else it *sleeps*. To
//! *announce* work is to see to it that somebody searches. The pool is *over* once it was shut down and
//! the last submitter is out of the gate; workers end when it is over and the queue is empty.
//!
//! # What is promised
//!
//! * A job that was accepted is run, or its future says why not.
//! * Jobs start in the order they were submitted, and none waits for one that blocks while a thread is
//!   idle or may be started.
//! * A panic is the job's outcome; the thread goes on.
//! * Nothing here blocks a submitter, except for the time that starting a thread takes.

#![forbid(unsafe_code)]

mod park;
mod pool;
mod queue;
mod shutdown;
mod worker;

pub use loop_core::{ConcurrentFuture, Error, Executor, Job, TaskError, WaitError};
pub use pool::{ThreadPoolBuilder, ThreadPoolExecutor};
