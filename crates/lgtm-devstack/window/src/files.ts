// Files on their way into the store: chosen on the page, or dropped anywhere on the window. One after the other, whatever view is shown.

import { useEffect, useState } from "preact/hooks";
import { go } from "./address";

export interface Counts {
  taken: number;
  repeated: number;
  refused: number;
  evicted: number;
}

export const KINDS = ["spans", "logs", "samples", "exemplars", "histograms"] as const;

export type Outcome = Record<(typeof KINDS)[number], Counts> & {
  documents: number;
  refused_lines: number;
  problems: { line: number; reason: string }[];
  traces: string[];
  has_more_traces: boolean;
  logs_from_ns: string | null;
  logs_to_ns: string | null;
};

export interface Upload {
  id: number;
  name: string;
  size: number;
  state: "waiting" | "sending" | "done" | "failed";
  outcome: Outcome | null;
  error: string | null;
}

let uploads: Upload[] = [];
let dropping = false;
let working = false;
const queue: [id: number, file: File][] = [];
const listeners = new Set<() => void>();

function tell(): void {
  listeners.forEach((listener) => listener());
}

function change(id: number, changes: Partial<Upload>): void {
  uploads = uploads.map((upload) => (upload.id === id ? { ...upload, ...changes } : upload));
  tell();
}

/** Imports files, the newest shown first. */
export function take(files: Iterable<File>): void {
  for (const file of files) {
    const id = uploads.length;
    queue.push([id, file]);
    uploads = [{ id, name: file.name, size: file.size, state: "waiting", outcome: null, error: null }, ...uploads];
  }
  tell();
  if (!working) void work();
}

async function work(): Promise<void> {
  working = true;
  for (let next = queue.shift(); next; next = queue.shift()) {
    const [id, file] = next;
    change(id, { state: "sending" });
    try {
      change(id, { state: "done", outcome: await send(file) });
    } catch (error) {
      change(id, { state: "failed", error: error instanceof Error ? error.message : String(error) });
    }
  }
  working = false;
}

async function send(file: File): Promise<Outcome> {
  // Sent from where it is: a large file is never in the page's memory.
  const sent = fetch("/api/v1/import", { method: "POST", headers: { "content-type": "application/json" }, body: file });
  const response = await sent.catch(() => {
    throw new Error("it could not be sent: it is a folder, it has changed since it was chosen, or the stack is gone");
  });
  const answer: unknown = await response.json();
  if (!response.ok) throw new Error((answer as { error?: string }).error ?? `status ${response.status}`);
  return answer as Outcome;
}

const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;

/** Has files that are dropped anywhere imported, and shows what becomes of them. */
export function takeDrops(): void {
  const show = (is: boolean) => {
    dropping = is;
    tell();
  };
  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    if (event.dataTransfer) event.dataTransfer.dropEffect = "copy";
    if (!dropping) show(true);
  });
  document.addEventListener("dragleave", (event) => {
    // Only where the pointer leaves the window is there nothing that it comes to.
    if (event.relatedTarget === null) show(false);
  });
  document.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    show(false);
    take(event.dataTransfer?.files ?? []);
    go("/import");
  });
}

function useShared<T>(read: () => T): T {
  const [state, show] = useState(read);
  useEffect(() => {
    const listener = () => show(read);
    listeners.add(listener);
    listener();
    return () => void listeners.delete(listener);
  }, []);
  return state;
}

export const useUploads = (): Upload[] => useShared(() => uploads);
export const useDropping = (): boolean => useShared(() => dropping);
