//! The window in a real Chromium: what a person sees, clicks and types, over items that came through the real ingest endpoints.
//!
//! Where `chromium` and `chromedriver` are not on the path the tests say so and pass; `LGTM_BROWSER=require` makes that a failure. With
//! `LGTM_WINDOW_SHOTS=folder` they leave a picture of each page there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed step fails the test, also in its helpers"
)]
#![allow(clippy::print_stderr, reason = "what was skipped is said")]

mod browser;
mod carry;
mod contrast;
mod foreign;
mod pages;
mod real_shop;
mod scale;
mod shop;
mod use_of;
