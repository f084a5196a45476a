"""The same content again, from one process and from two: one signal, one answer, and no 202 that is forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import replace
from typing import Any

import pytest

from activities.store.database import Database
from receiver.answers import Verdict
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Fate
from receiver.deliveries.statements import First
from receiver.sending.forwarder import Unavailable
from receiver.sending.signals import Reached
from tests.parts.deliveries import delivery
from tests.parts.doors import Door, fate_of, opened
from tests.parts.switchable import Switchable
from tests.parts.waits import eventually
from tests.stores import PATIENT, timed
from tests.support import SOON

WAITING = replace(PATIENT, fate_wait=SOON)
"""The answer waits until Temporal has answered."""


class Noticed(list[tuple[str, int, str]]):
    """What was sent; the event is set when there is something."""

    def __init__(self, event: threading.Event) -> None:
        super().__init__()
        self._event = event

    def append(self, sent: tuple[str, int, str]) -> None:
        super().append(sent)
        self._event.set()


@timed(resend_pause=0.0)
async def test_what_was_taken_is_sent_once_more_when_it_comes_again(
    door: Door, database: Database, temporal: Switchable
) -> None:
    """Temporal knows it by its request id, unless the run was reset behind it. An ended run changes nothing."""
    one = delivery()
    assert await door.deliver(one, "a") is Verdict.ACCEPTED
    await eventually(lambda: fate_of(database, one) is Fate.TAKEN)
    temporal.answers["run"] = Reached.FINISHED
    assert await door.deliver(delivery(), "a") is Verdict.DUPLICATE
    await eventually(lambda: len(temporal.sent) == 2)
    assert len(set(temporal.sent)) == 1
    await asyncio.sleep(0.1)
    assert fate_of(database, one) is Fate.TAKEN


@pytest.mark.parametrize(("reached", "fate"), [(Reached.FINISHED, Fate.REFUSED), (Reached.UNKNOWN, Fate.PARKED)])
async def test_a_duplicate_gets_the_answer_that_the_first_one_got(
    door: Door, database: Database, temporal: Switchable, reached: Reached, fate: Fate
) -> None:
    """Though its own wait would have been long enough for another."""
    temporal.slow, temporal.answers["run"] = 0.35, reached
    one = delivery()
    assert await door.deliver(one, "a") is Verdict.ACCEPTED
    assert await door.deliver(delivery(), "a") is Verdict.DUPLICATE
    await eventually(lambda: fate_of(database, one) is fate)
    assert Archive(database).get(one.id).status == 202


@timed(fate_wait=SOON)
async def test_fifty_duplicates_at_once_are_one_signal_and_one_answer(door: Door, temporal: Switchable) -> None:
    temporal.answers["run"] = Reached.FINISHED
    temporal.slow = 0.05
    verdicts = await asyncio.gather(*(door.deliver(delivery(), "a") for _ in range(50)))
    assert set(verdicts) == {Verdict.GONE}
    assert len(temporal.sent) == 1


@timed(fate_wait=SOON)
async def test_a_duplicate_is_recorded_as_it_was_answered(door: Door, database: Database, temporal: Switchable) -> None:
    temporal.slow, temporal.answers["run"] = 0.05, Reached.FINISHED
    first, again = delivery(), delivery()
    await asyncio.gather(door.deliver(first, "a"), door.deliver(again, "a"))
    await eventually(lambda: [fate_of(database, one) for one in (first, again)] == [Fate.REFUSED] * 2)
    assert [Archive(database).get(one.id).status for one in (first, again)] == [410, 410]


@timed(fate_wait=SOON)
async def test_a_duplicate_in_the_writer_gets_the_first_ones_answer(
    door: Door, temporal: Switchable, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert, loop, answered = door.inbox._statements.insert, asyncio.get_running_loop(), threading.Event()

    def while_temporal_answers(*args: Any) -> set[str]:
        loop.call_soon_threadsafe(temporal.answering.set)
        assert answered.wait(SOON)
        return insert(*args)

    temporal.answering.clear()
    temporal.answers["run"] = Reached.UNKNOWN
    first = asyncio.create_task(door.deliver(delivery(), "a"))
    await eventually(lambda: temporal.at_once == 1)
    monkeypatch.setattr(temporal, "sent", Noticed(answered))
    monkeypatch.setattr(door.inbox._statements, "insert", while_temporal_answers)
    assert await door.deliver(delivery(), "a") is Verdict.UNKNOWN
    assert await first is Verdict.UNKNOWN


@pytest.mark.parametrize(("reached", "fate"), [(Reached.FINISHED, Fate.REFUSED), (Reached.UNKNOWN, Fate.PARKED)])
async def test_what_another_process_has_answered_202_is_kept(
    database: Database, monkeypatch: pytest.MonkeyPatch, reached: Reached, fate: Fate
) -> None:
    """The first request is answered 202 as well, though no more refusals are recorded in this minute."""
    slow = Switchable()
    slow.answering.clear()
    slow.answers["run"] = reached
    one = delivery()
    async with opened(database, slow, WAITING) as door, opened(database, Switchable()) as another:
        monkeypatch.setattr(door.inbox.budget, "allows", lambda *_: False)
        first = asyncio.create_task(door.deliver(one, "a"))
        await eventually(lambda: bool(list(Archive(database).every())))
        assert await another.deliver(delivery(), "a") is Verdict.DUPLICATE
        slow.answering.set()
        assert await first is Verdict.ACCEPTED
        await eventually(lambda: fate_of(database, one) is fate)
        assert Archive(database).get(one.id).status == 202


@pytest.mark.parametrize("recorded", [True, False])
async def test_a_duplicate_elsewhere_gets_the_first_ones_answer(
    database: Database, monkeypatch: pytest.MonkeyPatch, *, recorded: bool
) -> None:
    """Though its fate was open when the duplicate was kept; where that is known no more, it is asked to come again."""
    slow = Switchable()
    slow.answering.clear()
    slow.answers["run"] = Reached.FINISHED
    async with opened(database, slow, WAITING) as door, opened(database, Switchable()) as another:
        monkeypatch.setattr(door.inbox.budget, "allows", lambda *_: recorded)
        first = asyncio.create_task(door.deliver(delivery(), "a"))
        await eventually(lambda: bool(list(Archive(database).every())))
        promise = another.inbox.promise

        async def later(kept: First) -> str:
            slow.answering.set()
            assert await first is Verdict.GONE
            return await promise(kept)

        monkeypatch.setattr(another.inbox, "promise", later)
        with contextlib.nullcontext() if recorded else pytest.raises(Unavailable):
            assert await another.deliver(delivery(), "a") is Verdict.GONE
