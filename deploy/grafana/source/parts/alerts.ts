// The list of firing alerts, as several dashboards show it. The ruler of the profile writes them to Mimir as ALERTS; Loki's ruler does
// not, its alerts arrive by Alertmanager.
import { TableSortByFieldStateBuilder } from '@grafana/grafana-foundation-sdk/common';
import type { PanelBuilder } from '@grafana/grafana-foundation-sdk/table';

import { maxBy, ofProgram } from './expressions.js';
import { table } from './panels.js';
import { metricsTable } from './queries.js';

export function firingAlerts(): PanelBuilder {
  return table(
    'Firing alerts',
    'What Prometheus (profile full) or the ruler of Mimir (profile core) says is wrong now; alerts on log lines are not among them. Runbooks: docs/runbooks.',
  )
    .withTarget(
      metricsTable(
        maxBy(
          'severity, alertname, job, instance, environment, exporter, reason',
          ofProgram('ALERTS', 'alertstate="firing"'),
        ),
        'Firing',
      ),
    )
    .withTransformation({
      id: 'organize',
      options: {
        excludeByName: { Time: true, Value: true, 'Value #Firing': true },
        indexByName: { severity: 0, alertname: 1, job: 2, instance: 3, environment: 4, exporter: 5, reason: 6 },
        renameByName: {
          severity: 'Severity',
          alertname: 'Alert',
          job: 'Job',
          instance: 'Instance',
          environment: 'Environment',
          exporter: 'Exporter',
          reason: 'Reason',
        },
      },
    })
    .noValue('none')
    .overrideByName('Severity', [
      {
        id: 'mappings',
        value: [
          {
            type: 'value',
            options: {
              critical: { text: 'critical', color: 'red' },
              warning: { text: 'warning', color: 'yellow' },
              info: { text: 'info', color: 'blue' },
            },
          },
        ],
      },
      { id: 'custom.cellOptions', value: { type: 'color-text' } },
    ])
    .sortBy([new TableSortByFieldStateBuilder().displayName('Severity').desc(false)]);
}
