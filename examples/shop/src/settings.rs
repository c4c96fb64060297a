//! What the environment says about the shop itself. About telemetry it speaks to lgtm directly.

use std::env::{self, VarError};
use std::time::Duration;

use url::Url;

/// The shop's settings.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    pub(crate) role: Role,
    pub(crate) listen: String,
    pub(crate) misbehaviour: Misbehaviour,
    pub(crate) report: bool,
}

/// Which of the services this process is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Role {
    Storefront { inventory: Url },
    Inventory,
    Alerts,
}

/// Which requests go wrong, and how. Always the same ones, so that a search for them finds them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Misbehaviour {
    pub(crate) fail_every: u64,
    pub(crate) slow_every: u64,
    pub(crate) slowness: Duration,
}

impl Misbehaviour {
    /// Whether the goods with this number are out of stock.
    pub(crate) fn fails(self, number: u64) -> bool {
        divides(self.fail_every, number)
    }

    /// How much longer than others this number takes.
    pub(crate) fn delay(self, number: u64) -> Duration {
        if divides(self.slow_every, number) { self.slowness } else { Duration::ZERO }
    }
}

fn divides(divisor: u64, number: u64) -> bool {
    divisor != 0 && number.is_multiple_of(divisor)
}

/// A variable with a value that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{variable}={value:?} cannot be used; accepted: {accepted}")]
pub(crate) struct SettingsError {
    variable: &'static str,
    value: String,
    accepted: &'static str,
}

impl Settings {
    /// From the process environment.
    pub(crate) fn from_environment() -> Result<Self, SettingsError> {
        Self::from_lookup(|name| match env::var(name) {
            Ok(value) => Some(value),
            Err(VarError::NotPresent) => None,
            // The replacement characters make it a value that no variable accepts.
            Err(VarError::NotUnicode(value)) => Some(value.to_string_lossy().into_owned()),
        })
    }

    /// An empty value counts as none.
    fn from_lookup(lookup: impl Fn(&'static str) -> Option<String>) -> Result<Self, SettingsError> {
        let lookup = |name| lookup(name).filter(|value| !value.is_empty());
        let refused = |variable, value, accepted| SettingsError { variable, value, accepted };
        let number = |variable, default| match lookup(variable) {
            None => Ok(default),
            Some(value) => value.parse().map_err(|_| refused(variable, value, "a whole number from 0")),
        };
        let role = match lookup("SHOP_ROLE").as_deref() {
            None | Some("storefront") => {
                let url = lookup("SHOP_INVENTORY_URL").unwrap_or_else(|| "http://127.0.0.1:3001".to_owned());
                let inventory = Url::parse(&url).ok().filter(|url| url.scheme() == "http");
                Role::Storefront {
                    inventory: inventory
                        .ok_or_else(|| refused("SHOP_INVENTORY_URL", url, "http://host:port of the inventory"))?,
                }
            }
            Some("inventory") => Role::Inventory,
            Some("alerts") => Role::Alerts,
            Some(other) => return Err(refused("SHOP_ROLE", other.to_owned(), "storefront, inventory or alerts")),
        };
        let default_listen = match role {
            Role::Storefront { .. } => "127.0.0.1:3000",
            Role::Inventory => "127.0.0.1:3001",
            Role::Alerts => "127.0.0.1:3003",
        };
        let report = match lookup("SHOP_REPORT").as_deref() {
            None | Some("0") => false,
            Some("1") => true,
            Some(other) => return Err(refused("SHOP_REPORT", other.to_owned(), "0 or 1")),
        };
        Ok(Self {
            role,
            listen: lookup("SHOP_LISTEN").unwrap_or_else(|| default_listen.to_owned()),
            misbehaviour: Misbehaviour {
                fail_every: number("SHOP_FAIL_EVERY", 13)?,
                slow_every: number("SHOP_SLOW_EVERY", 17)?,
                slowness: Duration::from_millis(number("SHOP_SLOW_MS", 400)?),
            },
            report,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        Settings::from_lookup(|name| {
            variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn without_variables_it_is_a_storefront_on_3000() {
        let settings = settings(&[("SHOP_ROLE", "")]).unwrap();
        assert_eq!(settings.role, Role::Storefront { inventory: Url::parse("http://127.0.0.1:3001").unwrap() });
        assert_eq!(settings.listen, "127.0.0.1:3000");
        assert!(!settings.report);
        assert!(settings.misbehaviour.fails(26) && !settings.misbehaviour.fails(27));
        assert_eq!(settings.misbehaviour.delay(34), Duration::from_millis(400));
        assert_eq!(settings.misbehaviour.delay(35), Duration::ZERO);
    }

    #[test]
    fn zero_turns_a_misbehaviour_off() {
        let settings =
            settings(&[("SHOP_ROLE", "inventory"), ("SHOP_FAIL_EVERY", "0"), ("SHOP_SLOW_EVERY", "0")]).unwrap();
        assert_eq!(settings.listen, "127.0.0.1:3001");
        assert!(!settings.misbehaviour.fails(0));
        assert_eq!(settings.misbehaviour.delay(0), Duration::ZERO);
    }

    #[test]
    fn a_wrong_value_is_named_with_its_variable_and_the_accepted_form() {
        for (variable, value) in [
            ("SHOP_ROLE", "till"),
            ("SHOP_INVENTORY_URL", "127.0.0.1:3001"),
            ("SHOP_SLOW_MS", "0.4s"),
            ("SHOP_REPORT", "yes"),
        ] {
            let text = settings(&[(variable, value)]).unwrap_err().to_string();
            assert!(text.contains(&format!("{variable}=\"{value}\"")) && text.contains("accepted: "), "{text}");
        }
    }
}
