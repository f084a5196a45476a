"""A relay into the receiver of its own store: what it has sent comes in there, and is not sent again."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from activities.signatures import SCHEMES, Scheme
from activities.store.database import Database
from receiver.cli.delivery.echoes import Echoes
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Delivery, digest, new_id
from receiver.replay.sending import Replayed
from tests.parts.deliveries import waiting_delivery
from tests.parts.listeners import Request, listening
from tests.parts.one_url import GITHUB, PLAIN
from tests.parts.relays import Captured, captured, relayed

pytestmark = pytest.mark.system

OPTIONS_IN_THE_BODY: dict[str, Any] = {"algorithm": "HS256", "header": ""}
IN_THE_BODY = SCHEMES["jwt"](["a-shared-secret-of-32-characters"], **OPTIONS_IN_THE_BODY)


def with_body(one: Delivery, body: bytes) -> Delivery:
    return replace(one, body=body, body_size=len(body), body_digest=digest(body))


def echo_of(request: Sequence[Delivery], body: bytes) -> list[Delivery]:
    """What a receiver keeps of these deliveries when they are sent again."""
    id_ = new_id(request[0].received_at)
    first = with_body(replace(request[0], id=id_), body)
    parts = [replace(one, id=f"{id_}-{one.part:04}", part_of=id_, verdict="duplicate") for one in request[1:]]
    return [first if parts else replace(first, verdict="duplicate"), *parts]


def come_back(database: Database, request: Sequence[Delivery], noted: list[Request]) -> Callable[[], None]:
    """Keep what was sent since the last time."""
    kept: list[bytes] = []

    def keep_sent() -> None:
        new = [body for _, _, body in noted[len(kept) :]]
        kept.extend(new)
        for body in new:
            Archive(database).add(echo_of(request, body))

    return keep_sent


def batch() -> list[Delivery]:
    """A request with two events, and these."""
    whole = with_body(waiting_delivery(verdict="accepted", reference=""), b'{"events": [1, 2]}')
    ones = [whole]
    for n in (1, 2):
        part = with_body(captured(chain=f"chain-{n}", target=whole.target), b"%d" % n)
        ones.append(replace(part, id=f"{whole.id}-{n:04}", received_at=whole.received_at, part_of=whole.id, part=n))
    return [ones[0], *(replace(one, body=None, headers=()) for one in ones[1:])]


def at_one_url() -> list[Delivery]:
    body = json.dumps({"hook": "http://127.0.0.1/callbacks/{run/1/1}"}).encode()
    return [with_body(captured(target="/partners/bank", expires_at=2**32), body)]


def at_a_callback_url() -> list[Delivery]:
    return [with_body(captured(), b'{"status": "done"}')]


@pytest.mark.parametrize(
    ("make_request", "scheme"),
    [
        (at_a_callback_url, GITHUB),
        (at_a_callback_url, IN_THE_BODY),
        (at_one_url, GITHUB),
        (batch, GITHUB),
        (batch, IN_THE_BODY),
    ],
)
async def test_what_was_sent_into_its_own_store_is_no_news(
    database: Database, make_request: Callable[[], list[Delivery]], scheme: Scheme
) -> None:
    request = make_request()
    with listening() as (url, noted):
        again = come_back(database, request, noted)
        pauses = [lambda: Archive(database).add(request), again, again, again]
        told = await relayed(database, url, pauses, Captured(run="run"), {"bank": replace(PLAIN, signature=scheme)})
    assert [id_ for id_, _ in told.sent] == [one.id for one in request if one.workflow_id]
    assert all(note.startswith("not sent again: ") for note in told.notes)


async def test_a_partner_that_repeats_itself_later_is_relayed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receiver has another store, in which the echo is."""
    [first] = at_a_callback_url()
    again = replace(first, id=captured().id, verdict="duplicate")
    monkeypatch.setattr("receiver.cli.delivery.echoes.ECHO_SECONDS", 0.0)
    pauses = [lambda: Archive(database).add([first]), lambda: Archive(database).add([again])]
    with listening() as (url, _):
        told = await relayed(database, url, pauses, Captured(run="run"))
    assert told.sent == [(first.id, 202), (again.id, 202)]


def test_expected_echoes_are_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    [one] = at_a_callback_url()
    echoes, replayed = Echoes(), Replayed(one, one.workflow_id, 202, kept_digest=one.body_digest)
    echoes.expect([replayed])
    assert echoes.take([one], {}) == {one.id}
    monkeypatch.setattr("receiver.cli.delivery.echoes.ECHO_SECONDS", 0.0)
    echoes = Echoes()
    echoes.expect([replayed])
    assert (echoes.take([one], {}), len(echoes)) == (set(), 0)


async def test_a_delivery_that_is_taken_for_an_echo_is_named(database: Database) -> None:
    [first] = at_a_callback_url()
    again = replace(first, id=captured().id, verdict="duplicate")
    pauses = [lambda: Archive(database).add([first]), lambda: Archive(database).add([again])]
    with listening() as (url, _):
        told = await relayed(database, url, pauses, Captured(run="run"))
    assert told.notes == [f"not sent again: {again.id}, it is what this relay has sent"]
