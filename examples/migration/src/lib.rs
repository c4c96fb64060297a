//! What the programs of the book's migration pages do, before and after: it stays as it is, whichever library sends it.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_histogram, gauge, histogram};
use tracing::{Span, error, field, info, info_span, warn};

// ANCHOR: order
/// Logs in two spans.
#[tracing::instrument]
pub fn place_order(order: u64, customer: &str) {
    info!(copies = 3, express = false, "order placed");
    info_span!("payment", amount = 12.5).in_scope(|| {
        warn!(attempt = 2, "the card was refused");
        let cause = io::Error::other("no connection to the bank");
        error!(error = &cause as &dyn Error, "the payment failed");
    });
}
// ANCHOR_END: order

// ANCHOR: request
/// The headers of a request that belongs to a trace.
#[must_use]
pub fn incoming_headers() -> HashMap<String, String> {
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    HashMap::from([("traceparent".to_owned(), parent.to_owned())])
}

/// The span of a request.
#[must_use]
pub fn request_span() -> Span {
    info_span!("request", otel.name = "POST /orders", otel.kind = "server", http.response.status_code = field::Empty)
}

/// Answers it, in its span.
pub fn answer() {
    info!("an order came");
    let query = info_span!("UPDATE stock", otel.kind = "client", db.system.name = "postgresql");
    query.in_scope(|| info!(rows = 1, "stock was taken"));
    drop(query);
    Span::current().record("http.response.status_code", 503);
    error!("the bank does not answer");
}

/// Asks another service, with these headers.
pub fn send(headers: &HashMap<String, String>) {
    info!(traceparent = headers.get("traceparent"), "the warehouse was asked");
}
// ANCHOR_END: request

// ANCHOR: metrics
/// Upper bounds of buckets, in seconds.
pub const SECONDS: [f64; 4] = [0.01, 0.1, 1.0, 10.0];

/// Counts and times a few orders.
pub fn count_orders() {
    describe_counter!("orders_total", Unit::Count, "Orders placed");
    describe_histogram!("order_duration_seconds", Unit::Seconds, "Time to place an order");
    let orders = [("card", 8), ("card", 90), ("invoice", 300), ("card", 2_000), ("invoice", 20_000)];
    for (payment, milliseconds) in orders {
        counter!("orders_total", "payment" => payment).increment(1);
        histogram!("order_duration_seconds").record(Duration::from_millis(milliseconds));
    }
    gauge!("stock.copies", "book" => "Moby \"Dick\"").set(12.0);
}
// ANCHOR_END: metrics

/// Where metrics are to be scraped: `METRICS_ADDR`.
///
/// # Errors
/// If it is not set, or no address.
pub fn metrics_address() -> Result<SocketAddr, Box<dyn Error>> {
    Ok(std::env::var("METRICS_ADDR")?.parse()?)
}

/// Waits until standard input ends.
///
/// # Errors
/// If it cannot be read.
pub fn wait_for_the_end() -> io::Result<()> {
    io::copy(&mut io::stdin(), &mut io::sink()).map(drop)
}
