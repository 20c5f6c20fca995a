//! Every scenario has its Python half, its Rust half and its trace, in the same order, and both halves name the same rows.

use std::collections::BTreeSet;
use std::fs;

use crate::stage::{directory, sections};

/// A half of a scenario: its name, and the rows it says it shows.
#[derive(Debug, PartialEq)]
struct Half {
    name: String,
    rows: Vec<String>,
}

/// The subjects, as the files beside this one tell: whatever has scenarios in Python, or a trace.
fn subjects() -> BTreeSet<String> {
    let files = fs::read_dir(directory()).expect("the directory of the scenarios").flatten();
    let subjects = files.filter_map(|file| {
        let name = file.file_name().into_string().ok()?;
        name.strip_suffix(".trace").or_else(|| name.strip_suffix(".py")).map(str::to_owned)
    });
    subjects.filter(|name| name != "scenario" && name != "record").collect()
}

fn source(file: &str) -> String {
    fs::read_to_string(directory().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The words of a text that are ids of rows: `LIFE-03`.
fn rows(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let is_row = |word: &&str| {
        word.split_once('-').is_some_and(|(page, number)| {
            page.starts_with(|c: char| c.is_ascii_uppercase()) && number.parse::<u32>().is_ok_and(|_| number.len() == 2)
        })
    };
    words.filter(is_row).map(str::to_owned).collect()
}

/// `@scenario("ROW", ...)`, then the function.
fn python_halves(source: &str) -> Vec<Half> {
    let mut halves = Vec::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("@scenario(") {
            let function = lines.next().unwrap_or_default();
            let function = function.trim_start_matches("async ").trim_start_matches("def ");
            halves.push(Half { name: function.split('(').next().unwrap_or_default().to_owned(), rows: rows(line) });
        }
    }
    halves
}

/// `/// ROW, ...`, then `#[test]`, then the function.
fn rust_halves(source: &str) -> Vec<Half> {
    let lines: Vec<&str> = source.lines().collect();
    let tests = lines.windows(3).filter(|lines| lines[1] == "#[test]");
    tests
        .map(|lines| {
            let name = lines[2].trim_start_matches("fn ").split('(').next().unwrap_or_default().to_owned();
            Half { name, rows: rows(lines[0]) }
        })
        .collect()
}

#[test]
fn every_scenario_has_both_halves_and_a_trace() {
    let main = source("main.rs");
    for subject in subjects() {
        assert!(main.contains(&format!("\nmod {subject};\n")), "{subject}.rs is no module of main.rs");
        let python = python_halves(&source(&format!("{subject}.py")));
        let rust = rust_halves(&source(&format!("{subject}.rs")));
        for (python, rust) in python.iter().zip(&rust) {
            assert_eq!(python, rust, "in {subject}: the two halves, Python's first");
            assert!(!python.rows.is_empty(), "{subject}::{} names no row", python.name);
        }
        assert_eq!(python.len(), rust.len(), "in {subject}: as many scenarios in Python as in Rust");
        let traces: Vec<String> = sections(&format!("{subject}.trace")).into_iter().map(|trace| trace.name).collect();
        let names: Vec<String> = python.into_iter().map(|half| half.name).collect();
        assert_eq!(traces, names, "in {subject}.trace: record it anew");
    }
}

#[test]
fn every_difference_is_of_a_scenario_and_has_a_reason() {
    for difference in sections("differences.txt") {
        let Some((subject, name)) = difference.name.split_once("::") else {
            panic!("{}: SUBJECT::SCENARIO is meant", difference.name);
        };
        let known = sections(&format!("{subject}.trace")).into_iter().any(|trace| trace.name == name);
        assert!(known, "{} is no scenario", difference.name);
        assert!(difference.reason.len() > 20, "{} has no reason", difference.name);
    }
}
