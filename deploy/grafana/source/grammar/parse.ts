// Whether a query parses, by the grammars that Grafana and Prometheus publish and use in their editors. These recover from anything: a
// tree always comes out, and what did not fit is an error node in it. A name, a type or a label that does not exist is not their concern.
import { parser as logql } from '@grafana/lezer-logql';
import { parser as traceql } from '@grafana/lezer-traceql';
import type { Parser } from '@lezer/common';
import { parser as promql } from '@prometheus-io/lezer-promql';

import { substitute } from './substitute.js';

const PARSERS: Record<string, Parser> = { logql, traceql, promql };

export const LANGUAGES = Object.keys(PARSERS);

export class UnknownLanguage extends Error {
  constructor(language: string) {
    super(`language \`${language}\`: accepted are ${LANGUAGES.join(', ')}`);
  }
}

/** What is wrong with a query, or nothing. */
export function parse(language: string, query: string): string | undefined {
  const parser = PARSERS[language];
  if (parser === undefined) {
    throw new UnknownLanguage(language);
  }
  const text = substitute(query);
  if (text.trim() === '') {
    return 'the query is empty';
  }
  const tree = parser.parse(text);
  if (tree.length < text.trimEnd().length) {
    return `not read to its end: \`${excerpt(text, tree.length)}\` is left`;
  }
  const error = firstError(tree);
  if (error === undefined) {
    return undefined;
  }
  const where = `column ${error.from + 1}`;
  return error.from === error.to
    ? `${where}: something is missing before \`${excerpt(text, error.from)}\``
    : `${where}: \`${excerpt(text, error.from)}\` is not expected here`;
}

function firstError(tree: ReturnType<Parser['parse']>): { from: number; to: number } | undefined {
  let found: { from: number; to: number } | undefined;
  tree.iterate({
    enter: (node) => {
      if (node.type.isError) {
        found ??= { from: node.from, to: node.to };
      }
      return found === undefined;
    },
  });
  return found;
}

function excerpt(text: string, from: number): string {
  const rest = text.slice(from, from + 40).trim();
  return rest === '' ? 'the end' : rest;
}
