//! What to tell a person when a server does not answer or refuses a query: which server, in its own words, where in the query, and
//! what to do.

use std::sync::LazyLock;

use anyhow::anyhow;
use lgtm_query::{Client, Error};
use regex::Regex;

use super::screen::{clean, columns};

/// The server that was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    Loki,
    Tempo,
    Prometheus,
}

impl Server {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Loki => "Loki",
            Self::Tempo => "Tempo",
            Self::Prometheus => "Prometheus or Mimir",
        }
    }

    fn language(self) -> &'static str {
        match self {
            Self::Loki => "LogQL",
            Self::Tempo => "TraceQL",
            Self::Prometheus => "PromQL",
        }
    }

    /// The option that says where it is, with its variable.
    fn option(self) -> &'static str {
        match self {
            Self::Loki => "--loki-url (LOKI_URL)",
            Self::Tempo => "--tempo-url (LGTM_TEMPO_URL)",
            Self::Prometheus => "--prometheus-url (LGTM_PROMETHEUS_URL)",
        }
    }
}

/// The error of `query`, which was asked at `server` behind `client`, as a person needs it.
pub(super) fn explain(server: Server, client: &Client, query: &str, error: &Error) -> anyhow::Error {
    let (name, url) = (server.name(), client.url());
    let option = server.option();
    match error {
        Error::Transport { reason, .. } => anyhow!(
            "{name} at {url} does not answer: {reason}\n  what to do: start the stack with `cargo xtask stack up`, or say where {name} is by {option}"
        ),
        Error::Timeout { after, .. } => anyhow!(
            "{name} at {url} has not answered within {after:?}\n  what to do: ask for less, with a shorter --since or a narrower query; `cargo xtask stack status` says how it does"
        ),
        Error::Status { status: 400 | 422, message, .. } => {
            anyhow!("{name} at {url} refuses the query: {}{}", clean(message), pointer(query, message))
        }
        Error::Status { status: status @ (401 | 403), message, .. } => anyhow!(
            "{name} at {url} wants to know who asks (status {status}): {}\n  what to do: set LGTM_USERNAME and LGTM_PASSWORD, or LGTM_TOKEN, and --tenant (LGTM_TENANT) where there are tenants",
            clean(message)
        ),
        Error::Status { status: 404, message, .. } => anyhow!(
            "what answers at {url} has no {} query API (status 404): {}\n  what to do: say where {name} is by {option}",
            server.language(),
            clean(message)
        ),
        Error::Status { status, message, .. } => {
            let what_to_do = if error.is_transient() {
                "\n  what to do: try again; `cargo xtask stack status` and `cargo xtask stack logs` say how the server does"
            } else {
                ""
            };
            anyhow!("{name} at {url} refuses the query (status {status}): {}{what_to_do}", clean(message))
        }
        other => anyhow!("{name}: {other}"),
    }
}

/// The query with a mark under the place that the server's words name.
fn pointer(query: &str, message: &str) -> String {
    let Some((line, column)) = place(message) else { return String::new() };
    let Some(text) = line.checked_sub(1).and_then(|line| query.lines().nth(line)) else { return String::new() };
    let before: String = text.chars().take(column.saturating_sub(1)).collect();
    format!("\n  {}\n  {}^", clean(text), " ".repeat(columns(&clean(&before))))
}

/// Line and column: `parse error at line 1, col 5: …` (Loki, Tempo) or `1:5: parse error: …` (Prometheus).
fn place(message: &str) -> Option<(usize, usize)> {
    static PLACES: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"line (\d+), col (\d+)|\b(\d+):(\d+): parse error").ok());
    let found = PLACES.as_ref()?.captures(message)?;
    let number = |first: usize, second: usize| found.get(first).or_else(|| found.get(second))?.as_str().parse().ok();
    Some((number(1, 3)?, number(2, 4)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(server: Server, query: &str, error: &Error) -> String {
        let client = Client::builder("http://ann:hunter2@localhost:3100").build().unwrap();
        explain(server, &client, query, error).to_string()
    }

    fn status(status: u16, message: &str) -> Error {
        Error::Status { url: "http://localhost:3100/x".to_owned(), status, message: message.to_owned() }
    }

    #[test]
    fn a_mistake_in_a_query_is_pointed_at() {
        let loki = status(400, "parse error at line 1, col 19: syntax error: unexpected IDENTIFIER");
        insta::assert_snapshot!(explained(Server::Loki, r#"{service="shop"} | jso |"#, &loki), @r#"
        Loki at http://localhost:3100/ refuses the query: parse error at line 1, col 19: syntax error: unexpected IDENTIFIER
          {service="shop"} | jso |
                            ^
        "#);
        let prometheus =
            status(400, "bad_data: invalid parameter \"query\": 1:4: parse error: unclosed left parenthesis");
        insta::assert_snapshot!(explained(Server::Prometheus, "sum(up", &prometheus), @r#"
        Prometheus or Mimir at http://localhost:3100/ refuses the query: bad_data: invalid parameter "query": 1:4: parse error: unclosed left parenthesis
          sum(up
             ^
        "#);
        // A place that is not in the query.
        assert_eq!(pointer("a", "parse error at line 7, col 1"), "");
        assert_eq!(pointer("a", "parse error at line 0, col 0"), "");
    }

    #[test]
    fn a_server_that_is_not_there_is_named_with_what_to_do_and_without_its_password() {
        let refused = Error::Transport { url: "http://localhost:3100/x".into(), reason: "connection refused".into() };
        let text = explained(Server::Loki, "{}", &refused);
        for part in ["Loki at http://localhost:3100/", "connection refused", "cargo xtask stack up", "LOKI_URL"] {
            assert!(text.contains(part), "`{part}` is not in `{text}`");
        }
        let texts =
            [status(401, "no org id"), status(404, "page not found"), status(503, "starting"), status(500, "x")];
        let texts = texts.map(|error| explained(Server::Tempo, "{}", &error));
        let parts = ["LGTM_TOKEN", "LGTM_TEMPO_URL", "try again", "try again"];
        for (text, part) in texts.iter().zip(parts) {
            assert!(text.contains(part) && !text.contains("hunter2"), "`{part}` is not in `{text}`");
        }
    }
}
