// What Grafana's types do not know is found, with the file and the line.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { schemaFindings } from '../checks/schema.js';
import { dashboardFiles } from '../dashboards/index.js';
import { at, fileOf, sample, type WholeDashboard } from './samples.js';

test('the dashboards that the sources give fit', () => assert.deepEqual(schemaFindings(dashboardFiles()), []));

test('the sample fits', () => assert.deepEqual(schemaFindings(fileOf(sample())), []));

const BREAKS: [what: string, change: (dashboard: WholeDashboard) => void, message: RegExp][] = [
  [
    'a position that is a text',
    (d) => Object.assign(at(d.panels, 0).gridPos, { x: '0' }),
    /'string' is not assignable to type 'number'/,
  ],
  ['a panel of a type that is gone', (d) => Object.assign(at(d.panels, 0), { type: 'graph' }), /"graph"/],
  ['an option that the panel does not have', (d) => Object.assign(at(d.panels, 0).options, { footer: {} }), /footer/],
  [
    'an option of the wrong type',
    (d) => Object.assign(at(d.panels, 0).options, { tooltip: { mode: 'loud', sort: 'asc' } }),
    /"loud"/,
  ],
  ['an option that is missing', (d) => delete at(d.panels, 1).options['yAxis'], /yAxis/],
  [
    'a field option that does not exist',
    (d) => Object.assign(at(d.panels, 0).fieldConfig.defaults ?? {}, { units: 'cps' }),
    /units/,
  ],
  [
    'an option of another panel among the field options',
    (d) => Object.assign(at(d.panels, 0).fieldConfig.defaults ?? {}, { custom: { cellOptions: { type: 'auto' } } }),
    /cellOptions/,
  ],
  [
    'an override of a property that does not exist',
    (d) =>
      at(d.panels, 0).fieldConfig.overrides?.push({
        matcher: { id: 'byName', options: 'A' },
        properties: [{ id: 'custom.colour', value: 'red' }],
      }),
    /custom\.colour/,
  ],
  [
    'a data source that is only named',
    (d) => Object.assign(at(d.panels, 0), { datasource: 'Mimir' }),
    /Type 'string' is not assignable to type 'DataSource/,
  ],
  [
    'a query with a field that its data source does not know',
    (d) => Object.assign(at(at(d.panels, 0).targets, 0), { sql: 'x' }),
    /sql/,
  ],
  ['axes as they were before version 12', (d) => Object.assign(at(d.panels, 0), { yaxes: [] }), /yaxes/],
  ['a dashboard inside of another object', (d) => Object.assign(d, { dashboard: {} }), /dashboard/],
  [
    'a schema version that is a text',
    (d) => Object.assign(d, { schemaVersion: '42' }),
    /'string' is not assignable to type 'number'/,
  ],
];

for (const [what, change, message] of BREAKS) {
  test(`found: ${what}`, () => {
    const dashboard = sample();
    change(dashboard);
    const findings = schemaFindings(fileOf(dashboard));
    assert.notEqual(findings.length, 0);
    assert.match(findings.join('\n'), message);
    assert.match(findings[0] ?? '', /^Sample\/sample\.json:\d+:\d+: TS\d+: /);
  });
}

test('the line is that of the file', () => {
  const dashboard = sample();
  Object.assign(at(dashboard.panels, 0).gridPos, { x: '0' });
  const files = fileOf(dashboard);
  const line = [...files.values()][0]?.split('\n').findIndex((text) => text.includes('"x": "0"')) ?? -1;
  assert.match(schemaFindings(files)[0] ?? '', new RegExp(`^Sample/sample\\.json:${line + 1}:`));
});

test('what is no JSON is found too', () => {
  assert.notEqual(schemaFindings(new Map([['Sample/sample.json', '{"title": ']])).length, 0);
});
