// What the stack says as it happens, over one connection. It is closed while nobody looks: a browser has six connections to a server, and a tab
// in the background would hold one of them.

import { useEffect, useState } from "preact/hooks";
import type { LogRow, StoreCounts } from "./api";

export interface Follower {
  /** The filter of the lines. */
  query: string;
  /** The number of the first line that is told. */
  after: number;
  rows(rows: LogRow[]): void;
  missed(lines: number): void;
}

let source: EventSource | null = null;
let follower: Follower | null = null;
let counts: StoreCounts | null = null;
let connected = false;
// Everything stands still until one goes on.
let paused = false;
// How often the store was emptied since the page was opened.
let clears = 0;
// The number of the next line: who looks away goes on there.
let place = "";
const listeners = new Set<() => void>();

function tell(): void {
  listeners.forEach((listener) => listener());
}

function open(): void {
  source?.close();
  source = null;
  if (document.hidden || paused) return;
  const query = follower === null ? "" : `?logs=1&after=${place}&${follower.query}`;
  const next = new EventSource(`/api/v1/live${query}`);
  source = next;
  next.onopen = () => {
    connected = true;
    tell();
  };
  next.onerror = () => {
    connected = false;
    tell();
  };
  next.addEventListener("counts", (event) => {
    place = (event as MessageEvent).lastEventId;
    const now = JSON.parse((event as MessageEvent<string>).data) as StoreCounts;
    if (counts !== null && wasEmptied(counts, now)) clears++;
    counts = now;
    connected = true;
    tell();
  });
  next.addEventListener("logs", (event) => {
    follower?.rows((JSON.parse((event as MessageEvent<string>).data) as { rows: LogRow[] }).rows);
  });
  next.addEventListener("missed", (event) => {
    follower?.missed((JSON.parse((event as MessageEvent<string>).data) as { lines: number }).lines);
  });
}

/** Counts begin at zero again when the store was emptied, and when it is another stack that answers at the same address. */
export function wasEmptied(before: StoreCounts, now: StoreCounts): boolean {
  const signals = ["logs", "spans", "samples", "exemplars", "histograms"] as const;
  return signals.some((signal) => now[signal].received < before[signal].received);
}

/** Stops what comes by itself, on every page, or goes on where it was. */
export function pause(on: boolean): void {
  paused = on;
  open();
  tell();
}

export function isPaused(): boolean {
  return paused;
}

export function begin(): void {
  document.addEventListener("visibilitychange", open);
  open();
}

/** Has lines told to `next`, or to nobody. */
export function follow(next: Follower | null): void {
  if (follower === null && next === null) return;
  follower = next;
  place = String(next?.after ?? "");
  open();
}

export interface Live {
  counts: StoreCounts | null;
  connected: boolean;
  paused: boolean;
}

export function useLive(): Live {
  const [state, show] = useState<Live>({ counts, connected, paused });
  useEffect(() => {
    const listener = () => show({ counts, connected, paused });
    listeners.add(listener);
    listener();
    return () => void listeners.delete(listener);
  }, []);
  return state;
}

/** A number that changes when the store was emptied: what a page has is gone. */
export function useClears(): number {
  const [known, show] = useState(clears);
  useEffect(() => {
    const listener = () => show(clears);
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }, []);
  return known;
}

/** A number that changes when the store has, at most every `pace` milliseconds. */
export function useChange(of: (counts: StoreCounts) => number, pace: number): number {
  const { counts: now } = useLive();
  const present = now === null ? 0 : of(now);
  const [shown, show] = useState(present);
  useEffect(() => {
    if (present === shown) return;
    const timer = setTimeout(() => show(present), shown === 0 ? 0 : pace);
    return () => clearTimeout(timer);
  }, [present, shown, pace]);
  return shown;
}
