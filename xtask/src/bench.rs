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
