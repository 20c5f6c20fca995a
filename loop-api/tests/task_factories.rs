//! Options of tasks, task factories and eager tasks: rows TASK-05, CH-13, CH-55, CH-59, CH-62 to CH-64, V14-04 and V14-11.

mod loops;

use std::cell::{Cell, RefCell};
use std::future::{pending, ready};
use std::rc::Rc;
use std::time::Duration;

use loop_api::{
    Context, ContextVar, Error, LoopError, TaskError, TaskGroup, TaskOptions, WaitError, all_tasks, create_task,
    create_task_with, current_task, eager_task_factory, gather, get_running_loop, yield_now,
};
use loops::{Alive, Log, collect_reports, messages, new_loop, quiet_panic};

fn eager() -> TaskOptions {
    TaskOptions::new().eager_start(true)
}

/// TASK-05: the factory is asked for every task, sees what was asked for, and may change it.
#[test]
fn a_factory_has_a_say_in_every_task() {
    let event_loop = new_loop();
    assert!(event_loop.get_task_factory().is_none());
    let seen = Log::new();
    let sees = seen.clone();
    event_loop.set_task_factory(Some(Rc::new(move |_, options: TaskOptions| {
        let name = options.get_name().unwrap_or("unnamed").to_owned();
        sees.add((name.clone(), options.get_context().is_some()));
        Ok(options.name(format!("made {name}")))
    })));
    assert!(event_loop.get_task_factory().is_some());
    let context = Context::copy();
    let plain = event_loop.create_task(async {}).unwrap();
    let named = event_loop.create_task_with(TaskOptions::new().name("x"), async {}).unwrap();
    let within = event_loop.create_task_in(&context, async {}).unwrap();
    assert_eq!(seen, [("unnamed".to_owned(), false), ("x".to_owned(), false), ("unnamed".to_owned(), true)]);
    assert_eq!([plain.name(), named.name(), within.name()], ["made unnamed", "made x", "made unnamed"]);
    event_loop.set_task_factory(None);
    assert!(event_loop.create_task(async {}).unwrap().name().starts_with("Task-"));
    event_loop.run_until_complete(within).unwrap().unwrap();
    event_loop.close().unwrap();
}

/// TASK-05: what it refuses is not made.
#[test]
fn a_factory_may_refuse() {
    let event_loop = new_loop();
    event_loop.set_task_factory(Some(Rc::new(|_, _| Err(LoopError::Unsupported("no tasks today")))));
    let alive = Alive::none();
    let held = alive.clone();
    let refused = event_loop.create_task(async move { drop(held) });
    assert!(matches!(refused, Err(LoopError::Unsupported("no tasks today"))));
    assert_eq!(alive.others(), 0, "the coroutine is dropped");
    assert!(event_loop.all_tasks().is_empty());
    event_loop.close().unwrap();
}

/// What a factory holds goes with the loop, also where that is the loop.
#[test]
fn a_factory_goes_with_its_loop() {
    let event_loop = new_loop();
    let alive = Alive::none();
    let (held, itself) = (alive.clone(), event_loop.clone());
    event_loop.set_task_factory(Some(Rc::new(move |_, options| {
        assert!(held.others() > 0 && !itself.is_closed());
        Ok(options)
    })));
    event_loop.close().unwrap();
    assert_eq!(alive.others(), 0);
}

/// A factory that closes the loop makes no task of it.
#[test]
fn a_factory_that_closes_the_loop_makes_nothing() {
    let event_loop = new_loop();
    event_loop.set_task_factory(Some(Rc::new(|event_loop, options| event_loop.close().map(|()| options))));
    assert!(matches!(event_loop.create_task(async {}), Err(LoopError::Closed)));
}

/// CH-59: the thread that waits is told, and so is the exception handler.
#[test]
fn a_factory_that_refuses_a_thread_tells_both_sides() {
    let event_loop = new_loop();
    let reports = collect_reports(&event_loop);
    event_loop.set_task_factory(Some(Rc::new(|_, _| Err(LoopError::Unsupported("no tasks today")))));
    let future = event_loop.handle().run_coroutine_threadsafe(|| async { 1 }).unwrap();
    event_loop.stop();
    event_loop.run_forever().unwrap();
    let refused = future.result(Some(Duration::ZERO));
    assert!(matches!(refused, Err(WaitError::Task(TaskError::Failed(_)))), "{refused:?}");
    assert_eq!(messages(&reports), ["No task could be made for another thread"]);
    event_loop.close().unwrap();
}

/// CH-62, V14-11: within `create_task`, as the current task, with the outer one restored.
#[test]
fn the_first_step_of_an_eager_task_is_made_at_once() {
    let event_loop = new_loop();
    let log = Log::new();
    let entry = log.clone();
    event_loop
        .run_until_complete(async move {
            let outer = current_task()?;
            let inner = entry.clone();
            let task = create_task_with(eager().name("inner"), async move {
                inner.add(current_task().unwrap().unwrap().name());
                7
            })?;
            entry.add("made".to_owned());
            assert!(task.done());
            assert_eq!(current_task()?, outer);
            assert_eq!(task.await.unwrap(), 7);
            Ok::<_, LoopError>(())
        })
        .unwrap()
        .unwrap();
    assert_eq!(log, ["inner".to_owned(), "made".to_owned()]);
    event_loop.close().unwrap();
}

/// CH-62: only while its loop runs.
#[test]
fn an_eager_task_of_a_loop_at_rest_begins_with_the_run() {
    let (event_loop, other) = (new_loop(), new_loop());
    let begun = Rc::new(Cell::new(0));
    let begins = |begun: &Rc<Cell<u32>>| {
        let begun = Rc::clone(begun);
        async move { begun.set(begun.get() + 1) }
    };
    let task = event_loop.create_task_with(eager(), begins(&begun)).unwrap();
    assert_eq!(begun.get(), 0);
    let (elsewhere, count) = (other.clone(), Rc::clone(&begun));
    let begins = begins(&begun);
    event_loop
        .run_until_complete(async move {
            // Another loop than the one that runs.
            let before = count.get();
            elsewhere.create_task_with(eager(), begins).unwrap();
            assert_eq!(count.get(), before);
            task.await
        })
        .unwrap()
        .unwrap();
    assert_eq!(begun.get(), 1);
    event_loop.close().unwrap();
    other.set_exception_handler(Some(Rc::new(|_, _| {})));
    other.close().unwrap();
}

/// CH-63
#[test]
fn an_eager_task_that_suspends_goes_on_like_any_other() {
    let event_loop = new_loop();
    event_loop.set_task_factory(Some(eager_task_factory()));
    event_loop
        .run_until_complete(async {
            let before = all_tasks()?.len();
            let listed = Rc::new(Cell::new(0));
            let lists = Rc::clone(&listed);
            let task = create_task(async move {
                lists.set(all_tasks().unwrap().len());
                yield_now().await;
                lists.set(0);
                "ends"
            })?;
            assert_eq!(listed.get(), before + 1, "it is listed during its first step");
            assert!(!task.done());
            assert_eq!(all_tasks()?.len(), before + 1);
            assert_eq!(task.await.unwrap(), "ends");
            assert_eq!(listed.get(), 0);
            let done = create_task(async {})?;
            assert!(done.done() && all_tasks()?.len() == before);
            // V14-04: what one task asks for goes before the factory's default.
            let lazy = create_task_with(TaskOptions::new().eager_start(false), async {})?;
            assert!(!lazy.done());
            lazy.await.unwrap();
            Ok::<_, LoopError>(())
        })
        .unwrap()
        .unwrap();
    event_loop.close().unwrap();
}

/// CH-64
#[test]
fn what_an_eager_step_sets_stays_in_its_own_context() {
    let event_loop = new_loop();
    let variable = Rc::new(ContextVar::new("variable"));
    let outer = Rc::clone(&variable);
    event_loop
        .run_until_complete(async move {
            outer.set(1);
            let inner = Rc::clone(&outer);
            let task = create_task_with(eager(), async move {
                assert_eq!(inner.get(), Some(1));
                inner.set(2);
                yield_now().await;
                inner.get()
            })?;
            assert_eq!(outer.get(), Some(1));
            outer.set(3);
            assert_eq!(task.await.unwrap(), Some(2));
            Ok::<_, LoopError>(())
        })
        .unwrap()
        .unwrap();
    event_loop.close().unwrap();
}

/// A panic in the first step is the task's outcome, and not its maker's.
#[test]
fn a_panic_in_an_eager_step_is_the_tasks() {
    let event_loop = new_loop();
    event_loop
        .run_until_complete(async {
            let task = create_task_with(eager(), async { quiet_panic("eager") })?;
            assert!(task.done());
            assert!(task.await.unwrap_err().is_panic());
            Ok::<_, LoopError>(())
        })
        .unwrap()
        .unwrap();
    event_loop.close().unwrap();
}

/// A request that the maker stands under is not the eager task's, nor the other way round.
#[test]
fn an_eager_task_has_its_own_requests() {
    let event_loop = new_loop();
    event_loop
        .run_until_complete(async {
            let task = create_task_with(eager(), async {
                current_task().unwrap().unwrap().cancel();
                pending::<()>().await;
            })?;
            assert_eq!(current_task()?.unwrap().cancelling(), 0);
            assert!(!task.done(), "a task that cancels itself is hit at its next suspension");
            yield_now().await;
            assert!(task.cancelled());
            Ok::<_, LoopError>(())
        })
        .unwrap()
        .unwrap();
    event_loop.close().unwrap();
}

/// CH-13: a gather of what is done is done.
#[test]
fn a_gather_of_eager_tasks_may_be_done_at_once() {
    let event_loop = new_loop();
    event_loop.set_task_factory(Some(eager_task_factory()));
    event_loop
        .run_until_complete(async {
            let all = gather([ready(1), ready(1)]);
            assert!(all.done());
            assert_eq!(all.await?, [1, 1]);
            assert!(!gather((async { 1 }, yield_now())).done());
            Ok::<_, TaskError>(())
        })
        .unwrap()
        .unwrap();
    event_loop.close().unwrap();
}

/// CH-55: children that are done when they are made are counted, failures too.
#[test]
fn a_group_counts_eager_tasks_that_are_done_at_once() {
    let event_loop = new_loop();
    event_loop
        .run_until_complete(async {
            let one = TaskGroup::scope(async |group: TaskGroup| {
                let task = group.create_task_with(eager(), async { Ok(1) })?;
                assert!(task.done() && group.unfinished() == 0);
                Ok(task)
            });
            assert_eq!(one.await.unwrap().await.unwrap(), 1);

            let interrupted = Rc::new(RefCell::new(false));
            let told = Rc::clone(&interrupted);
            let failed = TaskGroup::scope(async move |group: TaskGroup| {
                group.create_task_with(eager(), async { Err::<(), _>(Error::TimedOut) })?;
                assert!(matches!(group.create_task(async { Ok(()) }), Err(Error::TaskGroupEnded)));
                let waits = get_running_loop()?.create_future::<()>();
                if loop_api::catch_cancelled(waits).await.is_err() {
                    told.replace(true);
                }
                Ok(())
            });
            assert!(matches!(failed.await.unwrap_err().errors(), [Error::TimedOut]));
            assert!(*interrupted.borrow());
            assert_eq!(current_task()?.unwrap().cancelling(), 0);
            Ok::<_, LoopError>(())
        })
        .unwrap()
        .unwrap();
    event_loop.close().unwrap();
}
