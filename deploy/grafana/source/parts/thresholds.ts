// Where a value becomes a warning, where critical: one table, which the alerts share (../../prometheus/rules/lgtm.yaml).
import { ThresholdsConfigBuilder, ThresholdsMode } from '@grafana/grafana-foundation-sdk/dashboard';

type Step = { value: number | null; color: string };

const absolute = (steps: Step[]): ThresholdsConfigBuilder =>
  new ThresholdsConfigBuilder().mode(ThresholdsMode.Absolute).steps(steps);

const rising = (warning: number, critical: number): ThresholdsConfigBuilder =>
  absolute([
    { value: null, color: 'green' },
    { value: warning, color: 'yellow' },
    { value: critical, color: 'red' },
  ]);

/** Part of requests, exports or lines that fail. */
export const errorRatio = (): ThresholdsConfigBuilder => rising(0.01, 0.05);
/** The same told as success. */
export const successRatio = (): ThresholdsConfigBuilder =>
  absolute([
    { value: null, color: 'red' },
    { value: 0.95, color: 'yellow' },
    { value: 0.99, color: 'green' },
  ]);
/** P95 in seconds. */
export const latency = (): ThresholdsConfigBuilder => rising(0.1, 0.5);
/** CPU in percent, 0 to 100. */
export const cpu = (): ThresholdsConfigBuilder => rising(70, 85);
/** Memory in use, as part of what there is. */
export const memory = (): ThresholdsConfigBuilder => rising(0.75, 0.9);
/** Items that wait, as the alert ExporterQueueBacklog has it. */
export const queue = (): ThresholdsConfigBuilder =>
  absolute([
    { value: null, color: 'green' },
    { value: 10_000, color: 'yellow' },
  ]);
/** Seconds since a program's last sample: the alert ServiceDown counts it as gone after two minutes. */
export const lastSeen = (): ThresholdsConfigBuilder => rising(60, 120);
/** What should not happen at all. */
export const none = (color: 'yellow' | 'red'): ThresholdsConfigBuilder =>
  absolute([
    { value: null, color: 'green' },
    { value: 1e-9, color },
  ]);
/** What should be there. */
export const some = (): ThresholdsConfigBuilder =>
  absolute([
    { value: null, color: 'red' },
    { value: 1, color: 'green' },
  ]);
/** A number that is neither good nor bad. */
export const plain = (): ThresholdsConfigBuilder => absolute([{ value: null, color: 'blue' }]);
