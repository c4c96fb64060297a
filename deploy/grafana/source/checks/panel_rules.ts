// What every panel has to have, and how the panels lie on the grid.
import { parse } from '../grammar/parse.js';
import { queriesOf, type Panel, type Query } from './model.js';

const COLUMNS = 24;
// Panels whose numbers have one unit and one set of thresholds; those of a table have them by column.
const NUMBERS = new Set(['timeseries', 'stat', 'piechart', 'heatmap', 'gauge', 'bargauge', 'barchart', 'histogram']);
// Over which a rate may go: Grafana's intervals, which follow the time range and how often samples come.
const INTERVALS = new Set(['$__rate_interval', '$__range', '$__auto']);

export function panelFindings(panel: Panel): string[] {
  if (panel.type === 'row') {
    return panel.title ? [] : ['a row has no title'];
  }
  return [
    ...(panel.title ? [] : ['no title']),
    ...(panel.description ? [] : ['no description']),
    ...(panel.targets?.length ? [] : ['no query']),
    ...numberFindings(panel),
    ...tableFindings(panel),
    ...refIdFindings(panel.targets ?? []),
    ...(panel.targets ?? []).flatMap(queryFindings),
  ];
}

function numberFindings({ type, fieldConfig }: Panel): string[] {
  const defaults = fieldConfig?.defaults;
  const steps = defaults?.thresholds?.steps ?? [];
  const isNumbers = NUMBERS.has(type ?? '');
  return [
    ...(isNumbers && !defaults?.unit ? ['no unit'] : []),
    ...((isNumbers || type === 'table') && steps[0]?.value !== null
      ? ['no thresholds, or none that begins everywhere']
      : []),
  ];
}

/** A column of numbers is called `Value #refId`; under the name that it is given, or its own, an override says its unit. */
function tableFindings({ type, targets, transformations, fieldConfig }: Panel): string[] {
  if (type !== 'table') {
    return [];
  }
  const organize = transformations?.find(({ id }) => id === 'organize')?.options;
  const said = new Set(
    (fieldConfig?.overrides ?? [])
      .filter(({ properties }) => properties?.some(({ id }) => id === 'unit' || id === 'mappings'))
      .map(({ matcher }) => matcher?.options),
  );
  return (targets ?? [])
    .filter(({ datasource }) => datasource?.type !== 'tempo')
    .map(({ refId }) => `Value #${refId}`)
    .filter((name) => !organize?.excludeByName?.[name] && !said.has(organize?.renameByName?.[name] ?? name))
    .map((name) => `the column \`${organize?.renameByName?.[name] ?? name}\` has no unit`);
}

function refIdFindings(targets: Query[]): string[] {
  const seen = new Set<string | undefined>();
  return targets.flatMap(({ refId }) => {
    const again = refId === undefined || seen.has(refId);
    seen.add(refId);
    return again ? [`refId \`${refId}\` is missing or there twice`] : [];
  });
}

function queryFindings(target: Query): string[] {
  const name = `query ${target.refId}`;
  return queriesOf(target).flatMap(({ language, query }) => {
    const wrong = parse(language, query);
    return [
      ...(wrong === undefined ? [] : [`${name}: ${language}: ${wrong}`]),
      ...intervalFindings(query).map((finding) => `${name}: ${finding}`),
      ...(query.includes('histogram_quantile') && target.range && !target.exemplar
        ? [`${name}: a quantile without exemplars`]
        : []),
    ];
  });
}

/** A fixed interval is too short for a long time range, and for samples that come seldom. */
function intervalFindings(query: string): string[] {
  const RATE = /\b(?:rate|irate|increase|count_over_time|bytes_over_time)\(.*?\[([^\]]*)\]/g;
  return [...query.matchAll(RATE)]
    .map((match) => match[1] ?? '')
    .filter((interval) => !INTERVALS.has(interval))
    .map((interval) => `a rate over \`${interval}\`; accepted are ${[...INTERVALS].join(', ')}`);
}

/** Panels with one id, beyond the grid's edges, or on one another. */
export function gridFindings(panels: Panel[]): string[] {
  const ids = new Map<number | undefined, Panel>();
  return panels.flatMap((panel, index) => {
    const name = nameOf(panel);
    const { id, gridPos } = panel;
    const twin = ids.get(id);
    ids.set(id, panel);
    if (gridPos === undefined) {
      return [`${name}: no gridPos`];
    }
    const { x, y, w, h } = gridPos;
    return [
      ...(id === undefined ? [`${name}: no id`] : []),
      ...(id !== undefined && twin !== undefined ? [`${name}: id ${id} is also that of ${nameOf(twin)}`] : []),
      ...(x < 0 || y < 0 || w < 1 || h < 1 || x + w > COLUMNS
        ? [`${name}: lies outside of the ${COLUMNS} columns`]
        : []),
      ...panels
        .slice(0, index)
        .filter((other) => overlap(panel, other))
        .map((other) => `${name}: lies on ${nameOf(other)}`),
    ];
  });
}

function overlap({ gridPos: a }: Panel, { gridPos: b }: Panel): boolean {
  return a !== undefined && b !== undefined && a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
}

export const nameOf = ({ type, title, id }: Panel): string => `${type} \`${title ?? id}\``;
