// A small dashboard that keeps every rule and fits the schema. Tests break one thing of it each.
import type { Dashboard, Panel } from '../checks/model.js';

const mimir = { type: 'prometheus', uid: 'mimir' };

export const uids = new Map([
  ['mimir', 'prometheus'],
  ['loki', 'loki'],
  ['tempo', 'tempo'],
]);

export type WholePanel = Required<
  Pick<Panel, 'id' | 'type' | 'title' | 'description' | 'gridPos' | 'datasource' | 'targets'>
> &
  Panel & { fieldConfig: NonNullable<Panel['fieldConfig']>; options: Record<string, unknown> };

export type WholeDashboard = Omit<Required<Dashboard>, 'panels' | 'annotations'> & { panels: WholePanel[] };

const steps = [{ color: 'green', value: null }];

/** A fresh one each time. */
export function sample(): WholeDashboard {
  return {
    uid: 'sample',
    title: 'Sample',
    description: 'A sample.',
    schemaVersion: 42,
    links: [],
    templating: {
      list: [
        {
          name: 'service',
          type: 'query',
          description: 'The services.',
          datasource: mimir,
          query: 'label_values(otlp_spans_created_total, service_name)',
        },
      ],
    },
    panels: [
      {
        id: 1,
        type: 'timeseries',
        title: 'Spans',
        description: 'Spans a second.',
        gridPos: { x: 0, y: 0, w: 12, h: 8 },
        datasource: mimir,
        targets: [
          {
            refId: 'A',
            datasource: mimir,
            expr: 'sum(rate(otlp_spans_created_total{service_name=~"$service"}[$__rate_interval]))',
            range: true,
          },
        ],
        fieldConfig: { defaults: { unit: 'cps', thresholds: { mode: 'absolute', steps } as never }, overrides: [] },
        options: {
          legend: { calcs: [], displayMode: 'list', placement: 'bottom', showLegend: true },
          tooltip: { mode: 'multi', sort: 'desc' },
        },
      },
      {
        id: 2,
        type: 'heatmap',
        title: 'Batches',
        description: 'Sizes of batches.',
        gridPos: { x: 12, y: 0, w: 12, h: 8 },
        datasource: mimir,
        targets: [
          {
            refId: 'A',
            datasource: mimir,
            expr: 'sum by (le) (increase(otlp_exporter_batch_size_bucket[$__rate_interval]))',
            format: 'heatmap',
          },
        ],
        fieldConfig: { defaults: { unit: 'short', thresholds: { mode: 'absolute', steps } as never }, overrides: [] },
        options: {
          color: {
            exponent: 0.5,
            fill: 'dark-orange',
            mode: 'scheme',
            reverse: false,
            scale: 'exponential',
            scheme: 'Oranges',
            steps: 64,
          },
          exemplars: { color: 'rgba(255,0,255,0.7)' },
          legend: { show: true },
          showValue: 'never',
          tooltip: { mode: 'single' },
          yAxis: { axisPlacement: 'left', unit: 'short' },
        },
      },
    ],
  };
}

/** As its file. */
export const fileOf = (dashboard: unknown, path = 'Sample/sample.json'): Map<string, string> =>
  new Map([[path, JSON.stringify(dashboard, null, 2)]]);

/** The element, which the sample has. */
export function at<T>(items: T[] | undefined, index: number): T {
  const item = items?.[index];
  if (item === undefined) {
    throw new Error(`the sample has no element ${index}`);
  }
  return item;
}
