//! Transports and protocols: rows TR of the inventory, and the faults DEF-04 and DEF-05.
//!
//! * `calls` — the order of calls;
//! * `writing` — writing, water marks and the writing end;
//! * `end` — closing, aborting, and being let go of;
//! * `failures` — protocols that fail;
//! * `receiving` — pausing what is received, and switching who receives it;
//! * `both_ways` — the two directions together;
//! * `names` — what a connection is called;
//! * `peers` — real peers;
//! * `world` — what these tests share.

#[path = "../logs/mod.rs"]
mod logs;
#[path = "../net/mod.rs"]
mod net;

mod both_ways;
mod calls;
mod end;
mod failures;
mod names;
mod peers;
mod receiving;
mod world;
mod writing;
