// All rules that only Grafana's files have to keep, over all dashboards.
import { defaultDashboard } from '@grafana/schema';

import type { Dashboard } from './model.js';
import { gridFindings, nameOf, panelFindings } from './panel_rules.js';
import { dataSourceFindings, linkFindings, variableFindings } from './reference_rules.js';

/** One message for each rule that a dashboard breaks. `uids`: the type of each provisioned data source, by its uid. */
export function ruleFindings(files: Map<string, string>, uids: Map<string, string>): string[] {
  const unreadable: string[] = [];
  const read = new Map<string, Dashboard>();
  for (const [path, text] of files) {
    try {
      read.set(path, JSON.parse(text) as Dashboard);
    } catch (error) {
      unreadable.push(`${path}: no JSON: ${(error as Error).message}`);
    }
  }
  const dashboards = [...read.values()];
  return [
    ...unreadable,
    ...[...read].flatMap(([path, dashboard]) =>
      [
        ...headFindings(dashboard, dashboards),
        ...gridFindings(dashboard.panels ?? []),
        ...(dashboard.panels ?? []).flatMap((panel) =>
          panelFindings(panel).map((finding) => `${nameOf(panel)}: ${finding}`),
        ),
        ...dataSourceFindings(dashboard, uids),
        ...variableFindings(dashboard),
        ...linkFindings(dashboard, dashboards),
      ].map((finding) => `${path}: ${finding}`),
    ),
  ];
}

function headFindings(dashboard: Dashboard, dashboards: Dashboard[]): string[] {
  const { uid, title, description, schemaVersion, panels } = dashboard;
  const others = dashboards.filter((other) => other !== dashboard);
  return [
    ...(uid ? [] : ['no uid']),
    ...(title ? [] : ['no title']),
    ...(description ? [] : ['no description']),
    ...(panels?.length ? [] : ['no panels']),
    ...(others.some((other) => other.uid === uid) ? [`uid \`${uid}\` is also that of another dashboard`] : []),
    ...(schemaVersion === defaultDashboard.schemaVersion
      ? []
      : [`schemaVersion ${schemaVersion}; Grafana's is ${defaultDashboard.schemaVersion}`]),
  ];
}
