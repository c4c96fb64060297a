// Where the nodes of the service map go: callers to the left of those they call, each column ordered so that few edges cross.

import type { ServiceMap } from "./api";

export const NODE = { width: 190, height: 46 };
const GAP = { x: 190, y: 34 };
const MARGIN = 24;

export interface Layout {
  nodes: { node: ServiceMap["nodes"][number]; x: number; y: number }[];
  edges: { edge: ServiceMap["edges"][number]; path: string; label: [number, number] }[];
  width: number;
  height: number;
}

/** The column of each node: one more than that of its furthest caller. Edges that lead back in a circle do not count. */
export function columns(ids: string[], edges: { from: string; to: string }[]): Map<string, number> {
  const callees = new Map<string, string[]>();
  for (const { from, to } of edges) if (from !== to) callees.set(from, [...(callees.get(from) ?? []), to]);
  const called = new Set(edges.filter(({ from, to }) => from !== to).map(({ to }) => to));
  const forward = new Map<string, string[]>();
  const state = new Map<string, "open" | "done">();
  // Depth first, those that nobody calls first: what is met again on the way is a circle.
  const order: string[] = [];
  for (const start of [...ids.filter((id) => !called.has(id)), ...ids]) {
    const path: { id: string; next: number }[] = state.has(start) ? [] : [{ id: start, next: 0 }];
    state.set(start, state.get(start) ?? "open");
    while (path.length > 0) {
      const visit = path.at(-1)!;
      const callee = callees.get(visit.id)?.[visit.next++];
      if (callee === undefined) {
        state.set(visit.id, "done");
        order.push(visit.id);
        path.pop();
      } else if (state.get(callee) !== "open") {
        forward.set(visit.id, [...(forward.get(visit.id) ?? []), callee]);
        if (!state.has(callee)) {
          state.set(callee, "open");
          path.push({ id: callee, next: 0 });
        }
      }
    }
  }
  const column = new Map(ids.map((id) => [id, 0]));
  for (const id of order.reverse())
    for (const callee of forward.get(id) ?? []) column.set(callee, Math.max(column.get(callee) ?? 0, column.get(id)! + 1));
  return column;
}

export function layout(map: ServiceMap): Layout {
  const ids = map.nodes.map((node) => node.id);
  const column = columns(ids, map.edges);
  const inColumns: string[][] = [];
  for (const id of ids) (inColumns[column.get(id)!] ??= []).push(id);
  const place = new Map<string, number>();
  inColumns.forEach((column) => column.forEach((id, at) => place.set(id, at)));
  // Twice over: each node to the middle of its callers.
  for (let turn = 0; turn < 2; turn++)
    for (const column of inColumns) {
      const middle = (id: string) => {
        const callers = map.edges.filter((edge) => edge.to === id && edge.from !== id).map((edge) => place.get(edge.from) ?? 0);
        return callers.length === 0 ? place.get(id)! : callers.reduce((sum, at) => sum + at, 0) / callers.length;
      };
      const middles = new Map(column.map((id) => [id, middle(id)]));
      column.sort((one, other) => middles.get(one)! - middles.get(other)!);
      column.forEach((id, at) => place.set(id, at));
    }
  const rows = Math.max(1, ...inColumns.map((column) => column.length));
  const height = MARGIN * 2 + rows * NODE.height + (rows - 1) * GAP.y + 20;
  const width = MARGIN * 2 + inColumns.length * NODE.width + Math.max(0, inColumns.length - 1) * GAP.x + 30;
  const at = new Map<string, [number, number]>();
  inColumns.forEach((column, number) => {
    const used = column.length * NODE.height + (column.length - 1) * GAP.y;
    column.forEach((id, row) =>
      at.set(id, [MARGIN + number * (NODE.width + GAP.x), (height - used) / 2 + row * (NODE.height + GAP.y)]),
    );
  });
  const nodes = map.nodes.map((node) => ({ node, x: at.get(node.id)![0], y: at.get(node.id)![1] }));
  const edges = map.edges
    .filter((edge) => at.has(edge.from) && at.has(edge.to))
    .map((edge) => ({ edge, ...curve(at.get(edge.from)!, at.get(edge.to)!) }));
  return { nodes, edges, width, height };
}

function curve([fromX, fromY]: [number, number], [toX, toY]: [number, number]): { path: string; label: [number, number] } {
  const middle = NODE.height / 2;
  if (toX > fromX) {
    const [x1, y1, x2, y2] = [fromX + NODE.width, fromY + middle, toX - 2, toY + middle];
    const bend = Math.min(90, (x2 - x1) / 2);
    return { path: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`, label: [(x1 + x2) / 2, (y1 + y2) / 2 + 4] };
  }
  // Back, or within a column: around below.
  const [x1, y1, x2, y2] = [fromX + NODE.width / 2, fromY + NODE.height, toX + NODE.width / 2, toY + NODE.height + 2];
  const depth = Math.max(y1, y2) + 26;
  return { path: `M${x1} ${y1}C${x1} ${depth} ${x2} ${depth} ${x2} ${y2}`, label: [(x1 + x2) / 2, depth - 4] };
}
