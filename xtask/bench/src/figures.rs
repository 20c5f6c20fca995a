//! What comes out: the values of every round, and the line of JSON that sums them up.

use serde::{Deserialize, Serialize};

use crate::params::Params;
use crate::statistics::{SHARES, median};

/// One measured value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) metric: String,
    pub(crate) unit: String,
    pub(crate) value: f64,
}

impl Sample {
    pub(crate) fn new(metric: &str, unit: &str, value: f64) -> Self {
        Self { metric: metric.to_owned(), unit: unit.to_owned(), value }
    }

    /// The time that one item took.
    pub(crate) fn nanoseconds(value: f64) -> Self {
        Self::new("time", "ns", value)
    }
}

/// A distribution, told by how many microseconds each share of it does not exceed.
pub(crate) fn distribution(metric: &str, mut micros: impl FnMut(f64) -> f64) -> Vec<Sample> {
    let at = |(share, name): (f64, &str)| Sample::new(&format!("{metric}_{name}"), "µs", micros(share));
    SHARES.into_iter().map(at).collect()
}

/// Whether this is a point of a distribution that others stand for.
pub(crate) fn is_detail(metric: &str) -> bool {
    SHARES[2..].iter().any(|(_, name)| metric.strip_suffix(name).is_some_and(|rest| rest.ends_with('_')))
}

/// All the values of one metric: one peer on one workload, a value per round, `None` where it failed.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) workload: &'static str,
    pub(crate) params: Params,
    pub(crate) peer: String,
    pub(crate) metric: String,
    pub(crate) unit: String,
    pub(crate) values: Vec<Option<f64>>,
}

/// One figure, as it is written to a file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Figure<'a> {
    workload: &'a str,
    params: &'a Params,
    peer: &'a str,
    metric: &'a str,
    unit: &'a str,
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    rounds: usize,
}

impl Series {
    /// The figure; `None` if no round has a value.
    pub(crate) fn figure(&self) -> Option<Figure<'_>> {
        let values: Vec<f64> = self.values.iter().flatten().copied().collect();
        Some(Figure {
            workload: self.workload,
            params: &self.params,
            peer: &self.peer,
            metric: &self.metric,
            unit: &self.unit,
            median: median(&values)?,
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            rounds: values.len(),
        })
    }

    /// Whether this is about the same work as the other one.
    pub(crate) fn same_work(&self, other: &Self) -> bool {
        self.workload == other.workload && self.params == other.params
    }

    /// How it compares with the best of the others in the same round: the median of the rounds' ratios, more being
    /// worse whatever the metric. `None` where no round has both.
    pub(crate) fn ratio(&self, others: &[&Self]) -> Option<f64> {
        let larger = larger_is_better(&self.metric);
        let in_round = |(round, value): (usize, &Option<f64>)| {
            let values = others.iter().filter_map(|other| *other.values.get(round)?);
            let best = values.reduce(if larger { f64::max } else { f64::min })?;
            Some(if larger { best / (*value)? } else { (*value)? / best })
        };
        median(&self.values.iter().enumerate().filter_map(in_round).collect::<Vec<_>>())
    }
}

/// Everything measured so far.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) series: Vec<Series>,
}

impl Figures {
    /// Adds what a peer came to in a round.
    pub(crate) fn add(
        &mut self,
        workload: &'static str,
        params: &Params,
        peer: &str,
        round: usize,
        samples: Vec<Sample>,
    ) {
        for Sample { metric, unit, value } in samples {
            let known = self.series.iter_mut().find(|series| {
                series.workload == workload
                    && series.params == *params
                    && series.peer == peer
                    && series.metric == metric
            });
            let values = match known {
                Some(series) => &mut series.values,
                None => {
                    let (params, peer) = (params.clone(), peer.to_owned());
                    self.series.push(Series { workload, params, peer, metric, unit, values: Vec::new() });
                    &mut self.series.last_mut().expect("it was just pushed").values
                }
            };
            values.resize(values.len().max(round + 1), None);
            values[round] = Some(value);
        }
    }

    /// A line of JSON per figure.
    pub(crate) fn json_lines(&self) -> String {
        let line = |figure| serde_json::to_string(&figure).expect("names and numbers") + "\n";
        self.series.iter().filter_map(Series::figure).map(line).collect()
    }
}

/// Whether more of it is better; of nearly everything, less is.
pub(crate) fn larger_is_better(metric: &str) -> bool {
    metric == "throughput"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(peer: &str, metric: &str, values: &[Option<f64>]) -> Series {
        let (peer, metric, unit) = (peer.to_owned(), metric.to_owned(), "ns".to_owned());
        Series { workload: "yield", params: Params::of(&[("tasks", 10)]), peer, metric, unit, values: values.to_vec() }
    }

    #[test]
    fn a_figure_is_one_line_of_json_with_the_fields_in_order() {
        let mut figures = Figures::default();
        for (round, value) in [(0, 3.0), (1, 1.5), (2, 2.0)] {
            let samples = vec![Sample::nanoseconds(value)];
            figures.add("yield", &Params::of(&[("tasks", 10)]), "someone", round, samples);
        }
        assert_eq!(
            figures.json_lines(),
            "{\"workload\":\"yield\",\"params\":{\"tasks\":10},\"peer\":\"someone\",\"metric\":\"time\",\"unit\":\"ns\",\
             \"median\":2.0,\"min\":1.5,\"max\":3.0,\"rounds\":3}\n"
        );
    }

    #[test]
    fn a_distribution_is_told_by_its_middle_and_its_end_and_the_rest_is_detail() {
        let samples = distribution("late", |share| share * 1000.0);
        let value = |name: &str| samples.iter().find(|sample| sample.metric == name).unwrap().value;
        assert_eq!((value("late_p1"), value("late_p50"), value("late_p999")), (10.0, 500.0, 999.0));
        let (main, detail): (Vec<_>, Vec<_>) = samples.iter().partition(|sample| !is_detail(&sample.metric));
        assert_eq!(main.iter().map(|sample| &sample.metric[..]).collect::<Vec<_>>(), ["late_p50", "late_p99"]);
        assert_eq!(detail.len(), SHARES.len() - 2);
        assert!(!is_detail("memory") && !is_detail("p10"));
    }

    #[test]
    fn a_round_that_failed_is_left_out() {
        let figure = series("p", "time", &[None, Some(5.0), None]);
        let figure = figure.figure().unwrap();
        assert_eq!((figure.median, figure.min, figure.max, figure.rounds), (5.0, 5.0, 5.0, 1));
        assert_eq!(series("p", "time", &[None]).figure(), None);
    }

    #[test]
    fn a_ratio_is_to_the_best_of_the_same_round() {
        let ours = series("ours", "time", &[Some(10.0), Some(30.0), Some(20.0)]);
        let (a, b) =
            (series("a", "time", &[Some(5.0), Some(60.0), None]), series("b", "time", &[Some(8.0), Some(90.0), None]));
        // 10/5 and 30/60: the last round has nobody to compare with.
        assert_eq!(ours.ratio(&[&a, &b]), Some(1.25));
        assert_eq!(ours.ratio(&[]), None);
        let (ours, other) = (series("ours", "throughput", &[Some(50.0)]), series("a", "throughput", &[Some(100.0)]));
        assert_eq!(ours.ratio(&[&other]), Some(2.0));
    }
}
