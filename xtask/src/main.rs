//! The project's own commands, run as `cargo xtask COMMAND`.
//!
//! - `test` runs everything that can fail: [`mod@test`] has the steps, [`backend`] finds out which
//!   backends work here, [`counts`] and [`report`] add up and print what came out;
//! - `conformance` runs the scenarios that are written for CPython too, and records what CPython does: [`conformance`];
//! - `bench` measures this loop and its peers on the same work: [`mod@bench`];
//! - `ci` is what a change must pass, in the order in which a failure is cheapest: [`ci`].
//!
//! All of it is cargo, started by [`cargo`] with a time limit; [`interrupt`] makes sure that
//! nothing started here outlives the command.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line program talks to its terminal")]
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod backend;
mod bench;
mod cargo;
mod ci;
mod conformance;
mod counts;
mod interrupt;
mod report;
mod test;
mod workspace;

/// The project's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the tests: unit, doc and integration tests on every backend, feature checks, loom models
    Test(test::Options),
    /// Run the paired scenarios on every backend, against the traces recorded with CPython
    Conformance(conformance::Options),
    /// Measure this loop and its peers on the same work, side by side: `--quick` for two minutes, `--help` for the rest
    Bench(bench::Options),
    /// Run what a change must pass: format, clippy, docs, then the tests; stop at the first failure
    Ci,
}

fn main() -> ExitCode {
    let outcome = interrupt::watch().map_err(|error| format!("signals cannot be watched: {error}")).and_then(|()| {
        match Cli::parse().command {
            Command::Test(options) => test::run(&options),
            Command::Conformance(options) => conformance::run(options),
            Command::Bench(options) => bench::run(&options),
            Command::Ci => ci::run(),
        }
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}
