// The four levels, and the links between them: each keeps the time range and the variables.
import type { Builder } from '@grafana/grafana-foundation-sdk/cog';
import { DashboardLinkBuilder, DashboardLinkType, type DashboardLink } from '@grafana/grafana-foundation-sdk/dashboard';

/** The levels from far to near; uid and file never change, links and bookmarks depend on them. */
export const levels = {
  overview: { uid: 'lgtm-overview', title: 'Overview', folder: 'Overview', tooltip: 'Are all services well?' },
  service: { uid: 'lgtm-service', title: 'Service', folder: 'Service', tooltip: 'What is wrong with a service?' },
  component: { uid: 'lgtm-component', title: 'Component', folder: 'Component', tooltip: 'Does its telemetry arrive?' },
  live: { uid: 'lgtm-live', title: 'Live', folder: 'Live', tooltip: 'What happens right now?' },
} as const;

export type Level = keyof typeof levels;

/** Links to the other levels, above the panels. */
export function linksFrom(level: Level): DashboardLinkBuilder[] {
  return Object.entries(levels)
    .filter(([name]) => name !== level)
    .map(([, { uid, title, tooltip }]) =>
      new DashboardLinkBuilder(title)
        .type(DashboardLinkType.Link)
        .url(`/d/${uid}`)
        .icon('dashboard')
        .tooltip(tooltip)
        .includeVars(true)
        .keepTime(true),
    );
}

type DataLink = { title: string; url: string };

const downTo = (level: Level, title: string, name: string): DataLink => ({
  title,
  url: `/d/${levels[level].uid}?var-service=${name}&\${environment:queryparam}&\${__url_time_range}`,
});

/** For a cell with a service's name: down to that service. */
export const toService: DataLink = downTo('service', 'Service ${__value.text}', '${__value.text}');

// The SDK takes the link of a series for one of a dashboard, which has more to it than Grafana reads here.
const ofSeries = (link: DataLink): Builder<DashboardLink> => ({ build: () => link as unknown as DashboardLink });

/** For a series with the label service: down to that service. */
export const seriesToService = ofSeries(
  downTo('service', 'Service ${__field.labels.service}', '${__field.labels.service}'),
);

/** For a series with the label service: its exporters. */
export const seriesToComponent = ofSeries(
  downTo('component', 'Exporters of ${__field.labels.service}', '${__field.labels.service}'),
);
