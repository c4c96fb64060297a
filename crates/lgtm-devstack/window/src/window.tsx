// The window: the frame around the views, the theme, and which view an address shows.

import { render, type JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { followLinks, useAddress } from "./address";
import { clearStore, useAnswer } from "./api";
import { listen } from "./keyboard";
import { begin, pause, useChange, useClears, useLive } from "./live";
import { bytes, count } from "./format";
import { learnServices, Problem, useNarrow } from "./ui";
import { OverviewPage } from "./pages/overview";
import { LogsPage } from "./pages/logs";
import { TracesPage } from "./pages/traces";
import { TracePage } from "./pages/trace";
import { MetricsPage } from "./pages/metrics";
import { MapPage } from "./pages/map";
import { ImportPage } from "./pages/import";
import { takeDrops, useDropping } from "./files";

const VIEWS: [path: string, name: string, key: string, short?: string][] = [
  ["/", "Overview", "o"],
  ["/logs", "Logs", "l"],
  ["/traces", "Traces", "t"],
  ["/metrics", "Metrics", "m"],
  ["/map", "Service map", "s", "Map"],
  ["/import", "Import", "i"],
];

type Theme = "auto" | "light" | "dark";
const THEMES: Theme[] = ["auto", "light", "dark"];

function storedTheme(): Theme {
  const stored = localStorage.getItem("theme") as Theme | null;
  return stored && THEMES.includes(stored) ? stored : "auto";
}

function applyTheme(theme: Theme): void {
  if (theme === "auto") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme;
  dispatchEvent(new Event("theme"));
}

function ThemeSwitch(): JSX.Element {
  const [theme, choose] = useState(storedTheme);
  const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]!;
  return (
    <button
      type="button"
      class="theme"
      aria-label={`theme: ${theme}; switch to ${next}`}
      title={`theme: ${theme}`}
      onClick={() => {
        localStorage.setItem("theme", next);
        applyTheme(next);
        choose(next);
      }}
    >
      {theme === "auto" ? "◐" : theme === "light" ? "☀" : "☾"} <span class="theme-name">{theme}</span>
    </button>
  );
}

/** What is held of each signal, and what had to go. */
function StoreState(): JSX.Element {
  const { counts, connected, paused } = useLive();
  if (counts === null) return <div class="store">{connected ? "" : "connecting …"}</div>;
  const samples = counts.samples.evicted + counts.exemplars.evicted + counts.histograms.evicted;
  const signals: [string, number, number, number, number][] = [
    ["logs", counts.logs.held, counts.logs.held_bytes, counts.logs.limit_bytes, counts.logs.evicted],
    ["spans", counts.spans.held, counts.spans.held_bytes, counts.spans.limit_bytes, counts.spans.evicted],
    ["samples", counts.samples.held, counts.samples.held_bytes, counts.samples.limit_bytes, samples],
  ];
  return (
    <div class="store" role="status" aria-label="what is held">
      {signals.map(([name, held, size, limit, evicted]) => (
        <span
          key={name}
          class={evicted > 0 ? "evicting" : ""}
          title={`${count(held)} ${name} held in ${bytes(size)} of ${bytes(limit)}; ${count(evicted)} were evicted, in the order in which they arrived`}
        >
          <b>{count(held)}</b> {name}
          {evicted > 0 ? <em> ({count(evicted)} evicted)</em> : null}
        </span>
      ))}
      {paused ? <span class="paused">paused: new items come, and are not shown</span> : connected ? null : <span class="lost">not connected</span>}
    </div>
  );
}

/** Stops what comes by itself, and empties the store. */
function StoreControls(): JSX.Element {
  const { paused } = useLive();
  const [asking, ask] = useState(false);
  return (
    <div class="controls">
      <button type="button" aria-pressed={paused} title={paused ? "go on (p)" : "let the pages stand still (p)"} onClick={() => pause(!paused)}>
        {paused ? "resume" : "pause"}
      </button>
      <button type="button" title="forget everything that is held" onClick={() => ask(true)}>
        clear
      </button>
      {asking ? <Clear close={() => ask(false)} /> : null}
    </div>
  );
}

function Clear({ close }: { close(): void }): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  const { counts } = useLive();
  const [error, fail] = useState<string | null>(null);
  useEffect(() => dialog.current?.showModal(), []);
  const held = counts === null ? "everything" : `${count(counts.logs.held)} lines, ${count(counts.spans.held)} spans and ${count(counts.samples.held)} samples`;
  return (
    <dialog ref={dialog} onClose={close} aria-label="clear">
      <h2>Forget what is held?</h2>
      <p>{held} go, for everybody who looks at this stack. What comes afterwards is shown as before.</p>
      <Problem text={error} />
      <p class="actions">
        <button type="button" class="is-dangerous" onClick={() => void clearStore().then(() => dialog.current?.close(), (problem: Error) => fail(problem.message))}>
          forget it
        </button>
        <button type="button" autofocus onClick={() => dialog.current?.close()}>
          keep it
        </button>
      </p>
    </dialog>
  );
}

function Help({ close }: { close(): void }): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  const keys: [string, string][] = [
    ["j k, arrows", "move in the list"],
    ["enter", "open what is selected"],
    ["esc", "leave the field, close the details, go back"],
    ["/", "search"],
    ["p", "pause: the pages stand still; again: they go on"],
    ["h l, left right", "close and open a branch of a trace"],
    ["g then o l t m s i", "overview, logs, traces, metrics, service map, import"],
    ["?", "this help"],
  ];
  return (
    <dialog ref={dialog} onClose={close} aria-label="keys">
      <h2>Keys</h2>
      <dl class="keys">
        {keys.map(([key, what]) => (
          <div key={key}>
            <dt>{key}</dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <p>
        Every view is its address: filters and selections are in it. The window holds what the development stack holds, in memory; it sends
        nothing anywhere. <a href="/assets/licences.txt">Licences of what it is made of</a>
      </p>
      <button type="button" autofocus onClick={() => dialog.current?.close()}>
        close
      </button>
    </dialog>
  );
}

function View(): JSX.Element {
  const address = useAddress();
  const parts = address.path.split("/").filter((part) => part !== "").map(decodeURIComponent);
  const [view, item, inner] = parts;
  switch (view) {
    case undefined:
      return <OverviewPage address={address} />;
    case "logs":
      return <LogsPage address={address} entry={item ?? null} />;
    case "traces":
      return item ? <TracePage key={item} trace={item} span={inner ?? null} address={address} /> : <TracesPage address={address} />;
    case "metrics":
      return <MetricsPage address={address} metric={item ?? null} />;
    case "import":
      return <ImportPage />;
    default:
      return <MapPage address={address} />;
  }
}

function Window(): JSX.Element {
  const { path } = useAddress();
  const [helping, help] = useState(false);
  const dropping = useDropping();
  const narrow = useNarrow();
  useEffect(() => listen(() => help(true)), []);
  const view = VIEWS.filter(([to]) => path === to || path.startsWith(`${to}/`)).at(-1) ?? VIEWS[0]!;
  useEffect(() => {
    document.title = `${view[1]} – lgtm window`;
  }, [view]);
  const arrivals = useChange((counts) => counts.logs.received + counts.spans.received, 5000);
  const services = useAnswer<{ services: string[] }>("/services", `${arrivals} ${useClears()}`).data?.services ?? [];
  learnServices(services);
  return (
    <div class="frame">
      <header>
        <a class="skip" href="#content" onClick={(event) => {
          event.preventDefault();
          document.querySelector<HTMLElement>(".list, main")?.focus();
        }}>
          to the content
        </a>
        <a class="brand" href="/">
          <img src="/assets/icon.svg" alt="" width="22" height="22" /> <span>lgtm</span>
        </a>
        <nav aria-label="views">
          {VIEWS.map(([to, name, key, short]) => (
            <a key={to} href={to} aria-current={view[0] === to ? "page" : undefined} title={`g ${key}`}>
              {narrow ? (short ?? name) : name}
            </a>
          ))}
        </nav>
        <StoreState />
        <StoreControls />
        <button type="button" class="help" aria-label="keys and help" onClick={() => help(true)}>
          ?
        </button>
        <ThemeSwitch />
      </header>
      <main id="content" tabIndex={-1}>
        <View />
      </main>
      {dropping ? <div class="dropping">Drop files to import them</div> : null}
      {helping ? <Help close={() => help(false)} /> : null}
    </div>
  );
}

followLinks();
takeDrops();
begin();
render(<Window />, document.getElementById("window")!);
