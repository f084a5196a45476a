"""A delivery is kept, answered, sent to Temporal and marked."""

from __future__ import annotations

import asyncio
import time

import pytest

from activities.store.calls import Calls
from activities.store.database import Database
from receiver.answers import Verdict
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Fate
from receiver.deliveries.queue import Queued
from receiver.sending.direct import Direct
from receiver.sending.forwarder import Unavailable
from receiver.sending.signals import Reached, TemporalAway
from receiver.timing import DEFAULT_TIMING
from tests.parts.deliveries import delivery
from tests.parts.doors import Door, deliver, fate_of, opened
from tests.parts.forwarding import called, no_commit
from tests.parts.switchable import Switchable
from tests.parts.waits import eventually
from tests.stores import PATIENT, timed
from tests.support import SOON


async def test_a_delivery_is_kept_sent_and_marked_with_its_pipeline(
    door: Door, database: Database, temporal: Switchable
) -> None:
    one = delivery()
    await Calls(database).note([called(one)])
    temporal.answering.clear()
    assert await door.deliver(one) is Verdict.ACCEPTED
    found = Archive(database).get(one.id)
    assert (found.pipeline, found.definition, found.fate) == ("onboarding", "0123456789ab", Fate.PENDING)
    temporal.answering.set()
    await eventually(lambda: fate_of(database, one) is Fate.TAKEN)
    assert len(temporal.sent) == 1


async def test_a_call_recorded_after_its_callback_tells_the_pipeline(
    door: Door, database: Database, temporal: Switchable
) -> None:
    """The worker records most calls behind the call: a fast callback overtakes the record."""
    temporal.answering.clear()
    one = delivery()
    assert await door.deliver(one) is Verdict.ACCEPTED
    assert Archive(database).get(one.id).pipeline == ""
    await Calls(database).note([called(one)])
    temporal.answering.set()
    await eventually(lambda: fate_of(database, one) is Fate.TAKEN)
    assert Archive(database).get(one.id).pipeline == "onboarding"


async def test_a_refused_request_is_marked_with_its_pipeline(door: Door, database: Database) -> None:
    one = delivery(verdict="unproven")
    await Calls(database).note([called(one)])
    door.forwarder.note(one)
    await eventually(lambda: [each.pipeline for each in Archive(database).every()] == ["onboarding"])


@pytest.mark.parametrize(
    ("reached", "verdict"),
    [(Reached.FINISHED, Verdict.GONE), (Reached.REPLACED, Verdict.GONE), (Reached.UNKNOWN, Verdict.UNKNOWN)],
)
@timed(fate_wait=SOON)
async def test_the_answer_waits_for_a_fate_that_comes_soon(
    door: Door, database: Database, temporal: Switchable, reached: Reached, verdict: Verdict
) -> None:
    temporal.answers["run"] = reached
    one = delivery()
    assert await door.deliver(one, "a") is verdict
    await eventually(lambda: fate_of(database, one) is Fate.REFUSED)
    found = Archive(database).get(one.id)
    assert (found.status, found.fate_reason) == (verdict.status, f"the run is {reached.value}")
    assert await door.deliver(delivery(), "a") is verdict


@timed(resend_pause=0.0)
async def test_the_answer_does_not_wait_for_one_that_comes_late(
    door: Door, database: Database, temporal: Switchable
) -> None:
    temporal.answering.clear()
    temporal.answers["run"] = Reached.FINISHED
    one, began = delivery(), time.monotonic()
    assert await door.deliver(one, "a") is Verdict.ACCEPTED
    assert time.monotonic() - began < 3 * (DEFAULT_TIMING.commit_timeout + PATIENT.fate_wait)
    temporal.answering.set()
    await eventually(lambda: fate_of(database, one) is Fate.REFUSED)
    assert Archive(database).get(one.id).status == 202
    assert await door.deliver(delivery(), "a") is Verdict.DUPLICATE, "the first answer again"
    temporal.answers.clear()
    assert await door.deliver(delivery(), "a") is Verdict.DUPLICATE, "and asked anew: a reset may have opened the run"
    await eventually(lambda: fate_of(database, one) is Fate.TAKEN)


@timed(commit_timeout=1.0, lease=1.0)
async def test_a_delivery_kept_after_its_answer_is_recorded_with_it(
    door: Door, database: Database, temporal: Switchable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal by Temporal's word alone is 503: the store may know the content as answered 202."""
    await door.inbox.depth()  # connected: what the writer has not begun with is let go
    temporal.answers["run"] = Reached.FINISHED
    late, taken = delivery("chain-1"), delivery("chain-2", workflow_id="another")
    with no_commit(door.inbox, monkeypatch):
        with pytest.raises(Unavailable, match="the run is finished; the store is away"):
            await door.deliver(late)
        assert await door.deliver(taken) is Verdict.ACCEPTED
    wanted = {late.id: Fate.REFUSED, taken.id: Fate.TAKEN}
    await eventually(lambda: {one.id: one.fate for one in Archive(database).every()} == wanted)
    assert Archive(database).get(late.id).status == 503


@timed(commit_timeout=1.0, lease=1.0)
async def test_a_delivery_kept_after_a_503_is_recorded_and_sent(
    door: Door, database: Database, temporal: Switchable, monkeypatch: pytest.MonkeyPatch
) -> None:
    await door.inbox.depth()
    one, temporal.there = delivery(), False
    with no_commit(door.inbox, monkeypatch), pytest.raises(Unavailable):
        await door.deliver(one, "a")
    await eventually(lambda: [each.status for each in Archive(database).every()] == [503])
    temporal.there = True
    await eventually(lambda: fate_of(database, one) is Fate.TAKEN)


async def test_a_run_unknown_after_a_202_is_parked_and_releasable(
    door: Door, database: Database, temporal: Switchable
) -> None:
    """Temporal knew it once: this may be another Temporal, or one that was restored."""
    temporal.answering.clear()
    temporal.answers["run"] = Reached.UNKNOWN
    one = delivery()
    assert await door.deliver(one) is Verdict.ACCEPTED
    temporal.answering.set()
    await eventually(lambda: fate_of(database, one) is Fate.PARKED)
    temporal.answers.clear()
    Archive(database).release(one.id, time.time())
    await eventually(lambda: fate_of(database, one) is Fate.TAKEN)


async def test_what_came_too_late_can_be_released_after_a_reset(
    door: Door, database: Database, temporal: Switchable
) -> None:
    temporal.answering.clear()
    temporal.answers["run"] = Reached.FINISHED
    one = delivery()
    assert await door.deliver(one) is Verdict.ACCEPTED
    temporal.answering.set()
    await eventually(lambda: fate_of(database, one) is Fate.REFUSED)
    temporal.answers.clear()
    Archive(database).release(one.id, time.time())
    await eventually(lambda: fate_of(database, one) is Fate.TAKEN)


@timed(fate_wait=SOON)
async def test_an_answer_waits_for_no_fate_beside_other_signals(
    door: Door, database: Database, temporal: Switchable
) -> None:
    """With `fate_wait` this long, only the commit can be what each answer waits for."""
    temporal.answering.clear()
    temporal.answers["run"] = Reached.FINISHED
    first = asyncio.create_task(door.deliver(one := delivery("chain-1")))
    await eventually(lambda: temporal.at_once == 1)
    assert not first.done(), "alone, it waits"
    assert await door.deliver(delivery("chain-2")) is Verdict.ACCEPTED
    assert await first is Verdict.ACCEPTED, "it stops waiting when another is sent"
    assert await door.deliver(delivery("chain-1"), one.id) is Verdict.DUPLICATE, "and so does a repeat"
    temporal.answering.set()
    await eventually(lambda: fate_of(database, one) is Fate.REFUSED)
    assert Archive(database).get(one.id).status == 202


async def test_what_is_leased_when_the_receiver_stops_is_sent(
    database: Database, temporal: Switchable, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = Switchable()
    away.there = False
    kept = [delivery(f"chain-{n}") for n in range(5)]
    async with opened(database, away) as door:
        for each in kept:
            await door.deliver(each)
    door = Door(database, temporal)
    claiming, claim = asyncio.Event(), door.inbox.claim
    leased: list[str] = []

    async def slowly(most: int) -> list[Queued]:
        claimed = await claim(most)
        leased.extend(queued.request_id for queued in claimed)
        claiming.set()
        await asyncio.sleep(0.1)
        return claimed

    monkeypatch.setattr(door.inbox, "claim", slowly)
    async with door.forwarder.running():
        await asyncio.wait_for(claiming.wait(), 10)
    assert leased
    assert sorted(sent for _, _, sent in temporal.sent) == sorted(leased)


async def test_without_the_store_temporal_decides(empty_database: Database, temporal: Switchable) -> None:
    async with opened(empty_database, temporal) as door:  # it has no tables
        assert await door.deliver(delivery()) is Verdict.ACCEPTED
        temporal.answers["run"] = Reached.FINISHED
        with pytest.raises(Unavailable, match="the run is finished"):
            await door.deliver(delivery())
        await door.forwarder.check()
        temporal.there = False
        with pytest.raises(Unavailable, match="Temporal: no connection; the store is away"):
            await door.deliver(delivery())
        with pytest.raises(Unavailable):
            await door.forwarder.check()


async def test_it_connects_ahead_of_the_first_callback(door: Door, temporal: Switchable) -> None:
    await eventually(lambda: temporal.asked == 1)


async def test_without_a_store_an_untaken_signal_means_not_ready(temporal: Switchable) -> None:
    """Temporal may be able to read and not to write, which is all that the question after it shows."""
    direct = Direct(temporal)
    temporal.answers["run"] = TemporalAway("no answer in time")
    with pytest.raises(Unavailable):
        await deliver(direct, delivery("chain-1"))
    await direct.check()  # one run alone may be at fault itself
    with pytest.raises(Unavailable):
        await deliver(direct, delivery("chain-2"))
    with pytest.raises(Unavailable, match="no signal a moment ago"):
        await direct.check()
    temporal.answers.clear()
    await deliver(direct, delivery())
    await direct.check()


async def test_with_the_store_alone_it_is_ready(door: Door, temporal: Switchable) -> None:
    temporal.there = False
    await door.forwarder.check()
