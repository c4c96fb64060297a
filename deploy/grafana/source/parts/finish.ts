// From the builder to the file: what is the same for every dashboard, and what the SDK leaves out or says differently from the Grafana
// that these files are for.
import { createRequire } from 'node:module';

import type { AnnotationQueryBuilder } from '@grafana/grafana-foundation-sdk/dashboard';
import {
  AnnotationQueryBuilder as Annotation,
  DashboardBuilder,
  DashboardCursorSync,
  type Dashboard,
  type Panel,
  type RowPanel,
} from '@grafana/grafana-foundation-sdk/dashboard';
import { defaultDashboard } from '@grafana/schema';

import { mimir } from './data_sources.js';
import { ofProgram } from './expressions.js';
import { levels, linksFrom, type Level } from './links.js';
import { metrics } from './queries.js';
import { environment, service } from './variables.js';

/** The Grafana that the files are for: the version of its schema package. */
export const grafanaVersion = (createRequire(import.meta.url)('@grafana/schema/package.json') as { version: string })
  .version;

/** Marks where an alert was firing. */
const firingAlerts = (): AnnotationQueryBuilder =>
  new Annotation()
    .name('Firing alerts')
    .datasource(mimir)
    .enable(true)
    .iconColor('red')
    .target(metrics(ofProgram('ALERTS', 'alertstate="firing"'), '{{alertname}}').refId('FiringAlerts'))
    .titleFormat('{{alertname}}')
    .textFormat('{{job}} {{exporter}}')
    .tagKeys('severity,exporter');

/** A dashboard of a level, with what all have: links to the other levels, the variables, the marks of alerts. */
export function dashboard(level: Level, title: string, description: string): DashboardBuilder {
  return new DashboardBuilder(title)
    .uid(levels[level].uid)
    .description(description)
    .tags(['lgtm', level])
    .timezone('browser')
    .tooltip(DashboardCursorSync.Crosshair)
    .links(linksFrom(level))
    .withVariable(environment())
    .withVariable(service())
    .annotation(firingAlerts());
}

const isRow = (panel: Panel | RowPanel): panel is RowPanel => panel.type === 'row';

/** The dashboard as the object that its file holds. */
export function finish(builder: DashboardBuilder): unknown {
  const built: Dashboard = builder.build();
  built.schemaVersion = defaultDashboard.schemaVersion;
  // The SDK's default would hide them in a menu.
  for (const shown of [...(built.links ?? []), ...(built.annotations?.list ?? [])]) {
    delete shown.placement;
  }
  for (const variable of built.templating?.list ?? []) {
    // Of variables that are intervals.
    delete variable.auto;
    delete variable.auto_min;
    delete variable.auto_count;
  }
  (built.panels ?? []).forEach((panel, index) => {
    panel.id = index + 1;
    if (isRow(panel)) {
      return;
    }
    // Without it Grafana takes the panel for one of an old version and migrates it.
    panel.pluginVersion = grafanaVersion;
    // Says nothing without `repeat`.
    delete panel.repeatDirection;
    const targets = (panel.targets ?? []) as { refId?: string; datasource?: typeof mimir }[];
    panel.datasource ??= targets[0]?.datasource;
    targets.forEach((target, position) => {
      target.refId ??= String.fromCharCode('A'.charCodeAt(0) + position);
    });
    if (panel.type === 'piechart') {
      // Newer than the SDK: the largest part first.
      Object.assign(panel.options as object, { sort: 'desc' });
    }
    if (panel.type === 'table') {
      // Of former versions: Grafana 13 says it by column.
      delete (panel.options as { footer?: unknown }).footer;
    }
  });
  return sorted(JSON.parse(JSON.stringify(built)));
}

/** With the keys of all objects in alphabetical order, so that a new version of the SDK does not move lines. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) {
    return value.map(sorted);
  }
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(
      Object.entries(value)
        .sort(([left], [right]) => (left < right ? -1 : 1))
        .map(([key, member]) => [key, sorted(member)]),
    );
  }
  return value;
}
