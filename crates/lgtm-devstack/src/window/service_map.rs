//! Who calls whom: edges between services, from spans whose parents are of another service, from links of messages, and from client
//! spans that nobody answered with a span, which name a database or a server by their attributes.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::latency::quantiles;
use super::query::{Query, Range, Refusal};
use crate::devstack::Shared;
use crate::read::parameters::now_ns;
use crate::span::{SpanKind, SpanLink};
use crate::store::{Name, SpanFacts, StoredSpan, TraceInPlace, TraceStore};

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
    fn add(&mut self, span: &SpanFacts) {
        self.count += 1;
        self.errors += u64::from(span.is_error);
        self.durations.push(span.duration_ns());
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
    let range = query.range(now_ns())?;
    Ok(Json(answer(shared.store.read_traces(|traces| draw(traces, range)))))
}

/// The map in the numbers of the store.
#[derive(Default)]
struct Sketch {
    services: HashMap<Name, Calls>,
    calls: HashMap<(Name, Name), Calls>,
    /// The numbers of spans that are answered by a span of another service.
    answered: HashSet<u64>,
    /// Spans that may call something without spans.
    callers: Vec<u64>,
    /// The spans of traces that links name.
    linked: HashMap<u128, HashMap<u64, Place>>,
}

/// A span's number and service.
type Place = (u64, Name);

fn draw(traces: &TraceStore, range: Range) -> Map {
    let mut sketch = Sketch::default();
    for (_, trace) in traces.traces() {
        sketch.add(traces, trace, range);
    }
    let Sketch { services, calls, answered, callers, .. } = sketch;
    let service = |name: Name| (traces.services().get(name).to_owned(), "service");
    let mut map = Map {
        nodes: services.into_iter().map(|(name, calls)| (service(name), calls)).collect(),
        edges: calls.into_iter().map(|((from, to), calls)| ((service(from), service(to)), calls)).collect(),
    };
    for stored in callers.iter().filter(|number| !answered.contains(number)).filter_map(|at| traces.numbered(*at)) {
        let attributes = &stored.span.attributes;
        let Some((name, what)) = PEERS.iter().find_map(|(name, what)| Some((attributes.get(name)?, *what))) else {
            continue;
        };
        let peer = (name.to_string(), what);
        map.nodes.entry(peer.clone()).or_default().add(&stored.facts);
        map.edges.entry((service(stored.facts.service), peer)).or_default().add(&stored.facts);
    }
    map
}

impl Sketch {
    fn add(&mut self, traces: &TraceStore, trace: TraceInPlace<'_>, range: Range) {
        // A span that was sent again is there once.
        let mut by_id: HashMap<u64, Place> = HashMap::new();
        let spans: Vec<(u64, &StoredSpan)> = trace
            .spans()
            .filter(|(number, stored)| match by_id.entry(stored.facts.id) {
                Entry::Occupied(_) => false,
                Entry::Vacant(free) => {
                    free.insert((*number, stored.facts.service));
                    true
                }
            })
            .collect();
        for (number, stored) in spans {
            let span = &stored.facts;
            if !range.contains_unsigned(span.start_ns) {
                continue;
            }
            let node = self.services.entry(span.service).or_default();
            if span.is_request() {
                node.add(span);
            }
            if matches!(span.kind, SpanKind::Client | SpanKind::Producer) {
                self.callers.push(number);
            }
            let parent = span.parent.and_then(|parent| by_id.get(&parent).copied());
            if let Some((parent, caller)) = parent.filter(|(_, caller)| *caller != span.service) {
                self.call((parent, caller), span);
            } else if span.kind == SpanKind::Consumer && span.has_links {
                for link in &stored.span.links {
                    if let Some(sender) = self.linked(traces, link).filter(|(_, sender)| *sender != span.service) {
                        self.call(sender, span);
                    }
                }
            }
        }
    }

    fn call(&mut self, (number, caller): Place, span: &SpanFacts) {
        self.answered.insert(number);
        self.calls.entry((caller, span.service)).or_default().add(span);
    }

    /// The span that a link names, if it is held.
    fn linked(&mut self, traces: &TraceStore, link: &SpanLink) -> Option<Place> {
        let trace = u128::from_str_radix(&link.trace_id, 16).ok()?;
        let spans = self.linked.entry(trace).or_insert_with(|| {
            let spans = traces.trace_in_place(trace).into_iter().flat_map(TraceInPlace::spans);
            spans.map(|(number, stored)| (stored.facts.id, (number, stored.facts.service))).collect()
        });
        spans.get(&u64::from_str_radix(&link.span_id, 16).ok()?).copied()
    }
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
