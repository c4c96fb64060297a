//! Encode: OTLP's export request around log records that are bytes already; and what the answers mean, those of Loki's own endpoint
//! among them. Worker thread. Source: opentelemetry-proto; Loki, "Ingesting logs to Loki using OpenTelemetry Collector".

use std::time::Duration;

use lgtm_core::pipeline::{Batch, Queue, Reply, Signal, Verdict, excerpt};
use lgtm_core::protobuf::{count, field_length, halve, length_tag, put_varint};
use lgtm_core::{Identity, SignalKind, otlp};

use crate::push;
use crate::summaries::Summaries;

pub(crate) const HTTP_PATH: &str = "/v1/logs";
pub(crate) const GRPC_PATH: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

/// The field of `ScopeLogs` that a record is.
pub(crate) const LOG_RECORD: u8 = length_tag(2);

const RESOURCE_LOGS: u8 = length_tag(1);
const SCOPE_LOGS: u8 = length_tag(2);

/// Where the records of a request are.
const RECORD_PATH: &[u32] = &[1, 2, 2];

/// Encodes batches for one receiver.
pub(crate) struct Otlp {
    /// `ResourceLogs.resource`, tag and all.
    resource: Vec<u8>,
    /// `ScopeLogs.scope`, tag and all.
    scope: Vec<u8>,
    summaries: Option<Summaries>,
}

impl Otlp {
    pub(crate) fn new(identity: &Identity, summaries: Option<Summaries>) -> Self {
        let scope = otlp::scope("lgtm-loki", env!("CARGO_PKG_VERSION"));
        Self { resource: otlp::resource(identity), scope, summaries }
    }
}

impl Signal for Otlp {
    fn kind(&self) -> SignalKind {
        SignalKind::Logs
    }

    fn encode(&mut self, batch: &Batch, body: &mut Vec<u8>) {
        let records: usize = batch.iter().map(|item| item.payload.len()).sum();
        let scope_logs = self.scope.len() + records;
        let resource_logs = self.resource.len() + field_length(scope_logs);
        body.reserve(field_length(resource_logs));
        body.push(RESOURCE_LOGS);
        put_varint(body, resource_logs as u64);
        body.extend_from_slice(&self.resource);
        body.push(SCOPE_LOGS);
        put_varint(body, scope_logs as u64);
        body.extend_from_slice(&self.scope);
        for item in batch.iter() {
            body.extend_from_slice(item.payload);
        }
    }

    fn halve(&mut self, body: &[u8]) -> Option<[(Vec<u8>, usize); 2]> {
        let (one, other) = halve(body, RECORD_PATH)?;
        Some([one, other].map(|half| {
            let records = count(&half, RECORD_PATH);
            (half, records)
        }))
    }

    fn collect_interval(&self) -> Option<Duration> {
        self.summaries.as_ref().map(|summaries| summaries.every)
    }

    fn collect(&mut self, queue: &Queue, _: bool) {
        if let Some(summaries) = &self.summaries {
            summaries.admit(queue);
        }
    }

    fn classify(&self, reply: &Reply) -> Verdict {
        // Loki stores the good entries of a request that it answers with 400, and says how many were not.
        if let Reply::Http { status: 400, body, .. } = reply
            && let Some(rejected) = push::refused(body)
        {
            return Verdict::Delivered { rejected, message: format!("400 {}", excerpt(body)) };
        }
        if let Reply::Http { status: 429, body, .. } = reply
            && push::is_over_the_rate(body)
        {
            return Verdict::Split { message: format!("429 {}", excerpt(body)) };
        }
        otlp::classify(reply)
    }
}
