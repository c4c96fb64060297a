// Level 2, service: what is wrong with a service? Its requests, spans, logs, traces, neighbours and resources.
import { RowBuilder, type DashboardBuilder } from '@grafana/grafana-foundation-sdk/dashboard';

import {
  asMessages,
  generatorSelectors,
  logsOf,
  maxBy,
  ofGenerator,
  ofProgram,
  quantile,
  rate,
  ratio,
  sumBy,
  tracesOf,
} from '../parts/expressions.js';
import { dashboard } from '../parts/finish.js';
import { failedRequests, requestBuckets, requests } from '../parts/http.js';
import {
  colored,
  column,
  levelColors,
  logs,
  nodeGraph,
  stackedBars,
  table,
  timeSeries,
  timeSeriesWithLimits,
  units,
  widths,
} from '../parts/panels.js';
import {
  logLines,
  logMetrics,
  logMetricsNow,
  metrics,
  metricsTable,
  metricsWithExemplars,
  serviceMap,
  traces,
} from '../parts/queries.js';
import * as thresholds from '../parts/thresholds.js';

const spans = rate(ofProgram('otlp_spans_created_total'));
const spanBuckets = rate(ofProgram('otlp_spans_duration_seconds_bucket'));

const QUANTILES: [q: number, name: string][] = [
  [0.5, 'P50'],
  [0.95, 'P95'],
  [0.99, 'P99'],
];

export function service(): DashboardBuilder {
  const base = dashboard(
    'service',
    'Service',
    'One or some services: requests, spans, logs, traces, dependencies and resources.',
  )
    .refresh('30s')
    .time({ from: 'now-1h', to: 'now' });
  return withResources(withDependencies(withTraces(withLogs(withSpans(withRequests(base))))));
}

function withRequests(builder: DashboardBuilder): DashboardBuilder {
  const latency = timeSeriesWithLimits(
    'Request latency (P50, P95, P99)',
    'Half, 95 % and 99 % of the HTTP requests were answered within these times. A dot is an exemplar: it leads to a trace. Lines at 100 ms and 500 ms, for P95.',
    units.seconds,
    thresholds.latency(),
  );
  for (const [q, name] of QUANTILES) {
    latency.withTarget(metricsWithExemplars(quantile(q, sumBy('le', requestBuckets)), name));
  }
  return builder
    .withRow(new RowBuilder('Requests'))
    .withPanel(
      timeSeries(
        'HTTP request rate',
        'HTTP requests answered a second, by method.',
        units.requestsPerSecond,
      ).withTarget(metrics(sumBy('method', requests), '{{method}}')),
    )
    .withPanel(latency)
    .withPanel(
      timeSeriesWithLimits(
        'Error ratio',
        'Part of the HTTP requests answered with 500 and above. Lines at 1 % and 5 %.',
        units.part,
        thresholds.errorRatio(),
      ).withTarget(metrics(ratio(sumBy('job', failedRequests), sumBy('job', requests)), '{{job}}')),
    )
    .withPanel(
      stackedBars(
        'Requests by path and status',
        'HTTP requests answered a second. The path is the route, not what was typed.',
        units.requestsPerSecond,
      ).withTarget(metrics(sumBy('path, status', requests), '{{path}} {{status}}')),
    )
    .withPanel(
      timeSeriesWithLimits(
        'Latency P95 by path',
        '95 % of the HTTP requests were answered within this time. A dot is an exemplar: it leads to a trace. Lines at 100 ms and 500 ms.',
        units.seconds,
        thresholds.latency(),
      ).withTarget(
        metricsWithExemplars(quantile(0.95, sumBy('method, path, le', requestBuckets)), '{{method}} {{path}}'),
      ),
    )
    .withPanel(
      timeSeries(
        'Requests in flight',
        'HTTP requests that have come and are not answered yet.',
        units.count,
      ).withTarget(metrics(sumBy('job', ofProgram('active_connections')), '{{job}}')),
    );
}

function withSpans(builder: DashboardBuilder): DashboardBuilder {
  return builder
    .withRow(new RowBuilder('Spans'))
    .withPanel(
      timeSeries('Span rate by kind', 'Spans created a second, sampled or not.', units.perSecond).withTarget(
        metrics(sumBy('span_kind', spans), '{{span_kind}}'),
      ),
    )
    .withPanel(
      timeSeriesWithLimits(
        'Span duration P95 by kind',
        '95 % of the spans took up to this time, sampled or not. A dot is an exemplar: it leads to a trace. Lines at 100 ms and 500 ms.',
        units.seconds,
        thresholds.latency(),
      ).withTarget(metricsWithExemplars(quantile(0.95, sumBy('span_kind, le', spanBuckets)), '{{span_kind}}')),
    )
    .withPanel(
      timeSeries(
        'Span duration, mean by kind',
        'What a span took on average, sampled or not.',
        units.seconds,
      ).withTarget(
        metrics(
          `${sumBy('span_kind', rate(ofProgram('otlp_spans_duration_seconds_sum')))} / ` +
            `(${sumBy('span_kind', rate(ofProgram('otlp_spans_duration_seconds_count')))} > 0)`,
          '{{span_kind}}',
        ),
      ),
    );
}

function withLogs(builder: DashboardBuilder): DashboardBuilder {
  const volume = stackedBars('Log volume by level', 'Log lines in each interval.', units.count)
    .span(widths.all)
    .height(6)
    .withTarget(logMetrics(sumBy('level', `count_over_time(${logsOf()}[$__auto])`), '{{level}}'));
  for (const [level, color] of levelColors) {
    volume.overrideByName(level, colored(color));
  }
  return builder
    .withRow(new RowBuilder('Logs'))
    .withPanel(volume)
    .withPanel(
      logs('Error logs', 'Lines of the level error; the details of a line lead to its trace.').withTarget(
        logLines(asMessages(logsOf('level="error"')), 200),
      ),
    )
    .withPanel(
      logs('All logs', 'Lines of all levels; the details of a line lead to its trace.').withTarget(
        logLines(asMessages(logsOf()), 500),
      ),
    )
    .withPanel(
      table(
        'Most frequent messages',
        "The messages that were logged most in the time range, each with its level and where it was said. Messages with numbers in them count one by one: Grafana's Logs Drilldown shows their patterns.",
      )
        .span(widths.all)
        .withTarget(
          logMetricsNow(
            `topk(30, ${sumBy('service, level, target, message', `count_over_time(${logsOf()} | json message="message" [$__range])`)})`,
            'Lines',
          ),
        )
        .withTransformation({ id: 'labelsToFields', options: { mode: 'columns' } })
        .withTransformation({ id: 'merge', options: {} })
        .withTransformation({
          id: 'organize',
          options: {
            excludeByName: { Time: true },
            indexByName: { level: 0, service: 1, target: 2, message: 3 },
            renameByName: {
              level: 'Level',
              service: 'Service',
              target: 'Target',
              message: 'Message',
              Value: 'Lines',
              'Value #A': 'Lines',
            },
          },
        })
        .overrideByName('Lines', column(units.count)),
    );
}

function withTraces(builder: DashboardBuilder): DashboardBuilder {
  return builder
    .withRow(new RowBuilder('Traces'))
    .withPanel(
      table('Traces', 'The newest traces with a span of these services; a click on an id opens the trace.')
        .span(widths.all)
        .withTarget(traces(tracesOf(), 50)),
    )
    .withPanel(
      table('Failed traces', 'The newest traces in which a span of these services failed.').withTarget(
        traces(tracesOf('status = error'), 20),
      ),
    )
    .withPanel(
      table('Slow traces', 'The newest traces in which a span of these services took over 500 ms.').withTarget(
        traces(tracesOf('duration > 500ms'), 20),
      ),
    );
}

function withDependencies(builder: DashboardBuilder): DashboardBuilder {
  const EDGE = 'client, server';
  const calls = sumBy(EDGE, rate(ofGenerator('traces_service_graph_request_total', 'client=~"$service"')));
  const failedCalls = sumBy(EDGE, rate(ofGenerator('traces_service_graph_request_failed_total', 'client=~"$service"')));
  const callers = sumBy(EDGE, rate(ofGenerator('traces_service_graph_request_total', 'server=~"$service"')));
  const callBuckets = rate(ofGenerator('traces_service_graph_request_client_seconds_bucket', 'client=~"$service"'));
  const OPERATION = 'service, span_name, span_kind';
  const operations = sumBy(OPERATION, rate(ofGenerator('traces_spanmetrics_calls_total', 'service=~"$service"')));
  const failedOperations = sumBy(
    OPERATION,
    rate(ofGenerator('traces_spanmetrics_calls_total', 'service=~"$service", status_code="STATUS_CODE_ERROR"')),
  );
  const operationBuckets = rate(ofGenerator('traces_spanmetrics_latency_bucket', 'service=~"$service"'));
  return builder
    .withRow(new RowBuilder('Dependencies and operations, by Tempo from the traces it received'))
    .withPanel(
      nodeGraph('Service map', 'Whom these services call, and who calls them.').withTarget(
        serviceMap(generatorSelectors('client=~"${service:pipe}"', 'server=~"${service:pipe}"')),
      ),
    )
    .withPanel(
      table(
        'Operations',
        'By name of the span: how often, how many failed, how long. Spans of sampled traces are weighed by their chance to be kept.',
      )
        .height(12)
        .withTarget(metricsTable(operations, 'Rate'))
        .withTarget(metricsTable(ratio(failedOperations, operations), 'Errors'))
        .withTarget(metricsTable(quantile(0.95, sumBy(`${OPERATION}, le`, operationBuckets)), 'Duration'))
        .withTransformation({ id: 'merge', options: {} })
        .withTransformation({
          id: 'organize',
          options: {
            excludeByName: { Time: true },
            indexByName: { service: 0, span_name: 1, span_kind: 2 },
            renameByName: {
              service: 'Service',
              span_name: 'Operation',
              span_kind: 'Kind',
              'Value #Rate': 'Rate',
              'Value #Errors': 'Error ratio',
              'Value #Duration': 'Duration P95',
            },
          },
        })
        .overrideByName('Rate', column(units.perSecond))
        .overrideByName('Error ratio', column(units.part, thresholds.errorRatio()))
        .overrideByName('Duration P95', column(units.seconds, thresholds.latency())),
    )
    .withPanel(
      timeSeries('Calls to others', 'Calls a second from these services.', units.requestsPerSecond)
        .span(widths.quarter)
        .withTarget(metrics(calls, '{{client}} → {{server}}')),
    )
    .withPanel(
      timeSeriesWithLimits(
        'Failed calls to others',
        'Part of the calls from these services that failed. Lines at 1 % and 5 %.',
        units.part,
        thresholds.errorRatio(),
      )
        .span(widths.quarter)
        .withTarget(metrics(ratio(failedCalls, calls), '{{client}} → {{server}}')),
    )
    .withPanel(
      timeSeriesWithLimits(
        'Duration P95 of calls to others',
        'As the caller sees it. A dot is an exemplar: it leads to a trace. Lines at 100 ms and 500 ms.',
        units.seconds,
        thresholds.latency(),
      )
        .span(widths.quarter)
        .withTarget(metricsWithExemplars(quantile(0.95, sumBy(`${EDGE}, le`, callBuckets)), '{{client}} → {{server}}')),
    )
    .withPanel(
      timeSeries('Calls from others', 'Calls a second to these services.', units.requestsPerSecond)
        .span(widths.quarter)
        .withTarget(metrics(callers, '{{client}} → {{server}}')),
    );
}

function withResources(builder: DashboardBuilder): DashboardBuilder {
  const PROCESS = 'job, instance';
  const used = maxBy(PROCESS, ofProgram('otlp_system_memory_usage_bytes'));
  const limit = maxBy(PROCESS, ofProgram('otlp_system_memory_limit_bytes'));
  return builder
    .withRow(new RowBuilder('Resources'))
    .withPanel(
      timeSeriesWithLimits(
        'CPU',
        'Of the host that each process runs on. Lines at 70 % and 85 %.',
        units.percent,
        thresholds.cpu(),
      )
        .span(widths.quarter)
        .max(100)
        .withTarget(metrics(maxBy(PROCESS, ofProgram('otlp_system_cpu_usage_percent')), '{{job}} {{instance}}')),
    )
    .withPanel(
      timeSeriesWithLimits(
        'Memory, part of the limit',
        'Of the host, or of the control group where its limit is smaller. Lines at 75 % and 90 %.',
        units.part,
        thresholds.memory(),
      )
        .span(widths.quarter)
        .max(1)
        .withTarget(metrics(`${used} / ${limit}`, '{{job}} {{instance}}')),
    )
    .withPanel(
      timeSeries('Memory and its limit', 'In bytes: in use, and what there is.', units.bytes)
        .span(widths.quarter)
        .withTarget(metrics(used, '{{job}} {{instance}} in use'))
        .withTarget(metrics(limit, '{{job}} {{instance}} limit')),
    )
    .withPanel(
      timeSeries('Tasks', "Tasks alive in each program's tokio runtime.", units.count)
        .span(widths.quarter)
        .withTarget(metrics(maxBy(PROCESS, ofProgram('otlp_system_tasks_count')), '{{job}} {{instance}}')),
    );
}
