// The dashboards against Grafana's published types: each file becomes a constant of the type DashboardFile, and the compiler says what
// does not fit. JSON is a literal of TypeScript, so the compiler's line is the file's line.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

import { packageFolder } from './files.js';

const compiler = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin', 'tsc');

const HEADER =
  "import type { DashboardFile } from '../../checks/schema_types.js';\nexport const dashboard: DashboardFile =\n";
const HEADER_LINES = HEADER.split('\n').length - 1;

/** One message for each place of a file that is not as Grafana's types have it. */
export function schemaFindings(files: Map<string, string>): string[] {
  // Inside the package, so that the types are found, and beside the build, which is not kept.
  const build = join(packageFolder, 'build');
  mkdirSync(build, { recursive: true });
  const folder = mkdtempSync(join(build, 'schema-'));
  try {
    const names = new Map([...files.keys()].map((path, index) => [`dashboard_${index}.ts`, path]));
    for (const [name, path] of names) {
      writeFileSync(join(folder, name), HEADER + (files.get(path) ?? ''));
    }
    writeFileSync(
      join(folder, 'tsconfig.json'),
      JSON.stringify({
        extends: join(packageFolder, 'tsconfig.json'),
        compilerOptions: { noEmit: true, incremental: false, tsBuildInfoFile: null, rootDir: packageFolder },
        include: ['*.ts'],
        exclude: [],
      }),
    );
    const { status, stdout, stderr, error } = spawnSync(
      process.execPath,
      [compiler, '--pretty', 'false', '--project', folder],
      {
        cwd: folder,
        encoding: 'utf8',
      },
    );
    if (error !== undefined) {
      throw error;
    }
    return status === 0 ? [] : told(stdout + stderr, names);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The compiler's output, with the dashboards' own names and lines. */
function told(output: string, names: Map<string, string>): string[] {
  const messages: string[] = [];
  for (const line of output.split('\n').filter((text) => text.trim() !== '')) {
    const place = /^(?:.*\/)?(dashboard_\d+\.ts)\((\d+),(\d+)\): error (.*)$/.exec(line);
    const path = names.get(place?.[1] ?? '');
    if (place !== null && path !== undefined) {
      messages.push(`${path}:${Number(place[2]) - HEADER_LINES}:${place[3]}: ${place[4]}`);
    } else if (/^\s/.test(line) && messages.length > 0) {
      messages[messages.length - 1] += `\n  ${line.trim()}`;
    } else {
      messages.push(line);
    }
  }
  return messages;
}
