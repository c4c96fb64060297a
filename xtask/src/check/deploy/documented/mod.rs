//! The keys that the documentation of Loki, Tempo, Mimir and Prometheus has for the sections that our files use, and a check of a
//! file against them: the check that needs none of the programs. The tables beside this file say a type for each key; a section that
//! no file uses is not in them.

use serde_yaml_ng::Value;

const LOKI: &str = include_str!("loki.yaml");
const TEMPO: &str = include_str!("tempo.yaml");
const MIMIR: &str = include_str!("mimir.yaml");
const PROMETHEUS: &str = include_str!("prometheus.yaml");

/// What in `document` the documentation of `service` does not have, a line each.
pub(super) fn faults(service: &str, document: &Value) -> Vec<String> {
    let table = match service {
        "loki" => LOKI,
        "tempo" => TEMPO,
        "mimir" => MIMIR,
        "prometheus" => PROMETHEUS,
        _ => return vec![format!("there is no table of the keys of {service}")],
    };
    let table: Value = match serde_yaml_ng::from_str(table) {
        Ok(table) => table,
        Err(error) => return vec![format!("the table of the keys of {service}: {error}")],
    };
    let mut faults = Vec::new();
    compare("", document, &table, &mut faults);
    faults
}

fn compare(path: &str, value: &Value, documented: &Value, faults: &mut Vec<String>) {
    match (value, documented) {
        (Value::Mapping(mapping), Value::Mapping(keys)) => {
            for (key, value) in mapping {
                let name = key.as_str().unwrap_or_default();
                let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                match keys.get(name).or_else(|| keys.get("*")) {
                    Some(documented) => compare(&path, value, documented, faults),
                    None => faults.push(format!("{path}: the documentation has no such key")),
                }
            }
        }
        (Value::Sequence(items), Value::Sequence(kinds)) => {
            let Some(kind) = kinds.first() else { return };
            items.iter().enumerate().for_each(|(index, item)| compare(&format!("{path}[{index}]"), item, kind, faults));
        }
        (value, Value::String(kind)) if is(value, kind) => {}
        (value, Value::String(kind)) => {
            let shown = serde_yaml_ng::to_string(value).unwrap_or_default();
            faults.push(format!("{path} is `{}`; accepted: {kind}", shown.trim()));
        }
        (_, Value::Mapping(_)) => faults.push(format!("{path} is no mapping")),
        (_, _) => faults.push(format!("{path} is no list")),
    }
}

/// Whether a value is of a kind: `boolean`, `integer`, `duration`, `string`, or one of the words between bars.
fn is(value: &Value, kind: &str) -> bool {
    match (kind, value) {
        ("boolean", Value::Bool(_)) => true,
        ("integer", Value::Number(number)) => number.is_u64() || number.is_i64(),
        ("number", Value::Number(_)) => true,
        ("duration", Value::String(text)) => is_duration(text),
        ("string", Value::String(text)) => !text.is_empty(),
        ("boolean" | "integer" | "number" | "duration" | "string", _) => false,
        (choices, Value::String(text)) => choices.split('|').any(|choice| choice.trim() == text),
        _ => false,
    }
}

/// `5m`, `1h30m`, `15d`: a number and a unit, once or several times.
fn is_duration(text: &str) -> bool {
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let Some((number, after)) = rest.split_at_checked(digits) else { return false };
        let unit = ["ms", "s", "m", "h", "d", "w", "y"].into_iter().find_map(|unit| after.strip_prefix(unit));
        match unit {
            Some(after) if !number.is_empty() => rest = after,
            _ => return false,
        }
    }
    !text.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_and_wrong_values_are_found_with_their_path() {
        let found = |text: &str| faults("loki", &serde_yaml_ng::from_str(text).unwrap());
        assert_eq!(found("{auth_enabled: false, limits_config: {retention_period: 168h}}"), [""; 0]);
        for (text, path) in [
            ("{limits_config: {enforce_metric_name: false}}", "limits_config.enforce_metric_name"),
            ("{limits_config: {retention_period: 7}}", "limits_config.retention_period"),
            ("{auth_enabled: 'no'}", "auth_enabled"),
            ("{server: 3100}", "server"),
            ("{schema_config: {configs: [{store: boltdb-shipper2}]}}", "schema_config.configs[0].store"),
        ] {
            let found = found(text);
            assert!(found.len() == 1 && found[0].starts_with(path), "{path}: {found:?}");
        }
    }

    #[test]
    fn every_table_can_be_read_and_durations_have_units() {
        for service in ["loki", "tempo", "mimir", "prometheus"] {
            assert_eq!(faults(service, &Value::Mapping(Default::default())), [""; 0], "{service}");
        }
        for (text, expected) in
            [("5m", true), ("1h30m", true), ("500ms", true), ("", false), ("5", false), ("m", false)]
        {
            assert_eq!(is_duration(text), expected, "{text}");
        }
    }
}
