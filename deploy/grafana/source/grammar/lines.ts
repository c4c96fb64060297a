// The grammar program's protocol: a line of JSON in for each query, a line of JSON out for each that does not parse.
import { parse } from './parse.js';

type Question = { where: string; language: string; query: string };

export type Finding = { where: string; query: string; message: string };

/** A line that is no question: the caller's mistake, not a finding about a query. */
export class BadLine extends Error {}

function question(line: string, number: number): Question {
  let read: unknown;
  try {
    read = JSON.parse(line);
  } catch (error) {
    throw new BadLine(`line ${number}: \`${line}\` is no JSON: ${(error as Error).message}`);
  }
  const { where, language, query } = (read ?? {}) as Partial<Record<keyof Question, unknown>>;
  if (typeof where !== 'string' || typeof language !== 'string' || typeof query !== 'string') {
    throw new BadLine(`line ${number}: \`${line}\` must be {"where": "…", "language": "…", "query": "…"}`);
  }
  return { where, language, query };
}

/** The findings about all queries in `input`, one JSON object a line. */
export function findings(input: string): Finding[] {
  return input.split('\n').flatMap((line, index) => {
    if (line.trim() === '') {
      return [];
    }
    const { where, language, query } = question(line, index + 1);
    const message = parse(language, query);
    return message === undefined ? [] : [{ where, query, message }];
  });
}
