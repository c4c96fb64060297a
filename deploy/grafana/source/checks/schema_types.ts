// Grafana's published types, put together so that a dashboard's JSON is checked by the compiler as one value (see schema.ts).
//
// Covered: the dashboard, its links, variables, annotations, rows and panels with the types of @grafana/schema; the options and field
// options of each panel with that panel's own types; the queries with the types that the Foundation SDK generates from Grafana's data
// sources, as @grafana/schema has none of Prometheus, Loki and Tempo. A field that no type knows is an error, so is a panel of a type that
// is not in the list below.
// Not covered, because no types are published: the options of transformations, data links, and what a data source does with a query.
import type * as lokiSdk from '@grafana/grafana-foundation-sdk/loki';
import type * as prometheusSdk from '@grafana/grafana-foundation-sdk/prometheus';
import type * as tempoSdk from '@grafana/grafana-foundation-sdk/tempo';
import type * as dashboardSdk from '@grafana/grafana-foundation-sdk/dashboard';
import type * as schema from '@grafana/schema';
import type * as heatmap from '@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen';
import type * as logs from '@grafana/schema/dist/esm/raw/composable/logs/panelcfg/x/LogsPanelCfg_types.gen';
import type * as nodeGraph from '@grafana/schema/dist/esm/raw/composable/nodegraph/panelcfg/x/NodeGraphPanelCfg_types.gen';
import type * as pieChart from '@grafana/schema/dist/esm/raw/composable/piechart/panelcfg/x/PieChartPanelCfg_types.gen';
import type * as stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as table from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type * as timeSeries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

/** The type as JSON writes it: an enum's member is its value. */
type Json<T> = 0 extends 1 & T
  ? unknown
  : T extends string
    ? `${T}`
    : T extends number
      ? `${T}` extends `${infer N extends number}`
        ? N
        : never
      : T extends readonly (infer Item)[]
        ? Json<Item>[]
        : T extends object
          ? { [Key in keyof T]: Json<T[Key]> }
          : T;

type Query<T> = Json<Omit<T, '_implementsDataqueryVariant'>>;
type DataSource<Type extends string> = { type: Type; uid: string };

type PrometheusQuery = Omit<Query<prometheusSdk.Dataquery>, 'datasource'> & { datasource: DataSource<'prometheus'> };
type LokiQuery = Omit<Query<lokiSdk.dataquery>, 'datasource'> & { datasource: DataSource<'loki'> };
type TempoQuery = Omit<Query<tempoSdk.Dataquery>, 'datasource'> & { datasource: DataSource<'tempo'> };

// A setting of one field by its id: a field option, or one of the panel's own with `custom.` before it.
type Properties<Options, Prefix extends string> = {
  [Key in keyof Options & string]: { id: `${Prefix}${Key}`; value?: Json<Options[Key]> };
}[keyof Options & string];
type OverrideProperty<Custom> =
  Properties<Omit<schema.FieldConfig, 'custom'>, ''> | Properties<Required<Custom>, 'custom.'>;

type FieldConfig<Custom> = {
  defaults: Json<Omit<schema.FieldConfig, 'custom'>> & { custom?: Json<Partial<Custom>> };
  overrides: { matcher: Json<schema.MatcherConfig>; properties: OverrideProperty<Custom>[] }[];
};

type Panel<Type extends string, Options, Custom = Record<never, never>> = Omit<
  Json<schema.Panel>,
  'type' | 'options' | 'fieldConfig' | 'targets' | 'datasource'
> & {
  type: Type;
  datasource: DataSource<'prometheus'> | DataSource<'loki'> | DataSource<'tempo'>;
  options: Json<Options>;
  fieldConfig?: FieldConfig<Custom>;
  targets: (PrometheusQuery | LokiQuery | TempoQuery)[];
};

type AnyPanel =
  | Panel<'heatmap', heatmap.Options, heatmap.FieldConfig>
  | Panel<'logs', logs.Options>
  | Panel<'nodeGraph', nodeGraph.Options>
  | Panel<'piechart', pieChart.Options, pieChart.FieldConfig>
  | Panel<'stat', stat.Options>
  | Panel<'table', table.Options, table.FieldConfig>
  | Panel<'timeseries', timeSeries.Options, timeSeries.FieldConfig>;

type Annotation = Omit<Json<schema.AnnotationQuery>, 'target' | 'datasource'> & {
  datasource: DataSource<'prometheus'>;
  target: PrometheusQuery;
} & Pick<dashboardSdk.AnnotationQuery, 'titleFormat' | 'textFormat' | 'tagKeys'>;

/** A file of a dashboard. */
export type DashboardFile = Omit<Json<schema.Dashboard>, 'panels' | 'annotations' | 'schemaVersion'> & {
  schemaVersion: number;
  annotations?: { list?: Annotation[] };
  panels: (AnyPanel | Json<schema.RowPanel>)[];
};
