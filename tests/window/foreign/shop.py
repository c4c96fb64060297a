"""A shop of two services on OpenTelemetry's SDK for Python: what a program that knows nothing of lgtm sends.

The storefront takes orders and calls the till over HTTP with the context of its trace; every fifth order fails there. Both have spans with
attributes, events, links and exceptions, log records by the logging module, and metrics of every kind. It ends by itself, and writes as JSON what
it did: the truth that a test compares with. What the SDK complains of is part of it.
"""

import argparse
import json
import logging
import threading
import time
import urllib.error
import urllib.request
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

warnings.simplefilter("ignore", DeprecationWarning)

from opentelemetry import propagate, trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import (
    Counter,
    Histogram,
    MeterProvider,
    ObservableCounter,
    ObservableGauge,
    ObservableUpDownCounter,
    UpDownCounter,
)
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanKind, Status, StatusCode


def exporters(protocol, endpoint, temporality):
    """Exporters of spans, log records and metrics."""
    cumulative, delta = AggregationTemporality.CUMULATIVE, AggregationTemporality.DELTA
    preferred = {Counter: delta, Histogram: delta, ObservableCounter: delta} if temporality == "delta" else {}
    always = {UpDownCounter: cumulative, ObservableUpDownCounter: cumulative, ObservableGauge: cumulative}
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        to = {"endpoint": endpoint, "insecure": True}
        return (
            OTLPSpanExporter(**to),
            OTLPLogExporter(**to),
            OTLPMetricExporter(**to, preferred_temporality=preferred | always),
        )
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    def to(path):
        return {"endpoint": f"{endpoint}/v1/{path}", "compression": Compression.Gzip}

    return (
        OTLPSpanExporter(**to("traces")),
        OTLPLogExporter(**to("logs")),
        OTLPMetricExporter(**to("metrics"), preferred_temporality=preferred | always),
    )


class Complaints(logging.Handler):
    """Keeps what the SDK itself warns of: refusals, partial successes, lost items."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.said = []

    def emit(self, record):
        self.said.append(record.getMessage())


class Service:
    """The telemetry of one service."""

    def __init__(self, name, options):
        resource = Resource.create(
            {
                "service.name": name,
                "service.namespace": "python",
                "service.instance.id": f"{name}-1",
                "service.version": "3.1",
                "deployment.environment.name": "test",
            }
        )
        spans, logs, metrics = exporters(options.protocol, options.endpoint, options.temporality)
        self.tracers = TracerProvider(resource=resource)
        self.tracers.add_span_processor(BatchSpanProcessor(spans))
        self.logs = LoggerProvider(resource=resource)
        self.logs.add_log_record_processor(BatchLogRecordProcessor(logs))
        # Exported when it is told to, not by the clock.
        reader = PeriodicExportingMetricReader(metrics, export_interval_millis=3_600_000)
        exponential = View(
            instrument_name="order.value", aggregation=ExponentialBucketHistogramAggregation(max_size=160, max_scale=20)
        )
        self.meters = MeterProvider(resource=resource, metric_readers=[reader], views=[exponential])
        self.tracer = self.tracers.get_tracer("shop.orders", "1.2", attributes={"team": "orders"})
        self.meter = self.meters.get_meter("shop.orders", "1.2")
        self.logger = logging.getLogger(name)
        self.logger.setLevel(logging.DEBUG)
        self.logger.propagate = False
        self.logger.addHandler(LoggingHandler(logger_provider=self.logs))

    def flush(self):
        self.meters.force_flush()

    def end(self):
        self.tracers.shutdown()
        self.logs.shutdown()
        self.meters.shutdown()


class OutOfStock(Exception):
    """What every fifth order fails with."""


def till(service):
    """Starts the till on a free port; its server."""
    payments = service.meter.create_counter("payments", unit="{payment}", description="Payments by outcome")
    waiting = service.meter.create_up_down_counter("payments.open", description="Payments that are not through yet")
    took = service.meter.create_histogram("payment.duration", unit="s", description="How long a payment takes")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            order = int(self.headers["x-order"])
            self.rfile.read(int(self.headers.get("content-length") or 0))
            context = propagate.extract(self.headers)
            attributes = {"http.request.method": "POST", "http.route": "/payments", "order": order}
            with service.tracer.start_as_current_span(
                "POST /payments", context=context, kind=SpanKind.SERVER, attributes=attributes
            ) as span:
                begin = time.perf_counter()
                waiting.add(1)
                service.logger.debug("asking the bank", extra={"order": order})
                time.sleep(0.002 + order % 7 * 0.001)
                failed = order % 5 == 4
                if failed:
                    error = OutOfStock(f"sku {order} is out of stock")
                    span.record_exception(error)
                    span.set_status(Status(StatusCode.ERROR, str(error)))
                    service.logger.error("refused", exc_info=(OutOfStock, error, None), extra={"order": order})
                else:
                    span.add_event("booked", {"amounts": [1, 2, 3], "booked": True, "share": 0.25})
                    service.logger.info("booked order %d", order, extra={"order": order})
                payments.add(1, {"outcome": "refused" if failed else "booked"})
                took.record(time.perf_counter() - begin, {"outcome": "refused" if failed else "booked"})
                waiting.add(-1)
            self.send_response(409 if failed else 204)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--protocol", choices=["grpc", "http"], required=True)
    parser.add_argument("--endpoint", required=True, help="where OTLP goes, as http://127.0.0.1:4317")
    parser.add_argument("--temporality", choices=["cumulative", "delta"], required=True)
    parser.add_argument("--orders", type=int, default=10, help="how many in each round")
    parser.add_argument("--rounds", type=int, default=4, help="how often metrics are exported")
    options = parser.parse_args()

    complaints = Complaints()
    logging.getLogger("opentelemetry").addHandler(complaints)
    storefront, payments = Service("py-storefront", options), Service("py-till", options)
    server = till(payments)
    url = f"http://127.0.0.1:{server.server_port}/payments"

    stock = {"221": 1000, "17": 500}

    def levels(_: CallbackOptions):
        return [Observation(left, {"sku": sku}) for sku, left in stock.items()]

    begin = time.process_time()
    meter = storefront.meter
    meter.create_observable_gauge("stock.level", [levels], unit="{item}", description="What is left of a sku")
    meter.create_observable_counter("cpu.time", [lambda _: [Observation(time.process_time() - begin)]], unit="s")
    orders = meter.create_counter("orders", unit="{order}", description="Orders by outcome")
    took = meter.create_histogram(
        "order.duration",
        unit="s",
        description="How long an order takes",
        explicit_bucket_boundaries_advisory=[0.002, 0.005, 0.01, 0.02, 0.05, 0.1],
    )
    value = meter.create_histogram("order.value", unit="EUR", description="What an order costs")
    carts = meter.create_up_down_counter("carts", description="Carts that are open")

    truth = {"orders": 0, "refused": 0, "value": 0.0, "failed_trace": None, "first_trace": None}
    before = None
    for _ in range(options.rounds):
        for _ in range(options.orders):
            number = truth["orders"]
            started = time.perf_counter()
            attributes = {"http.request.method": "POST", "http.route": "/orders", "tags": ["a", "b"], "order": number}
            links = [Link(before, {"why": "the order before"})] if before else []
            with storefront.tracer.start_as_current_span(
                "POST /orders", kind=SpanKind.SERVER, attributes=attributes, links=links
            ) as span:
                before = span.get_span_context()
                trace_id = trace.format_trace_id(before.trace_id)
                truth["first_trace"] = truth["first_trace"] or trace_id
                carts.add(2)
                storefront.logger.info("order %d taken", number, extra={"customer": f"c-{number % 3}"})
                headers = {"x-order": str(number)}
                with storefront.tracer.start_as_current_span("pay", kind=SpanKind.CLIENT) as call:
                    propagate.inject(headers)
                    try:
                        request = urllib.request.Request(url, data=b"{}", headers=headers, method="POST")
                        urllib.request.urlopen(request, timeout=20).close()
                        outcome = "taken"
                    except urllib.error.HTTPError as error:
                        call.set_attribute("http.response.status_code", error.code)
                        call.set_status(Status(StatusCode.ERROR, "the till refuses"))
                        outcome = "refused"
                        truth["refused"] += 1
                        truth["failed_trace"] = truth["failed_trace"] or trace_id
                        span.set_status(Status(StatusCode.ERROR, "not paid"))
                        storefront.logger.warning("order %d is not paid", number)
                cost = 0.5 * (number + 1)
                orders.add(1, {"outcome": outcome})
                took.record(time.perf_counter() - started, {"outcome": outcome})
                value.record(cost)
                carts.add(-1)
                stock["221"] -= 1
            truth["orders"] += 1
            truth["value"] += cost
        storefront.flush()
        payments.flush()
        time.sleep(0.25)
    event = LogRecord(
        timestamp=time.time_ns(),
        severity_number=SeverityNumber.INFO,
        severity_text="INFO",
        body={"orders": truth["orders"], "of": ["221", "17"]},
        attributes={"day": 1},
        event_name="shop.closed",
    )
    storefront.logs.get_logger("shop.events").emit(event)
    server.shutdown()
    storefront.end()
    payments.end()
    print(json.dumps(truth | {"stock": stock["221"], "complaints": complaints.said}))


if __name__ == "__main__":
    main()
