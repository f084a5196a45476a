"""A collector of OpenTelemetry's: it counts what is pushed to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest


class Collector:
    """Keeps the latest value of each series, by the process that pushed it. It answers `status`."""

    def __init__(self) -> None:
        self.status = 200
        self.pushes: list[dict[str, str]] = []
        self.services: set[str] = set()
        self.processes: set[str] = set()
        self.values: dict[tuple[str, str, frozenset[tuple[str, str]]], float] = {}
        self.bucket_counts: dict[tuple[str, str, frozenset[tuple[str, str]]], list[int]] = {}
        self.url = ""

    def total(self, name: str, **labels: str) -> float:
        """The sum of the series with this name and these labels, of all processes. Of a histogram: its count."""
        return sum(
            value
            for (_, found, pairs), value in self.values.items()
            if found == name and labels.items() <= dict(pairs).items()
        )

    def buckets(self, name: str) -> list[int]:
        """The counts of the only series of a histogram."""
        [counts] = (counts for (_, found, _), counts in self.bucket_counts.items() if found == name)
        return counts

    @property
    def labels(self) -> set[tuple[str, str]]:
        return {pair for _, _, pairs in self.values for pair in pairs}

    def take(self, headers: dict[str, str], body: bytes) -> None:
        self.pushes.append(headers)
        if self.status == 200:
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self._keep(resource)

    def _keep(self, pushed: Any) -> None:
        facts = {pair.key: pair.value.string_value for pair in pushed.resource.attributes}
        process = facts["service.instance.id"]
        self.services.add(facts["service.name"])
        self.processes.add(process)
        for metric in (metric for scope in pushed.scope_metrics for metric in scope.metrics):
            data = getattr(metric, metric.WhichOneof("data"))
            for point in data.data_points:
                labels = frozenset((pair.key, pair.value.string_value) for pair in point.attributes)
                series = process, metric.name, labels
                self.values[series] = point.count if hasattr(point, "bucket_counts") else point.as_double
                self.bucket_counts[series] = list(getattr(point, "bucket_counts", ()))


@contextmanager
def collecting(port: int = 0) -> Iterator[Collector]:
    """A collector on loopback while the block runs."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.take({name.lower(): value for name, value in self.headers.items()}, body)
            self.send_response(collector.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's own name
            """Nothing: it would be on stderr."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    collector.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
