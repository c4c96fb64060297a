//! Loki's tail: log entries as they arrive, over a websocket.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use rustls::pki_types::ServerName;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message, protocol::WebSocketConfig};
use url::Url;

use crate::client::causes;
use crate::error::{MAX_MESSAGE_BYTES, one_line};
use crate::loki::{Stream, categorized};
use crate::samples::{IntegerText, Labels};
use crate::{Client, Error};

/// What Loki sent in one go.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
pub struct TailBatch {
    /// New entries, by stream.
    #[serde(default)]
    pub streams: Vec<Stream>,
    /// Entries that Loki left out because this client is too slow.
    #[serde(rename(deserialize = "dropped_entries"), default, deserialize_with = "null_is_empty")]
    pub dropped: Vec<DroppedEntry>,
}

/// An entry that Loki left out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DroppedEntry {
    /// The labels of its stream.
    pub labels: Labels,
    /// Nanoseconds since the Unix epoch.
    pub timestamp_unix_nanos: u64,
}

impl<'de> Deserialize<'de> for DroppedEntry {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            #[serde(default)]
            labels: Labels,
            timestamp: IntegerText<u64>,
        }
        let wire = Wire::deserialize(deserializer)?;
        Ok(Self { labels: wire.labels, timestamp_unix_nanos: wire.timestamp.0 })
    }
}

fn null_is_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<DroppedEntry>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A running tail. Dropping it ends it.
///
/// Loki ends a tail after an hour, and when its queriers change: [`Tail::next`] says so by `None`, and the caller begins a new
/// one with a later start.
pub struct Tail {
    socket: WebSocketStream<Box<dyn Io>>,
    url: String,
}

impl std::fmt::Debug for Tail {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Tail").field("url", &self.url).finish_non_exhaustive()
    }
}

/// A connection, with TLS or without.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl Tail {
    pub(crate) async fn connect(client: &Client, parameters: &[(&str, String)]) -> Result<Self, Error> {
        let url = client.join(&["loki", "api", "v1", "tail"], parameters);
        let shown = one_line(url.as_str(), 512);
        let connecting = connect(client, &url, &shown);
        match tokio::time::timeout(client.timeout(), connecting).await {
            Ok(socket) => Ok(Self { socket: socket?, url: shown }),
            Err(_) => Err(Error::Timeout { url: shown, after: client.timeout() }),
        }
    }

    /// Waits for the next entries; `None` when the server has ended the tail. Cancelling it loses nothing.
    ///
    /// # Errors
    /// [`Error::Transport`] when the connection breaks, [`Error::Decode`] for what is no tail's message.
    pub async fn next(&mut self) -> Result<Option<TailBatch>, Error> {
        loop {
            let message = match self.socket.next().await {
                None | Some(Err(SocketError::ConnectionClosed | SocketError::AlreadyClosed)) => return Ok(None),
                Some(Err(error)) => {
                    return Err(Error::Transport { url: self.url.clone(), reason: causes(&error) });
                }
                Some(Ok(message)) => message,
            };
            let text = match &message {
                Message::Text(text) => text.as_bytes(),
                Message::Binary(bytes) => bytes,
                Message::Close(_) => return Ok(None),
                // Pings are answered by the library.
                _ => continue,
            };
            return serde_json::from_slice(text).map(Some).map_err(|error| Error::Decode {
                url: self.url.clone(),
                status: 101,
                reason: error.to_string(),
                excerpt: one_line(&String::from_utf8_lossy(text), 200),
            });
        }
    }

    /// Ends the tail and tells the server.
    pub async fn close(mut self) {
        // It may be gone already.
        let _ = tokio::time::timeout(Duration::from_secs(5), self.socket.send(Message::Close(None))).await;
    }
}

async fn connect(client: &Client, url: &Url, shown: &str) -> Result<WebSocketStream<Box<dyn Io>>, Error> {
    let transport = |reason: String| Error::Transport { url: shown.to_owned(), reason };
    let host = url.host_str().unwrap_or_default().to_owned();
    let port = url.port_or_known_default().unwrap_or(80);
    let address = (host.trim_matches(['[', ']']).to_owned(), port);
    let tcp = TcpStream::connect(address).await.map_err(|error| transport(causes(&error)))?;
    let io: Box<dyn Io> = if url.scheme() == "https" {
        let mut tls = client.tls()?;
        // A websocket begins as HTTP/1.1.
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned());
        let name = name.map_err(|error| transport(error.to_string()))?;
        let connecting = TlsConnector::from(Arc::new(tls)).connect(name, tcp);
        Box::new(connecting.await.map_err(|error: io::Error| transport(causes(&error)))?)
    } else {
        Box::new(tcp)
    };
    let mut address = url.clone();
    let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
    // All four schemes are special ones: one becomes another.
    let _ = address.set_scheme(scheme);
    let mut request = address.as_str().into_client_request().map_err(|error| transport(causes(&error)))?;
    add_headers(request.headers_mut(), &client.headers()?);
    // Without it a tail leaves structured metadata out.
    add_headers(request.headers_mut(), &categorized());
    // Loki sends many entries in one message.
    let limits = WebSocketConfig::default()
        .max_message_size(Some(client.max_response_bytes()))
        .max_frame_size(Some(client.max_response_bytes()));
    match tokio_tungstenite::client_async_with_config(request, io, Some(limits)).await {
        Ok((socket, _)) => Ok(socket),
        Err(SocketError::Http(answer)) => {
            let body = answer.body().as_deref().unwrap_or_default();
            let message = one_line(&String::from_utf8_lossy(body), MAX_MESSAGE_BYTES);
            let message = if message.is_empty() { "(no message)".to_owned() } else { message };
            Err(Error::Status { url: shown.to_owned(), status: answer.status().as_u16(), message })
        }
        Err(error) => Err(transport(causes(&error))),
    }
}

/// Copies headers; by their bytes, because the two libraries may have types of different versions.
fn add_headers(to: &mut HeaderMap, from: &HeaderMap) {
    for (name, value) in from {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_str().as_bytes()), HeaderValue::from_bytes(value.as_bytes()))
        {
            to.insert(name, value);
        }
    }
}
