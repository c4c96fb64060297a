// Panels with the settings that all dashboards share. Each takes what no panel may lack: a title, a description, and a unit if it shows
// numbers. What is special to a panel is said where it stands.
import {
  AxisPlacement,
  BigValueColorMode,
  BigValueGraphMode,
  GraphDrawStyle,
  GraphThresholdsStyleMode,
  LegendDisplayMode,
  LegendPlacement,
  LogsDedupStrategy,
  LogsSortOrder,
  ReduceDataOptionsBuilder,
  GraphThresholdsStyleConfigBuilder,
  SortOrder,
  StackingConfigBuilder,
  StackingMode,
  TooltipDisplayMode,
  VizLegendOptionsBuilder,
  VizTooltipOptionsBuilder,
  VisibilityMode,
} from '@grafana/grafana-foundation-sdk/common';
import {
  FieldColorBuilder,
  FieldColorModeId,
  type DynamicConfigValue,
  type ThresholdsConfigBuilder,
} from '@grafana/grafana-foundation-sdk/dashboard';
import * as heatmapSdk from '@grafana/grafana-foundation-sdk/heatmap';
import * as logsSdk from '@grafana/grafana-foundation-sdk/logs';
import * as nodeGraphSdk from '@grafana/grafana-foundation-sdk/nodegraph';
import * as pieChartSdk from '@grafana/grafana-foundation-sdk/piechart';
import * as statSdk from '@grafana/grafana-foundation-sdk/stat';
import * as tableSdk from '@grafana/grafana-foundation-sdk/table';
import * as timeSeriesSdk from '@grafana/grafana-foundation-sdk/timeseries';

import * as thresholds from './thresholds.js';

/** Units by Grafana's ids. A rate of things that happen is `cps`: counts per second. */
export const units = {
  perSecond: 'cps',
  requestsPerSecond: 'reqps',
  seconds: 's',
  part: 'percentunit',
  percent: 'percent',
  bytes: 'bytes',
  count: 'short',
} as const;

export type Unit = (typeof units)[keyof typeof units];

/** The grid has 24 columns; these are the shares of it that the panels take. */
export const widths = { all: 24, half: 12, third: 8, quarter: 6, sixth: 4 } as const;

const HEIGHT = 8;
const STAT_HEIGHT = 4;

const fixedColor = (color: string): FieldColorBuilder =>
  new FieldColorBuilder().mode(FieldColorModeId.Fixed).fixedColor(color);

/** Lines over time. */
export function timeSeries(title: string, description: string, unit: Unit): timeSeriesSdk.PanelBuilder {
  return new timeSeriesSdk.PanelBuilder()
    .title(title)
    .description(description)
    .height(HEIGHT)
    .span(widths.third)
    .unit(unit)
    .min(0)
    .colorScheme(new FieldColorBuilder().mode(FieldColorModeId.PaletteClassicByName))
    .thresholds(thresholds.plain())
    .drawStyle(GraphDrawStyle.Line)
    .lineWidth(1)
    .fillOpacity(10)
    .showPoints(VisibilityMode.Auto)
    .axisPlacement(AxisPlacement.Auto)
    .legend(
      new VizLegendOptionsBuilder()
        .showLegend(true)
        .displayMode(LegendDisplayMode.List)
        .placement(LegendPlacement.Bottom)
        .calcs([]),
    )
    .tooltip(new VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Multi).sort(SortOrder.Descending));
}

/** Lines over time with a warning and a critical line. */
export function timeSeriesWithLimits(
  title: string,
  description: string,
  unit: Unit,
  limits: ThresholdsConfigBuilder,
): timeSeriesSdk.PanelBuilder {
  return timeSeries(title, description, unit)
    .thresholds(limits)
    .thresholdsStyle(new GraphThresholdsStyleConfigBuilder().mode(GraphThresholdsStyleMode.Dashed));
}

/** Bars over time, one on the other: what the parts of a whole are. */
export function stackedBars(title: string, description: string, unit: Unit): timeSeriesSdk.PanelBuilder {
  return timeSeries(title, description, unit)
    .drawStyle(GraphDrawStyle.Bars)
    .fillOpacity(80)
    .lineWidth(0)
    .stacking(new StackingConfigBuilder().mode(StackingMode.Normal));
}

/** One number, with its course behind it. */
export function stat(
  title: string,
  description: string,
  unit: Unit,
  limits: ThresholdsConfigBuilder,
): statSdk.PanelBuilder {
  return new statSdk.PanelBuilder()
    .title(title)
    .description(description)
    .height(STAT_HEIGHT)
    .span(widths.sixth)
    .unit(unit)
    .thresholds(limits)
    .colorScheme(new FieldColorBuilder().mode(FieldColorModeId.Thresholds))
    .colorMode(BigValueColorMode.Value)
    .graphMode(BigValueGraphMode.Area)
    .reduceOptions(new ReduceDataOptionsBuilder().calcs(['lastNotNull']).values(false).fields(''));
}

/** Rows. Numbers get their unit and thresholds by column. */
export function table(title: string, description: string): tableSdk.PanelBuilder {
  return new tableSdk.PanelBuilder()
    .title(title)
    .description(description)
    .height(HEIGHT)
    .span(widths.half)
    .thresholds(thresholds.plain())
    .filterable(true);
}

/** What a column of a table is: its unit, and the colour of its numbers where they have limits. */
export function column(unit: Unit, limits?: ThresholdsConfigBuilder): DynamicConfigValue[] {
  const colored: DynamicConfigValue[] =
    limits === undefined
      ? []
      : [
          { id: 'thresholds', value: limits.build() },
          { id: 'custom.cellOptions', value: { type: 'color-text' } },
        ];
  return [{ id: 'unit', value: unit }, ...colored];
}

/** Log lines. */
export function logs(title: string, description: string): logsSdk.PanelBuilder {
  return new logsSdk.PanelBuilder()
    .title(title)
    .description(description)
    .height(HEIGHT)
    .span(widths.half)
    .showTime(true)
    .wrapLogMessage(true)
    .enableLogDetails(true)
    .showLogContextToggle(true)
    .sortOrder(LogsSortOrder.Descending)
    .dedupStrategy(LogsDedupStrategy.None);
}

/** Parts of a whole over the time range. */
export function pieChart(title: string, description: string, unit: Unit): pieChartSdk.PanelBuilder {
  return new pieChartSdk.PanelBuilder()
    .title(title)
    .description(description)
    .height(HEIGHT)
    .span(widths.third)
    .unit(unit)
    .thresholds(thresholds.plain())
    .colorScheme(new FieldColorBuilder().mode(FieldColorModeId.PaletteClassicByName))
    .noValue('none')
    .pieType(pieChartSdk.PieChartType.Donut)
    .displayLabels([pieChartSdk.PieChartLabels.Percent])
    .reduceOptions(new ReduceDataOptionsBuilder().calcs(['lastNotNull']).values(false).fields(''))
    .tooltip(new VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Single))
    .legend(
      new pieChartSdk.PieChartLegendOptionsBuilder()
        .showLegend(true)
        .displayMode(LegendDisplayMode.Table)
        .placement(LegendPlacement.Right)
        .values([pieChartSdk.PieChartLegendValues.Value])
        .calcs([]),
    );
}

/** The buckets of a histogram over time. `unit` is that of the buckets; the cells are counts. */
export function heatmap(title: string, description: string, unit: Unit): heatmapSdk.PanelBuilder {
  return new heatmapSdk.PanelBuilder()
    .title(title)
    .description(description)
    .height(HEIGHT)
    .span(widths.third)
    .unit(units.count)
    .thresholds(thresholds.plain())
    .calculate(false)
    .color(
      new heatmapSdk.HeatmapColorOptionsBuilder()
        .mode(heatmapSdk.HeatmapColorMode.Scheme)
        .scheme('Oranges')
        .fill('dark-orange')
        .scale(heatmapSdk.HeatmapColorScale.Exponential)
        .exponent(0.5)
        .steps(64)
        .reverse(false),
    )
    .showValue(VisibilityMode.Never)
    .yAxis(new heatmapSdk.YAxisConfigBuilder().axisPlacement(AxisPlacement.Left).unit(unit))
    .cellValues(new heatmapSdk.CellValuesBuilder().unit(units.count))
    .tooltip(
      new heatmapSdk.HeatmapTooltipBuilder().mode(TooltipDisplayMode.Single).yHistogram(true).showColorScale(false),
    );
}

/** Circles and arrows: who calls whom. */
export function nodeGraph(title: string, description: string): nodeGraphSdk.PanelBuilder {
  return new nodeGraphSdk.PanelBuilder()
    .title(title)
    .description(description)
    .height(12)
    .span(widths.half)
    .zoomMode(nodeGraphSdk.ZoomMode.Cooperative);
}

/** The colours of the levels of log lines, for overrides by name. */
export const levelColors: [level: string, color: string][] = [
  ['error', 'red'],
  ['warn', 'yellow'],
  ['info', 'green'],
  ['debug', 'blue'],
  ['trace', 'purple'],
];

export const colored = (color: string): DynamicConfigValue[] => [{ id: 'color', value: fixedColor(color).build() }];
