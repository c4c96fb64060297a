//! Whatever a program says, and however much of it: each thing is bounded, and what is over its bound is counted.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed step fails the test, also in its helpers"
)]

mod depth;
mod headers;
mod items;
mod repeats;
mod series;
mod streams;

use lgtm_tests::signals::Settings;

fn settings() -> Settings {
    Settings::of("limits")
}
