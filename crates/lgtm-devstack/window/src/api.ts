// Questions to the window's own API, and the forms of its answers. What is asked for no more is broken off.

import { useEffect, useRef, useState } from "preact/hooks";

export interface LogRow {
  id: number;
  time_ns: string;
  level: string;
  service: string;
  message: string;
  cut: boolean;
  trace_id: string | null;
  span_id: string | null;
}

export interface LogLine extends LogRow {
  line: string;
  labels: Record<string, string>;
  metadata: Record<string, string>;
  fields: Record<string, unknown> | null;
}

export interface Rows<Row> {
  points?: Point[] | null;
  total: number;
  until: string;
  skip: number;
  rows: Row[];
}

export interface TraceRow {
  trace_id: string;
  start_ns: string;
  duration_ns: number;
  service: string;
  name: string;
  has_root: boolean;
  spans: number;
  errors: number;
  services: { name: string; spans: number; errors: number }[];
}

export type Point = [milliseconds: number, duration: number, errors: number, trace: string];
export type Attribute = [name: string, value: string, type: string];

export interface Span {
  span_id: string;
  parent_span_id: string | null;
  name: string;
  service: string;
  kind: string;
  status: string;
  status_message: string;
  offset_ns: number;
  duration_ns: number;
  self_ns: number;
  depth: number;
  is_orphan: boolean;
  critical: [number, number][];
  attributes: Attribute[];
  events: { name: string; offset_ns: number; attributes: Attribute[]; dropped_attributes: number }[];
  links: { trace_id: string; span_id: string; attributes: Attribute[] }[];
  scope: [string, string];
  trace_state: string;
  dropped: [number, number, number];
  resource: number;
  children: number;
}

export interface Trace {
  trace_id: string;
  start_ns: string;
  duration_ns: number;
  root: number | null;
  spans: Span[];
  spans_left_out: number;
  resources: Attribute[][];
  logs: LogRow[];
  logs_left_out: number;
  links_here: [string, string, string][];
  critical_path_ns: number;
  problems: string[];
}

export interface Latency {
  p50: number;
  p90: number;
  p99: number;
}

export interface SignalCounts {
  received: number;
  held: number;
  held_bytes: number;
  limit_bytes: number;
  evicted: number;
  duplicates: number;
  rejected: number;
}

export interface StoreCounts {
  logs: SignalCounts;
  spans: SignalCounts;
  samples: SignalCounts;
  exemplars: SignalCounts;
  histograms: SignalCounts;
  series: number;
}

export interface ServiceSummary {
  name: string;
  requests: number;
  rate: number;
  errors: number;
  spans: number;
  latency_ns: Latency | null;
  parts: [number, number][];
  lines: number;
  error_lines: number;
}

export interface Overview {
  now_ns: string;
  seconds: number;
  part_seconds: number;
  services: ServiceSummary[];
  services_left_out: number;
  newest_errors: LogRow[];
  dropped: { metric: string; job: string; exporter: string; reason: string; value: number }[];
  store: StoreCounts;
}

export interface Calls {
  count: number;
  errors: number;
  latency_ns: Latency | null;
}

export interface ServiceMap {
  nodes: { id: string; name: string; what: string; calls: Calls }[];
  edges: { from: string; to: string; calls: Calls }[];
  nodes_left_out: number;
}

export interface MetricRow {
  name: string;
  type: string;
  unit: string;
  help: string;
  series: number;
  ended: number;
  last: number | null;
  last_ms: number;
  exemplars: number;
}

export interface Line {
  labels: Record<string, string>;
  values: (number | null)[];
}

export interface Exemplar {
  time_ms: number;
  value: number;
  trace_id: string | null;
  span_id: string | null;
  is_held: boolean;
  labels: Record<string, string>;
}

export type Bound = number | "+Inf" | "-Inf";

export interface Heat {
  buckets: [Bound, Bound][];
  counts: (number[] | null)[];
  quantiles: Record<string, (number | null)[]>;
}

export interface Metric {
  name: string;
  type: string;
  unit: string;
  help: string;
  series: number;
  labels: Record<string, string[]>;
  from_ms: number;
  to_ms: number;
  step_ms: number;
  times_ms: number[];
  shown: "values" | "rates" | "histogram";
  lines: { lines: Line[]; left_out: number; by: string[] };
  heat?: Heat;
  exemplars: Exemplar[];
}

/** The answer to a question, or an error with what the API says of it. */
export async function ask<T>(path: string, signal?: AbortSignal): Promise<T> {
  const response = await fetch(`/api/v1${path}`, { signal, headers: { accept: "application/json" } });
  const answer: unknown = await response.json();
  if (!response.ok) throw new Error((answer as { error?: string }).error ?? `status ${response.status}`);
  return answer as T;
}

/** Empties the store; throws what the API says against it. */
export async function clearStore(): Promise<void> {
  const response = await fetch("/api/v1/store", { method: "DELETE" });
  if (!response.ok) throw new Error(((await response.json()) as { error?: string }).error ?? `status ${response.status}`);
}

export interface Answer<T> {
  data: T | null;
  error: string | null;
  loading: boolean;
}

/** The answer to a question, asked again when it or `again` changes. What was known stays until then. */
export function useAnswer<T>(path: string | null, again: unknown = 0): Answer<T> {
  const [answer, show] = useState<Answer<T>>({ data: null, error: null, loading: path !== null });
  const asked = useRef<string | null>(null);
  useEffect(() => {
    if (path === null) return;
    const abort = new AbortController();
    const isOther = asked.current?.split("?")[0] !== path.split("?")[0];
    asked.current = path;
    show((before) => ({ data: isOther ? null : before.data, error: isOther ? null : before.error, loading: true }));
    ask<T>(path, abort.signal).then(
      (data) => show({ data, error: null, loading: false }),
      (error: Error) => {
        if (!abort.signal.aborted) show((before) => ({ data: before.data, error: error.message, loading: false }));
      },
    );
    return () => abort.abort();
  }, [path, again]);
  return answer;
}
