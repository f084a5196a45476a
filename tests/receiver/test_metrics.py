"""/metrics: what is counted, for whom it is shown, and right with several processes."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from activities.builds import Build
from activities.metrics_settings import MetricsSettings
from activities.store.calls import CallOrigin, Calls, NotedCall
from activities.store.database import Database
from activities.store.store import Store
from receiver import budget
from receiver.answers import Verdict
from receiver.deliveries.archive import Archive
from receiver.metrics import Metrics
from receiver.sending.signals import Signals
from receiver.settings import WebSettings
from tests.parts.callbacks import BASE, CLAIMS, DONE, URLS, no_temporal
from tests.parts.metrics import read, serving
from tests.parts.switchable import Switchable
from tests.stores import PATIENT
from tests.support import RUN_TIMEOUT


async def test_answers_are_counted_by_verdict_reason_and_partner(database: Database) -> None:
    async with serving(Switchable(), store=Store(database), timing=PATIENT) as http:
        for _ in range(2):
            await http.post(URLS.issue(CLAIMS), json=DONE)
        await http.post(URLS.issue(CLAIMS), json=[])
        await http.post(f"{BASE}/callbacks/forged", json=DONE)
        shown = await http.get("/metrics")
    samples = read(shown.text)
    assert samples["stagehook_answers_total", "bank", "", "202", "accepted"] == 1
    assert samples["stagehook_answers_total", "bank", "", "202", "duplicate"] == 1
    assert samples["stagehook_answers_total", "bank", "not a JSON object", "422", "unreadable"] == 1
    assert samples["stagehook_answers_total", "", "", "404", "unknown"] == 1
    assert samples["stagehook_answer_seconds_count", "accepted"] == 1
    assert samples[("stagehook_store_up",)] == 1


def test_only_so_many_reasons_get_their_own_series(monkeypatch: pytest.MonkeyPatch) -> None:
    """A partner's file may make its reasons from what it reads."""
    monkeypatch.setattr("receiver.metrics.MOST_REASONS", 2)
    metrics = Metrics(None)
    for reason in ("first", "second", "third", "fourth", "first"):
        metrics.answered(Verdict.UNREADABLE, reason, "bank", status=422, seconds=0.1)
    samples = metrics._registry.collect()
    counted = {
        sample.labels["reason"]: sample.value
        for family in samples
        for sample in family.samples
        if sample.name == "stagehook_answers_total"
    }
    assert counted == {"first": 2, "second": 1, "other": 2}


async def test_the_build_is_shown() -> None:
    async with serving(Switchable(), build=Build("0a1b2c3")) as http:
        assert read((await http.get("/metrics")).text)["stagehook_build_info", "0a1b2c3"] == 1
    async with serving(Switchable()) as http:
        assert read((await http.get("/metrics")).text)[("stagehook_build_info",)] == 1


async def test_requests_beyond_the_budget_of_records_are_counted(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused one and a duplicate: neither is recorded."""
    monkeypatch.setattr(budget, "PER_MINUTE", 0)
    async with serving(Switchable(), store=Store(database), timing=PATIENT) as http:
        for _ in range(3):
            await http.post(URLS.issue(CLAIMS), json=DONE)
            await http.post(f"{BASE}/callbacks/forged", json=DONE)
        samples = read((await http.get("/metrics")).text)
    assert samples["stagehook_unrecorded_total", "bank", "duplicate"] == 2
    assert samples["stagehook_unrecorded_total", "", "unknown"] == 3
    assert len(list(Archive(database).every())) == 1


async def test_the_queue_is_shown(database: Database) -> None:
    temporal = Switchable()
    temporal.there = False
    async with serving(temporal, store=Store(database), timing=PATIENT) as http:
        assert (await http.post(URLS.issue(CLAIMS), json=DONE)).status_code == 202
        await asyncio.sleep(0.1)
        samples = read((await http.get("/metrics")).text)
    assert samples[("stagehook_deliveries_pending",)] == 1
    assert samples[("stagehook_deliveries_oldest_pending_seconds",)] >= 0.1
    assert samples[("stagehook_deliveries_parked",)] == 0


async def test_without_its_tables_the_store_is_shown_as_down(empty_database: Database) -> None:
    async with serving(Switchable(), store=Store(empty_database)) as http:
        assert read((await http.get("/metrics")).text)[("stagehook_store_up",)] == 0


@pytest.mark.parametrize(
    ("token", "given", "status"),
    [
        ("", "", 200),
        (None, "", 404),
        ("t" * 16, "", 401),
        ("t" * 16, "Bearer x", 401),
        ("t" * 16, "Bearer " + "t" * 16, 200),
    ],
)
async def test_figures_are_shown_to_whom_they_concern(token: str | None, given: str, status: int) -> None:
    async with serving(Signals(no_temporal), metrics=MetricsSettings(token=token)) as http:
        assert (await http.get("/metrics", headers={"Authorization": given})).status_code == status


@pytest.mark.parametrize(
    ("public_url", "given", "token"),
    [
        ("http://127.0.0.1:8000", {}, ""),
        ("https://x.example", {}, None),
        ("https://x.example", {"METRICS_TOKEN": "m" * 20}, "m" * 20),
    ],
)
def test_a_public_receiver_shows_them_only_for_a_token(
    public_url: str, given: dict[str, str], token: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activities.settings.load_partners", lambda names, env: {})
    settings = WebSettings.from_env(
        {"PUBLIC_URL": public_url, "CALLBACK_KEYS": "q7Wm3zTx9Lr2Vb8Nk5Jd1Hs6Pf4Gc0Ya", "PARTNERS": "x", **given}
    )
    assert settings.shared.metrics.token == token


async def test_the_time_from_call_to_result_is_counted(database: Database) -> None:
    """Of each result that Temporal takes, once; of a call that is not in the table, nothing."""
    now = time.time()
    known, unknown = (replace(CLAIMS, workflow_id=name, chain_id=name) for name in ("known", "unknown"))
    await Calls(database).note([NotedCall(known, CallOrigin("onboarding", stage_by="url"), now - 90)])
    async with serving(Switchable(), store=Store(database), timing=PATIENT) as http:
        for body in ({**DONE, "status": "progress"}, DONE, DONE):
            assert (await http.post(URLS.issue(known), json=body)).status_code == 202
        assert (await http.post(URLS.issue(unknown), json=DONE)).status_code == 202

        async def count() -> float:
            return read((await http.get("/metrics")).text).get(("stagehook_call_seconds_count", "bank"), 0)

        async with asyncio.timeout(RUN_TIMEOUT):
            while not await count():
                await asyncio.sleep(0.02)
        samples = read((await http.get("/metrics")).text)
    assert samples["stagehook_call_seconds_count", "bank"] == 1
    assert 90 <= samples["stagehook_call_seconds_sum", "bank"] < 90 + RUN_TIMEOUT
