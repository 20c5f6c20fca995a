//! The loom models: every order in which the threads of a small program can meet.

use std::env;

use super::Suite;
use crate::cargo::Build;
use crate::workspace;

impl Suite<'_> {
    /// The tests in modules named `loom`, with std's synchronisation replaced by loom's.
    pub(super) fn loom_models(&mut self) {
        let step = "loom models";
        let reason = if self.options.skip_loom { Some("--skip-loom") } else { self.filtered_out() };
        if let Some(reason) = reason {
            return self.report.skipped(step, None, reason);
        }
        let build = Build {
            // `--cfg loom` is another build of everything; beside the ordinary one, not instead of it.
            target_dir: Some(workspace::target_dir("loom").display().to_string()),
            rustflags: Some("--cfg loom".to_owned()),
            ..Build::default()
        };
        let args = ["--release", "--no-fail-fast", "-p", "loop-core", "-p", "loop-executor", "--lib"];
        let preemptions = env::var("LOOM_MAX_PREEMPTIONS").unwrap_or_else(|_| "3".to_owned());
        let cargo = build
            .cargo("test", args)
            .env("LOOM_MAX_PREEMPTIONS", preemptions)
            // Models are optimised because they run a great many times; linking them as a release takes longer than that.
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .arg("loom");
        self.harness_as_is(step, None, &cargo);
    }
}
