//! What `cargo xtask bench` builds and runs: this project's loop and its peers, on the same work, in one run.
//!
//! - [`peers`] has one file per peer: what it implements of [`runtime`], how it serves an echo, what it is called;
//! - [`workloads`] has one file per workload, written once for whatever implements [`runtime`]; [`echo`] and [`idle`] are
//!   those that take two processes, a server and its client: the generator of [`load`], or idle connections;
//! - [`method`] is how they are measured: each in a process of its own ([`child`]), pinned ([`machine`]), the peers in
//!   turns, round by round;
//! - [`figures`] is what comes out, [`table`] how it is shown, [`report`] how it is kept.
//!
//! To add a peer: a file in `peers/`, and its line in `peers::all`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line program talks to its terminal")]
#![deny(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod child;
mod clock;
mod echo;
mod figures;
mod idle;
mod load;
mod machine;
mod memory;
mod method;
mod params;
mod peers;
mod plan;
mod report;
mod runtime;
mod statistics;
mod table;
mod workloads;

use crate::params::Params;
use crate::plan::Effort;

/// The loop and its peers on the same work, side by side.
#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Cli {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    options: Options,
}

/// What to measure, and where it goes.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// About two minutes: the loads that tell most, briefly
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// Everything, the curves over many sizes included, at length
    #[arg(long)]
    full: bool,
    /// Only workloads whose name contains this; may be given more than once
    #[arg(long, value_name = "NAME")]
    workload: Vec<String>,
    /// Only cases whose sizes, as --list shows them, contain this; may be given more than once
    #[arg(long, value_name = "SIZES")]
    case: Vec<String>,
    /// Only peers whose name contains this; may be given more than once
    #[arg(long, value_name = "NAME")]
    peer: Vec<String>,
    /// Our loop on this backend only
    #[arg(long, value_name = "BACKEND", value_parser = ["epoll", "uring"])]
    backend: Option<String>,
    /// How often each peer has its turn
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Write a line of JSON per figure to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with tables and plots to this directory
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Show what there is to measure, and measure nothing
    #[arg(long)]
    list: bool,
}

impl Options {
    fn effort(&self) -> Effort {
        match (self.quick, self.full) {
            (true, _) => Effort::Quick,
            (false, true) => Effort::Full,
            (false, false) => Effort::Default,
        }
    }
}

/// What this program runs itself as, for each part of a measurement has a process of its own.
#[derive(Subcommand)]
enum Part {
    /// One peer on one workload
    #[command(hide = true)]
    Measure {
        #[arg(long)]
        peer: String,
        #[arg(long)]
        workload: String,
        #[arg(long)]
        params: Params,
        #[arg(long)]
        millis: u64,
    },
    /// An echo server
    #[command(hide = true)]
    Serve {
        #[arg(long)]
        peer: String,
        #[arg(long)]
        style: String,
        /// How much is read at once
        #[arg(long)]
        buffer: usize,
    },
    /// The load on an echo server
    #[command(hide = true)]
    Load(load::Options),
    /// Idle connections to an echo server
    #[command(hide = true)]
    Idle(idle::Options),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.part {
        None => method::run(&cli.options),
        Some(Part::Measure { peer, workload, params, millis }) => child::measure(&peer, &workload, params, millis),
        Some(Part::Serve { peer, style, buffer }) => child::serve(&peer, &style, buffer),
        Some(Part::Load(options)) => child::client(options.together, || load::run(&options)),
        Some(Part::Idle(options)) => child::client(false, || idle::run(&options)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_a_choice_the_effort_is_the_default_one() {
        let effort = |args: &[&str]| Cli::try_parse_from(args).map(|cli| cli.options.effort());
        assert_eq!(effort(&["bench"]).unwrap(), Effort::Default);
        assert_eq!(effort(&["bench", "--quick"]).unwrap(), Effort::Quick);
        assert_eq!(effort(&["bench", "--full"]).unwrap(), Effort::Full);
        assert!(effort(&["bench", "--full", "--quick"]).is_err());
        assert!(effort(&["bench", "--rounds", "0"]).is_err());
        assert!(effort(&["bench", "--backend", "kqueue"]).is_err());
    }

    #[test]
    fn a_part_has_its_parameters_from_the_command_line() {
        let line =
            ["bench", "measure", "--peer", "p", "--workload", "w", "--params", "live=7,tasks=3", "--millis", "5"];
        match Cli::try_parse_from(line).unwrap().part {
            Some(Part::Measure { params, .. }) => assert_eq!((params.get("live"), params.get("tasks")), (7, 3)),
            _ => panic!("not the part that was asked for"),
        }
    }
}
