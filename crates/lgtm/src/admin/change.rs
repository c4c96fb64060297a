//! What a request wants to change: a JSON object, or lines of text. Pure.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};

use super::Refusal;

/// The values of these names, each if it is given. A body is a JSON object with texts (`application/json`), or lines `name=value`
/// (`text/plain`).
pub(super) fn changes<const N: usize>(
    headers: &HeaderMap,
    body: &[u8],
    names: [&'static str; N],
) -> Result<[Option<String>; N], Refusal> {
    let form = || {
        let json: Vec<_> = names.iter().map(|name| format!("\"{name}\": \"...\"")).collect();
        let lines: Vec<_> = names.iter().map(|name| format!("{name}=...")).collect();
        format!(
            "accepted: application/json with {{{}}}, or text/plain with lines {}",
            json.join(", "),
            lines.join(" and ")
        )
    };
    let wrong = |problem: String| Refusal::new(StatusCode::BAD_REQUEST, format!("{problem}; {}", form()));
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let given = match media_type.as_str() {
        "application/json" => {
            let members: Map<String, Value> =
                serde_json::from_slice(body).map_err(|error| wrong(format!("the body is no JSON object ({error})")))?;
            let texts = members.into_iter().map(|(name, value)| match value {
                Value::String(text) => Ok((name, text)),
                other => Err(wrong(format!("{name}: `{other}` is no text"))),
            });
            texts.collect::<Result<Vec<_>, _>>()?
        }
        "text/plain" => {
            let text = std::str::from_utf8(body).map_err(|_| wrong("the body is no text".to_owned()))?;
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            let pairs = lines.map(|line| match line.split_once('=') {
                Some((name, value)) => Ok((name.trim().to_owned(), value.trim().to_owned())),
                None => Err(wrong(format!("`{line}` has no `=`"))),
            });
            pairs.collect::<Result<Vec<_>, _>>()?
        }
        other => {
            let problem = format!("content type `{other}`; {}", form());
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, problem));
        }
    };
    if given.is_empty() {
        return Err(wrong("nothing is to change".to_owned()));
    }
    let mut values = names.map(|_| None);
    for (name, value) in given {
        let place = names.iter().zip(&mut values).find(|(known, _)| **known == name);
        match place {
            Some((_, place)) => *place = Some(value),
            None => return Err(wrong(format!("`{name}` is no setting here"))),
        }
    }
    Ok(values)
}
