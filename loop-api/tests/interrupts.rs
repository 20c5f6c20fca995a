//! Ctrl-C under `run`: rows RUN-12 to RUN-15 of the semantics.
//!
//! Only the main thread of a process has it, and a test harness runs tests in others: each case here is a process of its
//! own, this very program, which says what happens to it line by line. The parent sends the signals, each when the child
//! has said that it is ready for it.

use std::future::pending;
use std::io::{BufRead, BufReader, Lines, Write};
use std::mem::MaybeUninit;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::time::Instant;

use loop_api::{
    Cancelled, Error, Fatal, Runner, catch_cancelled, create_task, current_task, get_running_loop, run, to_thread,
    yield_now,
};

/// A case: its name, what the child does, and what the parent does with it.
type Case = (&'static str, fn(), fn(&mut Peer));

const CASES: &[Case] = &[
    ("the_first_interrupt_cancels_main", first_child, first),
    ("a_main_that_swallows_it_gives_its_value", swallowing_child, swallowing),
    ("the_second_interrupt_leaves_the_loop", second_child, second),
    ("a_cancellation_of_others_stays_one", cancelled_too_child, cancelled_too),
    ("a_program_with_a_disposition_of_its_own_keeps_it", ignoring_child, ignoring),
    ("a_loop_in_another_thread_leaves_it_alone", other_thread_child, other_thread),
    ("a_loop_that_does_not_turn_can_be_ended", stuck_child, stuck),
    ("every_run_of_a_runner_has_it_anew", twice_child, twice),
    ("a_handler_of_the_program_takes_its_place", replaced_child, replaced),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, what, name] = &arguments[..]
        && what == "child"
    {
        let (_, child, _) = CASES.iter().find(|case| case.0 == name).expect("a case");
        child();
        return ExitCode::SUCCESS;
    }
    if arguments.iter().any(|argument| argument == "--list") {
        CASES.iter().for_each(|case| say(&format!("{}: test", case.0)));
        return ExitCode::SUCCESS;
    }
    let filters: Vec<&String> = arguments.iter().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let chosen: Vec<&Case> = CASES
        .iter()
        .filter(|case| filters.is_empty() || filters.iter().any(|filter| case.0.contains(*filter)))
        .collect();
    let (began, mut failed) = (Instant::now(), 0);
    say(&format!("\nrunning {} tests", chosen.len()));
    for (name, _, parent) in &chosen {
        let ended = catch_unwind(|| {
            let mut peer = Peer::start(name);
            parent(&mut peer);
        });
        failed += usize::from(ended.is_err());
        say(&format!("test {name} ... {}", if ended.is_ok() { "ok" } else { "FAILED" }));
    }
    let (verdict, passed) = (if failed == 0 { "ok" } else { "FAILED" }, chosen.len() - failed);
    let out = CASES.len() - chosen.len();
    let time = began.elapsed().as_secs_f64();
    say(&format!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured; {out} filtered out; \
         finished in {time:.2}s\n"
    ));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("somebody listens");
}

/// The child, as its parent sees it. It does not outlive this.
struct Peer {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    fn start(name: &str) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut command = Command::new(program);
        command.args(["child", name]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, lines }
    }

    fn expect(&mut self, line: &str) {
        let said = self.lines.next().map(|line| line.expect("text"));
        assert_eq!(said.as_deref(), Some(line));
    }

    fn interrupt(&self) {
        let child = i32::try_from(self.child.id()).expect("a process id");
        // SAFETY: a signal to a child that was not waited for yet, so the id is its own.
        assert_eq!(unsafe { libc::kill(child, libc::SIGINT) }, 0);
    }

    /// It ends by itself, having said no more.
    fn ends(&mut self) {
        assert!(self.lines.next().is_none());
        assert!(self.child.wait().expect("a child").success());
    }

    fn is_killed(&mut self) {
        assert_eq!(self.child.wait().expect("a child").signal(), Some(libc::SIGINT));
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Gone already, where all went well.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// How a run ended, in a word.
fn say_how<T: std::fmt::Debug>(ended: loop_api::Result<T>) {
    match ended {
        Ok(value) => say(&format!("value {value:?}")),
        Err(Error::Interrupted) => say("interrupted"),
        Err(error) if error.is_cancelled() => say("cancelled"),
        Err(error) => say(&format!("error {error}")),
    }
}

fn say_disposition() {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: asks only; the kernel writes the action.
    let handler = unsafe {
        assert_eq!(libc::sigaction(libc::SIGINT, std::ptr::null(), action.as_mut_ptr()), 0);
        action.assume_init().sa_sigaction
    };
    say(match handler {
        libc::SIG_DFL => "default",
        libc::SIG_IGN => "ignored",
        _ => "handled",
    });
}

/// Waits to be cancelled, having said that it does.
async fn until_cancelled() -> Cancelled {
    let waits = async {
        say("ready");
        pending::<()>().await;
    };
    catch_cancelled(waits).await.expect_err("nothing else ends it")
}

/// RUN-12, RUN-15
fn first_child() {
    say_how(run(async {
        let cancelled = until_cancelled().await;
        yield_now().await;
        say("clean");
        cancelled.raise::<()>().await;
    }));
    say_disposition();
}

fn first(peer: &mut Peer) {
    peer.expect("ready");
    peer.interrupt();
    ["clean", "interrupted", "default"].into_iter().for_each(|line| peer.expect(line));
    peer.ends();
}

/// RUN-13
fn swallowing_child() {
    say_how(run(async {
        until_cancelled().await;
        5
    }));
    say_disposition();
}

fn swallowing(peer: &mut Peer) {
    peer.expect("ready");
    peer.interrupt();
    ["value 5", "default"].into_iter().for_each(|line| peer.expect(line));
    peer.ends();
}

/// RUN-13: what else runs is cleaned up all the same.
fn second_child() {
    let left = catch_unwind(AssertUnwindSafe(|| {
        run(async {
            create_task(async {
                let cancelled = catch_cancelled(pending::<()>()).await.expect_err("nothing else ends it");
                yield_now().await;
                say("task cleans up");
                cancelled.raise::<()>().await;
            })
            .expect("a loop runs");
            until_cancelled().await;
            until_cancelled().await;
            say("never");
        })
    }));
    let payload = left.expect_err("it unwinds");
    say(&format!("left by {:?}", payload.downcast_ref::<Fatal>().expect("not a panic")));
    say_disposition();
}

fn second(peer: &mut Peer) {
    for _ in 0..2 {
        peer.expect("ready");
        peer.interrupt();
    }
    ["task cleans up", "left by Interrupt", "default"].into_iter().for_each(|line| peer.expect(line));
    peer.ends();
}

/// RUN-14
fn cancelled_too_child() {
    say_how(run(async {
        let cancelled = until_cancelled().await;
        current_task().expect("a loop runs").expect("a task").cancel();
        cancelled.raise::<()>().await;
    }));
}

fn cancelled_too(peer: &mut Peer) {
    peer.expect("ready");
    peer.interrupt();
    peer.expect("cancelled");
    peer.ends();
}

/// RUN-12
fn ignoring_child() {
    // SAFETY: ignoring a signal runs no code.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
    say_how(run(async {
        say("ready");
        to_thread(|| std::io::stdin().lines().next().is_some()).await.expect("a thread can be had")
    }));
    say_disposition();
}

fn ignoring(peer: &mut Peer) {
    peer.expect("ready");
    peer.interrupt();
    peer.child.stdin.take().expect("piped").write_all(b"go on\n").expect("it reads");
    ["value true", "ignored"].into_iter().for_each(|line| peer.expect(line));
    peer.ends();
}

/// RUN-12
fn other_thread_child() {
    let thread = std::thread::spawn(|| say_how(run(async { until_cancelled().await })));
    thread.join().expect("the signal ends it");
}

fn other_thread(peer: &mut Peer) {
    peer.expect("ready");
    peer.interrupt();
    peer.is_killed();
}

fn stuck_child() {
    say_how(run(async {
        say("ready");
        while std::hint::black_box(true) {
            std::thread::park();
        }
    }));
}

fn stuck(peer: &mut Peer) {
    peer.expect("ready");
    // Two that come close together may be one.
    while peer.child.try_wait().expect("a child").is_none() {
        peer.interrupt();
        std::thread::yield_now();
    }
    peer.is_killed();
}

/// RUN-15
fn twice_child() {
    let mut runner = Runner::new();
    for _ in 0..2 {
        say_how(runner.run(async {
            until_cancelled().await.raise::<()>().await;
        }));
        say_disposition();
    }
    say_how(runner.run(async { 1 }));
    runner.close().expect("an orderly end");
}

fn twice(peer: &mut Peer) {
    for _ in 0..2 {
        peer.expect("ready");
        peer.interrupt();
        peer.expect("interrupted");
        peer.expect("default");
    }
    peer.expect("value 1");
    peer.ends();
}

/// A handler that the program adds takes the place of the runner's, and is kept when the run is over.
fn replaced_child() {
    say_how(run(async {
        let event_loop = get_running_loop().expect("a loop runs");
        let done = event_loop.create_future::<()>();
        let sets = done.clone();
        event_loop
            .add_signal_handler(libc::SIGINT, move || {
                say("handled by the program");
                _ = sets.set_result(());
            })
            .expect("a signal");
        say("ready");
        done.await.is_ok()
    }));
    say_disposition();
}

fn replaced(peer: &mut Peer) {
    peer.expect("ready");
    peer.interrupt();
    ["handled by the program", "value true", "default"].into_iter().for_each(|line| peer.expect(line));
    peer.ends();
}
