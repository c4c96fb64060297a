// Charts over time: lines, and histograms as heat with their quantiles; exemplars are dots that are links.

import type { JSX, RefObject } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import type { Bound, Exemplar, Heat, Metric } from "./api";
import { clock, measured } from "./format";
import { shownTheme, useTheme } from "./ui";

/** The value of a variable of the style sheet in the theme that is shown. */
export function colour(name: string): string {
  const value = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const [, light, dark] = /^light-dark\(([^,]+),([^,]+)\)$/.exec(value) ?? [];
  return (shownTheme() === "dark" ? (dark ?? value) : (light ?? value)).trim();
}

export const LINE_COLOURS = 12;
export const lineColour = (at: number) => colour(`--line-${at % LINE_COLOURS}`);

export function grid(more: uPlot.Axis): uPlot.Axis {
  return {
    stroke: colour("--quiet"),
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { stroke: colour("--line"), width: 1 },
    font: "11px system-ui, sans-serif",
    ...more,
  };
}

/** The axis of time: the time of day on a clock of 24 hours, with as much of it as the steps need. */
export function timeAxis(): uPlot.Axis {
  return grid({
    space: 90,
    values: (_plot, splits) => {
      const step = splits.length > 1 ? splits[1]! - splits[0]! : 1;
      return splits.map((split) => clock(split * 1000, step < 1).replace(step >= 60 ? /:\d\d$/ : /$^/, ""));
    },
  });
}

/** The width of an element, as it changes. */
export function useSize(box: RefObject<HTMLDivElement | null>): number {
  const [width, show] = useState(0);
  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    const observer = new ResizeObserver(() => show(Math.floor(element.clientWidth)));
    observer.observe(element);
    show(Math.floor(element.clientWidth));
    return () => observer.disconnect();
  }, []);
  return width;
}

/** Dots over a plot, each a link to the trace in which the value was observed. */
function placeExemplars(plot: uPlot, exemplars: Exemplar[], unit: string, height: (value: number) => number | null): void {
  plot.over.querySelectorAll(".exemplar").forEach((dot) => dot.remove());
  const [from, to] = [plot.scales["x"]!.min!, plot.scales["x"]!.max!];
  for (const exemplar of exemplars.slice(0, 100)) {
    const y = height(exemplar.value);
    const time = exemplar.time_ms / 1000;
    if (y === null || time < from || time > to) continue;
    const top = Math.max(0, Math.min(plot.over.clientHeight, plot.valToPos(y, "y")));
    const dot = document.createElement(exemplar.is_held ? "a" : "span");
    dot.className = exemplar.is_held ? "exemplar" : "exemplar gone";
    const what = `${measured(exemplar.value, unit)} at ${clock(exemplar.time_ms)}`;
    dot.title = exemplar.is_held ? `${what}: open its trace` : exemplar.trace_id ? `${what}: its trace is not held` : `${what}: without a trace`;
    if (dot instanceof HTMLAnchorElement) {
      dot.href = `/traces/${exemplar.trace_id}${exemplar.span_id ? `/${exemplar.span_id}` : ""}`;
      dot.setAttribute("aria-label", dot.title);
    }
    dot.style.left = `${plot.valToPos(time, "x")}px`;
    dot.style.top = `${top}px`;
    plot.over.append(dot);
  }
}

const HEIGHT = 300;

/** Values or rates as lines. */
export function LineChart({ metric, hidden }: { metric: Metric; hidden: ReadonlySet<number> }): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const width = useSize(box);
  const theme = useTheme();
  const { lines } = metric.lines;
  const perSecond = metric.shown !== "values";
  const unit = metric.shown === "histogram" ? "" : metric.unit;
  useEffect(() => {
    const element = box.current;
    if (!element || width < 80) return;
    const plot = new uPlot(
      {
        width,
        height: metric.shown === "histogram" ? 180 : HEIGHT,
        legend: { show: false },
        cursor: { drag: { x: false, y: false }, points: { size: 6 } },
        scales: { x: { range: () => [metric.from_ms / 1000, metric.to_ms / 1000] }, y: { range: (_plot, low, high) => room(low, high) } },
        axes: [
          timeAxis(),
          grid({ size: 72, values: (_plot, splits) => splits.map((split) => measured(split, unit, perSecond)) }),
        ],
        series: [
          {},
          ...lines.map((_line, at) => ({ stroke: lineColour(at), width: 1.6, show: !hidden.has(at), points: { show: lines.length < 4 && metric.times_ms.length < 40, size: 4 } })),
        ],
        hooks: {
          draw: [(plot) => metric.shown === "histogram" || placeExemplars(plot, metric.exemplars, metric.unit, (value) => heightOnLine(metric, value))],
        },
      },
      [metric.times_ms.map((time) => time / 1000), ...lines.map((line) => line.values)] as uPlot.AlignedData,
      element,
    );
    return () => plot.destroy();
  }, [metric, width, theme, hidden]);
  return <div class="chart" ref={box} role="img" aria-label={`${metric.name} over time, ${lines.length} lines; their values are listed below`} />;
}

/** A counter's exemplar has the size of one increment, which is no rate: such dots lie at the bottom. */
function heightOnLine(metric: Metric, value: number): number {
  return metric.shown === "values" ? value : 0;
}

/** From zero, where that is near; a flat line in the middle. */
function room(low: number | null, high: number | null): [number, number] {
  let [from, to] = [low ?? 0, high ?? 1];
  if (from > 0 && from < to / 2) from = 0;
  if (from === to) return from === 0 ? [0, 1] : [Math.min(from * 0.9, from * 1.1), Math.max(from * 0.9, from * 1.1)];
  const more = (to - from) * 0.05;
  return [from === 0 ? 0 : from - more, to + more];
}

const finite = (bound: Bound, otherwise: number) => (typeof bound === "number" ? bound : otherwise);

/** Where a value lies on an axis whose steps are buckets; `null` above or below all of them. */
export function placeOf(heat: Heat, value: number): number | null {
  for (const [at, [lower, upper]] of heat.buckets.entries()) {
    const [from, to] = [finite(lower, -Infinity), finite(upper, Infinity)];
    if (value > to || (value <= from && at > 0)) continue;
    if (value < from) return null;
    if (!Number.isFinite(to) || !Number.isFinite(from)) return at + 0.5;
    return at + (value - from) / (to - from || 1);
  }
  return null;
}

export const QUANTILES: [name: string, text: string, colour: string][] = [
  ["p50", "median", "--quantile-50"],
  ["p90", "90 %", "--quantile-90"],
  ["p99", "99 %", "--quantile-99"],
];

/** Observations by bucket over time: the darker, the more; with the quantiles as lines. */
export function HeatChart({ metric, heat }: { metric: Metric; heat: Heat }): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const width = useSize(box);
  const theme = useTheme();
  useEffect(() => {
    const element = box.current;
    if (!element || width < 80 || heat.buckets.length === 0) return;
    const buckets = heat.buckets.length;
    const bound = (place: number) => {
      const bucket = heat.buckets[Math.min(place, buckets - 1)]!;
      const value = place < buckets ? bucket[0] : bucket[1];
      return typeof value === "number" ? measured(value, metric.unit) : value === "+Inf" ? "∞" : "-∞";
    };
    const place = (value: number | null) => (value === null ? null : (placeOf(heat, value) ?? (value > 0 ? buckets : 0)));
    const most = Math.max(1e-9, ...heat.counts.flatMap((counts) => counts ?? []));
    const step = metric.step_ms / 1000;
    const draw = (plot: uPlot) => {
      const { ctx } = plot;
      ctx.save();
      ctx.beginPath();
      ctx.rect(plot.bbox.left, plot.bbox.top, plot.bbox.width, plot.bbox.height);
      ctx.clip();
      ctx.fillStyle = colour("--heat");
      heat.counts.forEach((counts, at) => {
        if (counts === null) return;
        const to = metric.times_ms[at]! / 1000;
        const [left, right] = [plot.valToPos(to - step, "x", true), plot.valToPos(to, "x", true)];
        counts.forEach((count, bucket) => {
          if (count <= 0) return;
          const [top, bottom] = [plot.valToPos(bucket + 1, "y", true), plot.valToPos(bucket, "y", true)];
          // The eye tells few from none better than many from more.
          ctx.globalAlpha = 0.12 + 0.88 * Math.sqrt(count / most);
          ctx.fillRect(Math.round(left), Math.round(top), Math.round(right) - Math.round(left), Math.round(bottom) - Math.round(top));
        });
      });
      ctx.restore();
    };
    const every = Math.max(1, Math.ceil(buckets / 12));
    const plot = new uPlot(
      {
        width,
        height: HEIGHT,
        legend: { show: false },
        cursor: { drag: { x: false, y: false }, points: { size: 6 } },
        scales: { x: { range: () => [metric.from_ms / 1000, metric.to_ms / 1000] }, y: { range: () => [0, buckets] } },
        axes: [
          timeAxis(),
          grid({
            size: 72,
            splits: () => Array.from({ length: Math.floor(buckets / every) + 1 }, (_none, at) => at * every),
            values: (_plot, splits) => splits.map(bound),
          }),
        ],
        series: [{}, ...QUANTILES.map(([, , name]) => ({ stroke: colour(name), width: 2, points: { show: false } }))],
        hooks: {
          drawClear: [draw],
          draw: [(plot) => placeExemplars(plot, metric.exemplars, metric.unit, (value) => place(value))],
        },
      },
      [metric.times_ms.map((time) => time / 1000), ...QUANTILES.map(([name]) => heat.quantiles[name]!.map(place))] as uPlot.AlignedData,
      element,
    );
    return () => plot.destroy();
  }, [metric, heat, width, theme]);
  return <div class="chart" ref={box} role="img" aria-label={`${metric.name}: observations by bucket over time; quantiles are listed below`} />;
}
