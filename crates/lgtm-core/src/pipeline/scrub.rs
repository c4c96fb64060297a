//! Takes a client's own secrets out of what a backend says: some show the request that they refuse, and what they say is told on
//! standard error. Worker thread, for answers that are no success.

use base64::Engine as _;
use url::Url;

use crate::endpoint::{Auth, Endpoint, Proxy, percent_decode};

/// What must not come back.
pub(super) struct Secrets(Vec<String>);

/// A shorter one stands in any text by chance.
const LEAST: usize = 4;

impl Secrets {
    /// Those of this endpoint.
    pub(super) fn of(endpoint: &Endpoint) -> Self {
        let mut all = Vec::new();
        let pair = |username: &str, password: &str| {
            base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"))
        };
        match &endpoint.auth {
            Auth::None => {}
            Auth::Bearer(token) => all.push(token.reveal().to_owned()),
            Auth::Basic { username, password } => {
                all.push(password.reveal().to_owned());
                all.push(pair(username, password.reveal()));
            }
        }
        for (_, value) in &endpoint.headers {
            all.push(value.reveal().to_owned());
            // `Bearer ...`, `Basic ...`
            all.extend(value.reveal().split_once(' ').map(|(_, value)| value.to_owned()));
        }
        // As it is written, and as it is meant.
        let in_query = |url: &Url| -> Vec<String> {
            let written = url.query().unwrap_or_default().split('&');
            let written = written.map(|pair| pair.split_once('=').map_or(pair, |(_, value)| value).to_owned());
            written.chain(url.query_pairs().map(|(_, value)| value.into_owned())).collect()
        };
        all.extend(in_query(&endpoint.url));
        if let Proxy::At(url) = &endpoint.proxy
            && let Some(password) = url.password()
        {
            let (username, decoded) = (percent_decode(url.username()), percent_decode(password));
            all.push(pair(&username, &decoded));
            all.extend([password.to_owned(), decoded]);
        }
        all.retain(|secret| secret.len() >= LEAST);
        // Longer ones first: a part of one may be another one.
        all.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        all.dedup();
        Self(all)
    }

    /// The text without them.
    pub(super) fn scrub(&self, text: String) -> String {
        self.0.iter().fold(text, |text, secret| if text.contains(secret) { text.replace(secret, "***") } else { text })
    }

    /// The same for a body.
    pub(super) fn scrub_body(&self, body: Vec<u8>) -> Vec<u8> {
        let found = self.0.iter().any(|secret| body.windows(secret.len()).any(|window| window == secret.as_bytes()));
        if found { self.scrub(String::from_utf8_lossy(&body).into_owned()).into_bytes() } else { body }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_that_repeats_the_request_repeats_no_secret() {
        let endpoint = Endpoint::parse("http://me:hunter2@localhost/?key=qu%65ry-key&x=1")
            .unwrap()
            .header(http::HeaderName::from_static("x-auth"), "Bearer header-token")
            .proxy(Proxy::At("http://me:proxy-password@localhost".parse().unwrap()));
        let said = "POST /?key=qu%65ry-key&x=1 (query-key) Basic bWU6aHVudGVyMg== hunter2 x-auth: Bearer header-token \
                    header-token proxy-password bWU6cHJveHktcGFzc3dvcmQ= kept";
        let shown = Secrets::of(&endpoint).scrub_body(said.as_bytes().to_vec());
        let shown = String::from_utf8(shown).unwrap();
        assert_eq!(shown, "POST /?key=***&x=1 (***) Basic *** *** x-auth: *** *** *** *** kept");
        let garbage = vec![0xff, 0xfe, 1];
        assert_eq!(Secrets::of(&endpoint).scrub_body(garbage.clone()), garbage);
    }
}
