//! Tenant, authentication and certificates of an endpoint: `LGTM_*` for all signals, `LGTM_<SIGNAL>_*` for one.

use std::path::PathBuf;

use http::HeaderValue;
use lgtm_core::{Auth, Endpoint, Secret};

use super::variables::Variables;
use crate::error::Error;

/// The signals' names in variables.
const SIGNALS: [&str; 3] = ["LOKI", "TEMPO", "MIMIR"];
const ONE_WAY: &str = "either a token, or a user name with a password";

/// Completes an endpoint. A variable of the signal wins over the URL's credentials, and they over a variable for all.
pub(super) fn apply(variables: &Variables<'_>, signal: &str, endpoint: &mut Endpoint) -> Result<(), Error> {
    let own = format!("LGTM_{signal}_");
    for prefix in ["LGTM_", own.as_str()] {
        let name = format!("{prefix}TENANT");
        if let Some(tenant) = variables.text(&name) {
            if HeaderValue::from_str(&tenant).is_err() {
                let problem = format!("`{tenant}` cannot be sent as an HTTP header");
                return Err(Error::environment(&name, problem, "visible ASCII characters"));
            }
            endpoint.tenant = Some(tenant);
        }
        if let Some(path) = variables.file(&format!("{prefix}CA_FILE"))? {
            endpoint.ca_file = Some(path);
        }
        let names = [format!("{prefix}CLIENT_CERTIFICATE_FILE"), format!("{prefix}CLIENT_KEY_FILE")];
        if let Some(files) = client_certificate(variables, [&names[0], &names[1]])? {
            endpoint.client_certificate = Some(files);
        }
    }
    let own = Level::read(variables, own)?;
    let general = Level::read(variables, "LGTM_".to_owned())?;
    let in_url = !matches!(endpoint.auth, Auth::None);
    if let Some(token) = own.token {
        endpoint.auth = Auth::Bearer(token);
    } else if own.username.is_some() || own.password.is_some() {
        let username_variable = format!("{}USERNAME", own.prefix);
        let password_variable = format!("{}PASSWORD", own.prefix);
        let username = own.username.or(general.username);
        let password = own.password.or(general.password);
        endpoint.auth = basic(username, password, &username_variable, &password_variable)?;
    } else if in_url {
        // The URL's credentials stay.
    } else if let Some(token) = general.token {
        endpoint.auth = Auth::Bearer(token);
    } else if general.username.is_some() {
        endpoint.auth = basic(general.username, general.password, "LGTM_USERNAME", "LGTM_PASSWORD")?;
    } else if general.password.is_some() && !signal_has_username(variables) {
        return Err(missing("LGTM_PASSWORD", "LGTM_USERNAME"));
    }
    Ok(())
}

/// The files of a certificate and its key: both or none.
pub(super) fn client_certificate(
    variables: &Variables<'_>,
    [certificate_variable, key_variable]: [&str; 2],
) -> Result<Option<(PathBuf, PathBuf)>, Error> {
    let only = |given: &str, wanted: &str| {
        let problem = format!("it is set, but {wanted} is not");
        Error::environment(given, problem, "two PEM files: a certificate, and its private key")
    };
    match (variables.file(certificate_variable)?, variables.file(key_variable)?) {
        (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(only(certificate_variable, key_variable)),
        (None, Some(_)) => Err(only(key_variable, certificate_variable)),
    }
}

/// The variables with one prefix.
struct Level {
    prefix: String,
    username: Option<String>,
    password: Option<Secret>,
    token: Option<Secret>,
}

impl Level {
    fn read(variables: &Variables<'_>, prefix: String) -> Result<Self, Error> {
        let username_variable = format!("{prefix}USERNAME");
        let token_variable = format!("{prefix}TOKEN");
        let username = variables.text(&username_variable);
        let password = variables.secret(&format!("{prefix}PASSWORD"))?;
        let token = variables.secret(&token_variable)?;
        if let Some(token) = &token {
            if HeaderValue::from_str(token.reveal()).is_err() {
                let problem = "the value (not shown) cannot be sent as an HTTP header";
                return Err(Error::environment(&token_variable, problem, "visible ASCII characters"));
            }
            if let Some(username) = &username {
                let problem = format!("`{username}` is set besides {token_variable}");
                return Err(Error::environment(&username_variable, problem, ONE_WAY));
            }
            if password.is_some() {
                let problem = format!("the value (not shown) is set besides {token_variable}");
                return Err(Error::environment(&format!("{prefix}PASSWORD"), problem, ONE_WAY));
            }
        }
        Ok(Self { prefix, username, password, token })
    }
}

fn basic(
    username: Option<String>,
    password: Option<Secret>,
    username_variable: &str,
    password_variable: &str,
) -> Result<Auth, Error> {
    match (username, password) {
        (Some(username), Some(password)) => Ok(Auth::Basic { username, password }),
        (Some(_), None) => Err(missing(username_variable, password_variable)),
        (None, _) => Err(missing(password_variable, username_variable)),
    }
}

fn missing(given: &str, wanted: &str) -> Error {
    Error::environment(given, format!("it is set, but {wanted} is not"), ONE_WAY)
}

/// A password for all is no mistake if a signal has a user name for it.
fn signal_has_username(variables: &Variables<'_>) -> bool {
    SIGNALS.iter().any(|signal| variables.text(&format!("LGTM_{signal}_USERNAME")).is_some())
}
