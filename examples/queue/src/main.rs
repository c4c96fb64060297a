//! A producer and a consumer with a queue in between: Kafka, AMQP, Redis, or a table of jobs. Each message carries its context in its
//! headers; what works it off is nobody's child, but points at the message's producer with a link, because one consumer works off the
//! messages of many traces.
//!
//! ```text
//! cargo run --package queue
//! ```

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::thread;

use lgtm::propagation::{self, Extractor, Injector, RemoteParent};
use lgtm::{SpanExt as _, TraceContext};
use tracing::{info, info_span};

/// Headers with values of bytes: `rdkafka`'s `OwnedHeaders`, `lapin`'s `FieldTable`. They need a carrier of the program's own.
#[derive(Default)]
struct ByteHeaders(Vec<(String, Vec<u8>)>);

impl Injector for ByteHeaders {
    fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.0.push((name.to_owned(), value.as_bytes().to_vec()));
    }

    fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }
}

impl Extractor for ByteHeaders {
    fn values(&self, name: &str, show: &mut dyn FnMut(&str)) {
        for (_, value) in self.0.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name)) {
            show(&String::from_utf8_lossy(value));
        }
    }
}

/// What travels.
enum Message {
    /// A message of Kafka or AMQP.
    Event { headers: ByteHeaders, order: u64 },
    /// An entry of a Redis stream, or the row of a table of jobs with its context in a JSON column: maps of text carry contexts as they are.
    Job { fields: BTreeMap<String, String>, order: u64 },
}

fn main() -> Result<(), lgtm::Error> {
    let telemetry = lgtm::init()?;
    let (queue, messages) = mpsc::channel();
    let consumer = thread::spawn(move || messages.iter().for_each(consume));
    for order in 0..2 {
        publish(order, &queue);
    }
    drop(queue);
    let worked_off = consumer.join();
    drop(telemetry);
    assert!(worked_off.is_ok(), "the consumer panicked");
    Ok(())
}

fn publish(order: u64, queue: &mpsc::Sender<Message>) {
    let span = info_span!(
        "send orders",
        otel.kind = "producer",
        messaging.system = "kafka",
        messaging.operation.type = "send",
        messaging.destination.name = "orders",
        order
    );
    span.in_scope(|| {
        let (mut headers, mut fields) = (ByteHeaders::default(), BTreeMap::new());
        propagation::inject(&mut headers);
        propagation::inject(&mut fields);
        info!(order, "order queued");
        let messages = [Message::Event { headers, order }, Message::Job { fields, order }];
        // Nobody takes them any more once the consumer has ended.
        messages.into_iter().for_each(|message| drop(queue.send(message)));
    });
}

fn consume(message: Message) {
    let (producer, order, destination) = match &message {
        Message::Event { headers, order } => (propagation::extract(headers), *order, "orders"),
        Message::Job { fields, order } => (propagation::extract(fields), *order, "jobs"),
    };
    let span = info_span!(
        "process",
        otel.name = format!("process {destination}"),
        otel.kind = "consumer",
        messaging.operation.type = "process",
        messaging.destination.name = destination
    );
    if let Some(RemoteParent { trace_id, span_id, sampled, .. }) = producer {
        span.add_link(TraceContext::new(trace_id, span_id, sampled), &[]);
    }
    span.in_scope(|| info!(order, "order worked off"));
}
