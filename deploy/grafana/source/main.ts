// The package's one program:
//
//   node build/main.js build     writes ../dashboards from the sources
//   node build/main.js check     says where the committed dashboards are not what the sources give, and where they or the provisioned
//                                data sources break a rule
//   node build/main.js schema    says where they are not as Grafana's published types have it
//   node build/main.js grammar   reads {"where", "language", "query"} a line and writes {"where", "query", "message"} for each query that
//                                does not parse; language is logql, traceql or promql
//
// It ends with 0 if all is well, 1 if something was found, 2 if it could not run. `grammar` also ends with 0 if it has found something.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { differences } from './checks/committed.js';
import { dashboardsFolder, dataSourcesFolder, filesIn, providersFolder } from './checks/files.js';
import { dataSourceUids, providerFindings, provisioningFindings } from './checks/provisioning.js';
import { ruleFindings } from './checks/rules.js';
import { schemaFindings } from './checks/schema.js';
import { dashboardFiles } from './dashboards/index.js';
import { findings } from './grammar/lines.js';

const committed = (): Map<string, string> => filesIn(dashboardsFolder, '.json');

function build(): number {
  for (const [path, text] of dashboardFiles()) {
    const file = join(dashboardsFolder, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
    console.log(path);
  }
  return 0;
}

function report(files: number, messages: string[]): number {
  for (const message of messages) {
    console.error(message);
  }
  console.log(`${files} dashboards, ${messages.length} findings`);
  return messages.length === 0 ? 0 : 1;
}

function check(): number {
  const files = committed();
  const dataSources = filesIn(dataSourcesFolder, '.yaml');
  return report(files.size, [
    ...differences(files, dashboardFiles()),
    ...ruleFindings(files, dataSourceUids(dataSources)),
    ...provisioningFindings(dataSources),
    ...providerFindings(filesIn(providersFolder, '.yaml')),
  ]);
}

function schema(): number {
  const files = committed();
  return report(files.size, schemaFindings(files));
}

function grammar(): number {
  for (const finding of findings(readFileSync(0, 'utf8'))) {
    console.log(JSON.stringify(finding));
  }
  return 0;
}

const commands: Record<string, () => number> = { build, check, schema, grammar };
const name = process.argv[2] ?? '';
const command = commands[name];
if (command === undefined) {
  console.error(`command \`${name}\`: accepted are ${Object.keys(commands).join(', ')}`);
  process.exitCode = 2;
} else {
  try {
    process.exitCode = command();
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 2;
  }
}
