// Queries that are right parse, queries that are wrong do not, and Grafana's variables are filled in before either.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';

import { packageFolder } from '../checks/files.js';
import { BadLine, findings } from '../grammar/lines.js';
import { UnknownLanguage, parse } from '../grammar/parse.js';
import { substitute } from '../grammar/substitute.js';

const RIGHT: [language: string, query: string][] = [
  ['promql', 'sum by (path) (rate(http_requests_total{job=~"(.+/)?$service"}[$__rate_interval]))'],
  ['promql', 'histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket[$__rate_interval])))'],
  ['promql', '(sum(rate(a[5m])) or 0 * sum(rate(b[5m]))) / (sum(rate(b[5m])) > 0)'],
  ['promql', 'label_replace(up, "service", "$1", "job", "(?:.+/)?(.+)")'],
  ['promql', 'time() - max by (job) (max_over_time(timestamp(up)[1h:15s])) < bool 120'],
  ['promql', 'sum(rate(otlp_spans_created_total{$$__tags}[5m]))'],
  ['promql', '100 - (avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[5m])) * 100)'],
  ['logql', '{service="rust-app", environment="production"} |= "error"'],
  ['logql', '{service="rust-app"} |~ "error|panic|fatal"'],
  ['logql', '{service="rust-app"} | json | level="error"'],
  ['logql', 'sum(count_over_time({service="rust-app"} |= "error" [$__auto]))'],
  ['logql', 'sum by (endpoint) (rate({service="rust-app"} |= "error" | json [5m]))'],
  ['logql', 'quantile_over_time(0.95, {service="rust-app"} | json | unwrap latency_ms [5m]) by (endpoint)'],
  [
    'logql',
    '{service=~"$service"} | json | line_format `{{ if .message }}{{ .message }}{{ else }}{{ __line__ }}{{ end }}`',
  ],
  ['logql', '{$${__tags}} | trace_id = "$${__trace.traceId}"'],
  ['traceql', '{ duration > 500ms }'],
  ['traceql', '{ resource.service.name = "rust-app" && status = error }'],
  ['traceql', '{ resource.service.name =~ "${service:pipe}" && span.http.response.status_code >= 500 }'],
  ['traceql', '{ trace:id = "0123456789abcdef" }'],
  ['traceql', '{ resource.service.name = "rust-app" } | rate() by (resource.service.name)'],
  ['traceql', '{ status = error } >> { span.db.system.name = "postgresql" }'],
];

const WRONG: [language: string, query: string][] = [
  ['promql', 'sum(rate(http_requests_total[5m])) by (path'],
  ['promql', 'sum(rate(http_requests_total[5m])) garbage'],
  ['promql', 'rate(http_requests_total{status=5}[5m])'],
  ['promql', 'rate(http_requests_total[5 minutes])'],
  ['promql', '1 +'],
  ['logql', '{service="rust-app"'],
  ['logql', '{service="rust-app"} |= '],
  ['logql', '{service="rust-app"} | jsn level'],
  ['logql', 'sum(count_over_time({service="rust-app"} [5m])) garbage'],
  ['logql', 'histogram_quantile(0.95, sum(rate({service="rust-app"} | json | unwrap latency_ms [5m])) by (le))'],
  ['traceql', '{ service.name = "rust-app" && status = error }'],
  ['traceql', 'rate({ resource.service.name = "rust-app" }) by (resource.service.name)'],
  ['traceql', '{ resource.service.name = }'],
  ['traceql', '{ status == error }'],
  ['traceql', '{ duration > 500ms'],
  ['traceql', '{ status = error } garbage'],
];

for (const [language, query] of RIGHT) {
  test(`${language} parses: ${query}`, () => assert.equal(parse(language, query), undefined));
}

for (const [language, query] of WRONG) {
  test(`${language} is refused: ${query}`, () =>
    assert.match(parse(language, query) ?? 'accepted', /^column \d+: |^not read to its end/));
}

test('an empty query is refused in every language', () => {
  for (const language of ['promql', 'logql', 'traceql']) {
    assert.equal(parse(language, ' '), 'the query is empty');
  }
});

test('a message names the place', () => {
  assert.equal(parse('promql', 'sum(x) y'), 'column 8: `y` is not expected here');
});

test('variables become what Grafana would put there', () => {
  const filled: [string, string][] = [
    ['rate(x[$__rate_interval])', 'rate(x[1m])'],
    ['${__range}', '1m'],
    ['$__range_s', '60000'],
    ['{a=~"${service:regex}", b=~"$environment"}', '{a=~"value", b=~"value"}'],
    ['[[service]]', 'value'],
    ['{$$__tags}', '{service_name="value"}'],
    ['label_replace(x, "a", "$1", "b", "(.+)")', 'label_replace(x, "a", "$1", "b", "(.+)")'],
    ['{a="b$"}', '{a="b$"}'],
  ];
  for (const [query, expected] of filled) {
    assert.equal(substitute(query), expected);
  }
});

test('what is no question is an error that shows the line', () => {
  assert.throws(
    () => findings('{"where": "a"}'),
    new BadLine('line 1: `{"where": "a"}` must be {"where": "…", "language": "…", "query": "…"}'),
  );
  assert.throws(() => findings('\nnothing'), /^Error: line 2: `nothing` is no JSON/);
  assert.throws(() => findings('{"where":"a","language":"sql","query":"x"}'), UnknownLanguage);
});

function run(input: string): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [join(packageFolder, 'build', 'main.js'), 'grammar'], { input, encoding: 'utf8' });
}

test('the program answers for the wrong queries alone, and ends well', () => {
  const right = JSON.stringify({ where: 'docs/queries.md:1', language: 'logql', query: '{a="b"}' });
  const wrong = JSON.stringify({ where: 'docs/queries.md:2', language: 'traceql', query: '{ a' });
  const { status, stdout } = run(`${right}\n${wrong}\n`);
  assert.equal(status, 0);
  const answers = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, string>);
  assert.equal(answers.length, 1);
  assert.deepEqual(Object.keys(answers[0] ?? {}), ['where', 'query', 'message']);
  assert.equal(answers[0]?.['where'], 'docs/queries.md:2');
  assert.equal(answers[0]?.['query'], '{ a');
});

test('the program ends with 2 and says why where a line is no question', () => {
  const { status, stdout, stderr } = run('{"where":"a","language":"sql","query":"x"}\n');
  assert.equal(status, 2);
  assert.equal(stdout, '');
  assert.match(stderr, /language `sql`: accepted are logql, traceql, promql/);
});
