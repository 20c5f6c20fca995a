//! Streams, over real connections wherever the kernel has a say, on whatever backend `LOOP_BACKEND` picks.
//!
//! * `world` — running a test so that it cannot hang, connections, and their peers;
//! * `reading`, `limits`, `pausing` — the reader; `feeding` — a reader without a connection;
//! * `model` — random data in random pieces, against asyncio's own algorithm;
//! * `cancelling` — reads given up, which lose nothing; `left` — and what was on its way to them;
//! * `writing`, `closing` — the writer;
//! * `serving` — `start_server`, `open_connection` and their handlers;
//! * `foreign_traits` — `futures-io`;
//! * `passes` — who runs when.

#[path = "../logs/mod.rs"]
mod logs;

mod cancelling;
mod closing;
mod feeding;
mod foreign_traits;
mod left;
mod limits;
mod model;
mod passes;
mod pausing;
mod reading;
mod serving;
mod world;
mod writing;
