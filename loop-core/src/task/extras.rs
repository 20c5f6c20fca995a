//! What few tasks have: a name, a context, a span. It takes no room in a task that has none of it: it is kept beside the list
//! of those who wait for the task (see [`waiters`](crate::waiters)).
//!
//! Invariants: on the loop's thread only; nobody else's code runs while the extras are borrowed, and so neither does a
//! destructor of what was in them; they are taken out before the task's memory goes.

use std::cell::RefCell;
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

    /// For the caller to drop, which runs anybody's code.
    pub(super) fn take_extras(&self) -> Option<Extras> {
        // SAFETY: as above.
        unsafe { self.waiters.take_beside::<Kept>() }.map(RefCell::into_inner)
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
