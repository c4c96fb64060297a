// A program on OpenTelemetry's SDK for JavaScript, whose exporters send OTLP as JSON: a clock that ticks, with spans, log records and metrics
// in delta temporality. Ends by itself, and writes as JSON what it did; what the SDK complains of is part of it.
//
//     node clock.mjs http://127.0.0.1:4318 20

import { diag, DiagLogLevel, SpanKind, SpanStatusCode, context, trace } from '@opentelemetry/api';
import { SeverityNumber } from '@opentelemetry/api-logs';
import { OTLPLogExporter } from '@opentelemetry/exporter-logs-otlp-http';
import { AggregationTemporalityPreference, OTLPMetricExporter } from '@opentelemetry/exporter-metrics-otlp-http';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BatchLogRecordProcessor, LoggerProvider } from '@opentelemetry/sdk-logs';
import { AggregationType, MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';
import { BatchSpanProcessor, NodeTracerProvider } from '@opentelemetry/sdk-trace-node';

const [endpoint, ticks] = [process.argv[2], Number(process.argv[3])];
const complaints = [];
const complain = (...said) => complaints.push(said.join(' '));
diag.setLogger({ error: complain, warn: complain, info() {}, debug() {}, verbose() {} }, DiagLogLevel.WARN);

const resource = resourceFromAttributes({ 'service.name': 'js-clock', 'service.instance.id': 'clock-1', pid: process.pid });
const to = (signal) => ({ url: `${endpoint}/v1/${signal}` });
const tracers = new NodeTracerProvider({ resource, spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter(to('traces')))] });
tracers.register();
const logs = new LoggerProvider({ resource, processors: [new BatchLogRecordProcessor({ exporter: new OTLPLogExporter(to('logs')) })] });
const exporter = new OTLPMetricExporter({ ...to('metrics'), temporalityPreference: AggregationTemporalityPreference.DELTA });
const meters = new MeterProvider({
  resource,
  readers: [new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 })],
  views: [{ instrumentName: 'drift', aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM, options: { maxSize: 160 } } }],
});

const tracer = tracers.getTracer('clock', '2.0');
const logger = logs.getLogger('clock', '2.0');
const meter = meters.getMeter('clock', '2.0');
const counted = meter.createCounter('ticks', { description: 'Ticks by hand', unit: '{tick}' });
const took = meter.createHistogram('tick.duration', { unit: 'ms', advice: { explicitBucketBoundaries: [1, 5, 10] } });
const drift = meter.createHistogram('drift', { unit: 's' });
const hands = meter.createUpDownCounter('hands');
meter.createObservableGauge('angle', { unit: 'deg' }).addCallback((result) => result.observe(42.5));

const truth = { ticks, drift: 0, traceId: null };
for (let tick = 0; tick < ticks; tick += 1) {
  const span = tracer.startSpan('tick', {
    kind: SpanKind.CONSUMER,
    attributes: { tick, ratio: 0.25, odd: tick % 2 === 1, hands: ['long', 'short'], 'big.number': 2 ** 52 },
  });
  truth.traceId ??= span.spanContext().traceId;
  context.with(trace.setSpan(context.active(), span), () => {
    span.addEvent('tock', { at: tick });
    if (tick === 3) {
      span.recordException(new Error('the spring broke'));
      span.setStatus({ code: SpanStatusCode.ERROR, message: 'the spring broke' });
    }
    logger.emit({
      severityNumber: SeverityNumber.INFO, severityText: 'INFO', body: { tick, of: ['js', null, 1.5] },
      eventName: 'clock.tick', attributes: { tick, nested: { deep: [1, 2] } },
    });
    counted.add(1, { hand: tick % 2 ? 'long' : 'short' });
    took.record(tick % 12);
    drift.record(0.001 * (tick + 1));
    truth.drift += 0.001 * (tick + 1);
    hands.add(tick % 2 ? -1 : 2);
  });
  span.end();
  if (tick % 5 === 4) {
    await meters.forceFlush();
    await new Promise((done) => setTimeout(done, 50));
  }
}
await Promise.all([tracers.shutdown(), logs.shutdown(), meters.shutdown()]);
console.log(JSON.stringify({ ...truth, complaints }));
