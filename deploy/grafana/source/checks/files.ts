// Where things are, seen from the compiled programs in build/, and reading them.
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder of the package. */
export const packageFolder = fileURLToPath(new URL('../../', import.meta.url));
/** The folder of the committed dashboards. */
export const dashboardsFolder = join(packageFolder, '..', 'dashboards');
/** The folder of the data sources' provisioning files. */
export const dataSourcesFolder = join(packageFolder, '..', 'provisioning', 'datasources');
/** The folder of the dashboards' provisioning files. */
export const providersFolder = join(packageFolder, '..', 'provisioning', 'dashboards');

/** All files of a folder with this ending, by their path in it, with `/`, in alphabetical order. A folder that is not there has none. */
export function filesIn(folder: string, ending: string): Map<string, string> {
  let names: string[];
  try {
    names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      return new Map();
    }
    throw error;
  }
  return new Map(
    names
      .map((name) => join(folder, name))
      .filter((path) => path.endsWith(ending) && statSync(path).isFile())
      .map((path): [string, string] => [relative(folder, path).split(sep).join('/'), readFileSync(path, 'utf8')])
      .sort(([left], [right]) => (left < right ? -1 : 1)),
  );
}
