//! A server on a free loopback port that answers by path and remembers what it was asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;

pub(crate) struct Server {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    serving: tokio::task::JoinHandle<()>,
}

#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) path: String,
    parameters: Vec<(String, String)>,
    headers: HashMap<String, String>,
}

impl Asked {
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn parameters(&self, name: &str) -> Vec<&str> {
        self.parameters.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

impl Server {
    /// Answers `path` with status and body, everything else with 404.
    pub(crate) async fn with(path: &'static str, status: u16, body: impl Into<String>) -> Self {
        let body = body.into();
        Self::start(move |asked| {
            if asked.path == path {
                (StatusCode::from_u16(status).unwrap(), body.clone()).into_response()
            } else {
                (StatusCode::NOT_FOUND, "404 page not found\n").into_response()
            }
        })
        .await
    }

    pub(crate) async fn start(reply: impl Fn(&Asked) -> Response + Clone + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&asked);
        let router = Router::new().fallback(move |request: Request| {
            let query = request.uri().query().unwrap_or_default();
            let asked = Asked {
                path: request.uri().path().to_owned(),
                parameters: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
                headers: request
                    .headers()
                    .iter()
                    .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
                    .collect(),
            };
            let answer = reply(&asked);
            record.lock().unwrap().push(asked);
            async move { answer }
        });
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, asked, serving }
    }

    /// The only request so far.
    pub(crate) fn only_request(&self) -> Asked {
        let asked = self.asked.lock().unwrap();
        assert_eq!(asked.len(), 1, "requests so far");
        asked[0].clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
