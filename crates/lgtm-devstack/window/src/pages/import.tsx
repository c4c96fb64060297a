// Files taken back: chosen or dropped, and what became of each.

import type { JSX } from "preact";
import { bytes, count, plural } from "../format";
import { KINDS, take, useUploads, type Outcome, type Upload } from "../files";
import { Empty } from "../ui";

const NAMES: Record<(typeof KINDS)[number], string> = {
  spans: "spans",
  logs: "log lines",
  samples: "samples",
  exemplars: "exemplars",
  histograms: "native histograms",
};
/** More traces than this are found in the list. */
const NAMED_TRACES = 5;

export function ImportPage(): JSX.Element {
  const uploads = useUploads();
  return (
    <div class="page import">
      <h1>Import</h1>
      <label class="drop">
        <b>Choose files, or drop them anywhere on this window</b>
        <input
          type="file"
          name="files"
          multiple
          onChange={(event) => {
            take(event.currentTarget.files ?? []);
            // The same file may be chosen again.
            event.currentTarget.value = "";
          }}
        />
        <span class="note">
          OTLP JSON of traces, logs and metrics, one document or one a line, as this window and the OpenTelemetry Collector write it; Tempo’s
          answers for a trace; lines of logs as this window and <code>logcli -o jsonl</code> write them; Loki’s push JSON. Old times are taken;
          what is there already is not taken twice.
        </span>
      </label>
      {uploads.length === 0 ? (
        <Empty title="Nothing was imported yet">
          <p>
            The buttons that export are on the page of a <a href="/traces">trace</a>, over the list of <a href="/traces">traces</a>, and over
            the <a href="/logs">log lines</a>.
          </p>
        </Empty>
      ) : (
        <ul class="imports" aria-live="polite" aria-label="imported files">
          {uploads.map((upload) => (
            <Imported key={upload.id} upload={upload} />
          ))}
        </ul>
      )}
    </div>
  );
}

function Imported({ upload }: { upload: Upload }): JSX.Element {
  const { name, size, state, outcome, error } = upload;
  return (
    <li class={`is-${state}`}>
      <h2>
        {name} <small>{bytes(size)}</small>
      </h2>
      {state === "waiting" ? <p class="note">waits for its turn</p> : null}
      {state === "sending" ? <p class="note">reading …</p> : null}
      {error === null ? null : (
        <p class="problem" role="alert">
          Nothing was taken: {error}
        </p>
      )}
      {outcome === null ? null : <Told outcome={outcome} />}
    </li>
  );
}

function Told({ outcome }: { outcome: Outcome }): JSX.Element {
  const kinds = KINDS.filter((kind) => Object.values(outcome[kind]).some((number) => number > 0));
  return (
    <>
      {kinds.length === 0 ? (
        <p class="note">There is nothing in it.</p>
      ) : (
        <div class="scroll-x">
          <table>
            <thead>
              <tr>
                <th scope="col" />
                <th scope="col" class="number">taken</th>
                <th scope="col" class="number">there already</th>
                <th scope="col" class="number">refused</th>
                <th scope="col" class="number" title="to stay within memory, of all that is held, in the order of arrival">evicted</th>
              </tr>
            </thead>
            <tbody>
              {kinds.map((kind) => (
                <tr key={kind}>
                  <th scope="row">{NAMES[kind]}</th>
                  <td class="number">{count(outcome[kind].taken)}</td>
                  <td class="number">{count(outcome[kind].repeated)}</td>
                  <td class={`number ${outcome[kind].refused > 0 ? "is-error" : ""}`}>{count(outcome[kind].refused)}</td>
                  <td class={`number ${outcome[kind].evicted > 0 ? "is-warning" : ""}`}>{count(outcome[kind].evicted)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {outcome.refused_lines > 0 ? (
        <>
          <p class="is-error">
            {plural(outcome.refused_lines, "line")} with something that was refused
            {outcome.refused_lines > outcome.problems.length ? `; the first ${outcome.problems.length}:` : ":"}
          </p>
          <ul class="refused-lines">
            {outcome.problems.map((problem) => (
              <li key={problem.line}>
                line {count(problem.line)}: {problem.reason}
              </li>
            ))}
          </ul>
        </>
      ) : null}
      <p class="actions">
        {outcome.traces.slice(0, NAMED_TRACES).map((trace) => (
          <a key={trace} class="button" href={`/traces/${trace}`}>
            trace {trace.slice(0, 8)}…
          </a>
        ))}
        {outcome.traces.length > NAMED_TRACES || outcome.has_more_traces ? (
          <a class="button" href="/traces">
            all traces
          </a>
        ) : null}
        {outcome.logs_from_ns === null ? null : (
          <a class="button" href={`/logs?from=${outcome.logs_from_ns}&to=${outcome.logs_to_ns}`}>
            its log lines
          </a>
        )}
        {outcome.samples.taken + outcome.samples.repeated + outcome.histograms.taken + outcome.histograms.repeated > 0 ? (
          <a class="button" href="/metrics">
            metrics
          </a>
        ) : null}
      </p>
    </>
  );
}
