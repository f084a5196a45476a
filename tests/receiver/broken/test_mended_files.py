"""After the partner's file is mended, a retry, a release or a replay settles the stage."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest
import sqlalchemy as sa
from temporalio.testing import WorkflowEnvironment

from activities.partners.partner import Unreadable
from activities.store.database import Database
from activities.store.schema import DELIVERIES
from receiver.cli.delivery.replay import SPEEDS
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Fate
from receiver.deliveries.filters import Filters
from receiver.replay.aims import CapturedClaims
from receiver.replay.sending import Replay
from tests.commands import command
from tests.parts.broken_files import BROKEN, File, raising, receiver, recorded, release
from tests.parts.callbacks import CLAIMS, DONE, URLS, for_temporal, url_for
from tests.parts.one_url import GITHUB, carrying, post, read_token
from tests.parts.switchable import Switchable
from tests.parts.waits import eventually
from tests.stores import url_of
from tests.support import ScriptedPartner, progress_of, result_of, stage, start, waiting, working


@pytest.mark.parametrize(
    "wrong",
    [
        "NaN",
        "a KeyError",
        *(pytest.param(of, marks=pytest.mark.system) for of in ("a number as code", "a lone surrogate")),
    ],
)
async def test_the_partners_retry_settles_it(wrong: str, store: Database | None, real: WorkflowEnvironment) -> None:
    file = File(BROKEN[wrong])
    async with (
        working(real.client, ScriptedPartner()),
        receiver(file.partner(), for_temporal(real.client), store) as http,
    ):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        answers = [(await http.post(url_for(handle), json=DONE)).status_code for _ in range(2)]
        assert (await progress_of(handle)).ignored == {}
        file.mended = True
        answers.append((await http.post(url_for(handle), json=DONE)).status_code)
        assert (await result_of(handle)).outcomes["step-1"].data == DONE["data"]
    assert answers == [503, 503, 202]


async def test_a_release_settles_it(
    database: Database, real: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = File(BROKEN["a KeyError"])
    async with (
        working(real.client, ScriptedPartner()),
        receiver(file.partner(), for_temporal(real.client), database) as http,
    ):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        await http.post(url_for(handle), json=DONE)
        (kept,) = await recorded(database)
        done = await release(database, file.partner(), kept.id, monkeypatch=monkeypatch)
        assert (done.code, done.out) == (4, "")
        assert f"partner-1's file is still wrong for {kept.id}: read_event raised KeyError" in done.err
        file.mended = True
        done = await release(database, file.partner(), "--verdict", "broken", monkeypatch=monkeypatch)
        assert (done.code, done.out) == (0, f"{kept.id} is pending\n")
        assert (await result_of(handle)).outcomes["step-1"].data == DONE["data"]
        await eventually(lambda: Archive(database).get(kept.id).fate is Fate.TAKEN)
        assert Archive(database).get(kept.id).says == "succeeded"
        again = await http.post(url_for(handle), json=DONE)
        assert again.status_code == 202
        assert [one.verdict for one in await recorded(database, 2)] == ["broken", "duplicate"]


async def test_a_replay_settles_it(database: Database, real: WorkflowEnvironment) -> None:
    file = File(BROKEN["a list as data"])
    async with (
        working(real.client, ScriptedPartner()),
        receiver(file.partner(), for_temporal(real.client), database) as http,
    ):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        await http.post(url_for(handle), json=DONE)
        kept = await recorded(database)
        file.mended = True
        again = Replay(http, URLS, {"partner-1": file.partner()}, speed=SPEEDS["max"])
        assert [one.answered async for one in again.send_all(kept, CapturedClaims())] == [202]
        assert (await result_of(handle)).outcomes["step-1"].data == DONE["data"]


async def test_of_retries_that_were_all_broken_one_is_released(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, temporal = File(None), Switchable()
    async with receiver(file.partner("bank"), temporal, database) as http:
        for number in (1, 2, 3):
            await http.post(URLS.issue(CLAIMS), json=DONE)
            await recorded(database, number)
        file.mended = True
        done = await release(database, file.partner("bank"), "--verdict", "broken", monkeypatch=monkeypatch)
        assert "1 delivery released, 2 left as they are" in done.err
        await eventually(lambda: Archive(database).latest(Filters(fate="taken")) != [])
        assert len(temporal.sent) == 1


async def test_a_release_after_the_partners_retry_sends_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, temporal = File(None), Switchable()
    async with receiver(file.partner("bank"), temporal, database) as http:
        await http.post(URLS.issue(CLAIMS), json=DONE)
        (broken,) = await recorded(database)
        file.mended = True
        assert (await http.post(URLS.issue(CLAIMS), json=DONE)).status_code == 202
        done = await release(database, file.partner("bank"), broken.id, monkeypatch=monkeypatch)
        assert (done.code, done.out) == (4, "")
        assert "says what another delivery has said" in done.err
        assert len(temporal.sent) == 1


async def test_a_release_signals_what_came_to_a_partners_one_url(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, temporal = File(None, read_token), Switchable()
    partner = file.partner("bank", signature=GITHUB)
    async with receiver(partner, temporal, database) as http:
        assert (await post(http, "/partners/bank", carrying(URLS.issue(CLAIMS)))).status_code == 503
        (kept,) = await recorded(database)
        file.mended = True
        done = await release(database, partner, kept.id, monkeypatch=monkeypatch)
        assert done.out == f"{kept.id} is pending\n"
        await eventually(lambda: Archive(database).get(kept.id).fate is Fate.TAKEN)
        assert [(chain, number) for chain, number, _ in temporal.sent] == [("chain", 1)]


async def test_a_body_that_was_not_kept_is_told(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    file = File(BROKEN["a KeyError"])
    async with receiver(file.partner("bank"), Switchable(), database) as http:
        await http.post(URLS.issue(CLAIMS), json=DONE)
        (kept,) = await recorded(database)
    with database.begin() as connection:
        connection.execute(sa.update(DELIVERIES).values(body=None))
    file.mended = True
    done = await release(database, file.partner("bank"), kept.id, monkeypatch=monkeypatch)
    assert (done.code, done.out) == (4, "")
    assert f"the body of {kept.id} was not kept whole" in done.err
    assert "have the partner send it again" in done.err


async def test_a_file_that_finds_it_unreadable_is_told(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    file = File(BROKEN["a KeyError"])
    async with receiver(file.partner("bank"), Switchable(), database) as http:
        await http.post(URLS.issue(CLAIMS), json=DONE)
        (kept,) = await recorded(database)
    file.wrong = raising(Unreadable("no status"))
    done = await release(database, file.partner("bank"), kept.id, monkeypatch=monkeypatch)
    assert (done.code, done.out) == (4, "")
    assert f"bank's file cannot read {kept.id}: no status" in done.err


async def test_a_variable_that_the_partners_file_lacks_is_told(database: Database) -> None:
    async with receiver(File(None).partner("bank"), Switchable(), database) as http:
        await http.post(URLS.issue(CLAIMS), json=DONE)
        (kept,) = await recorded(database)
    done = await anyio.to_thread.run_sync(
        lambda: command("delivery", "release", kept.id, DATABASE_URL=url_of(database))
    )
    assert (done.code, done.out) == (4, "")
    assert f"bank's file has to read {kept.id} again: BANK_KEY is not set" in done.err


async def test_an_imported_broken_delivery_is_never_sent(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    file, temporal = File(None), Switchable()
    async with receiver(file.partner("bank"), temporal, database) as http:
        await http.post(URLS.issue(CLAIMS), json=DONE)
        (kept,) = await recorded(database)
        Archive(database).add([imported := replace(kept, id="imported")])
        file.mended = True
        done = await release(database, file.partner("bank"), imported.id, monkeypatch=monkeypatch)
    assert (done.code, done.out, temporal.sent) == (4, "", [])
    assert "was imported" in done.err
