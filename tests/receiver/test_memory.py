"""What Temporal has taken while the store was away: known meanwhile, and in the store before anything is judged."""

from __future__ import annotations

import json
import threading
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

import pytest

from activities.store.database import Database
from activities.store.errors import StoreAway
from receiver.answers import Verdict
from receiver.deliveries.archive import Archive
from receiver.deliveries.content import request_id, said_digest
from receiver.deliveries.delivery import Delivery, Fate
from receiver.deliveries.inbox import Inbox
from receiver.deliveries.judging import How
from receiver.deliveries.memory import MAX_WHOLE, TAKEN_REASON, TakenMemory
from receiver.deliveries.queue import Conclusion, Queued
from receiver.deliveries.rows import to_row
from receiver.sending.signal import Signal
from receiver.sending.signals import Reached
from tests.parts.deliveries import delivery, keep, queued
from tests.parts.doors import Door, opened
from tests.parts.switchable import Switchable
from tests.parts.waits import eventually
from tests.stores import PATIENCE, PATIENT, timed
from workflows.contract import Answer, Callback

DONE, OTHER = Answer("succeeded", {"doc": 1}), Answer("succeeded", {"doc": 2})


async def deliver(door: Door, one: Delivery, answer: Answer = DONE) -> Verdict:
    assert one.claims is not None
    identified = request_id(one.claims, said_digest(answer), one.signed_id)
    callback = Callback(answer, one.chain_id, one.attempt, one.issued_at)
    return await door.forwarder.deliver(one, Signal(one.claims, callback, identified))


@contextmanager
def store_away(*doors: Door) -> Iterator[None]:
    """No transaction begins."""
    with pytest.MonkeyPatch.context() as patches:
        for door in doors:
            patches.setattr(door.inbox._writer, "_begin", away)
        yield


def away(cursor: Any) -> None:
    raise StoreAway("away")


CHAINS = [f"chain-{n}" for n in range(MAX_WHOLE + 10)]


async def test_every_202_of_an_outage_holds_after_it(door: Door, temporal: Switchable) -> None:
    """In whichever bytes and under whichever id the result comes again; another one is a conflict."""
    with store_away(door):
        assert {await deliver(door, delivery(chain)) for chain in CHAINS} == {Verdict.ACCEPTED}
    signals = set(temporal.sent)
    for chain in CHAINS:
        assert await deliver(door, delivery(chain), OTHER) is Verdict.CONFLICT
        assert await deliver(door, delivery(chain, signed_id="m-2")) is Verdict.DUPLICATE
        assert await deliver(door, delivery(chain)) is Verdict.DUPLICATE
    assert set(temporal.sent) == signals, "the same request ids, however often they are sent again"


async def test_an_outcome_is_known_elsewhere_once_it_is_written(database: Database, temporal: Switchable) -> None:
    async with opened(database, temporal) as door, opened(database, temporal) as another:
        with store_away(door):
            for chain in CHAINS:
                await deliver(door, delivery(chain))
        await eventually(lambda: len(list(Archive(database).every())) == len(CHAINS))
        temporal.answers["run"] = Reached.FINISHED
        for chain in CHAINS:
            assert await deliver(another, delivery(chain), OTHER) is Verdict.CONFLICT
            assert await deliver(another, delivery(chain)) is Verdict.DUPLICATE


async def test_a_repeat_is_known_while_store_and_temporal_are_away(door: Door, temporal: Switchable) -> None:
    with store_away(door):
        await deliver(door, delivery())
        temporal.there = False
        assert await deliver(door, delivery()) is Verdict.DUPLICATE


def test_what_was_taken_under_an_earlier_versions_id_is_known() -> None:
    """A deploy in the middle of an outage changes how contents are identified."""
    one = delivery()
    assert one.claims is not None
    memory, taken = TakenMemory(), Queued(one.id, one.claims, "{}", "by the earlier version")
    memory.add(one, taken)
    again = Queued("again", one.claims, "{}", "by this version", earlier_id=taken.request_id)
    assert memory.has(again)
    assert not memory.has(replace(again, earlier_id="another"))


async def test_what_was_taken_is_recorded_with_few_bodies(door: Door, database: Database) -> None:
    with store_away(door):
        for chain in CHAINS:
            await deliver(door, delivery(chain))
    await eventually(lambda: len(list(Archive(database).every())) == len(CHAINS))
    found = list(Archive(database).every())
    assert {(one.verdict, one.status, one.fate, one.fate_reason) for one in found} == {
        ("accepted", 202, Fate.TAKEN, TAKEN_REASON)
    }
    assert all(one.body_size and one.body_digest and one.claims for one in found)
    assert sum(one.body is not None for one in found) == MAX_WHOLE
    memory = door.inbox._taken
    await eventually(lambda: len(memory) == 0)


async def test_one_that_was_committed_late_is_recorded_as_taken(inbox: Inbox, database: Database) -> None:
    late = delivery()
    assert late.claims is not None
    queued = Queued(late.id, late.claims, "{}", "a")
    await inbox.keep(late, queued, lease=False)
    inbox.record_taken(late, queued)
    await eventually(lambda: Archive(database).get(late.id).fate is Fate.TAKEN)
    assert await inbox.claim(10) == []


async def test_a_202_holds_if_a_conflict_is_committed_late(inbox: Inbox, database: Database) -> None:
    """The receiver waited in vain for the store's judgement, and had Temporal take the callback."""
    first, late = delivery(), delivery()
    assert first.claims is not None
    for one, id_ in ((first, "a"), (late, "b")):
        queued = Queued(one.id, first.claims, "{}", id_)
        kept = await inbox.keep(one, queued, lease=False)
        inbox.record_taken(one, queued)
        await eventually(lambda: len(inbox._taken) == 0)
    assert kept.how is How.CONFLICT
    again = await inbox.keep(delivery(), Queued("again", first.claims, "{}", "b"), lease=False)
    assert (again.how, again.first_id) == (How.KNOWN, late.id)
    found = Archive(database).get(late.id)
    assert (found.verdict, found.status, found.fate) == ("accepted", 202, Fate.TAKEN)


async def test_of_two_late_conflicts_the_second_is_a_duplicate(inbox: Inbox, database: Database) -> None:
    """Two receivers had Temporal take the same content. Both partners' requests were answered 202: no row says 409."""
    first, *late = delivery(), delivery(), delivery()
    await keep(inbox, first, "a")
    inbox.record_taken(first, queued(first, "a"))
    await eventually(lambda: len(inbox._taken) == 0)
    assert [await keep(inbox, one, "b") for one in late] == [How.CONFLICT, How.CONFLICT]
    for one in late:
        inbox.record_taken(one, queued(one, "b"))
        await eventually(lambda: len(inbox._taken) == 0)
    found = [Archive(database).get(one.id) for one in late]
    assert [(one.verdict, one.status, one.duplicate_of) for one in found] == [
        ("accepted", 202, ""),
        ("duplicate", 202, late[0].id),
    ]


@pytest.mark.parametrize("verdict", ["gone", "unknown"])
async def test_a_202_holds_if_a_refusal_is_repeated_late(inbox: Inbox, database: Database, verdict: str) -> None:
    """The run was reset after the refusal: Temporal takes the same content."""
    first, late = delivery(), delivery()
    assert first.claims is not None
    await inbox.keep(first, Queued(first.id, first.claims, "{}", "a"), lease=False)
    assert await inbox.tell(Conclusion(first.id, Fate.REFUSED, "the run is over", verdict=verdict, status=410))
    queued = Queued(late.id, first.claims, "{}", "a")
    assert (await inbox.keep(late, queued, lease=False)).how is How.TOLD
    inbox.record_taken(late, queued)
    await eventually(lambda: len(inbox._taken) == 0)
    again = await inbox.keep(delivery(), Queued("again", first.claims, "{}", "a"), lease=False)
    assert (again.how, again.first_id) == (How.KNOWN, late.id)
    assert (Archive(database).get(first.id).status, Archive(database).get(late.id).status) == (410, 202)


async def test_a_202_of_an_outage_holds_against_a_later_refusal(inbox: Inbox) -> None:
    """The content was queued before the outage, and its run has ended since Temporal took the repeat."""
    first, again = delivery(), delivery()
    await keep(inbox, first, "a")
    inbox.record_taken(again, queued(again, "a"))
    await eventually(lambda: len(inbox._taken) == 0)
    assert not await inbox.tell(Conclusion(first.id, Fate.REFUSED, "the run is over", verdict="gone", status=410))
    assert await keep(inbox, delivery(), "a") is How.KNOWN


async def test_a_released_refusal_keeps_its_request_id(inbox: Inbox, database: Database) -> None:
    """Without it, Temporal would take one content twice, and a later delivery of the stage would not wait."""
    first, again = delivery(), delivery()
    await keep(inbox, first, "a", lease=False)
    assert await inbox.tell(Conclusion(first.id, Fate.REFUSED, "the run is over", verdict="gone", status=410))
    Archive(database).release(first.id, time.time())
    inbox.record_taken(again, queued(again, "a"))
    await eventually(lambda: len(inbox._taken) == 0)
    assert await keep(inbox, delivery(says="progress"), "b") is How.QUEUED
    assert [(one.id, one.request_id) for one in await inbox.claim(10)] == [(first.id, "a")]


@pytest.mark.usefixtures("unhurried_locks")
def test_two_receivers_that_took_the_same_do_not_block(database: Database) -> None:
    if database.is_sqlite:
        pytest.skip("it has one writer at a time")
    together = threading.Barrier(2)

    def write(step: int) -> None:
        inbox, chains = Inbox(database, PATIENT), [f"chain-{n}" for n in range(200)]
        rows = [to_row(delivery(chain, fate=Fate.TAKEN)) | {"request_id": chain} for chain in chains[::step]]
        connection = database.connect()
        cursor = connection.cursor()
        inbox._statements.begin(cursor)
        together.wait(PATIENCE)
        inbox._work.insert_taken(cursor, rows)
        connection.commit()
        connection.close()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, (1, -1)))
    assert len(list(Archive(database).every())) == 200


@timed(resend_pause=0.0)
async def test_a_repeat_brings_the_callback_that_was_not_kept(
    door: Door, database: Database, temporal: Switchable
) -> None:
    """The run may have been reset: as any other that Temporal has taken."""
    with store_away(door):
        for chain in CHAINS:
            await deliver(door, delivery(chain))
    memory = door.inbox._taken
    await eventually(lambda: len(memory) == 0)
    sent = len(temporal.sent)
    assert await deliver(door, delivery(CHAINS[-1])) is Verdict.DUPLICATE
    await eventually(lambda: len(temporal.sent) == sent + 1)
    assert temporal.sent[-1] == temporal.sent[sent - 1]
    await eventually(lambda: {one.fate for one in Archive(database).every()} == {Fate.TAKEN, Fate.NONE})


async def test_what_was_taken_is_written_when_the_receiver_stops(database: Database) -> None:
    async with opened(database, Switchable(), replace(PATIENT, taken_pause=3600.0)) as door:
        with store_away(door):
            await deliver(door, one := delivery())
    assert Archive(database).get(one.id).fate is Fate.TAKEN


async def test_a_receiver_that_stops_waits_for_its_store(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """It alone knows what Temporal took."""
    attempts = 0

    async with opened(database, Switchable(), replace(PATIENT, taken_pause=0.01)) as door:
        begin = door.inbox._writer._begin

        def back_later(cursor: Any) -> None:
            nonlocal attempts
            attempts += 1
            if attempts < 5:
                raise StoreAway("away")
            begin(cursor)

        with store_away(door):
            await deliver(door, one := delivery())
        monkeypatch.setattr(door.inbox._writer, "_begin", back_later)
    assert attempts >= 5
    assert Archive(database).get(one.id).fate is Fate.TAKEN


def test_the_memory_is_bounded_in_bytes_and_forgets_the_oldest() -> None:
    memory = TakenMemory(max_bytes=1024 * 1024)
    callback = json.dumps(asdict(Callback(DONE, "chain", 1, 1)))
    one = delivery(body=None)
    assert one.claims is not None
    tracemalloc.start()
    try:
        for n in range(2_500):
            chain = f"{n:036x}"
            taken = replace(one, id=f"{n:020x}", chain_id=chain, body_digest=f"{n:064x}")
            memory.add(taken, Queued(taken.id, replace(one.claims, chain_id=chain), callback, f"{n:064x}"))
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert 1_000 < len(memory) < 2_000
    assert used < 1.5 * 1024 * 1024
    oldest = memory.oldest(1)[0]
    assert oldest["request_id"] == f"{2_500 - len(memory):064x}"
    memory.remove(memory.oldest(2_500))
    assert (len(memory), memory.size) == (0, 0)
