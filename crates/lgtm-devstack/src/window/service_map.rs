//! Who calls whom: edges between services, from spans whose parents are of another service, from links of messages, and from client
//! spans that nobody answered with a span, which name a database or a server by their attributes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::latency::quantiles;
use super::overview::is_request;
use super::query::{Query, Refusal};
use super::traces::spans_in;
use crate::devstack::Shared;
use crate::read::parameters::now_ns;
use crate::span::{Span, SpanKind};

/// The most nodes of one answer; of more, those with the most calls.
const MAX_NODES: usize = 200;

/// What names the other side of a call that has no span of its own, with what it is.
const PEERS: [(&str, &str); 7] = [
    ("peer.service", "service"),
    ("db.system.name", "database"),
    ("db.system", "database"),
    ("messaging.system", "queue"),
    ("rpc.service", "service"),
    ("server.address", "service"),
    ("net.peer.name", "service"),
];

#[derive(Default)]
struct Calls {
    count: u64,
    errors: u64,
    durations: Vec<u64>,
}

impl Calls {
    fn add(&mut self, span: &Span) {
        self.count += 1;
        self.errors += u64::from(span.is_error());
        self.durations.push(span.end_ns.saturating_sub(span.start_ns));
    }

    fn json(mut self) -> Value {
        json!({ "count": self.count, "errors": self.errors, "latency_ns": quantiles(&mut self.durations) })
    }
}

/// Its name, and what it is.
type Node = (String, &'static str);

#[derive(Default)]
struct Map {
    nodes: BTreeMap<Node, Calls>,
    edges: BTreeMap<(Node, Node), Calls>,
}

/// `GET /api/v1/service-map`
pub(super) async fn service_map(State(shared): State<Shared>, query: Query) -> Result<Json<Value>, Refusal> {
    query.only(&[&["from", "to", "last"]])?;
    let spans = spans_in(&shared, query.range(now_ns())?);
    Ok(Json(answer(draw(&spans))))
}

fn draw(spans: &[Arc<Span>]) -> Map {
    let id = |trace: &'_ str, span: &'_ str| (trace.to_owned(), span.to_owned());
    let by_id: HashMap<(String, String), &Span> =
        spans.iter().map(|span| (id(&span.trace_id, &span.span_id), span.as_ref())).collect();
    let mut map = Map::default();
    let mut seen = HashSet::new();
    let mut answered = HashSet::new();
    let service = |span: &Span| (span.service_name().to_owned(), "service");
    let unique: Vec<&Arc<Span>> =
        spans.iter().filter(|span| seen.insert((span.trace_id.as_str(), span.span_id.as_str()))).collect();
    for span in &unique {
        let node = map.nodes.entry(service(span)).or_default();
        if is_request(span) {
            node.add(span);
        }
        let parent = span.parent_span_id.as_ref().and_then(|parent| by_id.get(&id(&span.trace_id, parent)));
        if let Some(parent) = parent.filter(|parent| parent.service_name() != span.service_name()) {
            answered.insert((parent.trace_id.as_str(), parent.span_id.as_str()));
            map.edges.entry((service(parent), service(span))).or_default().add(span);
        } else if span.kind == SpanKind::Consumer {
            let senders = span.links.iter().filter_map(|link| by_id.get(&id(&link.trace_id, &link.span_id)));
            for sender in senders.filter(|sender| sender.service_name() != span.service_name()) {
                answered.insert((sender.trace_id.as_str(), sender.span_id.as_str()));
                map.edges.entry((service(sender), service(span))).or_default().add(span);
            }
        }
    }
    for span in unique {
        let calls = matches!(span.kind, SpanKind::Client | SpanKind::Producer);
        if !calls || answered.contains(&(span.trace_id.as_str(), span.span_id.as_str())) {
            continue;
        }
        let Some((name, what)) = PEERS.iter().find_map(|(name, what)| Some((span.attributes.get(name)?, *what))) else {
            continue;
        };
        let peer = (name.to_string(), what);
        map.nodes.entry(peer.clone()).or_default().add(span);
        map.edges.entry((service(span), peer)).or_default().add(span);
    }
    map
}

fn answer(map: Map) -> Value {
    let Map { nodes, edges } = map;
    let name = |(name, what): &Node| format!("{what}:{name}");
    let mut nodes: Vec<_> = nodes.into_iter().collect();
    nodes.sort_by_key(|(_, calls)| std::cmp::Reverse(calls.count));
    let left_out = nodes.len().saturating_sub(MAX_NODES);
    nodes.truncate(MAX_NODES);
    let shown: HashSet<String> = nodes.iter().map(|(node, _)| name(node)).collect();
    let nodes: Vec<Value> = nodes
        .into_iter()
        .map(|(node, calls)| json!({ "id": name(&node), "name": node.0, "what": node.1, "calls": calls.json() }))
        .collect();
    let edges: Vec<Value> = edges
        .into_iter()
        .filter(|((from, to), _)| shown.contains(&name(from)) && shown.contains(&name(to)))
        .map(|((from, to), calls)| json!({ "from": name(&from), "to": name(&to), "calls": calls.json() }))
        .collect();
    json!({ "nodes": nodes, "edges": edges, "nodes_left_out": left_out })
}
