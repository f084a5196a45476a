"""Rows that an earlier version has kept of callbacks that a file could not read."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from temporalio.testing import WorkflowEnvironment

from activities.store.database import Database
from activities.store.schema import DELIVERIES
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Fate
from tests.commands import command
from tests.parts.broken_files import File, receiver, recorded, release
from tests.parts.callbacks import CLAIMS, DONE, URLS, for_temporal, url_for
from tests.parts.switchable import Switchable
from tests.parts.waits import eventually
from tests.stores import url_of
from tests.support import ScriptedPartner, result_of, stage, start, waiting, working
from workflows.contract import Answer

PARKED: dict[str, tuple[str, dict[str, Any]]] = {
    "a number as code": ("what is kept cannot be read: TypeError", {"code": 1042}),
    "null as message": ("what is kept cannot be read: TypeError", {"message": None}),
    "a list as data": ("what is kept cannot be read: TypeError", {"data": []}),
    "NaN": ("UnicodeEncodeError, in 16 tries", {"data": {"x": math.nan}}),
    "a lone surrogate": ("UnicodeEncodeError, in 16 tries", {"message": "Zoe \ud83d"}),
}


QUICK = {"a number as code", "NaN"}
"""One of each way in which it was parked; the others take the same ways."""


@pytest.mark.system
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind in QUICK else [pytest.mark.fault]) for kind in PARKED]
)
async def test_what_an_earlier_version_parked_can_be_released(
    kind: str, database: Database, real: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    why, wrong = PARKED[kind]
    file = File(Answer("succeeded"))
    async with (
        working(real.client, ScriptedPartner()),
        receiver(file.partner(), Switchable(), database) as earlier,
    ):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        assert (await earlier.post(url_for(handle), json=DONE)).status_code == 202
        (kept,) = await recorded(database)
        await eventually(lambda: Archive(database).get(kept.id).fate is Fate.TAKEN)
        chain = handle.first_execution_run_id or ""
        callback = {"answer": {**asdict(Answer("failed")), **wrong}, "chain_id": chain, "attempt": 1}
        with database.begin() as connection:
            values = {"fate": "parked", "fate_reason": why, "says": "failed"}
            old = json.dumps({**callback, "issued_at": kept.issued_at})
            connection.execute(sa.update(DELIVERIES).values(callback=old, **values))
    file.mended = True
    async with working(real.client, ScriptedPartner()), receiver(file.partner(), for_temporal(real.client), database):
        done = await release(database, file.partner(), "--fate", "parked", monkeypatch=monkeypatch)
        assert done.out == f"{kept.id} is pending\n"
        assert (await result_of(handle)).outcomes["step-1"].data == DONE["data"]
        await eventually(lambda: Archive(database).get(kept.id).fate is Fate.TAKEN)


async def test_what_an_earlier_version_queued_broken_is_parked(database: Database) -> None:
    temporal = Switchable()
    async with receiver(File(Answer("succeeded")).partner("bank"), temporal, database) as http:
        await http.post(URLS.issue(CLAIMS), json=DONE)
        (kept,) = await recorded(database)
        await eventually(lambda: Archive(database).get(kept.id).fate is Fate.TAKEN)
        old = {"answer": asdict(Answer("failed", {"x": math.nan})), "chain_id": "chain", "attempt": 1, "issued_at": 1}
        with database.begin() as connection:
            values = {"fate": "pending", "due_at": time.time(), "callback": json.dumps(old)}
            connection.execute(sa.update(DELIVERIES).values(**values))
        await eventually(lambda: Archive(database).get(kept.id).fate is Fate.PARKED)
    assert "what is kept cannot be read: Answer.data holds NaN" in Archive(database).get(kept.id).fate_reason
    assert len(temporal.sent) == 1


async def test_a_parked_delivery_with_a_signal_needs_no_file(database: Database) -> None:
    async with receiver(File(Answer("succeeded")).partner("bank"), Switchable(), database) as http:
        await http.post(URLS.issue(CLAIMS), json=DONE)
        (kept,) = await recorded(database)
        await eventually(lambda: Archive(database).get(kept.id).fate is Fate.TAKEN)
    with database.begin() as connection:
        connection.execute(sa.update(DELIVERIES).values(fate="parked"))
    done = await anyio.to_thread.run_sync(
        lambda: command("delivery", "release", kept.id, DATABASE_URL=url_of(database))
    )
    assert (done.code, done.out) == (0, f"{kept.id} is pending\n")
