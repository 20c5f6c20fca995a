//! What a test harness said: how many tests passed, failed and were ignored.

/// The results of one or more test harnesses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Tests that passed.
    pub(crate) passed: usize,
    /// Tests that failed, and [`unfinished`](Self::unfinished) harnesses.
    pub(crate) failed: usize,
    /// Tests that were ignored.
    pub(crate) ignored: usize,
    /// The names of failed tests.
    pub(crate) failures: Vec<String>,
    /// Harnesses that crashed or were ended: they announced their tests and gave no result.
    pub(crate) unfinished: usize,
    /// The names of tests that a harness complained of for taking long, and that never ended.
    pub(crate) endless: Vec<String>,
}

impl Counts {
    /// Reads the output of test harnesses, one after the other.
    pub(crate) fn read(output: &str) -> Self {
        let mut counts = Self::default();
        for line in output.lines() {
            let line = without_colours(line);
            if let Some([passed, failed, ignored]) = result(&line) {
                counts.passed += passed;
                counts.failed += failed;
                counts.ignored += ignored;
                counts.unfinished = counts.unfinished.saturating_sub(1);
            } else if announces(&line) {
                counts.unfinished += 1;
            } else if let Some(name) = takes_long(&line) {
                counts.endless.push(name.to_owned());
            } else if let Some((name, outcome)) = test(&line) {
                counts.endless.retain(|endless| endless != name);
                if outcome == "FAILED" {
                    counts.failures.push(name.to_owned());
                }
            }
        }
        // What failed in a harness without a result is known by its name only.
        counts.failed = counts.failed.max(counts.failures.len()) + counts.unfinished;
        counts
    }

    /// How many tests there were at all.
    pub(crate) fn total(&self) -> usize {
        self.passed + self.failed + self.ignored
    }
}

/// `test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.05s`
fn result(line: &str) -> Option<[usize; 3]> {
    let (_, counts) = line.trim().strip_prefix("test result: ")?.split_once(". ")?;
    let mut fields = counts.split("; ");
    let mut field = |name: &str| fields.next()?.strip_suffix(name)?.trim_end().parse().ok();
    Some([field("passed")?, field("failed")?, field("ignored")?])
}

/// `running 13 tests`
fn announces(line: &str) -> bool {
    let mut words = line.split(' ');
    words.next() == Some("running")
        && words.next().is_some_and(|count| count.parse::<usize>().is_ok())
        && matches!(words.next(), Some("test" | "tests"))
        && words.next().is_none()
}

/// `test module::name ... FAILED`
fn test(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("test ")?.split_once(" ... ")
}

/// `test module::name has been running for over 60 seconds`
fn takes_long(line: &str) -> Option<&str> {
    Some(line.strip_prefix("test ")?.split_once(" has been running for over ")?.0)
}

/// The line without the terminal's colour codes, which CARGO_TERM_COLOR may put into it.
fn without_colours(line: &str) -> String {
    let mut pieces = line.split("\x1b[");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |plain, piece| plain + piece.split_once('m').map_or("", |(_, rest)| rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSING: &str = "
running 3 tests
test task::wakes_once ... ok
test task::counts ... ignored, takes a minute
test task::cancels ... ok

test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.05s
";

    const FAILING: &str = "
running 2 tests
test pass::runs_in_order ... FAILED
test pass::skips_cancelled ... ok

failures:
    pass::runs_in_order

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn harnesses_add_up() {
        let counts = Counts::read(&format!("{PASSING}{FAILING}"));
        assert_eq!((counts.passed, counts.failed, counts.ignored), (3, 1, 1));
        assert_eq!(counts.failures, ["pass::runs_in_order"]);
        assert_eq!(counts.total(), 5);
    }

    #[test]
    fn a_harness_without_tests_counts_nothing() {
        let output = "running 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out; finished in 0.00s\n";
        assert_eq!(Counts::read(output), Counts::default());
    }

    #[test]
    fn a_harness_that_crashes_is_a_failure() {
        let counts = Counts::read(&format!("running 7 tests\ntest ring::maps ... ok\n{PASSING}"));
        assert_eq!((counts.passed, counts.failed, counts.unfinished), (2, 1, 1));
    }

    #[test]
    fn a_failure_before_a_crash_is_counted() {
        let counts = Counts::read(&format!("running 7 tests\ntest ring::maps ... FAILED\n{FAILING}"));
        assert_eq!((counts.passed, counts.failed), (1, 3));
    }

    #[test]
    fn a_test_that_takes_long_is_named_unless_it_ends() {
        let output = "running 2 tests
test a has been running for over 60 seconds
test b has been running for over 60 seconds
test a ... ok
";
        assert_eq!(Counts::read(output).endless, ["b"]);
    }

    #[test]
    fn a_harness_run_by_a_test_is_counted_too() {
        let inner = "running 1 test\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0s";
        let outer = "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0s";
        let counts = Counts::read(&format!("running 1 test\n{inner}\n{outer}"));
        assert_eq!((counts.passed, counts.failed), (2, 0));
    }

    #[test]
    fn colours_do_not_hide_a_result() {
        let output = "test result: \x1b[32mok\x1b(B\x1b[m. 5 passed; 0 failed; 0 ignored; 0 measured";
        assert_eq!(Counts::read(output).passed, 5);
        let output = "test a::b ... \x1b[31mFAILED\x1b[0m";
        assert_eq!(Counts::read(output).failures, ["a::b"]);
    }

    #[test]
    fn what_only_looks_like_a_result_is_no_result() {
        for line in ["test result: ok", "test result: ok. many passed; 0 failed; 0 ignored", "running 3 tests at once"]
        {
            assert_eq!(Counts::read(line), Counts::default(), "{line}");
        }
    }
}
