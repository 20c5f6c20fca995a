//! Features are additive: each backend alone makes a loop, and none is an error that says so.

use super::{Suite, one, outcome};
use crate::backend::Backend;
use crate::cargo::Finished;
use crate::workspace::{self, API};

impl Suite<'_> {
    /// loop-api and its integration tests build with any one backend, whether or not it works here.
    pub(super) fn each_feature_alone(&mut self) {
        for backend in Backend::ALL {
            let (check, tests) = ("loop-api builds with one backend", "loop-api's tests build with one backend");
            let asked = self.options.backend.is_none_or(|only| only == backend);
            if let Some(reason) = self.filtered_out() {
                self.report.skipped(check, Some(backend), reason);
                continue;
            }
            if !asked {
                self.report.skipped(check, Some(backend), &self.left_out(backend).unwrap_or_default());
                continue;
            }
            let alone = ["-p", API, "--no-default-features", "--features"];
            // As a program would have it; then with what the tests want.
            let cargo = self.build.cargo("check", alone).arg(backend.name());
            self.check(check, Some(backend), &cargo);
            if !workspace::integration_tests(API).is_empty() {
                // Checked only: that they run is shown with both, and building them all again takes minutes.
                let cargo = self.build.cargo("check", alone).arg(format!("{},testing", backend.name()));
                self.check(tests, Some(backend), &cargo.args(["--test", "*"]));
            }
        }
    }

    /// loop-api without a backend does not compile, and says which there are.
    pub(super) fn no_feature(&mut self) {
        let step = "loop-api is refused without a backend";
        if let Some(reason) = self.filtered_out() {
            return self.report.skipped(step, None, reason);
        }
        let finished = self.build.cargo("check", ["-p", API, "--no-default-features"]).capture();
        let problem = match &finished {
            Ok(ended) if ended.success() => Some("it compiled".to_owned()),
            Ok(Finished { status: Some(_), output, .. }) if names_the_backends(output) => None,
            Ok(Finished { status: Some(_), output, .. }) => {
                eprintln!("{output}");
                Some("no error names the backends there are".to_owned())
            }
            finished => Some(outcome(finished)),
        };
        self.record(step, None, finished, one(problem.is_none()), problem.unwrap_or_default());
    }
}

/// Whether one of the compiler's errors names every backend.
fn names_the_backends(output: &str) -> bool {
    // What cargo says of its progress names crates such as `loop-epoll` as well; errors end with an empty line.
    let errors = output.split("\n\n").filter_map(|message| message.find("error").map(|start| &message[start..]));
    errors.into_iter().any(|error| Backend::ALL.into_iter().all(|backend| error.contains(backend.name())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_has_to_name_every_backend() {
        let error =
            "    Checking loop-api v0.1.0\nerror: enable the feature `epoll`, `uring` or both\n --> lib.rs:1:1\n\n";
        assert!(names_the_backends(error));
        assert!(!names_the_backends("error: enable the feature `epoll`\n\nerror: could not compile `loop-uring`\n"));
    }

    #[test]
    fn progress_is_no_error() {
        let output =
            "    Checking loop-epoll v0.1.0\n    Checking loop-uring v0.1.0\nerror[E0432]: unresolved import\n\n";
        assert!(!names_the_backends(output));
    }
}
