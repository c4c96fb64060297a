// How the queries of all dashboards are put together: what selects a program, rates, ratios and quantiles.
//
// A program's series have the label job, `namespace/name` or `name`; the variable service is the name alone. With several services
// Grafana writes (a|b) for $service, with All the variable's own `.+`.

const PROGRAM = 'job=~"(.+/)?$service", environment=~"$environment"';

// The part of a name after the namespace. Grafana leaves $1 alone: no variable has that name.
const NAME_OF_JOB = '"service", "$1", "job", "(?:.+/)?(.+)"';

const braces = (labels: (string | undefined)[]): string => `{${labels.filter(Boolean).join(', ')}}`;

/** The series of a metric that the chosen programs have written. */
export const ofProgram = (metric: string, labels?: string): string => `${metric}${braces([PROGRAM, labels])}`;

/** Series of several metrics at once, which must differ in another label than their name. */
export const ofProgramAny = (metrics: string[], labels?: string): string =>
  braces([`__name__=~"${metrics.join('|')}"`, PROGRAM, labels]);

/** The same with the chosen processes alone. */
export const ofInstance = (metric: string, labels?: string): string =>
  ofProgram(metric, ['instance=~"$instance"', labels].filter(Boolean).join(', '));

export const rate = (selector: string): string => `rate(${selector}[$__rate_interval])`;
export const increase = (selector: string): string => `increase(${selector}[$__rate_interval])`;

export const sum = (expression: string): string => `sum(${expression})`;
export const sumBy = (labels: string, expression: string): string => `sum by (${labels}) (${expression})`;
export const maxBy = (labels: string, expression: string): string => `max by (${labels}) (${expression})`;

/** With a label service, the program's name without its namespace. */
export const withService = (expression: string): string => `label_replace(${expression}, ${NAME_OF_JOB})`;

/**
 * The part of a whole, 0 to 1. Nothing where the whole is 0, rather than 0/0; 0 where there is a whole and no series of the part, which
 * first appears with the first failure. `whole` must aggregate by the same labels as `part`.
 */
export const ratio = (part: string, whole: string): string => `(${part} or 0 * ${whole}) / (${whole} > 0)`;

/** A quantile from classic buckets; `buckets` aggregates by le and perhaps more. */
export const quantile = (q: number, buckets: string): string => `histogram_quantile(${q}, ${buckets})`;

/** What of Loki is the chosen programs' own. */
export const logsOf = (labels?: string): string =>
  braces(['service_name=~"$service"', 'environment=~"$environment"', labels]);

/** The message instead of the JSON line, and the line itself where it is none; the fields stay in the line's details. */
export const asMessages = (selector: string): string =>
  `${selector} | json | line_format \`{{ if .message }}{{ .message }}{{ else }}{{ __line__ }}{{ end }}\``;

/**
 * The traces of the chosen programs. TraceQL has no pattern that also matches an attribute that is not there, so with all environments
 * chosen the comparison of the two constants lets everything through.
 */
export const tracesOf = (condition?: string): string =>
  `{ resource.service.name =~ "\${service:pipe}" && ` +
  `(resource.deployment.environment.name =~ "\${environment:pipe}" || "\${environment:pipe}" = ".*")` +
  `${condition === undefined ? '' : ` && ${condition}`} }`;

const GENERATOR_ENVIRONMENT = 'deployment_environment_name=~"$environment"';

/** Series of Tempo's metrics generator; it calls a dimension like the attribute, with underscores. */
export const ofGenerator = (metric: string, labels: string): string =>
  `${metric}${braces([labels, GENERATOR_ENVIRONMENT])}`;

/**
 * What of the service graph Tempo's data source draws: everything, or what any of the matchers leaves. It fills in variables itself and
 * knows nothing of regular expressions, so the format is said.
 */
export const generatorSelectors = (...matchers: string[]): string[] =>
  (matchers.length === 0 ? [''] : matchers).map((matcher) =>
    braces([matcher, 'deployment_environment_name=~"${environment:pipe}"']),
  );
