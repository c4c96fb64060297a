// The service map: who calls whom, how often, how long it takes, how much of it fails; drawn, and as a table.

import type { JSX } from "preact";
import { useAnswer, type Calls, type ServiceMap } from "../api";
import type { Address } from "../address";
import { count, duration, percent, plural } from "../format";
import { layout, NODE } from "../layout";
import { useChange } from "../live";
import { Choice, Empty, Problem, Service, TIMES } from "../ui";

export function MapPage({ address }: { address: Address }): JSX.Element {
  const received = useChange((counts) => counts.spans.received, 3000);
  const last = address.query.get("last");
  const { data, error } = useAnswer<ServiceMap>(`/service-map${last ? `?last=${encodeURIComponent(last)}` : ""}`, received);
  return (
    <div class="page map">
      <h1 class="hidden">Service map</h1>
      <div class="toolbar">
        <Choice label="time" name="last" address={address} options={TIMES} />
      </div>
      <Problem text={error} />
      {data && data.nodes.length > 0 ? (
        <>
          <Drawing map={data} />
          {data.nodes_left_out > 0 ? <p class="hint">{plural(data.nodes_left_out, "node")} with fewer calls left out</p> : null}
          <Table map={data} />
        </>
      ) : data ? (
        <Empty title="No span in this time">
          <p>The map is drawn from spans: a service calls another where a span has a parent of the other.</p>
        </Empty>
      ) : null}
    </div>
  );
}

const edgeText = (calls: Calls) =>
  `${count(calls.count)} · ${duration(calls.latency_ns?.p50)}${calls.errors > 0 ? ` · ${percent(share(calls))} failed` : ""}`;

/** A text over its edge, on a ground of its own. */
function EdgeLabel({ place: [x, y], text }: { place: [number, number]; text: string }): JSX.Element {
  const width = text.length * 6.2 + 8;
  return (
    <>
      <rect x={x - width / 2} y={y - 12} width={width} height="16" rx="3" />
      <text x={x} y={y}>
        {text}
      </text>
    </>
  );
}

const share = (calls: { count: number; errors: number }) => (calls.count === 0 ? 0 : calls.errors / calls.count);

function Drawing({ map }: { map: ServiceMap }): JSX.Element {
  const { nodes, edges, width, height } = layout(map);
  return (
    <div class="scroll-x drawing">
      <svg viewBox={`0 0 ${width} ${height}`} width={width} height={height} role="group" aria-label="services and their calls; the table below has the same">
        <defs>
          <marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto-start-reverse">
            <path d="M0 0 8 4 0 8z" class="arrow" />
          </marker>
        </defs>
        {edges.map(({ edge, path, label }) => (
          <g key={`${edge.from} ${edge.to}`} class={`edge ${edge.calls.errors > 0 ? "failing" : ""}`}>
            <path d={path} marker-end="url(#arrow)" />
            <EdgeLabel place={label} text={edgeText(edge.calls)} />
          </g>
        ))}
        {nodes.map(({ node, x, y }) => (
          <a key={node.id} href={node.what === "service" ? `/traces?service=${encodeURIComponent(node.name)}` : `/traces?kind=client&attr=${encodeURIComponent(attributeOf(node))}`}>
            <g class={`node is-${node.what} ${node.calls.errors > 0 ? "failing" : ""}`} transform={`translate(${x} ${y})`}>
              <title>{node.name}</title>
              <rect width={NODE.width} height={NODE.height} rx={node.what === "service" ? 6 : 22} />
              <text x="12" y="19" class="node-name">
                {node.name.length > 22 ? `${node.name.slice(0, 21)}…` : node.name || "(no service)"}
              </text>
              <text x="12" y="36">
                {node.what === "service" ? plural(node.calls.count, "request") : `${node.what}, ${plural(node.calls.count, "call")}`}
                {node.calls.errors > 0 ? `, ${percent(share(node.calls))} failed` : ""}
              </text>
            </g>
          </a>
        ))}
      </svg>
    </div>
  );
}

/** The condition that finds the calls to something without spans of its own. */
function attributeOf(node: { name: string; what: string }): string {
  const name = node.what === "database" ? "db.system.name" : node.what === "queue" ? "messaging.system" : "server.address";
  return `${name}=${node.name}`;
}

function Table({ map }: { map: ServiceMap }): JSX.Element | null {
  if (map.edges.length === 0) return <p class="hint">No service has called another in this time.</p>;
  const name = (id: string) => map.nodes.find((node) => node.id === id)?.name ?? id;
  return (
    <section>
      <h2>Calls</h2>
      <div class="scroll-x">
        <table>
          <thead>
            <tr>
              <th scope="col">from</th>
              <th scope="col">to</th>
              <th scope="col" class="number">calls</th>
              <th scope="col" class="number">failed</th>
              <th scope="col" class="number">median</th>
              <th scope="col" class="number">90 %</th>
              <th scope="col" class="number">99 %</th>
            </tr>
          </thead>
          <tbody>
            {map.edges.map(({ from, to, calls }) => (
              <tr key={`${from} ${to}`}>
                <td>
                  <Service name={name(from)} />
                </td>
                <td>
                  <Service name={name(to)} />
                </td>
                <td class="number">{count(calls.count)}</td>
                <td class={`number ${calls.errors > 0 ? "is-error" : ""}`}>{percent(share(calls))}</td>
                <td class="number">{duration(calls.latency_ns?.p50)}</td>
                <td class="number">{duration(calls.latency_ns?.p90)}</td>
                <td class="number">{duration(calls.latency_ns?.p99)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
