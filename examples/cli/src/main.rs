//! A short-lived tool: what it recorded is sent before it exits, in milliseconds, and it exits as fast where no backend is
//! there. What was lost it says on standard error.
//!
//! ```text
//! cargo run --package cli -- 17 18
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the command line")]

use std::process::ExitCode;

use tracing::{error, info, info_span};

fn main() -> ExitCode {
    let telemetry = match lgtm::builder().shutdown_on_signals(true).init() {
        Ok(telemetry) => telemetry,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let failed = run(std::env::args().skip(1));
    // Not by `std::process::exit`, which runs no destructors.
    let report = telemetry.shutdown();
    if report.lost() > 0 {
        eprintln!("telemetry was lost:\n{report}");
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn run(arguments: impl Iterator<Item = String>) -> bool {
    let mut failed = false;
    let _tool = info_span!("cli").entered();
    for argument in arguments {
        match argument.parse::<u64>() {
            Ok(order) => {
                metrics::counter!("orders_total").increment(1);
                info!(order, "order placed");
                println!("placed {order}");
            }
            Err(error) => {
                error!(argument, error = &error as &dyn std::error::Error, "not an order");
                failed = true;
            }
        }
    }
    failed
}
