//! The results as a table for the terminal: a block per load, a line per peer, the best first.

use std::fmt::Write as _;

use crate::figures::{Figures, Series, is_detail, larger_is_better};
use crate::peers;

/// The whole table.
pub(crate) fn render(figures: &Figures) -> String {
    let series: Vec<&Series> = figures.series.iter().collect();
    let mut text = String::new();
    for (title, rows) in blocks(series) {
        _ = writeln!(text, "\n{title}");
        text.push_str(&align(&rows));
    }
    text
}

/// The same for a page: of one workload.
pub(crate) fn markdown(series: &[&Series]) -> String {
    let mut text = String::new();
    for (title, rows) in blocks(series.to_vec()) {
        _ = writeln!(text, "\n**{title}**\n");
        for (number, row) in rows.iter().enumerate() {
            _ = writeln!(text, "| {} |", row.join(" | "));
            if number == 0 {
                _ = writeln!(text, "|---|{}", "---:|".repeat(row.len() - 1));
            }
        }
    }
    text
}

/// A title and rows for each load.
fn blocks(mut rest: Vec<&Series>) -> Vec<(String, Vec<Vec<String>>)> {
    let mut blocks = Vec::new();
    while let Some(&first) = rest.first() {
        let (block, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|series| series.same_work(first));
        let title = format!("{} {}", first.workload, first.params);
        blocks.push((title.trim_end().to_owned(), rows(&block)));
        rest = others;
    }
    blocks
}

/// The best of those whom one would take instead: neither ours nor a lower bound.
fn compared<'a>(block: &[&'a Series], metric: &str) -> Vec<&'a Series> {
    block.iter().copied().filter(|series| series.metric == metric && peers::is_compared_with(&series.peer)).collect()
}

/// The lines of one load. The first metric decides the order and has the ratio.
fn rows(block: &[&Series]) -> Vec<Vec<String>> {
    let mut metrics: Vec<&str> = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for series in block.iter().filter(|series| !is_detail(&series.metric)) {
        if !metrics.contains(&series.metric.as_str()) {
            metrics.push(&series.metric);
        }
        if !names.contains(&series.peer.as_str()) {
            names.push(&series.peer);
        }
    }
    let Some(&main) = metrics.first() else { return Vec::new() };
    let find = |peer: &str, metric: &str| block.iter().copied().find(|s| s.peer == peer && s.metric == metric);
    let rank = |peer: &&str| {
        let median = find(peer, main).and_then(|series| Some(series.figure()?.median)).unwrap_or(f64::INFINITY);
        if larger_is_better(main) { -median } else { median }
    };
    names.sort_by(|a, b| rank(a).total_cmp(&rank(b)));

    let unit = |metric: &str| block.iter().find(|series| series.metric == metric).map_or("", |series| &series.unit);
    let mut rows =
        vec![vec![String::new(), format!("{main} {}", unit(main)), "min–max".to_owned(), "to best peer".to_owned()]];
    rows[0].extend(metrics[1..].iter().map(|metric| format!("{metric} {}", unit(metric))));
    for name in names {
        let mut row = vec![name.to_owned()];
        match find(name, main).and_then(|series| Some((series, series.figure()?))) {
            Some((series, figure)) => {
                row.push(number(figure.median));
                row.push(format!("{}–{}", number(figure.min), number(figure.max)));
                let ratio = series.ratio(&compared(block, main));
                row.push(ratio.map_or_else(String::new, |ratio| format!("×{ratio:.2}")));
            }
            None => row.resize(4, String::new()),
        }
        for metric in &metrics[1..] {
            let figure = find(name, metric).and_then(Series::figure);
            row.push(figure.map_or_else(String::new, |figure| number(figure.median)));
        }
        rows.push(row);
    }
    rows
}

/// Columns of even width: the first to the left, figures to the right.
fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width_of = |column: usize| rows.iter().filter_map(|row| Some(row.get(column)?.chars().count())).max();
    let widths: Vec<usize> = (0..columns).map(|column| width_of(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            _ = if column == 0 { write!(line, "  {cell:<width$}") } else { write!(line, "  {cell:>width$}") };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Three digits, or all of those before the point.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        small if small < 9.995 => format!("{value:.2}"),
        medium if medium < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Sample;
    use crate::params::Params;

    #[test]
    fn numbers_have_three_digits_at_least() {
        let shown = [0.0, 1.234, 9.999, 56.78, 99.96, 123.4, 12_345.6].map(number);
        assert_eq!(shown, ["0.00", "1.23", "10.0", "56.8", "100", "123", "12346"]);
    }

    #[test]
    fn the_best_comes_first_and_wins_and_losses_are_ratios_to_the_best_peer() {
        let mut figures = Figures::default();
        for (peer, value) in [("ours-epoll", 30.0), ("tokio", 20.0), ("ours-uring", 10.0)] {
            for round in 0..2 {
                figures.add("yield", &Params::of(&[("tasks", 5)]), peer, round, vec![Sample::nanoseconds(value)]);
            }
        }
        let text = render(&figures);
        let lines: Vec<_> = text.trim().lines().map(str::trim).collect();
        assert_eq!(lines[0], "yield tasks=5");
        assert!(lines[1].starts_with("time ns"), "{text}");
        let ends = [("ours-uring", "×0.50"), ("tokio", "×1.00"), ("ours-epoll", "×1.50")];
        for (line, (start, end)) in lines[2..].iter().zip(ends) {
            assert!(line.starts_with(start) && line.ends_with(end), "{text}");
        }
        assert_eq!(lines.len(), 5);
    }
}
