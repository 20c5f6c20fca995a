//! Random scripts of connects, sends, short reads, cancels, half-closes and closes, played on every backend: the kernel's
//! (the one that `LOOP_BACKEND` names, else each that works here) and the simulated ones.
//!
//! * `script` — a script, from its seed;
//! * `play` — a loop that plays it, and what it has to show for it.
//!
//! Whatever the backend, every byte is delivered once and in order, every operation ends exactly once, and nothing is left
//! behind: no descriptor, no receive buffer, no operation. And what is decided by the script alone is the same on all.
//!
//! `LOOP_SCRIPTS=N` plays N scripts instead of some thousands; `LOOP_SCRIPT_SEED=S` plays the one of a failure again.

#[path = "../loops/mod.rs"]
mod loops;

mod play;
mod script;

use std::panic::{AssertUnwindSafe, catch_unwind};

use loop_api::BackendKind;
use play::{Stage, play};
use script::Script;

/// How many scripts are played where nobody says otherwise.
const SCRIPTS: u64 = 2000;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not `{text}`")))
}

fn stages() -> Vec<Stage> {
    let wanted = std::env::var("LOOP_BACKEND").ok().filter(|name| !name.is_empty());
    let kinds = BackendKind::ALL.iter().filter(|kind| wanted.as_deref().is_none_or(|name| name == kind.name()));
    let works = |kind: &&BackendKind| loop_api::LoopOptions::new().backend(**kind).build().is_ok();
    let real = kinds.filter(works).map(|kind| Stage::Real(*kind));
    [Stage::Readiness, Stage::Completion].into_iter().chain(real).collect()
}

#[test]
fn every_script_delivers_each_byte_once_on_every_backend() {
    let stages = stages();
    assert!(stages.len() > 2, "a backend of the kernel's is to be had");
    let seeds = match number("LOOP_SCRIPT_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("LOOP_SCRIPTS").unwrap_or(SCRIPTS),
    };
    let descriptors = play::descriptors();
    for seed in seeds {
        let script = Script::of(seed);
        let mut first = None;
        for stage in &stages {
            let played = catch_unwind(AssertUnwindSafe(|| play(*stage, &script)));
            let shown = played.unwrap_or_else(|panic| {
                let why = panic.downcast_ref::<String>().cloned();
                let why = why.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                failed(seed, *stage, &script, &why.unwrap_or_default())
            });
            match &first {
                None => first = Some((*stage, shown)),
                Some((before, seen)) if *seen != shown => {
                    failed(seed, *stage, &script, &format!("it shows {shown:#?}, and on {before:?} {seen:#?}"));
                }
                Some(_) => {}
            }
        }
        if seed % 64 == 0 {
            assert_eq!(
                play::descriptors(),
                descriptors,
                "descriptors are left behind by the script of a seed up to {seed}"
            );
        }
    }
    assert_eq!(play::descriptors(), descriptors, "descriptors are left behind");
}

fn failed(seed: u64, stage: Stage, script: &Script, why: &str) -> ! {
    panic!(
        "seed {seed} on {stage:?}: {why}\n{script}\nagain: LOOP_SCRIPT_SEED={seed} cargo test -p loop-api --test scripts"
    )
}

#[test]
fn a_seed_is_one_script_and_another_seed_another() {
    assert_eq!(Script::of(7), Script::of(7));
    assert_ne!(Script::of(7), Script::of(8));
}

/// The test of the tests: a byte that is lost, doubled or exchanged is noticed.
#[test]
fn a_wrong_byte_is_noticed() {
    let sent = script::bytes(3, 0, 100);
    assert_eq!(script::first_wrong(3, 0, &sent), None);
    let mut lost = sent.clone();
    lost.remove(40);
    assert_eq!(script::first_wrong(3, 0, &lost), Some(40));
    let mut doubled = sent.clone();
    doubled.insert(40, sent[40]);
    assert_eq!(script::first_wrong(3, 0, &doubled), Some(41));
    assert_eq!(script::first_wrong(4, 0, &sent).map(|place| place < 3), Some(true));
}
