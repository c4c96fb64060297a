//! What happens now, as server-sent events: the counts of the store, and the log lines that satisfy a filter as they arrive.
//!
//! Nothing is buffered for a client: when its connection takes more, it is given what the store has got since. So a slow client
//! costs no memory; what it was too slow for it is told as a number.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::Stream;
use http::HeaderMap;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::logs::{self, FILTER, LogFilter};
use super::overview::store_counts;
use super::query::{Query, Refusal};
use crate::devstack::Shared;
use crate::store::{Line, LogStore};

/// The shortest time between two looks at the store.
const PACE: Duration = Duration::from_millis(200);
/// The most lines that one look takes; of more, the newest.
const LINES_AT_ONCE: usize = 1000;

/// `GET /api/v1/live`: event `counts` with the counts of the store; with `logs=1` also `logs` with lines, oldest first, and `missed`
/// with the number of lines that came too fast to be looked at. The id of an event is the number of the next line; a client that comes back
/// with it goes on there.
pub(super) async fn live(
    State(shared): State<Shared>,
    headers: HeaderMap,
    query: Query,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refusal> {
    query.only(&[FILTER, &["logs", "after"]])?;
    let filter = LogFilter::from_query(&query)?;
    let filter = query.flag("logs")?.then_some(filter);
    let now = shared.store.read_logs(|logs| logs.next_number());
    let of_header = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    // A number beyond the present one is of a stack that ran before.
    let next = match of_header {
        Some(number) => number,
        None => query.number("after", now, 0, u64::MAX)?,
    };
    let follower = Follower {
        changed: shared.store.subscribe(),
        shared,
        filter,
        next: if next > now { now } else { next },
        pending: VecDeque::new(),
        looked: None,
    };
    let events = futures_util::stream::unfold(follower, async |mut follower| {
        let event = follower.next_event().await?;
        Some((Ok(event), follower))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(10))))
}

struct Follower {
    shared: Shared,
    changed: watch::Receiver<u64>,
    filter: Option<LogFilter>,
    /// The number of the next line to look at.
    next: u64,
    pending: VecDeque<Event>,
    /// When the store was looked at last.
    looked: Option<Instant>,
}

impl Follower {
    async fn next_event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Some(event);
            }
            if let Some(looked) = self.looked {
                // The store is gone only with the stack.
                self.changed.changed().await.ok()?;
                tokio::time::sleep_until(looked + PACE).await;
            }
            self.changed.borrow_and_update();
            self.looked = Some(Instant::now());
            self.look();
        }
    }

    fn look(&mut self) {
        if let Some(filter) = &self.filter {
            let (rows, next, missed) = self.shared.store.read_logs(|logs| {
                let (lines, next, missed) = news(logs, self.next);
                let lines = lines.filter(|line| filter.accepts(logs, *line));
                let rows: Vec<Value> = lines.map(|line| logs::row(line.number, line.entry)).collect();
                (rows, next, missed)
            });
            self.next = next;
            if missed > 0 {
                self.tell("missed", &json!({ "lines": missed }));
            }
            if !rows.is_empty() {
                self.tell("logs", &json!({ "rows": rows }));
            }
        }
        let counts = store_counts(&self.shared);
        self.tell("counts", &counts);
    }

    fn tell(&mut self, name: &str, data: &Value) {
        self.pending.push_back(Event::default().event(name).id(self.next.to_string()).data(data.to_string()));
    }
}

/// The newest lines from number `from` on, the number after them, and how many were passed over or evicted.
fn news(logs: &LogStore, from: u64) -> (impl Iterator<Item = Line<'_>>, u64, u64) {
    let next = logs.next_number();
    let start = from.max(logs.first_number()).max(next.saturating_sub(LINES_AT_ONCE as u64));
    // After the store was emptied, `from` may lie before all that it can tell.
    (logs.lines(start), next, start.saturating_sub(from).min(next))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Labels;

    #[test]
    fn a_follower_that_is_too_slow_gets_the_newest_lines_and_the_number_of_the_others() {
        let mut logs = LogStore::new(1 << 30);
        let labels = Labels::from([("service_name".to_owned(), "shop".to_owned())]);
        for number in 0..2500 {
            logs.push(&labels, number, format!("line {number}"), Labels::new());
        }
        let (mut lines, next, missed) = news(&logs, 100);
        assert_eq!((next, missed), (2500, 1400));
        assert_eq!(lines.next().map(|line| (line.number, line.entry.line.as_str())), Some((1500, "line 1500")));
        assert_eq!(lines.count(), 999);
        let (lines, next, missed) = news(&logs, 2499);
        assert_eq!((lines.count(), next, missed), (1, 2500, 0));
    }

    #[test]
    fn lines_that_were_evicted_before_they_were_seen_are_missed_lines() {
        let mut logs = LogStore::new(4000);
        let labels = Labels::from([("service_name".to_owned(), "shop".to_owned())]);
        for number in 0..100 {
            logs.push(&labels, number, format!("line {number}"), Labels::new());
        }
        let (lines, next, missed) = news(&logs, 0);
        assert_eq!(next, 100);
        assert_eq!(lines.count() as u64 + missed, 100);
        assert!(missed > 50, "{missed}");
    }
}
