// The overview: how each service does, what was lost and where, the newest errors.

import type { JSX } from "preact";
import { useAnswer, type Overview, type ServiceSummary, type SignalCounts } from "../api";
import type { Address } from "../address";
import { bytes, clock, count, duration, milliseconds, percent, plural, short } from "../format";
import { useChange } from "../live";
import { Choice, Empty, Problem, Service, TIMES } from "../ui";

export function OverviewPage({ address }: { address: Address }): JSX.Element {
  const arrivals = useChange((counts) => counts.logs.received + counts.spans.received + counts.samples.received, 2000);
  const last = address.query.get("last") ?? "15m";
  const { data, error } = useAnswer<Overview>(`/overview${last === "all" ? "" : `?last=${encodeURIComponent(last)}`}`, arrivals);
  const times = TIMES.map(([value, text]) => (value === "" ? ["all", text] : value === "15m" ? ["", text] : [value, text]) as [string, string]);
  return (
    <div class="page overview">
      <h1 class="hidden">Overview</h1>
      <div class="toolbar">
        <Choice label="time" name="last" address={address} options={times} />
      </div>
      <Problem text={error} />
      {data ? (
        <>
          <Services overview={data} />
          <div class="columns">
            <Errors overview={data} />
            <Losses overview={data} />
          </div>
          <Held overview={data} />
        </>
      ) : null}
    </div>
  );
}

function Services({ overview }: { overview: Overview }): JSX.Element {
  const { services } = overview;
  if (services.length === 0)
    return (
      <Empty title="Nothing has arrived in this time">
        <p>Point a program at this stack: OTLP at ports 4317 and 4318, Loki at 3100, remote write at 9009, or where its start said.</p>
      </Empty>
    );
  return (
    <section>
      <h2>Services</h2>
      <div class="scroll-x">
        <table class="services">
          <thead>
            <tr>
              <th scope="col">service</th>
              <th scope="col" class="number">requests/s</th>
              <th scope="col" class="spark">over time</th>
              <th scope="col" class="number">errors</th>
              <th scope="col" class="number">median</th>
              <th scope="col" class="number">90 %</th>
              <th scope="col" class="number">99 %</th>
              <th scope="col" class="number">lines</th>
              <th scope="col" class="number">error lines</th>
            </tr>
          </thead>
          <tbody>
            {services.map((service) => (
              <ServiceRow key={service.name} service={service} seconds={overview.part_seconds} />
            ))}
          </tbody>
        </table>
      </div>
      {overview.services_left_out > 0 ? <p class="note">{plural(overview.services_left_out, "service")} with fewer requests left out</p> : null}
    </section>
  );
}

function ServiceRow({ service, seconds }: { service: ServiceSummary; seconds: number }): JSX.Element {
  const name = encodeURIComponent(service.name);
  const share = service.requests === 0 ? 0 : service.errors / service.requests;
  return (
    <tr>
      <th scope="row">
        <a href={`/traces?service=${name}`}>
          <Service name={service.name} />
        </a>
      </th>
      <td class="number" title={plural(service.requests, "request")}>{service.requests === 0 ? "–" : short(service.rate)}</td>
      <td class="spark">
        <Spark service={service} seconds={seconds} />
      </td>
      <td class={`number ${share > 0 ? "is-error" : ""}`}>
        {service.errors > 0 ? <a href={`/traces?service=${name}&status=error`}>{percent(share)}</a> : service.requests === 0 ? "–" : "0"}
      </td>
      <td class="number">{duration(service.latency_ns?.p50)}</td>
      <td class="number">{duration(service.latency_ns?.p90)}</td>
      <td class="number">{duration(service.latency_ns?.p99)}</td>
      <td class="number">{service.lines > 0 ? <a href={`/logs?service=${name}`}>{count(service.lines)}</a> : "0"}</td>
      <td class={`number ${service.error_lines > 0 ? "is-error" : ""}`}>
        {service.error_lines > 0 ? <a href={`/logs?service=${name}&level=error&level=fatal`}>{count(service.error_lines)}</a> : "0"}
      </td>
    </tr>
  );
}

function Spark({ service, seconds }: { service: ServiceSummary; seconds: number }): JSX.Element | null {
  const { parts } = service;
  if (parts.length === 0) return null;
  const most = Math.max(1, ...parts.map(([requests]) => requests));
  const bar = (value: number) => (value / most) * 24;
  return (
    <svg viewBox={`0 0 ${parts.length * 3} 24`} width={parts.length * 3} height="24" role="img" aria-label={`at most ${short(most / seconds)} requests/s`}>
      {parts.map(([requests, errors], at) => (
        <g key={at}>
          <rect class="spark-all" x={at * 3} y={24 - bar(requests)} width="2" height={bar(requests)} />
          <rect class="spark-errors" x={at * 3} y={24 - bar(errors)} width="2" height={bar(errors)} />
        </g>
      ))}
    </svg>
  );
}

function Errors({ overview }: { overview: Overview }): JSX.Element {
  return (
    <section>
      <h2>Newest errors</h2>
      {overview.newest_errors.length === 0 ? <p class="note">no line of level error in this time</p> : null}
      <ul class="errors">
        {overview.newest_errors.map((row) => (
          <li key={row.id}>
            <a href={`/logs/${row.id}?level=error&level=fatal`}>
              <time>{clock(milliseconds(row.time_ns), false)}</time> <Service name={row.service} /> <span class="message">{row.message}</span>
            </a>
            {row.trace_id ? <a class="chip" href={`/traces/${row.trace_id}${row.span_id ? `/${row.span_id}` : ""}`}>trace</a> : null}
          </li>
        ))}
      </ul>
    </section>
  );
}

function Losses({ overview }: { overview: Overview }): JSX.Element {
  const { dropped, store } = overview;
  const rejected = store.logs.rejected + store.spans.rejected + store.samples.rejected + store.exemplars.rejected + store.histograms.rejected;
  const evicted = store.logs.evicted + store.spans.evicted + store.samples.evicted + store.exemplars.evicted + store.histograms.evicted;
  return (
    <section>
      <h2>Lost</h2>
      {dropped.length === 0 ? <p class="note">no program says that it has dropped anything</p> : (
        <div class="scroll-x">
          <table>
            <thead>
              <tr>
                <th scope="col">who says so</th>
                <th scope="col">what</th>
                <th scope="col">to</th>
                <th scope="col">why</th>
                <th scope="col" class="number">how many</th>
              </tr>
            </thead>
            <tbody>
              {dropped.map((loss) => (
                <tr key={`${loss.metric} ${loss.job} ${loss.exporter} ${loss.reason}`}>
                  <td>{loss.job || "–"}</td>
                  <td>
                    <a href={`/metrics/${encodeURIComponent(loss.metric)}`}>{loss.metric}</a>
                  </td>
                  <td>{loss.exporter || "–"}</td>
                  <td>{loss.reason || "–"}</td>
                  <td class="number is-error">{count(loss.value)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {rejected > 0 ? <p class="is-error">{plural(rejected, "item")} refused here: they were not valid; what was wrong was answered to the sender</p> : null}
      {evicted > 0 ? <p class="is-warning">{plural(evicted, "item")} evicted here to stay within memory, in the order in which they arrived: the views show what arrived since, by its sender or by an import</p> : null}
    </section>
  );
}

function Held({ overview }: { overview: Overview }): JSX.Element {
  const { store } = overview;
  const signals: [string, SignalCounts][] = [
    ["log lines", store.logs],
    ["spans", store.spans],
    ["samples", store.samples],
    ["exemplars", store.exemplars],
    ["native histograms", store.histograms],
  ];
  return (
    <section>
      <h2>What the stack holds</h2>
      <div class="scroll-x">
        <table>
          <thead>
            <tr>
              <th scope="col">signal</th>
              <th scope="col" class="number">received</th>
              <th scope="col" class="number">held</th>
              <th scope="col" class="number">evicted</th>
              <th scope="col" class="number">repeated</th>
              <th scope="col" class="number">refused</th>
              <th scope="col">memory</th>
            </tr>
          </thead>
          <tbody>
            {signals.map(([name, counts]) => (
              <tr key={name}>
                <th scope="row">{name}</th>
                <td class="number">{count(counts.received)}</td>
                <td class="number">{count(counts.held)}</td>
                <td class={`number ${counts.evicted > 0 ? "is-warning" : ""}`}>{count(counts.evicted)}</td>
                <td class="number">{count(counts.duplicates)}</td>
                <td class={`number ${counts.rejected > 0 ? "is-error" : ""}`}>{count(counts.rejected)}</td>
                <td>
                  {counts !== store.exemplars && counts !== store.histograms ? (
                    <>
                      <meter min={0} max={counts.limit_bytes} value={counts.held_bytes} aria-label={`memory of ${name}`} /> {bytes(counts.held_bytes)} of{" "}
                      {bytes(counts.limit_bytes)}
                    </>
                  ) : (
                    "with the samples"
                  )}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p class="note">{plural(store.series, "series", "series")}; memory is an estimate</p>
    </section>
  );
}
