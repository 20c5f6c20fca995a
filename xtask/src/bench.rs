//! `cargo xtask bench`: builds the package that lies below, which is a workspace of its own, and runs it.
//!
//! Of its own so that nothing else compiles or locks what it compares us with. Its options are its own business and
//! passed on as they are.

use std::process::{Command, Stdio};

use clap::Args;

use crate::cargo::Build;
use crate::interrupt::Group;
use crate::workspace;

/// What to pass on.
#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    /// --quick, --full, --workload NAME, --peer NAME, --backend BACKEND, --rounds N, --json FILE, and more: see --help
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
    options: Vec<String>,
}

/// Builds it and runs it; whether it went well.
///
/// # Errors
///
/// It cannot be built or started.
pub(crate) fn run(Options { options }: &Options) -> Result<bool, String> {
    let target = workspace::target_dir("bench");
    let build = Build { target_dir: Some(target.display().to_string()), ..Build::default() };
    // Relative to the root, where cargo runs.
    let cargo = build.cargo("build", ["--release", "--locked", "--manifest-path=xtask/bench/Cargo.toml"]);
    let built = cargo.stream().map_err(|error| format!("cargo cannot be run: {error}"))?;
    if !built.success() {
        return Err(format!("the bench cannot be built: {}", built.outcome()));
    }
    let program = target.join("release/bench");
    let started = Group::spawn(Command::new(&program).args(options).stdin(Stdio::null()));
    let mut group = started.map_err(|error| format!("{}: {error}", program.display()))?;
    let status = group.child().wait().map_err(|error| format!("the bench was lost: {error}"))?;
    Ok(status.success())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use crate::workspace;

    /// The dependencies that a manifest asks for by name.
    fn asked(manifest: &str) -> BTreeSet<&str> {
        let mut section = "";
        let mut names = BTreeSet::new();
        for line in manifest.lines() {
            if line.starts_with('[') {
                section = line;
            } else if section == "[dependencies]" && !line.is_empty() && !line.starts_with('#') {
                names.extend(line.split(['.', '=', ' ']).next());
            }
        }
        names
    }

    /// The dependencies of a package in a lock file, without their versions.
    fn locked<'a>(lock: &'a str, package: &str) -> BTreeSet<&'a str> {
        let name = format!("name = \"{package}\"");
        let entry = lock.split("[[package]]").find(|entry| entry.lines().any(|line| line == name));
        let entry = entry.unwrap_or_else(|| panic!("{package} is not locked"));
        let dependencies = entry.split("dependencies = [").nth(1).unwrap_or_default();
        dependencies.lines().filter_map(|line| line.trim().trim_start_matches('"').split([' ', '"']).next()).collect()
    }

    /// The bench is built with `--locked`, and locks on its own: a dependency that one of our crates gains has to be
    /// entered there too (`cargo metadata --manifest-path xtask/bench/Cargo.toml` does it).
    #[test]
    fn the_lock_file_of_the_bench_knows_our_dependencies() {
        let read = |path: &str| fs::read_to_string(workspace::root().join(path)).expect("it is there");
        let lock = read("xtask/bench/Cargo.lock");
        for package in ["loop-api", "loop-core", "loop-epoll", "loop-executor", "loop-uring"] {
            let manifest = read(&format!("{package}/Cargo.toml"));
            let (asked, locked) = (asked(&manifest), locked(&lock, package));
            assert!(!asked.is_empty());
            let missing: Vec<_> = asked.difference(&locked).collect();
            assert!(missing.is_empty(), "{package} asks for {missing:?}");
        }
    }
}
