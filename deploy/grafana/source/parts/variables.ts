// The variables of the dashboards: environment and service on all of them, instance where single processes are looked at.
import { QueryVariableBuilder, VariableRefresh, VariableSort } from '@grafana/grafana-foundation-sdk/dashboard';

import { mimir } from './data_sources.js';
import { ofProgram } from './expressions.js';

// PrometheusVariableSupport's number for a query of the form label_values(...).
const LABEL_VALUES = 1;

// Programs that do not say where they run have no environment: an empty value has to match too.
export const ALL_ENVIRONMENTS = '.*';
// Loki refuses a selector of which every matcher accepts the empty string, so this is not `.*`. Every program has a service name.
const ALL_SERVICES = '.+';

function labelValues(name: string, query: string): QueryVariableBuilder {
  return new QueryVariableBuilder(name)
    .datasource(mimir)
    .query({ qryType: LABEL_VALUES, query, refId: 'PrometheusVariableQueryEditor-VariableQuery' })
    .refresh(VariableRefresh.OnTimeRangeChanged)
    .sort(VariableSort.AlphabeticalAsc)
    .multi(true)
    .includeAll(true)
    .current({ text: ['All'], value: ['$__all'] });
}

export function environment(): QueryVariableBuilder {
  return labelValues('environment', 'label_values(otlp_spans_created_total, environment)')
    .label('Environment')
    .description('deployment.environment.name; All includes programs that say none')
    .allValue(ALL_ENVIRONMENTS);
}

export function service(): QueryVariableBuilder {
  return labelValues('service', 'label_values(otlp_spans_created_total{environment=~"$environment"}, service_name)')
    .label('Service')
    .description('service.name of the programs that make spans')
    .allValue(ALL_SERVICES);
}

export function instance(): QueryVariableBuilder {
  return labelValues('instance', `label_values(${ofProgram('otlp_spans_exported_total')}, instance)`)
    .label('Instance')
    .description('service.instance.id of a program that pushes, host and port of one that is scraped')
    .allValue('.*');
}
