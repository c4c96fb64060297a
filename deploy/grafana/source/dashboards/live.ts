// Level 4, live: what happens right now? Five minutes, asked again every five seconds.
import { RowBuilder, TimePickerBuilder, type DashboardBuilder } from '@grafana/grafana-foundation-sdk/dashboard';

import { firingAlerts } from '../parts/alerts.js';
import {
  asMessages,
  logsOf,
  ofProgram,
  ofProgramAny,
  rate,
  sum,
  sumBy,
  tracesOf,
} from '../parts/expressions.js';
import { dashboard } from '../parts/finish.js';
import { errorRatio, failedRequests, latencyP95, requestRate, requests } from '../parts/http.js';
import { logs, stackedBars, stat, table, timeSeries, units, widths } from '../parts/panels.js';
import { logLines, logMetrics, metrics, traces } from '../parts/queries.js';
import * as thresholds from '../parts/thresholds.js';

const dropped = rate(
  ofProgramAny(['otlp_spans_dropped_total', 'otlp_logs_dropped_total', 'otlp_metrics_dropped_total']),
);

export function live(): DashboardBuilder {
  const base = dashboard(
    'live',
    'Live',
    'The last five minutes, every five seconds: for looking on while something is repaired.',
  )
    .time({ from: 'now-5m', to: 'now' })
    .refresh('5s')
    .liveNow(true)
    .timepicker(new TimePickerBuilder().refreshIntervals(['5s', '10s', '30s', '1m']));
  return withFindings(withStream(withTraffic(withNumbers(base))));
}

function withNumbers(builder: DashboardBuilder): DashboardBuilder {
  return builder
    .withRow(new RowBuilder('Now'))
    .withPanel(requestRate())
    .withPanel(errorRatio())
    .withPanel(latencyP95())
    .withPanel(
      stat(
        'Requests in flight',
        'HTTP requests that have come and are not answered yet.',
        units.count,
        thresholds.plain(),
      ).withTarget(metrics(sum(ofProgram('active_connections')), 'in flight')),
    )
    .withPanel(
      stat(
        'Telemetry dropped',
        'Spans, log lines and samples lost a second.',
        units.perSecond,
        thresholds.none('red'),
      ).withTarget(metrics(sum(dropped), 'dropped')),
    )
    .withPanel(
      stat(
        'Firing alerts',
        'Alerts of the severities critical and warning that are firing.',
        units.count,
        thresholds.none('red'),
      ).withTarget(
        metrics(
          `count(${ofProgram('ALERTS', 'alertstate="firing", severity=~"critical|warning"')}) or vector(0)`,
          'firing',
        ),
      ),
    );
}

function withTraffic(builder: DashboardBuilder): DashboardBuilder {
  return builder
    .withRow(new RowBuilder('Requests'))
    .withPanel(
      timeSeries('Request rate', 'HTTP requests answered a second, by service.', units.requestsPerSecond).withTarget(
        metrics(sumBy('job', requests), '{{job}}'),
      ),
    )
    .withPanel(
      stackedBars(
        'Failed requests',
        'HTTP requests a second answered with 500 and above, by service, path and status.',
        units.requestsPerSecond,
      )
        .thresholds(thresholds.none('red'))
        .withTarget(metrics(sumBy('job, path, status', failedRequests), '{{job}} {{path}} {{status}}')),
    )
    .withPanel(
      stackedBars(
        'Errors and warnings in the logs',
        'Log lines of the levels error and warn in each interval.',
        units.count,
      ).withTarget(
        logMetrics(
          sumBy('service, level', `count_over_time(${logsOf('level=~"error|warn"')}[$__auto])`),
          '{{service}} {{level}}',
        ),
      ),
    );
}

function withStream(builder: DashboardBuilder): DashboardBuilder {
  return builder.withRow(new RowBuilder('Log stream')).withPanel(
    logs('Log stream', 'All lines as they come in, the newest first; the details of a line lead to its trace.')
      .span(widths.all)
      .height(14)
      .withTarget(logLines(asMessages(logsOf()), 500)),
  );
}

function withFindings(builder: DashboardBuilder): DashboardBuilder {
  return builder
    .withRow(new RowBuilder('Traces and alerts'))
    .withPanel(
      table('Slow traces', 'Traces in which a span of these services took over 500 ms.').withTarget(
        traces(tracesOf('duration > 500ms'), 20),
      ),
    )
    .withPanel(
      table('Failed traces', 'Traces in which a span of these services failed.').withTarget(
        traces(tracesOf('status = error'), 20),
      ),
    )
    .withPanel(firingAlerts())
    .withPanel(
      logs(
        'Delivered alerts',
        "What Alertmanager has delivered to the example program's webhook, alerts on log lines too, whatever service is chosen. Only in the profile full.",
      ).withTarget(
        logLines(
          asMessages('{service_name="alerts", level="warn"} | json alertname="alertname" | alertname != ""'),
          100,
        ),
      ),
    );
}
