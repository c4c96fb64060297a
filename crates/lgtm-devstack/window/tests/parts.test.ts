// The parts that need no browser.

import assert from "node:assert/strict";
import test from "node:test";
import { changed } from "../src/address";
import { bytes, count, duration, measured, milliseconds, moment, percent, short } from "../src/format";
import { columns, layout } from "../src/layout";
import type { ServiceMap } from "../src/api";

test("lengths of time have the unit in which a person says them", () => {
  for (const [ns, text] of [[0, "0 ns"], [999, "999 ns"], [1500, "1.5 µs"], [12_340_000, "12.3 ms"], [1.5e9, "1.5 s"], [125e9, "2 m 5 s"], [7260e9, "2 h 1 m"]] as const)
    assert.equal(duration(ns), text);
  assert.equal(duration(null), "–");
});

test("moments keep the nanoseconds that a number cannot hold", () => {
  assert.equal(moment("1700000000123456789"), "2023-11-14T22:13:20.123456789Z");
  assert.equal(milliseconds("1700000000123456789"), 1700000000123.456);
});

test("numbers are short and say their unit", () => {
  assert.equal(short(1234), "1.23k");
  assert.equal(short(0.00123), "0.0012");
  assert.equal(count(123_456), "123,456");
  assert.equal(bytes(64 * 2 ** 20), "64 MiB");
  assert.equal(measured(0.25, "seconds"), "250 ms");
  assert.equal(measured(3, "", true), "3/s");
  assert.equal(percent(0.0001), "<0.1 %");
});

test("an address changes only in what is changed", () => {
  const query = new URLSearchParams("q=a b&level=error&level=warn");
  assert.equal(changed("/logs", query, { level: "info" }), "/logs?q=a+b&level=info");
  assert.equal(changed("/logs", query, { q: null, level: [] }), "/logs");
  assert.equal(changed("/logs", query, {}), "/logs?q=a+b&level=error&level=warn");
});

test("callers stand left of those they call, also where the calls go in a circle", () => {
  const edges = [["web", "shop"], ["shop", "stock"], ["web", "stock"], ["stock", "shop"], ["shop", "shop"]].map(([from, to]) => ({ from: from!, to: to! }));
  const column = columns(["stock", "shop", "web", "alone"], edges);
  assert.deepEqual([column.get("web"), column.get("shop"), column.get("stock"), column.get("alone")], [0, 1, 2, 0]);
});

test("no two nodes of a map lie on each other", () => {
  const ids = Array.from({ length: 60 }, (_none, at) => `n${at}`);
  const calls = { count: 1, errors: 0, latency_ns: null };
  const map: ServiceMap = {
    nodes: ids.map((id) => ({ id, name: id, what: "service", calls })),
    edges: ids.slice(1).map((to, at) => ({ from: ids[Math.floor(at / 3)]!, to, calls })),
    nodes_left_out: 0,
  };
  const { nodes, width, height } = layout(map);
  assert.equal(new Set(nodes.map(({ x, y }) => `${x} ${y}`)).size, 60);
  for (const { x, y } of nodes) assert.ok(x >= 0 && y >= 0 && x + 190 <= width && y + 46 <= height);
});
