//! How it is measured: everyone in turns, round by round, each time in a process of its own.
//!
//! A B C A B C, so that whatever happens to the machine happens to all of them; the figure is the median of the rounds,
//! with the least and the greatest. At the start and at the end a fixed loop of arithmetic and one of system calls are
//! timed: if they differ, the machine was not the same throughout, and the run says so.

use std::fs;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::figures::{Figures, Sample};
use crate::machine::{self, Speed};
use crate::plan::{self, Contest, Effort, Entrant};
use crate::workloads::Kind;
use crate::{Options, child, echo, peers, report, table};

/// By how many percent the machine may differ from the start to the end.
const TOLERABLE_DRIFT: f64 = 10.0;

/// Measures what was asked for, and shows it.
///
/// # Errors
///
/// Nothing could be measured, or the results could not be written. That some peer fails is no error: it is said, and
/// the others go on.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let contests = plan::contests(options, |peer| match (peer.available)() {
        Ok(()) => true,
        Err(reason) => {
            eprintln!("{} does not run here, and is left out: {reason}", peer.name);
            false
        }
    })?;
    if options.list {
        list(&contests);
        return Ok(());
    }
    if machine::cores().len() < 2 {
        eprintln!("there is one core only: servers and load share it, so their figures say little");
    }

    let before = Speed::measure();
    let started = Instant::now();
    let (figures, failures) = measure(options, &contests);
    let after = Speed::measure();
    let drift = before.drift(after);

    println!("{}", table::render(&figures));
    for failure in &failures {
        println!("failed: {failure}");
    }
    println!("{} figures in {:.0} s, {} rounds", figures.series.len(), started.elapsed().as_secs_f64(), options.rounds);
    println!("the machine: {before} at the start, {after} at the end");
    if drift > TOLERABLE_DRIFT {
        println!("the machine's own speed changed by {drift:.0} % during the run: measure again when it is quiet");
    }
    if let Some(file) = &options.json {
        fs::write(file, figures.json_lines()).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    if let Some(directory) = &options.report {
        report::write(directory, &figures, &report::Stamp::now(options, &before, &after, &failures))?;
        println!("the report is {}", directory.join("README.md").display());
    }
    if figures.series.is_empty() { Err("nothing could be measured".to_owned()) } else { Ok(()) }
}

/// Shows what there is.
fn list(contests: &[Contest]) {
    let mut last = "";
    for Contest { workload, params, entrants } in contests {
        if workload.name != last {
            println!("{}: {}", workload.name, workload.about);
            last = workload.name;
        }
        let names: Vec<_> = entrants.iter().map(Entrant::name).collect();
        println!("  {params}: {}", names.join(", "));
    }
    println!();
    for peer in peers::all() {
        println!("{}: {}", peer.name, peer.about);
    }
}

/// Goes through everything; what failed, once each.
fn measure(options: &Options, contests: &[Contest]) -> (Figures, Vec<String>) {
    let steps: usize = contests.iter().map(|contest| contest.entrants.len()).sum();
    let bar = ProgressBar::new(steps as u64 * u64::from(options.rounds));
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len}, {eta} left: {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_secs(1));

    let (mut figures, mut failures) = (Figures::default(), Vec::new());
    for contest in contests {
        let Contest { workload, params, entrants } = contest;
        for round in 0..options.rounds as usize {
            for entrant in entrants {
                let name = entrant.name();
                bar.set_message(format!("{} {params} {name}", workload.name));
                match turn(contest, entrant, options.effort()) {
                    Ok(samples) => figures.add(workload.name, params, &name, round, samples),
                    Err(reason) => {
                        let failure = format!("{} {params}, {name}: {reason}", workload.name);
                        if !failures.contains(&failure) {
                            failures.push(failure);
                        }
                    }
                }
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    (figures, failures)
}

/// One's turn.
fn turn(contest: &Contest, entrant: &Entrant, effort: Effort) -> Result<Vec<Sample>, String> {
    match contest.workload.kind {
        Kind::Process | Kind::Threads => {
            child::start_measure(entrant.peer.name, contest.workload.name, &contest.params, effort.budget())
        }
        Kind::Idle => echo::measure_idle(entrant, &contest.params),
        Kind::Echo => echo::measure(entrant, &contest.params, effort.window()),
    }
}
