"""Exports a metric of every kind once, with the SDK as an application would; arguments: URL, compression."""

import sys

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricExportResult
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource

resource = Resource.create(
    {
        "service.namespace": "shop",
        "service.name": "claims",
        "service.instance.id": "i-1",
        "host.name": "h",
    }
)
reader = InMemoryMetricReader()
fine = View(instrument_name="claims.size", aggregation=ExponentialBucketHistogramAggregation())
provider = MeterProvider([reader], resource, views=[fine])
meter = provider.get_meter("claims.library", "1.0")

paid = meter.create_counter("claims.paid", unit="{claim}", description="Claims paid.")
paid.add(2, {"state": "fl", "retried": False})
paid.add(3, {"state": "fl", "retried": False})
meter.create_up_down_counter("claims.open").add(-4)
meter.create_observable_gauge("pool.fill", [lambda _: [Observation(0.5)]], unit="1")
latency = meter.create_histogram(
    "http.server.request.duration", unit="s", explicit_bucket_boundaries_advisory=[0.1, 1.0]
)
for value in [0.05, 0.5, 2.0]:
    latency.record(value, {"http.route": "/claims"})
size = meter.create_histogram("claims.size", unit="By")
for value in [0, 1, 2, 4]:
    size.record(value)

exporter = OTLPMetricExporter(endpoint=sys.argv[1], compression=Compression(sys.argv[2]))
result = exporter.export(reader.get_metrics_data())
sys.exit(0 if result is MetricExportResult.SUCCESS else f"the export ended in {result}")
