//! The processes of a measurement: this program again, as one of its parts.
//!
//! What runs alone, and what serves, is on the first core; the load is on the last, unless it is to be together with the
//! server. A part says what it came to as JSON on
//! its standard output, and what is wrong on its standard error.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

use crate::figures::Sample;
use crate::machine;
use crate::params::Params;
use crate::peers::{self, Peer};
use crate::workloads::{self, Case, Kind};

/// So many lines of what a process says at its failure are shown.
const LAST_WORDS: usize = 4;

/// How long a measurement may take beyond what it was asked to.
const PATIENCE: Duration = Duration::from_secs(30);

/// The part that measures a peer on a workload.
pub(crate) fn measure(peer: &str, workload: &str, params: Params, millis: u64) -> Result<(), String> {
    machine::end_with_parent()?;
    let alone = workloads::ALL.iter().any(|known| known.name == workload && known.kind == Kind::Process);
    if alone {
        machine::pin(first_core()?)?;
    }
    machine::raise_open_files();
    let measure = find(peer)?.measure(workload).ok_or_else(|| format!("{peer} has no `{workload}`"))?;
    say(&measure(&Case { params, budget: Duration::from_millis(millis) }))
}

/// The part that serves.
pub(crate) fn serve(peer: &str, style: &str, buffer: usize) -> Result<(), String> {
    machine::end_with_parent()?;
    machine::pin(first_core()?)?;
    machine::raise_open_files();
    let servers = find(peer)?.echo;
    let server = servers.iter().find(|server| server.style == style);
    let server = server.ok_or_else(|| format!("{peer} has no server of the kind `{style}`"))?;
    (server.serve)(announce, buffer).map_err(|error| format!("{peer} {style}: {error}"))
}

/// The part that is a server's client.
pub(crate) fn client(together: bool, run: impl FnOnce() -> Result<Vec<Sample>, String>) -> Result<(), String> {
    machine::end_with_parent()?;
    if together {
        machine::pin(first_core()?)?;
    } else if let Some(&last) = machine::cores().last() {
        machine::pin(last)?;
    }
    machine::raise_open_files();
    say(&run()?)
}

fn first_core() -> Result<usize, String> {
    machine::cores().first().copied().ok_or_else(|| "there is no core to run on".to_owned())
}

fn find(name: &str) -> Result<&'static Peer, String> {
    peers::all().iter().find(|peer| peer.name == name).ok_or_else(|| format!("there is no peer `{name}`"))
}

fn say(samples: &[Sample]) -> Result<(), String> {
    println!("{}", serde_json::to_string(samples).map_err(|error| error.to_string())?);
    Ok(())
}

fn announce(address: SocketAddr) {
    println!("{}", address.port());
    // It is a pipe: nothing is sent by itself.
    _ = io::stdout().flush();
}

/// Measures a peer on a workload, in a process of its own.
pub(crate) fn start_measure(
    peer: &str,
    workload: &str,
    params: &Params,
    budget: Duration,
) -> Result<Vec<Sample>, String> {
    let millis = budget.as_millis().to_string();
    let params = params.to_string();
    let part = ["measure", "--peer", peer, "--workload", workload, "--params", &params, "--millis", &millis];
    finish(start(&part)?, budget + PATIENCE)
}

/// Puts the load on a server, from a process of its own.
pub(crate) fn start_load(server: &Server, params: &Params, window: Duration) -> Result<Vec<Sample>, String> {
    let [conns, size, depth] = ["conns", "size", "depth"].map(|name| params.get(name).to_string());
    let (port, pid) = (server.port.to_string(), server.child.0.id().to_string());
    let millis = window.as_millis().to_string();
    let mut part = vec!["load", "--port", &port, "--pid", &pid, "--conns", &conns, "--size", &size];
    part.extend(["--depth", &depth, "--millis", &millis]);
    if params.find("cores") == Some(1) {
        part.push("--together");
    }
    finish(start(&part)?, window * 2 + PATIENCE)
}

/// Has idle connections to a server, from a process of its own.
pub(crate) fn start_idle(server: &Server, params: &Params) -> Result<Vec<Sample>, String> {
    let conns = params.get("conns").to_string();
    let (port, pid) = (server.port.to_string(), server.child.0.id().to_string());
    finish(start(&["idle", "--port", &port, "--pid", &pid, "--conns", &conns])?, PATIENCE)
}

/// A server in a process of its own, which ends with this value.
pub(crate) struct Server {
    child: Guard,
    port: u16,
}

impl Server {
    /// Starts one, and waits until it listens.
    pub(crate) fn start(peer: &str, style: &str, buffer: usize) -> Result<Self, String> {
        let buffer = buffer.to_string();
        let mut child = start(&["serve", "--peer", peer, "--style", style, "--buffer", &buffer])?;
        let stdout = child.0.stdout.take().ok_or("the server has no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).map_err(|error| error.to_string())?;
        match line.trim().parse() {
            Ok(port) => Ok(Self { child, port }),
            // It has ended, or is about to.
            Err(_) => Err(finish(child, PATIENCE).err().unwrap_or_else(|| format!("the server said `{line}`"))),
        }
    }
}

/// A process that ends with this value.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // It may have ended by itself.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn start(part: &[&str]) -> Result<Guard, String> {
    let program = env::current_exe().map_err(|error| format!("this program is not found: {error}"))?;
    let mut command = Command::new(program);
    command.args(part).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // What is measured is what is said here. Of a peer that panics, the message will do.
    command.env_remove("LOOP_BACKEND").env_remove("LOOP_DEBUG").env_remove("LOOP_CHECKED").env("RUST_BACKTRACE", "0");
    command.spawn().map(Guard).map_err(|error| format!("`{}` cannot be started: {error}", part.join(" ")))
}

/// Waits for a process to end, and reads what it came to.
fn finish(mut child: Guard, patience: Duration) -> Result<Vec<Sample>, String> {
    let started = Instant::now();
    let status = loop {
        match child.0.try_wait().map_err(|error| error.to_string())? {
            Some(status) => break status,
            None if started.elapsed() > patience => return Err(format!("no result after {} s", patience.as_secs())),
            None => thread::sleep(Duration::from_millis(5)),
        }
    };
    if !status.success() {
        let mut complaint = String::new();
        if let Some(mut stderr) = child.0.stderr.take() {
            // Without its last words, its status has to do.
            _ = stderr.read_to_string(&mut complaint);
        }
        let lines = complaint.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("note: "));
        let complaint = lines.take(LAST_WORDS).collect::<Vec<_>>();
        return Err(format!("{status}: {}", complaint.join(" ").trim_start_matches("error: ")));
    }
    let stdout = child.0.stdout.take().ok_or("the process has no output")?;
    serde_json::from_reader(stdout).map_err(|error| format!("its result cannot be read: {error}"))
}
