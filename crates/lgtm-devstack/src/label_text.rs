//! Label sets as text, `{name="value", …}`, and the rules of their names.

use crate::store::Labels;
use crate::text_scanner::Scanner;

/// Parses a label set. Only `=` is allowed; a name may be there once.
pub(crate) fn parse(text: &str) -> Result<Labels, String> {
    let mut scanner = Scanner::new(text);
    let mut labels = Labels::new();
    scanner.expect("{")?;
    loop {
        if scanner.take("}") {
            break;
        }
        let name =
            scanner.name().ok_or_else(|| scanner.unexpected("a label name ([a-zA-Z_][a-zA-Z0-9_]*)"))?.to_owned();
        scanner.expect("=")?;
        let value = scanner.quoted()?;
        if labels.insert(name.clone(), value).is_some() {
            return Err(format!("label {name:?} is there twice"));
        }
        if !scanner.take(",") {
            scanner.expect("}")?;
            break;
        }
    }
    scanner.expect_end()?;
    Ok(labels)
}

/// Writes a label set.
pub(crate) fn write(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// True for `[a-zA-Z_][a-zA-Z0-9_]*`.
pub(crate) fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// True for `[a-zA-Z_:][a-zA-Z0-9_:]*`.
pub(crate) fn is_metric_name(name: &str) -> bool {
    is_name(&name.replace(':', "_"))
}

/// A key of structured metadata as Loki keeps it: what no label name has becomes `_`, and names begin with a letter or `__`.
pub(crate) fn sanitise(name: &str) -> String {
    let mut sane: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if sane.starts_with(|c: char| c.is_ascii_digit()) {
        sane.insert_str(0, "key_");
    } else if sane.starts_with('_') && !sane.starts_with("__") {
        sane.insert_str(0, "key");
    }
    sane
}
