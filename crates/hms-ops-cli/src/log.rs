//! What the engine logs, as lines on standard error.

use std::fmt::{self, Write as _};

use hms_ops::core::clock::{Clock, SystemClock};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::screen::plain;

/// The target of the log notifier, which repeats what the timeline shows.
const NOTIFICATIONS: &str = "hms_ops_alert::notify";

/// What is worth a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// What an operator should know.
    Information,
    /// What is wrong with the engine; alerts are shown in another way.
    Trouble,
}

/// Logs from now on; the first call of a process holds.
pub(crate) fn start(wanted: Wanted) {
    let _ = tracing::subscriber::set_global_default(Lines { wanted });
}

/// Writes each event as one line. Spans are the business of the span runtime.
#[derive(Debug)]
struct Lines {
    wanted: Wanted,
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let ours = metadata.target().starts_with("hms_ops");
        metadata.is_event()
            && match self.wanted {
                Wanted::Information if ours => *metadata.level() <= Level::INFO,
                Wanted::Information => *metadata.level() <= Level::WARN,
                Wanted::Trouble => {
                    *metadata.level() <= Level::WARN
                        && !metadata.target().starts_with(NOTIFICATIONS)
                }
            }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = event.metadata().level();
        eprintln!("{} {level:<5} {}", SystemClock.now(), fields.line());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The message of an event, and its fields.
#[derive(Default)]
struct Fields {
    message: String,
    others: String,
}

impl Fields {
    fn line(&self) -> String {
        plain(format!("{}{}", self.message, self.others).trim())
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let written = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.others, " {name}={value:?}"),
        };
        written.expect("a String takes every write");
    }
}
