"""The inbox on both stores: what is committed, what is known again, who may send, in which order."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from activities.store.database import Database
from activities.store.errors import StoreAway
from activities.store.schema import DELIVERIES
from receiver.budget import PER_MINUTE
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import MAX_REFUSED_BODY_BYTES, Fate, digest
from receiver.deliveries.inbox import MOST_REFUSED, Inbox
from receiver.deliveries.judging import How
from receiver.deliveries.queue import Conclusion, Queued
from receiver.deliveries.rows import to_row
from receiver.deliveries.statements import Statements
from tests.parts.deliveries import delivery, keep, queued
from tests.parts.hanging import Hanging
from tests.stores import PATIENCE, PATIENT, UNHURRIED, timed


async def test_a_kept_delivery_is_read_back_as_it_was(inbox: Inbox, database: Database) -> None:
    one = delivery()
    assert await keep(inbox, one, "a") is How.LEASED
    assert Archive(database).get(one.id) == replace(one, fate=Fate.PENDING)


async def test_the_same_content_is_kept_once_and_told_again(inbox: Inbox, database: Database) -> None:
    first, again = delivery(), delivery()
    kept = [await keep(inbox, one, "a") for one in (first, again)]
    assert kept == [How.LEASED, How.AGAIN]
    found = Archive(database).get(again.id)
    assert (found.verdict, found.status, found.duplicate_of, found.fate) == ("duplicate", 202, first.id, Fate.NONE)


async def test_the_same_content_fifty_times_at_once_is_kept_once(inbox: Inbox) -> None:
    kept = await asyncio.gather(*(keep(inbox, delivery(), "a") for _ in range(50)))
    assert sorted(one.value for one in kept) == ["again"] * 49 + ["leased"]


@pytest.mark.usefixtures("unhurried_locks")
async def test_two_processes_keep_the_same_content_once(database: Database) -> None:
    one, other = Inbox(database, UNHURRIED), Inbox(database, UNHURRIED)
    there, back = [f"{n}" for n in range(40)], [f"{n}" for n in reversed(range(40))]
    async with one.running(), other.running():
        for order in (there, back):
            keeping = [keep(one, delivery(f"chain-{n}"), n + order[0]) for n in there]
            keeping += [keep(other, delivery(f"chain-{n}"), n + order[0]) for n in order]
            kept = await asyncio.gather(*keeping)
            assert sum(how is How.AGAIN for how in kept) == 40


async def test_another_content_after_a_success_is_a_conflict(inbox: Inbox) -> None:
    first = delivery()
    await keep(inbox, first, "a")
    assert await keep(inbox, delivery(), "before it is known") is How.QUEUED
    inbox.conclude(Conclusion(first.id, Fate.TAKEN))
    assert await keep(inbox, delivery(), "b") is How.CONFLICT
    assert await keep(inbox, delivery(attempt=2), "c") is How.CONFLICT
    assert await keep(inbox, delivery(says="progress"), "d") is not How.CONFLICT
    assert await keep(inbox, delivery(stage=2), "e") is How.LEASED
    assert await keep(inbox, delivery(chain="another"), "f") is How.LEASED


async def test_the_same_body_under_another_signed_id_is_no_conflict(inbox: Inbox, database: Database) -> None:
    first = delivery()
    await keep(inbox, first, "a")
    inbox.conclude(Conclusion(first.id, Fate.TAKEN))
    again = delivery(body=first.body, body_digest=first.body_digest)
    assert await keep(inbox, again, "b") is How.KNOWN
    assert Archive(database).get(again.id).duplicate_of == first.id


async def test_of_one_url_progress_is_kept_whole_up_to_its_bytes(inbox: Inbox, database: Database) -> None:
    """What is beyond them is queued for Temporal as well, and its result is kept whole."""
    body = bytes(256 * 1024)
    whole: dict[str, Any] = {"body": body, "body_size": len(body), "body_digest": digest(body)}
    ones = [delivery(says="progress", **whole) for _ in range(20)]
    for n, one in enumerate(ones):
        assert await keep(inbox, one, str(n)) in {How.LEASED, How.QUEUED}
    await keep(inbox, result := delivery(**whole), "result")
    found = [Archive(database).get(one.id) for one in ones]
    kept = [one.body is not None for one in found]
    assert kept == [True] * 7 + [False] * 13
    assert {(one.body_size, one.body_digest, one.fate) for one in found} == {(len(body), digest(body), Fate.PENDING)}
    assert {one.headers for one in found if one.body is None} == {()}
    assert Archive(database).get(result.id).body == body


async def test_a_failure_leaves_the_stage_open_to_a_success(inbox: Inbox) -> None:
    """Of an earlier attempt it settles nothing, and only the run knows which attempt is current."""
    failed = delivery(says="failed")
    await keep(inbox, failed, "a")
    inbox.conclude(Conclusion(failed.id, Fate.TAKEN))
    assert await keep(inbox, delivery(), "b") is How.LEASED


async def test_a_refusal_holds_for_a_while_and_then_the_content_is_new(inbox: Inbox, database: Database) -> None:
    one = delivery()
    await keep(inbox, one, "a")
    inbox.conclude(Conclusion(one.id, Fate.REFUSED, "the run is finished", verdict="gone", status=410))
    again = delivery()
    assert await keep(inbox, again, "a") is How.TOLD
    recorded = Archive(database).get(again.id)
    assert (recorded.verdict, recorded.status, recorded.duplicate_of) == ("gone", 410, one.id)
    async with (later := Inbox(database, replace(PATIENT, refusal_lasts=0.0))).running():
        assert await keep(later, delivery(), "a") is How.LEASED
    found = Archive(database).get(one.id)
    assert (found.verdict, found.status, found.fate_reason) == ("gone", 410, "the run is finished")


@timed(refusal_lasts=0.0)
async def test_refusals_by_temporal_fill_no_store_either(inbox: Inbox, database: Database) -> None:
    body = bytes(MAX_REFUSED_BODY_BYTES + 1)
    for _ in range(3 * PER_MINUTE):
        one = delivery(body=body, body_size=len(body), body_digest=digest(body))
        assert await keep(inbox, one, "a") is How.LEASED
        inbox.conclude(Conclusion(one.id, Fate.REFUSED, "finished", verdict="gone", status=410))
    await inbox.depth()
    recorded = list(Archive(database).every())
    assert PER_MINUTE <= len(recorded) <= 2 * PER_MINUTE  # two, if a minute ended meanwhile
    assert {(one.verdict, one.status, one.body) for one in recorded} == {("gone", 410, None)}


async def test_refusals_by_temporal_are_kept_within_their_bytes_too(inbox: Inbox, database: Database) -> None:
    """In bytes as stored, the signal's argument included: eleven of 48 KiB make the half mebibyte of a minute."""
    for n in range(30):
        one = delivery(f"chain-{n}")
        assert one.claims is not None
        await inbox.keep(one, Queued(one.id, one.claims, "x" * 48 * 1024, str(n)), lease=True)
        inbox.conclude(Conclusion(one.id, Fate.REFUSED, verdict="gone", status=410))
    await inbox.depth()
    assert 10 <= len(list(Archive(database).every())) <= 20  # of two minutes, if one ended meanwhile


async def test_while_the_store_hangs_refused_requests_do_not_pile_up(inbox: Inbox) -> None:
    await inbox.depth()
    inbox._writer.put(hanging := Hanging())
    await hanging.begun.wait()
    for _ in range(2 * MOST_REFUSED):
        inbox.note(delivery(verdict="unknown", status=404))
    assert 0 < inbox._writer._jobs.qsize() <= MOST_REFUSED
    hanging.release()


async def test_a_call_that_was_made_anew_after_a_reset_is_another(inbox: Inbox) -> None:
    """Same chain, stage and attempt, and issued later: its stage is open again."""
    first = delivery(issued_at=100)
    await keep(inbox, first, "a")
    inbox.conclude(Conclusion(first.id, Fate.TAKEN))
    assert await keep(inbox, delivery(issued_at=100), "b") is How.CONFLICT
    assert await keep(inbox, delivery(issued_at=200), "c") is How.LEASED


class Unheard:
    """A connection that commits once without a word."""

    def __init__(self, inbox: Inbox, database: Database) -> None:
        self._connection, self._database = inbox._writer._connection, database
        inbox._writer._connection = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def commit(self) -> None:
        assert self._connection is not None
        self._connection.commit()
        raise self._database.driver_error("the connection is closed")


async def test_a_commit_that_was_not_heard_of_is_known_again(inbox: Inbox, database: Database) -> None:
    """As it was judged: who has leased it sends it."""
    await inbox.depth()
    one, again = delivery(), delivery()
    for each, how in ((one, How.LEASED), (again, How.AGAIN)):
        Unheard(inbox, database)
        assert await keep(inbox, each, "a") is how
    assert {found.id for found in Archive(database).every()} == {one.id, again.id}


async def test_duplicates_fill_no_store(inbox: Inbox, database: Database) -> None:
    body = bytes(MAX_REFUSED_BODY_BYTES + 1)
    ones = [delivery(body=body, body_size=len(body), body_digest=digest(body)) for _ in range(3 * PER_MINUTE)]
    kept = [await keep(inbox, one, "a") for one in ones]
    assert kept == [How.LEASED] + [How.AGAIN] * (3 * PER_MINUTE - 1)
    recorded = list(Archive(database).every())
    assert 1 + PER_MINUTE <= len(recorded) <= 1 + 2 * PER_MINUTE  # two, if a minute ended meanwhile
    assert [one.body is None for one in recorded] == [False] + [True] * (len(recorded) - 1)


async def test_a_duplicate_whose_body_is_not_kept_is_recorded_too(inbox: Inbox, database: Database) -> None:
    kept = [await keep(inbox, delivery(body=None), "a") for _ in range(2)]
    assert kept == [How.LEASED, How.AGAIN]
    assert len(list(Archive(database).every())) == 2


async def test_a_row_that_another_process_holds_holds_up_no_other(database: Database) -> None:
    """A receiver that is frozen in its transaction, or whose machine has vanished."""
    if database.is_sqlite:
        pytest.skip("a transaction that writes is alone there")
    statements = Statements(database)
    frozen, inbox = database.connect(), Inbox(database, PATIENT)
    cursor = frozen.cursor()
    statements.begin(cursor)
    statements.insert(cursor, [{**to_row(delivery("chain-1")), "request_id": "a"}])
    async with inbox.running():
        kept = await asyncio.gather(
            *(keep(inbox, delivery(f"chain-{n}"), name) for n, name in enumerate("abc", 1)), return_exceptions=True
        )
        assert isinstance(kept[0], StoreAway)
        assert kept[1:] == [How.LEASED, How.LEASED]
        frozen.rollback()
        assert await keep(inbox, delivery(), "a") is How.LEASED
    frozen.close()


async def test_repeats_are_judged_by_a_faster_processes_row(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else they would be promised a 2xx by a row that was never inserted."""
    if database.is_sqlite:
        pytest.skip("a transaction that writes is alone there")
    inbox, faster = Inbox(database, PATIENT), delivery()
    look = inbox._statements.look

    def overtaken(*args: Any) -> Any:
        known = look(*args)
        monkeypatch.setattr(inbox._statements, "look", look)
        row = to_row(faster) | {"request_id": "a", "callback": "{}", "due_at": time.time() + 60, "fate": "pending"}
        with database.begin() as connection:
            connection.execute(sa.insert(DELIVERIES), row)
        return known

    monkeypatch.setattr(inbox._statements, "look", overtaken)
    async with inbox.running():
        inbox._writer.put(hanging := Hanging())  # so that the next ones go together
        await hanging.begun.wait()
        keeping = [inbox.keep(one, queued(one, "a"), lease=True) for one in [delivery() for _ in range(3)]]
        keeping_all = asyncio.gather(*keeping)
        while inbox._writer._jobs.qsize() < len(keeping):
            await asyncio.sleep(0)
        hanging.release()
        kept = await keeping_all
    assert [(each.how, each.first_id) for each in kept] == [(How.AGAIN, faster.id)] * 3
    assert [one.duplicate_of for one in Archive(database).every()] == ["", *[faster.id] * 3]


async def test_what_was_taken_while_the_store_was_slow_is_kept_once(inbox: Inbox, database: Database) -> None:
    late, never = delivery("chain-1"), delivery("chain-2")
    await keep(inbox, late, "a")  # committed after all
    for one, request_id in ((late, "a"), (never, "b")):
        inbox.record_taken(one, queued(one, request_id))
    assert await keep(inbox, delivery("chain-2"), "b") is How.KNOWN
    assert await keep(inbox, delivery("chain-2"), "c") is How.CONFLICT
    assert [Archive(database).get(one.id).fate for one in (late, never)] == [Fate.TAKEN, Fate.TAKEN]
    assert await inbox.claim(10) == []


async def test_an_unreachable_store_is_away_and_comes_back(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of file descriptors, for one: that is no error of the driver's."""

    def connect() -> Any:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as broken:
        broken.setattr(inbox._writer._database, "connect", connect)
        for _ in range(2):
            with pytest.raises(StoreAway, match="Too many open files"):
                await asyncio.wait_for(inbox.claim(1), 10)
    assert await keep(inbox, delivery(), "a") is How.LEASED


async def test_what_comes_again_is_sent_again_after_a_pause(inbox: Inbox, database: Database) -> None:
    """The first one's callback, whatever the second one says under the same signed id; what was taken stays so."""
    first = delivery()
    await keep(inbox, first, "a")
    inbox.conclude(Conclusion(first.id, Fate.TAKEN, tries=5))
    assert await keep(inbox, delivery(), "a") is How.KNOWN
    assert await inbox.claim(10) == []
    async with (later := Inbox(database, replace(PATIENT, resend_pause=0.0))).running():
        assert [await keep(later, delivery(), "a") for _ in range(5)] == [How.KNOWN] * 5
    (claimed,) = await inbox.claim(10)
    assert (claimed.id, claimed.fate, claimed.tries) == (first.id, Fate.TAKEN, 0)
    assert await keep(inbox, delivery(), "b") is How.CONFLICT, "it is known as taken all the while"
    assert Archive(database).get(first.id).fate is Fate.TAKEN


@timed(resend_pause=0.0)
async def test_what_is_parked_waits_for_an_operator(inbox: Inbox, database: Database) -> None:
    first = delivery()
    await keep(inbox, first, "a")
    inbox.conclude(Conclusion(first.id, Fate.PARKED, "no"))
    assert await keep(inbox, delivery(), "a") is How.KNOWN
    assert await inbox.claim(10) == []
    assert Archive(database).get(first.id).fate is Fate.PARKED


async def test_every_commit_is_on_the_disk(inbox: Inbox, database: Database) -> None:
    def ask(cursor: Any) -> dict[str, str]:
        names = ["journal_mode", "synchronous"] if database.is_sqlite else ["fsync", "synchronous_commit"]
        found = {}
        for name in names:
            cursor.execute(f"PRAGMA {name}" if database.is_sqlite else f"SHOW {name}")
            found[name] = str(cursor.fetchone()[0])
        return found

    if not database.is_sqlite:
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            name = database.url.database
            connection.exec_driver_sql(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
    shown = await inbox._writer.do(ask, within=PATIENCE)
    assert shown in ({"journal_mode": "wal", "synchronous": "2"}, {"fsync": "on", "synchronous_commit": "on"})


async def test_a_store_that_keeps_nothing_is_not_ready(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    await inbox.check()
    monkeypatch.setattr(inbox._statements, "insert", lambda cursor, rows: 1 / 0)
    with pytest.raises(StoreAway, match="division"):
        await keep(inbox, delivery(), "a")
    with pytest.raises(StoreAway, match="could not be kept a moment ago"):
        await inbox.check()


@timed(commit_timeout=0.3)
async def test_a_body_that_nobody_waits_for_is_let_go(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: list[Any] = []
    put = inbox._writer.put_job

    def noting(job: Any) -> None:
        jobs.append(job)
        put(job)

    monkeypatch.setattr(inbox._writer, "put_job", noting)
    hanging = Hanging()
    blocking = asyncio.create_task(inbox._writer.do(hanging, within=None))
    await hanging.begun.wait()
    with pytest.raises(StoreAway):
        await keep(inbox, delivery(), "a")
    assert jobs[-1].work is None, "not the delivery any more"
    hanging.release()
    await blocking


async def test_one_delivery_that_cannot_be_written_spoils_no_other(inbox: Inbox) -> None:
    good, bad = delivery(), delivery(partner="lone \ud800 surrogate")
    kept = await asyncio.gather(keep(inbox, bad, "a"), keep(inbox, good, "b"), return_exceptions=True)
    assert isinstance(kept[0], StoreAway)
    assert kept[1] is How.LEASED


async def test_what_is_queued_is_written_when_the_receiver_stops(database: Database) -> None:
    inbox, one = Inbox(database, PATIENT), delivery()
    async with inbox.running():
        inbox.note(one)
    assert Archive(database).get(one.id) == one
