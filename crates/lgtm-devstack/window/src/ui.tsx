// Small parts that several views have.

import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Attribute } from "./api";
import { changed, go, type Address } from "./address";

/** A colour for each service, the same in all views while the services are the same. */
const known: string[] = [];
export function learnServices(names: string[]): void {
  // What is known keeps its colour when others come.
  known.push(...names.filter((name) => !known.includes(name)).sort());
}
export function serviceClass(name: string): string {
  const at = known.indexOf(name);
  if (at >= 0) return `service-${at % 10}`;
  // Not heard of yet, or a database: any colour that is always the same.
  let sum = 0;
  for (const character of name) sum = (sum * 31 + character.codePointAt(0)!) % 9973;
  return `service-${sum % 10}`;
}

export function Service({ name }: { name: string }): JSX.Element {
  return (
    <span class="service" title={name}>
      <i class={`dot ${serviceClass(name)}`} aria-hidden="true" />
      <span>{name || "(no service)"}</span>
    </span>
  );
}

export function Problem({ text }: { text: string | null }): JSX.Element | null {
  return text === null ? null : (
    <p class="problem" role="alert">
      {text}
    </p>
  );
}

/** A field whose text becomes a parameter of the address when one pauses writing. */
export function SearchField(props: {
  label: string;
  name: string;
  address: Address;
  placeholder: string;
  search?: boolean;
  wide?: boolean;
}): JSX.Element {
  const { label, name, address, placeholder } = props;
  const present = address.query.get(name) ?? "";
  const [text, write] = useState(present);
  const timer = useRef(0);
  const written = useRef(present);
  useEffect(() => {
    if (present !== written.current) {
      written.current = present;
      write(present);
    }
  }, [present]);
  // Written out: the type decides which roles a field may have.
  const kind = props.search ? ({ type: "search" } as const) : ({ type: "text" } as const);
  const tell = (value: string) => {
    clearTimeout(timer.current);
    written.current = value;
    const now = { path: location.pathname, query: new URLSearchParams(location.search) };
    go(changed(now.path, now.query, { [name]: value }), true);
  };
  return (
    <label class={`field ${props.wide ? "wide" : ""}`}>
      <span class="field-label">{label}</span>
      <input
        {...kind}
        name={name}
        value={text}
        placeholder={placeholder}
        autocomplete="off"
        spellcheck={false}
        onInput={(event) => {
          const value = event.currentTarget.value;
          write(value);
          clearTimeout(timer.current);
          timer.current = window.setTimeout(() => tell(value), 250);
        }}
        onKeyDown={(event) => {
          if (event.key === "Enter") {
            tell(event.currentTarget.value);
            event.currentTarget.blur();
          }
        }}
      />
    </label>
  );
}

export function Choice(props: {
  label: string;
  name: string;
  address: Address;
  options: [value: string, text: string][];
}): JSX.Element {
  const { label, name, address, options } = props;
  const present = address.query.get(name) ?? "";
  const shown = options.some(([value]) => value === present) ? options : [...options, [present, present] as [string, string]];
  return (
    <label class="field">
      <span class="field-label">{label}</span>
      <select
        name={name}
        value={present}
        onChange={(event) => go(changed(address.path, address.query, { [name]: event.currentTarget.value }), true)}
      >
        {shown.map(([value, text]) => (
          <option key={value} value={value} selected={value === present}>
            {text}
          </option>
        ))}
      </select>
    </label>
  );
}

export const TIMES: [string, string][] = [
  ["", "all that is held"],
  ["1m", "last minute"],
  ["5m", "last 5 minutes"],
  ["15m", "last 15 minutes"],
  ["1h", "last hour"],
  ["6h", "last 6 hours"],
];

/** Names and values; with `search`, each leads to the items that have it too. */
export function Attributes(props: {
  title: string;
  attributes: Attribute[];
  search?(name: string, value: string): string;
}): JSX.Element | null {
  if (props.attributes.length === 0) return null;
  return (
    <section class="attributes">
      <h3>{props.title}</h3>
      <dl>
        {props.attributes.map(([name, value, type]) => (
          <div key={`${name}\u0000${value}`}>
            <dt>{name}</dt>
            <dd class={`type-${type}`}>
              <span>{value === "" ? "(empty)" : value}</span>
              {props.search ? (
                <a class="find" href={props.search(name, value)} aria-label={`find others with this ${name}`} title="find others with this value">
                  ⌕
                </a>
              ) : null}
            </dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

export function Copy({ text, what }: { text: string; what: string }): JSX.Element {
  const [done, show] = useState(false);
  return (
    <button
      type="button"
      class="small"
      onClick={() => {
        void navigator.clipboard?.writeText(text).then(() => {
          show(true);
          setTimeout(() => show(false), 1500);
        });
      }}
    >
      {done ? "copied" : `copy ${what}`}
    </button>
  );
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }): JSX.Element {
  return (
    <div class="nothing">
      <h2>{title}</h2>
      {children}
    </div>
  );
}

/** Whether the page is narrow, as on a telephone. */
export function useNarrow(): boolean {
  const query = "(max-width: 700px)";
  const [narrow, show] = useState(() => matchMedia(query).matches);
  useEffect(() => {
    const media = matchMedia(query);
    const listener = () => show(media.matches);
    media.addEventListener("change", listener);
    return () => media.removeEventListener("change", listener);
  }, []);
  return narrow;
}

/** The theme that is shown now: the one that was chosen, else the system's. */
export function shownTheme(): string {
  return document.documentElement.dataset["theme"] ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
}

/** The theme that is shown; changes with the switch and with the system. */
export function useTheme(): string {
  const [theme, show] = useState(shownTheme);
  useEffect(() => {
    const listener = () => show(shownTheme());
    const media = matchMedia("(prefers-color-scheme: dark)");
    media.addEventListener("change", listener);
    addEventListener("theme", listener);
    return () => {
      media.removeEventListener("change", listener);
      removeEventListener("theme", listener);
    };
  }, []);
  return theme;
}
