//! Task groups.

use std::cell::RefCell;
use std::error::Error;

use loop_api::{
    GroupError, TaskError, TaskGroup, catch_cancelled, create_task, current_task, get_running_loop, yield_now,
};

use crate::names::describe;
use crate::stage::{Raised, Show, attempt, in_a_task};

/// What the tasks of these groups fail with.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Raised(#[from] Raised),
    #[error(transparent)]
    Task(#[from] TaskError),
    #[error(transparent)]
    Api(#[from] loop_api::Error),
}

type Outcome<T> = Result<T, Failure>;

async fn after(passes: u32, value: &'static str) -> Outcome<&'static str> {
    for _ in 0..passes {
        yield_now().await;
    }
    trace!("{value} ends");
    Ok(value)
}

async fn fails(passes: u32, error: &'static str) -> Outcome<()> {
    for _ in 0..passes {
        yield_now().await;
    }
    Err(Raised(error).into())
}

async fn blocked() {
    let _: Result<(), _> = get_running_loop().unwrap().create_future().await;
}

async fn forever(name: &'static str) -> Outcome<()> {
    if let Err(cancelled) = catch_cancelled(blocked()).await {
        trace!("{name} is cancelled");
        cancelled.raise().await
    }
    Ok(())
}

fn failed<T>(group: Result<T, GroupError<Failure>>) {
    for error in group.err().iter().flat_map(GroupError::errors) {
        match error {
            Failure::Raised(error) => trace!("in the group: {error}"),
            Failure::Task(error) => trace!("in the group: {}", describe(error)),
            Failure::Api(error) => trace!("in the group: {}", describe(error)),
        }
    }
}

/// CH-46
#[test]
fn a_group_waits_for_its_tasks() {
    in_a_task(async || {
        let body = async |group: TaskGroup<Failure>| {
            let tasks = (group.create_task(after(2, "one"))?, group.create_task(after(1, "two"))?);
            trace!("body ends");
            Ok(tasks)
        };
        let (one, two) = TaskGroup::scope(body).await?;
        trace!("{} {}", one.result()?, two.result()?);
        Ok(())
    });
}

/// CH-46
#[test]
fn a_task_of_the_group_may_add_to_it() {
    in_a_task(async || {
        let body = async |group: TaskGroup<Failure>| {
            let adds_to = group.clone();
            group.create_task(async move {
                adds_to.create_task(after(2, "added"))?;
                trace!("adder ends");
                Ok(())
            })?;
            Ok(())
        };
        TaskGroup::scope(body).await?;
        trace!("end");
        Ok(())
    });
}

/// CH-47, CH-51
#[test]
fn a_child_that_fails_cancels_the_rest() {
    in_a_task(async || {
        let body = async |group: TaskGroup<Failure>| {
            group.create_task(forever("other"))?;
            group.create_task(fails(1, "ValueError: x"))?;
            forever("body").await
        };
        failed(TaskGroup::scope(body).await);
        trace!("cancelling: {}", current_task()?.unwrap().cancelling());
        Ok(())
    });
}

/// CH-47
#[test]
fn every_failure_is_in_the_group() {
    in_a_task(async || {
        let body = async |group: TaskGroup<Failure>| {
            group.create_task(async {
                match catch_cancelled(blocked()).await {
                    Ok(()) => Ok(()),
                    Err(_) => Err(Raised("ValueError: late").into()),
                }
            })?;
            group.create_task(fails(1, "ValueError: early"))?;
            Ok(())
        };
        failed(TaskGroup::scope(body).await);
        Ok(())
    });
}

/// CH-48
#[test]
fn a_body_that_fails_cancels_the_children() {
    in_a_task(async || {
        let body = async |group: TaskGroup<Failure>| {
            group.create_task(forever("child"))?;
            yield_now().await;
            Err::<(), _>(Raised("ValueError: body").into())
        };
        failed(TaskGroup::scope(body).await);
        Ok(())
    });
}

/// CH-49
#[test]
fn a_cancelled_child_is_no_failure() {
    in_a_task(async || {
        let body = async |group: TaskGroup<Failure>| {
            let child = group.create_task(forever("child"))?;
            group.create_task(after(3, "other"))?;
            yield_now().await;
            child.cancel();
            Ok(())
        };
        TaskGroup::scope(body).await?;
        trace!("end");
        Ok(())
    });
}

/// CH-50
#[test]
fn cancelling_the_parent_cancels_the_children() {
    in_a_task(async || {
        let task = create_task(TaskGroup::scope(async |group: TaskGroup<Failure>| {
            group.create_task(forever("child"))?;
            Ok(())
        }))?;
        yield_now().await;
        yield_now().await;
        task.cancel();
        let handle = task.as_task_ref().clone();
        attempt("task", task.await.map(|_| ()));
        trace!("cancelled: {}", handle.cancelled().show());
        Ok(())
    });
}

/// CH-52
#[test]
fn a_finished_group_takes_no_task() {
    in_a_task(async || {
        let kept = RefCell::new(None);
        let body = async |group: TaskGroup<Failure>| {
            kept.replace(Some(group));
            Ok(())
        };
        TaskGroup::scope(body).await?;
        let group = kept.take().ok_or("kept")?;
        if let Err(loop_api::Error::TaskGroupEnded) = group.create_task(after(0, "never")) {
            trace!("refused");
        }
        Ok::<_, Box<dyn Error>>(())
    });
}
