// Each rule finds what breaks it, and nothing in what does not.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { dashboardsFolder, dataSourcesFolder, filesIn, providersFolder } from '../checks/files.js';
import { dataSourceUids, providerFindings, provisioningFindings } from '../checks/provisioning.js';
import { ruleFindings } from '../checks/rules.js';
import { dashboardFiles } from '../dashboards/index.js';
import { at, fileOf, sample, uids, type WholeDashboard } from './samples.js';

const dataSources = filesIn(dataSourcesFolder, '.yaml');

test('the dashboards that the sources give keep all rules', () => {
  assert.equal(dashboardFiles().size, 4);
  assert.deepEqual(ruleFindings(dashboardFiles(), dataSourceUids(dataSources)), []);
});

test('the committed dashboards keep all rules', () => {
  assert.deepEqual(ruleFindings(filesIn(dashboardsFolder, '.json'), dataSourceUids(dataSources)), []);
});

test('the sample keeps all rules', () => assert.deepEqual(ruleFindings(fileOf(sample()), uids), []));

const expr = (dashboard: WholeDashboard, text: string): void => {
  at(at(dashboard.panels, 0).targets, 0).expr = text;
};

const BREAKS: [what: string, change: (dashboard: WholeDashboard) => void, message: string | RegExp][] = [
  ['a panel without title', (d) => (at(d.panels, 0).title = ''), 'timeseries ``: no title'],
  ['a panel without description', (d) => (at(d.panels, 0).description = ''), 'timeseries `Spans`: no description'],
  ['a panel without query', (d) => (at(d.panels, 1).targets = []), 'heatmap `Batches`: no query'],
  ['numbers without unit', (d) => delete at(d.panels, 0).fieldConfig.defaults?.unit, 'timeseries `Spans`: no unit'],
  [
    'numbers without thresholds',
    (d) => delete at(d.panels, 0).fieldConfig.defaults?.thresholds,
    'timeseries `Spans`: no thresholds, or none that begins everywhere',
  ],
  [
    'one id for two panels',
    (d) => (at(d.panels, 1).id = 1),
    'heatmap `Batches`: id 1 is also that of timeseries `Spans`',
  ],
  ['panels on one another', (d) => (at(d.panels, 1).gridPos.x = 11), 'heatmap `Batches`: lies on timeseries `Spans`'],
  [
    'a panel beyond the edge',
    (d) => (at(d.panels, 1).gridPos.w = 13),
    'heatmap `Batches`: lies outside of the 24 columns',
  ],
  [
    'two queries of one refId',
    (d) => at(d.panels, 0).targets.push({ ...at(at(d.panels, 0).targets, 0) }),
    'timeseries `Spans`: refId `A` is missing or there twice',
  ],
  [
    'a query that does not parse',
    (d) => expr(d, 'sum(rate(x{s="$service"}[$__rate_interval]'),
    /^Sample\/sample\.json: timeseries `Spans`: query A: promql: column /,
  ],
  [
    'a rate over a fixed interval',
    (d) => expr(d, 'rate(x{s="$service"}[5m])'),
    'timeseries `Spans`: query A: a rate over `5m`; accepted are $__rate_interval, $__range, $__auto',
  ],
  [
    'a quantile without exemplars',
    (d) => expr(d, 'histogram_quantile(0.9, rate(x_bucket{s="$service"}[$__rate_interval]))'),
    'timeseries `Spans`: query A: a quantile without exemplars',
  ],
  [
    'a column of numbers without unit',
    (d) => (at(d.panels, 0).type = 'table'),
    'table `Spans`: the column `Value #A` has no unit',
  ],
  [
    'a data source that is not provisioned',
    (d) => (at(d.panels, 0).datasource = { type: 'prometheus', uid: 'cortex' }),
    'timeseries `Spans`: data source uid `cortex` is not provisioned; there are mimir, loki, tempo',
  ],
  [
    'a data source of another type',
    (d) => (at(at(d.panels, 0).targets, 0).datasource = { type: 'loki', uid: 'mimir' }),
    'timeseries `Spans`: query A: data source `mimir` is of type prometheus, not loki',
  ],
  [
    'a variable that is not defined',
    (d) => (at(d.panels, 1).title = 'Batches of $instance'),
    'variable `instance` is used and not defined',
  ],
  ['a variable that no query uses', (d) => expr(d, 'up'), 'variable `service` is defined, and no query uses it'],
  [
    'a link to a dashboard that does not exist',
    (d) => d.links.push({ title: 'Down', url: '/d/nowhere' }),
    'link `Down`: no dashboard has the uid `nowhere`; there are sample',
  ],
  [
    'a link with a variable that its target does not have',
    (d) => d.links.push({ title: 'Down', url: '/d/sample?var-pod=x&${service:queryparam}' }),
    'link `Down`: sample has no variable `pod`',
  ],
  [
    'a link out of a cell to a dashboard that does not exist',
    (d) =>
      at(d.panels, 0).fieldConfig.overrides?.push({
        matcher: { id: 'byName', options: 'A' },
        properties: [{ id: 'links', value: [{ title: 'Cell', url: '/d/nowhere' }] }],
      }),
    'link `Cell`: no dashboard has the uid `nowhere`; there are sample',
  ],
  [
    'a link elsewhere',
    (d) => d.links.push({ title: 'Out', url: 'out' }),
    'link `Out`: `out` is not of the form /d/<uid>?<variables>',
  ],
  ['an old schema', (d) => (d.schemaVersion = 38), "schemaVersion 38; Grafana's is 42"],
  ['a dashboard without uid', (d) => (d.uid = ''), 'no uid'],
];

for (const [what, change, message] of BREAKS) {
  test(`found: ${what}`, () => {
    const dashboard = sample();
    change(dashboard);
    const findings = ruleFindings(fileOf(dashboard), uids);
    if (typeof message === 'string') {
      assert.ok(findings.includes(`Sample/sample.json: ${message}`), findings.join('\n') || 'nothing was found');
    } else {
      assert.match(findings.join('\n'), message);
    }
  });
}

test('found: two dashboards with one uid', () => {
  const files = new Map([...fileOf(sample(), 'A/a.json'), ...fileOf(sample(), 'B/b.json')]);
  assert.deepEqual(ruleFindings(files, uids), [
    'A/a.json: uid `sample` is also that of another dashboard',
    'B/b.json: uid `sample` is also that of another dashboard',
  ]);
});

test('found: a file that is no JSON', () => {
  assert.match(ruleFindings(new Map([['A/a.json', '{']]), uids).join('\n'), /^A\/a\.json: no JSON: /);
});

test('the provisioned data sources keep all rules', () => {
  assert.deepEqual([...dataSourceUids(dataSources).keys()].sort(), [
    'alertmanager',
    'loki',
    'mimir',
    'prometheus',
    'tempo',
  ]);
  assert.deepEqual(provisioningFindings(dataSources), []);
});

const stack = dataSources.get('stack.yaml') ?? '';
const BROKEN_SOURCES: [what: string, from: string, to: string, message: RegExp][] = [
  [
    'a dollar sign that Grafana would expand',
    '"$${__value.raw}"',
    '"${__value.raw}"',
    /line \d+: a dollar sign that is not doubled/,
  ],
  [
    'a link to a data source that is not there',
    'datasourceUid: loki',
    'datasourceUid: logs',
    /Tempo: refers to the data source uid `logs`/,
  ],
  [
    'a query behind a link that does not parse',
    '{$${__tags}} | trace_id',
    '{$${__tags} | trace_id',
    /Tempo: logql `.*`: column/,
  ],
  ['a data source that can be edited', 'editable: false', 'editable: true', /`editable: false` is missing/],
  ['no default', 'isDefault: true', 'isDefault: false', /0 data sources are the default/],
  ['no uid', 'uid: loki\n', 'version: 1\n', /Loki: no uid/],
];

for (const [what, from, to, message] of BROKEN_SOURCES) {
  test(`found in the data sources: ${what}`, () => {
    assert.ok(stack.includes(from));
    const files = new Map([...dataSources, ['stack.yaml', stack.replace(from, () => to)]]);
    assert.match(provisioningFindings(files).join('\n'), message);
  });
}

const providers = filesIn(providersFolder, '.yaml');

test('the provider of the dashboards keeps all rules', () => assert.deepEqual(providerFindings(providers), []));

const provider = providers.get('lgtm.yaml') ?? '';
const BROKEN_PROVIDERS: [what: string, from: string, to: string, message: RegExp][] = [
  [
    'a folder beside the folders of the path',
    'orgId: 1',
    'folder: OTLP',
    /folder `OTLP` and foldersFromFilesStructure exclude/,
  ],
  [
    'no folders',
    'foldersFromFilesStructure: true',
    'foldersFromFilesStructure: false',
    /`foldersFromFilesStructure: true` is missing/,
  ],
  [
    'another path',
    '/etc/grafana/dashboards',
    '/var/lib/grafana/dashboards',
    /path `\/var\/lib\/grafana\/dashboards`; it must be/,
  ],
  ['no provider', 'providers:', 'provider:', /0 providers of dashboards/],
];

for (const [what, from, to, message] of BROKEN_PROVIDERS) {
  test(`found in the provider of the dashboards: ${what}`, () => {
    assert.ok(provider.includes(from));
    assert.match(providerFindings(new Map([['lgtm.yaml', provider.replace(from, () => to)]])).join('\n'), message);
  });
}
