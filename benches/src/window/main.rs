//! The development stack's window with a full store: how fast items come in, what they take of memory, and how long the pages' requests take.
//!
//! ```text
//! main.rs ─┬─ stack.rs   the stack, in a process of its own: it says its addresses, and what it has taken so far
//!          ├─ bodies.rs  requests as clients send them, made before the clock runs
//!          └─ pages.rs   what the pages ask
//! ```
//!
//! It says one JSON object.

#![allow(clippy::print_stdout, reason = "a program tells its outcome")]

mod bodies;
mod pages;
mod stack;

use std::time::Instant;

use anyhow::{Context as _, bail};
use axum::http::{Request as Http, StatusCode};
use clap::Parser;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use prost::bytes::Bytes;
use serde::Serialize;

use bodies::Request;
use stack::Stack;

#[derive(Parser)]
struct Options {
    /// Is the stack, and not the one that asks.
    #[arg(long)]
    serve: bool,
    /// What the store holds of each signal, in MiB.
    #[arg(long, default_value_t = 64)]
    mebibytes: usize,
    /// Log lines, spans and samples that are sent, each so many; enough to fill the store.
    #[arg(long, default_value_t = 400_000)]
    items: usize,
    /// How often each page asks.
    #[arg(long, default_value_t = 20)]
    asks: usize,
}

#[derive(Serialize)]
struct Outcome {
    mebibytes: usize,
    resident_before: u64,
    resident_full: u64,
    ingest: Vec<Ingest>,
    pages: Vec<pages::Page>,
    held: stack::Held,
}

/// One way in.
#[derive(Serialize)]
struct Ingest {
    name: &'static str,
    items: u64,
    bytes: u64,
    seconds: f64,
    /// CPU time of the stack's process.
    cpu_seconds: f64,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if options.serve {
        return stack::serve(options.mebibytes);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut stack = Stack::start(options.mebibytes)?;
    let client: Client = legacy::Client::builder(TokioExecutor::new()).build_http();
    let resident_before = stack.tell()?.resident;
    let mut ingest = Vec::new();
    for way in bodies::WAYS {
        let requests = way.requests(options.items, &stack.addresses);
        let before = stack.tell()?;
        let begin = Instant::now();
        runtime.block_on(send(&client, &requests, way.connections))?;
        let seconds = begin.elapsed().as_secs_f64();
        let after = stack.tell()?;
        let taken = after.received - before.received;
        let items: u64 = requests.iter().map(|request| request.items).sum();
        if taken != items {
            bail!("{}: {items} items were sent, {taken} were taken", way.name);
        }
        ingest.push(Ingest {
            name: way.name,
            items,
            bytes: requests.iter().map(|request| request.body.len() as u64).sum(),
            seconds,
            cpu_seconds: after.cpu_seconds - before.cpu_seconds,
        });
    }
    let full = stack.tell()?;
    let pages = runtime.block_on(pages::ask(&client, &stack.addresses.window, options.asks))?;
    let outcome = Outcome {
        mebibytes: options.mebibytes,
        resident_before,
        resident_full: full.resident,
        ingest,
        pages,
        held: full.held,
    };
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

/// Over loopback, without TLS.
type Client = legacy::Client<HttpConnector, Full<Bytes>>;

async fn send(client: &Client, requests: &[Request], connections: usize) -> anyhow::Result<()> {
    let next = std::cell::Cell::new(0);
    let lane = async || -> anyhow::Result<()> {
        while let Some(request) = requests.get(next.replace(next.get() + 1)) {
            let http = Http::post(&request.url)
                .header("content-type", request.content_type)
                .header("content-encoding", request.encoding)
                .body(Full::new(request.body.clone()))?;
            let (status, body) = ask(client, http).await?;
            if !status.is_success() {
                bail!("{}: {status} {}", request.url, String::from_utf8_lossy(&body));
            }
        }
        Ok(())
    };
    let lanes = (0..connections).map(|_| lane());
    for outcome in futures_util::future::join_all(lanes).await {
        outcome?;
    }
    Ok(())
}

/// Status and whole body of the answer.
async fn ask(client: &Client, request: Http<Full<Bytes>>) -> anyhow::Result<(StatusCode, Bytes)> {
    let url = request.uri().to_string();
    let answer = client.request(request).await.with_context(|| url.clone())?;
    let status = answer.status();
    Ok((status, answer.into_body().collect().await.context(url)?.to_bytes()))
}
