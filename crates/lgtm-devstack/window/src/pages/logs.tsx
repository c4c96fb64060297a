// Log lines: searched, filtered, followed as they come, and one of them whole.

import type { JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { useAnswer, type Attribute, type LogLine, type LogRow } from "../api";
import { changed, go, type Address } from "../address";
import { clock, count, milliseconds, moment, plural } from "../format";
import { useKeys } from "../keyboard";
import { List, usePages } from "../list";
import { follow, useClears } from "../live";
import { Attributes, Choice, Copy, Empty, Problem, SearchField, Service, TIMES, useNarrow } from "../ui";

const LEVELS = ["fatal", "error", "warn", "info", "debug", "trace", "unknown"];
const FILTERS = ["service", "level", "q", "regex", "attr", "trace", "span", "from", "to", "last"];
/** Lines that wait to be shown are kept up to this number; beyond it the list is read anew. */
const MAX_NEW = 2000;
/** What is older than the newest line by more than this is not merely late: it was imported, and has its place further down. */
const MAX_LATE_NS = 60_000_000_000n;

/** The parameters of an address that the API knows as filters. */
function filterOf(query: URLSearchParams): string {
  const filter = new URLSearchParams();
  for (const name of FILTERS) for (const value of query.getAll(name)) filter.append(name, value);
  return filter.toString();
}

export function LogsPage({ address, entry }: { address: Address; entry: string | null }): JSX.Element {
  const { query } = address;
  const filter = filterOf(query);
  const isLive = query.get("live") !== "off" && !query.has("to");
  const narrow = useNarrow();
  const [again, readAnew] = useState(0);
  const pages = usePages<LogRow>(`/logs?${filter}`, `${again} ${useClears()}`);
  // What came since the list was read, the newest first; and what waits because one reads further down.
  const [head, setHead] = useState<LogRow[]>([]);
  const [waiting, wait] = useState<LogRow[]>([]);
  const [missed, miss] = useState(0);
  const [jumps, jump] = useState(0);
  const isAtTop = useRef(true);
  const newestTime = useRef<string | null>(null);
  const [selected, select] = useState(-1);
  useEffect(() => {
    setHead([]);
    wait([]);
    miss(0);
  }, [pages.version]);
  useEffect(() => select(-1), [filter]);
  const until = pages.until === null ? null : Number(pages.until);
  useEffect(() => {
    if (!isLive || until === null) return;
    // The lines that came between the answer and the connection are told too.
    follow({
      query: filter,
      after: until,
      rows: (rows) => {
        const newest = rows.filter((row) => row.id >= until).reverse();
        const top = newestTime.current;
        if (isAtTop.current && top !== null && newest.some((row) => BigInt(row.time_ns) < BigInt(top) - MAX_LATE_NS)) readAnew((number) => number + 1);
        else if (isAtTop.current) {
          setHead((before) => [...newest, ...before]);
          select((at) => (at < 0 ? at : at + newest.length));
        } else wait((before) => [...newest, ...before]);
      },
      missed: (lines) => miss((before) => before + lines),
    });
    return () => follow(null);
  }, [filter, isLive, pages.version]);
  useEffect(() => {
    if (head.length + waiting.length > MAX_NEW && isAtTop.current) readAnew((number) => number + 1);
  }, [head.length, waiting.length]);
  const show = () => {
    const top = newestTime.current;
    if (waiting.length > MAX_NEW || (top !== null && waiting.some((row) => BigInt(row.time_ns) < BigInt(top) - MAX_LATE_NS))) readAnew((number) => number + 1);
    else {
      setHead((before) => [...waiting, ...before]);
      wait([]);
    }
    select(-1);
    jump((number) => number + 1);
  };
  const total = pages.total + head.length;
  const at = (index: number) => (index < head.length ? head[index] : pages.at(index - head.length));
  newestTime.current = at(0)?.time_ns ?? null;
  const open = (index: number) => {
    const row = at(index);
    if (row) go(changed(`/logs/${row.id}`, query, {}), entry !== null);
  };
  useKeys({ back: () => entry !== null && go(changed("/logs", query, {})) });
  const shownIndex = useMemo(() => {
    if (entry === null) return selected;
    for (let index = 0; index < Math.min(total, head.length + 200); index++) if (String(at(index)?.id) === entry) return index;
    return selected;
  }, [entry, head, pages.version, selected]);
  return (
    <div class={`page split ${entry === null ? "" : "has-details"}`}>
      <h1 class="hidden">Logs</h1>
      <Toolbar address={address} isLive={isLive} />
      <Problem text={pages.error} />
      <div class="statusline">
        <span role="status">
          {pages.loading && pages.version === 0 ? "reading …" : plural(total, "line")}
          {filter === "" ? "" : " found"}
        </span>
        {waiting.length > 0 ? (
          <button type="button" class="news" onClick={show}>
            {plural(waiting.length, "new line")} ↑
          </button>
        ) : null}
        {missed > 0 ? (
          <button type="button" class="news is-warning" onClick={() => readAnew((number) => number + 1)}>
            {plural(missed, "line")} came too fast to be followed: read anew
          </button>
        ) : null}
        <a class="button small" href={`/api/v1/logs/jsonl${filter === "" ? "" : `?${filter}`}`} download title="all lines found, oldest first, one JSON object a line">
          Export JSON lines
        </a>
      </div>
      <div class="panes">
        <List
          label="log lines"
          total={total}
          rowHeight={narrow ? 46 : 26}
          selected={shownIndex}
          select={(index) => {
            select(index);
            if (entry !== null) open(index);
          }}
          open={open}
          seen={(first, last) => pages.seen(Math.max(0, first - head.length), Math.max(0, last - head.length))}
          atTop={(is) => {
            isAtTop.current = is;
            if (is && waiting.length > 0) show();
          }}
          toTop={jumps}
          rowKey={(index) => at(index)?.id ?? `place ${index}`}
          rowClass={(index) => `log level-${at(index)?.level ?? "none"}`}
          row={(index) => <Row row={at(index)} />}
          empty={pages.loading ? "" : <NoLines filter={filter} />}
        />
        {entry === null ? null : <Details entry={entry} address={address} />}
      </div>
    </div>
  );
}

function NoLines({ filter }: { filter: string }): JSX.Element {
  return filter === "" ? (
    <Empty title="No log line has arrived">
      <p>
        Push to Loki’s <code>/loki/api/v1/push</code>, or send OTLP logs; new lines appear here by themselves.
      </p>
    </Empty>
  ) : (
    <Empty title="No line satisfies all conditions">
      <p>
        <a href="/logs">all lines</a>
      </p>
    </Empty>
  );
}

function Row({ row }: { row: LogRow | undefined }): JSX.Element {
  if (row === undefined) return <span class="loading">…</span>;
  const ms = milliseconds(row.time_ns);
  return (
    <>
      <time title={moment(row.time_ns)}>{clock(ms)}</time>
      <span class="level">{row.level}</span>
      <Service name={row.service} />
      <span class="message">
        {row.message}
        {row.cut ? "…" : ""}
      </span>
      {row.trace_id ? (
        <a class="chip" href={`/traces/${row.trace_id}${row.span_id ? `/${row.span_id}` : ""}`} tabIndex={-1}>
          trace
        </a>
      ) : null}
    </>
  );
}

function Toolbar({ address, isLive }: { address: Address; isLive: boolean }): JSX.Element {
  const { query, path } = address;
  const services = useAnswer<{ services: string[] }>("/services").data?.services ?? [];
  const levels = query.getAll("level");
  const toggle = (level: string) =>
    go(changed(path, query, { level: levels.includes(level) ? levels.filter((one) => one !== level) : [...levels, level] }), true);
  const conditions = ["attr", "trace", "span", "from", "to"].flatMap((name) => query.getAll(name).map((value) => [name, value] as const));
  return (
    <div class="toolbar" role="search">
      <SearchField label="text" name="q" address={address} placeholder="text in the line" search wide />
      <SearchField label="regular expression" name="regex" address={address} placeholder="order=\d+" />
      <Choice label="service" name="service" address={address} options={[["", "all"], ...services.map((name) => [name, name] as [string, string])]} />
      <Choice label="time" name="last" address={address} options={TIMES} />
      <NewCondition address={address} />
      <fieldset class="levels">
        <legend>levels</legend>
        {LEVELS.map((level) => (
          <button key={level} type="button" class={`level-${level}`} aria-pressed={levels.includes(level)} onClick={() => toggle(level)}>
            {level}
          </button>
        ))}
      </fieldset>
      <button
        type="button"
        class="live"
        aria-pressed={isLive}
        title="new lines appear by themselves"
        onClick={() => go(changed(path, query, { live: isLive ? "off" : null, to: null }), true)}
      >
        {isLive ? "● live" : "○ live"}
      </button>
      {conditions.map(([name, value]) => (
        <button
          key={`${name} ${value}`}
          type="button"
          class="condition"
          aria-label={`take away the condition ${name} ${value}`}
          onClick={() => go(changed(path, query, { [name]: query.getAll(name).filter((one) => one !== value) }), true)}
        >
          {name === "attr" ? value : `${name}=${value.length > 20 ? `${value.slice(0, 8)}…` : value}`} ✕
        </button>
      ))}
    </div>
  );
}

/** A field for one more condition on a field or attribute. */
export function NewCondition({ address }: { address: Address }): JSX.Element {
  const [text, write] = useState("");
  return (
    <label class="field">
      <span class="field-label">attribute</span>
      <input
        type="text"
        name="attr"
        value={text}
        placeholder="name=value"
        title="name=value, name!=value, name=~regex, name!~regex; enter adds it"
        autocomplete="off"
        spellcheck={false}
        onInput={(event) => write(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key !== "Enter" || text.trim() === "") return;
          go(changed(address.path, address.query, { attr: [...address.query.getAll("attr"), text.trim()] }), true);
          write("");
        }}
      />
    </label>
  );
}

function Details({ entry, address }: { entry: string; address: Address }): JSX.Element {
  const { data, error } = useAnswer<LogLine>(`/logs/${encodeURIComponent(entry)}`);
  const close = changed("/logs", address.query, {});
  const search = (name: string, value: string) =>
    changed("/logs", address.query, { attr: [...address.query.getAll("attr").filter((one) => one !== `${name}=${value}`), `${name}=${value}`] });
  const pairs = (set: Record<string, unknown>): Attribute[] =>
    Object.entries(set).map(([name, value]) => [name, typeof value === "string" ? value : JSON.stringify(value), typeof value]);
  return (
    <aside class="details" aria-label="log line">
      <div class="details-head">
        <h2>Line {count(Number(entry))}</h2>
        <a class="close" href={close} aria-label="close the details">
          ✕
        </a>
      </div>
      <Problem text={error} />
      {data ? (
        <>
          <p class="facts">
            <span class={`level level-${data.level}`}>{data.level}</span> <Service name={data.service} /> <time>{moment(data.time_ns)}</time>
          </p>
          <pre class="text">{data.message}</pre>
          <p class="actions">
            {data.trace_id ? (
              <>
                <a class="button" href={`/traces/${data.trace_id}${data.span_id ? `/${data.span_id}` : ""}`}>
                  its trace
                </a>
                <a class="button" href={`/logs?trace=${data.trace_id}`}>
                  lines of this trace
                </a>
              </>
            ) : null}
            <a class="button" href={around(data.time_ns)}>
              lines around it
            </a>
            <Copy text={data.line} what="line" />
          </p>
          {data.fields ? <Attributes title="Fields" attributes={pairs(data.fields)} search={search} /> : null}
          <Attributes title="Metadata" attributes={pairs(data.metadata)} search={search} />
          <Attributes title="Labels" attributes={pairs(data.labels)} search={search} />
          {data.fields ? (
            <details>
              <summary>the line as it came</summary>
              <pre class="text">{data.line}</pre>
            </details>
          ) : null}
        </>
      ) : null}
    </aside>
  );
}

/** The lines of five seconds before and after, of all services. */
function around(time: string): string {
  const ns = BigInt(time);
  return `/logs?from=${ns - 5_000_000_000n}&to=${ns + 5_000_000_000n}`;
}
