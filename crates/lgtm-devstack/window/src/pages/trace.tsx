// One trace: its spans under each other over time, the critical path, the log lines of each span in place, and one span whole.

import type { JSX } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import { useAnswer, type Attribute, type LogRow, type Span, type Trace } from "../api";
import { changed, go, type Address } from "../address";
import { clock, duration, milliseconds, moment, percent, plural } from "../format";
import { useKeys } from "../keyboard";
import { List } from "../list";
import { useChange } from "../live";
import { Attributes, Copy, Empty, Problem, Service, serviceClass, useNarrow } from "../ui";

type Item = { kind: "span"; at: number } | { kind: "log"; row: LogRow; depth: number; at: number };

export function TracePage({ trace, span, address }: { trace: string; span: string | null; address: Address }): JSX.Element {
  const received = useChange((counts) => counts.spans.received, 2000);
  const { data, error, loading } = useAnswer<Trace>(`/traces/${encodeURIComponent(trace)}`, received);
  return (
    <div class={`page split ${span === null ? "" : "has-details"}`}>
      {data ? (
        <>
          <Problem text={error} />
          <Shown trace={data} span={span} address={address} />
        </>
      ) : error ? (
        <Empty title="This trace is not here">
          <Problem text={error} />
          <p>
            Spans arrive when they have ended: a trace that still runs appears here by itself. <a href={`/logs?trace=${trace}`}>Its log lines</a>,{" "}
            <a href="/traces">all traces</a>
          </p>
        </Empty>
      ) : loading ? (
        <p class="note">reading …</p>
      ) : null}
    </div>
  );
}

function Shown({ trace, span, address }: { trace: Trace; span: string | null; address: Address }): JSX.Element {
  const { query } = address;
  const narrow = useNarrow();
  const [closed, close] = useState<ReadonlySet<string>>(new Set());
  const [text, search] = useState("");
  const [moved, moveTo] = useState(-1);
  const withLogs = query.get("logs") !== "off";
  const onlyCritical = query.get("critical") === "only";
  const found = useMemo(() => matches(trace, text), [trace, text]);
  const items = useMemo(() => arrange(trace, closed, withLogs, onlyCritical, found), [trace, closed, withLogs, onlyCritical, found]);
  const address_of = (id: string | null) => changed(`/traces/${trace.trace_id}${id === null ? "" : `/${id}`}`, query, {});
  const place = items.findIndex((item) => item.kind === "span" && trace.spans[item.at]!.span_id === span);
  const selected = moved >= 0 ? Math.min(moved, items.length - 1) : place;
  useEffect(() => moveTo(-1), [span]);
  const open = (index: number) => {
    const item = items[index];
    if (item) go(address_of(trace.spans[item.at]!.span_id), span !== null);
  };
  const fold = (index: number, isOpen: boolean) => {
    const item = items[index];
    if (!item) return;
    const id = trace.spans[item.at]!.span_id;
    close((before) => {
      const next = new Set(before);
      if (isOpen) next.delete(id);
      else next.add(id);
      return next;
    });
    // The selection stays with the span whatever is above it.
    if (item.kind === "log") moveTo(items.findIndex((other) => other.kind === "span" && other.at === item.at));
  };
  useKeys({ back: () => (span !== null ? go(address_of(null)) : go("/traces")) });
  const shown = span === null ? undefined : trace.spans.find((one) => one.span_id === span);
  return (
    <>
      <Head trace={trace} />
      {trace.problems.map((problem) => (
        <p key={problem} class="hint">
          {problem}
        </p>
      ))}
      <div class="toolbar">
        <label class="field wide">
          <span class="field-label">find in this trace</span>
          <input
            type="search"
            value={text}
            placeholder="name, service, attribute or line"
            spellcheck={false}
            autocomplete="off"
            onInput={(event) => search(event.currentTarget.value)}
          />
        </label>
        <button type="button" aria-pressed={withLogs} onClick={() => go(changed(address.path, query, { logs: withLogs ? "off" : null }), true)}>
          lines ({trace.logs.length})
        </button>
        <button type="button" aria-pressed={onlyCritical} onClick={() => go(changed(address.path, query, { critical: onlyCritical ? null : "only" }), true)}>
          critical path only
        </button>
        <button type="button" onClick={() => close(closed.size > 0 ? new Set() : new Set(trace.spans.filter((one) => one.children > 0 && one.depth > 0).map((one) => one.span_id)))}>
          {closed.size > 0 ? "open all" : "close all"}
        </button>
        <span class="note" role="status">
          {text === "" ? "" : plural(found?.size ?? 0, "span") + " found"}
        </span>
      </div>
      <div class="panes">
        <div class="waterfall">
          <Scale total={trace.duration_ns} />
          <List
            label="spans"
            total={items.length}
            rowHeight={narrow ? 42 : 26}
            selected={selected}
            select={(index) => {
              moveTo(index);
              if (span !== null) open(index);
            }}
            open={open}
            fold={fold}
            rowKey={(index) => {
              const item = items[index]!;
              return item.kind === "span" ? trace.spans[item.at]!.span_id : `line ${item.row.id}`;
            }}
            rowClass={(index) => {
              const item = items[index]!;
              if (item.kind === "log") return `span-log level-${item.row.level}`;
              const one = trace.spans[item.at]!;
              return `span ${one.status === "error" ? "failed" : ""} ${one.critical.length > 0 ? "is-critical" : ""}`;
            }}
            row={(index) => {
              const item = items[index]!;
              return item.kind === "log" ? (
                <LogInPlace trace={trace} item={item} />
              ) : (
                <SpanRow trace={trace} span={trace.spans[item.at]!} isClosed={closed.has(trace.spans[item.at]!.span_id)} fold={(isOpen) => fold(index, isOpen)} />
              );
            }}
            empty={<Empty title="No span is found" />}
          />
        </div>
        {span === null ? null : shown ? (
          <Details trace={trace} span={shown} close={address_of(null)} />
        ) : (
          <aside class="details" aria-label="span">
            <div class="details-head">
              <h2>Span</h2>
              <a class="close" href={address_of(null)} aria-label="close the details">
                ✕
              </a>
            </div>
            <p class="hint">Span {span} is not here: it has not ended yet, was not sampled, or was evicted.</p>
          </aside>
        )}
      </div>
    </>
  );
}

function Head({ trace }: { trace: Trace }): JSX.Element {
  const root = trace.root === null ? undefined : trace.spans[trace.root];
  const services = [...new Set(trace.spans.map((span) => span.service))];
  const failed = trace.spans.filter((span) => span.status === "error");
  // The failure furthest down is the one that the others pass on.
  const cause = failed.reduce<Span | undefined>((deepest, span) => (deepest && deepest.depth >= span.depth ? deepest : span), undefined);
  return (
    <div class="trace-head">
      <h1>
        {root?.name ?? "trace"} <small>{trace.trace_id}</small>
      </h1>
      <p class="facts">
        <b>{duration(trace.duration_ns)}</b>
        <time>{clock(milliseconds(trace.start_ns))}</time>
        <span>{plural(trace.spans.length, "span")}</span>
        {services.map((service) => (
          <Service key={service} name={service} />
        ))}
        <span title="the time in which the root waited for what is marked, or worked itself">critical path {duration(trace.critical_path_ns)}</span>
        {trace.spans_left_out > 0 ? <span class="is-warning">{plural(trace.spans_left_out, "span")} left out</span> : null}
        {trace.logs_left_out > 0 ? <span class="is-warning">{plural(trace.logs_left_out, "line")} left out</span> : null}
        <a href={`/logs?trace=${trace.trace_id}`}>all its lines</a>
        <Copy text={trace.trace_id} what="id" />
        <a class="button small" href={`/api/v1/traces/${trace.trace_id}/otlp`} download title="everything that is held of this trace, as any OTLP receiver takes it">
          Export OTLP JSON
        </a>
      </p>
      {cause ? (
        <p class="failure" role="alert">
          {plural(failed.length, "span")} failed:{" "}
          <a href={`/traces/${trace.trace_id}/${cause.span_id}`}>
            {cause.service}: {cause.name}
          </a>{" "}
          {cause.status_message || exception(cause)}
        </p>
      ) : null}
    </div>
  );
}

/** What an exception event says, where the status says nothing. */
function exception(span: Span): string {
  const event = span.events.find((one) => one.name === "exception");
  const text = (name: string) => event?.attributes.find(([key]) => key === name)?.[1] ?? "";
  return [text("exception.type"), text("exception.message")].filter((part) => part !== "").join(": ");
}

/** The spans in which a text is found, with all of theirs; `null` without a text. */
function matches(trace: Trace, text: string): Set<number> | null {
  const wanted = text.trim().toLowerCase();
  if (wanted === "") return null;
  const has = (value: string) => value.toLowerCase().includes(wanted);
  const lines = new Map<string, boolean>();
  for (const row of trace.logs) if (row.span_id && has(row.message)) lines.set(row.span_id, true);
  const found = new Set<number>();
  trace.spans.forEach((span, at) => {
    const inAttributes = (attributes: Attribute[]) => attributes.some(([name, value]) => has(name) || has(value));
    if (
      has(span.name) ||
      has(span.service) ||
      has(span.status_message) ||
      span.span_id === wanted ||
      inAttributes(span.attributes) ||
      span.events.some((event) => has(event.name) || inAttributes(event.attributes)) ||
      lines.has(span.span_id)
    )
      found.add(at);
  });
  return found;
}

/** What is shown, in order: spans under their parents, each followed by its lines; what is closed or not looked for is left out. */
function arrange(trace: Trace, closed: ReadonlySet<string>, withLogs: boolean, onlyCritical: boolean, found: Set<number> | null): Item[] {
  const lines = new Map<string, LogRow[]>();
  const ids = new Set(trace.spans.map((span) => span.span_id));
  const loose: LogRow[] = [];
  for (const row of withLogs ? trace.logs : []) {
    if (row.span_id && ids.has(row.span_id)) lines.set(row.span_id, [...(lines.get(row.span_id) ?? []), row]);
    else loose.push(row);
  }
  const ancestors = found === null ? null : new Set<number>();
  if (found !== null) {
    const path: number[] = [];
    trace.spans.forEach((span, at) => {
      path.length = span.depth;
      path.push(at);
      if (found.has(at)) path.forEach((one) => ancestors!.add(one));
    });
  }
  const items: Item[] = [];
  let hiddenBelow = Infinity;
  trace.spans.forEach((span, at) => {
    if (span.depth > hiddenBelow) return;
    hiddenBelow = Infinity;
    if (ancestors !== null && !ancestors.has(at)) return;
    if (onlyCritical && span.critical.length === 0) return;
    items.push({ kind: "span", at });
    for (const row of lines.get(span.span_id) ?? []) items.push({ kind: "log", row, depth: span.depth + 1, at });
    if (closed.has(span.span_id)) hiddenBelow = span.depth;
  });
  // Lines of the trace whose span is not here belong to its root.
  if (found === null) for (const row of loose) items.push({ kind: "log", row, depth: 0, at: trace.root ?? 0 });
  return items;
}

function Scale({ total }: { total: number }): JSX.Element {
  return (
    <div class="scale" aria-hidden="true">
      <span />
      <div>
        {[0, 0.25, 0.5, 0.75, 1].map((share) => (
          <i key={share} style={{ left: `${share * 100}%` }}>
            {duration(total * share)}
          </i>
        ))}
      </div>
    </div>
  );
}

function SpanRow(props: { trace: Trace; span: Span; isClosed: boolean; fold(isOpen: boolean): void }): JSX.Element {
  const { trace, span, isClosed, fold } = props;
  const total = Math.max(1, trace.duration_ns);
  const left = (span.offset_ns / total) * 100;
  const width = (span.duration_ns / total) * 100;
  // Behind the bar, before it where there is no room behind, within it where there is none at all.
  const label = left + width <= 75 ? "after" : left >= 25 ? "before" : "inside";
  return (
    <>
      <span class="span-name" style={{ paddingLeft: `${Math.min(span.depth, 24) * 12}px` }}>
        {span.children > 0 ? (
          <button type="button" class="fold" tabIndex={-1} aria-label={isClosed ? "open" : "close"} aria-expanded={!isClosed} onClick={() => fold(isClosed)}>
            {isClosed ? "▸" : "▾"}
          </button>
        ) : (
          <i class="fold" />
        )}
        <i class={`dot ${serviceClass(span.service)}`} aria-hidden="true" />
        {span.status === "error" ? (
          <b class="error-mark" title={span.status_message || "failed"}>
            !<span class="hidden">failed</span>
          </b>
        ) : null}
        <span class="span-title" title={`${span.service}: ${span.name}`}>
          {span.name}
          <small>{span.service}</small>
        </span>
        {isClosed ? <small class="chip">{plural(span.children, "child", "children")}</small> : null}
      </span>
      <span class="span-bars">
        <i class={`bar ${serviceClass(span.service)}`} style={{ left: `${left}%`, width: `${Math.max(width, 0.15)}%` }} />
        {span.critical.map(([from, to]) => (
          <i key={from} class="critical" style={{ left: `${(from / total) * 100}%`, width: `${Math.max(((to - from) / total) * 100, 0.1)}%` }} />
        ))}
        {span.events.slice(0, 50).map((event, at) => (
          <i
            key={at}
            class={`event ${event.name === "exception" ? "is-exception" : ""}`}
            style={{ left: `${Math.min(100, (event.offset_ns / total) * 100)}%` }}
            title={`${event.name} at ${duration(event.offset_ns)}`}
          />
        ))}
        <b class={label} style={label === "after" ? { left: `${left + width}%` } : label === "before" ? { right: `${100 - left}%` } : {}}>
          {duration(span.duration_ns)}
        </b>
      </span>
    </>
  );
}

function LogInPlace({ trace, item }: { trace: Trace; item: Item & { kind: "log" } }): JSX.Element {
  const { row, depth } = item;
  const offset = Number(BigInt(row.time_ns) - BigInt(trace.start_ns));
  const share = Math.max(0, Math.min(1, offset / Math.max(1, trace.duration_ns)));
  return (
    <>
      <span class="span-name" style={{ paddingLeft: `${Math.min(depth, 24) * 12 + 16}px` }}>
        <span class="level">{row.level}</span>
        <a class="message" href={`/logs/${row.id}?trace=${trace.trace_id}`} tabIndex={-1} title={row.message}>
          {row.message}
        </a>
      </span>
      <span class="span-bars">
        <i class="log-mark" style={{ left: `${share * 100}%` }} title={`${duration(Math.max(0, offset))} after the start`} />
      </span>
    </>
  );
}

function Details({ trace, span, close }: { trace: Trace; span: Span; close: string }): JSX.Element {
  const onPath = span.critical.reduce((sum, [from, to]) => sum + to - from, 0);
  const lines = trace.logs.filter((row) => row.span_id === span.span_id);
  const search = (name: string, value: string) => `/traces?attr=${encodeURIComponent(`${name}=${value}`)}`;
  const [attributes, events, links] = span.dropped;
  const startNs = String(BigInt(trace.start_ns) + BigInt(span.offset_ns));
  return (
    <aside class="details" aria-label="span">
      <div class="details-head">
        <h2>{span.name}</h2>
        <a class="close" href={close} aria-label="close the details">
          ✕
        </a>
      </div>
      <p class="facts">
        <Service name={span.service} />
        <span>{span.kind}</span>
        {span.status === "unset" ? null : <span class={span.status === "error" ? "is-error" : ""}>{span.status}</span>}
      </p>
      {span.status_message !== "" ? <p class="failure">{span.status_message}</p> : null}
      {span.is_orphan ? <p class="hint">Its parent {span.parent_span_id} is not here.</p> : null}
      <dl class="figures">
        <div>
          <dt>length</dt>
          <dd>{duration(span.duration_ns)}</dd>
        </div>
        <div>
          <dt>its own</dt>
          <dd title="without the time of its children">{duration(span.self_ns)}</dd>
        </div>
        <div>
          <dt>on the critical path</dt>
          <dd>
            {duration(onPath)} ({percent(trace.duration_ns === 0 ? 0 : onPath / trace.duration_ns)})
          </dd>
        </div>
        <div>
          <dt>began after</dt>
          <dd title={moment(startNs)}>{duration(span.offset_ns)}</dd>
        </div>
      </dl>
      {lines.length > 0 ? (
        <section>
          <h3>Lines</h3>
          <ul class="lines">
            {lines.map((row) => (
              <li key={row.id} class={`level-${row.level}`}>
                <a href={`/logs/${row.id}?trace=${trace.trace_id}`}>
                  <span class="level">{row.level}</span> <span class="message">{row.message}</span>
                </a>
              </li>
            ))}
          </ul>
        </section>
      ) : null}
      {span.events.length > 0 ? (
        <section>
          <h3>Events</h3>
          {span.events.map((event, at) => (
            <details key={at} open={event.name === "exception"}>
              <summary>
                {event.name} <small>at {duration(event.offset_ns)}</small>
              </summary>
              <Attributes title="" attributes={event.attributes} />
            </details>
          ))}
        </section>
      ) : null}
      <Attributes title="Attributes" attributes={span.attributes} search={search} />
      {span.links.length > 0 ? (
        <section>
          <h3>Links</h3>
          <ul class="links">
            {span.links.map((link) => (
              <li key={link.span_id}>
                <a href={`/traces/${link.trace_id}/${link.span_id}`}>{link.trace_id.slice(0, 8)}… {link.span_id}</a>
              </li>
            ))}
          </ul>
        </section>
      ) : null}
      {trace.links_here.length > 0 && span.depth === 0 ? (
        <section>
          <h3>Spans that link to this trace</h3>
          <ul class="links">
            {trace.links_here.map(([other, id, name]) => (
              <li key={id}>
                <a href={`/traces/${other}/${id}`}>{name}</a>
              </li>
            ))}
          </ul>
        </section>
      ) : null}
      <Attributes title="Resource" attributes={trace.resources[span.resource] ?? []} search={search} />
      <p class="note">
        span {span.span_id} <Copy text={span.span_id} what="id" />
        {span.scope[0] ? `, of ${span.scope.filter((part) => part !== "").join(" ")}` : ""}
        {span.trace_state ? `, tracestate ${span.trace_state}` : ""}
        {attributes + events + links > 0 ? `; its sender left out ${plural(attributes, "attribute")}, ${plural(events, "event")}, ${plural(links, "link")}` : ""}
      </p>
    </aside>
  );
}
