//! Seeing what runs: `dump`, as a tree, and on a signal. Rows V14-06 and V14-07.

mod loops;

use std::future::pending;
use std::time::Duration;

use loop_api::{LoopError, TaskGroup, TaskOptions, TaskState, WaitsFor, create_task_with, get_running_loop, yield_now};
use loops::{new_loop, virtual_loop};

fn named(name: &str) -> TaskOptions {
    TaskOptions::new().name(name)
}

/// Every task with its name, where it was made, what it does and what it waits for; the awaited below the awaiting.
#[test]
fn a_dump_is_the_tree_of_who_awaits_whom() {
    let (event_loop, _) = virtual_loop();
    event_loop
        .run_until_complete(async {
            let event_loop = get_running_loop()?;
            let sleeper = create_task_with(named("sleeper"), event_loop.sleep_for(Duration::from_secs(5)))?;
            let waits = sleeper.clone();
            let _outer = create_task_with(named("outer"), waits)?;
            let group = TaskGroup::scope(async |group: TaskGroup| {
                group.create_task_with(named("child"), pending::<loop_api::Result<()>>())?;
                Ok(())
            });
            let _parent = create_task_with(named("parent"), group)?;
            yield_now().await;
            yield_now().await;
            yield_now().await;
            let _fresh = create_task_with(named("fresh"), async {})?;
            let dump = event_loop.dump();
            let find = |name: &str| dump.tasks().iter().find(|task| task.name == name).expect("listed").clone();
            assert_eq!(find("sleeper").waits_for, [WaitsFor::Timer(Duration::from_secs(5))]);
            assert_eq!(find("outer").waits_for, [WaitsFor::Task(sleeper.id())]);
            assert_eq!(find("parent").waits_for, [WaitsFor::Task(find("child").id)]);
            assert_eq!(find("child").waits_for, []);
            assert_eq!(find("fresh").state, TaskState::Created);
            assert!(find("sleeper").source.file().ends_with("dump.rs"));
            let running = dump.tasks().iter().filter(|task| task.state == TaskState::Running).count();
            assert_eq!(running, 1);
            let text = dump.to_string();
            let line = |name: &str| {
                text.lines()
                    .find(|line| line.contains(&format!("{name} ")))
                    .unwrap_or_else(|| panic!("{name} in\n{text}"))
            };
            assert!(
                line("sleeper").starts_with("└─ sleeper") && line("sleeper").ends_with("a timer in 5.000 s"),
                "{text}"
            );
            assert!(line("outer").starts_with("outer") && line("outer").ends_with("waits for 1 task"), "{text}");
            assert!(line("child").starts_with("└─ child"), "{text}");
            assert!(line("child").ends_with("waits for a future or a lock"), "{text}");
            sleeper.cancel();
            assert_eq!(event_loop.dump().tasks().iter().find(|task| task.name == "sleeper").unwrap().cancelling, 1);
            Ok::<_, LoopError>(())
        })
        .unwrap()
        .unwrap();
    event_loop.set_exception_handler(Some(std::rc::Rc::new(|_, _| {})));
    event_loop.close().unwrap();
}

/// An operation that is awaited has a name.
#[test]
fn a_dump_names_operations() {
    let event_loop = new_loop();
    event_loop
        .run_until_complete(async {
            let event_loop = get_running_loop()?;
            let (here, _there) = socket2::Socket::pair(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
            here.set_nonblocking(true)?;
            let reads = event_loop.adopt_socket(here)?;
            let inner = event_loop.clone();
            let task = create_task_with(named("reader"), async move { inner.sock_recv(&reads, 10).await.map(|_| ()) })?;
            yield_now().await;
            let dump = event_loop.dump();
            let reader = dump.tasks().iter().find(|task| task.name == "reader").expect("listed");
            assert_eq!(reader.waits_for, [WaitsFor::Operation("receive")]);
            task.cancel();
            assert!(task.await.unwrap_err().is_cancelled());
            Ok::<_, LoopError>(())
        })
        .unwrap()
        .unwrap();
    event_loop.close().unwrap();
}

/// Two tasks that await each other are shown, once.
#[test]
fn tasks_that_await_each_other_are_shown() {
    let event_loop = new_loop();
    event_loop
        .run_until_complete(async {
            let event_loop = get_running_loop()?;
            let place = std::rc::Rc::new(std::cell::RefCell::new(None::<loop_api::LoopTask<()>>));
            let other = std::rc::Rc::clone(&place);
            let one = create_task_with(named("one"), async move {
                let waits = other.borrow_mut().take();
                if let Some(task) = waits {
                    _ = task.await;
                }
            })?;
            let waits = one.clone();
            let two = create_task_with(named("two"), async move { _ = waits.await })?;
            place.replace(Some(two));
            yield_now().await;
            yield_now().await;
            let text = event_loop.dump().to_string();
            assert!(text.contains("(in a circle) one"), "{text}");
            assert!(text.contains("└─ two") && text.contains("one (above)"), "{text}");
            one.cancel();
            yield_now().await;
            Ok::<_, LoopError>(())
        })
        .unwrap()
        .unwrap();
    event_loop.set_exception_handler(Some(std::rc::Rc::new(|_, _| {})));
    event_loop.close().unwrap();
}
