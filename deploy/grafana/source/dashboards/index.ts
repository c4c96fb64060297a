// All dashboards, by the path of their file under ../dashboards.
import type { DashboardBuilder } from '@grafana/grafana-foundation-sdk/dashboard';

import { finish } from '../parts/finish.js';
import { levels, type Level } from '../parts/links.js';
import { component } from './component.js';
import { live } from './live.js';
import { overview } from './overview.js';
import { service } from './service.js';

const builders: Record<Level, () => DashboardBuilder> = { overview, service, component, live };

/** The text of each file, by its path under the folder of the dashboards. */
export function dashboardFiles(): Map<string, string> {
  return new Map(
    (Object.keys(builders) as Level[]).map((level) => [
      `${levels[level].folder}/${level}.json`,
      `${JSON.stringify(finish(builders[level]()), null, 2)}\n`,
    ]),
  );
}
