// The address bar is the state of the page: which view, which item, which filters. A link is all that is needed to show it to somebody else.

import { useEffect, useState } from "preact/hooks";

export interface Address {
  path: string;
  query: URLSearchParams;
}

type Listener = () => void;
const listeners = new Set<Listener>();

function present(): Address {
  return { path: location.pathname, query: new URLSearchParams(location.search) };
}

/** Shows another address; `replace` leaves no entry in the history. */
export function go(to: string, replace = false): void {
  const now = location.pathname + location.search;
  if (to !== now) {
    if (replace) history.replaceState(null, "", to);
    else history.pushState(null, "", to);
  }
  listeners.forEach((listener) => listener());
}

export function useAddress(): Address {
  const [address, show] = useState(present);
  useEffect(() => {
    const listener = () => show(present());
    listeners.add(listener);
    addEventListener("popstate", listener);
    return () => {
      listeners.delete(listener);
      removeEventListener("popstate", listener);
    };
  }, []);
  return address;
}

/** The address with some parameters changed: a text sets, a list sets all, `null` takes away. */
export function changed(
  path: string,
  query: URLSearchParams,
  changes: Record<string, string | string[] | null>,
): string {
  const next = new URLSearchParams(query);
  for (const [name, value] of Object.entries(changes)) {
    next.delete(name);
    const values = value === null ? [] : Array.isArray(value) ? value : [value];
    for (const one of values) if (one !== "") next.append(name, one);
  }
  const text = next.toString();
  return text === "" ? path : `${path}?${text}`;
}

/** Links of the page's own open without loading it again. */
export function followLinks(): void {
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey)
      return;
    const link = (event.target as Element | null)?.closest?.("a[href]");
    const to = link?.getAttribute("href");
    if (!to || !to.startsWith("/") || to.startsWith("/assets/") || to.startsWith("/api/") || link?.hasAttribute("download"))
      return;
    event.preventDefault();
    go(to);
  });
}
