//! What a backend answers in its state. The meanings are those of the protocols: what a client gives up, and what it sends again.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use prost::Message as _;
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::schedule::State;
use crate::receiver::{Answer, Backend, Meaning};

/// How long a slow backend takes.
const SLOW: Duration = Duration::from_secs(2);
/// Requests of fewer items are never too large, so that none is too large alone.
const SMALL: usize = 64;

/// The answer to a request of so many items.
pub(super) fn answer(backend: Backend, state: State, items: usize, random: &mut StdRng) -> Answer {
    match state {
        // What still comes while a port closes is answered as by one that is up.
        State::Up | State::Down => Answer::taken(backend, items),
        State::Slow => Answer { delay: SLOW, ..Answer::taken(backend, items) },
        State::Wrong => wrong(backend, items, random),
    }
}

fn wrong(backend: Backend, items: usize, random: &mut StdRng) -> Answer {
    let with = |status, meaning| Answer { meaning, ..Answer::status(status) };
    match random.random_range(0..14) {
        0 => Answer { body: "refused".into(), ..with(StatusCode::BAD_REQUEST, Meaning::Refused) },
        // Seldom: a client that hopes for better credentials asks again after a minute.
        1 if random.random_ratio(1, 3) => with(StatusCode::UNAUTHORIZED, Meaning::Unclear),
        2 | 3 if items > SMALL => with(StatusCode::PAYLOAD_TOO_LARGE, Meaning::Again),
        4 | 5 => {
            let seconds = HeaderValue::from(random.random_range(1..3_u16));
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, seconds)]);
            Answer { headers, ..with(StatusCode::TOO_MANY_REQUESTS, Meaning::Again) }
        }
        // OTLP lists what may be sent again: 500 is not among it.
        6 if backend == Backend::Tempo => with(StatusCode::INTERNAL_SERVER_ERROR, Meaning::Refused),
        6 | 7 => with(StatusCode::INTERNAL_SERVER_ERROR, Meaning::Again).or_unavailable(backend),
        8 => Answer { status: None, ..with(StatusCode::OK, Meaning::Again) },
        // Stored, and the answer is lost: the one reason for a second copy.
        9 => Answer { status: None, meaning: Meaning::Again, ..Answer::taken(backend, items) },
        10 => Answer {
            status: Some(StatusCode::OK),
            body: Bytes::from_static(b"<html>\xff\xfe 502 \0</html>"),
            meaning: Meaning::Doubtful,
            ..Answer::taken(backend, items)
        },
        11 => Answer {
            status: Some(StatusCode::OK),
            body: Bytes::from_static(b" "),
            breaks: true,
            meaning: Meaning::Doubtful,
            ..Answer::taken(backend, items)
        },
        12 if items > 1 => partial(backend, items, random),
        _ => with(StatusCode::SERVICE_UNAVAILABLE, Meaning::Again),
    }
}

impl Answer {
    /// For spans a status that means the same: 503.
    fn or_unavailable(mut self, backend: Backend) -> Self {
        if backend == Backend::Tempo {
            self.status = Some(StatusCode::SERVICE_UNAVAILABLE);
        }
        self
    }
}

/// A part is stored, and the answer says how much is not.
fn partial(backend: Backend, items: usize, random: &mut StdRng) -> Answer {
    let refused = random.random_range(1..items);
    match backend {
        Backend::Loki => {
            let text =
                format!("entry out of order,\nuser 'fake', total ignored: {refused} out of {items} for stream: {{}}");
            let answer = Answer::status(StatusCode::BAD_REQUEST);
            Answer { body: text.into(), stored: items - refused, meaning: Meaning::Taken, ..answer }
        }
        Backend::Tempo => {
            let rejected_spans = i64::try_from(refused).unwrap_or(i64::MAX);
            let error_message = "too many live traces".to_owned();
            let partial_success = Some(ExportTracePartialSuccess { rejected_spans, error_message });
            let body = ExportTraceServiceResponse { partial_success }.encode_to_vec();
            Answer { body: body.into(), stored: items - refused, ..Answer::taken(backend, items) }
        }
        // Which samples it has stored it does not say: the client counts all as refused.
        Backend::Mimir => Answer { meaning: Meaning::Refused, ..Answer::status(StatusCode::BAD_REQUEST) },
    }
}
