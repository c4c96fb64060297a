//! The console layer: tracing-subscriber's, with lines of our own on standard error, with the ids of the current trace. Caller
//! threads; standard error is written to as the event happens.
//!
//! - `fields.rs` visits fields: values of names that stand for secrets do not show;
//! - `careful.rs` keeps the program from what values do while they are shown;
//! - `pretty.rs` writes lines for people, `json.rs` objects for machines.
//!
//! An event is one line, whatever its texts are, and none of them steers the terminal.

mod careful;
mod fields;
mod json;
mod pretty;

#[cfg(test)]
mod tests;

use std::io::IsTerminal as _;

use tracing_core::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

use crate::settings::Console;
use careful::{Careful, Whole};

/// The layer for standard error; none if it is off.
pub(crate) fn layer<S>(console: Console) -> Option<Box<dyn Layer<S> + Send + Sync>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let terminal = std::io::stderr().is_terminal();
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    match console {
        Console::Off => None,
        Console::Auto if !terminal => Some(json(std::io::stderr)),
        Console::Json => Some(json(std::io::stderr)),
        Console::Auto | Console::Pretty => Some(pretty(std::io::stderr, colour)),
    }
}

fn pretty<S, W>(writer: W, colour: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // A closed standard error must not become a panic of the program.
    let layer = tracing_subscriber::fmt::layer().log_internal_errors(false);
    let layer = layer.fmt_fields(pretty::Fields { colour }).event_format(Whole(pretty::Line { colour }));
    let layer = layer.with_writer(writer);
    Box::new(Careful { layer, fields: pretty::Fields { colour }, join: pretty::join })
}

fn json<S, W>(writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().log_internal_errors(false);
    let layer = layer.fmt_fields(json::Fields).event_format(Whole(json::Line)).with_writer(writer);
    Box::new(Careful { layer, fields: json::Fields, join: json::join })
}
