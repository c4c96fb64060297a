// The HTTP server's series of the example program, and the numbers that several levels show of them.
import type { PanelBuilder } from '@grafana/grafana-foundation-sdk/stat';

import { ofProgram, quantile, rate, ratio, sum, sumBy } from './expressions.js';
import { stat, units } from './panels.js';
import { metrics, metricsWithExemplars } from './queries.js';
import * as thresholds from './thresholds.js';

export const requests = rate(ofProgram('http_requests_total'));
export const failedRequests = rate(ofProgram('http_requests_total', 'status=~"5.."'));
export const requestBuckets = rate(ofProgram('http_request_duration_seconds_bucket'));

export function requestRate(): PanelBuilder {
  return stat(
    'Request rate',
    'HTTP requests answered a second.',
    units.requestsPerSecond,
    thresholds.plain(),
  ).withTarget(metrics(sum(requests), 'requests'));
}

export function errorRatio(): PanelBuilder {
  return stat(
    'Error ratio',
    'Part of the HTTP requests answered with 500 and above.',
    units.part,
    thresholds.errorRatio(),
  ).withTarget(metrics(ratio(sum(failedRequests), sum(requests)), 'errors'));
}

export function latencyP95(): PanelBuilder {
  return stat(
    'Latency P95',
    '95 % of the HTTP requests were answered within this time.',
    units.seconds,
    thresholds.latency(),
  ).withTarget(metricsWithExemplars(quantile(0.95, sumBy('le', requestBuckets)), 'P95'));
}
