//! What the Rust half of a scenario is written with, and how it is run and compared. `scenario.py` is the same for the
//! Python half.
//!
//! A scenario plays in a thread of its own, as it may do what it likes to the thread's loop, and has a time limit, so that
//! one that hangs has a name and shows how far it came.

use std::any::type_name;
use std::cell::RefCell;
use std::error::Error;
use std::fmt::Display;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use loop_api::{EventLoop, LoopBuilder, LoopTask, TaskError};
use loop_core::testing::VirtualBackend;

use crate::names::{describe, escaped, reported};

const TIME_LIMIT: Duration = Duration::from_secs(60);

/// How a scenario ends: an error that leaves it is the trace's last line.
pub(crate) type End = Result<(), Box<dyn Error>>;

// ---- tracing -------------------------------------------------------------------------------------------------------

#[derive(Clone, Default)]
pub(crate) struct Trace(Arc<Mutex<Vec<String>>>);

impl Trace {
    pub(crate) fn add(&self, line: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// From now on, what this thread traces is part of it.
    pub(crate) fn carry(self) {
        TRACE.set(Some(self));
    }

    fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|line| format!("{line}\n")).collect()
    }
}

thread_local! {
    static TRACE: RefCell<Option<Trace>> = const { RefCell::new(None) };
}

/// The trace of the scenario that plays in this thread, to be carried into another one.
pub(crate) fn tracer() -> Trace {
    TRACE.with_borrow(|trace| trace.clone()).unwrap_or_default()
}

/// Something happened: `trace!("{number} is up")`.
macro_rules! trace {
    ($($what:tt)*) => { $crate::stage::tracer().add(format!($($what)*)) };
}

/// A value as both halves write it: text bare, all else as Python has it.
pub(crate) trait Show {
    fn show(&self) -> String;
}

impl Show for () {
    fn show(&self) -> String {
        "None".into()
    }
}

impl Show for bool {
    fn show(&self) -> String {
        if *self { "True" } else { "False" }.into()
    }
}

impl Show for str {
    fn show(&self) -> String {
        self.into()
    }
}

impl Show for String {
    fn show(&self) -> String {
        self.clone()
    }
}

impl Show for [u8] {
    fn show(&self) -> String {
        format!("b'{}'", self.escape_ascii())
    }
}

impl Show for Vec<u8> {
    fn show(&self) -> String {
        self.as_slice().show()
    }
}

impl<T: Show + ?Sized> Show for &T {
    fn show(&self) -> String {
        (**self).show()
    }
}

impl<T: Show> Show for Option<T> {
    fn show(&self) -> String {
        self.as_ref().map_or_else(|| "None".into(), Show::show)
    }
}

macro_rules! show_numbers {
    ($($number:ty)*) => {$(
        impl Show for $number {
            fn show(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

show_numbers!(i32 u32 usize);

impl Show for Vec<i32> {
    fn show(&self) -> String {
        format!("{self:?}")
    }
}

/// Traces what a call or an await comes to: its value, or its error.
pub(crate) fn attempt<T: Show, E: Error + 'static>(label: impl Display, result: Result<T, E>) {
    match result {
        Ok(value) => trace!("{label}: {}", value.show()),
        Err(error) => trace!("{label}: {}", describe(&error)),
    }
}

/// Traces the outcome of a task: pending, its value, or its error.
pub(crate) fn outcome<T: Show + Clone + 'static>(label: impl Display, task: &LoopTask<T>) {
    match task.result() {
        Err(TaskError::NotReady) => trace!("{label}: pending"),
        result => attempt(label, result),
    }
}

/// Traces what reaches the loop's exception handler. A loop that is made for a scenario does that already.
pub(crate) fn reports(event_loop: &EventLoop) {
    event_loop.set_exception_handler(Some(Rc::new(|_, context| trace!("reported: {}", reported(context)))));
}

// ---- what Python's halves have in the language ---------------------------------------------------------------------

/// An error of the scenario's own, by its name in Python: `Raised("ValueError: x")`.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Raised(pub(crate) &'static str);

/// Python's `raise` where Rust has a panic: `raise("ValueError: x")`.
pub(crate) fn raise(error: &'static str) -> ! {
    resume_unwind(Box::new(error))
}

/// Exactly one pass, which does not wait.
pub(crate) fn one_pass(event_loop: &EventLoop) -> loop_api::Result<()> {
    event_loop.stop();
    Ok(event_loop.run_forever()?)
}

// ---- playing a scenario --------------------------------------------------------------------------------------------

/// A scenario that makes its loops itself: `def name():`.
pub(crate) fn bare<F>(scenario: F)
where
    F: FnOnce() -> End + Send + 'static,
{
    play::<F>(scenario);
}

/// A scenario that is given a loop: `def name(loop):`.
pub(crate) fn on_a_loop<F>(scenario: F)
where
    F: FnOnce(&EventLoop) -> End + Send + 'static,
{
    play::<F>(|| with_loop(new_loop(), scenario));
}

/// A scenario that is a coroutine: `async def name():`.
pub(crate) fn in_a_task<F>(scenario: F)
where
    F: AsyncFnOnce() -> End + Send + 'static,
{
    play::<F>(|| with_loop(new_loop(), |event_loop| event_loop.run_until_complete(scenario())?));
}

/// As [`on_a_loop`], with a clock that jumps to the next deadline: for what would take long.
pub(crate) fn on_a_fast_loop<F>(scenario: F)
where
    F: FnOnce(&EventLoop) -> End + Send + 'static,
{
    play::<F>(|| with_loop(fast_loop(), scenario));
}

/// As [`in_a_task`], with a clock that jumps to the next deadline: for what would take long.
pub(crate) fn in_a_fast_task<F>(scenario: F)
where
    F: AsyncFnOnce() -> End + Send + 'static,
{
    play::<F>(|| with_loop(fast_loop(), |event_loop| event_loop.run_until_complete(scenario())?));
}

fn new_loop() -> EventLoop {
    loop_api::new_event_loop().expect("this machine has a backend")
}

fn fast_loop() -> EventLoop {
    LoopBuilder::new(Box::new(VirtualBackend::new())).build()
}

fn with_loop(event_loop: EventLoop, scenario: impl FnOnce(&EventLoop) -> End) -> End {
    reports(&event_loop);
    let ended = catch_unwind(AssertUnwindSafe(|| scenario(&event_loop)));
    // What the loop's end reports of tasks that are left is no part of the scenario.
    event_loop.set_exception_handler(None);
    ended.unwrap_or_else(|payload| resume_unwind(payload))
}

/// Plays a scenario and compares its trace with the recorded one. Its name is that of the function whose closure `F` is.
fn play<F: 'static>(scenario: impl FnOnce() -> End + Send + 'static) {
    let path = type_name::<F>().split("::{{closure}}").next().unwrap_or_default();
    let [.., subject, name] = path.split("::").collect::<Vec<_>>()[..] else { panic!("no name in `{path}`") };
    let trace = Trace::default();
    let (ending, ended) = mpsc::channel();
    let here = trace.clone();
    let thread = move || {
        here.clone().carry();
        match catch_unwind(AssertUnwindSafe(scenario)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => here.add(format!("raised: {}", describe(&*error))),
            Err(payload) => here.add(format!("raised: {}", escaped(payload))),
        }
        // Nobody is there any more if the time limit has passed.
        _ = ending.send(here.text());
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(thread).expect("a thread can be had");
    let played = ended.recv_timeout(TIME_LIMIT).unwrap_or_else(|why| match why {
        RecvTimeoutError::Timeout => panic!("{subject}::{name} does not end; its trace so far:\n{}", trace.text()),
        RecvTimeoutError::Disconnected => panic!("{subject}::{name} broke off; its trace:\n{}", trace.text()),
    });
    compare(subject, name, &played);
}

fn compare(subject: &str, name: &str, played: &str) {
    let title = format!("{subject}::{name}");
    let recorded = sections(&format!("{subject}.trace")).into_iter().find(|section| section.name == name);
    let meant = sections("differences.txt").into_iter().find(|section| section.name == title);
    let trace = |section: &Option<Section>| section.as_ref().map(|section| section.trace.clone());
    if let Err(complaint) = judge(trace(&recorded).as_deref(), trace(&meant).as_deref(), played) {
        let traces = [("asyncio", trace(&recorded)), ("differences.txt", trace(&meant))];
        let traces =
            traces.map(|(whose, trace)| trace.map(|trace| format!("---- {whose}\n{trace}")).unwrap_or_default());
        panic!("{title} {complaint}\n{}{}---- this library\n{played}----", traces[0], traces[1]);
    }
}

/// Whether what was played is as it has to be: as recorded, or, where that is listed, as it is meant to differ.
fn judge(recorded: Option<&str>, meant: Option<&str>, played: &str) -> Result<(), &'static str> {
    let Some(recorded) = recorded else {
        return Err("has no trace: write its Python half, then `cargo xtask conformance --record`");
    };
    match meant {
        None if played == recorded => Ok(()),
        None => Err("differs from asyncio"),
        Some(meant) if meant == recorded => Err("is listed in differences.txt, but its trace there is asyncio's"),
        Some(meant) if meant == played => Ok(()),
        Some(_) if played == recorded => Err("is listed in differences.txt, but differs no more"),
        Some(_) => Err("differs otherwise than is listed in differences.txt"),
    }
}

#[test]
fn nothing_differs_but_what_is_listed_and_that_has_to() {
    assert_eq!(judge(Some("a"), None, "a"), Ok(()));
    assert_eq!(judge(Some("a"), Some("b"), "b"), Ok(()));
    let complaint = |recorded, meant, played| judge(recorded, meant, played).unwrap_err();
    assert!(complaint(None, None, "a").starts_with("has no trace"));
    assert_eq!(complaint(Some("a"), None, "b"), "differs from asyncio");
    assert!(complaint(Some("a"), Some("b"), "a").ends_with("differs no more"));
    assert!(complaint(Some("a"), Some("b"), "c").starts_with("differs otherwise"));
    assert!(complaint(Some("a"), Some("a"), "a").ends_with("is asyncio's"));
}

// ---- files ---------------------------------------------------------------------------------------------------------

/// The directory of the scenarios.
pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle")
}

/// A part of a file of traces.
pub(crate) struct Section {
    pub(crate) name: String,
    /// The lines beginning with `#`.
    pub(crate) reason: String,
    pub(crate) trace: String,
}

/// Reads a file of traces; none where there is no such file.
pub(crate) fn sections(file: &str) -> Vec<Section> {
    let text = fs::read_to_string(directory().join(file)).unwrap_or_default();
    let mut sections: Vec<Section> = Vec::new();
    for line in text.lines() {
        // What precedes the first title explains the file.
        if let Some(title) = line.strip_prefix("== ") {
            let name = title.split(' ').next().unwrap_or_default().to_owned();
            sections.push(Section { name, reason: String::new(), trace: String::new() });
        } else if let Some(section) = sections.last_mut().filter(|_| !line.is_empty()) {
            let part = if line.starts_with('#') { &mut section.reason } else { &mut section.trace };
            part.push_str(line);
            part.push('\n');
        }
    }
    sections
}
