//! The envelope that the query APIs of Loki and Prometheus share: `{"status":"success","data":…}`.

use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::Error;
use crate::client::{Answer, Client};
use crate::error::{MAX_MESSAGE_BYTES, one_line};

#[derive(Deserialize)]
struct Envelope<T> {
    status: String,
    #[serde(default = "Option::default")]
    data: Option<T>,
    #[serde(rename = "errorType", default)]
    error_type: String,
    #[serde(default)]
    error: String,
    #[serde(default = "Vec::new")]
    warnings: Vec<String>,
    #[serde(default = "Vec::new")]
    infos: Vec<String>,
}

/// What a query brought, and what the server said beside it.
struct Content<T> {
    data: Option<T>,
    /// The warnings, then the infos.
    warnings: Vec<String>,
}

impl Client {
    /// Asks for `segments` and opens the envelope. An answer without data is an error.
    pub(crate) async fn data<T: DeserializeOwned>(
        &self,
        segments: &[&str],
        parameters: &[(&str, String)],
        headers: HeaderMap,
    ) -> Result<(T, Vec<String>), Error> {
        let answer = self.get(self.join(segments, parameters), headers, &[]).await?;
        let content = open(&answer)?;
        let data = content.data.ok_or_else(|| answer.undecodable("it has no `data`".to_owned()))?;
        Ok((data, content.warnings))
    }

    /// As [`Client::data`], for lists: Loki leaves `data` out where the list is empty.
    pub(crate) async fn list<T: DeserializeOwned>(
        &self,
        segments: &[&str],
        parameters: &[(&str, String)],
    ) -> Result<Vec<T>, Error> {
        let answer = self.get(self.join(segments, parameters), HeaderMap::new(), &[]).await?;
        Ok(open(&answer)?.data.unwrap_or_default())
    }
}

fn open<T: DeserializeOwned>(answer: &Answer) -> Result<Content<T>, Error> {
    let envelope: Envelope<T> = answer.json()?;
    if envelope.status != "success" {
        let message = format!("{}: {}: {}", envelope.status, envelope.error_type, envelope.error);
        let message = one_line(&message, MAX_MESSAGE_BYTES);
        return Err(Error::Status { url: answer.url.clone(), status: answer.status, message });
    }
    let mut warnings = envelope.warnings;
    warnings.extend(envelope.infos);
    Ok(Content { data: envelope.data, warnings })
}
