//! Shape: what a span says beside its fields, if asked: where in the code, on which thread, how long busy. Caller threads.

use lgtm_core::span::{SpanRecord, put_attribute};
use tracing_core::Metadata;

/// What spans say beside their fields. Nothing by default.
///
/// ```
/// let detail = lgtm_tempo::Detail::default().with_location().with_threads();
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    pub(crate) location: bool,
    pub(crate) threads: bool,
    pub(crate) busy_and_idle: bool,
    pub(crate) backtraces: bool,
}

impl Detail {
    /// Where in the code a span is: `code.file.path`, `code.line.number`, `code.module.name`.
    #[must_use]
    pub const fn with_location(mut self) -> Self {
        self.location = true;
        self
    }

    /// Which thread opened it: `thread.id`, `thread.name`.
    #[must_use]
    pub const fn with_threads(mut self) -> Self {
        self.threads = true;
        self
    }

    /// How long it was entered and how long not, in nanoseconds: `busy_ns`, `idle_ns`. Costs a look at the clock each time a
    /// span is entered or left.
    #[must_use]
    pub const fn with_busy_and_idle(mut self) -> Self {
        self.busy_and_idle = true;
        self
    }

    /// Where an event with an error value was recorded: a backtrace behind the error's sources in `exception.stacktrace`.
    /// Takes milliseconds an event.
    #[must_use]
    pub const fn with_backtraces(mut self) -> Self {
        self.backtraces = true;
        self
    }

    pub(crate) fn any_at_start(self) -> bool {
        self.location || self.threads || self.busy_and_idle
    }

    /// Notes what is known when the span opens. The names are those of OpenTelemetry's semantic conventions.
    pub(crate) fn at_start(self, record: &mut SpanRecord, callsite: &Metadata<'_>) {
        let attributes = &mut record.exported_attributes;
        if !attributes.is_empty() {
            return;
        }
        if self.location {
            if let Some(file) = callsite.file() {
                put_attribute(attributes, "code.file.path", file.into());
            }
            if let Some(line) = callsite.line() {
                put_attribute(attributes, "code.line.number", line.into());
            }
            if let Some(module) = callsite.module_path() {
                put_attribute(attributes, "code.module.name", module.into());
            }
        }
        if self.threads {
            THREAD_ID.with(|id| put_attribute(attributes, "thread.id", (*id).into()));
            if let Some(name) = std::thread::current().name() {
                put_attribute(attributes, "thread.name", name.into());
            }
        }
        if self.busy_and_idle {
            record.begin_turns();
        }
    }
}

thread_local! {
    /// The number in `ThreadId(1)`: the standard library tells it in no other way.
    static THREAD_ID: i64 = format!("{:?}", std::thread::current().id())
        .chars()
        .filter(char::is_ascii_digit)
        .collect::<String>()
        .parse()
        .unwrap_or(0);
}
