//! Debug mode: what takes long is logged, and reports say where things were made.

mod logs;
mod loops;

use std::thread;
use std::time::Duration;

use loop_api::{LoopBuilder, LoopOptions};
use loop_core::testing::VirtualBackend;
use loops::{collect_reports, new_loop, one_pass, quiet_panic};

/// The warnings and errors that are logged while `code` runs.
fn logged(code: impl FnOnce()) -> Vec<String> {
    let ((), records) = logs::capture(code);
    logs::complaints(&records).into_iter().map(str::to_owned).collect()
}

/// DBG-01.
#[test]
fn debug_mode_can_be_read_and_changed_also_while_running() {
    let lp = LoopOptions::new().debug(true).build().unwrap();
    assert!(lp.get_debug());
    lp.set_debug(false);
    assert!(!lp.get_debug());
    let inside = lp.clone();
    lp.call_soon(move || inside.set_debug(true)).unwrap();
    one_pass(&lp);
    assert!(lp.get_debug());
    assert!(!LoopBuilder::new(Box::new(VirtualBackend::new())).debug(false).build().get_debug());
}

/// DBG-01: the environment decides where the program does not. A process of its own, as the environment is the process's.
#[test]
fn the_environment_turns_debug_mode_on() {
    const ASK: &str = "LOOP_TEST_TELL_DEBUG";
    if let Some(expected) = std::env::var_os(ASK) {
        return assert_eq!(new_loop().get_debug(), expected == "on");
    }
    for (value, expected) in [(Some("1"), "on"), (Some(""), "off"), (None, "off")] {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "the_environment_turns_debug_mode_on"]).env(ASK, expected).env_remove("LOOP_DEBUG");
        if let Some(value) = value {
            child.env("LOOP_DEBUG", value);
        }
        let output = child.output().unwrap();
        assert!(output.status.success(), "{value:?}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

/// DBG-02: the time that a callback or a step takes is what the test makes it, so this waits on purpose.
#[test]
fn what_takes_long_is_logged_in_debug_mode_only() {
    let lp = new_loop();
    assert_eq!(lp.slow_callback_duration(), Duration::from_millis(100));
    lp.set_slow_callback_duration(Duration::from_millis(2));
    let run = |debug: bool| {
        lp.set_debug(debug);
        lp.call_soon(|| thread::sleep(Duration::from_millis(3))).unwrap();
        let task = lp.create_task(async { thread::sleep(Duration::from_millis(3)) }).unwrap();
        task.set_name("sluggish");
        logged(|| one_pass(&lp))
    };
    let lines = run(true);
    let [callback, step] = &lines[..] else { panic!("{lines:?}") };
    assert!(callback.starts_with("Executing <Handle ") && callback.contains("debug.rs"), "{callback}");
    assert!(step.contains("name='sluggish'") && step.ends_with(" seconds"), "{step}");
    assert!(run(false).is_empty());
    lp.set_slow_callback_duration(Duration::from_secs(3600));
    assert!(run(true).is_empty());
}

/// DBG-06: one frame of the creation stack, the caller's.
#[test]
fn reports_say_where_things_were_made() {
    let lp = new_loop();
    lp.set_debug(true);
    let reports = collect_reports(&lp);
    lp.call_soon(|| quiet_panic("callback")).unwrap();
    let line = line!() - 1;
    one_pass(&lp);
    let report = reports.take().pop().unwrap();
    let here = format!("debug.rs:{line}");
    assert!(report.report().contains(&here), "{report:?}");
    assert!(report.get("source").unwrap().contains("debug.rs"));
    let future = lp.create_future::<u32>();
    assert!(format!("{future:?}").contains(&format!("debug.rs:{}", line!() - 1)));
    let task = lp.create_task(async {}).unwrap();
    assert_eq!(task.source().line(), line!() - 1);
    let timer = lp.call_later(1.0, || ()).unwrap();
    assert!(format!("{timer:?}").contains(&format!("debug.rs:{}", line!() - 1)));
}
