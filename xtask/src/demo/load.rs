//! The load: requests at a bounded rate, some of which fail and some of which are slow, each checked against the answer that it
//! must get. Runs on the demo's runtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use url::Url;

/// Requests started a second.
const RATE: u32 = 25;
/// Requests in flight at most; further ones wait.
const MAX_IN_FLIGHT: usize = 64;
/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests from this on are slow. The shop's own take 400 ms longer than others.
const SLOW: Duration = Duration::from_millis(300);
/// Answers that were not expected and are remembered as text.
const MAX_SURPRISES: usize = 5;

/// One request of the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    Product { id: u64, status: u16 },
    Order { sku: u64, status: u16 },
}

/// The request with this number. The same ones in each run: a product page two times of three, else an order. The shop sells no sku
/// that 13 divides, and is slow where 17 does. Orders are slow only where they fail too, so that a slow failure is what the
/// exemplars of slow orders lead to.
fn request(number: u64) -> Request {
    if number % 3 != 2 {
        return match number % 50 {
            49 => Request::Product { id: 0, status: 404 },
            _ => Request::Product { id: 1 + (number * 7) % 999, status: 200 },
        };
    }
    let order = number / 3;
    match order % 12 {
        // Slow and out of stock: 13 and 17 divide it.
        3 => Request::Order { sku: 221 * (1 + order / 12 % 4), status: 500 },
        // Out of stock.
        7 => Request::Order { sku: 13 * (1 + order / 12 % 16), status: 500 },
        // In stock: no multiple of 13 or 17 is one more than a multiple of both.
        _ => Request::Order { sku: 1 + 221 * (order % 40), status: 201 },
    }
}

/// What the load has done so far.
#[derive(Debug, Default)]
pub(super) struct Counters {
    sent: AtomicU64,
    failed: AtomicU64,
    slow: AtomicU64,
}

/// The counts of a load.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Load {
    /// Requests answered as expected or not.
    pub(super) requests: u64,
    /// Those answered with a status from 500 on.
    pub(super) failed: u64,
    /// Those that took 300 ms or longer.
    pub(super) slow: u64,
    /// Requests that got another answer than the shop must give, or none.
    pub(super) unexpected: u64,
    /// The first of them, in words.
    pub(super) surprises: Vec<String>,
}

impl Counters {
    /// Requests answered, failed and slow ones among them.
    pub(super) fn now(&self) -> (u64, u64, u64) {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (load(&self.sent), load(&self.failed), load(&self.slow))
    }
}

/// Sends requests to the storefront for as long as told, and waits for the answers.
///
/// # Errors
/// If the client cannot be made. Requests that go wrong are counted instead.
pub(super) async fn drive(storefront: &Url, length: Duration, counters: Arc<Counters>) -> anyhow::Result<Load> {
    let client = client()?;
    let mut load = Load::default();
    let mut in_flight = JoinSet::new();
    let mut ticks = interval(Duration::from_secs(1) / RATE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = Instant::now() + length;
    for number in 0.. {
        ticks.tick().await;
        if Instant::now() >= end {
            break;
        }
        while let Some(outcome) =
            if in_flight.len() >= MAX_IN_FLIGHT { in_flight.join_next().await } else { in_flight.try_join_next() }
        {
            load.settle(outcome);
        }
        in_flight.spawn(send(client.clone(), storefront.clone(), request(number), Arc::clone(&counters)));
    }
    while let Some(outcome) = in_flight.join_next().await {
        load.settle(outcome);
    }
    (load.requests, load.failed, load.slow) = counters.now();
    Ok(load)
}

impl Load {
    fn settle(&mut self, outcome: Result<Option<String>, tokio::task::JoinError>) {
        let surprise = outcome.unwrap_or_else(|error| Some(error.to_string()));
        if let Some(surprise) = surprise {
            self.unexpected += 1;
            if self.surprises.len() < MAX_SURPRISES {
                self.surprises.push(surprise);
            }
        }
    }
}

/// Sends one request. What was not expected of its answer, in words.
async fn send(client: reqwest::Client, storefront: Url, request: Request, counters: Arc<Counters>) -> Option<String> {
    let mut url = storefront;
    let (sending, what, expected) = match request {
        Request::Product { id, status } => {
            url.set_path(&format!("/products/{id}"));
            (client.get(url), format!("GET /products/{id}"), status)
        }
        Request::Order { sku, status } => {
            url.set_path("/orders");
            let body = serde_json::json!({ "sku": sku });
            (client.post(url).json(&body), format!("POST /orders for sku {sku}"), status)
        }
    };
    let started = Instant::now();
    let answer = match sending.send().await {
        Ok(response) => {
            let status = response.status().as_u16();
            // The body is read so that the connection can be used again.
            response.bytes().await.map(|_| status)
        }
        Err(error) => Err(error),
    };
    let count = |count: &AtomicU64| count.fetch_add(1, Ordering::Relaxed);
    count(&counters.sent);
    if started.elapsed() >= SLOW {
        count(&counters.slow);
    }
    match answer {
        Ok(status) => {
            if status >= 500 {
                count(&counters.failed);
            }
            (status != expected).then(|| format!("{what}: status {status} instead of {expected}"))
        }
        Err(error) => Some(format!("{what}: {error}")),
    }
}

/// A client for plain HTTP on this machine. reqwest does not start without a TLS provider, so it gets one that trusts nobody.
fn client() -> anyhow::Result<reqwest::Client> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("the load's HTTP client has no TLS")?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let builder = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().timeout(REQUEST_TIMEOUT);
    builder.build().context("the load's HTTP client cannot be made")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_load_has_a_slow_failure_a_fast_failure_and_successes() {
        let first_seconds: Vec<_> = (0..u64::from(RATE)).map(request).collect();
        let has = |wanted: &dyn Fn(&Request) -> bool| first_seconds.iter().any(wanted);
        assert!(has(&|request| matches!(request, Request::Order { sku, .. } if sku % 221 == 0)));
        assert!(has(&|request| matches!(request, Request::Order { sku, status: 500 } if sku % 17 != 0)));
        assert!(has(&|request| matches!(request, Request::Order { status: 201, .. })));
    }

    #[test]
    fn only_goods_that_13_divides_are_expected_to_be_out_of_stock_and_slow_orders_fail() {
        for number in 0..10_000 {
            match request(number) {
                Request::Order { sku, status } => {
                    assert_eq!(status == 500, sku % 13 == 0, "sku {sku}");
                    assert!(sku % 17 != 0 || sku % 13 == 0, "sku {sku} is slow and succeeds");
                    assert!(sku > 0);
                }
                Request::Product { id, status } => assert_eq!(status == 200, (1..=999).contains(&id), "id {id}"),
            }
        }
    }
}
