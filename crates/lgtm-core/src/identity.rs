//! Who sends: the OpenTelemetry resource that every signal carries.

use crate::ids::TraceId;

/// The identity of this process, the same in all three signals.
///
/// As OTLP resource attributes in traces; as stream labels (`service_name`, `service`, `environment`) and structured
/// metadata (`service_instance_id`, `service_version`) in Loki; as `job`, `instance` and `environment` in remote write.
/// Names are those of the OpenTelemetry semantic conventions for resources.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// `service.name`. Defaults to the executable's name.
    pub service_name: String,
    /// `service.namespace`.
    pub service_namespace: Option<String>,
    /// `service.version`.
    pub service_version: Option<String>,
    /// `service.instance.id`. Defaults to a random UUID, new at each start.
    pub service_instance_id: String,
    /// `deployment.environment.name`.
    pub environment: Option<String>,
    /// Further resource attributes, in the order given. Sent with traces and in `target_info`.
    pub attributes: Vec<(String, String)>,
}

impl Default for Identity {
    fn default() -> Self {
        Self::new(executable_name())
    }
}

impl Identity {
    /// The identity of a service with this name and a generated instance id.
    #[must_use]
    pub fn new(service_name: impl Into<String>) -> Self {
        Self {
            service_name: service_name.into(),
            service_namespace: None,
            service_version: None,
            service_instance_id: random_uuid(),
            environment: None,
            attributes: Vec::new(),
        }
    }

    /// Sets one resource attribute by its OpenTelemetry name: the five that have a field of their own go there.
    /// `deployment.environment` is taken as the older name of `deployment.environment.name`.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        match name {
            "service.name" => self.service_name = value,
            "service.namespace" => self.service_namespace = Some(value),
            "service.version" => self.service_version = Some(value),
            "service.instance.id" => self.service_instance_id = value,
            "deployment.environment.name" | "deployment.environment" => self.environment = Some(value),
            _ => match self.attributes.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => *known = value,
                None => self.attributes.push((name.to_owned(), value)),
            },
        }
    }

    /// Every resource attribute as OpenTelemetry names it, in a fixed order.
    pub fn resource_attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        let own = [
            ("service.name", Some(&self.service_name)),
            ("service.namespace", self.service_namespace.as_ref()),
            ("service.version", self.service_version.as_ref()),
            ("service.instance.id", Some(&self.service_instance_id)),
            ("deployment.environment.name", self.environment.as_ref()),
        ];
        own.into_iter()
            .filter_map(|(name, value)| value.map(|value| (name, value.as_str())))
            .chain(self.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }

    /// The Prometheus `job` of this service: `namespace/name`, or the name alone.
    /// Source: OpenTelemetry's Prometheus compatibility specification, "Resource attributes".
    #[must_use]
    pub fn job(&self) -> String {
        match &self.service_namespace {
            Some(namespace) => format!("{namespace}/{}", self.service_name),
            None => self.service_name.clone(),
        }
    }
}

fn executable_name() -> String {
    std::env::current_exe()
        .ok()
        .and_then(|path| path.file_stem().map(|name| name.to_string_lossy().into_owned()))
        .unwrap_or_else(|| "unknown_service".to_owned())
}

/// A version 4 UUID (RFC 9562, section 5.4).
fn random_uuid() -> String {
    let mut bytes = TraceId::random().to_bytes();
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_with_a_field_of_their_own_go_there_and_the_last_value_wins() {
        let mut identity = Identity::new("shop");
        identity.set("deployment.environment", "test");
        identity.set("region", "eu");
        identity.set("region", "us");
        identity.set("service.namespace", "trade");
        assert_eq!(identity.environment.as_deref(), Some("test"));
        assert_eq!(identity.attributes, [("region".to_owned(), "us".to_owned())]);
        assert_eq!(identity.job(), "trade/shop");
        assert_eq!(
            identity.resource_attributes().map(|(name, _)| name).collect::<Vec<_>>(),
            ["service.name", "service.namespace", "service.instance.id", "deployment.environment.name", "region"]
        );
    }

    #[test]
    fn two_instances_have_different_uuids() {
        let (one, other) = (Identity::new("shop"), Identity::new("shop"));
        assert_ne!(one.service_instance_id, other.service_instance_id);
        assert_eq!(one.service_instance_id.len(), 36);
        assert_eq!(one.service_instance_id.as_bytes()[14], b'4');
    }
}
