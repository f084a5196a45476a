"""Real processes on a real store: killed at the worst moments, several at once, with the store or Temporal away."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from activities.store import migrations
from activities.store.database import Database
from receiver.cli.demo.processes import free_port
from receiver.cli.demo.stack import stagehook_command
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Fate
from tests.parts.metrics import read
from tests.parts.web_processes import SOON, Web
from tests.stores import Postgres
from tests.support import (
    ScriptedPartner,
    count_events,
    reset,
    result_of,
    stage,
    start,
    until,
    waiting,
    working,
)

pytestmark = [pytest.mark.fault, pytest.mark.timeout(180)]

DONE = {"id": "w-1", "status": "succeeded", "data": {"n": 1}}


@pytest.fixture
async def temporal(real: WorkflowEnvironment) -> AsyncIterator[Client]:
    async with working(real.client, ScriptedPartner()):
        yield real.client


@pytest.fixture
def web(database: Database, temporal: Client, tmp_path: Path) -> Web:
    return Web(database, temporal, tmp_path)


async def post(url: str, body: Any = DONE, within: float = 5.0) -> int:
    """The status, 0 if the connection broke."""
    async with httpx.AsyncClient(timeout=within, trust_env=False) as http:
        try:
            return (await http.post(url, json=body)).status_code
        except httpx.TransportError:
            return 0


async def get(url: str) -> httpx.Response:
    async with httpx.AsyncClient(timeout=5.0, trust_env=False) as http:
        return await http.get(url)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_receiver_killed_around_the_signal_loses_nothing(
    web: Web, temporal: Client, database: Database, when: str
) -> None:
    handle = await start(temporal, stage(1))
    await waiting(handle)
    with web.dying(when):
        assert await post(web.callback_url(handle)) == 0
    (kept,) = Archive(database).every()
    assert kept.fate is Fate.PENDING
    with web.serving():
        assert await post(web.callback_url(handle)) == 202, "the partner tries again"
        await result_of(handle, within=SOON)
        async with asyncio.timeout(SOON):
            while Archive(database).get(kept.id).fate is not Fate.TAKEN:
                await asyncio.sleep(0.1)
    assert await count_events(handle, "workflow_execution_signaled_event_attributes") == 1
    assert sorted(one.verdict for one in Archive(database).every()) == ["accepted", "duplicate"]


async def test_an_answered_callback_survives_receiver_and_temporal(
    web: Web, temporal: Client, real: WorkflowEnvironment
) -> None:
    handle = await start(temporal, stage(1))
    await waiting(handle)
    closed = f"127.0.0.1:{free_port()}"
    with web.serving(TEMPORAL_ADDRESS=closed) as process:
        assert await post(web.callback_url(handle)) == 202
        assert (await get(f"{web.url}/readyz")).status_code == 200
        process.kill()
    with web.serving():
        assert (await result_of(handle, within=SOON)).outcomes["step-1"].cause == "callback"


async def test_two_receivers_on_one_store_deliver_each_callback_once(
    web: Web, temporal: Client, database: Database, tmp_path: Path
) -> None:
    other = Web(database, temporal, tmp_path)
    handles = [await start(temporal, stage(1), id=f"run-{n}") for n in range(10)]
    for handle in handles:
        await waiting(handle)
    with web.serving(), other.serving():
        posts = [post(where.callback_url(handle)) for handle in handles for where in (web, other, web, other)]
        assert set(await asyncio.gather(*posts)) == {202}
        for handle in handles:
            await result_of(handle)
    for handle in handles:
        assert await count_events(handle, "workflow_execution_signaled_event_attributes") == 1


@pytest.mark.parametrize("again", [DONE, {**DONE, "data": {"n": 2}}, {"id": "w-1", "status": "failed"}])
async def test_after_a_reset_the_same_answer_counts_for_the_new_call(
    web: Web, temporal: Client, again: dict[str, Any]
) -> None:
    """Same chain, stage and attempt: only the moment of issue tells the two calls apart."""
    handle = await start(temporal, stage(1), stage(2))
    call = await waiting(handle)
    first = DONE if again["status"] == "succeeded" else {"status": "progress"}
    with web.serving():
        assert await post(web.callback_url(handle, issued_at=int(call.called_at or 0)), first) == 202
        await asyncio.sleep(1.1)  # calls are told apart by the second
        await reset(temporal, handle, without_signals=True)
        anew = await until(handle, 1, lambda one: one.state == "waiting" and one.called_at != call.called_at)
        assert await post(web.callback_url(handle, issued_at=int(anew.called_at or 0)), again) == 202
        settled = await until(handle, 1, lambda one: one.outcome is not None)
    assert (settled.outcome, settled.cause) == (again["status"], "callback")


async def test_several_processes_answer_alike_and_count_together(web: Web, temporal: Client) -> None:
    handles = [await start(temporal, stage(1), id=f"run-{n}") for n in range(8)]
    for handle in handles:
        await waiting(handle)
    with web.serving(WEB_CONCURRENCY="2") as process:
        statuses = [await post(web.callback_url(handle)) for handle in handles for _ in range(3)]
        assert set(statuses) == {202}
        shown = [read((await get(f"{web.url}/metrics")).text) for _ in range(6)]
        assert {one["stagehook_answers_total", "sandbox", "", "202", "accepted"] for one in shown} == {8}
        assert {one["stagehook_answers_total", "sandbox", "", "202", "duplicate"] for one in shown} == {16}
        assert {one["stagehook_answer_seconds_count", "accepted"] for one in shown} == {8}
        assert {one[("stagehook_deliveries_pending",)] for one in shown} == {0}
        assert {one[("stagehook_deliveries_parked",)] for one in shown} == {0}
        process.send_signal(signal.SIGTERM)
        assert process.wait(3 * 10) == 0


async def test_a_restarted_postgres_costs_no_callback(temporal: Client, postgres: Postgres, tmp_path: Path) -> None:
    database = Database(postgres.new_database())
    web = Web(database, temporal, tmp_path)
    migrations.upgrade(database)
    handles = [await start(temporal, stage(1), id=f"run-{n}") for n in range(3)]
    for handle in handles:
        await waiting(handle)
    with web.serving():
        assert await post(web.callback_url(handles[0])) == 202
        postgres.stop()
        try:
            assert await post(web.callback_url(handles[1])) == 202, "Temporal has taken it"
        finally:
            postgres.start()
        async with asyncio.timeout(SOON):
            while "stagehook_store_up 1.0" not in (await get(f"{web.url}/metrics")).text:
                await asyncio.sleep(0.1)
        assert await post(web.callback_url(handles[2])) == 202
        for handle in handles:
            await result_of(handle, within=SOON)
        async with asyncio.timeout(SOON):  # the one that Temporal took is recorded once the store is back
            while {one.workflow_id for one in Archive(database).every()} != {"run-0", "run-1", "run-2"}:
                await asyncio.sleep(0.1)
    assert len(list(Archive(database).every())) == 3


async def test_a_postgres_that_hangs_holds_up_no_answer(temporal: Client, postgres: Postgres, tmp_path: Path) -> None:
    database = Database(postgres.new_database())
    web = Web(database, temporal, tmp_path)
    migrations.upgrade(database)
    handle = await start(temporal, stage(1))
    await waiting(handle)
    with web.serving():
        assert await post(web.callback_url(handle, attempt=2), {"status": "progress"}) == 202
        with database.begin() as locking:
            locking.exec_driver_sql("LOCK TABLE deliveries IN ACCESS EXCLUSIVE MODE")
            began = time.monotonic()
            assert await post(web.callback_url(handle), within=10) == 202
            assert time.monotonic() - began < 3 * 2.5
        await result_of(handle, within=SOON)


async def test_a_receiver_whose_store_lacks_its_tables_does_not_start(
    empty_database: Database, real: WorkflowEnvironment, tmp_path: Path
) -> None:
    web = Web(empty_database, real.client, tmp_path)
    done = await asyncio.to_thread(
        subprocess.run, stagehook_command("serve"), env=web.env, capture_output=True, timeout=SOON, check=False
    )
    assert done.returncode == 1
    assert b"has no tables of this version" in done.stderr
    assert b"stagehook db upgrade" in done.stderr
