// The committed dashboards are what the sources give, the sources give the same each time, and a difference is named.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { differences } from '../checks/committed.js';
import { dashboardsFolder, filesIn } from '../checks/files.js';
import { dashboardFiles } from '../dashboards/index.js';

test('the committed dashboards are what the sources give', () => {
  assert.deepEqual(differences(filesIn(dashboardsFolder, '.json'), dashboardFiles()), []);
});

test('the sources give the same each time', () => assert.deepEqual(dashboardFiles(), dashboardFiles()));

test('a changed line is named, with both sides', () => {
  const made = new Map([['A/a.json', '{\n  "title": "A"\n}\n']]);
  const committed = new Map([['A/a.json', '{\n  "title": "B"\n}\n']]);
  assert.deepEqual(differences(committed, made), [
    'A/a.json: line 2: committed is `"title": "B"`, the sources give `"title": "A"`; `npm run build` writes it',
  ]);
});

test('a file that ends early is named', () => {
  assert.deepEqual(differences(new Map([['A/a.json', '{']]), new Map([['A/a.json', '{\n}']])), [
    'A/a.json: line 2: committed is `the end of the file`, the sources give `}`; `npm run build` writes it',
  ]);
});

test('a file too few and one too many are named', () => {
  assert.deepEqual(differences(new Map([['B/b.json', '{}']]), new Map([['A/a.json', '{}']])), [
    'A/a.json: the sources give it, but it is not there; `npm run build` writes it',
    'B/b.json: no source gives it',
  ]);
});
