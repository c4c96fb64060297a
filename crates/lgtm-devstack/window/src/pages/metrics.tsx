// Metrics: a list to search, and one over time, broken down by its labels, with exemplars that lead to traces.

import type { JSX } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import { useAnswer, type Metric, type MetricRow } from "../api";
import { changed, go, type Address } from "../address";
import { HeatChart, LineChart, QUANTILES, lineColour } from "../chart";
import { clock, duration, measured, plural, short } from "../format";
import { useKeys } from "../keyboard";
import { List } from "../list";
import { useChange } from "../live";
import { Choice, Empty, Problem, SearchField, useNarrow, useTheme } from "../ui";

const ASKED = ["attr", "by", "as"];
const TIMES: [string, string][] = [
  ["1m", "last minute"],
  ["5m", "last 5 minutes"],
  ["", "last 15 minutes"],
  ["1h", "last hour"],
  ["6h", "last 6 hours"],
  ["24h", "last day"],
];

export function MetricsPage({ address, metric }: { address: Address; metric: string | null }): JSX.Element {
  const { query } = address;
  const text = query.get("q") ?? "";
  const arrivals = useChange((counts) => counts.samples.received + counts.histograms.received, 3000);
  const list = useAnswer<{ total: number; rows: MetricRow[] }>(`/metrics${text === "" ? "" : `?q=${encodeURIComponent(text)}`}`, arrivals);
  const rows = list.data?.rows ?? [];
  const narrow = useNarrow();
  const [moved, moveTo] = useState(-1);
  useEffect(() => moveTo(-1), [metric, text]);
  const place = rows.findIndex((row) => row.name === metric);
  const selected = moved >= 0 ? Math.min(moved, rows.length - 1) : place;
  const open = (index: number) => {
    const row = rows[index];
    // Labels of one metric mean nothing to another.
    if (row) go(changed(`/metrics/${encodeURIComponent(row.name)}`, query, { attr: null, by: null, as: null }), metric !== null);
  };
  useKeys({ back: () => metric !== null && go(changed("/metrics", query, { attr: null, by: null, as: null })) });
  return (
    <div class={`page split metrics ${metric === null ? "" : "has-details"}`}>
      <h1 class="hidden">Metrics</h1>
      <div class="toolbar" role="search">
        <SearchField label="name or help" name="q" address={address} placeholder="name or help of a metric" search wide />
        <Choice label="time" name="last" address={address} options={TIMES} />
      </div>
      <Problem text={list.error} />
      <div class="statusline">
        <span role="status">
          {plural(list.data?.total ?? 0, "metric")}
          {text === "" ? "" : " found"}
        </span>
      </div>
      <div class="panes">
        <List
          label="metrics"
          total={rows.length}
          rowHeight={narrow ? 50 : 44}
          selected={selected}
          select={moveTo}
          open={open}
          rowKey={(index) => rows[index]!.name}
          rowClass={() => "metric"}
          row={(index) => <Row row={rows[index]!} />}
          empty={list.loading ? "" : <NoMetrics text={text} />}
        />
        {metric === null ? null : <One name={metric} address={address} arrivals={arrivals} />}
      </div>
    </div>
  );
}

function NoMetrics({ text }: { text: string }): JSX.Element {
  return text === "" ? (
    <Empty title="No sample has arrived">
      <p>Send OTLP metrics, push by remote write, or let the stack scrape; new metrics appear here by themselves.</p>
    </Empty>
  ) : (
    <Empty title="No metric is named or described so" />
  );
}

function Row({ row }: { row: MetricRow }): JSX.Element {
  return (
    <>
      <span class="metric-name">
        {row.name}
        {row.exemplars > 0 ? <i class="has-exemplars" title={`${plural(row.exemplars, "exemplar")}: they lead to traces`} /> : null}
      </span>
      <span class="metric-last" title={`newest values added up, at ${clock(row.last_ms)}`}>
        {row.type === "histogram" ? (row.last === null ? "–" : `${short(row.last)} observed`) : measured(row.last, row.type === "counter" ? (row.unit === "bytes" ? "bytes" : "") : row.unit)}
      </span>
      <span class="metric-help">{row.help || "no help"}</span>
      <span class="metric-type">
        {row.type}
        {row.unit ? `, ${row.unit}` : ""}, {row.series} series{row.ended > 0 ? `, ${row.ended} ended` : ""}
      </span>
    </>
  );
}

function One({ name, address, arrivals }: { name: string; address: Address; arrivals: number }): JSX.Element {
  const { query, path } = address;
  const asked = new URLSearchParams({ last: query.get("last") ?? "15m" });
  for (const parameter of ASKED) for (const value of query.getAll(parameter)) asked.append(parameter, value);
  const { data, error } = useAnswer<Metric>(`/metrics/${encodeURIComponent(name)}?${asked}`, arrivals);
  return (
    <aside class="details wide" aria-label="metric">
      <div class="details-head">
        <h2>{name}</h2>
        <a class="close" href={changed("/metrics", query, { attr: null, by: null, as: null })} aria-label="close the metric">
          ✕
        </a>
      </div>
      <Problem text={error} />
      {data ? (
        <>
          <p class="note">
            {data.type}
            {data.unit ? ` in ${data.unit}` : ""}, {plural(data.series, "series", "series")}, steps of {duration(data.step_ms * 1e6)}. {data.help}
          </p>
          <div class="toolbar">
            <Labels metric={data} address={address} />
            {data.type === "counter" ? (
              <button
                type="button"
                aria-pressed={data.shown === "rates"}
                onClick={() => go(changed(path, query, { as: data.shown === "rates" ? "values" : null }), true)}
              >
                per second
              </button>
            ) : null}
            {query.getAll("attr").map((condition) => (
              <button
                key={condition}
                type="button"
                class="condition"
                aria-label={`take away the condition ${condition}`}
                onClick={() => go(changed(path, query, { attr: query.getAll("attr").filter((one) => one !== condition) }), true)}
              >
                {condition} ✕
              </button>
            ))}
          </div>
          <Charts metric={data} />
          <Exemplars metric={data} />
        </>
      ) : null}
    </aside>
  );
}

/** By which labels the series are told apart, and which of their values are shown. */
function Labels({ metric, address }: { metric: Metric; address: Address }): JSX.Element {
  const { query, path } = address;
  const by = query.getAll("by");
  const names = Object.entries(metric.labels);
  return (
    <>
      <label class="field">
        <span class="field-label">by label</span>
        <select name="by" value={by[0] ?? ""} onChange={(event) => go(changed(path, query, { by: event.currentTarget.value }), true)}>
          <option value="">{metric.lines.by.length > 0 && by.length === 0 ? "all that differ" : "one sum"}</option>
          {names.map(([label, values]) => (
            <option key={label} value={label} selected={by[0] === label}>
              {label} ({values.length})
            </option>
          ))}
        </select>
      </label>
      <label class="field">
        <span class="field-label">only</span>
        <select
          name="only"
          value=""
          onChange={(event) => {
            const condition = event.currentTarget.value;
            if (condition !== "") go(changed(path, query, { attr: [...query.getAll("attr"), condition] }), true);
            event.currentTarget.value = "";
          }}
        >
          <option value="">all series</option>
          {names.flatMap(([label, values]) =>
            values.length > 1 || query.getAll("attr").length > 0
              ? values.map((value) => (
                  <option key={`${label}=${value}`} value={`${label}=${value}`}>
                    {label} = {value || "(empty)"}
                  </option>
                ))
              : [],
          )}
        </select>
      </label>
    </>
  );
}

const NONE: ReadonlySet<number> = new Set();

function Charts({ metric }: { metric: Metric }): JSX.Element {
  const [hidden, hide] = useState<ReadonlySet<number>>(NONE);
  const names = metric.lines.lines.map((line) => JSON.stringify(line.labels)).join();
  useEffect(() => hide(NONE), [names]);
  const isEmpty = metric.heat ? metric.heat.counts.every((counts) => counts === null) : metric.lines.lines.every((line) => line.values.every((value) => value === null));
  if (isEmpty)
    return (
      <p class="hint">
        Nothing to draw in this time{metric.shown === "values" ? "" : ": a rate needs two samples of a series"}. Choose a longer time above.
      </p>
    );
  return (
    <>
      {metric.heat ? (
        <>
          <HeatChart metric={metric} heat={metric.heat} />
          <ul class="legend" aria-label="quantiles">
            {QUANTILES.map(([name, text]) => (
              <li key={name}>
                <i class={`quantile-${name}`} /> {text} <b>{measured(metric.heat!.quantiles[name]!.findLast((value) => value !== null), metric.unit)}</b>
              </li>
            ))}
            <li>
              <i class="heat" /> observations
            </li>
          </ul>
          <h3>Observations per second</h3>
        </>
      ) : null}
      <LineChart metric={metric} hidden={hidden} />
      <Legend
        metric={metric}
        hidden={hidden}
        toggle={(at) =>
          hide((before) => {
            const next = new Set(before);
            if (!next.delete(at)) next.add(at);
            return next;
          })
        }
      />
    </>
  );
}

function Legend({ metric, hidden, toggle }: { metric: Metric; hidden: ReadonlySet<number>; toggle(at: number): void }): JSX.Element {
  useTheme();
  const unit = metric.shown === "histogram" ? "" : metric.unit;
  return (
    <>
      <ul class="legend" aria-label="lines">
        {metric.lines.lines.map((line, at) => {
          const labels = Object.entries(line.labels);
          return (
            <li key={JSON.stringify(line.labels)}>
              <button type="button" aria-pressed={!hidden.has(at)} onClick={() => toggle(at)}>
                <i style={{ background: lineColour(at) }} />
                <span>{labels.length === 0 ? "all series" : labels.map(([name, value]) => `${name}=${value}`).join(", ")}</span>
                <b>{measured(line.values.findLast((value) => value !== null), unit, metric.shown !== "values")}</b>
              </button>
            </li>
          );
        })}
      </ul>
      {metric.lines.left_out > 0 ? <p class="hint">{plural(metric.lines.left_out, "line")} with lower values left out: choose a label, or a value of one</p> : null}
    </>
  );
}

function Exemplars({ metric }: { metric: Metric }): JSX.Element | null {
  const shown = useMemo(() => [...metric.exemplars].sort((one, other) => other.value - one.value).slice(0, 20), [metric]);
  if (shown.length === 0) return null;
  return (
    <section class="exemplars">
      <h3>Exemplars</h3>
      <p class="note">Single observations with the trace in which they were made, the highest first; in the chart they are dots.</p>
      <ul>
        {shown.map((exemplar) => (
          <li key={`${exemplar.time_ms} ${exemplar.value} ${exemplar.trace_id}`}>
            <b>{measured(exemplar.value, metric.unit)}</b> <time>{clock(exemplar.time_ms)}</time>{" "}
            {exemplar.is_held ? (
              <a href={`/traces/${exemplar.trace_id}${exemplar.span_id ? `/${exemplar.span_id}` : ""}`}>trace {exemplar.trace_id?.slice(0, 8)}…</a>
            ) : (
              <span class="note">{exemplar.trace_id ? "its trace is not held" : "no trace"}</span>
            )}
          </li>
        ))}
      </ul>
    </section>
  );
}
