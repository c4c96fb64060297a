// Whatever a dashboard refers to exists: data sources, variables, other dashboards.
import { nameOf } from './panel_rules.js';
import { queriesOf, queryOf, type Dashboard, type DataSource, type Link } from './model.js';

// Grafana's own begin with two underscores. A name that begins with a digit is a group of a regular expression.
const VARIABLE = /\$\{([A-Za-z]\w*)[^}]*\}|\[\[([A-Za-z]\w*)[^\]]*\]\]|\$([A-Za-z]\w*)/g;

const variablesIn = (text: string): string[] =>
  [...text.matchAll(VARIABLE)].map((match) => match[1] ?? match[2] ?? match[3] ?? '');

export function dataSourceFindings(dashboard: Dashboard, uids: Map<string, string>): string[] {
  const used: [where: string, source: DataSource | undefined][] = [
    ...(dashboard.panels ?? [])
      .filter(({ type }) => type !== 'row')
      .flatMap((panel): [string, DataSource | undefined][] => [
        [nameOf(panel), panel.datasource],
        ...(panel.targets ?? []).map(({ refId, datasource }): [string, DataSource | undefined] => [
          `${nameOf(panel)}: query ${refId}`,
          datasource,
        ]),
      ]),
    ...(dashboard.templating?.list ?? [])
      .filter(({ type }) => type === 'query')
      .map(({ name, datasource }): [string, DataSource | undefined] => [`variable \`${name}\``, datasource]),
    ...(dashboard.annotations?.list ?? []).map(({ name, datasource }): [string, DataSource | undefined] => [
      `annotation \`${name}\``,
      datasource,
    ]),
  ];
  return used.flatMap(([where, source]) => {
    const type = uids.get(source?.uid ?? '');
    if (type === undefined) {
      return [
        `${where}: data source uid \`${source?.uid}\` is not provisioned; there are ${[...uids.keys()].join(', ')}`,
      ];
    }
    return type === source?.type
      ? []
      : [`${where}: data source \`${source?.uid}\` is of type ${type}, not ${source?.type}`];
  });
}

export function variableFindings(dashboard: Dashboard): string[] {
  const variables = dashboard.templating?.list ?? [];
  const defined = new Set(variables.map(({ name }) => name ?? ''));
  const targets = (dashboard.panels ?? []).flatMap(({ targets: ofPanel }) => ofPanel ?? []);
  const inQueries = new Set(targets.flatMap(queriesOf).flatMap(({ query }) => variablesIn(query)));
  const everywhere = new Set([
    ...variablesIn(JSON.stringify(dashboard.panels ?? [])),
    ...variablesIn(JSON.stringify(dashboard.annotations ?? {})),
    ...variables.flatMap((variable) => variablesIn(queryOf(variable))),
  ]);
  return [
    ...[...everywhere]
      .filter((name) => !defined.has(name))
      .map((name) => `variable \`${name}\` is used and not defined`),
    ...[...defined]
      .filter((name) => !inQueries.has(name))
      .map((name) => `variable \`${name}\` is defined, and no query uses it`),
    ...variables.flatMap(({ name, description }) => (description ? [] : [`variable \`${name}\` has no description`])),
  ];
}

export function linkFindings(dashboard: Dashboard, dashboards: Dashboard[]): string[] {
  const known = new Map(dashboards.map((other) => [other.uid ?? '', other]));
  return linksOf(dashboard).flatMap(({ title, url }) => {
    const target = /^\/d\/([\w-]+)(?:\/[\w-]*)?(?:\?(.*))?$/.exec(url ?? '');
    if (target === null) {
      return [`link \`${title}\`: \`${url}\` is not of the form /d/<uid>?<variables>`];
    }
    const other = known.get(target[1] ?? '');
    if (other === undefined) {
      return [
        `link \`${title}\`: no dashboard has the uid \`${target[1]}\`; there are ${[...known.keys()].join(', ')}`,
      ];
    }
    const set = [...(target[2] ?? '').matchAll(/(?:^|&)(?:var-(\w+)=|\$\{(\w+):queryparam\})/g)].map(
      (match) => match[1] ?? match[2],
    );
    const taken = new Set((other.templating?.list ?? []).map(({ name }) => name));
    return set
      .filter((name) => !taken.has(name))
      .map((name) => `link \`${title}\`: ${target[1]} has no variable \`${name}\``);
  });
}

const linksOf = (dashboard: Dashboard): Link[] => [
  ...(dashboard.links ?? []),
  ...(dashboard.panels ?? []).flatMap(({ fieldConfig }) => [
    ...(fieldConfig?.defaults?.links ?? []),
    ...(fieldConfig?.overrides ?? [])
      .flatMap(({ properties }) => properties ?? [])
      .filter(({ id }) => id === 'links')
      .flatMap(({ value }) => value as Link[]),
  ]),
];
