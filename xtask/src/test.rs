//! `cargo xtask test`: every test there is, and a table of what came out.
//!
//! A failure does not end the run: the next step may tell more about it. The steps are in
//! [`harnesses`] (unit, doc and integration tests), [`features`] (each backend alone, and none),
//! [`models`] (loom), and [`sanitizer`] (how to build for it). Wherever steps can share what is
//! built they do: one profile, and the same features for the crates they have in common.

use std::io::{self, Write as _};

use clap::{Args, ValueEnum};

use crate::backend::{self, Availability, Backend};
use crate::cargo::{Build, Cargo, Finished};
use crate::counts::Counts;
use crate::report::Report;
use crate::workspace::API;

mod features;
mod harnesses;
mod models;
mod sanitizer;

/// What to run.
#[derive(Args, Debug, Default)]
pub(crate) struct Options {
    /// Run only tests whose name contains this
    filter: Option<String>,
    /// Run on this backend only, instead of on each that works here
    #[arg(long)]
    backend: Option<Backend>,
    /// Leave out the loom models, which take long
    #[arg(long)]
    skip_loom: bool,
    /// How many random scripts are played on every backend, instead of some thousands
    #[arg(long, value_name = "N")]
    scripts: Option<u64>,
    /// Play the one random script of this seed, which a failure names
    #[arg(long, value_name = "SEED", conflicts_with = "scripts")]
    script_seed: Option<u64>,
    /// Run the unit and integration tests under a sanitizer, and nothing else (needs a nightly toolchain)
    #[arg(long)]
    sanitizer: Option<Sanitizer>,
}

/// A sanitizer of rustc's.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Sanitizer {
    /// AddressSanitizer
    Address,
}

/// Runs the tests and prints the table; whether all went well.
///
/// # Errors
///
/// What was asked for cannot be done here, and why. Tests that fail are no error.
pub(crate) fn run(options: &Options) -> Result<bool, String> {
    let mut suite = Suite::start(options)?;
    suite.unit_tests();
    if options.sanitizer.is_none() {
        suite.doc_tests();
    }
    suite.integration_tests_of_the_crates();
    suite.integration_tests_of_the_api();
    if options.sanitizer.is_none() {
        suite.quickstart();
        suite.each_feature_alone();
        suite.no_feature();
        suite.loom_models();
    }
    suite.end()
}

/// Runs the paired scenarios, which are among loop-api's integration tests, alone; whether all went well.
///
/// # Errors
///
/// As for [`run`].
pub(crate) fn run_oracle(filter: Option<String>, backend: Option<Backend>) -> Result<bool, String> {
    let options = Options { filter, backend, ..Options::default() };
    let mut suite = Suite::start(&options)?;
    suite.oracle();
    suite.end()
}

/// A run of the tests: what is known of the machine, what was asked, what came out so far.
struct Suite<'a> {
    options: &'a Options,
    build: Build,
    found: Vec<Availability>,
    report: Report,
}

impl Suite<'_> {
    /// Finds out which backends work here.
    fn start(options: &Options) -> Result<Suite<'_>, String> {
        let build = match options.sanitizer {
            Some(Sanitizer::Address) => sanitizer::address()?,
            None => Build::default(),
        };
        let found = match backend::probe(&build) {
            Ok(found) => found,
            Err(message) => {
                let mut report = Report::default();
                let (step, note) = ("which backends work here", "nothing else was run".to_owned());
                report.ran(step, None, Counts { failed: 1, ..Counts::default() }, Default::default(), note);
                print(&report);
                return Err(format!("which backends work here is not known: {message}"));
            }
        };
        for Availability { backend, missing } in &found {
            let name = backend.name();
            match missing {
                None => eprintln!("backend {name}: available"),
                Some(reason) if options.backend == Some(*backend) => {
                    return Err(format!("the backend {name} is not available here: {reason}"));
                }
                Some(reason) => eprintln!("backend {name}: unavailable: {reason}"),
            }
        }
        Ok(Suite { options, build, found, report: Report::default() })
    }

    /// Prints the table; whether all went well.
    fn end(self) -> Result<bool, String> {
        print(&self.report);
        let totals = self.report.totals();
        if let Some(filter) = &self.options.filter
            && totals.passed + totals.failed == 0
        {
            return Err(format!("no test was run: no test's name contains `{filter}`, or all such tests are ignored"));
        }
        Ok(totals.failed == 0)
    }

    /// Why a backend's tests are not to be run, if they are not.
    fn left_out(&self, backend: Backend) -> Option<String> {
        match self.options.backend {
            Some(only) if only != backend => Some(format!("--backend {}", only.name())),
            _ => self.found.iter().find(|found| found.backend == backend).and_then(|found| found.missing.clone()),
        }
    }

    /// Why a step that has no named tests is not to be run, if it is not.
    fn filtered_out(&self) -> Option<&'static str> {
        self.options.filter.is_some().then_some("has no named tests to filter")
    }

    /// Runs test harnesses, which say themselves what passed.
    fn harness(&mut self, step: &str, backend: Option<Backend>, cargo: Cargo) {
        let cargo = match &self.options.filter {
            Some(filter) => cargo.args(["--", filter]),
            None => cargo,
        };
        self.harness_as_is(step, backend, &cargo);
    }

    /// As [`harness`](Self::harness), for a step that has a filter of its own.
    fn harness_as_is(&mut self, step: &str, backend: Option<Backend>, cargo: &Cargo) {
        let finished = cargo.stream();
        let mut counts = finished.as_ref().map_or_else(|_| Counts::default(), |ended| Counts::read(&ended.output));
        let note = match &finished {
            Ok(ended) if ended.success() && counts.total() == 0 => "no tests".to_owned(),
            Ok(ended) if ended.success() => String::new(),
            finished => complaints(&counts, outcome(finished)),
        };
        // What did not compile, or did not come to an end, has no tests to blame.
        if counts.failed == 0 && !finished.as_ref().is_ok_and(Finished::success) {
            counts.failed = 1;
        }
        self.record(step, backend, finished, counts, note);
    }

    /// Runs something that passes or fails as one.
    fn check(&mut self, step: &str, backend: Option<Backend>, cargo: &Cargo) {
        let finished = cargo.stream();
        let success = finished.as_ref().is_ok_and(Finished::success);
        let note = if success { String::new() } else { outcome(&finished) };
        self.record(step, backend, finished, one(success), note);
    }

    fn record(
        &mut self,
        step: &str,
        backend: Option<Backend>,
        finished: io::Result<Finished>,
        counts: Counts,
        note: String,
    ) {
        let took = finished.map(|ended| ended.elapsed).unwrap_or_default();
        self.report.ran(step, backend, counts, took, note);
    }

    /// The program a newcomer runs first. It takes every backend in turn by itself.
    fn quickstart(&mut self) {
        let step = "quickstart";
        if let Some(reason) = self.filtered_out() {
            self.report.skipped(step, None, reason);
        } else if self.options.backend.is_some() {
            self.report.skipped(step, None, "runs on every backend, not on one");
        } else {
            let cargo = self.build.cargo("run", ["--release", "-p", API, "--example", "quickstart"]);
            self.check(step, None, &cargo);
        }
    }
}

/// The count of something that passes or fails as one.
fn one(success: bool) -> Counts {
    Counts { passed: usize::from(success), failed: usize::from(!success), ..Counts::default() }
}

/// How a run ended, in words.
fn outcome(finished: &io::Result<Finished>) -> String {
    finished.as_ref().map_or_else(|error| format!("cargo could not be run: {error}"), Finished::outcome)
}

/// What went wrong in a step: the tests to blame, and where that is not all, how it ended.
fn complaints(counts: &Counts, outcome: String) -> String {
    let mut complaints = Vec::new();
    if !counts.failures.is_empty() {
        complaints.push(format!("failed: {}", some(&counts.failures)));
    }
    if counts.failures.is_empty() || counts.unfinished > 0 {
        complaints.push(outcome);
    }
    if counts.unfinished > 0 {
        complaints.push(format!("test programs without a result: {}", counts.unfinished));
    }
    if !counts.endless.is_empty() {
        complaints.push(format!("still running: {}", some(&counts.endless)));
    }
    complaints.join("; ")
}

/// The names of a few tests, and how many more there are.
fn some(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn print(report: &Report) {
    // Nobody may be listening (`| head`); the exit code tells all the same.
    let mut stdout = io::stdout().lock();
    _ = write!(stdout, "\n{report}").and_then(|()| stdout.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suite(options: &Options) -> Suite<'_> {
        let found = vec![
            Availability { backend: Backend::Epoll, missing: None },
            Availability { backend: Backend::Uring, missing: Some("old kernel".to_owned()) },
        ];
        Suite { options, build: Build::default(), found, report: Report::default() }
    }

    #[test]
    fn a_backend_is_left_out_if_it_is_missing_or_another_was_asked_for() {
        let options = Options::default();
        assert_eq!(suite(&options).left_out(Backend::Epoll), None);
        assert_eq!(suite(&options).left_out(Backend::Uring).as_deref(), Some("old kernel"));
        let options = Options { backend: Some(Backend::Uring), ..Options::default() };
        assert_eq!(suite(&options).left_out(Backend::Epoll).as_deref(), Some("--backend uring"));
    }

    fn names<const N: usize>(names: [&str; N]) -> Vec<String> {
        names.map(str::to_owned).to_vec()
    }

    #[test]
    fn only_a_few_tests_are_named() {
        assert_eq!(some(&names(["a", "b"])), "a, b");
        assert_eq!(some(&names(["a", "b", "c", "d", "e"])), "a, b, c and 2 more");
    }

    #[test]
    fn a_step_that_failed_says_what_is_to_blame() {
        let ended = || "exit status: 101".to_owned();
        let failed = Counts { failed: 1, failures: names(["a"]), ..Counts::default() };
        assert_eq!(complaints(&failed, ended()), "failed: a");
        assert_eq!(complaints(&Counts::default(), ended()), "exit status: 101");
        let hung = Counts { failed: 1, unfinished: 1, endless: names(["b"]), ..Counts::default() };
        assert_eq!(
            complaints(&hung, "time limit".to_owned()),
            "time limit; test programs without a result: 1; still running: b"
        );
    }
}
