//! `cargo xtask conformance`: the paired scenarios of `loop-api/tests/oracle`.
//!
//! Their Rust halves are an integration test, run here alone and on every backend. Their Python halves are run by
//! `record.py` beside them, only when asked for: the recorded traces are part of the repository.

use std::process::Command;

use clap::Args;

use crate::backend::Backend;
use crate::interrupt::Group;
use crate::test;
use crate::workspace::{self, API, ORACLE};

/// What to run.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Run only scenarios whose name contains this
    filter: Option<String>,
    /// Run on this backend only, instead of on each that works here
    #[arg(long)]
    backend: Option<Backend>,
    /// First run all Python halves, record their traces, and fail if one differs from what was recorded
    #[arg(long)]
    record: bool,
    /// The Python to record with, 3.11 or later
    #[arg(long, default_value = "python3")]
    python: String,
}

/// Runs the scenarios; whether nothing differs.
///
/// # Errors
///
/// What was asked for cannot be done here, and why; that a trace is not what was recorded.
pub(crate) fn run(options: Options) -> Result<bool, String> {
    let unchanged = !options.record || record(&options.python)?;
    let agree = test::run_oracle(options.filter, options.backend)?;
    if unchanged { Ok(agree) } else { Err("CPython's traces are not those that were recorded: see above".to_owned()) }
}

/// Records the traces anew; whether they are as they were.
fn record(python: &str) -> Result<bool, String> {
    let script = workspace::root().join(API).join("tests").join(ORACLE).join("record.py");
    eprintln!("\n$ {python} {}", script.display());
    let not_run = |error| format!("`{python}` cannot be run: {error}; `--record` needs Python 3.11 or later");
    let mut group = Group::spawn(Command::new(python).arg(&script)).map_err(not_run)?;
    Ok(group.child().wait().map_err(not_run)?.success())
}
