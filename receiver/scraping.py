"""Scraping: who may read `/metrics`, and the page in Prometheus' text format."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator

from prometheus_client import generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from activities.builds import Build
from receiver.answers import Verdict


def refusal_of_scraper(request: Request, token: str | None) -> Response | None:
    """The answer to a scraper that may not read the metrics, or None. token: see `MetricsSettings`."""
    if token is None:
        return Verdict.UNKNOWN.respond()
    given = request.headers.get("authorization", "").encode("latin-1")
    if token and not hmac.compare_digest(given, f"Bearer {token}".encode()):
        return Response("send METRICS_TOKEN as a bearer token\n", 401, {"WWW-Authenticate": "Bearer"})
    return None


def metrics_page(families: Iterable[Metric]) -> Response:
    """The metrics for a scraper."""
    return Response(generate_latest(_Families(families)), media_type=CONTENT_TYPE_PLAIN_0_0_4)


def gauge(name: str, says: str, value: float) -> Metric:
    """A gauge without labels, with its value of this moment."""
    return GaugeMetricFamily(name, says, value=value)


def build_info(build: Build) -> Metric:
    """The build of this process. During a deploy, the processes of one application may differ."""
    family = GaugeMetricFamily("stagehook_build_info", "The build of this process.", labels=list(build.facts))
    family.add_metric(list(build.facts.values()), 1)
    return family


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families
