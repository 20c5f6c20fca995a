//! CPython judges: the same small programs on asyncio and on this library, compared by what they trace.
//!
//! A scenario is a function of the same name in `SUBJECT.py` and in `SUBJECT.rs`; what its Python half traced is in
//! `SUBJECT.trace`, recorded by `cargo xtask conformance --record`. Here every Rust half is a test, run on the backend
//! that `LOOP_BACKEND` selects, that compares its trace with the recorded one; so no Python is needed. What differs on
//! purpose is in `differences.txt` with its reason, and nothing else may differ. [`README.md`](./README.md) tells how
//! to write one.
//!
//! * `stage` — what a scenario is written with, and how it is run and compared;
//! * `names` — this library's errors by their names in asyncio;
//! * `pairs` — every scenario has its Python half, its Rust half and its trace, and both name the same rows;
//! * all else — the scenarios, by subject.

#[macro_use]
mod stage;
mod names;
mod pairs;

mod cancellation;
mod exceptions;
mod executor;
mod futures;
mod gathering;
mod generators;
mod groups;
mod life_cycle;
mod locks;
mod passes;
mod policy;
mod queues;
mod runners;
mod streams;
mod tasks;
mod timeouts;
mod timers;
mod transports;
