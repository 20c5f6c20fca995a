//! The loop's backends, and which of them work on this machine.

use clap::ValueEnum;

use crate::cargo::{Build, Finished};
use crate::workspace::API;

/// A backend that loop-api can be built with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    /// Readiness, on mio
    Epoll,
    /// Completion, on io_uring
    Uring,
}

impl Backend {
    /// All of them.
    pub(crate) const ALL: [Self; 2] = [Self::Epoll, Self::Uring];

    /// Its name as a feature of loop-api and as a value of `LOOP_BACKEND`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Epoll => "epoll",
            Self::Uring => "uring",
        }
    }

    /// The crate that implements it.
    pub(crate) fn package(self) -> &'static str {
        match self {
            Self::Epoll => "loop-epoll",
            Self::Uring => "loop-uring",
        }
    }
}

/// Whether tests can run on a backend, or why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Availability {
    /// The backend.
    pub(crate) backend: Backend,
    /// Why it cannot be used, if it cannot.
    pub(crate) missing: Option<String>,
}

/// Asks loop-api, by its example `backends`, what works here.
///
/// # Errors
///
/// What went wrong with the example, in words.
pub(crate) fn probe(build: &Build) -> Result<Vec<Availability>, String> {
    // The profile of the tests, so that what is built here need not be built again for them.
    let cargo = build.cargo("run", ["--profile", "test", "-p", API, "--features", "testing", "--example", "backends"]);
    let Finished { output, .. } = match cargo.read() {
        Ok(finished) if finished.success() => finished,
        Ok(finished) => return Err(format!("`{cargo}` failed ({})", finished.outcome())),
        Err(error) => return Err(format!("`{cargo}` could not be run: {error}")),
    };
    parse(&output).map_err(|problem| format!("`{cargo}` printed {problem}; its output was:\n{output}"))
}

/// Reads one line per backend: its name, `available` or `unavailable`, the reason; tabs in between.
fn parse(output: &str) -> Result<Vec<Availability>, String> {
    let found = |backend: Backend| {
        let line = output.lines().find(|line| line.split('\t').next() == Some(backend.name()));
        let fields: Vec<&str> = line.map(|line| line.split('\t').collect()).unwrap_or_default();
        let missing = match fields[..] {
            [_, "available"] => None,
            [_, "unavailable", reason] => Some(reason.to_owned()),
            [] => return Err(format!("no line for `{}`", backend.name())),
            _ => return Err(format!("a line for `{}` that does not read as expected", backend.name())),
        };
        Ok(Availability { backend, missing })
    };
    Backend::ALL.into_iter().map(found).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_available_or_says_why_not() {
        let found = parse("epoll\tavailable\nuring\tunavailable\tio_uring_setup: EPERM\n").unwrap();
        assert_eq!(found[0], Availability { backend: Backend::Epoll, missing: None });
        assert_eq!(
            found[1],
            Availability { backend: Backend::Uring, missing: Some("io_uring_setup: EPERM".to_owned()) }
        );
    }

    #[test]
    fn output_that_does_not_name_every_backend_is_refused() {
        assert!(parse("epoll\tavailable\n").unwrap_err().contains("no line for `uring`"));
        assert!(parse("epoll\tperhaps\nuring\tavailable\n").unwrap_err().contains("`epoll`"));
    }
}
