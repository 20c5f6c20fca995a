//! Who takes part: one file per peer, and its line in [`all`].

use std::io;
use std::net::SocketAddr;

use crate::workloads::Measure;

mod compio;
mod glommio;
mod monoio;
mod ours;
mod raw_epoll;
mod raw_uring;
mod rayon;
mod smol;
mod tokio;

pub(crate) use ours::{On, Ours, new_loop};

/// Someone who takes part.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// What exactly is measured, for the reader of the results.
    pub(crate) about: &'static str,
    /// Which backend of ours this is; `None` for everyone else.
    pub(crate) backend: Option<&'static str>,
    /// Whether it runs here, or why not.
    pub(crate) available: fn() -> Result<(), String>,
    /// How it does the workload of this name; `None` if it has nothing of the kind.
    pub(crate) measures: &'static [fn(&str) -> Option<Measure>],
    /// How it serves an echo.
    pub(crate) echo: &'static [EchoServer],
}

impl Peer {
    /// How it does the workload of this name.
    pub(crate) fn measure(&self, workload: &str) -> Option<Measure> {
        self.measures.iter().find_map(|measures| measures(workload))
    }
}

/// An echo server, at 127.0.0.1 and any port, with TCP_NODELAY.
pub(crate) struct EchoServer {
    /// What kind of program it is; empty where there is one kind only.
    pub(crate) style: &'static str,
    /// Serves for ever, having said where. The number is how many bytes to read at once, for who has to choose.
    pub(crate) serve: fn(Announce, usize) -> io::Result<()>,
}

/// Says where a server listens.
pub(crate) type Announce = fn(SocketAddr);

/// Everyone. A comparison is with those that are neither ours nor a lower bound.
pub(crate) fn all() -> &'static [Peer] {
    const ALL: &[Peer] = &[
        ours::EPOLL,
        ours::URING,
        tokio::PEER,
        smol::PEER,
        monoio::URING,
        monoio::LEGACY,
        compio::PEER,
        glommio::PEER,
        rayon::PEER,
        raw_epoll::PEER,
        raw_uring::PEER,
    ];
    ALL
}

/// It runs anywhere.
fn anywhere() -> Result<(), String> {
    Ok(())
}

/// Whether a name in the results is that of someone whom one would take instead of our loop.
pub(crate) fn is_compared_with(name: &str) -> bool {
    !name.starts_with("ours-") && !name.starts_with("raw-")
}
