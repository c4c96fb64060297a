//! Who asks: tenant, basic auth or bearer token. Secrets are masked in `Debug` and marked sensitive as headers.

use std::fmt;

use base64::Engine as _;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use crate::Error;

const TENANT: HeaderName = HeaderName::from_static("x-scope-orgid");

/// How a client proves who it is.
#[derive(Clone, Default)]
pub(crate) enum Auth {
    #[default]
    None,
    Basic {
        username: String,
        password: String,
    },
    Bearer(String),
}

impl fmt::Debug for Auth {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => formatter.write_str("None"),
            Self::Basic { username, .. } => {
                formatter.debug_struct("Basic").field("username", username).field("password", &"***").finish()
            }
            Self::Bearer(_) => formatter.write_str("Bearer(***)"),
        }
    }
}

/// The headers that every request carries.
pub(crate) fn headers(tenant: Option<&str>, auth: &Auth) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    if let Some(tenant) = tenant {
        let value = HeaderValue::from_str(tenant).map_err(|_| Error::InvalidHeader { name: "tenant" })?;
        headers.insert(TENANT, value);
    }
    let authorization = match auth {
        Auth::None => None,
        Auth::Basic { username, password } => {
            let pair = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
            Some((format!("Basic {pair}"), "user name and password"))
        }
        Auth::Bearer(token) => Some((format!("Bearer {token}"), "bearer token")),
    };
    if let Some((value, name)) = authorization {
        let mut value = HeaderValue::from_str(&value).map_err(|_| Error::InvalidHeader { name })?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_masks_the_secret_and_keeps_the_user() {
        let basic = Auth::Basic { username: "ann".into(), password: "hunter2".into() };
        assert_eq!(format!("{basic:?}"), r#"Basic { username: "ann", password: "***" }"#);
        assert_eq!(format!("{:?}", Auth::Bearer("hunter2".into())), "Bearer(***)");
        let headers = headers(None, &basic).unwrap();
        assert!(!format!("{headers:?}").contains("YW5uOmh1bnRlcjI"));
    }

    #[test]
    fn a_token_with_a_line_break_is_refused_without_being_shown() {
        let error = headers(None, &Auth::Bearer("hunter2\n".into())).unwrap_err();
        assert!(error.to_string().contains("bearer token"));
        assert!(!error.to_string().contains("hunter2"));
    }
}
