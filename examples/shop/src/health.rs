//! `shop --health`: asks the program that runs with the same environment whether it answers, for images without a shell.

use std::error::Error;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long the answer may take.
const DEADLINE: Duration = Duration::from_secs(2);

/// # Errors
/// If `/healthz` does not answer 200 in time on the port of `listen`.
pub(crate) async fn ask(listen: &str) -> Result<(), Box<dyn Error>> {
    let port = listen.rsplit(':').next().unwrap_or_default();
    let address = format!("127.0.0.1:{port}");
    let answer = async {
        let mut stream = TcpStream::connect(&address).await?;
        stream.write_all(format!("GET /healthz HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.take(4096).read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = timeout(DEADLINE, answer).await.map_err(|_| format!("{address} did not answer in {DEADLINE:?}"))??;
    let status = answer.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) == Some("200") { Ok(()) } else { Err(format!("{address} answered `{status}`").into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::routing::get;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn only_a_program_that_answers_is_healthy() {
        for (router, healthy) in [(Router::new().route("/healthz", get(async || "ok")), true), (Router::new(), false)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let listen = format!("0.0.0.0:{}", listener.local_addr().unwrap().port());
            let server = tokio::spawn(async { axum::serve(listener, router).await });
            assert_eq!(ask(&listen).await.is_ok(), healthy);
            server.abort();
            assert!(server.await.is_err());
            assert!(ask(&listen).await.is_err());
        }
    }
}
