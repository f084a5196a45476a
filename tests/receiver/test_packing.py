"""Packed deliveries: they take less space, and are read, sent and recognized as all others."""

from __future__ import annotations

import asyncio
import json
import os
import struct
import zlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import anyio
import httpx
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from activities.environment import Environment, SettingsError
from activities.store import migrations
from activities.store.database import Database
from activities.store.packing import (
    FORM_BYTE,
    PACKED_CALLBACK,
    POSITIONS_READ,
    BadPacking,
    Content,
    Unpacked,
    pack,
    unpack,
    unpack_rows,
)
from activities.store.schema import DELIVERIES
from activities.store.store import Store
from receiver.answers import Verdict
from receiver.app import create_app
from receiver.cli.doctor.checks import _store
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import MAX_REFUSED_BODY_BYTES, Delivery, Fate, digest
from receiver.deliveries.inbox import Inbox
from receiver.deliveries.judging import How
from receiver.deliveries.queue import Concluded, Conclusion
from receiver.deliveries.rows import MAX_PACKED_BYTES
from tests.commands import command
from tests.parts.broken_files import File
from tests.parts.callbacks import CLAIMS, URLS
from tests.parts.deliveries import delivery, keep, queued
from tests.parts.doors import Door
from tests.parts.switchable import Switchable
from tests.parts.waits import eventually
from tests.stores import PATIENT, url_of
from workflows.contract import Answer

RECORDED = bytes.fromhex(
    "0128535d8b410ac2400c4573064f20595ba45bb7bd82bb524a98049ca299c16410297377a775232eff7bef03c00100f28ae6e4c5f07244"
    "4e2a585724b5973c1bf99556421061613cb5929cfefcf75c9b0c378a3a47de68e8faad277779646fa46f2b9a15e199f65dc71187a42eea"
    "ddf59d65cf73bec7401e939e174b8ad3f40153143717"
)
"""A content as the first release with packing has written it."""

WHOLE = pack(Content(b"a" * 99, '{"a": 1}', "[]"))


def of_lengths(body: int, callback: int, rest: bytes) -> bytes:
    return FORM_BYTE + zlib.compress(struct.pack(">II", body, callback) + rest)


DAMAGED = {
    "no bytes": b"",
    "a form alone": FORM_BYTE,
    "a later form": b"\x02" + WHOLE[1:],
    "cut off": WHOLE[:-3],
    "no lengths": FORM_BYTE + zlib.compress(b"1234567"),
    "half a letter": of_lengths(0, 1, "é[]".encode()),
}


@pytest.fixture
async def packing(database: Database) -> AsyncIterator[Inbox]:
    async with (inbox := Inbox(database, PATIENT, packs=True)).running():
        yield inbox


def rows(database: Database) -> list[dict[str, Any]]:
    with database.begin() as connection:
        return [dict(row) for row in connection.execute(sa.select(DELIVERIES).order_by("position")).mappings()]


def damage(database: Database, one: Delivery, packed: bytes) -> None:
    with database.begin() as connection:
        connection.execute(sa.update(DELIVERIES).where(DELIVERIES.c.id == one.id).values(packed=packed))


# --- the form


@given(st.binary(), st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
def test_a_content_is_unpacked_as_it_was(body: bytes, callback: str, headers: str) -> None:
    content = Content(body, callback, headers)
    assert unpack(pack(content)) == content


def test_the_first_form_is_still_read() -> None:
    answer = '{"status": "succeeded", "data": {"status": "done"}}'
    callback = f'{{"answer": {answer}, "chain_id": "c-1", "attempt": 1, "issued_at": 1}}'
    assert unpack(RECORDED) == Content(b'{"status": "done"}', callback, '[["Content-Type", "application/json"]]')


@pytest.mark.parametrize("name", DAMAGED)
def test_what_cannot_be_unpacked_is_told(name: str) -> None:
    with pytest.raises(BadPacking, match="unknown form 2" if name == "a later form" else "damaged|no bytes"):
        unpack(DAMAGED[name])


@pytest.mark.parametrize("place", range(1, len(WHOLE)))
def test_a_changed_bit_is_noticed_or_changes_nothing(place: int) -> None:
    for bit in range(8):
        changed = bytearray(WHOLE)
        changed[place] ^= 1 << bit
        try:
            found = unpack(bytes(changed))
        except BadPacking:
            continue
        assert found == unpack(WHOLE)  # a bit that says nothing of the content


def test_body_callback_and_headers_are_compressed_together() -> None:
    """A callback repeats what its body says, so that it adds little."""
    body = json.dumps({"data": {f"field-{n}": digest(str(n).encode()) for n in range(30)}})
    packed = pack(Content(body.encode(), json.dumps({"answer": json.loads(body), "attempt": 1}), "[]"))
    assert len(packed) < len(zlib.compress(body.encode())) + 100


# --- in a store


async def test_a_delivery_is_kept_packed_and_read_back(packing: Inbox, database: Database) -> None:
    one = delivery()
    assert await keep(packing, one, "a") is How.LEASED
    (row,) = rows(database)
    assert (row["callback"], row["headers"], row["body"]) == (PACKED_CALLBACK, "[]", None)
    kept, archive = replace(one, fate=Fate.PENDING), Archive(database)
    assert archive.get(one.id) == kept
    assert archive.kept_body(one.id) == one.body
    assert archive.held(one.id) == (kept, queued(one, "a").callback)
    assert list(archive.every()) == archive.named([one.id[:12]]) == archive.those([one.id]) == [kept]
    assert archive.latest() == archive.since(0)[0] == [replace(kept, body=b"")]


async def test_what_is_packed_is_claimed_as_it_was_queued(packing: Inbox) -> None:
    one = delivery()
    await keep(packing, one, "a", lease=False)
    (claimed,) = await packing.claim(10)
    assert claimed == replace(queued(one, "a"), since=claimed.since)


async def test_the_next_of_a_stage_is_unpacked_too(packing: Inbox) -> None:
    concluded: list[Concluded] = []
    packing.room_for_next, packing.on_concluded = lambda: 1, concluded.append
    one, two = delivery(), delivery()
    await keep(packing, one, "a")
    await keep(packing, two, "b")
    packing.conclude(Conclusion(one.id, Fate.TAKEN, stage=("chain-1", 1)))
    await eventually(lambda: bool(concluded))
    assert [(next_.id, next_.callback) for next_ in concluded[0].next] == [(two.id, queued(two, "b").callback)]


@pytest.mark.parametrize("body", [None, b"x" * MAX_PACKED_BYTES], ids=["no body", "a long body"])
async def test_without_body_or_with_a_long_one_no_row_is_packed(
    packing: Inbox, database: Database, body: bytes | None
) -> None:
    one = delivery(body=body)
    await keep(packing, one, "a")
    (row,) = rows(database)
    assert (row["packed"], row["callback"]) == (None, queued(one, "a").callback)
    assert Archive(database).get(one.id) == replace(one, fate=Fate.PENDING)


def test_a_body_that_a_refusal_removes_is_never_packed() -> None:
    assert MAX_PACKED_BYTES < MAX_REFUSED_BODY_BYTES


async def test_only_what_is_queued_is_packed(packing: Inbox, database: Database) -> None:
    await keep(packing, delivery(), "a")
    await keep(packing, delivery(), "a")
    packing.note(delivery(verdict="forged", status=401))
    await eventually(lambda: len(rows(database)) == 3)
    assert [row["packed"] is not None for row in rows(database)] == [True, False, False]


async def test_a_repeat_of_a_packed_result_is_a_duplicate(packing: Inbox, database: Database) -> None:
    """By its bytes, and, where an earlier version gave the id, by what its callback says."""
    first = delivery()
    await keep(packing, first, "a")
    packing.conclude(Conclusion(first.id, Fate.TAKEN))
    assert await keep(packing, delivery(body=first.body, body_digest=first.body_digest), "b") is How.KNOWN
    other = delivery(body=b"other bytes")
    callback = queued(first, "a").callback
    again = await packing.keep(other, replace(queued(other, "c"), callback=callback), lease=True)
    assert (again.how, again.first_id) == (How.KNOWN, first.id)
    assert await keep(packing, delivery(), "d") is How.CONFLICT


async def test_receivers_that_pack_and_that_do_not_share_a_queue(packing: Inbox, inbox: Inbox) -> None:
    one, two = delivery(), delivery("chain-2")
    await keep(packing, one, "a", lease=False)
    await keep(inbox, two, "b", lease=False)
    claimed = {queued.id: queued.callback for queued in [*await inbox.claim(1), *await packing.claim(1)]}
    assert claimed == {one.id: queued(one, "a").callback, two.id: queued(two, "b").callback}


async def test_the_size_of_a_packed_row_counts_its_packed_bytes(packing: Inbox, database: Database) -> None:
    one = delivery(body=os.urandom(5000), body_size=5000)
    await keep(packing, one, "a")
    with database.begin() as connection:
        cursor = connection.connection.cursor()
        ((_, size),) = packing._statements.sizes(cursor, [one.id]).values()
    assert 5000 < size < 6500


async def test_the_receiver_packs_where_its_store_says_so(database: Database) -> None:
    for packs in (False, True):
        app = create_app(
            URLS, {"bank": File(Answer("succeeded")).partner("bank")}, Switchable(), store=Store(database, packs=packs)
        )
        transport = httpx.ASGITransport(app)
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport) as http:
            posted = await http.post(URLS.issue(replace(CLAIMS, stage=1 + packs)), json={"done": True})
            assert posted.status_code == 202
    assert [row["packed"] is not None for row in rows(database)] == [False, True]
    assert [one.body for one in Archive(database).every()] == [b'{"done":true}'] * 2


def test_postgres_does_not_compress_it_again(request: pytest.FixtureRequest) -> None:
    asked = "SELECT attstorage FROM pg_attribute WHERE attrelid = 'deliveries'::regclass AND attname = 'packed'"
    with request.getfixturevalue("postgres_databases").lent() as database, database.begin() as connection:
        assert connection.execute(sa.text(asked)).scalar() == "e"


# --- damaged rows


@pytest.mark.parametrize("name", DAMAGED)
async def test_a_damaged_row_is_parked_and_holds_up_no_other(database: Database, name: str) -> None:
    temporal = Switchable()
    temporal.there = False
    door = Door(database, temporal, packs=True)
    damaged, whole = delivery(), delivery("chain-2")
    async with door.forwarder.running():
        for one in (damaged, whole):
            assert await door.deliver(one) is Verdict.ACCEPTED
        damage(database, damaged, DAMAGED[name])
        temporal.there = True
        await eventually(lambda: Archive(database).get(whole.id).fate is Fate.TAKEN)
        await eventually(lambda: Archive(database).get(damaged.id).fate is Fate.PARKED)
    found = Archive(database).get(damaged.id)
    assert (found.body, found.headers) == (None, ())
    assert "what is kept cannot be read" in found.fate_reason
    assert [one.body for one in Archive(database).latest()] == [None, b""]


# --- the way back


@pytest.mark.parametrize("back", ["unpack", "downgrade"])
async def test_unpacked_rows_are_as_an_earlier_version_keeps_them(empty_database: Database, back: str) -> None:
    database, many = empty_database, [delivery(f"chain-{n}") for n in range(120)]
    migrations.upgrade(database)
    async with (packing := Inbox(database, PATIENT, packs=True)).running():
        await asyncio.gather(*(keep(packing, one, one.id, lease=False) for one in many))
    assert {row["callback"] for row in rows(database)} == {PACKED_CALLBACK}
    with database.begin() as connection:  # retention leaves gaps, longer than what is read at once
        connection.execute(
            sa.text(f"UPDATE deliveries SET position = position + {3 * POSITIONS_READ} WHERE position > 70")
        )
    if back == "unpack":
        done = command("db", "unpack", DATABASE_URL=url_of(database))
        assert (done.code, done.out) == (0, f"{len(many)} deliveries unpacked\n")
        assert command("db", "unpack", DATABASE_URL=url_of(database)).out == "0 deliveries unpacked\n"
    else:
        migrations.downgrade(database, "0010")
    with database.begin() as connection:
        found = connection.execute(sa.text("SELECT id, headers, body, callback FROM deliveries")).all()
    kept = {row.id: (json.loads(row.headers), bytes(row.body), row.callback) for row in found}
    assert kept == {one.id: ([*map(list, one.headers)], one.body, queued(one, "").callback) for one in many}


async def test_a_row_is_unpacked_if_another_process_writes_meanwhile(packing: Inbox, database: Database) -> None:
    """Between the reading of packed rows and the writing of unpacked ones."""
    await keep(packing, delivery(), "a")
    other = Database(url_of(database))

    def write(*executed: Any) -> None:
        if "packed IS NOT NULL" in (statement := executed[2]) and "SELECT" in statement:
            with other.begin() as connection:
                connection.execute(sa.update(DELIVERIES).values(status=200))

    sa.event.listen(database.engine, "after_cursor_execute", write)
    assert list(unpack_rows(database.begin)) == [Unpacked(1, [])]
    (row,) = rows(database)
    assert (row["packed"], row["status"]) == (None, 200)


async def test_deliveries_are_unpacked_while_receivers_keep_others(packing: Inbox, database: Database) -> None:
    for n in range(200):
        await keep(packing, delivery(f"chain-{n}"), f"{n}", lease=False)
    kept = 0

    async def traffic() -> None:
        nonlocal kept
        while True:
            await keep(packing, one := delivery(f"new-{kept}"), one.id)
            packing.conclude(Conclusion(one.id, Fate.TAKEN))
            kept += 1

    keeping = asyncio.create_task(traffic())
    await eventually(lambda: kept > 5)
    before = kept
    done = await anyio.to_thread.run_sync(lambda: command("db", "unpack", DATABASE_URL=url_of(database)))
    assert not keeping.done(), "the traffic has failed"
    keeping.cancel()
    assert done.code == 0, done.err
    assert kept > before
    assert not [row["id"] for row in rows(database) if row["packed"] and row["chain_id"].startswith("chain-")]


@pytest.mark.parametrize("back", ["unpack", "downgrade"])
async def test_rows_that_cannot_be_unpacked_are_named(packing: Inbox, database: Database, back: str) -> None:
    one, two, three = many = [delivery(f"chain-{n}") for n in range(3)]
    for each in many:
        await keep(packing, each, each.id)
    damage(database, one, DAMAGED["cut off"])
    damage(database, two, DAMAGED["a later form"])
    asked = ["db", "unpack"] if back == "unpack" else ["db", "downgrade", "--to", "0010", "--yes"]
    done = command(*asked, DATABASE_URL=url_of(database))
    assert done.code == 1
    assert f"cannot unpack the delivery {one.id}: damaged bytes" in done.err
    assert "unpack it with the release that packed it" in done.err
    left = [row["packed"] is not None for row in rows(database)]
    if back == "downgrade":
        assert (left, migrations.current(database)) == ([True, True, True], migrations.latest())
        return
    assert f"cannot unpack the delivery {two.id}: unknown form 2" in done.err
    assert "2 deliveries cannot be unpacked" in done.err
    assert (done.out, left) == ("1 delivery unpacked\n", [True, True, False])
    assert Archive(database).get(three.id).body == three.body


async def test_a_callback_that_was_written_later_counts(packing: Inbox, database: Database) -> None:
    one = delivery()
    await keep(packing, one, "a")
    with database.begin() as connection:
        connection.execute(sa.update(DELIVERIES).values(callback='{"read": "again"}'))
    assert Archive(database).held(one.id)[1] == '{"read": "again"}'
    command("db", "unpack", DATABASE_URL=url_of(database))
    assert [(row["callback"], row["body"]) for row in rows(database)] == [('{"read": "again"}', one.body)]


def test_unpacking_where_packing_is_asked_for_says_so(database: Database) -> None:
    done = command("db", "unpack", DATABASE_URL=url_of(database), PACK_DELIVERIES="1")
    assert (done.code, "remove it from every receiver, or receivers go on packing" in done.err) == (0, True)


# --- the setting


@pytest.mark.parametrize(("asked", "packs"), [("", False), ("0", False), ("1", True)])
def test_packing_is_asked_for(asked: str, packs: bool) -> None:
    store = Store.read(Environment({"DATABASE_URL": "sqlite:///deliveries.db", "PACK_DELIVERIES": asked}))
    assert store
    assert store.packs is packs


def test_another_value_is_refused() -> None:
    env = Environment({"DATABASE_URL": "sqlite:///deliveries.db", "PACK_DELIVERIES": "yes"})
    Store.read(env)
    with pytest.raises(SettingsError, match="PACK_DELIVERIES is neither 0 nor 1"):
        env.check()


@pytest.mark.parametrize("packs", [False, True])
def test_doctor_says_whether_deliveries_are_packed(database: Database, packs: bool) -> None:
    assert ("packed and kept for 30 days" in _store(Store(database, packs=packs)).says) is packs
