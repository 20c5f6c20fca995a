//! Which backend a loop is on: what is asked for, or what works here.
//!
//! The environment is the process's, so each test that sets it does so for a child: this program again, with the one
//! test `report` to run.

use std::process::Command;

use loop_api::{BackendKind, LoopError, LoopOptions, available_backends, new_event_loop};

/// In a child: says what a loop came out as. Elsewhere: the loop is on a backend that is known.
#[test]
#[allow(clippy::print_stdout, reason = "the parent reads it")]
fn report() {
    let made = new_event_loop().map(|lp| lp.backend_name());
    match &made {
        Ok(name) => println!("\nmade on: {name}"),
        Err(error) => println!("\nrefused: {error}"),
    }
    if std::env::var_os("BACKENDS_CHILD").is_none() {
        let made = made.unwrap();
        assert!(available_backends().contains(&(made, Ok(()))));
    }
}

/// What `report` says in an environment with this `LOOP_BACKEND`.
fn reported(backend: Option<&str>) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["report", "--exact", "--nocapture"]).env("BACKENDS_CHILD", "1").env_remove("LOOP_BACKEND");
    if let Some(backend) = backend {
        command.env("LOOP_BACKEND", backend);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.starts_with("made on: ") || line.starts_with("refused: "));
    line.unwrap_or_else(|| panic!("{text}")).to_owned()
}

fn first_that_works() -> Option<&'static str> {
    available_backends().into_iter().find(|(_, works)| works.is_ok()).map(|(name, _)| name)
}

#[test]
fn the_environment_may_insist_on_a_backend() {
    for (name, works) in available_backends() {
        match (reported(Some(name)), works) {
            (made, Ok(())) => assert_eq!(made, format!("made on: {name}")),
            (refused, Err(reason)) => {
                assert!(refused.starts_with("refused: ") && refused.contains(name), "{refused}");
                assert!(refused.contains(reason.lines().next().unwrap()), "{refused}");
            }
        }
    }
    let refused = reported(Some("kqueue"));
    for word in ["refused: ", "LOOP_BACKEND", "kqueue", "epoll", "uring"] {
        assert!(refused.contains(word), "{refused}");
    }
}

#[test]
fn left_alone_a_loop_takes_the_first_backend_that_works() {
    let best = first_that_works().expect("a backend works here");
    assert_eq!(reported(None), format!("made on: {best}"));
    assert_eq!(reported(Some("")), format!("made on: {best}"));
}

#[test]
fn a_program_may_insist_whatever_the_environment_says() {
    for kind in BackendKind::ALL {
        let works = available_backends().into_iter().find(|(name, _)| *name == kind.name()).unwrap().1;
        match (LoopOptions::new().backend(*kind).build(), works) {
            (Ok(lp), Ok(())) => assert_eq!(lp.backend_name(), kind.name()),
            (Err(LoopError::Io(error)), Err(reason)) => assert!(error.to_string().contains(&reason), "{error}"),
            (made, works) => panic!("{kind}: {made:?}, {works:?}"),
        }
    }
}
