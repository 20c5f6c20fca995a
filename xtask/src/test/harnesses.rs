//! The steps that run test harnesses: unit, doc and integration tests.
//!
//! They select `--workspace`, even to run the tests of a few crates: what cargo builds depends
//! on the features that the selected packages want together, and another selection is another
//! build of everything. loop-api alone wants the same as the workspace.

use super::Suite;
use crate::backend::Backend;
use crate::cargo::Cargo;
use crate::workspace::{self, API, ORACLE};

impl Suite<'_> {
    /// The unit tests of all crates.
    pub(super) fn unit_tests(&mut self) {
        for backend in Backend::ALL {
            if let Some(reason) = self.left_out(backend) {
                self.report.skipped(&format!("all tests of {}", backend.package()), Some(backend), &reason);
            }
        }
        let cargo = self.workspace(["--lib", "--bins"]);
        self.harness("unit tests", self.options.backend, cargo);
    }

    /// The examples in the documentation, the README's among them.
    pub(super) fn doc_tests(&mut self) {
        let cargo = self.workspace(["--doc"]);
        self.harness("doc tests", self.options.backend, cargo);
    }

    /// The integration tests that need no choice of a backend.
    ///
    /// They are selected by name, in the whole workspace: should loop-api have one of the same
    /// name, it runs along, on the default backend.
    pub(super) fn integration_tests_of_the_crates(&mut self) {
        let step = "integration tests of the crates";
        let left_out = self.packages_left_out();
        let mut cargo = self.workspace([]);
        let mut any = false;
        for package in workspace::crates().iter().filter(|package| !left_out.contains(&package.as_str())) {
            for test in workspace::integration_tests(package) {
                cargo = cargo.arg("--test").arg(test);
                any = true;
            }
        }
        if any {
            self.harness(step, self.options.backend, cargo);
        } else {
            self.report.skipped(step, None, "there are none");
        }
    }

    /// The integration tests of loop-api, once per backend, which is checked to keep its contract.
    pub(super) fn integration_tests_of_the_api(&mut self) {
        self.tests_of_the_api(&format!("integration tests of {API}"), "*");
    }

    /// Those of them that compare this library with CPython.
    pub(super) fn oracle(&mut self) {
        self.tests_of_the_api("paired scenarios", ORACLE);
    }

    fn tests_of_the_api(&mut self, step: &str, tests: &str) {
        for backend in Backend::ALL {
            if let Some(reason) = self.left_out(backend) {
                self.report.skipped(step, Some(backend), &reason);
            } else if workspace::integration_tests(API).is_empty() {
                self.report.skipped(step, Some(backend), "there are none");
            } else {
                let args = ["-p", API, "--features", "testing", "--no-fail-fast", "--test", tests];
                let cargo = self.build.cargo("test", args);
                let mut cargo = cargo.env("LOOP_BACKEND", backend.name()).env("LOOP_CHECKED", "1");
                for (variable, value) in
                    [("LOOP_SCRIPTS", self.options.scripts), ("LOOP_SCRIPT_SEED", self.options.script_seed)]
                {
                    if let Some(value) = value {
                        cargo = cargo.env(variable, value.to_string());
                    }
                }
                self.harness(step, Some(backend), cargo);
            }
        }
    }

    /// `cargo test` on the workspace, without the crates of backends that are left out.
    fn workspace<const N: usize>(&self, targets: [&str; N]) -> Cargo {
        let mut cargo = self.build.cargo("test", ["--workspace", "--all-features", "--no-fail-fast"]);
        for package in self.packages_left_out() {
            cargo = cargo.args(["--exclude", package]);
        }
        if let Some(backend) = self.options.backend {
            cargo = cargo.env("LOOP_BACKEND", backend.name());
        }
        cargo.args(targets)
    }

    fn packages_left_out(&self) -> Vec<&'static str> {
        let left_out = Backend::ALL.into_iter().filter(|backend| self.left_out(*backend).is_some());
        left_out.map(Backend::package).collect()
    }
}
