//! What few tasks have: a name, a context, a span. It takes no room in a task that has none of it: it is kept beside the list
//! of those who wait for the task (see [`waiters`](crate::waiters)).
//!
//! Invariants: on the loop's thread only; nobody else's code runs while the extras are borrowed, and so neither does a
//! destructor of what was in them; they are taken out before the task's memory goes.

use std::cell::RefCell;
use std::panic::Location;
use std::rc::Rc;

use crate::context::{Context, Snapshot};
use crate::error::{Cancelled, TaskError};
use crate::task::header::Header;
use crate::task::local::Flag;

#[derive(Default)]
pub(crate) struct Extras {
    pub(super) name: Option<String>,
    /// The standing cancellation request, which may have a message.
    pub(crate) request: Cancelled,
    pub(super) failure: Option<TaskError>,
    /// Cancellation requests that were not taken back, where they are many.
    pub(super) cancelling: u32,
    /// Handles, where they are many: so many times [`MOVED`](super::local::MOVED).
    handles: u32,
    /// Where the task was made, if that is far off.
    pub(super) source: Option<&'static Location<'static>>,
    /// The context between two steps.
    pub(super) context: Snapshot,
    /// A context that the task shares with others, instead.
    pub(super) shared_context: Option<Context>,
    /// Entered for each step, where somebody was interested when the task was made.
    pub(super) span: Option<Rc<tracing::Span>>,
}

/// As they are kept.
type Kept = RefCell<Extras>;

impl Header {
    #[inline(always)]
    pub(crate) fn has_extras(&self) -> bool {
        self.waiters.is_elsewhere()
    }

    fn kept(&self) -> Option<&Kept> {
        // SAFETY: nothing else is kept there. Who takes it out, at the task's end, has borrowed nothing, as nobody does for
        // longer than the functions below.
        unsafe { self.waiters.beside() }
    }

    /// Looks into the extras, if there are any. Nothing may be dropped meanwhile, and nobody else's code run.
    pub(crate) fn look_at_extras<R>(&self, look: impl FnOnce(&mut Extras) -> Option<R>) -> Option<R> {
        look(&mut self.kept()?.borrow_mut())
    }

    /// The same, having them made if there are none.
    pub(crate) fn with_extras<R>(&self, f: impl FnOnce(&mut Extras) -> R) -> R {
        self.local.set(Flag::Extras);
        if !self.has_extras() {
            self.waiters.keep_beside(Kept::default());
        }
        f(&mut self.kept().expect("there are some now").borrow_mut())
    }

    /// Drops the extras, which runs anybody's code. While there are handles, what the task is called stays.
    pub(super) fn drop_extras(&self) {
        let extras = match self.local.has_handles() {
            true => self.look_at_extras(|extras| {
                let Extras { name, cancelling, handles, source, .. } = extras;
                let (cancelling, handles, source) = (*cancelling, *handles, *source);
                let stays = Extras { name: name.take(), cancelling, handles, source, ..Extras::default() };
                Some(std::mem::replace(extras, stays))
            }),
            // SAFETY: as above.
            false => unsafe { self.waiters.take_beside::<Kept>() }.map(RefCell::into_inner),
        };
        drop(extras);
    }

    /// One handle more, where there are many.
    #[cold]
    pub(super) fn add_handle_to_many(&self) {
        self.with_extras(|extras| {
            extras.handles = extras.handles.checked_add(1).expect("fewer than 2^38 handles of a task");
            self.local.give_handles();
        });
        let added = self.local.add_handle();
        debug_assert!(added);
    }

    /// None of the handles is counted in the header any more. True: there were others, and some of them are now.
    #[cold]
    pub(super) fn take_handles_back(&self) -> bool {
        let taken = self.look_at_extras(|extras| {
            extras.handles = extras.handles.checked_sub(1)?;
            Some(())
        });
        if taken.is_some() {
            self.local.take_handles();
        }
        taken.is_some()
    }

    /// The context for the step that begins.
    #[inline(never)]
    pub(super) fn take_context(&self) -> Snapshot {
        self.look_at_extras(|extras| match &extras.shared_context {
            Some(context) => context.to_snapshot(),
            None => extras.context.take(),
        })
    }

    /// The context that the step left behind.
    #[inline(never)]
    pub(super) fn keep_context(&self, after: Snapshot) {
        let old = self.with_extras(|extras| match &extras.shared_context {
            Some(context) => context.replace_snapshot(after),
            None => std::mem::replace(&mut extras.context, after),
        });
        drop(old);
    }

    /// The context that the task's next step runs in.
    pub(super) fn context(&self) -> Context {
        if let Some(context) = self.look_at_extras(|extras| extras.shared_context.clone()) {
            return context;
        }
        if self.local.has(Flag::Running) {
            // In its own step, the task's values are the current ones.
            return Context::copy();
        }
        Context::from_snapshot(self.look_at_extras(|extras| extras.context.clone()))
    }

    /// The standing request as an error.
    pub(crate) fn cancellation(&self) -> Cancelled {
        self.look_at_extras(|extras| Some(extras.request.clone())).unwrap_or_default()
    }

    /// The error that the task ends with of its own accord.
    pub(super) fn failure(&self) -> TaskError {
        self.local.clear(Flag::Failing);
        self.look_at_extras(|extras| extras.failure.take()).unwrap_or(TaskError::Abandoned)
    }
}

#[cfg(all(test, feature = "testing", not(loom)))]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::time::Duration;

    use crate::testing::VirtualBackend;
    use crate::{ContextVar, EventLoop, LoopTask};

    /// For Miri: extras come before those who wait, among them or behind them. Nobody is forgotten, whether the task ends or
    /// its loop does.
    #[test]
    fn who_waits_for_a_task_is_told_wherever_the_list_lies() {
        let lp = EventLoop::new(Box::new(VirtualBackend::new()));
        let pass = || lp.run_until_complete(lp.sleep_for(Duration::ZERO)).unwrap();
        for named_behind in 0..4 {
            let told = Rc::new(Cell::new(0));
            let gate = lp.create_future::<()>();
            let task: LoopTask<()> = lp
                .create_task({
                    let gate = gate.clone();
                    async move { gate.await.unwrap() }
                })
                .unwrap();
            for number in 0..4 {
                pass();
                if number == named_behind {
                    task.set_name("named");
                }
                let count = {
                    let told = Rc::clone(&told);
                    move || told.set(told.get() + 1)
                };
                if number == 2 {
                    task.add_done_callback(move |_| count());
                } else {
                    let task = task.clone();
                    drop(lp.create_task(async move { (&task).await.map(|()| count()) }).unwrap());
                }
            }
            pass();
            if named_behind == 3 {
                break;
            }
            gate.set_result(()).unwrap();
            pass();
            pass();
            assert_eq!((told.get(), task.name().as_str()), (4, "named"));
        }
        lp.close().unwrap();
    }

    /// As many as the header has no number for: the task goes with the last of them, and no sooner.
    #[test]
    fn a_task_has_as_many_handles_as_anyone_likes() {
        let lp = EventLoop::new(Box::new(VirtualBackend::new()));
        let value = Rc::new(());
        let task = lp.create_task(std::future::ready(Rc::clone(&value))).unwrap();
        for count in [200, 300, 2_000] {
            let handles = vec![task.clone(); count];
            let (early, late) = handles.split_at(count / 3);
            assert!(early.iter().chain(late).all(|handle| handle.id() == task.id()));
        }
        let mut handles = vec![task; 1_400];
        lp.run_until_complete(lp.sleep_for(Duration::ZERO)).unwrap();
        for left in (0..handles.len()).rev() {
            assert_eq!(Rc::strong_count(&value), 2, "{left}");
            drop(handles.pop());
        }
        assert_eq!(Rc::strong_count(&value), 1);
        lp.close().unwrap();
    }

    /// For Miri: the value of a context that only a task has goes with the task, on its thread.
    #[test]
    fn a_tasks_values_go_with_it() {
        thread_local!(static VAR: ContextVar<Rc<()>> = ContextVar::new("var"));
        let lp = EventLoop::new(Box::new(VirtualBackend::new()));
        let value = Rc::new(());
        let task = lp
            .create_task({
                let value = Rc::clone(&value);
                async move {
                    VAR.with(|var| drop(var.set(value)));
                    std::future::pending::<()>().await;
                }
            })
            .unwrap();
        lp.run_until_complete(lp.sleep_for(Duration::ZERO)).unwrap();
        assert_eq!(Rc::strong_count(&value), 2);
        task.cancel();
        lp.run_until_complete(lp.sleep_for(Duration::ZERO)).unwrap();
        assert!(task.cancelled());
        drop(task);
        assert_eq!(Rc::strong_count(&value), 1);
        lp.close().unwrap();
    }
}
