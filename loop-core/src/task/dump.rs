//! Seeing what runs: every unfinished task, where it was made, and what it waits for, as a tree.
//!
//! Nothing is recorded for this while the loop works, but who a done callback is for: what a task waits for is found by
//! looking where its waker lies: with another task, a timer, an operation. What lies elsewhere, with a future, a lock or in
//! another crate, is not found, and shown as just that.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Write;
use std::panic::Location;
use std::time::Duration;

use crate::error::Result;
use crate::event_loop::EventLoop;
use crate::task::header::Header;
use crate::task::local::Flag;
use crate::task::waker;

/// Every unfinished task of a loop at one moment: from [`EventLoop::dump`]. Shown as a tree, in which those that a task
/// awaits are below it.
#[derive(Debug, Clone)]
pub struct TaskDump {
    backend: &'static str,
    tasks: Vec<TaskSnapshot>,
}

/// One task of a [`TaskDump`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TaskSnapshot {
    /// The task's number.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// The type of its coroutine.
    pub coroutine: &'static str,
    /// Where it was made.
    pub source: &'static Location<'static>,
    /// What it does.
    pub state: TaskState,
    /// How many requests to cancel it there are.
    pub cancelling: u32,
    /// What it waits for, as far as that is known.
    pub waits_for: Vec<WaitsFor>,
}

/// What a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskState {
    /// Its first step is yet to come.
    Created,
    /// Its step runs.
    Running,
    /// Its next step is queued.
    Ready,
    /// It waits.
    Waiting,
}

/// What a task waits for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum WaitsFor {
    /// Another task, by its number.
    Task(u64),
    /// A time on the loop's clock, so long from now.
    Timer(Duration),
    /// An operation.
    Operation(&'static str),
}

impl TaskDump {
    /// The tasks, in the order of their creation.
    #[must_use]
    pub fn tasks(&self) -> &[TaskSnapshot] {
        &self.tasks
    }
}

/// The awaits found so far, by the awaiting task.
#[derive(Default)]
struct Awaits(BTreeMap<u64, BTreeSet<WaitsFor>>);

impl Awaits {
    fn add(&mut self, awaiter: u64, what: WaitsFor) {
        self.0.entry(awaiter).or_default().insert(what);
    }
}

/// The number of the task that a waker wakes.
pub(crate) fn woken_by(waker: &std::task::Waker) -> Option<u64> {
    // SAFETY: a waker of ours that is there holds its task. The number is the loop's to read, and this is asked by the
    // loop of what it keeps itself; a task of another loop may be among those, whose number is set before it gets a waker
    // and changes, if at all, in its first step.
    waker::task_of(waker).map(|task| unsafe { task.as_ref() }.id())
}

impl EventLoop {
    /// What runs on this loop at this moment (Python 3.14: `python -m asyncio pstree`).
    ///
    /// ```
    /// # use loop_core::{EventLoop, testing::VirtualBackend};
    /// # let lp = EventLoop::new(Box::new(VirtualBackend::new()));
    /// lp.run_until_complete(async {
    ///     let lp = EventLoop::running()?;
    ///     let sleeper = lp.sleep_for(std::time::Duration::from_secs(5));
    ///     let _inner = lp.create_task(sleeper)?;
    ///     println!("{}", lp.dump());
    ///     assert_eq!(lp.dump().tasks().len(), 2);
    ///     Ok::<_, loop_core::Error>(())
    /// })??;
    /// # lp.close()?;
    /// # Ok::<(), loop_core::Error>(())
    /// ```
    #[must_use]
    pub fn dump(&self) -> TaskDump {
        crate::probe::reveal(&self.inner);
        let inner = &self.inner;
        let tasks = inner.tasks.unfinished();
        let mut awaits = Awaits::default();
        for task in &tasks {
            // SAFETY: listed tasks are alive.
            let header = unsafe { task.as_ref() };
            for awaiter in header.waiters.awaiters() {
                awaits.add(awaiter, WaitsFor::Task(header.id()));
            }
        }
        let now = inner.now();
        inner.timers.borrow().each_sleeper(|when, task| {
            awaits.add(task, WaitsFor::Timer(when.saturating_sub(now)));
        });
        inner.each_operation(|operation, waker| {
            if let Some(task) = woken_by(waker) {
                awaits.add(task, WaitsFor::Operation(operation));
            }
        });
        // SAFETY: listed tasks are alive.
        let shown = tasks.iter().map(|task| unsafe { task.as_ref() }).filter(|header| !header.local.has(Flag::Hidden));
        let tasks = shown.map(|header| header.snapshot(awaits.0.remove(&header.id()))).collect();
        TaskDump { backend: inner.backend_name, tasks }
    }

    /// Has a signal write [`dump`](Self::dump) to the standard error, so that a program that seems stuck can be asked:
    /// `SIGUSR1` is the usual one. A loop that does not turn cannot be asked.
    ///
    /// # Errors
    ///
    /// Those of [`add_signal_handler`](Self::add_signal_handler).
    #[track_caller]
    pub fn dump_on_signal(&self, signal: i32) -> Result<()> {
        self.add_signal_handler(signal, || {
            if let Ok(event_loop) = Self::running() {
                // A terminal that is gone wants nothing.
                _ = write!(std::io::stderr(), "{}", event_loop.dump());
            }
        })
    }
}

impl Header {
    fn snapshot(&self, awaits: Option<BTreeSet<WaitsFor>>) -> TaskSnapshot {
        let local = &self.local;
        let state = match () {
            () if local.has(Flag::Running) => TaskState::Running,
            () if !local.has(Flag::Started) => TaskState::Created,
            () if local.has(Flag::Scheduled) => TaskState::Ready,
            () => TaskState::Waiting,
        };
        TaskSnapshot {
            id: self.id(),
            name: self.name(),
            coroutine: (self.vtable().name)(),
            source: self.source(),
            state,
            cancelling: self.cancelling(),
            waits_for: awaits.into_iter().flatten().collect(),
        }
    }
}

impl fmt::Display for TaskSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} at {}: ", self.name, self.coroutine, self.source)?;
        match self.state {
            TaskState::Created => f.write_str("not started")?,
            TaskState::Running => f.write_str("running")?,
            TaskState::Ready => f.write_str("ready")?,
            TaskState::Waiting => self.fmt_waits(f)?,
        }
        match self.cancelling {
            0 => Ok(()),
            count => write!(f, ", cancelled {count}x"),
        }
    }
}

impl TaskSnapshot {
    fn fmt_waits(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.waits_for.is_empty() {
            // Its waker lies with one of these.
            return f.write_str("waits for a future or a lock");
        }
        f.write_str("waits for ")?;
        let (tasks, others): (Vec<_>, Vec<_>) =
            self.waits_for.iter().partition(|what| matches!(what, WaitsFor::Task(_)));
        let mut separator = "";
        if !tasks.is_empty() {
            write!(f, "{} {}", tasks.len(), if tasks.len() == 1 { "task" } else { "tasks" })?;
            separator = ", ";
        }
        for what in others {
            match what {
                WaitsFor::Timer(left) => write!(f, "{separator}a timer in {:.3} s", left.as_secs_f64())?,
                WaitsFor::Operation(name) => write!(f, "{separator}{name}")?,
                WaitsFor::Task(_) => {}
            }
            separator = ", ";
        }
        Ok(())
    }

    fn awaited(&self) -> impl Iterator<Item = u64> {
        self.waits_for.iter().filter_map(|what| match what {
            WaitsFor::Task(id) => Some(*id),
            _ => None,
        })
    }
}

impl fmt::Display for TaskDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.tasks.len();
        writeln!(f, "{count} {} on {}", if count == 1 { "task" } else { "tasks" }, self.backend)?;
        let mut tree = Tree { tasks: self.tasks.iter().map(|task| (task.id, task)).collect(), shown: BTreeSet::new() };
        let awaited: BTreeSet<u64> = self.tasks.iter().flat_map(TaskSnapshot::awaited).collect();
        for task in self.tasks.iter().filter(|task| !awaited.contains(&task.id)) {
            tree.show(f, task, "", "")?;
        }
        // Those that are left await each other.
        for task in &self.tasks {
            if !tree.shown.contains(&task.id) {
                tree.show(f, task, "", "(in a circle) ")?;
            }
        }
        Ok(())
    }
}

struct Tree<'a> {
    tasks: BTreeMap<u64, &'a TaskSnapshot>,
    shown: BTreeSet<u64>,
}

impl Tree<'_> {
    fn show(&mut self, f: &mut fmt::Formatter<'_>, task: &TaskSnapshot, indent: &str, mark: &str) -> fmt::Result {
        if !self.shown.insert(task.id) {
            return writeln!(f, "{mark}{} (above)", task.name);
        }
        writeln!(f, "{mark}{task}")?;
        let below: Vec<&TaskSnapshot> = task.awaited().filter_map(|id| self.tasks.get(&id).copied()).collect();
        for (place, awaited) in below.iter().enumerate() {
            let last = place + 1 == below.len();
            write!(f, "{indent}")?;
            let deeper = format!("{indent}{}", if last { "   " } else { "│  " });
            self.show(f, awaited, &deeper, if last { "└─ " } else { "├─ " })?;
        }
        Ok(())
    }
}
