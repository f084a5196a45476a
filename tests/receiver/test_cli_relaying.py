"""`stagehook delivery tail --replay-to` beside a receiver that notes what it is sent."""

from __future__ import annotations

import os
import socketserver
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from threading import Thread
from typing import Any
from unittest.mock import patch

import pytest

from activities.callback_urls import CallbackURLs
from activities.client import TemporalUnreachable
from activities.run_errors import NoSuchStage
from activities.store.database import Database
from activities.store.errors import StoreAway
from receiver.cli.db.store import need_archive
from receiver.cli.delivery.relaying import MOST_TRIES
from receiver.deliveries.archive import Archive
from receiver.replay.errors import NoStandIn
from receiver.replay.following import MOST_OPEN, LiveAim
from receiver.replay.sending import Replayed
from receiver.replay.stand_ins import new_stand_in_id
from tests.commands import Done, command
from tests.parts.deliveries import match_call, waiting_delivery
from tests.parts.listeners import KEYS, listening
from tests.parts.relays import Captured, captured, relayed
from tests.stores import url_of

pytestmark = pytest.mark.system


async def test_a_new_delivery_is_sent_with_a_new_token_and_no_secret(database: Database) -> None:
    Archive(database).add([captured()])
    new = captured()
    with listening() as (url, noted):
        told = await relayed(database, url, [lambda: Archive(database).add([new])])
    assert told.sent == [(new.id, 202)]
    assert told.lines[0]["into"] == "here"
    [(target, headers, body)] = noted
    assert CallbackURLs("", [KEYS]).redeem(target.rpartition("/")[2]).workflow_id == "here"
    assert body == new.body
    names = {name.lower() for name, _ in headers}
    assert ("x-kept", "yes") in headers
    assert "authorization" not in names


async def test_deliveries_wait_for_a_receiver_that_is_away(database: Database, unused_port: int) -> None:
    ones = [captured() for _ in range(3)]
    told = await relayed(
        database, f"http://127.0.0.1:{unused_port}", [lambda: Archive(database).add(ones), lambda: None, lambda: None]
    )
    assert told.sent == []
    assert told.notes == [f"http://127.0.0.1:{unused_port} does not answer (ConnectError): waiting for it"]


@pytest.mark.parametrize("away", [TemporalUnreachable("Temporal is away"), StoreAway("the store is away")])
async def test_what_waited_is_sent_in_order_when_all_is_back(database: Database, away: Exception) -> None:
    ones = [captured() for _ in range(3)]
    with listening() as (url, _):
        pauses = [lambda: Archive(database).add(ones), lambda: None, lambda: None]
        told = await relayed(database, url, pauses, Captured(away, away))
    assert told.sent == [(one.id, 202) for one in ones]
    assert told.notes == [f"{away}: waiting for it", "it is there again"]


@contextmanager
def troubled(answers: Sequence[bytes]) -> Iterator[tuple[str, list[bytes]]]:
    """A receiver that gives these answers, b"" for a closed connection, then 202; yields its URL and the requests."""
    got: list[bytes] = []

    class Answering(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            got.append(b"".join(iter(self.rfile.readline, b"\r\n")))
            # Unread bytes would reset the connection, and with it the answer.
            self.rfile.read(int(got[-1].lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))
            status = answers[len(got) - 1] if len(got) <= len(answers) else b"202"
            self.wfile.write(b"HTTP/1.1 %s X\r\nConnection: close\r\n\r\n" % status if status else b"")

    with socketserver.TCPServer(("127.0.0.1", 0), Answering) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", got
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("answer", "why"), [(b"", "does not answer"), (b"503", "answers 503"), (b"429", "answers 429")]
)
async def test_a_receiver_in_trouble_is_waited_for(database: Database, answer: bytes, why: str) -> None:
    ones = [captured(), captured()]
    with troubled([answer, answer]) as (url, got):
        told = await relayed(database, url, [lambda: Archive(database).add(ones), *[lambda: None] * 4])
    assert (told.sent, len(got)) == ([(one.id, 202) for one in ones], 4)
    assert told.notes[0].startswith(f"{url} {why}")
    assert told.notes[1:] == ["it is there again"]


@pytest.mark.parametrize("answer", [b"", b"503"])
async def test_a_delivery_that_always_fails_holds_up_none(database: Database, answer: bytes) -> None:
    ones = [captured(), captured()]
    with troubled([answer] * MOST_TRIES) as (url, got):
        told = await relayed(database, url, [lambda: Archive(database).add(ones), *[lambda: None] * (MOST_TRIES + 1)])
    assert told.sent == [(ones[0].id, int(answer or 0)), (ones[1].id, 202)]
    assert len(got) == MOST_TRIES + 1


async def test_a_store_that_is_away_meanwhile_loses_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, failures = captured(), [StoreAway("the store is away")] * 3

    def failing(first: Callable[..., Any]) -> Callable[..., Any]:
        def run(archive: Archive, *args: Any) -> Any:
            if begun and failures:
                raise failures.pop()
            return first(archive, *args)

        return run

    begun: list[bool] = []

    def begin() -> None:
        Archive(database).add([one])
        begun.append(True)

    for name in ("since", "later", "those"):
        monkeypatch.setattr(Archive, name, failing(getattr(Archive, name)))
    with listening() as (url, _):
        told = await relayed(database, url, [begin, *[lambda: None] * 4])
    assert (told.sent, failures) == ([(one.id, 202)], [])


@pytest.mark.parametrize("error", [NoSuchStage("run has no stage 4"), NoStandIn("run has a stage 99")])
async def test_a_delivery_without_an_aim_is_left_out_and_named(database: Database, error: Exception) -> None:
    ones = [captured(), captured()]
    with listening() as (url, _):
        told = await relayed(database, url, [lambda: Archive(database).add(ones)], Captured(error))
    assert told.sent == [(ones[1].id, 202)]
    assert told.notes == [f"left out: {ones[0].id}, {error}"]


async def test_what_cannot_be_replayed_is_left_out(database: Database) -> None:
    refused, unread = captured(verdict="unproven"), captured(body=None)
    with listening() as (url, _):
        told = await relayed(database, url, [lambda: Archive(database).add([refused, unread])])
    assert told.sent == []
    assert [line.partition(",")[0] for line in told.notes] == [f"left out: {one.id}" for one in (refused, unread)]


async def test_what_a_replay_sent_into_the_store_is_not_sent_again(database: Database) -> None:
    """The store may be the receiver's own: then each delivery that is sent comes in again."""
    first, stand_in = captured(), captured(workflow_id=new_stand_in_id("run"))
    echo = replace(first, id=captured().id)
    pauses = [lambda: Archive(database).add([first]), lambda: Archive(database).add([echo, stand_in])]
    with listening() as (url, _):
        told = await relayed(database, url, pauses, Captured(run="run"))
    assert told.sent == [(first.id, 202)]


async def test_what_comes_into_the_named_run_is_not_sent_there_again(database: Database) -> None:
    with listening() as (url, _):
        told = await relayed(database, url, [lambda: Archive(database).add([captured()])], run="run")
    assert told.sent == []


async def test_a_duplicate_of_a_partner_is_a_duplicate_again(database: Database) -> None:
    first = captured()
    again = replace(first, id=captured().id, verdict="duplicate", received_at=first.received_at + 1)
    aim = Captured()
    with listening() as (url, _):
        told = await relayed(database, url, [lambda: Archive(database).add([first, again])], aim)
    assert told.sent == [(first.id, 202), (again.id, 202)]
    assert [one.delivery.id for one in aim.sent] == [first.id, again.id]


async def test_a_delivery_is_sent_once_its_call_is_known(database: Database) -> None:
    one = waiting_delivery(reference="")
    pauses = [lambda: Archive(database).add([one]), lambda: None, lambda: match_call(database, one), lambda: None]
    with listening() as (url, _):
        told = await relayed(database, url, pauses)
    assert (told.sent, told.notes) == ([(one.id, 202)], [])


async def test_a_whole_request_is_sent_when_its_call_is_known(database: Database) -> None:
    whole = waiting_delivery(verdict="accepted", reference="")
    early, late = (
        replace(waiting_delivery(reference=""), id=f"{whole.id}-{n}", part_of=whole.id, part=n, body=None)
        for n in (1, 2)
    )
    pauses = [
        lambda: Archive(database).add([whole, early, late]),
        lambda: match_call(database, early),
        lambda: match_call(database, late),
    ]
    with listening() as (url, noted):
        told = await relayed(database, url, pauses)
    assert told.sent == [(early.id, 202), (early.id, 202), (late.id, 202)]
    assert (len(noted), told.notes) == (2, [])


# --- stand-ins


class Runs:
    """Temporal's runs, none of which is a captured one. begun, ended: the ids of stand-ins."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []

    async def has(self, workflow_id: str, chain_id: str) -> bool:
        return False

    async def start(self, pipeline: Any, given: Any, *, workflow_id: str, **_: Any) -> Any:
        self.begun.append(workflow_id)
        return type("Handle", (), {"id": workflow_id, "first_execution_run_id": f"chain of {workflow_id}"})

    async def progress(self, workflow_id: str) -> Any:
        return type("Progress", (), {"stages": []})

    async def finish(self, workflow_id: str, stage: int) -> None:
        self.ended.append(workflow_id)


async def test_duplicates_of_a_call_go_to_one_stand_in() -> None:
    runs = Runs()
    aim = LiveAim(runs, "queue")  # type: ignore[arg-type]
    first, other_stage = captured(), captured(stage=2)
    claims = [await aim.claims(one) for one in (first, replace(first, id="again"), other_stage)]
    assert [one.workflow_id for one in claims] == [runs.begun[0], runs.begun[0], runs.begun[1]]
    assert (await aim.aclose(), runs.ended) == (0, runs.begun)


async def test_the_oldest_stand_ins_are_ended_when_there_are_many() -> None:
    runs = Runs()
    aim = LiveAim(runs, "queue")  # type: ignore[arg-type]
    for n in range(MOST_OPEN + 2):
        one = captured(chain=f"chain-{n}")
        claims = await aim.claims(one)
        await aim.note_sent([Replayed(one, claims.workflow_id, 202)])
    assert runs.ended == runs.begun[:2]


# --- the command


def tail(database: Database, *args: str, **env: str) -> Done:
    env = {"PUBLIC_URL": "http://127.0.0.1:9", "CALLBACK_KEYS": KEYS, "PARTNERS": "sandbox", **env}
    return command("delivery", "tail", *args, DATABASE_URL=url_of(database), given=b"", **env)


def test_the_store_is_only_read(database: Database) -> None:
    Archive(database).add([captured()])
    with patch.dict(os.environ, {"DATABASE_URL": url_of(database)}):
        archive = need_archive(read_only=True)
    assert len(archive.latest()) == 1
    with pytest.raises(StoreAway, match=r"read.?only"):
        archive.add([captured()])


def test_another_machine_is_refused_without_consent(database: Database) -> None:
    done = tail(database, "--replay-to", "https://laptop.example.com")
    assert (done.code, done.err.splitlines()[0]) == (2, "error: https://laptop.example.com is not this machine")
    words = ("--replay-to", "https://laptop.example.com", "--allow-remote")
    assert "stdin is not a terminal" in tail(database, *words, TEMPORAL_ADDRESS="127.0.0.1:9").err


def test_a_temporal_on_another_machine_is_refused_too(database: Database) -> None:
    done = tail(database, "--replay-to", "http://127.0.0.1:9", TEMPORAL_ADDRESS="temporal.example.com:7233")
    assert done.code == 2
    assert "Temporal at temporal.example.com:7233 is not on this machine" in done.err


@pytest.mark.parametrize(
    "words", [("--to-run", "mine"), ("--to-store", "sqlite:///x"), ("--allow-remote",), ("--yes",)]
)
def test_options_about_a_receiver_want_one(words: tuple[str, ...]) -> None:
    done = command("delivery", "tail", *words)
    assert done.code == 2
    assert "go with --replay-to" in done.err


def test_following_with_a_receiver_has_no_end_either(database: Database) -> None:
    done = tail(database, "--until", "1h", "--replay-to", "http://127.0.0.1:9")
    assert "`stagehook delivery list --until" in done.err
