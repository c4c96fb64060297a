//! Who queries are to a server: tenant, credentials and authorities from lgtm's own variables, with lgtm's own precedence, so that
//! what a program may write this program may read.

use std::fs;

use anyhow::Context as _;
use lgtm_query::ClientBuilder;
use url::Url;

/// The variables that let a program in, without their prefix `LGTM_` or `LGTM_<SIGNAL>_`.
const NAMES: [&str; 9] = [
    "TENANT",
    "USERNAME",
    "PASSWORD",
    "PASSWORD_FILE",
    "TOKEN",
    "TOKEN_FILE",
    "CA_FILE",
    "CLIENT_CERTIFICATE_FILE",
    "CLIENT_KEY_FILE",
];
const PREFIXES: [&str; 4] = ["LGTM_", "LGTM_LOKI_", "LGTM_TEMPO_", "LGTM_MIMIR_"];

/// Those of them that are set here, for a program that is started with no others.
pub(crate) fn variables() -> impl Iterator<Item = (String, String)> {
    let names = PREFIXES.into_iter().flat_map(|prefix| NAMES.into_iter().map(move |name| format!("{prefix}{name}")));
    names.filter_map(|name| set(&name).map(|value| (name, value)))
}

/// A variable's value; an empty one counts as unset.
fn set(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What lets us in. Has no `Debug`: it has secrets.
#[derive(Clone, PartialEq)]
enum Credentials {
    Token(String),
    Basic { username: String, password: String },
}

/// The access to one server.
#[derive(Clone)]
pub(crate) struct Access {
    tenant: Option<String>,
    credentials: Option<Credentials>,
    ca_file: Option<String>,
}

impl Access {
    /// What the environment says for `url`, which is the server of `signal`: LOKI, TEMPO or MIMIR.
    ///
    /// # Errors
    /// If a file that a variable names cannot be read.
    pub(crate) fn from_environment(signal: &str, url: &str) -> anyhow::Result<Self> {
        Self::of(signal, url, &set)
    }

    fn of(signal: &str, url: &str, lookup: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let own = format!("LGTM_{signal}_");
        let either = |name: &str| lookup(&format!("{own}{name}")).or_else(|| lookup(&format!("LGTM_{name}")));
        let secret = |prefix: &str, name: &str| match lookup(&format!("{prefix}{name}_FILE")) {
            Some(file) => {
                let text = fs::read_to_string(&file).with_context(|| format!("{prefix}{name}_FILE={file}"))?;
                anyhow::Ok(Some(text.trim_end().to_owned()))
            }
            None => Ok(lookup(&format!("{prefix}{name}"))),
        };
        let basic = |username: Option<String>, password: Option<String>| {
            username.zip(password).map(|(username, password)| Credentials::Basic { username, password })
        };
        let own_name = lookup(&format!("{own}USERNAME"));
        let own_password = secret(&own, "PASSWORD")?;
        let in_url = Url::parse(url).is_ok_and(|url| !url.username().is_empty() || url.password().is_some());
        let credentials = if let Some(token) = secret(&own, "TOKEN")? {
            Some(Credentials::Token(token))
        } else if own_name.is_some() || own_password.is_some() {
            let password = own_password.map_or_else(|| secret("LGTM_", "PASSWORD"), |own| Ok(Some(own)))?;
            basic(own_name.or_else(|| lookup("LGTM_USERNAME")), password)
        } else if in_url {
            // Those of the URL stay.
            None
        } else if let Some(token) = secret("LGTM_", "TOKEN")? {
            Some(Credentials::Token(token))
        } else {
            basic(lookup("LGTM_USERNAME"), secret("LGTM_", "PASSWORD")?)
        };
        Ok(Self { tenant: either("TENANT"), credentials, ca_file: either("CA_FILE") })
    }

    /// A client with this access; `tenant` wins over that of the environment.
    ///
    /// # Errors
    /// If the file of authorities cannot be read.
    pub(crate) fn client(self, builder: ClientBuilder, tenant: Option<&str>) -> anyhow::Result<ClientBuilder> {
        let mut builder = builder;
        if let Some(tenant) = tenant.map(str::to_owned).or(self.tenant) {
            builder = builder.tenant(tenant);
        }
        if let Some(file) = self.ca_file {
            builder = builder.root_certificates_pem(fs::read(&file).with_context(|| format!("LGTM_CA_FILE={file}"))?);
        }
        Ok(match self.credentials {
            Some(Credentials::Token(token)) => builder.bearer_token(token),
            Some(Credentials::Basic { username, password }) => builder.basic_auth(username, password),
            None => builder,
        })
    }

    /// Where lgtm sends to with this access; `tenant` wins over that of the environment.
    pub(crate) fn endpoint(self, endpoint: lgtm::Endpoint, tenant: Option<&str>) -> lgtm::Endpoint {
        let mut endpoint = endpoint;
        if let Some(tenant) = tenant.map(str::to_owned).or(self.tenant) {
            endpoint = endpoint.tenant(tenant);
        }
        if let Some(file) = self.ca_file {
            endpoint = endpoint.ca_file(file);
        }
        match self.credentials {
            Some(Credentials::Token(token)) => endpoint.bearer_token(token),
            Some(Credentials::Basic { username, password }) => endpoint.basic_auth(username, password),
            None => endpoint,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(variables: &[(&str, &str)], url: &str) -> Access {
        let lookup =
            |name: &str| variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned());
        Access::of("LOKI", url, &lookup).unwrap()
    }

    fn basic(username: &str, password: &str) -> Option<Credentials> {
        Some(Credentials::Basic { username: username.to_owned(), password: password.to_owned() })
    }

    #[test]
    fn a_signals_own_variables_win_over_the_url_and_that_over_those_for_all() {
        let all = ("LGTM_TOKEN", "for-all");
        let token = |token: &str| Some(Credentials::Token(token.to_owned()));
        for (variables, url, expected) in [
            (&[all][..], "http://h", token("for-all")),
            (&[all], "http://ann:secret@h", None),
            (&[all, ("LGTM_LOKI_TOKEN", "own")], "http://ann:secret@h", token("own")),
            (&[("LGTM_PASSWORD", "p"), ("LGTM_LOKI_USERNAME", "1")], "http://h", basic("1", "p")),
            (&[("LGTM_USERNAME", "ann"), ("LGTM_PASSWORD", "p")], "http://h", basic("ann", "p")),
            (&[("LGTM_MIMIR_TOKEN", "another's")], "http://h", None),
        ] {
            assert!(access(variables, url).credentials == expected, "{variables:?} {url}");
        }
        let tenants = [("LGTM_TENANT", "all"), ("LGTM_LOKI_TENANT", "logs")];
        assert_eq!(access(&tenants, "http://h").tenant.as_deref(), Some("logs"));
        assert_eq!(access(&tenants[..1], "http://h").tenant.as_deref(), Some("all"));
    }

    #[test]
    fn a_secret_may_be_in_a_file_and_a_missing_file_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "from-file\n").unwrap();
        let path = file.path().display().to_string();
        let found = access(&[("LGTM_LOKI_TOKEN_FILE", &path)], "http://h");
        assert!(found.credentials == Some(Credentials::Token("from-file".to_owned())));
        let missing = |name: &str| (name == "LGTM_TOKEN_FILE").then(|| "no/such/file".to_owned());
        let error = Access::of("LOKI", "http://h", &missing).err().unwrap();
        assert!(format!("{error:#}").contains("LGTM_TOKEN_FILE=no/such/file"), "{error:#}");
    }
}
