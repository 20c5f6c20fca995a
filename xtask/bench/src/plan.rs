//! What is to be measured: every peer that can, on every case of every workload that was asked for.

use std::time::Duration;

use crate::Options;
use crate::params::Params;
use crate::peers::{self, Peer};
use crate::workloads::{self, Kind, Workload};

/// How long a run may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effort {
    Quick,
    Default,
    Full,
}

impl Effort {
    /// How long one measurement of a load on a server lasts.
    pub(crate) fn window(self) -> Duration {
        Duration::from_millis(match self {
            Self::Quick => 200,
            Self::Default => 1000,
            Self::Full => 2000,
        })
    }

    /// How long a workload is repeated for one measurement.
    pub(crate) fn budget(self) -> Duration {
        Duration::from_millis(match self {
            Self::Quick => 60,
            Self::Default => 400,
            Self::Full => 1000,
        })
    }
}

/// One thing to measure: these take turns.
#[derive(Clone)]
pub(crate) struct Entrant {
    pub(crate) peer: &'static Peer,
    /// How it serves, where that is the question.
    pub(crate) style: Option<&'static str>,
}

impl Entrant {
    /// What it is called in the results.
    pub(crate) fn name(&self) -> String {
        match self.style {
            None | Some("") => self.peer.name.to_owned(),
            Some(style) => format!("{} {style}", self.peer.name),
        }
    }
}

/// A case of a workload, with everyone that takes part.
pub(crate) struct Contest {
    pub(crate) workload: &'static Workload,
    pub(crate) params: Params,
    pub(crate) entrants: Vec<Entrant>,
}

/// Whether a name is among those asked for; everything is where nothing was.
fn wanted(name: &str, asked: &[String]) -> bool {
    asked.is_empty() || asked.iter().any(|part| name.contains(part.as_str()))
}

/// The contests that these options ask for, with the peers that run here.
///
/// # Errors
///
/// Nothing is left that could be measured.
pub(crate) fn contests(options: &Options, can_run: impl Fn(&Peer) -> bool) -> Result<Vec<Contest>, String> {
    let asked_for = |peer: &&Peer| {
        wanted(peer.name, &options.peer)
            && options.backend.as_ref().is_none_or(|only| peer.backend.is_none_or(|own| own == only.as_str()))
    };
    let peers: Vec<&'static Peer> = peers::all().iter().filter(asked_for).filter(|peer| can_run(peer)).collect();
    let mut contests = Vec::new();
    for workload in workloads::ALL.iter().filter(|workload| wanted(workload.name, &options.workload)) {
        let cases = (workload.cases)(options.effort()).into_iter();
        for params in cases.filter(|params| wanted(&params.to_string(), &options.case)) {
            let entrants: Vec<_> = peers.iter().flat_map(|peer| entrants(peer, workload)).collect();
            if !entrants.is_empty() {
                contests.push(Contest { workload, params, entrants });
            }
        }
    }
    if contests.is_empty() {
        let names = |names: Vec<&str>| names.join(", ");
        return Err(format!(
            "nothing to measure; the workloads are {}; the peers are {}",
            names(workloads::ALL.iter().map(|workload| workload.name).collect()),
            names(peers::all().iter().map(|peer| peer.name).collect()),
        ));
    }
    Ok(contests)
}

/// As what a peer takes part in a workload.
fn entrants(peer: &'static Peer, workload: &Workload) -> Vec<Entrant> {
    match workload.kind {
        Kind::Echo | Kind::Idle => peer.echo.iter().map(|server| Entrant { peer, style: Some(server.style) }).collect(),
        _ if peer.measure(workload.name).is_some() => vec![Entrant { peer, style: None }],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn plan(args: &[&str]) -> Result<Vec<Contest>, String> {
        let cli = crate::Cli::try_parse_from([&["bench"], args].concat()).unwrap();
        contests(&cli.options, |_| true)
    }

    #[test]
    fn every_workload_has_cases_at_every_effort_and_more_effort_has_no_fewer() {
        for workload in workloads::ALL {
            let cases = [Effort::Quick, Effort::Default, Effort::Full].map(|effort| (workload.cases)(effort).len());
            assert!(cases[0] > 0 && cases.is_sorted(), "{}: {cases:?}", workload.name);
        }
    }

    #[test]
    fn names_pick_workloads_and_peers() {
        let contests = plan(&["--workload", "yield", "--peer", "tokio", "--full", "--case", "tasks=10000"]).unwrap();
        // What contains the text: 10,000 and 100,000, not 1000.
        assert!(!contests.is_empty() && contests.iter().all(|contest| contest.params.get("tasks") != 1000));
        for contest in contests {
            assert_eq!(contest.workload.name, "yield");
            assert!(contest.entrants.iter().all(|entrant| entrant.name() == "tokio"));
        }
    }

    #[test]
    fn a_backend_leaves_out_our_other_one_and_no_peer() {
        let contests = plan(&["--backend", "epoll", "--workload", "yield"]).unwrap();
        let names: Vec<_> = contests[0].entrants.iter().map(Entrant::name).collect();
        assert!(names.iter().any(|name| name == "tokio"), "{names:?}");
        assert!(names.iter().any(|name| name == "ours-epoll"), "{names:?}");
        assert!(!names.iter().any(|name| name == "ours-uring"), "{names:?}");
    }

    #[test]
    fn what_is_not_there_is_an_error_that_names_what_is() {
        let message = plan(&["--workload", "nonesuch"]).err().unwrap();
        assert!(message.contains("spawn_join") && message.contains("tokio"), "{message}");
    }
}
