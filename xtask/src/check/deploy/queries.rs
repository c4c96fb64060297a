//! Every query of dashboards, data sources, rules and pages: it is one in its language, and PromQL names only metrics that somebody
//! emits. PromQL is parsed here too; all three languages are parsed by Grafana's own grammars, where npm is on the path.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::sources::Source;
use super::super::{Failure, Workspace};
use super::metrics::{self, Known};
use super::rules::{self, LOKI, PROMETHEUS};
use super::{files, grafana};

/// A query language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Language {
    Promql,
    Logql,
    Traceql,
}

impl Language {
    /// By a data source's type, or the name of a code block.
    fn of(name: &str) -> Option<Self> {
        match name {
            "prometheus" | "promql" => Some(Self::Promql),
            "loki" | "logql" => Some(Self::Logql),
            "tempo" | "traceql" => Some(Self::Traceql),
            _ => None,
        }
    }
}

/// A query, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Query {
    #[serde(rename = "where")]
    pub(crate) place: String,
    pub(crate) language: Language,
    pub(crate) query: String,
}

/// What the grammars say of a query that is none.
#[derive(Deserialize)]
struct Refused {
    #[serde(rename = "where")]
    place: String,
    query: String,
    message: String,
}

pub(in super::super) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let remedy = "mend the query; a metric of another program belongs into xtask/src/check/deploy/metrics.rs";
    let queries = all(workspace).map_err(|error| Failure::new(error, remedy))?;
    let recorded = rules::read(&workspace.root, PROMETHEUS).map_err(|error| Failure::new(error, remedy))?;
    let known = Known::with(&recorded);
    let mut findings = Vec::new();
    for Query { place, query, .. } in queries.iter().filter(|query| query.language == Language::Promql) {
        match known.unknown(query) {
            Ok(unknown) => findings.extend(unknown.iter().map(|name| format!("{place}: nobody emits `{name}`"))),
            Err(error) => findings.push(format!("{place}: {error}: {query}")),
        }
    }
    grammars(workspace, &queries, &mut findings);
    let of = |language| queries.iter().filter(|query| query.language == language).count();
    println!(
        "  {} PromQL, {} LogQL, {} TraceQL queries",
        of(Language::Promql),
        of(Language::Logql),
        of(Language::Traceql)
    );
    Failure::unless_empty(findings, remedy)
}

/// All queries of the workspace.
///
/// # Errors
/// If a file cannot be read.
pub(in super::super) fn all(workspace: &Workspace) -> Result<Vec<Query>, String> {
    let sources = workspace.sources().map_err(|error| error.to_string())?;
    let mut queries = Vec::new();
    for source in &sources {
        let path = Path::new(&source.path);
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") if source.path.starts_with("deploy/grafana/dashboards/") => dashboard(source, &mut queries)?,
            Some("yaml") if source.path.starts_with("deploy/grafana/provisioning/") => {
                data_sources(source, &mut queries)?;
            }
            Some("md") => page(source, &mut queries),
            _ => {}
        }
    }
    for (file, language) in [(PROMETHEUS, Language::Promql), (LOKI, Language::Logql)] {
        let of_rules = rules::read(&workspace.root, file)?.into_iter();
        queries.extend(of_rules.map(|rule| Query {
            place: format!("{file}: {}", rule.name()),
            language,
            query: rule.expr.clone(),
        }));
    }
    Ok(queries)
}

/// The metrics that dashboards, alerts and pages name, each with the places.
///
/// # Errors
/// If a file cannot be read, or a query is none.
pub(in super::super) fn named_metrics(workspace: &Workspace) -> Result<BTreeMap<String, Vec<String>>, String> {
    let mut named: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for query in all(workspace)?.into_iter().filter(|query| query.language == Language::Promql) {
        for name in metrics::names(&query.query)? {
            named.entry(name).or_default().push(query.place.clone());
        }
    }
    Ok(named)
}

fn dashboard(source: &Source, queries: &mut Vec<Query>) -> Result<(), String> {
    let document: Value = serde_json::from_str(&source.text).map_err(|error| format!("{}: {error}", source.path))?;
    of_panel(&source.path, &document, queries);
    let values = Regex::new(r"^label_values\((?s)(.*),\s*\w+\s*\)$").map_err(|error| error.to_string())?;
    let variables = document["templating"]["list"].as_array().into_iter().flatten();
    for variable in variables {
        let name = variable["name"].as_str().unwrap_or_default();
        let query = variable["query"]["query"].as_str().or_else(|| variable["query"].as_str()).unwrap_or_default();
        if let Some(found) = values.captures(query) {
            queries.push(Query {
                place: format!("{}: variable {name}", source.path),
                language: Language::Promql,
                query: plain(&found[1]),
            });
        }
    }
    let annotations = document["annotations"]["list"].as_array().into_iter().flatten();
    for annotation in annotations {
        target(&format!("{}: annotation", source.path), annotation, &Value::Null, queries);
    }
    Ok(())
}

/// The targets of a panel and of the panels in it.
fn of_panel(path: &str, panel: &Value, queries: &mut Vec<Query>) {
    let place = match panel["title"].as_str() {
        Some(title) if panel.get("targets").is_some() => format!("{path}: {title}"),
        _ => path.to_owned(),
    };
    for one in panel["targets"].as_array().into_iter().flatten() {
        target(&place, one, &panel["datasource"], queries);
    }
    panel["panels"].as_array().into_iter().flatten().for_each(|inner| of_panel(path, inner, queries));
}

fn target(place: &str, target: &Value, of_panel: &Value, queries: &mut Vec<Query>) {
    let source = target["datasource"]["type"].as_str().or_else(|| of_panel["type"].as_str()).unwrap_or_default();
    let Some(language) = Language::of(source) else { return };
    // A service map has no query language: its `serviceMapQuery` is a PromQL selector, if there is one.
    let (language, text) = match target["queryType"].as_str() {
        Some("serviceMap") => (Language::Promql, &target["serviceMapQuery"]),
        _ if language == Language::Traceql => (language, &target["query"]),
        _ => (language, &target["expr"]),
    };
    if let Some(text) = text.as_str().filter(|text| !text.is_empty()) {
        queries.push(Query { place: place.to_owned(), language, query: plain(text) });
    }
}

/// The queries of links between signals.
fn data_sources(source: &Source, queries: &mut Vec<Query>) -> Result<(), String> {
    let documents = files::documents(&source.text).map_err(|error| format!("{}: {error}", source.path))?;
    for document in documents {
        for one in document["datasources"].as_sequence().into_iter().flatten() {
            let place = format!("{}: {}", source.path, one["name"].as_str().unwrap_or_default());
            let data = &one["jsonData"];
            let mut add = |language, query: &serde_yaml_ng::Value| {
                if let Some(query) = query.as_str() {
                    queries.push(Query { place: place.clone(), language, query: plain(query) });
                }
            };
            add(Language::Logql, &data["tracesToLogsV2"]["query"]);
            let to_metrics = data["tracesToMetrics"]["queries"].as_sequence().into_iter().flatten();
            to_metrics.for_each(|link| add(Language::Promql, &link["query"]));
        }
    }
    Ok(())
}

/// The code blocks of a page that say their language. A block is one query; lines that begin with `#` are comments.
fn page(source: &Source, queries: &mut Vec<Query>) {
    let mut block: Option<(usize, Option<Language>, Vec<&str>)> = None;
    for (index, line) in source.text.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), &mut block) {
            (Some(name), None) => block = Some((index + 1, Language::of(name.trim()), Vec::new())),
            (Some(_), Some((begin, language, lines))) => {
                if let Some(language) = *language {
                    let place = format!("{}:{begin}", source.path);
                    queries.push(Query { place, language, query: plain(&lines.join("\n")) });
                }
                block = None;
            }
            (None, Some((_, _, lines))) if !line.trim_start().starts_with('#') => lines.push(line),
            _ => {}
        }
    }
}

/// A query as Grafana would send it: with values in the place of its variables, those of "All" where a variable has that.
fn plain(query: &str) -> String {
    static TIMES: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"\$\$?(?:\{__(?:rate_interval|interval|range|auto)\}|__(?:rate_interval|interval|range|auto))").ok()
    });
    static TAGS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\$\$?(?:\{__tags\}|__tags)").ok());
    // The values of "All" that the dashboards' variables have.
    static SERVICE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"\$(?:\{service(?::\w+)?\}|service\b)").ok());
    static WHERE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"\$(?:\{(?:environment|instance)(?::\w+)?\}|(?:environment|instance)\b)").ok());
    static OTHERS: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"\$\$?(?:\{[\w.]+(?::\w+)?\}|[A-Za-z_]\w*)").ok());
    let replaced = |text: String, form: &LazyLock<Option<Regex>>, by: &str| match form.as_ref() {
        Some(form) => form.replace_all(&text, by).into_owned(),
        None => text,
    };
    let text = replaced(query.to_owned(), &TIMES, "5m");
    let text = replaced(text, &TAGS, r#"service_name="any""#);
    let text = replaced(text, &SERVICE, ".+");
    let text = replaced(text, &WHERE, ".*");
    replaced(text, &OTHERS, "any").trim().to_owned()
}

fn grammars(workspace: &Workspace, queries: &[Query], findings: &mut Vec<String>) {
    let lines: Vec<String> = queries.iter().filter_map(|query| serde_json::to_string(query).ok()).collect();
    let said = match grafana::run(workspace, "grammar", Some(&lines.join("\n"))) {
        Ok(said) => said,
        Err(failure) => return findings.extend(failure),
    };
    for line in said.lines().filter(|line| line.starts_with('{')) {
        match serde_json::from_str::<Refused>(line) {
            Ok(Refused { place, query, message }) => findings.push(format!("{place}: {message}: {query}")),
            Err(error) => findings.push(format!("the grammars said something else than queries: {error}: {line}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn queries_are_found_in_panels_rows_variables_and_annotations() {
        let text = r#"{
            "templating": {"list": [{"name": "service", "query": {"query": "label_values(up{job=\"$job\"}, service)"}}]},
            "annotations": {"list": [{"datasource": {"type": "loki"}, "expr": "{level=\"error\"}"}]},
            "panels": [
                {"title": "A", "datasource": {"type": "prometheus"}, "targets": [{"expr": "rate(a{b=~\"$service\", c=~\"${environment:pipe}\"}[$__rate_interval])"}]},
                {"type": "row", "panels": [{"title": "B", "targets": [
                    {"datasource": {"type": "tempo"}, "query": "{ name = \"${name:regex}\" }"},
                    {"datasource": {"type": "tempo"}, "queryType": "serviceMap"}]}]}]}"#;
        let mut queries = Vec::new();
        dashboard(&source("d.json", text), &mut queries).unwrap();
        let found: Vec<(&str, Language, &str)> =
            queries.iter().map(|query| (query.place.as_str(), query.language, query.query.as_str())).collect();
        assert_eq!(
            found,
            [
                ("d.json: A", Language::Promql, r#"rate(a{b=~".+", c=~".*"}[5m])"#),
                ("d.json: B", Language::Traceql, r#"{ name = "any" }"#),
                ("d.json: variable service", Language::Promql, r#"up{job="any"}"#),
                ("d.json: annotation", Language::Logql, r#"{level="error"}"#),
            ]
        );
    }

    #[test]
    fn blocks_of_pages_and_links_of_data_sources_are_queries() {
        let mut queries = Vec::new();
        page(&source("a.md", "```promql\n# how much\nup\n  == 0\n```\n```sh\nls\n```\n"), &mut queries);
        let text =
            "datasources: [{name: T, jsonData: {tracesToLogsV2: {query: '{$${__tags}} | a = \"$${__trace.traceId}\"'},
            tracesToMetrics: {queries: [{query: 'rate(b{$$__tags}[5m])'}]}}}]";
        data_sources(&source("d.yaml", text), &mut queries).unwrap();
        let found: Vec<(&str, &str)> = queries.iter().map(|q| (q.place.as_str(), q.query.as_str())).collect();
        assert_eq!(
            found,
            [
                ("a.md:1", "up\n  == 0"),
                ("d.yaml: T", r#"{service_name="any"} | a = "any""#),
                ("d.yaml: T", r#"rate(b{service_name="any"}[5m])"#),
            ]
        );
    }
}
