//! A task as a `tracing` span: what is logged in its steps is within it.

mod loops;

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use loop_api::{LoopError, TaskOptions, catch_cancelled, create_task, create_task_with, current_task, yield_now};
use loops::virtual_loop;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

/// Each event, behind the spans that it is in.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

#[derive(Default)]
struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            "name" => write!(self.0, "{value:?}:"),
            "source" => {
                write!(self.0, "{}", if format!("{value:?}").contains("spans.rs") { "here" } else { "elsewhere" })
            }
            _ => Ok(()),
        };
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        context.span(id).expect("new").extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let span = context.span(id).expect("known");
        values.record(span.extensions_mut().get_mut::<Fields>().expect("given when it was new"));
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut text = Fields::default();
        event.record(&mut text);
        let mut line = String::new();
        for span in context.event_scope(event).into_iter().flatten() {
            if span.metadata().target() == "loop_core::task" {
                _ = write!(line, "[{}] ", span.extensions().get::<Fields>().expect("given when it was new").0);
            }
        }
        if event.metadata().target() == module_path!() {
            self.0.lock().unwrap().push(line + &text.0);
        }
    }
}

/// What two interleaved tasks log, by a subscriber that wants this much.
fn lines(level: LevelFilter) -> Vec<String> {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::registry().with(level).with(lines.clone());
    tracing::subscriber::with_default(subscriber, || {
        let (event_loop, _) = virtual_loop();
        event_loop
            .run_until_complete(async {
                let named = TaskOptions::new().name("fetch");
                let one = create_task_with(named, async {
                    tracing::warn!("first step");
                    // In clean-up too, and in destructors.
                    let cancelled = catch_cancelled(std::future::pending::<()>()).await.unwrap_err();
                    tracing::warn!("clean-up");
                    cancelled.raise::<()>().await;
                })?;
                let two = create_task(async {
                    tracing::warn!("the other one");
                    yield_now().await;
                    tracing::warn!("the other one again");
                })?;
                yield_now().await;
                one.cancel();
                one.set_name("late");
                two.await?;
                tracing::warn!("the main one");
                Ok::<_, LoopError>(())
            })
            .unwrap()
            .unwrap();
        tracing::warn!("outside");
        event_loop.close().unwrap();
    });
    lines.0.lock().unwrap().clone()
}

#[test]
fn what_a_task_logs_is_within_its_span() {
    assert_eq!(
        lines(LevelFilter::TRACE),
        [
            // A span that is made within another one is within it.
            "[herefetch:] [here] first step",
            "[here] [here] the other one",
            "[here] [here] the other one again",
            "[herefetch:late:] [here] clean-up",
            "[here] the main one",
            "outside",
        ]
    );
}

#[test]
fn nobody_who_wants_no_spans_gets_any() {
    assert_eq!(
        lines(LevelFilter::DEBUG),
        ["first step", "the other one", "the other one again", "clean-up", "the main one", "outside"]
    );
}

/// Names the current task whenever its span is cloned, as it is for each step.
struct Namer;

impl Subscriber for Namer {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "loop_core::task"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn clone_span(&self, id: &Id) -> Id {
        if let Ok(Some(task)) = current_task() {
            task.set_name("named by the subscriber");
        }
        id.clone()
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn a_subscriber_may_name_the_task_whose_span_it_is_given() {
    tracing::subscriber::with_default(Namer, || {
        let (event_loop, _) = virtual_loop();
        let task = event_loop.create_task(yield_now()).unwrap();
        event_loop.run_until_complete(async { (&task).await }).unwrap().unwrap();
        assert_eq!(task.name(), "named by the subscriber");
        drop(task);
        event_loop.close().unwrap();
    });
}
