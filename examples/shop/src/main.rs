//! A shop of two HTTP services, one binary: the storefront takes orders and asks the inventory to reserve the goods. All of its
//! telemetry is `lgtm::init()`, configured by lgtm's environment variables, and the layers of `lgtm::http` around requests. Some requests fail and some are slow, always the same ones, so that there is something to find.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | SHOP_ROLE | `storefront`, `inventory`, or `alerts`: Alertmanager's webhook, which logs each alert | storefront |
//! | SHOP_LISTEN | address of the HTTP API; port 0 takes a free one | 127.0.0.1:3000, inventory 127.0.0.1:3001, alerts 127.0.0.1:3003 |
//! | SHOP_INVENTORY_URL | where the storefront finds the inventory | http://127.0.0.1:3001 |
//! | SHOP_FAIL_EVERY | an sku divisible by it is out of stock; 0 for none | 13 |
//! | SHOP_SLOW_EVERY | an id or sku divisible by it is slow; 0 for none | 17 |
//! | SHOP_SLOW_MS | how slow, in milliseconds | 400 |
//! | SHOP_REPORT | 1: one line on stderr at the end about what was delivered | 0 |
//!
//! It says `listening on http://…` on stdout, and ends in order on SIGTERM and Ctrl-C. `shop --health` asks the one that runs with the same
//! environment whether it answers, and says so by its exit code.

mod alerts;
mod health;
mod inventory;
mod settings;
mod storefront;
mod telemetry;

use std::error::Error;
use std::future::IntoFuture as _;
use std::process::ExitCode;
use std::time::Duration;

use settings::{Role, Settings};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// How long requests in flight may take to finish after the signal to end.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_on_stderr(&format!("shop: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let settings = Settings::from_environment()?;
    match std::env::args().nth(1).as_deref() {
        None => {}
        Some("--health") => return health::ask(&settings.listen).await,
        Some(other) => return Err(format!("the argument `{other}` is not known; accepted: --health, or none").into()),
    }
    let telemetry = lgtm::init()?;
    let served = serve(&settings).await;
    let report = telemetry.shutdown();
    if settings.report {
        print_on_stderr(&report.to_string());
    }
    served
}

async fn serve(settings: &Settings) -> Result<(), Box<dyn Error>> {
    let router = match &settings.role {
        Role::Storefront { inventory } => storefront::router(inventory.clone(), settings.misbehaviour)?,
        Role::Inventory => inventory::router(settings.misbehaviour),
        Role::Alerts => alerts::router(),
    };
    let listener = TcpListener::bind(&settings.listen)
        .await
        .map_err(|error| format!("cannot listen on SHOP_LISTEN={}: {error}", settings.listen))?;
    announce(&listener)?;
    let (ending, ended) = oneshot::channel();
    let signal = async {
        termination().await;
        // The receiver is gone only when the server has ended.
        let _ = ending.send(());
    };
    let overdue = async {
        if ended.await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(DRAIN_DEADLINE).await;
    };
    tokio::select! {
        outcome = axum::serve(listener, router).with_graceful_shutdown(signal).into_future() => outcome?,
        () = overdue => tracing::warn!(deadline = ?DRAIN_DEADLINE, "requests in flight were abandoned"),
    }
    Ok(())
}

/// The first of SIGTERM and Ctrl-C.
async fn termination() {
    let interrupt = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::error!(error = &error as &dyn Error, "Ctrl-C is not heard");
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn Error, "SIGTERM is not heard");
                std::future::pending::<()>().await;
            }
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = interrupt => {}
        () = terminate => {}
    }
}

#[expect(clippy::print_stdout, reason = "whoever starts the program reads its port here")]
fn announce(listener: &TcpListener) -> std::io::Result<()> {
    println!("listening on http://{}", listener.local_addr()?);
    Ok(())
}

#[expect(clippy::print_stderr, reason = "what is said where telemetry is not there yet, or no more")]
fn print_on_stderr(text: &str) {
    eprintln!("{text}");
}
