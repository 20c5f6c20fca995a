//! What a report was measured with: without that, its figures mean nothing.

use std::fmt;
use std::process::Command;

use crate::machine::Speed;
use crate::{Options, peers};

/// What there is to say about a run.
#[derive(Debug, Default)]
pub(crate) struct Stamp {
    lines: Vec<(&'static str, String)>,
    peers: Vec<(&'static str, String)>,
    failures: Vec<String>,
}

impl Stamp {
    /// About the run that has just ended.
    pub(crate) fn now(options: &Options, before: &Speed, after: &Speed, failures: &[String]) -> Self {
        let system = rustix::system::uname();
        let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        let rustc = Command::new("rustc").arg("--version").output().ok();
        let rustc =
            rustc.map_or_else(|| "unknown".to_owned(), |run| String::from_utf8_lossy(&run.stdout).trim().to_owned());
        let lines = vec![
            ("command", format!("`{}`", super::command_line())),
            ("system", format!("{} {} {}", text(system.sysname()), text(system.release()), text(system.machine()))),
            ("processor", format!("{}, {} cores", processor(), crate::machine::cores().len())),
            ("compiler", format!("{rustc}, release, fat LTO, one codegen unit")),
            ("rounds", format!("{}, everyone in turns; medians, and the least to the greatest", options.rounds)),
            ("speed", format!("{before} at the start, {after} at the end")),
        ];
        let peers = peers::all().iter().map(|peer| (peer.name, described(peer))).collect();
        Self { lines, peers, failures: failures.to_vec() }
    }
}

fn described(peer: &peers::Peer) -> String {
    match (peer.available)() {
        Ok(()) => peer.about.to_owned(),
        Err(reason) => format!("{}; does not run here: {reason}", peer.about),
    }
}

fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| "unknown".to_owned(), |(_, name)| name.trim().to_owned())
}

/// The versions of these packages that this program is built from.
fn versions(packages: &[&str]) -> String {
    let lock = include_str!("../../Cargo.lock");
    let mut found = Vec::new();
    for block in lock.split("[[package]]") {
        let value =
            |key: &str| block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"'));
        if let (Some(name), Some(version)) = (value("name"), value("version"))
            && packages.contains(&name)
        {
            found.push(format!("{name} {version}"));
        }
    }
    found.join(", ")
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| | |\n|---|---|")?;
        for (name, value) in &self.lines {
            writeln!(f, "| {name} | {value} |")?;
        }
        let packages = ["loop-api", "tokio", "smol", "async-executor", "async-io", "blocking", "monoio", "compio"];
        writeln!(f, "| versions | {}, {} |", versions(&packages), versions(&["glommio", "rayon", "io-uring", "mio"]))?;
        for (name, about) in &self.peers {
            writeln!(f, "| {name} | {about} |")?;
        }
        for failure in &self.failures {
            writeln!(f, "\nFailed: {failure}")?;
        }
        writeln!(
            f,
            "\nRatios are to the best of those whom one would take instead, in the same round; above 1 is worse."
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_the_lock_file() {
        let text = versions(&["tokio", "loop-api"]);
        assert!(text.contains("tokio 1.") && text.contains("loop-api 0."), "{text}");
    }
}
