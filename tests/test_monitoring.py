"""Alerts and dashboard: they use metrics that exist, and web and worker count exactly what happens."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from receiver.cli.demo import stack
from receiver.cli.demo.processes import free_port
from receiver.cli.demo.running import INPUT
from tests.local_stack import Local, eventually, local_system
from tests.parts.collectors import Collector, collecting
from tests.parts.counted import counts
from tests.parts.metrics import read

ROOT = Path(__file__).parents[1]
MONITORING = ROOT / "monitoring"
RULES = (MONITORING / "prometheus-rules.yml").read_text()
DASHBOARD: dict[str, Any] = json.loads((MONITORING / "grafana.json").read_text())
PAGE = (ROOT / "docs" / "monitoring.md").read_text()
METRIC = re.compile(r"\b(?:stagehook|temporal)_[a-z0-9_]+\b")
OF_HISTOGRAM = re.compile(r"_(?:bucket|sum|count)$")
OF_SDK = re.compile(r"^temporal_")


def panels() -> Iterator[dict[str, Any]]:
    for panel in DASHBOARD["panels"]:
        yield panel
        yield from panel.get("panels", [])


def expressions() -> list[str]:
    """The queries of the dashboard and of its variables."""
    queries = [target["expr"] for panel in panels() for target in panel.get("targets", [])]
    return queries + [one["query"]["query"] for one in DASHBOARD["templating"]["list"] if one["type"] == "query"]


def families(text: str) -> set[str]:
    """The metrics that a text names; those of a histogram without their suffix."""
    return {OF_HISTOGRAM.sub("", name) for name in METRIC.findall(text)}


def used() -> set[str]:
    return families("\n".join([*re.findall(r"expr: \|?([^\n]*(?:\n {10,}[^\n]*)*)", RULES), *expressions()]))


def in_code() -> str:
    files = [file for room in ("activities", "receiver", "workflows") for file in (ROOT / room).rglob("*.py")]
    return "\n".join(file.read_text() for file in files)


def alerts() -> list[str]:
    return re.findall(r"- alert: (\w+)", RULES)


# --- the files


def test_alerts_and_dashboard_use_metrics_that_the_code_has() -> None:
    """Names of which a part is made at run time are checked by a scrape, below."""
    code = in_code()
    made = ("stagehook_runs_", "stagehook_partner_", "stagehook_calls", "stagehook_asks")
    ours = {name.removesuffix("_total").removesuffix("_seconds") for name in used() if not OF_SDK.match(name)}
    assert len(ours) > 15
    assert {name for name in ours if name not in code and not name.startswith(made)} == set()


def test_each_alert_is_tested_and_explained() -> None:
    tests = (MONITORING / "prometheus-rules.test.yml").read_text()
    assert len(alerts()) == len(set(alerts())) > 8
    for alert in alerts():
        assert f"alertname: {alert}, exp_alerts: []" in tests, "no test that it stays quiet"
        assert re.search(rf"alertname: {alert}\n +exp_alerts: \[\{{exp_labels", tests), "no test that it fires"
        assert f"`{alert}`" in PAGE


def test_the_page_explains_each_metric_that_is_used() -> None:
    assert {name for name in used() if not OF_SDK.match(name)} - families(PAGE) == set()


def test_the_dashboard_is_whole() -> None:
    """Each panel has a place and an id of its own, and every query asks the chosen data source."""
    ids = [panel["id"] for panel in panels()]
    assert len(ids) == len(set(ids))
    for panel in (one for one in panels() if one["type"] != "row"):
        assert panel["title"]
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}


# --- a real system


STAGES = {
    ("identity-check", "identity", "succeeded", "asked"): 3,
    ("account-check", "bank", "succeeded", "callback"): 3,
    ("contract", "esign", "succeeded", "callback"): 3,
}
"""Of three runs whose cards partner never answers, by stage, partner, status and cause."""

ACCEPTED = [("identity", "202", 3), ("bank", "202", 6), ("esign", "200", 3)]
"""Of the same runs: the bank reports progress before the result, and esign wants 200."""

PLAYS = {"identity": ["later"], "bank": ["later"], "esign": ["later"], "cards": ["never"], "payments": ["later"]}
SECRET = "s3cret-of-the-collector"


@contextmanager
def monitored(folder: Path, collector: Collector) -> Iterator[tuple[Local, str]]:
    """Two processes of web and a worker, which push to the collector; and the worker's URL."""
    port, make = free_port(), stack.local_environment
    added = {
        "METRICS_PORT": str(port),
        "WEB_CONCURRENCY": "2",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_METRIC_EXPORT_INTERVAL": "500",
        "OTEL_EXPORTER_OTLP_HEADERS": f"x-team={SECRET}",
    }
    with (
        patch.object(stack, "local_environment", lambda *args, **kwargs: {**make(*args, **kwargs), **added}),
        local_system(folder, PLAYS) as local,
    ):
        yield local, f"http://127.0.0.1:{port}"


def page_of(url: str) -> str:
    return httpx.get(f"{url}/metrics", trust_env=False).text


def settled(page: str) -> dict[tuple[str, ...], float]:
    labels = ("stage", "partner", "status", "cause")
    return counts(list(text_string_to_metric_families(page)), "stagehook_stages_settled_total", *labels)


@pytest.mark.system
def test_web_and_worker_show_and_push_what_happens(tmp_path: Path) -> None:
    """Three runs, until each waits for the last partner."""
    with collecting() as collector:
        with monitored(tmp_path, collector) as (local, worker):
            for number in range(3):
                words = ("pipeline", "start", "onboarding", "--id", f"r-{number}", "--input", json.dumps(INPUT))
                assert local.command(*words).returncode == 0
            eventually(lambda: settled(page_of(worker)) == STAGES)
            web, waiting = local.stack.public_url, 'stagehook_runs_waiting{partner="cards"} 3.0'
            eventually(lambda: waiting in page_of(web), 3 * 60)  # it is counted once a minute
            pages = [page_of(worker), page_of(web)]
            assert httpx.get(f"{worker}/healthz", trust_env=False).json() == {"polling": True}
        logs = "".join(file.read_text() for file in tmp_path.glob("*.log"))
    check_scrapes(pages)
    check_pushes(collector)
    told = "\n".join([*pages, *map("=".join, collector.labels)])
    assert not [secret for secret in (SECRET, "/callbacks/", "r-0", "r-1", "r-2") if secret in told]
    assert SECRET not in logs


def check_scrapes(pages: list[str]) -> None:
    """All that alerts and dashboard use is there, and the callbacks of all processes of web are counted."""
    shown = {family for page in pages for family in re.findall(r"^# TYPE (\S+)", page, re.MULTILINE)}
    assert used() - shown == {"stagehook_unrecorded_total"}  # shown by several processes once there is something
    answers = read(pages[1])
    for partner, status, count in ACCEPTED:
        assert answers["stagehook_answers_total", partner, "", status, "accepted"] == count


def check_pushes(collector: Collector) -> None:
    """The sums over all processes."""
    assert collector.services == {"stagehook-web", "stagehook-worker"}
    assert len(collector.processes) == 3
    for partner, status, count in ACCEPTED:
        assert collector.total("stagehook_answers", partner=partner, status=status, verdict="accepted") == count
    assert collector.total("stagehook_stages_settled") == sum(STAGES.values())
    assert collector.total("stagehook_stages_settled", cause="callback", partner="esign") == 3
    assert collector.total("stagehook_calls", partner="cards", result="accepted") == 3
    assert collector.total("stagehook_callback_seconds", partner="bank") == 3
    assert {push["x-team"] for push in collector.pushes} == {SECRET}
