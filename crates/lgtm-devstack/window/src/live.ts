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
// The number of the next line: who looks away goes on there.
let place = "";
const listeners = new Set<() => void>();

function tell(): void {
  listeners.forEach((listener) => listener());
}

function open(): void {
  source?.close();
  source = null;
  if (document.hidden) return;
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
    counts = JSON.parse((event as MessageEvent<string>).data) as StoreCounts;
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
}

export function useLive(): Live {
  const [state, show] = useState<Live>({ counts, connected });
  useEffect(() => {
    const listener = () => show({ counts, connected });
    listeners.add(listener);
    listener();
    return () => void listeners.delete(listener);
  }, []);
  return state;
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
