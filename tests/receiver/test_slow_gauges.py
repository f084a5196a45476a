"""Gauges that cost a query: asked seldom, shared by scrapes, and never in the way of other metrics."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest
import sqlalchemy as sa
from prometheus_client.core import Metric
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from activities.callback_urls import Claims
from activities.finding import register_attributes
from activities.store.calls import CallOrigin, Calls, NotedCall
from activities.store.database import Database
from activities.store.store import Store
from receiver.partner_gauges import slow_gauges
from receiver.scraping import gauge
from receiver.sending.signals import Signals
from receiver.slow_gauges import GaugesAway, GaugeTiming, SlowGauges
from tests.parts.callbacks import CLAIMS, DONE, URLS, no_temporal
from tests.parts.counted import counts
from tests.parts.metrics import read, serving
from tests.parts.switchable import Switchable
from tests.stores import PATIENT
from tests.support import (
    QUEUE,
    RUN_TIMEOUT,
    ScriptedPartner,
    pipeline,
    stage,
    working,
)
from workflows.contract import PIPELINE_WORKFLOW, PipelineRun
from workflows.finding import start_attributes

PATIENTLY = GaugeTiming(wait=RUN_TIMEOUT, within=RUN_TIMEOUT)


class Source:
    """Answers with the number of times that it was asked."""

    def __init__(self, answering: bool = True, error: Exception | None = None) -> None:
        self.asked = 0
        self.error = error
        self.answers = asyncio.Event()
        if answering:
            self.answers.set()

    async def __call__(self) -> Sequence[Metric]:
        self.asked += 1
        await self.answers.wait()
        if self.error is not None:
            raise self.error
        return [gauge("asked", "Times.", self.asked)]


def value_of(metrics: Sequence[Metric]) -> float | None:
    return metrics[0].samples[0].value if metrics else None


async def test_any_number_of_scrapes_ask_once() -> None:
    source = Source()
    gauges = SlowGauges("it", source, PATIENTLY)
    shown = await asyncio.gather(*(gauges.read() for _ in range(20)))
    shown += [await gauges.read() for _ in range(20)]
    assert {value_of(one) for one in shown} == {1}
    assert source.asked == 1


async def test_the_source_is_asked_again_when_it_is_time() -> None:
    source = Source()
    gauges = SlowGauges("it", source, replace(PATIENTLY, every=0.0))
    assert [value_of(await gauges.read()) for _ in range(3)] == [1, 2, 3]


async def test_a_scrape_does_not_wait_for_a_slow_source() -> None:
    """The next scrape has its answer."""
    source = Source(answering=False)
    gauges = SlowGauges("it", source, GaugeTiming(wait=0.01, within=RUN_TIMEOUT))
    assert await gauges.read() == ()
    source.answers.set()
    async with asyncio.timeout(RUN_TIMEOUT):
        while value_of(await gauges.read()) is None:
            await asyncio.sleep(0)
    assert source.asked == 1


async def test_an_old_result_is_shown_only_for_a_while() -> None:
    source = Source()
    gauges = SlowGauges("it", source, replace(PATIENTLY, every=0.0, lasts=0.2))
    assert value_of(await gauges.read()) == 1
    source.error = GaugesAway("no connection")
    assert value_of(await gauges.read()) == 1
    async with asyncio.timeout(RUN_TIMEOUT):
        while value_of(await gauges.read()) is not None:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("error", [GaugesAway("no connection"), ValueError("a bug"), None], ids=str)
async def test_a_source_that_fails_shows_nothing(error: Exception | None, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    source = Source(answering=error is not None, error=error)
    gauges = SlowGauges("it", source, GaugeTiming(every=0.0, wait=RUN_TIMEOUT, within=0.05))
    assert [await gauges.read() for _ in range(2)] == [(), ()]
    said = [record.getMessage() for record in caplog.records]
    assert said == (["gauges-failed"] * 2 if isinstance(error, ValueError) else ["gauges-away"])


async def signals_of(client: Client) -> Signals:
    async def connected() -> Client:
        return client

    return Signals(connected)


@pytest.mark.system
async def test_runs_are_counted_by_partner(real: WorkflowEnvironment) -> None:
    await register_attributes(real.client)
    impatient = stage(1, timeout=1.0, on_timeout="escalate")
    async with working(real.client, ScriptedPartner()):
        for number, one in enumerate((stage(1), stage(1), impatient, stage(1, partner="other"))):
            await real.client.start_workflow(
                PIPELINE_WORKFLOW,
                PipelineRun(pipeline(one), {}),
                id=f"run-{number}",
                task_queue=QUEUE,
                search_attributes=start_attributes("testing"),
            )
        [temporal] = slow_gauges(
            await signals_of(real.client), ["partner-1", "other", "idle"], None, replace(PATIENTLY, every=0.0)
        )
        wanted = {
            "waiting": {("partner-1",): 3, ("other",): 1, ("idle",): 0},
            "overdue": {("partner-1",): 0, ("other",): 0, ("idle",): 0},
            "needing_person": {("partner-1",): 1, ("other",): 0, ("idle",): 0},
        }
        async with asyncio.timeout(2 * RUN_TIMEOUT):
            found: dict[str, dict[tuple[str, ...], float]] = {}
            while found != wanted:  # Temporal shows a run in its lists a moment later
                metrics = list(await temporal.read())
                found = {name: counts(metrics, f"stagehook_runs_{name}", "partner") for name in wanted}
                await asyncio.sleep(0.05)


async def test_without_search_attributes_no_runs_are_counted(
    real: WorkflowEnvironment, caplog: pytest.LogCaptureFixture
) -> None:
    [temporal] = slow_gauges(await signals_of(real.client), ["bank"], None, PATIENTLY)
    assert await temporal.read() == ()
    [line] = [record for record in caplog.records if record.getMessage() == "gauges-away"]
    assert "`stagehook setup` registers them" in vars(line)["why"]


async def test_a_silent_partner_is_told_from_the_store(database: Database) -> None:
    """Its callbacks took a minute. The fifth call of an hour ago without a callback makes it silent."""
    now = time.time()
    calls = [replace(CLAIMS, workflow_id=f"run-{n}", chain_id=f"run-{n}", expires_at=2**33) for n in range(25)]
    await note(database, calls[:20], now - 60)
    async with serving(Switchable(), store=Store(database), timing=PATIENT) as http:
        for one in calls[:20]:
            assert (await http.post(URLS.issue(one), json=DONE)).status_code == 202
    heard = await partner_gauges(database)
    assert (heard["silent"], heard["calls_waiting"]) == ({("bank",): 0}, {("bank",): 0})
    assert 60 <= heard["call_p99_seconds"]["bank",] <= 60 + RUN_TIMEOUT
    assert now <= heard["last_heard_timestamp_seconds"]["bank",] <= time.time()
    with database.begin() as connection:  # all of this was two hours ago
        connection.execute(sa.text("UPDATE deliveries SET received_at = received_at - 7200"))
        connection.execute(sa.text("UPDATE calls SET called_at = called_at - 7200"))
    await note(database, calls[20:24], now - 3600)
    assert (await partner_gauges(database))["silent"] == {("bank",): 0}
    of_another = [replace(calls[24], chain_id="of-another", partner="not-enabled")]
    await note(database, [*calls[24:], *of_another], now - 3600)
    unheard = await partner_gauges(database)
    assert (unheard["silent"], unheard["calls_overdue"]) == ({("bank",): 1}, {("bank",): 5})


async def note(database: Database, calls: Sequence[Claims], at: float) -> None:
    origin = CallOrigin("onboarding", stage_by="url")
    await Calls(database).note([NotedCall(call, origin, at) for call in calls])


async def partner_gauges(database: Database) -> dict[str, dict[tuple[str, ...], float]]:
    _, store = slow_gauges(Signals(no_temporal), ["bank"], Store(database), PATIENTLY)
    metrics = list(await store.read())
    names = ("silent", "call_p99_seconds", "last_heard_timestamp_seconds", "calls_waiting", "calls_overdue")
    return {name: counts(metrics, f"stagehook_partner_{name}", "partner") for name in names}


async def test_a_store_that_is_away_shows_no_gauges(empty_database: Database) -> None:
    _, store = slow_gauges(Signals(no_temporal), ["bank"], Store(empty_database), PATIENTLY)
    assert await store.read() == ()


async def test_other_metrics_do_not_wait_for_temporal(database: Database) -> None:
    """Of a partner that is not enabled, nothing is shown."""
    async with serving(Switchable(), store=Store(database), timing=PATIENT) as http:
        samples = read((await http.get("/metrics")).text)
    assert samples[("stagehook_store_up",)] == 1
    assert not [key for key in samples if key[0].startswith("stagehook_runs_")]
