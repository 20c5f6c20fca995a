//! Tasks: their steps, their outcomes, and what can be asked of them.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use loop_api::{
    Context, ContextVar, Fatal, LoopTask, all_tasks, create_task, current_task, fatal, get_running_loop, sleep,
    yield_now,
};

use crate::names::escaped;
use crate::stage::{Show, attempt, bare, in_a_task, on_a_loop, outcome, raise};

/// TASK-01
#[test]
fn tasks_begin_later_and_in_the_order_of_their_creation() {
    in_a_task(async || {
        let mut tasks = Vec::new();
        for name in ["one", "two", "three"] {
            tasks.push(create_task(async move { trace!("{name} begins") })?);
        }
        trace!("created");
        for task in tasks {
            task.await?;
        }
        Ok(())
    });
}

/// TASK-01, ITER-01
#[test]
fn a_task_takes_its_place_among_the_callbacks() {
    in_a_task(async || {
        let lp = get_running_loop()?;
        lp.call_soon(|| trace!("before"))?;
        let task = create_task(async { trace!("task") })?;
        lp.call_soon(|| trace!("behind"))?;
        task.await?;
        trace!("awaited");
        Ok(())
    });
}

/// TASK-02
#[test]
fn a_task_that_awaits_another_goes_on_a_pass_later() {
    in_a_task(async || {
        let lp = get_running_loop()?;
        let inner = create_task(async move {
            trace!("inner ends");
            lp.call_soon(|| trace!("queued by the inner one")).unwrap();
            3
        })?;
        let value = inner.await?;
        trace!("outer goes on {value}");
        Ok(())
    });
}

/// TASK-20, TASK-28
#[test]
fn a_done_task_gives_its_outcome_every_time() {
    in_a_task(async || {
        let task = create_task(async { 5 })?;
        attempt("first", (&task).await);
        attempt("second", (&task).await);
        outcome("asked", &task);
        Ok(())
    });
}

/// TASK-25
#[test]
fn an_error_of_a_task_nobody_awaits_is_reported() {
    in_a_task(async || {
        let task: LoopTask<()> = create_task(async { raise("ValueError: x") })?;
        sleep(0.0).await?;
        trace!("done: {}", task.done().show());
        drop(task);
        trace!("let go");
        Ok(())
    });
}

/// TASK-25, FUT-15
#[test]
fn an_error_that_is_awaited_is_not_reported() {
    in_a_task(async || {
        let task: LoopTask<()> = create_task(async { raise("ValueError: x") })?;
        attempt("await", (&task).await);
        drop(task);
        trace!("let go");
        Ok(())
    });
}

/// TASK-03
#[test]
fn a_task_has_a_name() {
    in_a_task(async || {
        let task = create_task(async { trace!("I am {}", current_task().unwrap().unwrap().name()) })?;
        task.set_name("worker");
        trace!("named {}", task.name());
        task.set_name("renamed");
        task.await?;
        Ok(())
    });
}

/// TASK-04
#[test]
fn a_task_keeps_the_context_of_its_creation() {
    in_a_task(async || {
        let variable = Rc::new(ContextVar::new("variable"));
        let uses = Rc::clone(&variable);
        variable.set("at creation");
        let task = create_task(async move {
            trace!("first step: {}", uses.get().show());
            uses.set("set by the task");
            yield_now().await;
            trace!("second step: {}", uses.get().show());
        })?;
        variable.set("afterwards");
        task.await?;
        trace!("outside: {}", variable.get().show());
        Ok(())
    });
}

/// TASK-04
#[test]
fn a_task_runs_in_a_context_that_is_passed() {
    in_a_task(async || {
        let variable = Rc::new(ContextVar::new("variable"));
        let sets = Rc::clone(&variable);
        variable.set("outside");
        let context = Context::copy();
        get_running_loop()?.create_task_in(&context, async move { _ = sets.set("set by the task") })?.await?;
        trace!("passed: {}", context.get(&variable).show());
        trace!("outside: {}", variable.get().show());
        Ok(())
    });
}

/// TASK-07
#[test]
fn a_task_cannot_await_itself() {
    in_a_task(async || {
        let itself: Rc<RefCell<Option<LoopTask<()>>>> = Rc::default();
        let awaits = Rc::clone(&itself);
        let task = create_task(async move {
            let this = awaits.take().unwrap();
            attempt("self", this.await);
        })?;
        itself.replace(Some(task.clone()));
        task.await?;
        Ok(())
    });
}

/// TASK-23
#[test]
fn a_fatal_error_in_a_task_leaves_the_loop() {
    on_a_loop(|lp| {
        let task: LoopTask<()> = lp.create_task(async { fatal(Fatal::Exit(2)) })?;
        match catch_unwind(AssertUnwindSafe(|| lp.run_forever())) {
            Ok(ended) => attempt("run", ended),
            Err(payload) => trace!("run: {}", escaped(payload)),
        }
        trace!("done: {}", task.done().show());
        outcome("task", &task);
        Ok(())
    });
}

/// CH-60
#[test]
fn the_current_task_is_the_one_whose_step_runs() {
    in_a_task(async || {
        let itself: Rc<RefCell<Option<LoopTask<()>>>> = Rc::default();
        let knows = Rc::clone(&itself);
        let task = create_task(async move {
            let is_it = current_task().unwrap().as_ref() == knows.borrow().as_ref().map(LoopTask::as_task_ref);
            trace!("in the task: {}", is_it.show());
        })?;
        itself.replace(Some(task.clone()));
        get_running_loop()?.call_soon(|| trace!("in a callback: {}", current_task().unwrap().is_some().show()))?;
        (&task).await?;
        trace!("afterwards: {}", (current_task()?.as_ref() == Some(task.as_task_ref())).show());
        Ok(())
    });
}

/// CH-60, POL-02
#[test]
fn there_is_no_current_task_without_a_loop() {
    bare(|| {
        attempt("current_task", current_task().map(|task| task.map(|_| "a task")));
        attempt("all_tasks", all_tasks().map(|tasks| tasks.len()));
        Ok(())
    });
}

/// CH-61
#[test]
fn all_tasks_are_those_that_are_not_done() {
    in_a_task(async || {
        for passes in 0..3 {
            create_task(async move {
                for _ in 0..passes {
                    yield_now().await;
                }
            })?;
        }
        for _ in 0..4 {
            trace!("tasks: {}", all_tasks()?.len());
            yield_now().await;
        }
        Ok(())
    });
}
