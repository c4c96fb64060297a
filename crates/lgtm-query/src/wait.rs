//! Repeating a query until its answer is the wanted one: backends show what they took in only after a while. Loki's `/ready` can
//! take 20 s, Tempo's search hides spans younger than 30 s (by id they are there at once).

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use crate::Error;

/// How long and how often to ask. Made by [`Wait::up_to`].
#[derive(Debug, Clone, Copy)]
#[must_use = "it asks nothing until `until` is called"]
pub struct Wait {
    timeout: Duration,
    interval: Duration,
}

impl Wait {
    /// Waits at most `timeout`, asking every 200 ms.
    pub fn up_to(timeout: Duration) -> Self {
        Self { timeout, interval: Duration::from_millis(200) }
    }

    /// The pause between an answer and the next query. Defaults to 200 ms.
    pub fn every(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Repeats `query` until `accept` holds for its answer, and gives that answer. Transient errors
    /// ([`Error::is_transient`]) count as "not yet". At least one query is started, however short the wait.
    ///
    /// # Errors
    /// A query's error that is not transient, at once; [`Error::WaitExpired`] with the last error when the time is over. A query
    /// in flight at that moment is dropped.
    pub async fn until<T, Q, F>(self, mut query: Q, mut accept: impl FnMut(&T) -> bool) -> Result<T, Error>
    where
        Q: FnMut() -> F,
        F: Future<Output = Result<T, Error>>,
    {
        let started = Instant::now();
        let mut attempts = 0;
        let mut last = None;
        let asking = async {
            loop {
                attempts += 1;
                match query().await {
                    Ok(answer) if accept(&answer) => return Ok(answer),
                    Ok(_) => last = None,
                    Err(error) if error.is_transient() => last = Some(Box::new(error)),
                    Err(error) => return Err(error),
                }
                tokio::time::sleep(self.interval).await;
            }
        };
        match tokio::time::timeout(self.timeout, asking).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::WaitExpired { waited: started.elapsed(), attempts, last }),
        }
    }
}

/// Repeats `query` every 200 ms until `accept` holds for its answer, at most `timeout`: [`Wait`] with its defaults.
///
/// # Errors
/// As [`Wait::until`].
pub async fn wait_until<T, Q, F>(timeout: Duration, query: Q, accept: impl FnMut(&T) -> bool) -> Result<T, Error>
where
    Q: FnMut() -> F,
    F: Future<Output = Result<T, Error>>,
{
    Wait::up_to(timeout).until(query, accept).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn status(status: u16) -> Error {
        Error::Status { url: "http://h/".into(), status, message: "m".into() }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_accepted_answer_is_given() {
        let count = Cell::new(0);
        let query = || async {
            count.set(count.get() + 1);
            if count.get() == 1 { Err(status(503)) } else { Ok(count.get()) }
        };
        assert_eq!(wait_until(Duration::from_secs(60), query, |n| *n == 4).await.unwrap(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_query_ends_the_wait_at_once() {
        let started = Instant::now();
        let outcome = wait_until(Duration::from_secs(60), || async { Err::<(), _>(status(400)) }, |()| true).await;
        assert_eq!(outcome.unwrap_err().status(), Some(400));
        assert_eq!(started.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn an_expired_wait_says_how_often_it_asked_and_what_it_heard_last() {
        let wait = Wait::up_to(Duration::from_secs(1)).every(Duration::from_millis(300));
        let outcome = wait.until(|| async { Err::<(), _>(status(503)) }, |()| true).await;
        let text = outcome.unwrap_err().to_string();
        assert!(text.contains("4 attempts") && text.contains("status 503: m"), "{text}");

        let outcome = wait.until(|| async { Ok(1) }, |n| *n == 2).await;
        assert!(outcome.unwrap_err().to_string().ends_with("the condition did not hold"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_query_that_never_answers_does_not_outlive_the_wait() {
        let outcome = wait_until(Duration::from_secs(1), std::future::pending::<Result<(), _>>, |()| true).await;
        assert!(matches!(outcome, Err(Error::WaitExpired { attempts: 1, last: None, .. })), "{outcome:?}");
    }
}
