//! What was logged in this thread while something ran.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// One event: its level, and its message with its fields behind it.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) level: Level,
    pub(crate) text: String,
}

#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<Record>>>);

impl<S: Subscriber> Layer<S> for Recorder {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        let text = text.message + &text.fields;
        self.0.lock().unwrap().push(Record { level: *event.metadata().level(), text });
    }
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            let _ = write!(self.fields, " {}={value:?}", field.name());
        }
    }
}

/// Runs `code`; what it gives, and what this thread logged meanwhile.
pub(crate) fn capture<R>(code: impl FnOnce() -> R) -> (R, Vec<Record>) {
    let recorder = Recorder::default();
    let subscriber = tracing_subscriber::registry().with(recorder.clone());
    let result = tracing::subscriber::with_default(subscriber, code);
    let records = recorder.0.lock().unwrap().clone();
    (result, records)
}

/// The texts of warnings and errors.
pub(crate) fn complaints(records: &[Record]) -> Vec<&str> {
    records.iter().filter(|record| record.level <= Level::WARN).map(|record| record.text.as_str()).collect()
}
