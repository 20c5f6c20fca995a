//! `--report DIR`: a page that can be kept, with every figure, plots, and what it was measured with.

use std::path::Path;
use std::{env, fs};

use crate::figures::{Figures, Series};
use crate::statistics::SHARES;
use crate::table;
use crate::workloads::{self, Workload};

mod bars;
mod canvas;
mod distributions;
mod stamp;

pub(crate) use stamp::Stamp;

/// The name of the page, so that a host of repositories shows it with the directory.
const PAGE: &str = "README.md";

/// A plot: which metric of a workload it shows.
struct Plot {
    metric: &'static str,
    caption: &'static str,
}

/// What is plotted where a workload has it.
const PLOTS: &[Plot] = &[
    Plot { metric: "time", caption: "time of one" },
    Plot { metric: "cpu", caption: "processor time of one" },
    Plot { metric: "server_cpu", caption: "the server's processor time per request" },
    Plot { metric: "throughput", caption: "requests per second" },
    Plot { metric: "memory", caption: "memory of one" },
];

/// What is plotted as a distribution.
const DISTRIBUTIONS: &[Plot] =
    &[Plot { metric: "latency", caption: "latency" }, Plot { metric: "late", caption: "lateness" }];

/// Writes the page and its plots.
///
/// # Errors
///
/// The operating system's, and which file it was.
pub(crate) fn write(directory: &Path, figures: &Figures, stamp: &Stamp) -> Result<(), String> {
    let failed = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    fs::create_dir_all(directory).map_err(|error| failed(directory, &error))?;
    let mut page = format!("# The bench\n\n{stamp}\n");
    for workload in workloads::ALL {
        let of_workload: Vec<&Series> =
            figures.series.iter().filter(|series| series.workload == workload.name).collect();
        if of_workload.is_empty() {
            continue;
        }
        page.push_str(&format!("\n## {}\n\n{}.\n", workload.name, capital(workload.about)));
        let bars = PLOTS.iter().map(|plot| (plot, draw(workload, plot, &of_workload)));
        let curves = DISTRIBUTIONS.iter().map(|plot| (plot, draw_distribution(workload, plot, &of_workload)));
        for (plot, svg) in bars.chain(curves) {
            let Some(svg) = svg else { continue };
            let file = format!("{}-{}.svg", workload.name, plot.metric);
            let path = directory.join(&file);
            fs::write(&path, svg).map_err(|error| failed(&path, &error))?;
            page.push_str(&format!("\n![{}: {}]({file})\n", workload.name, plot.caption));
        }
        page.push_str(&table::markdown(&of_workload));
    }
    let path = directory.join(PAGE);
    fs::write(&path, page).map_err(|error| failed(&path, &error))
}

/// The plot as SVG; `None` if the workload has no such metric.
fn draw(workload: &Workload, plot: &Plot, series: &[&Series]) -> Option<String> {
    let mut panels: Vec<bars::Panel> = Vec::new();
    let mut unit = "";
    for &one in series.iter().filter(|one| one.metric == plot.metric) {
        let Some(figure) = one.figure() else { continue };
        unit = &one.unit;
        let title = one.params.to_string();
        let bar = bars::Bar { name: one.peer.clone(), value: figure.median, low: figure.min, high: figure.max };
        match panels.iter_mut().find(|panel| panel.title == title) {
            Some(panel) => panel.bars.push(bar),
            None => panels.push(bars::Panel { title, bars: vec![bar] }),
        }
    }
    if panels.is_empty() {
        return None;
    }
    let larger = crate::figures::larger_is_better(plot.metric);
    for panel in &mut panels {
        panel.bars.sort_by(|a, b| if larger { b.value.total_cmp(&a.value) } else { a.value.total_cmp(&b.value) });
    }
    let better = if larger { "more is better" } else { "less is better" };
    bars::draw(&format!("{}: {}, {unit} ({better})", workload.name, plot.caption), &panels).ok()
}

/// The distributions as SVG, of each point the median over the rounds; `None` if the workload has no such metric.
fn draw_distribution(workload: &Workload, plot: &Plot, series: &[&Series]) -> Option<String> {
    let mut shares = SHARES;
    shares.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut panels: Vec<distributions::Panel> = Vec::new();
    let middle = format!("{}_p50", plot.metric);
    let mut unit = "";
    for &one in series.iter().filter(|one| one.metric == middle) {
        unit = &one.unit;
        let point = |(share, name): (f64, &str)| {
            let metric = format!("{}_{name}", plot.metric);
            let point = series.iter().find(|it| it.same_work(one) && it.peer == one.peer && it.metric == metric)?;
            Some((share, point.figure()?.median))
        };
        let line =
            distributions::Line { name: one.peer.clone(), points: shares.into_iter().filter_map(point).collect() };
        let title = one.params.to_string();
        match panels.iter_mut().find(|panel| panel.title == title) {
            Some(panel) => panel.lines.push(line),
            None => panels.push(distributions::Panel { title, lines: vec![line] }),
        }
    }
    if panels.is_empty() {
        return None;
    }
    distributions::draw(&format!("{}: {}, {unit} (less is better)", workload.name, plot.caption), &panels).ok()
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// The command that asks for the same again.
fn command_line() -> String {
    let options: Vec<_> = env::args().skip(1).collect();
    format!("cargo xtask bench {}", options.join(" ")).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::{Sample, distribution};
    use crate::params::Params;

    #[test]
    fn a_latency_is_drawn_as_a_distribution_and_told_by_two_figures() {
        let directory = env::temp_dir().join(format!("bench-distribution-{}", std::process::id()));
        let mut figures = Figures::default();
        for (peer, factor) in [("ours-epoll", 1.0), ("tokio", 2.0)] {
            let samples = distribution("late", |share| factor * (1.0 + 100.0 * share));
            figures.add("sleep", &Params::of(&[("micros", 50)]), peer, 0, samples);
        }
        write(&directory, &figures, &Stamp::default()).unwrap();
        let page = fs::read_to_string(directory.join(PAGE)).unwrap();
        let svg = fs::read_to_string(directory.join("sleep-late.svg")).unwrap();
        fs::remove_dir_all(&directory).unwrap();
        assert!(page.contains("late_p50") && page.contains("late_p99") && !page.contains("late_p10"), "{page}");
        assert!(
            svg.contains("tokio") && svg.contains("p99.9") && svg.contains("p1") && svg.contains("lateness"),
            "{svg}"
        );
    }

    #[test]
    fn a_page_has_plots_and_tables_of_what_was_measured_and_of_nothing_else() {
        let directory = env::temp_dir().join(format!("bench-report-{}", std::process::id()));
        let mut figures = Figures::default();
        for (peer, value) in [("ours-epoll", 30.0), ("tokio", 20.0)] {
            figures.add("yield", &Params::of(&[("tasks", 5)]), peer, 0, vec![Sample::nanoseconds(value)]);
        }
        write(&directory, &figures, &Stamp::default()).unwrap();
        let page = fs::read_to_string(directory.join(PAGE)).unwrap();
        let svg = fs::read_to_string(directory.join("yield-time.svg")).unwrap();
        fs::remove_dir_all(&directory).unwrap();
        assert!(page.contains("## yield") && page.contains("(yield-time.svg)") && !page.contains("## echo"), "{page}");
        assert!(page.contains("| ours-epoll | 30.0 |") && page.contains("×1.50"), "{page}");
        assert!(svg.starts_with("<svg") && svg.contains("tokio") && svg.contains("less is better"), "{svg}");
    }
}
