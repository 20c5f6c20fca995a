//! What came out of a test run: a row per step, and one closing line.

use std::fmt;
use std::time::Duration;

use crate::backend::Backend;
use crate::counts::Counts;

/// The rows of a test run so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

/// One step.
#[derive(Debug)]
struct Row {
    step: String,
    backend: Option<Backend>,
    /// `None` if the step was skipped.
    ran: Option<(Counts, Duration)>,
    note: String,
}

/// The sums over a run. A step that is no test harness counts as one test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// What passed.
    pub(crate) passed: usize,
    /// What failed.
    pub(crate) failed: usize,
    /// Tests ignored and steps skipped.
    pub(crate) skipped: usize,
}

impl Report {
    /// A step that ran.
    pub(crate) fn ran(&mut self, step: &str, backend: Option<Backend>, counts: Counts, took: Duration, note: String) {
        self.rows.push(Row { step: step.to_owned(), backend, ran: Some((counts, took)), note });
    }

    /// A step that did not run, and why.
    pub(crate) fn skipped(&mut self, step: &str, backend: Option<Backend>, reason: &str) {
        self.rows.push(Row { step: step.to_owned(), backend, ran: None, note: format!("skipped: {reason}") });
    }

    /// The sums over all steps.
    pub(crate) fn totals(&self) -> Totals {
        self.rows.iter().fold(Totals::default(), |sum, row| match &row.ran {
            Some((counts, _)) => Totals {
                passed: sum.passed + counts.passed,
                failed: sum.failed + counts.failed,
                skipped: sum.skipped + counts.ignored,
            },
            None => Totals { skipped: sum.skipped + 1, ..sum },
        })
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

impl fmt::Display for Report {
    /// The table, then the closing line, each ended.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEAD: [&str; 7] = ["step", "backend", "passed", "failed", "ignored", "seconds", "note"];
        let cells: Vec<[String; 7]> =
            [HEAD.map(str::to_owned)].into_iter().chain(self.rows.iter().map(cells)).collect();
        let widths: [usize; 7] =
            std::array::from_fn(|column| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
        for (index, row) in cells.iter().enumerate() {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
                // Names are read from the left, numbers from the right.
                let number = (2..=5).contains(&column);
                let padded = if number { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
                line += if column == 0 { "" } else { " | " };
                line += &padded;
            }
            writeln!(f, "{}", line.trim_end())?;
            if index == 0 {
                writeln!(f, "{}", widths.map(|width| "-".repeat(width)).join("-+-"))?;
            }
        }
        writeln!(f, "\n{}", self.totals())
    }
}

fn cells(row: &Row) -> [String; 7] {
    let backend = row.backend.map_or("", Backend::name).to_owned();
    let [passed, failed, ignored, seconds] = match &row.ran {
        Some((counts, took)) => [
            counts.passed.to_string(),
            counts.failed.to_string(),
            counts.ignored.to_string(),
            format!("{:.1}", took.as_secs_f64()),
        ],
        None => [const { "-" }; 4].map(str::to_owned),
    };
    [row.step.clone(), backend, passed, failed, ignored, seconds, row.note.clone()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(passed: usize, failed: usize, ignored: usize) -> Counts {
        Counts { passed, failed, ignored, ..Counts::default() }
    }

    fn report() -> Report {
        let mut report = Report::default();
        report.ran("unit tests", None, counts(120, 0, 2), Duration::from_millis(1250), String::new());
        report.ran("integration", Some(Backend::Epoll), counts(7, 1, 0), Duration::from_secs(12), "failed: x".into());
        report.skipped("integration", Some(Backend::Uring), "no io_uring");
        report
    }

    #[test]
    fn ignored_tests_and_skipped_steps_are_skipped() {
        assert_eq!(report().totals(), Totals { passed: 127, failed: 1, skipped: 3 });
    }

    #[test]
    fn the_table_is_aligned_and_closes_with_the_totals() {
        let expected = "\
step        | backend | passed | failed | ignored | seconds | note
------------+---------+--------+--------+---------+---------+---------------------
unit tests  |         |    120 |      0 |       2 |     1.2 |
integration | epoll   |      7 |      1 |       0 |    12.0 | failed: x
integration | uring   |      - |      - |       - |       - | skipped: no io_uring

127 passed, 1 failed, 3 skipped
";
        assert_eq!(report().to_string(), expected);
    }

    #[test]
    fn an_empty_report_has_a_closing_line_too() {
        assert!(Report::default().to_string().ends_with("\n0 passed, 0 failed, 0 skipped\n"));
    }
}
