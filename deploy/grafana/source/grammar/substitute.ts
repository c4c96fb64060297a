// Grafana fills in variables before a data source sees a query. What the grammars read must be what the data sources read, so the same is
// done here, with values of the form that Grafana would put there.

/** Values that are durations wherever they may stand. */
const DURATIONS = new Set(['__rate_interval', '__interval', '__range', '__auto']);
/** Values that are numbers. */
const NUMBERS = new Set(['__interval_ms', '__range_ms', '__range_s', '__from', '__to']);
/** Label matchers, with which a link from a span comes. */
const TAGS = '__tags';
const IDS: Record<string, string> = {
  '__trace.traceId': '0123456789abcdef0123456789abcdef',
  '__span.traceId': '0123456789abcdef0123456789abcdef',
  '__span.spanId': '0123456789abcdef',
  '__value.raw': 'value',
};

// ${name}, ${name:format}, ${name.path}, [[name]], $name: Grafana's own pattern. A name does not begin with a digit: $1 belongs to
// label_replace.
const VARIABLE = /\$\{([A-Za-z_][\w.]*)(?::([\w:]+))?\}|\[\[([A-Za-z_]\w*)(?::\w+)?\]\]|\$([A-Za-z_]\w*)/g;

function valueOf(name: string): string {
  if (DURATIONS.has(name)) {
    return '1m';
  }
  if (NUMBERS.has(name)) {
    return '60000';
  }
  if (name === TAGS) {
    return 'service_name="value"';
  }
  return IDS[name] ?? 'value';
}

/** The query as the data source would get it. `$$`, by which provisioning files write a dollar sign, is one dollar sign. */
export function substitute(query: string): string {
  return query
    .replaceAll('$$', '$')
    .replace(
      VARIABLE,
      (_, braced: string | undefined, _format, bracketed: string | undefined, bare: string | undefined) =>
        valueOf(braced ?? bracketed ?? bare ?? ''),
    );
}
