//! The account: per signal and service what was created, received and lost. Created comes from the services' own reports, received
//! from what the backends hold.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::Backend;
use super::received::{self, REQUESTS_TOTAL, Received};
use super::shops::{Finished, Instance, Role, SignalReport};
use crate::servers::Readers;

/// One signal of all services.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Signal {
    /// `logs`, `spans` or `metrics`.
    pub(super) signal: &'static str,
    /// What one item is called, in the plural.
    pub(super) items: &'static str,
    pub(super) created: u64,
    pub(super) received: u64,
    pub(super) lost: u64,
    pub(super) services: Vec<Line>,
}

/// One signal of one service.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Line {
    pub(super) service: &'static str,
    pub(super) instance: String,
    pub(super) created: u64,
    pub(super) received: u64,
    pub(super) lost: u64,
}

/// The account of one run.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Account {
    pub(super) signals: Vec<Signal>,
    /// What the backend says that the storefront counted in `http_requests_total`.
    pub(super) requests_counted: f64,
}

/// Waits until the backend holds what was created, at most `patience`, and gives the account with its problems.
pub(super) async fn settle(
    backend: &Backend,
    readers: &Readers,
    finished: &[Finished],
    requests_sent: u64,
    since: SystemTime,
    patience: Duration,
) -> (Account, Vec<String>) {
    let instances: Vec<Instance> = finished.iter().map(|finished| finished.instance.clone()).collect();
    let created_spans: Vec<u64> = finished.iter().map(|finished| finished.report.spans.created).collect();
    let deadline = Instant::now() + patience;
    let mut problems = Vec::new();
    let mut held = vec![Received::default(); instances.len()];
    loop {
        let mut errors = Vec::new();
        match backend {
            Backend::Devstack(stack) => held = received::in_devstack(stack, &instances),
            Backend::Servers(_) => {
                errors = received::in_servers(readers, &instances, &created_spans, since, &mut held).await;
            }
        }
        let complete = finished.iter().zip(&held).all(|(finished, held)| is_complete(finished, held));
        let hopeless = errors.iter().any(|error| !error.is_transient());
        if complete || hopeless || Instant::now() >= deadline {
            problems.extend(errors.iter().map(|error| format!("what was received cannot be read: {error}")));
            break;
        }
        sleep(Duration::from_millis(500)).await;
    }
    let account = Account::new(finished, &held);
    problems.extend(account.problems(finished, requests_sent));
    (account, problems)
}

fn is_complete(finished: &Finished, held: &Received) -> bool {
    let report = &finished.report;
    held.logs >= report.logs.created && held.spans >= report.spans.created && held.samples.1 >= report.metrics.created
}

type Of = (fn(&Finished) -> &SignalReport, fn(&Received) -> (u64, u64));

const SIGNALS: [(&str, &str, Of); 3] = [
    ("logs", "log lines", (|finished| &finished.report.logs, |held| (held.logs, held.logs))),
    ("spans", "spans", (|finished| &finished.report.spans, |held| (held.spans, held.spans))),
    ("metrics", "samples", (|finished| &finished.report.metrics, |held| held.samples)),
];

impl Account {
    fn new(finished: &[Finished], held: &[Received]) -> Self {
        let signals = SIGNALS.map(|(signal, items, (report, count))| {
            let services: Vec<Line> = finished
                .iter()
                .zip(held)
                .map(|(finished, held)| {
                    let &SignalReport { created, delivered, .. } = report(finished);
                    // Where the backend leaves a doubt, the acknowledged number decides.
                    let (at_least, at_most) = count(held);
                    let received = delivered.clamp(at_least, at_most);
                    Line {
                        service: finished.instance.role.service_name(),
                        instance: finished.instance.id.clone(),
                        created,
                        received,
                        lost: created.saturating_sub(received),
                    }
                })
                .collect();
            let sum = |of: fn(&Line) -> u64| services.iter().map(of).sum();
            let (created, received, lost) =
                (sum(|line| line.created), sum(|line| line.received), sum(|line| line.lost));
            Signal { signal, items, created, received, lost, services }
        });
        let storefront = finished.iter().zip(held).filter(|(finished, _)| finished.instance.role == Role::Storefront);
        Self { signals: signals.into(), requests_counted: storefront.map(|(_, held)| held.requests).sum() }
    }

    fn problems(&self, finished: &[Finished], requests_sent: u64) -> Vec<String> {
        let mut problems = Vec::new();
        for (signal, (_, _, (report, _))) in self.signals.iter().zip(SIGNALS) {
            for (line, finished) in signal.services.iter().zip(finished) {
                let Line { service, created, received, lost, .. } = line;
                let items = signal.items;
                if *created == 0 {
                    problems.push(format!("{service} created no {items} at all"));
                }
                if *lost > 0 {
                    let said = &report(finished).said;
                    problems.push(format!("{lost} of {created} {items} of {service} were lost; it says `{said}`"));
                }
                if received > created {
                    problems.push(format!("{received} {items} of {service} were received, but only {created} created"));
                }
            }
        }
        if self.requests_counted != requests_sent as f64 {
            problems.push(format!(
                "{requests_sent} requests were sent, but {REQUESTS_TOTAL} of the storefront says {}",
                self.requests_counted
            ));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::super::shops::Report;
    use super::*;

    fn finished(created: u64) -> Finished {
        let signal = |items: &str| SignalReport {
            created,
            delivered: 6,
            said: format!("{items}: {created} created, 6 delivered"),
        };
        let instance = Instance { role: Role::Storefront, id: "storefront-1".to_owned() };
        let report = Report { logs: signal("log lines"), spans: signal("spans"), metrics: signal("samples") };
        Finished { instance, report }
    }

    fn problems(created: u64, held: Received) -> Vec<String> {
        let finished = [finished(created)];
        Account::new(&finished, &[held]).problems(&finished, 5)
    }

    #[test]
    fn what_arrived_whole_is_no_problem() {
        assert_eq!(problems(7, Received { logs: 7, spans: 7, samples: (7, 7), requests: 5.0 }), [""; 0]);
    }

    #[test]
    fn every_loss_is_named_with_its_signal_and_service() {
        let found = problems(7, Received { logs: 6, spans: 8, samples: (7, 7), requests: 4.0 });
        assert_eq!(
            found,
            [
                "1 of 7 log lines of storefront were lost; it says `log lines: 7 created, 6 delivered`",
                "8 spans of storefront were received, but only 7 created",
                "5 requests were sent, but http_requests_total of the storefront says 4",
            ]
        );
        let in_doubt = Received { logs: 7, spans: 7, samples: (5, 9), requests: 5.0 };
        assert_eq!(
            problems(7, in_doubt),
            ["1 of 7 samples of storefront were lost; it says `samples: 7 created, 6 delivered`"]
        );
        assert_eq!(problems(0, Received { requests: 5.0, ..Received::default() }).len(), 3);
    }
}
