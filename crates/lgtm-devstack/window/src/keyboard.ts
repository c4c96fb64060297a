// Keys that work wherever the focus is, except in a field in which one writes: j and k move in the list of the view, enter opens, / goes
// to the search, esc goes back, p stops what comes by itself, g and a letter goes to a view.

import { useLayoutEffect } from "preact/hooks";
import { go } from "./address";
import { isPaused, pause } from "./live";

export interface Keys {
  /** Moves the selection. */
  move?(by: number): void;
  open?(): void;
  /** Left and right: closes and opens a branch. */
  fold?(open: boolean): void;
  back?(): void;
}

const stack: Keys[] = [];
let afterG = false;

const VIEWS: Record<string, string> = { o: "/", l: "/logs", t: "/traces", m: "/metrics", s: "/map", i: "/import" };

/** Gives the keys to a view while it is shown; the one that came last has them. */
export function useKeys(keys: Keys): void {
  // With the drawing, not after it: the next key finds what the last one selected.
  useLayoutEffect(() => {
    stack.push(keys);
    return () => {
      const at = stack.indexOf(keys);
      if (at >= 0) stack.splice(at, 1);
    };
  });
}

function first<K extends keyof Keys>(name: K): Keys[K] {
  for (let at = stack.length - 1; at >= 0; at--) if (stack[at]![name]) return stack[at]![name];
  return undefined;
}

function isField(target: EventTarget | null): target is HTMLElement {
  return target instanceof HTMLElement && target.matches("input:not([type=checkbox]), select, textarea");
}

export function listen(showHelp: () => void): void {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (document.querySelector("dialog[open]")) return;
    if (isField(event.target)) {
      if (event.key === "Escape") {
        event.target.blur();
        event.preventDefault();
      }
      return;
    }
    const onButton = event.target instanceof Element && event.target.closest("a, button, summary") !== null;
    const wasG = afterG;
    afterG = false;
    let done = true;
    if (wasG && VIEWS[event.key]) go(VIEWS[event.key]!);
    else if (event.key === "g") afterG = true;
    else if (event.key === "j" || event.key === "ArrowDown") first("move")?.(1);
    else if (event.key === "k" || event.key === "ArrowUp") first("move")?.(-1);
    else if (event.key === "PageDown") first("move")?.(20);
    else if (event.key === "PageUp") first("move")?.(-20);
    else if (event.key === "Home") first("move")?.(-Infinity);
    else if (event.key === "End") first("move")?.(Infinity);
    else if (event.key === "Enter" && !onButton) first("open")?.();
    else if (event.key === "ArrowLeft" || event.key === "h") first("fold")?.(false);
    else if (event.key === "ArrowRight" || event.key === "l") first("fold")?.(true);
    else if (event.key === "p") pause(!isPaused());
    else if (event.key === "Escape") first("back")?.();
    else if (event.key === "/") {
      const search = document.querySelector<HTMLInputElement>("input[type=search]");
      search?.focus();
      search?.select();
    } else if (event.key === "?") showHelp();
    else done = false;
    if (done) event.preventDefault();
  });
}
