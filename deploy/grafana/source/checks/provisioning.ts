// The provisioning files of the data sources and of the dashboards: what they define, and what they may not lack.
import { parse as parseYaml } from 'yaml';

import { parse } from '../grammar/parse.js';

type Provisioned = {
  name?: string;
  uid?: string;
  type?: string;
  editable?: boolean;
  isDefault?: boolean;
  jsonData?: Record<string, unknown>;
};

const sourcesOf = (text: string): Provisioned[] =>
  ((parseYaml(text) ?? {}) as { datasources?: Provisioned[] }).datasources ?? [];

/** The type of each data source, by its uid. */
export const dataSourceUids = (files: Map<string, string>): Map<string, string> =>
  new Map([...files.values()].flatMap(sourcesOf).map(({ uid, type }) => [uid ?? '', type ?? '']));

export function provisioningFindings(files: Map<string, string>): string[] {
  const uids = dataSourceUids(files);
  const sources = [...files].flatMap(([path, text]) =>
    sourcesOf(text).map((source): [string, Provisioned] => [path, source]),
  );
  const defaults = sources.filter(([, { isDefault }]) => isDefault);
  return [
    ...(defaults.length === 1 ? [] : [`${defaults.length} data sources are the default; it must be one`]),
    ...[...files].flatMap(([path, text]) => dollarFindings(text).map((finding) => `${path}: ${finding}`)),
    ...sources.flatMap(([path, source]) =>
      sourceFindings(source, uids).map((finding) => `${path}: ${source.name}: ${finding}`),
    ),
  ];
}

/** Grafana expands `$NAME` in these files; two dollar signs are one. */
function dollarFindings(text: string): string[] {
  return text.split('\n').flatMap((line, index) => {
    const content = line.trimStart().startsWith('#') ? '' : line;
    return content.replaceAll('$$', '').includes('$')
      ? [`line ${index + 1}: a dollar sign that is not doubled: \`${line.trim()}\``]
      : [];
  });
}

function sourceFindings({ uid, editable, jsonData }: Provisioned, uids: Map<string, string>): string[] {
  return [
    ...(uid ? [] : ['no uid']),
    ...(editable === false ? [] : ['`editable: false` is missing']),
    ...referencesIn(jsonData)
      .filter((reference) => !uids.has(reference))
      .map((reference) => `refers to the data source uid \`${reference}\`, which is not provisioned`),
    ...queriesIn(jsonData).flatMap(({ language, query }) => {
      const wrong = parse(language, query);
      return wrong === undefined ? [] : [`${language} \`${query}\`: ${wrong}`];
    }),
  ];
}

function referencesIn(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) {
    return [];
  }
  return Object.entries(value).flatMap(([key, member]) =>
    (key === 'datasourceUid' || key === 'alertmanagerUid') && typeof member === 'string'
      ? [member]
      : referencesIn(member),
  );
}

/** The queries behind the links from a span. */
function queriesIn(jsonData: Record<string, unknown> | undefined): { language: string; query: string }[] {
  const toLogs = jsonData?.['tracesToLogsV2'] as { query?: string } | undefined;
  const toMetrics = jsonData?.['tracesToMetrics'] as { queries?: { query: string }[] } | undefined;
  return [
    ...(toLogs?.query === undefined ? [] : [{ language: 'logql', query: toLogs.query }]),
    ...(toMetrics?.queries ?? []).map(({ query }) => ({ language: 'promql', query })),
  ];
}

type Provider = { name?: string; folder?: string; options?: { path?: string; foldersFromFilesStructure?: boolean } };

/** Where the container has the dashboards: ../../compose.yaml mounts them there. */
const DASHBOARDS_PATH = '/etc/grafana/dashboards';

/** The files that tell Grafana where the dashboards are. */
export function providerFindings(files: Map<string, string>): string[] {
  const providers = [...files].flatMap(([path, text]) =>
    (((parseYaml(text) ?? {}) as { providers?: Provider[] }).providers ?? []).map((provider): [string, Provider] => [
      path,
      provider,
    ]),
  );
  return [
    ...(providers.length === 1 ? [] : [`${providers.length} providers of dashboards; it must be one`]),
    ...providers.flatMap(([path, { name, folder, options }]) =>
      [
        ...(options?.path === DASHBOARDS_PATH ? [] : [`path \`${options?.path}\`; it must be ${DASHBOARDS_PATH}`]),
        ...(options?.foldersFromFilesStructure === true ? [] : ['`foldersFromFilesStructure: true` is missing']),
        ...(folder === undefined ? [] : [`folder \`${folder}\` and foldersFromFilesStructure exclude each other`]),
      ].map((finding) => `${path}: ${name}: ${finding}`),
    ),
  ];
}
