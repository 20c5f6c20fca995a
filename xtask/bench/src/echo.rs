//! Bytes sent back as they come: a server in one process, the load in another.

use std::time::Duration;

use crate::child;
use crate::figures::Sample;
use crate::params::Params;
use crate::plan::{Effort, Entrant};
use crate::workloads::{Kind, Workload};

pub(crate) const WORKLOAD: Workload = Workload {
    name: "echo",
    about: "so many connections each send `depth` messages of `size` bytes and wait for all of them to come back; with `cores=1` \
            the load is on the server's core, so that neither wakes another one, which costs a virtual machine more than the rest",
    kind: Kind::Echo,
    cases,
};

/// How much a server reads at once.
const BUFFER: usize = 64 * 1024;

/// The same where connections are idle and have to be small: what their memory would be but for the buffer is asked.
const SMALL_BUFFER: usize = 4 * 1024;

pub(crate) const KIB: u64 = 1024;

fn cases(effort: Effort) -> Vec<Params> {
    let mut cases: Vec<(u64, u64, u64)> = vec![(1, 64, 1), (64, 64, 1), (64, 64 * KIB, 1), (64, 64, 16)];
    if effort > Effort::Quick {
        cases.extend([(1000, 64, 1), (64, 4 * KIB, 1)]);
    }
    if effort == Effort::Full {
        for conns in [1, 1000] {
            cases.extend([(conns, 4 * KIB, 1), (conns, 64 * KIB, 1), (conns, 64, 16)]);
        }
        cases.extend([(64, 4 * KIB, 16), (10, 64, 1), (100, 64, 1), (10_000, 64, 1)]);
    }
    cases.sort_unstable_by_key(|&(conns, size, depth)| (depth, size, conns));
    let params = |(conns, size, depth)| Params::of(&[("conns", conns), ("size", size), ("depth", depth)]);
    let one = std::iter::once(params((1, 64, 1)).and("cores", 1));
    one.chain(cases.into_iter().map(params)).collect()
}

/// Has the server serve, and puts the load on it.
///
/// # Errors
///
/// Either failed, or bytes came back that were not sent.
pub(crate) fn measure(entrant: &Entrant, params: &Params, window: Duration) -> Result<Vec<Sample>, String> {
    let server = child::Server::start(entrant.peer.name, entrant.style.unwrap_or_default(), BUFFER)?;
    child::start_load(&server, params, window)
}

/// Has the server serve, and idle connections to it.
///
/// # Errors
///
/// As for [`measure`].
pub(crate) fn measure_idle(entrant: &Entrant, params: &Params) -> Result<Vec<Sample>, String> {
    let server = child::Server::start(entrant.peer.name, entrant.style.unwrap_or_default(), SMALL_BUFFER)?;
    child::start_idle(&server, params)
}
