"""What a partner's file returns wrongly is our fault: nothing is lost by it, and it settles after the mend."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from typing import Any

import anyio
import httpx
import pytest
import sqlalchemy as sa
from temporalio.testing import WorkflowEnvironment

from activities.environment import Environment
from activities.partners import sandbox
from activities.partners.events import Event
from activities.partners.partner import Partner, Unreadable
from activities.partners.received import Received
from activities.store.database import Database
from activities.store.schema import DELIVERIES
from activities.store.store import Store
from receiver.app import create_app
from receiver.cli.delivery.replay import SPEEDS
from receiver.deliveries.archive import Archive, Filters
from receiver.deliveries.delivery import MAX_REFUSED_BODY_BYTES, Delivery, Fate
from receiver.replay.aims import CapturedClaims
from receiver.replay.sending import Replay
from receiver.sending.signals import Signals
from tests.commands import Done, command
from tests.parts.callbacks import BASE, CLAIMS, DONE, URLS, for_temporal, no_temporal, url_for
from tests.parts.metrics import read
from tests.parts.one_url import GITHUB, carrying, post, read_token
from tests.parts.partner_list import list_only
from tests.parts.switchable import Switchable
from tests.parts.waits import eventually
from tests.stores import PATIENT, store_of, url_of
from tests.support import KEY, ScriptedPartner, progress_of, result_of, stage, start, waiting, working
from workflows.contract import LARGEST_OUTCOME, Answer

FORGED = "2026-01-02T03:04:05Z INFO stagehook.callbacks callback verdict=accepted"


def mended() -> File:
    file = File(None)
    file.mended = True
    return file


def raising(error: BaseException) -> Any:
    def read(received: Received) -> Answer:
        raise error

    return read


def nested(levels: int) -> Any:
    return json.loads("[" * levels + "]" * levels)


BROKEN: dict[str, Any] = {
    "a number as code": Answer("failed", code=1042),  # type: ignore[arg-type]
    "null as message": Answer("failed", message=None),  # type: ignore[arg-type]
    "a list as data": Answer("succeeded", data=[]),  # type: ignore[arg-type]
    "NaN": Answer("succeeded", data={"x": [math.nan]}),
    "infinity": Answer("succeeded", data={"x": -math.inf}),
    "a lone surrogate": Answer("failed", message="Zoe \ud83d"),
    "a number as key": Answer("succeeded", data={1: 1}),  # type: ignore[dict-item]
    "too deep": Answer("succeeded", data={"x": nested(100)}),
    "too large": Answer("succeeded", data={"x": "y" * LARGEST_OUTCOME}),
    "an unknown status": Answer("done"),  # type: ignore[arg-type]
    "nothing": None,
    "a dict": {"status": "succeeded"},
    "progress with an object": Answer("progress", message={"step": 2}),  # type: ignore[arg-type]
    "a KeyError": raising(KeyError("status")),
    "a RecursionError": raising(RecursionError()),
    "an error that forges a line": raising(ValueError(f"bad\n{FORGED}\r\x1b]52;c;eA==\x07")),
}


class File:
    """A partner's file that is wrong until it is mended. token: reads the token, at the partner's one URL."""

    def __init__(self, wrong: Any, token: Callable[[Received], str] | None = None) -> None:
        self.wrong = wrong
        self.token = token
        self.mended = False

    def read_event(self, received: Received) -> Event:
        token = self.token(received) if self.token else ""
        if self.mended:
            return replace(sandbox.read_event(received), token=token)
        answer: Answer = self.wrong(received) if callable(self.wrong) else self.wrong
        return Event(answer, token)

    def partner(self, name: str = "partner-1", **parts: Any) -> Partner:
        made = sandbox.partner(name, Environment({}))
        return replace(made, read_event=self.read_event, stage_by="token" if self.token else "url", **parts)


@pytest.fixture(params=["no store", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest) -> Iterator[Database | None]:
    if request.param == "no store":
        yield None
    else:
        with store_of(request.param, request) as database:
            yield database


@asynccontextmanager
async def receiver(
    partner: Partner, signals: Signals | None = None, database: Database | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    kept = None if database is None else Store(database)
    app = create_app(URLS, {partner.name: partner}, signals or Switchable(), store=kept, timing=PATIENT)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as http,
    ):
        yield http


async def recorded(database: Database, number: int = 1) -> list[Delivery]:
    await eventually(lambda: len(list(Archive(database).every())) == number)
    return list(Archive(database).every())


def column(database: Database, name: str) -> Any:
    with database.begin() as connection:
        return connection.execute(sa.select(DELIVERIES.c[name])).scalar()


async def release(database: Database, partner: Partner, *args: str, monkeypatch: pytest.MonkeyPatch) -> Done:
    list_only(monkeypatch, {partner.name: lambda environment: partner})
    env: dict[str, Any] = {"DATABASE_URL": url_of(database), "CALLBACK_KEYS": KEY}
    return await anyio.to_thread.run_sync(lambda: command("delivery", "release", *args, **env))


# --- what is answered, recorded and logged


@pytest.mark.parametrize("wrong", BROKEN.values(), ids=BROKEN)
async def test_it_is_503_and_temporal_is_not_asked(wrong: Any) -> None:
    async with receiver(File(wrong).partner("bank"), Signals(no_temporal)) as http:
        answer = await http.post(URLS.issue(CLAIMS), json=DONE)
        counted = read((await http.get("/metrics")).text)
    assert (answer.status_code, answer.json()) == (503, {"answer": "an error of ours"})
    assert int(answer.headers["retry-after"]) > 0
    assert "connection" not in answer.headers, "the body was read"
    assert [key[-1] for key, value in counted.items() if key[0] == "stagehook_answers_total" and value] == ["broken"]


@pytest.mark.parametrize("wrong", ["a number as code", "a lone surrogate", "a KeyError", "too large"])
async def test_nothing_is_queued_and_the_whole_body_is_kept(wrong: str, database: Database) -> None:
    body = {**DONE, "filler": "x" * 2 * MAX_REFUSED_BODY_BYTES}
    temporal = Switchable()
    async with receiver(File(BROKEN[wrong]).partner("bank"), temporal, database) as http:
        for number in (1, 2):
            assert (await http.post(URLS.issue(CLAIMS), json=body)).status_code == 503
            await recorded(database, number)
    first, second = await recorded(database, 2)
    assert temporal.sent == []
    assert (first.verdict, first.status, first.fate, first.workflow_id) == ("broken", 503, Fate.NONE, "run")
    assert json.loads(first.body or b"") == body
    assert second.duplicate_of == ""
    assert first.reason
    assert column(database, "request_id") is None
    assert column(database, "due_at") is None


@pytest.mark.parametrize("wrong", BROKEN.values(), ids=BROKEN)
async def test_one_line_of_the_log_names_partner_and_field(wrong: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with receiver(File(wrong).partner("bank")) as http:
        await http.post(URLS.issue(CLAIMS), json=DONE)
    (line,) = [one for one in caplog.records if one.getMessage() == "partner-file-broken"]
    assert (line.levelno, vars(line)["partner"]) == (logging.ERROR, "bank")
    assert any(name in vars(line)["why"] for name in ("Answer", "read_event"))


@pytest.mark.parametrize(
    "read",
    [
        lambda received: None,
        lambda received: b"token",
        lambda received: 7,
        lambda received: received.json()["missing"],
    ],
)
async def test_a_token_that_is_not_read_as_text_is_broken(read: Any, database: Database) -> None:
    file = File(Answer("succeeded"), read)
    async with receiver(file.partner("bank", signature=GITHUB), Switchable(), database) as http:
        assert (await post(http, "/partners/bank", carrying(URLS.issue(CLAIMS)))).status_code == 503
        (kept,) = await recorded(database)
    assert (kept.verdict, kept.workflow_id) == ("broken", "")
    assert URLS.issue(CLAIMS).rpartition("/")[2].encode() not in (kept.body or b"")


@pytest.mark.parametrize("message", ["\ud83d", "a\nb\x1b[2J", URLS.issue(CLAIMS), "x" * 10_000])
async def test_an_unreadable_body_is_422_whatever_the_files_words(message: str, database: Database) -> None:
    async with receiver(File(raising(Unreadable(message))).partner("bank"), Switchable(), database) as http:
        answer = await http.post(URLS.issue(CLAIMS), json=DONE)
        (kept,) = await recorded(database)
    assert answer.status_code == 422
    assert len(answer.json()["detail"]) <= 300
    assert URLS.issue(CLAIMS) not in answer.json()["detail"] + kept.reason


async def test_a_callback_url_in_the_data_stays_out_of_history(
    real: WorkflowEnvironment,
) -> None:
    async with working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        url = url_for(handle)
        body = {"status": "succeeded", "data": {"sent to": url, url: [f"at {url}?a=%20"]}}
        async with receiver(mended().partner(), for_temporal(real.client)) as http:
            assert (await http.post(url, json=body)).status_code == 202
            assert (await http.post(url, json=body)).status_code == 202, "the same again"
        outcome = (await result_of(handle)).outcomes["step-1"]
        history = (await handle.fetch_history()).to_json()
    clean = f"{BASE}/callbacks/[removed]"
    assert outcome.data == {"sent to": clean, clean: [f"at {clean}?a=%20"]}
    assert url.rpartition("/")[2] not in history


# --- each way after the mend


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


# --- what an earlier version has kept


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
