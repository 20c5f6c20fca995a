//! What a change must pass, the cheapest failure first; the first failure ends it.

use crate::cargo::Build;
use crate::test;

/// Runs every stage.
///
/// # Errors
///
/// Which stage failed, and how.
pub(crate) fn run() -> Result<bool, String> {
    let build = Build::default();
    let workspace = ["--workspace", "--all-features"];
    let stages = [
        ("format", build.cargo("fmt", ["--all", "--check"])),
        ("clippy", build.cargo("clippy", workspace).args(["--all-targets", "--", "-D", "warnings"])),
        ("docs", build.cargo("doc", workspace).arg("--no-deps").env("RUSTDOCFLAGS", "-D warnings")),
    ];
    for (stage, cargo) in &stages {
        let stopped = |how: String| format!("ci stopped at the stage `{stage}`: {how}");
        let finished = cargo.stream().map_err(|error| stopped(error.to_string()))?;
        if !finished.success() {
            return Err(stopped(finished.outcome()));
        }
    }
    let stopped = |how: &str| format!("ci stopped at the stage `test`: {how}");
    match test::run(&test::Options::default()) {
        Ok(true) => Ok(true),
        Ok(false) => Err(stopped("see the table")),
        Err(message) => Err(stopped(&message)),
    }
}
