// Traces: searched by what a span of theirs is, over a chart of when they began and how long they took.

import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { useAnswer, type Point, type Rows, type TraceRow } from "../api";
import { changed, go, type Address } from "../address";
import { clock, count, duration, milliseconds, moment, plural } from "../format";
import { List, usePages } from "../list";
import { useChange, useClears } from "../live";
import { Scatter } from "../scatter";
import { Choice, Empty, Problem, SearchField, Service, TIMES, serviceClass, useNarrow } from "../ui";
import { NewCondition } from "./logs";

const FILTERS = ["service", "q", "kind", "attr", "min", "max", "status", "from", "to", "last", "sort"];

export function TracesPage({ address }: { address: Address }): JSX.Element {
  const { query } = address;
  const filter = new URLSearchParams();
  for (const name of FILTERS) for (const value of query.getAll(name)) filter.append(name, value);
  const narrow = useNarrow();
  const [selected, select] = useState(-1);
  const [again, readAnew] = useState(0);
  const [isAtTop, atTop] = useState(true);
  const received = useChange((counts) => counts.spans.received, 1000);
  // New traces come by themselves while the top is in sight and nothing is selected: nothing moves under the pointer of one who reads.
  useEffect(() => {
    if (isAtTop && selected < 0) readAnew(received);
  }, [received, isAtTop, selected]);
  const pages = usePages<TraceRow>(`/traces?${filter}&points=1`, `${again} ${useClears()}`);
  useEffect(() => select(-1), [filter.toString()]);
  const open = (index: number) => {
    const row = pages.at(index);
    if (row) go(`/traces/${row.trace_id}`);
  };
  const longest = longestOf(pages.extra);
  return (
    <div class="page split">
      <h1 class="hidden">Traces</h1>
      <Toolbar address={address} />
      <Problem text={pages.error} />
      <Scatter
        points={pages.extra?.points ?? []}
        choose={(trace) => go(`/traces/${trace}`)}
        narrowTo={(from, to) => go(changed(address.path, query, { from: `${Math.floor(from)}000000`, to: `${Math.ceil(to)}000000`, last: null }))}
      />
      <div class="statusline">
        <span role="status">
          {pages.loading && pages.version === 0 ? "reading …" : plural(pages.total, "trace")}
          {filter.toString() === "" ? "" : " found"}
          {pages.extra?.points && pages.total > pages.extra.points.length ? `; the chart shows ${count(pages.extra.points.length)}` : ""}
        </span>
        {received !== again ? (
          <button type="button" class="news" onClick={() => (select(-1), readAnew(received))}>
            newer ones have come ↑
          </button>
        ) : null}
        <a class="button small" href={`/api/v1/traces/jsonl${filter.toString() === "" ? "" : `?${filter}`}`} download title="all traces found as OTLP JSON, one a line">
          Export these
        </a>
      </div>
      <List
        label="traces"
        total={pages.total}
        rowHeight={narrow ? 50 : 30}
        selected={selected}
        select={select}
        open={open}
        seen={pages.seen}
        atTop={atTop}
        rowKey={(index) => pages.at(index)?.trace_id ?? `place ${index}`}
        rowClass={(index) => `trace ${(pages.at(index)?.errors ?? 0) > 0 ? "failed" : ""}`}
        row={(index) => <Row row={pages.at(index)} longest={longest} />}
        empty={pages.loading ? "" : <NoTraces filtered={filter.toString() !== ""} />}
      />
    </div>
  );
}

/** The bars of a list are measured by the longest trace of the chart. */
function longestOf(answer: (Rows<TraceRow> & { points?: Point[] | null }) | null): number {
  let longest = 1;
  for (const point of answer?.points ?? []) longest = Math.max(longest, point[1]);
  for (const row of answer?.rows ?? []) longest = Math.max(longest, row.duration_ns);
  return longest;
}

function NoTraces({ filtered }: { filtered: boolean }): JSX.Element {
  return filtered ? (
    <Empty title="No trace has a span that satisfies all conditions">
      <p>
        <a href="/traces">all traces</a>
      </p>
    </Empty>
  ) : (
    <Empty title="No span has arrived">
      <p>Send OTLP over gRPC (usually port 4317) or HTTP (4318); new traces appear here by themselves.</p>
    </Empty>
  );
}

function Row({ row, longest }: { row: TraceRow | undefined; longest: number }): JSX.Element {
  if (row === undefined) return <span class="loading">…</span>;
  // By logarithm: a bar of a thousandth is still seen.
  const share = row.duration_ns <= 0 ? 0 : Math.max(0.02, 1 + Math.log10(row.duration_ns / longest) / 5);
  return (
    <>
      <time title={moment(row.start_ns)}>{clock(milliseconds(row.start_ns))}</time>
      <Service name={row.service} />
      <a class="name" href={`/traces/${row.trace_id}`} tabIndex={-1}>
        {row.name || "(no name)"}
        {row.has_root ? "" : " (its root is missing)"}
      </a>
      {row.errors > 0 ? <span class="errors-badge">{plural(row.errors, "error")}</span> : null}
      <span class="length">
        <i class={serviceClass(row.service)} style={{ width: `${share * 100}%` }} />
        <b>{duration(row.duration_ns)}</b>
      </span>
      <span class="counts">
        {plural(row.spans, "span")}
        {row.services.length > 1 ? `, ${row.services.length} services` : ""}
      </span>
    </>
  );
}

function Toolbar({ address }: { address: Address }): JSX.Element {
  const { query, path } = address;
  const services = useAnswer<{ services: string[] }>("/services").data?.services ?? [];
  const conditions = ["attr", "from", "to"].flatMap((name) => query.getAll(name).map((value) => [name, value] as const));
  const shown = (name: string, value: string) => (name === "attr" ? value : `${name} ${/^\d{16,}$/.test(value) ? clock(milliseconds(value)) : value}`);
  return (
    <div class="toolbar" role="search">
      <SearchField label="span name" name="q" address={address} placeholder="name of a span" search wide />
      <Choice label="service" name="service" address={address} options={[["", "all"], ...services.map((name) => [name, name] as [string, string])]} />
      <Choice label="status" name="status" address={address} options={[["", "any"], ["error", "with errors"], ["ok", "without"]]} />
      <SearchField label="at least" name="min" address={address} placeholder="100ms" />
      <SearchField label="at most" name="max" address={address} placeholder="2s" />
      <NewCondition address={address} />
      <Choice
        label="kind"
        name="kind"
        address={address}
        options={[["", "any"], ...["server", "client", "internal", "producer", "consumer"].map((kind) => [kind, kind] as [string, string])]}
      />
      <Choice label="time" name="last" address={address} options={TIMES} />
      <Choice label="order" name="sort" address={address} options={[["", "newest first"], ["slowest", "slowest first"]]} />
      {conditions.map(([name, value]) => (
        <button
          key={`${name} ${value}`}
          type="button"
          class="condition"
          aria-label={`take away the condition ${name} ${value}`}
          onClick={() => go(changed(path, query, { [name]: query.getAll(name).filter((one) => one !== value) }), true)}
        >
          {shown(name, value)} ✕
        </button>
      ))}
    </div>
  );
}
