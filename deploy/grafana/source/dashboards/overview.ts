// Level 1, overview: are all services well? Numbers over everything, a row a service, and the way down to each.
import { RowBuilder, type DashboardBuilder } from '@grafana/grafana-foundation-sdk/dashboard';
import { TableSortByFieldStateBuilder } from '@grafana/grafana-foundation-sdk/common';

import {
  generatorSelectors,
  logsOf,
  maxBy,
  ofProgram,
  ofProgramAny,
  quantile,
  rate,
  ratio,
  sum,
  sumBy,
  withService,
} from '../parts/expressions.js';
import { firingAlerts } from '../parts/alerts.js';
import { dashboard } from '../parts/finish.js';
import { errorRatio, failedRequests, latencyP95, requestBuckets, requestRate, requests } from '../parts/http.js';
import { seriesToComponent, seriesToService, toService } from '../parts/links.js';
import { column, nodeGraph, stat, table, timeSeries, timeSeriesWithLimits, units, widths } from '../parts/panels.js';
import { logMetrics, metrics, metricsTable, metricsWithExemplars, serviceMap } from '../parts/queries.js';
import * as thresholds from '../parts/thresholds.js';

const spans = rate(ofProgram('otlp_spans_created_total'));
const dropped = rate(
  ofProgramAny(['otlp_spans_dropped_total', 'otlp_logs_dropped_total', 'otlp_metrics_dropped_total']),
);
// Recorded by the rules, per exporter over 5 minutes.
const failureRatio = ofProgram('exporter:lgtm_export_failure:ratio_rate5m');
const exportLatency = ofProgram('exporter:lgtm_export_latency_seconds:p95_rate5m');
const queued = ofProgramAny(['otlp_exporter_queue_size', 'otlp_logs_queue_size', 'otlp_metrics_queue_size']);

const SERVICE = 'service, environment';
const byService = (expression: string): string => sumBy(SERVICE, withService(expression));

// `up` knows only what is scraped, target_info only what pushes; the age of its newest sample is the same for both. The window remembers a
// program for an hour after its end.
const lastSeen =
  'time() - ' +
  maxBy(SERVICE, withService(`max_over_time(timestamp(${ofProgram('otlp_spans_exported_total')})[1h:15s])`));

const errorLines = `count_over_time(${logsOf('level="error"')}[$__auto])`;
const allLines = `count_over_time(${logsOf()}[$__auto])`;

export function overview(): DashboardBuilder {
  return withServices(withNumbers(base()))
    .withRow(new RowBuilder('Requests'))
    .withPanel(
      timeSeries('Request rate by service', 'HTTP requests answered a second.', units.requestsPerSecond)
        .withTarget(metrics(byService(requests), '{{service}}'))
        .dataLinks([seriesToService]),
    )
    .withPanel(
      timeSeriesWithLimits(
        'Error ratio by service',
        'Part of the HTTP requests that was answered with a status of 500 and above. Lines at 1 % and 5 %.',
        units.part,
        thresholds.errorRatio(),
      )
        .withTarget(metrics(ratio(byService(failedRequests), byService(requests)), '{{service}}'))
        .dataLinks([seriesToService]),
    )
    .withPanel(
      timeSeriesWithLimits(
        'Latency P95 by service',
        '95 % of the HTTP requests were answered within this time. A dot is an exemplar: it leads to a trace. Lines at 100 ms and 500 ms.',
        units.seconds,
        thresholds.latency(),
      )
        .withTarget(
          metricsWithExemplars(quantile(0.95, sumBy(`${SERVICE}, le`, withService(requestBuckets))), '{{service}}'),
        )
        .dataLinks([seriesToService]),
    )
    .withRow(new RowBuilder('Telemetry'))
    .withPanel(
      timeSeries('Spans created by service', 'Spans a second, sampled or not.', units.perSecond)
        .withTarget(metrics(byService(spans), '{{service}}'))
        .dataLinks([seriesToService]),
    )
    .withPanel(
      timeSeriesWithLimits(
        'Export success by exporter',
        'Part of the spans, log lines and samples sent that the backend took, over 5 minutes; the worst process of each service. Lines at 95 % and 99 %.',
        units.part,
        thresholds.successRatio(),
      )
        .max(1)
        .withTarget(
          metrics(`1 - ${maxBy(`${SERVICE}, exporter`, withService(failureRatio))}`, '{{service}} {{exporter}}'),
        )
        .dataLinks([seriesToComponent]),
    )
    .withPanel(
      timeSeriesWithLimits(
        'Telemetry dropped',
        'Spans, log lines and samples a second that were lost before a backend had them. None is normal.',
        units.perSecond,
        thresholds.none('yellow'),
      )
        .withTarget(
          metrics(sumBy(`${SERVICE}, exporter, reason`, withService(dropped)), '{{service}} {{exporter}}: {{reason}}'),
        )
        .dataLinks([seriesToComponent]),
    )
    .withRow(new RowBuilder('Logs'))
    .withPanel(
      timeSeriesWithLimits(
        'Log error ratio by service',
        'Part of the log lines that has the level error. Lines at 1 % and 5 %.',
        units.part,
        thresholds.errorRatio(),
      )
        .span(widths.half)
        .withTarget(logMetrics(ratio(sumBy('service', errorLines), sumBy('service', allLines)), '{{service}}'))
        .dataLinks([seriesToService]),
    )
    .withPanel(
      timeSeries('Error lines by service', 'Log lines of the level error a second.', units.perSecond)
        .span(widths.half)
        .withTarget(logMetrics(sumBy('service', `rate(${logsOf('level="error"')}[$__auto])`), '{{service}}'))
        .dataLinks([seriesToService]),
    )
    .withRow(new RowBuilder('Alerts and dependencies'))
    .withPanel(firingAlerts().height(12))
    .withPanel(
      nodeGraph(
        'Service map',
        'Who calls whom, from the traces, by Tempo. The circle: part of the calls that succeeded and failed; the numbers: time a call takes, and calls a second.',
      ).withTarget(serviceMap(generatorSelectors())),
    );
}

const base = (): DashboardBuilder =>
  dashboard(
    'overview',
    'Overview',
    'All services at a glance: who is up, what fails, what is slow, whose telemetry is lost.',
  )
    .refresh('30s')
    .time({ from: 'now-1h', to: 'now' });

/** The two lines of numbers over all chosen services. */
function withNumbers(builder: DashboardBuilder): DashboardBuilder {
  return builder
    .withRow(new RowBuilder('Health'))
    .withPanel(
      stat(
        'Services up',
        'Services with a sample within two minutes, pushed or scraped.',
        units.count,
        thresholds.some(),
      ).withTarget(metrics(`count(${lastSeen} < 120) or vector(0)`, 'up')),
    )
    .withPanel(
      stat(
        'Critical alerts',
        'Alerts of the severity critical that are firing.',
        units.count,
        thresholds.none('red'),
      ).withTarget(
        metrics(`count(${ofProgram('ALERTS', 'alertstate="firing", severity="critical"')}) or vector(0)`, 'critical'),
      ),
    )
    .withPanel(
      stat(
        'Warnings',
        'Alerts of the severity warning that are firing.',
        units.count,
        thresholds.none('yellow'),
      ).withTarget(
        metrics(`count(${ofProgram('ALERTS', 'alertstate="firing", severity="warning"')}) or vector(0)`, 'warning'),
      ),
    )
    .withPanel(requestRate())
    .withPanel(errorRatio())
    .withPanel(latencyP95())
    .withPanel(
      stat('Spans created', 'Spans a second, sampled or not.', units.perSecond, thresholds.plain()).withTarget(
        metrics(sum(spans), 'spans'),
      ),
    )
    .withPanel(
      stat(
        'Export success',
        'Part of what the worst exporter sent that its backend took, over 5 minutes.',
        units.part,
        thresholds.successRatio(),
      ).withTarget(metrics(`1 - max(${failureRatio})`, 'success')),
    )
    .withPanel(
      stat(
        'Export latency P95',
        'Of the slowest exporter, over 5 minutes.',
        units.seconds,
        thresholds.latency(),
      ).withTarget(metrics(`max(${exportLatency})`, 'P95')),
    )
    .withPanel(
      stat(
        'Telemetry dropped',
        'Spans, log lines and samples a second that were lost before a backend had them.',
        units.perSecond,
        thresholds.none('red'),
      ).withTarget(metrics(sum(dropped), 'dropped')),
    )
    .withPanel(
      stat(
        'Telemetry waiting',
        'Items in the fullest queue of an exporter.',
        units.count,
        thresholds.queue(),
      ).withTarget(metrics(`max(${queued})`, 'waiting')),
    )
    .withPanel(
      stat(
        'Log error ratio',
        'Part of the log lines that has the level error.',
        units.part,
        thresholds.errorRatio(),
      ).withTarget(logMetrics(ratio(sum(errorLines), sum(allLines)), 'errors')),
    );
}

/** One row a service. */
function withServices(builder: DashboardBuilder): DashboardBuilder {
  return builder.withPanel(
    table('Services', 'What each service says of itself now. A click on its name leads to its dashboard.')
      .span(widths.all)
      .withTarget(metricsTable(`${lastSeen} < bool 120`, 'Up'))
      .withTarget(metricsTable(lastSeen, 'LastSeen'))
      .withTarget(metricsTable(byService(requests), 'Requests'))
      .withTarget(metricsTable(ratio(byService(failedRequests), byService(requests)), 'Errors'))
      .withTarget(metricsTable(quantile(0.95, sumBy(`${SERVICE}, le`, withService(requestBuckets))), 'Latency'))
      .withTarget(metricsTable(byService(spans), 'Spans'))
      .withTarget(metricsTable(`1 - ${maxBy(SERVICE, withService(failureRatio))}`, 'Export'))
      .withTarget(metricsTable(byService(dropped), 'Dropped'))
      .withTransformation({ id: 'merge', options: {} })
      .withTransformation({
        id: 'organize',
        options: {
          excludeByName: { Time: true },
          indexByName: { service: 0, environment: 1 },
          renameByName: {
            service: 'Service',
            environment: 'Environment',
            'Value #Up': 'Up',
            'Value #LastSeen': 'Last seen',
            'Value #Requests': 'Requests',
            'Value #Errors': 'Error ratio',
            'Value #Latency': 'Latency P95',
            'Value #Spans': 'Spans',
            'Value #Export': 'Export success',
            'Value #Dropped': 'Dropped',
          },
        },
      })
      .overrideByName('Service', [{ id: 'links', value: [toService] }])
      .overrideByName('Up', [
        {
          id: 'mappings',
          value: [
            { type: 'value', options: { '0': { text: 'down', color: 'red' }, '1': { text: 'up', color: 'green' } } },
          ],
        },
        { id: 'custom.cellOptions', value: { type: 'color-text' } },
      ])
      .overrideByName('Last seen', column(units.seconds, thresholds.lastSeen()))
      .overrideByName('Requests', column(units.requestsPerSecond))
      .overrideByName('Error ratio', column(units.part, thresholds.errorRatio()))
      .overrideByName('Latency P95', column(units.seconds, thresholds.latency()))
      .overrideByName('Spans', column(units.perSecond))
      .overrideByName('Export success', column(units.part, thresholds.successRatio()))
      .overrideByName('Dropped', column(units.perSecond, thresholds.none('red')))
      .sortBy([new TableSortByFieldStateBuilder().displayName('Service').desc(false)]),
  );
}
