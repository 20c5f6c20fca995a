//! Tasks of one loop that wait for each other (asyncio: synchronisation primitives).
//!
//! * `lock`, `event`, `condition`, `semaphore`, `barrier` — a primitive each;
//! * `waiting` — who waits, in order: what all of them, and the queues, stand on;
//! * `bound` — a primitive belongs to the loop in which it first made somebody wait.
//!
//! None of them is `Sync`: tasks of one thread share them in an [`Rc`](std::rc::Rc). All are fair, first come, first
//! served, and no newcomer overtakes those who wait. What need not wait neither suspends nor allocates. A waiter that is
//! cancelled or dropped leaves the queue, and what it was given and had not taken yet goes to the next one.
//!
//! A wake-up is one pass, as in asyncio: what is released is free until the one that was woken runs, and reserved for it.

mod barrier;
mod bound;
mod condition;
mod event;
mod lock;
mod semaphore;
mod waiting;

pub(crate) use bound::Bound;
pub(crate) use waiting::WaitList;

pub use barrier::Barrier;
pub use condition::Condition;
pub use event::Event;
pub use lock::{Lock, LockGuard};
pub use semaphore::{BoundedSemaphore, Semaphore, SemaphorePermit};
