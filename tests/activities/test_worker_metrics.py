"""The worker's metrics: what the SDK's meter is told, as series for Prometheus, and calls by partner and result."""

from __future__ import annotations

import httpx
import pytest
import respx
from prometheus_client import generate_latest
from prometheus_client.core import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from temporalio.testing import ActivityEnvironment

from activities import worker_metrics
from activities.callback_urls import CallbackURLs
from activities.calls import PartnerCalls, http_client
from activities.client import make_runtime
from activities.environment import Environment
from activities.partners import sandbox
from activities.worker_metrics import WorkerMetrics
from tests.parts.counted import counts
from tests.support import KEY
from workflows.contract import Question, StageCall

CALL = StageCall("run-1", "chain-1", 2, "account-check", "bank", 1, 1_800_000_000, 1_900_000_000, pipeline="onboarding")


def page(counted: WorkerMetrics) -> str:
    class Shown(Collector):
        collect = counted.collect

    registry = CollectorRegistry()
    registry.register(Shown())
    return generate_latest(registry).decode()


def test_series_are_added_up_by_their_labels() -> None:
    counted = WorkerMetrics()
    meter = make_runtime(counted.buffer).metric_meter
    meter.create_counter("jobs", "Jobs.").add(2, {"queue": "a", "eager": True})
    meter.create_counter("jobs", "Jobs.").add(3, {"queue": "a", "eager": True})
    meter.create_counter("jobs", "Jobs.").add(1, {"queue": "b"})
    for depth in (7, 4):
        meter.create_gauge("depth", "Depth.").set(depth, {"queue": "a"})
    for seconds in (0.02, 0.3, 99.0):
        meter.create_histogram_float("wait", "Wait.", "s").record(seconds, {"queue": "a"})
    counted.collect()
    meter.create_counter("jobs", "Jobs.").add(10, {"queue": "b"})
    shown = page(counted)
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(shown)
        for sample in family.samples
    }
    assert samples["jobs_total", "true", "a"] == 5
    assert samples["jobs_total", "b"] == 11
    assert samples["depth", "a"] == 4
    assert samples["wait_seconds_count", "a"] == 3
    assert samples["wait_seconds_sum", "a"] == pytest.approx(99.32)
    assert [samples["wait_seconds_bucket", bound, "a"] for bound in ("0.01", "0.025", "0.5", "5.0", "+Inf")] == [
        *(0, 1, 2, 2, 3)
    ]
    assert "# TYPE wait_seconds histogram" in shown
    assert "# HELP jobs_total Jobs." in shown


def test_series_without_end_become_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_metrics, "MOST_SERIES", 3)
    counted = WorkerMetrics()
    counter = make_runtime(counted.buffer).metric_meter.create_counter("jobs")
    for number in range(10):
        counter.add(1, {"run": str(number)})
    found = {tuple(sample.labels.items()): sample.value for sample in counted.collect()[0].samples}
    assert len(found) == 4
    assert found[("otel_metric_overflow", "true"),] == 7


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (httpx.Response(200, json={"work_id": "w"}), "accepted"),
        (httpx.Response(422), "refused"),
        (httpx.Response(500), "unclear"),
        (httpx.Response(429), "not_reached"),
        (httpx.ConnectError("no"), "not_reached"),
        (httpx.ReadTimeout("no"), "unclear"),
    ],
)
async def test_each_try_counts_by_partner_and_result(answer: httpx.Response | Exception, result: str) -> None:
    counted = WorkerMetrics()
    env = ActivityEnvironment()
    env.metric_meter = make_runtime(counted.buffer).metric_meter
    partner = sandbox.partner("bank", Environment({"SANDBOX_URL": "http://sandbox.test"}))
    async with http_client() as http:
        calls = PartnerCalls(http, CallbackURLs("https://hooks.test", [KEY]), {"bank": partner})
        with respx.mock(assert_all_called=False) as network:
            network.post(url__startswith="http://sandbox.test").mock(side_effect=[answer])
            for work in (env.run(calls.call_partner, CALL), env.run(calls.ask_partner, Question(CALL, ""))):
                try:
                    await work
                except Exception as error:
                    assert type(error).__name__ == "CallError"  # noqa: PT017 - an accepted call raises nothing
    metrics = counted.collect()
    assert counts(metrics, "stagehook_calls_total", "partner", "result") == {("bank", result): 1}
    assert counts(metrics, "stagehook_asks_total", "partner", "result") == {("bank", "unanswered"): 1}
