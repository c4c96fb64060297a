// What the rules look at in a dashboard's file. Whether it has this form is schema.ts' concern; here every part may be missing.
export type DataSource = { type?: string; uid?: string };

export type Query = {
  refId?: string;
  datasource?: DataSource;
  expr?: string;
  query?: string;
  queryType?: string;
  serviceMapQuery?: string | string[];
  exemplar?: boolean;
  range?: boolean;
  format?: string;
};

export type Link = { title?: string; url?: string };

export type Override = { matcher?: { id?: string; options?: unknown }; properties?: { id: string; value?: unknown }[] };

export type Panel = {
  id?: number;
  type?: string;
  title?: string;
  description?: string;
  gridPos?: { x: number; y: number; w: number; h: number };
  datasource?: DataSource;
  targets?: Query[];
  transformations?: {
    id: string;
    options?: { excludeByName?: Record<string, boolean>; renameByName?: Record<string, string> };
  }[];
  fieldConfig?: {
    defaults?: { unit?: string; thresholds?: { steps?: { value: number | null }[] }; links?: Link[] };
    overrides?: Override[];
  };
};

export type Variable = {
  name?: string;
  type?: string;
  datasource?: DataSource;
  query?: string | { query?: string };
  description?: string;
};

export type Dashboard = {
  uid?: string;
  title?: string;
  description?: string;
  schemaVersion?: number;
  links?: Link[];
  panels?: Panel[];
  templating?: { list?: Variable[] };
  annotations?: { list?: { name?: string; datasource?: DataSource; target?: Query }[] };
};

/** The language and the text of each query in a target. */
export function queriesOf(target: Query): { language: string; query: string }[] {
  switch (target.datasource?.type) {
    case 'prometheus':
      return [{ language: 'promql', query: target.expr ?? '' }];
    case 'loki':
      return [{ language: 'logql', query: target.expr ?? '' }];
    case 'tempo':
      return target.queryType === 'serviceMap'
        ? [target.serviceMapQuery ?? []].flat().map((query) => ({ language: 'promql', query }))
        : [{ language: 'traceql', query: target.query ?? '' }];
    default:
      return [];
  }
}

export const queryOf = (variable: Variable): string =>
  typeof variable.query === 'string' ? variable.query : (variable.query?.query ?? '');
