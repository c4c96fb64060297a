//! Files that were saved earlier, taken back: cut into documents as they come (pieces.rs), each recognised and stored (document.rs), what
//! became of them told at the end (outcome.rs). Runs on the connection's task.
//!
//! Times are not looked at: a saved file is old. Everything else is held to the rules of the ingest.

mod document;
mod outcome;
mod pieces;

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::sync::SemaphorePermit;

use self::document::{ACCEPTED, Document};
use self::outcome::Outcome;
use self::pieces::{Cutter, Piece};
use super::query::{Query, Refusal};
use crate::devstack::Shared;

/// How long a client may take for the next bytes, and may wait for memory to hold them.
const IDLE: Duration = Duration::from_secs(30);

/// The types of a body that no page of another site may send without being asked for leave, which is never given.
const CONTENT_TYPES: [&str; 4] =
    ["application/json", "application/x-ndjson", "application/jsonl", "application/octet-stream"];

/// `POST /api/v1/import`
pub(super) async fn import(
    State(shared): State<Shared>,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Refusal> {
    query.only(&[])?;
    check_type(&headers)?;
    let (store, import) = shared.store.for_import();
    let into = Shared { store, ..shared.clone() };
    let limit = shared.limits.body_bytes.min(shared.limits.decompressed_bytes);
    let mut cutter = Cutter::new(limit);
    let mut outcome = Outcome::default();
    let mut memory = Memory { shared: &shared, permit: None };
    let mut body = body;
    let mut is_too_long = false;
    while let Some(bytes) = next(&mut body).await? {
        memory.hold(cutter.held().saturating_add(bytes.len()).min(limit)).await?;
        for piece in cutter.push(&bytes) {
            is_too_long |= matches!(piece, Piece::TooLong(_));
            take(&into, piece, limit, &mut outcome).await;
        }
    }
    if let Some(piece) = cutter.end() {
        take(&into, piece, limit, &mut outcome).await;
    }
    if outcome.documents == 0 {
        let status = if is_too_long { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST };
        let problem = outcome.first_problem().unwrap_or_else(|| format!("the body is empty; accepted: {ACCEPTED}"));
        return Err(Refusal::new(status, problem));
    }
    Ok(Json(outcome.json(&import.counts())))
}

/// Refuses what a form or a script of another site could send as it is.
fn check_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content_type = text(header::CONTENT_TYPE);
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let refuse = |message: String| Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    if !CONTENT_TYPES.contains(&essence.as_str()) {
        let accepted = CONTENT_TYPES.join(", ");
        return refuse(format!("the content type {content_type:?} is not accepted; accepted: {accepted}"));
    }
    let encoding = text(header::CONTENT_ENCODING);
    if !matches!(encoding, "" | "identity") {
        return refuse(format!(
            "the content encoding {encoding:?} is not accepted; accepted: none, decompress it first"
        ));
    }
    Ok(())
}

/// The next bytes of a body; `None` at its end.
async fn next(body: &mut Body) -> Result<Option<Bytes>, Refusal> {
    let refuse = |status, message| Err(Refusal::new(status, message));
    loop {
        match tokio::time::timeout(IDLE, body.frame()).await {
            Err(_) => return refuse(StatusCode::REQUEST_TIMEOUT, format!("nothing came for {IDLE:?}")),
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => {
                return refuse(StatusCode::BAD_REQUEST, format!("the body is not readable: {error}"));
            }
            Ok(Some(Ok(frame))) => {
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
        }
    }
}

/// A part of the memory that all bodies in flight share: what the longest piece needed.
struct Memory<'a> {
    shared: &'a Shared,
    permit: Option<SemaphorePermit<'a>>,
}

impl Memory<'_> {
    async fn hold(&mut self, bytes: usize) -> Result<(), Refusal> {
        let held = self.permit.as_ref().map_or(0, SemaphorePermit::num_permits);
        let missing = u32::try_from(bytes.saturating_sub(held)).unwrap_or(u32::MAX);
        if missing == 0 {
            return Ok(());
        }
        match tokio::time::timeout(IDLE, self.shared.body_memory.acquire_many(missing)).await {
            Ok(Ok(more)) => match &mut self.permit {
                Some(permit) => permit.merge(more),
                None => self.permit = Some(more),
            },
            _ => {
                let message = format!("no memory was free for {IDLE:?}: others send much at the same time");
                return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message));
            }
        }
        Ok(())
    }
}

/// Stores one piece when it is its turn.
async fn take(shared: &Shared, piece: Piece, limit: usize, outcome: &mut Outcome) {
    let _turn = shared.decoding.acquire().await;
    match piece {
        Piece::TooLong(line) => {
            outcome.at(line);
            outcome.refuse(&format!("it is longer than {limit} bytes"));
        }
        Piece::Line(line, bytes) => {
            outcome.at(line);
            take_line(shared, &bytes, outcome);
        }
        Piece::Whole(line, bytes) => take_whole(shared, line, &bytes, outcome),
    }
}

fn take_line(shared: &Shared, line: &[u8], outcome: &mut Outcome) {
    match serde_json::from_slice::<Document>(line) {
        Ok(document) => store(shared, document, outcome),
        Err(error) => outcome.refuse(&refusal(&error)),
    }
}

fn store(shared: &Shared, document: Document, outcome: &mut Outcome) {
    match document.store(shared, outcome) {
        Ok(()) => outcome.documents += 1,
        Err(reason) => outcome.refuse(&reason),
    }
}

/// Documents over several lines, one behind the other.
fn take_whole(shared: &Shared, first_line: u64, bytes: &[u8], outcome: &mut Outcome) {
    let line_ends = |part: Option<&[u8]>| part.unwrap_or_default().iter().filter(|byte| **byte == b'\n').count() as u64;
    let (mut line, mut counted) = (first_line, 0);
    let mut documents = serde_json::Deserializer::from_slice(bytes).into_iter::<Document>();
    loop {
        let begin = documents.byte_offset();
        let blank = bytes.get(begin..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        line += line_ends(bytes.get(counted..begin + blank));
        counted = begin + blank;
        match documents.next() {
            None => return,
            Some(Ok(document)) => {
                outcome.at(line);
                store(shared, document, outcome);
            }
            Some(Err(error)) => {
                // The first line of a file may be cut off, and the others whole.
                let rest = bytes.get(begin + blank..).unwrap_or_default();
                let mut lines = rest.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
                let is_line = |line: &[u8]| line.starts_with(b"{") && serde_json::from_slice::<Document>(line).is_ok();
                if lines.clone().nth(1).is_some_and(is_line) {
                    for (number, text) in (line..).zip(&mut lines).filter(|(_, text)| !text.is_empty()) {
                        outcome.at(number);
                        take_line(shared, text, outcome);
                    }
                } else {
                    outcome.at(first_line + (error.line() as u64).saturating_sub(1));
                    outcome.refuse(&refusal(&error));
                }
                return;
            }
        }
    }
}

/// What is wrong with a document; its line is told already.
fn refusal(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let reason = match text.strip_suffix(&place) {
        Some(reason) => format!("{reason}, column {}", error.column()),
        None => text,
    };
    if error.is_data() { reason } else { format!("it is not JSON: {reason}; accepted: {ACCEPTED}") }
}
