// Level 3, component: does the telemetry arrive? The exporters of spans, log lines and samples, one row each with the same panels.
import { RowBuilder, type DashboardBuilder } from '@grafana/grafana-foundation-sdk/dashboard';

import { increase, maxBy, ofInstance, ofProgram, quantile, rate, ratio, sumBy } from '../parts/expressions.js';
import { dashboard } from '../parts/finish.js';
import { heatmap, pieChart, stackedBars, timeSeries, timeSeriesWithLimits, units, widths } from '../parts/panels.js';
import { metrics, metricsHeatmap, metricsNow, metricsWithExemplars } from '../parts/queries.js';
import * as thresholds from '../parts/thresholds.js';
import { instance } from '../parts/variables.js';

/** One of the three ways out of a program, with the names of what it counts about itself. */
type Pipeline = {
  things: string;
  request: string;
  backend: string;
  /** Said in the row's title where not every program has this exporter. */
  restriction?: string;
  exported: string;
  errors: string;
  dropped: string;
  latency: string;
  batch: string;
  queue: string;
  /** There only where a program has a spool. */
  spool: string;
};

const spans: Pipeline = {
  things: 'spans',
  request: 'export',
  backend: 'Tempo',
  exported: 'otlp_spans_exported_total',
  errors: 'otlp_spans_export_errors_total',
  dropped: 'otlp_spans_dropped_total',
  latency: 'otlp_exporter_latency_seconds',
  batch: 'otlp_exporter_batch_size',
  queue: 'otlp_exporter_queue_size',
  spool: 'otlp_exporter_spool_size',
};

const logLines: Pipeline = {
  things: 'log lines',
  request: 'push',
  backend: 'Loki',
  exported: 'otlp_logs_exported_total',
  errors: 'otlp_logs_export_errors_total',
  dropped: 'otlp_logs_dropped_total',
  latency: 'otlp_logs_latency_seconds',
  batch: 'otlp_logs_batch_size',
  queue: 'otlp_logs_queue_size',
  spool: 'otlp_logs_spool_size',
};

const samples: Pipeline = {
  things: 'samples',
  request: 'remote write',
  backend: 'Mimir',
  restriction: 'by programs that push; those that are scraped have no such exporter',
  exported: 'otlp_metrics_exported_total',
  errors: 'otlp_metrics_export_errors_total',
  dropped: 'otlp_metrics_dropped_total',
  latency: 'otlp_metrics_latency_seconds',
  batch: 'otlp_metrics_batch_size',
  queue: 'otlp_metrics_queue_size',
  spool: 'otlp_metrics_spool_size',
};

const capitalized = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

export function component(): DashboardBuilder {
  const base = dashboard(
    'component',
    'Component',
    'The exporters inside the programs: what they send to Tempo, Loki and Mimir, how long it takes, what waits, fails and is lost.',
  )
    .withVariable(instance())
    .refresh('30s')
    .time({ from: 'now-1h', to: 'now' });
  return withSystem(withLimits(withPipelines(withCreated(base))));
}

function withCreated(builder: DashboardBuilder): DashboardBuilder {
  return builder
    .withRow(new RowBuilder('All exporters'))
    .withPanel(
      timeSeries(
        'Span creation rate',
        'Spans created a second, by service and kind, sampled or not.',
        units.perSecond,
      ).withTarget(
        metrics(
          sumBy('service_name, span_kind', rate(ofInstance('otlp_spans_created_total'))),
          '{{service_name}} - {{span_kind}}',
        ),
      ),
    )
    .withPanel(
      timeSeriesWithLimits(
        'Failure ratio by exporter',
        'Part of what was sent that failed, over 5 minutes, each try counted, of all instances: what the alert HighExportErrorRate looks at. Lines at 1 % and 5 %.',
        units.part,
        thresholds.errorRatio(),
      )
        .max(1)
        .withTarget(
          metrics(
            maxBy('job, environment, exporter', ofProgram('exporter:lgtm_export_failure:ratio_rate5m')),
            '{{job}} {{exporter}}',
          ),
        ),
    )
    .withPanel(
      timeSeries(
        'Exported by exporter',
        'Spans, log lines and samples a second, by how their requests ended, over 5 minutes, of all instances.',
        units.perSecond,
      ).withTarget(
        metrics(
          sumBy('job, exporter, status', ofProgram('exporter_status:lgtm_exported:rate5m')),
          '{{job}} {{exporter}} {{status}}',
        ),
      ),
    );
}

const withPipelines = (builder: DashboardBuilder): DashboardBuilder =>
  [spans, logLines, samples].reduce((dashboardBuilder, pipeline) => withPipeline(dashboardBuilder, pipeline), builder);

function withPipeline(builder: DashboardBuilder, pipeline: Pipeline): DashboardBuilder {
  const { things, request, backend, restriction } = pipeline;
  const Things = capitalized(things);
  const exported = rate(ofInstance(pipeline.exported));
  const succeeded = rate(ofInstance(pipeline.exported, 'status="success"'));
  const latencyBuckets = sumBy('le', rate(ofInstance(`${pipeline.latency}_bucket`)));
  const latency = timeSeriesWithLimits(
    `${Things}: ${request} latency (P50, P95, P99)`,
    `Half, 95 % and 99 % of the requests to ${backend} took up to these times. Lines at 100 ms and 500 ms, for P95.`,
    units.seconds,
    thresholds.latency(),
  ).span(widths.quarter);
  for (const [q, name] of [
    [0.5, 'P50'],
    [0.95, 'P95'],
    [0.99, 'P99'],
  ] as const) {
    latency.withTarget(metricsWithExemplars(quantile(q, latencyBuckets), name));
  }
  return builder
    .withRow(new RowBuilder(`${Things} to ${backend}${restriction === undefined ? '' : `, ${restriction}`}`))
    .withPanel(
      timeSeries(
        `${Things}: export rate`,
        `${Things} a second in requests to ${backend}, by how the request ended. A failed one counts at each try.`,
        units.perSecond,
      )
        .span(widths.quarter)
        .withTarget(metrics(sumBy('job, status', exported), '{{job}} {{status}}')),
    )
    .withPanel(
      timeSeriesWithLimits(
        `${Things}: export success rate`,
        `Part of the ${things} sent that ${backend} took. Nothing where nothing is sent. Lines at 95 % and 99 %.`,
        units.part,
        thresholds.successRatio(),
      )
        .span(widths.quarter)
        .max(1)
        .withTarget(metrics(ratio(sumBy('job', succeeded), sumBy('job', exported)), '{{job}}')),
    )
    .withPanel(latency)
    .withPanel(
      timeSeriesWithLimits(
        `${Things}: queue size`,
        `${Things} that wait for their ${request}, and those of them on disk. Line at 10,000: more is produced than ${backend} takes.`,
        units.count,
        thresholds.queue(),
      )
        .span(widths.quarter)
        .withTarget(
          metrics(maxBy('job, instance, exporter', ofInstance(pipeline.queue)), '{{job}} {{instance}} {{exporter}}'),
        )
        .withTarget(
          metrics(
            maxBy('job, instance, exporter', ofInstance(pipeline.spool)),
            '{{job}} {{instance}} {{exporter}}: on disk',
          ),
        ),
    )
    .withPanel(
      pieChart(
        `${Things}: errors by type`,
        `Failed requests to ${backend} in the time range: timeout, connect, tls, rate_limited, rejected, too_large, unauthorized, server, partial or other.`,
        units.count,
      ).withTarget(
        metricsNow(sumBy('error_type', `increase(${ofInstance(pipeline.errors)}[$__range])`), '{{error_type}}'),
      ),
    )
    .withPanel(
      heatmap(
        `${Things}: batch size`,
        `How many ${things} a request to ${backend} holds: the darker, the more requests.`,
        units.count,
      ).withTarget(metricsHeatmap(sumBy('le', increase(ofInstance(`${pipeline.batch}_bucket`))))),
    )
    .withPanel(
      stackedBars(
        `${Things}: drops by reason`,
        `${Things} a second that were lost before ${backend} had them. None is normal.`,
        units.perSecond,
      )
        .thresholds(thresholds.none('red'))
        .withTarget(metrics(sumBy('job, reason', rate(ofInstance(pipeline.dropped))), '{{job}}: {{reason}}')),
    );
}

function withLimits(builder: DashboardBuilder): DashboardBuilder {
  return builder
    .withRow(new RowBuilder('Limits'))
    .withPanel(
      timeSeriesWithLimits(
        'Log lines truncated',
        'Lines a second that lost fields or the end of a text because they were too long for Loki.',
        units.perSecond,
        thresholds.none('yellow'),
      )
        .span(widths.quarter)
        .withTarget(metrics(sumBy('job', rate(ofInstance('otlp_logs_truncated_total'))), '{{job}}')),
    )
    .withPanel(
      timeSeriesWithLimits(
        'Stream labels overflowed',
        'Lines a second whose label has the value `other`, because its field has had more values than it may have.',
        units.perSecond,
        thresholds.none('yellow'),
      )
        .span(widths.quarter)
        .withTarget(
          metrics(sumBy('job, label', rate(ofInstance('otlp_logs_label_overflow_total'))), '{{job}}: {{label}}'),
        ),
    )
    .withPanel(
      timeSeriesWithLimits(
        'Series refused',
        'Uses of metrics a second that are not exposed as they were meant: beyond a limit, of another type, not a number.',
        units.perSecond,
        thresholds.none('yellow'),
      )
        .span(widths.quarter)
        .withTarget(
          metrics(sumBy('job, reason', rate(ofInstance('otlp_metrics_series_refused_total'))), '{{job}}: {{reason}}'),
        ),
    )
    .withPanel(
      timeSeriesWithLimits(
        'Traces decided early',
        'Traces a second kept or discarded before their local root closed: too large, too old, or at the end of the program.',
        units.perSecond,
        thresholds.none('yellow'),
      )
        .span(widths.quarter)
        .withTarget(
          metrics(sumBy('job, outcome', rate(ofInstance('otlp_spans_decided_early_total'))), '{{job}}: {{outcome}}'),
        ),
    );
}

function withSystem(builder: DashboardBuilder): DashboardBuilder {
  const PROCESS = 'job, instance';
  const used = maxBy(PROCESS, ofInstance('otlp_system_memory_usage_bytes'));
  const limit = maxBy(PROCESS, ofInstance('otlp_system_memory_limit_bytes'));
  return builder
    .withRow(new RowBuilder('System'))
    .withPanel(
      timeSeriesWithLimits(
        'CPU usage',
        'Of the host that each process runs on. Lines at 70 % and 85 %.',
        units.percent,
        thresholds.cpu(),
      )
        .span(widths.quarter)
        .max(100)
        .withTarget(metrics(maxBy(PROCESS, ofInstance('otlp_system_cpu_usage_percent')), '{{job}} {{instance}}')),
    )
    .withPanel(
      timeSeries('Memory usage', 'In use on the host, or in the control group where its limit is smaller.', units.bytes)
        .span(widths.quarter)
        .withTarget(metrics(used, '{{job}} {{instance}}')),
    )
    .withPanel(
      timeSeriesWithLimits(
        'Memory, part of the limit',
        'Of the memory there is. Lines at 75 % and 90 %.',
        units.part,
        thresholds.memory(),
      )
        .span(widths.quarter)
        .max(1)
        .withTarget(metrics(`${used} / ${limit}`, '{{job}} {{instance}}')),
    )
    .withPanel(
      timeSeries('Tasks', "Tasks alive in each program's tokio runtime.", units.count)
        .span(widths.quarter)
        .withTarget(metrics(maxBy(PROCESS, ofInstance('otlp_system_tasks_count')), '{{job}} {{instance}}')),
    );
}
