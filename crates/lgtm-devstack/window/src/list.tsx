// Lists of any length: only the rows in sight are in the page, and only their pages are asked for.

import type { ComponentChildren, JSX } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { ask, type Rows } from "./api";
import { useKeys } from "./keyboard";

/** The tallest element that all browsers draw. */
const MAX_HEIGHT = 15_000_000;
const BEYOND_SIGHT = 6;

export interface ListProps {
  label: string;
  total: number;
  rowHeight: number;
  /** The selected row, or -1. */
  selected: number;
  select(index: number): void;
  open?(index: number): void;
  fold?(index: number, open: boolean): void;
  row(index: number): ComponentChildren;
  rowClass?(index: number): string;
  rowKey?(index: number): string | number;
  /** Told which rows are in sight. */
  seen?(first: number, last: number): void;
  /** Told whether the top is in sight. */
  atTop?(is: boolean): void;
  /** A change of it scrolls to the top. */
  toTop?: number;
  empty?: ComponentChildren;
}

/** The rows of a list, of which a few are in the page. */
export function List(props: ListProps): JSX.Element {
  const { label, rowHeight, selected, select, open, fold, row, rowClass, rowKey, seen, atTop } = props;
  const total = Math.min(props.total, Math.floor(MAX_HEIGHT / rowHeight));
  const box = useRef<HTMLDivElement>(null);
  const [view, show] = useState({ top: 0, height: 600 });
  const frame = useRef(0);
  const first = Math.max(0, Math.floor(view.top / rowHeight) - BEYOND_SIGHT);
  const last = Math.min(total, Math.ceil((view.top + view.height) / rowHeight) + BEYOND_SIGHT);

  const look = () => {
    frame.current = 0;
    const element = box.current;
    if (element) show({ top: element.scrollTop, height: element.clientHeight });
  };
  const lookSoon = () => {
    if (frame.current === 0) frame.current = requestAnimationFrame(look);
  };
  useLayoutEffect(() => {
    look();
    const observer = new ResizeObserver(lookSoon);
    if (box.current) observer.observe(box.current);
    return () => {
      observer.disconnect();
      cancelAnimationFrame(frame.current);
      frame.current = 0;
    };
  }, []);
  useEffect(() => seen?.(first, last), [first, last, total, seen]);
  const isAtTop = view.top < rowHeight;
  useEffect(() => atTop?.(isAtTop), [isAtTop]);
  useEffect(() => {
    if (props.toTop && box.current) box.current.scrollTop = 0;
  }, [props.toTop]);
  // The selection is brought into sight when it moves, not when the list grows.
  useEffect(() => {
    const element = box.current;
    if (!element || selected < 0) return;
    const top = selected * rowHeight;
    if (top < element.scrollTop) element.scrollTop = top;
    else if (top + rowHeight > element.scrollTop + element.clientHeight)
      element.scrollTop = top + rowHeight - element.clientHeight;
  }, [selected]);
  useKeys({
    move: (by) => {
      if (total === 0) return;
      const from = selected < 0 ? (by > 0 ? -1 : 0) : selected;
      select(Math.max(0, Math.min(total - 1, from + by)));
    },
    open: () => {
      if (selected >= 0) open?.(selected);
    },
    fold: fold ? (isOpen) => selected >= 0 && fold(selected, isOpen) : undefined,
  });

  const rows = [];
  for (let index = first; index < last; index++) {
    rows.push(
      <div
        key={rowKey?.(index) ?? index}
        id={`${label}-${index}`}
        role="option"
        aria-selected={index === selected}
        aria-setsize={total}
        aria-posinset={index + 1}
        class={`row ${rowClass?.(index) ?? ""} ${index === selected ? "selected" : ""}`}
        style={{ top: `${index * rowHeight}px`, height: `${rowHeight}px` }}
        onClick={(event) => {
          if ((event.target as Element).closest("a, button")) return;
          select(index);
          open?.(index);
        }}
      >
        {row(index)}
      </div>,
    );
  }
  return (
    <div
      class="list"
      ref={box}
      role="listbox"
      tabIndex={0}
      aria-label={label}
      aria-activedescendant={selected >= 0 ? `${label}-${selected}` : undefined}
      onScroll={lookSoon}
    >
      <div class="list-inside" style={{ height: `${total * rowHeight}px` }}>
        {rows}
      </div>
      {total === 0 && props.empty !== undefined ? <div class="empty">{props.empty}</div> : null}
    </div>
  );
}

const PAGE = 200;
/** Pages that are kept; of more, those asked for first go. */
const KEPT_PAGES = 60;

export interface Paged<Row> {
  total: number;
  /** Up to which arrival the rows go, as the API counts. */
  until: string | null;
  at(index: number): Row | undefined;
  seen(first: number, last: number): void;
  loading: boolean;
  error: string | null;
  /** Counts the first pages that came. */
  version: number;
  extra: Rows<Row> | null;
}

/**
 * The rows at `path`, page by page as they come into sight. A change of `path` or `again` begins anew with what there is then; the
 * rows shown until then stay until the new ones are there.
 */
export function usePages<Row>(path: string, again: unknown): Paged<Row> {
  const [state, show] = useState({ total: 0, until: null as string | null, version: 0, error: null as string | null, loading: true });
  const pages = useRef(new Map<number, Row[] | "asked">());
  const extra = useRef<Rows<Row> | null>(null);
  const [, redraw] = useState(0);
  const abort = useRef(new AbortController());
  const glue = path.includes("?") ? "&" : "?";
  useEffect(() => {
    abort.current.abort();
    const own = new AbortController();
    abort.current = own;
    show((before) => ({ ...before, loading: true }));
    ask<Rows<Row>>(`${path}${glue}limit=${PAGE}`, own.signal).then(
      (answer) => {
        pages.current = new Map([[0, answer.rows]]);
        extra.current = answer;
        show((before) => ({
          total: answer.total,
          until: answer.until,
          version: before.version + 1,
          error: null,
          loading: false,
        }));
      },
      (error: Error) => {
        if (!own.signal.aborted) show((before) => ({ ...before, error: error.message, loading: false }));
      },
    );
    return () => own.abort();
  }, [path, again]);
  const until = state.until;
  const load = (page: number) => {
    if (until === null || pages.current.has(page)) return;
    const { signal } = abort.current;
    const held = pages.current;
    held.set(page, "asked");
    while (held.size > KEPT_PAGES) held.delete(held.keys().next().value!);
    ask<Rows<Row>>(`${path.replace("points=1", "points=0")}${glue}limit=${PAGE}&skip=${page * PAGE}&until=${until}`, signal).then(
      (answer) => {
        if (pages.current !== held) return;
        held.set(page, answer.rows);
        redraw((number) => number + 1);
      },
      () => void (pages.current === held && held.delete(page)),
    );
  };
  const timer = useRef(0);
  const seen = (first: number, last: number) => {
    clearTimeout(timer.current);
    // Who drags the bar passes many pages: only those where it rests are asked for.
    timer.current = window.setTimeout(() => {
      for (let page = Math.floor(first / PAGE); page * PAGE < Math.min(last, state.total); page++) load(page);
    }, 40);
  };
  const at = (index: number) => {
    const page = pages.current.get(Math.floor(index / PAGE));
    return page === undefined || page === "asked" ? undefined : page[index % PAGE];
  };
  return { ...state, at, seen, extra: extra.current };
}
