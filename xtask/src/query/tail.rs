//! `query tail`: log entries as they arrive, until Ctrl-C, a time or a number of entries.
//!
//! Loki ends a tail after an hour and when its queriers change, and a connection can break: then a new tail begins after the last
//! entry that was seen. What Loki leaves out because this program is too slow is counted and said.

use std::time::Duration;

use lgtm_query::{Direction, Error, Labels, LogData, LogQuery, Loki, Tail, TailBatch, TimeRange};
use tokio::time::Instant;

use super::moment::now;
use super::problem::{Server, explain};
use super::screen::{Screen, nanos};
use super::{Outcome, TailOptions, logs};

/// How long connections may fail one after the other before the tail gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// The first pause between two tries; each further one is twice as long, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Entries of before the start that Loki sends at most.
const BACKLOG: u32 = 1_000;

/// Why a connection is over.
enum End {
    /// Enough entries.
    Limit,
    /// The server has ended it, or it broke.
    Lost(Option<Error>),
}

/// What is known while the tail runs.
struct Following<'a, 'b> {
    options: &'a TailOptions,
    screen: &'a mut Screen<'b>,
    /// Where the next connection begins.
    from: u64,
    entries: u64,
    dropped: u64,
}

/// # Errors
/// If Loki does not answer or refuses at the start, or is gone for longer than a minute; or if the output is gone.
pub(super) async fn run(options: &TailOptions, loki: &Loki, screen: &mut Screen<'_>) -> anyhow::Result<Outcome> {
    let from = now().saturating_sub(nanos(options.since));
    let mut following = Following { options, screen, from, entries: 0, dropped: 0 };
    let end = options.length.map(|length| Instant::now() + length);
    let over = async {
        match end {
            Some(end) => tokio::time::sleep_until(end).await,
            None => std::future::pending().await,
        }
    };
    let outcome = tokio::select! {
        outcome = following.follow(loki) => outcome,
        () = over => Ok(()),
        pressed = tokio::signal::ctrl_c() => Ok(pressed?),
    };
    // An error says enough, unless entries came before it.
    if following.entries == 0 {
        outcome?;
        eprintln!("no entry has arrived");
        return Ok(Outcome::Quiet);
    }
    let Following { entries, dropped, .. } = following;
    let and_dropped = match dropped {
        0 => String::new(),
        dropped => format!(", {dropped} dropped by Loki because this program or the connection was too slow"),
    };
    eprintln!("{entries} {}{and_dropped}", if entries == 1 { "entry" } else { "entries" });
    outcome.map(|()| Outcome::Found)
}

impl Following<'_, '_> {
    /// Ends with enough entries, or with an error.
    async fn follow(&mut self, loki: &Loki) -> anyhow::Result<()> {
        let mut tail = self.connect(loki).await.map_err(|error| self.explained(loki, &error))?;
        loop {
            let why = match self.read(&mut tail).await? {
                End::Limit => {
                    tail.close().await;
                    return Ok(());
                }
                End::Lost(error) => error.map_or("Loki has ended the tail".to_owned(), |error| error.to_string()),
            };
            eprintln!("{why}; connecting again");
            // The server waits for this end to go before it is done with the old connection.
            drop(tail);
            tail = self.connect_again(loki).await?;
        }
    }

    fn explained(&self, loki: &Loki, error: &Error) -> anyhow::Error {
        explain(Server::Loki, loki.client(), &self.options.query, error)
    }

    async fn connect(&self, loki: &Loki) -> Result<Tail, Error> {
        let backlog = self.options.limit.map_or(BACKLOG, |limit| limit.min(BACKLOG));
        let query = LogQuery::new(&self.options.query).range(TimeRange::new(self.from, u64::MAX)).limit(backlog);
        loki.tail(&query).await
    }

    async fn connect_again(&self, loki: &Loki) -> anyhow::Result<Tail> {
        let give_up = Instant::now() + PATIENCE;
        let mut pause = FIRST_PAUSE;
        loop {
            tokio::time::sleep(pause).await;
            match self.connect(loki).await {
                Ok(tail) => return Ok(tail),
                Err(error) if error.is_transient() && Instant::now() < give_up => {
                    pause = (2 * pause).min(LONGEST_PAUSE);
                }
                Err(error) => return Err(self.explained(loki, &error)),
            }
        }
    }

    async fn read(&mut self, tail: &mut Tail) -> anyhow::Result<End> {
        loop {
            match tail.next().await {
                Ok(Some(batch)) => {
                    if self.show(batch)? {
                        return Ok(End::Limit);
                    }
                }
                Ok(None) => return Ok(End::Lost(None)),
                Err(error @ Error::Transport { .. }) => return Ok(End::Lost(Some(error))),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether it is enough.
    fn show(&mut self, batch: TailBatch) -> anyhow::Result<bool> {
        let dropped = batch.dropped.len() as u64;
        if dropped > 0 {
            self.dropped += dropped;
            eprintln!("Loki has dropped {dropped} entries: this program or the connection is too slow");
        }
        let data = LogData::Streams(batch.streams);
        for (stream, entry) in logs::in_order(&data, Direction::Forward) {
            if self.options.common.json {
                logs::show_json(self.screen, stream, entry)?;
            } else {
                logs::show(self.screen, stream, entry, &Labels::new(), self.options.all_fields)?;
            }
            self.from = self.from.max(entry.timestamp_unix_nanos.saturating_add(1));
            self.entries += 1;
            if self.options.limit.is_some_and(|limit| self.entries >= u64::from(limit)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
