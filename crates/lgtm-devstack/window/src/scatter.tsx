// Traces as points: when each began, and how long it took, by logarithm. A click opens the nearest; a drag narrows the time.

import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import type { Point } from "./api";
import { duration } from "./format";
import { colour, grid, timeAxis, useSize } from "./chart";
import { useTheme } from "./ui";

/** The next of 1, 2, 5, 10, … below a length. */
function below(length: number): number {
  const ten = 10 ** Math.floor(Math.log10(length));
  return length > 5.5 * ten ? 5 * ten : length > 2.2 * ten ? 2 * ten : length > 1.1 * ten ? ten : ten / 2;
}

export function Scatter(props: { points: Point[]; choose(trace: string): void; narrowTo(fromMs: number, toMs: number): void }): JSX.Element {
  const { points } = props;
  const box = useRef<HTMLDivElement>(null);
  const width = useSize(box);
  const theme = useTheme();
  const act = useRef(props);
  act.current = props;
  useEffect(() => {
    const element = box.current;
    if (!element || width < 80 || points.length === 0) return;
    const sorted = [...points].sort((one, other) => one[0] - other[0]);
    const times = sorted.map(([time]) => time / 1000);
    const of = (failed: boolean) => sorted.map(([, length, errors]) => (errors > 0 === failed ? Math.max(length, 1) / 1e9 : null));
    const dots = (name: string, size: number): uPlot.Series => ({
      paths: () => null,
      // Half through: where many lie on each other it is darker.
      points: { show: true, size, fill: `${colour(name)}90`, stroke: colour(name), width: 0 },
    });
    const first = times[0]!;
    const last = times.at(-1)!;
    const room = Math.max((last - first) * 0.02, 0.5);
    const plot = new uPlot(
      {
        width,
        height: 140,
        legend: { show: false },
        cursor: { drag: { x: true, y: false, dist: 8, setScale: false }, points: { show: false }, y: false },
        scales: { x: { range: () => [first - room, last + room] }, y: { distr: 3, log: 10, range: (_plot, low, high) => [below(low), below(high * 5)] } },
        axes: [
          timeAxis(),
          grid({ size: 64, values: (_plot, splits) => splits.map((split) => (split === null ? "" : duration(split * 1e9))) }),
        ],
        series: [{}, dots("--accent", 5), dots("--error", 6)],
        hooks: {
          setSelect: [
            (plot) => {
              const { left, width: size } = plot.select;
              if (size > 8) act.current.narrowTo(plot.posToVal(left, "x") * 1000, plot.posToVal(left + size, "x") * 1000);
            },
          ],
        },
      },
      [times, of(false), of(true)] as uPlot.AlignedData,
      element,
    );
    const nearest = (event: MouseEvent) => {
      const bounds = plot.over.getBoundingClientRect();
      const [x, y] = [event.clientX - bounds.left, event.clientY - bounds.top];
      let best: [distance: number, trace: string] = [20, ""];
      for (const [time, length, , trace] of sorted) {
        const distance = Math.hypot(plot.valToPos(time / 1000, "x") - x, plot.valToPos(Math.max(length, 1) / 1e9, "y") - y);
        if (distance < best[0]) best = [distance, trace];
      }
      return best[1];
    };
    plot.over.addEventListener("click", (event) => {
      const trace = nearest(event);
      if (trace !== "") act.current.choose(trace);
    });
    plot.over.addEventListener("mousemove", (event) => {
      plot.over.classList.toggle("on-point", points.length < 2000 && nearest(event) !== "");
    });
    return () => plot.destroy();
  }, [points, width, theme]);
  return (
    <div
      class="scatter"
      ref={box}
      role="img"
      aria-label={`${points.length} traces by beginning and length; the list below has the same`}
    />
  );
}
