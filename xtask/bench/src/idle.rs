//! Connections that have been used once and are idle since: what each costs the server in memory.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};

use crate::echo::KIB;
use crate::figures::Sample;
use crate::memory::own_memory;
use crate::params::Params;
use crate::plan::Effort;
use crate::workloads::{Kind, Workload};

pub(crate) const WORKLOAD: Workload = Workload {
    name: "idle_connections",
    about: "so many connections have had one KiB echoed through buffers of 4 KiB, and are idle: the server's own memory per connection, without the kernel's",
    kind: Kind::Idle,
    // Each end is an open file: more is more than many machines allow.
    cases: |effort| vec![Params::of(&[("conns", if effort == Effort::Quick { 2000 } else { 10_000 })])],
};

/// What connections, and to whom.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Where the server listens
    #[arg(long)]
    pub(crate) port: u16,
    /// The server's process
    #[arg(long)]
    pub(crate) pid: u32,
    #[arg(long)]
    pub(crate) conns: u64,
}

/// How many connections come before the first look, so that what the server has once is not counted.
const FIRST: u64 = 10;

/// Opens the connections, and says what they cost.
pub(crate) fn run(options: &Options) -> Result<Vec<Sample>, String> {
    let connect = |number| connection(options.port).map_err(|error| format!("connection {number}: {error}"));
    let _first = (0..FIRST).map(connect).collect::<Result<Vec<_>, _>>()?;
    let before = own_memory(options.pid)?;
    let _idle = (0..options.conns).map(connect).collect::<Result<Vec<_>, _>>()?;
    let after = own_memory(options.pid)?;
    Ok(vec![Sample::new("memory", "B", after.saturating_sub(before) as f64 / options.conns as f64)])
}

/// One that has had its answer.
fn connection(port: u16) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    let (sent, mut back) = ([0x5a; KIB as usize], [0; KIB as usize]);
    stream.write_all(&sent)?;
    stream.read_exact(&mut back)?;
    if back == sent { Ok(stream) } else { Err(io::Error::new(io::ErrorKind::InvalidData, "other bytes came back")) }
}
