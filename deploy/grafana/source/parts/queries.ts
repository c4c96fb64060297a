// One query of a panel, in the data source's own terms.
import * as lokiSdk from '@grafana/grafana-foundation-sdk/loki';
import * as prometheusSdk from '@grafana/grafana-foundation-sdk/prometheus';
import * as tempoSdk from '@grafana/grafana-foundation-sdk/tempo';

import { loki, mimir, tempo } from './data_sources.js';

/** PromQL over time. */
export const metrics = (expression: string, legend: string): prometheusSdk.DataqueryBuilder =>
  new prometheusSdk.DataqueryBuilder()
    .datasource(mimir)
    .editorMode(prometheusSdk.QueryEditorMode.Code)
    .expr(expression)
    .legendFormat(legend)
    .range();

/** PromQL over a histogram, with the exemplars that lead to traces. */
export const metricsWithExemplars = (expression: string, legend: string): prometheusSdk.DataqueryBuilder =>
  metrics(expression, legend).exemplar(true);

/** PromQL now, one number a series. */
export const metricsNow = (expression: string, legend: string): prometheusSdk.DataqueryBuilder =>
  metrics(expression, legend).instant();

/** PromQL now, one row a series. `column` tells the rows' values apart where queries are merged. */
export const metricsTable = (expression: string, column: string): prometheusSdk.DataqueryBuilder =>
  metrics(expression, '').instant().format(prometheusSdk.PromQueryFormat.Table).refId(column);

/** PromQL over the buckets of a histogram, for a heatmap. */
export const metricsHeatmap = (expression: string): prometheusSdk.DataqueryBuilder =>
  metricsWithExemplars(expression, '{{le}}').format(prometheusSdk.PromQueryFormat.Heatmap);

const logql = (expression: string): lokiSdk.DataqueryBuilder =>
  new lokiSdk.DataqueryBuilder().datasource(loki).editorMode(lokiSdk.QueryEditorMode.Code).expr(expression);

/** Log lines, the newest first. */
export const logLines = (expression: string, maxLines: number): lokiSdk.DataqueryBuilder =>
  logql(expression)
    .queryType(lokiSdk.LokiQueryType.Range)
    .direction(lokiSdk.LokiQueryDirection.Backward)
    .maxLines(maxLines);

/** Numbers from log lines over time. */
export const logMetrics = (expression: string, legend: string): lokiSdk.DataqueryBuilder =>
  logql(expression).queryType(lokiSdk.LokiQueryType.Range).legendFormat(legend);

/** Numbers from log lines, now. */
export const logMetricsNow = (expression: string, legend: string): lokiSdk.DataqueryBuilder =>
  logql(expression).queryType(lokiSdk.LokiQueryType.Instant).legendFormat(legend);

/** A list of traces: a `table` panel shows it, `traces` would show a single one. */
export const traces = (query: string, limit: number): tempoSdk.DataqueryBuilder =>
  new tempoSdk.DataqueryBuilder()
    .datasource(tempo)
    .queryType(tempoSdk.TempoQueryType.Traceql)
    .query(query)
    .tableType(tempoSdk.SearchTableType.Traces)
    .filters([])
    .limit(limit);

/** Who calls whom, from the series of Tempo's metrics generator that any of the selectors leaves. */
export const serviceMap = (selectors: string[]): tempoSdk.DataqueryBuilder =>
  new tempoSdk.DataqueryBuilder()
    .datasource(tempo)
    .queryType(tempoSdk.TempoQueryType.ServiceMap)
    .serviceMapQuery(selectors)
    .filters([]);
