"""The forwarder between a store and a Temporal that comes and goes: durable first, in order, once, never for ever."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import pytest

from activities.store import migrations
from activities.store.calls import CallOrigin, Calls, NotedCall
from activities.store.database import Database
from receiver.answers import Verdict
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Delivery, Fate
from receiver.deliveries.inbox import Inbox
from receiver.deliveries.queue import Queued
from receiver.sending import places as places_module
from receiver.sending import sender as sender_module
from receiver.sending.direct import Direct
from receiver.sending.forwarder import Unavailable
from receiver.sending.places import Places
from receiver.sending.signals import Reached, TemporalAway
from receiver.timing import DEFAULT_TIMING
from tests.parts.deliveries import delivery
from tests.parts.doors import Door, deliver, fate_of, opened
from tests.parts.switchable import Switchable
from tests.parts.waits import eventually
from tests.stores import PATIENT, timed
from tests.support import SOON


def called(one: Delivery) -> NotedCall:
    """The record of the delivery's call."""
    assert one.claims is not None
    return NotedCall(one.claims, CallOrigin("onboarding", "0123456789ab", "key", "url"), called_at=1.0)


@contextmanager
def no_commit(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let no commit that begins in this block end before the block does."""
    insert, go_on = inbox._statements.insert, threading.Event()

    def waiting(*args: Any) -> set[str]:
        go_on.wait(3 * SOON)
        return insert(*args)

    monkeypatch.setattr(inbox._statements, "insert", waiting)
    try:
        yield
    finally:
        go_on.set()


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


async def test_signals_are_few_at_once_but_slow_ones_do_not_count(
    database: Database, temporal: Switchable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places_module, "SLOW_SECONDS", 3600.0)
    async with opened(database, temporal) as door:
        temporal.answering.clear()
        await asyncio.gather(*(door.deliver(delivery(f"chain-{n}")) for n in range(30)))
        await eventually(lambda: temporal.at_once == places_module.MOST_AT_ONCE)
        temporal.answering.set()
        await eventually(lambda: len(temporal.sent) == 30)
    assert temporal.most == places_module.MOST_AT_ONCE


async def test_runs_that_hang_hold_up_no_other_run(database: Database, temporal: Switchable) -> None:
    temporal.hanging = "hanging"
    async with opened(database, temporal) as door:
        for n in range(2 * places_module.MOST_AT_ONCE):
            await door.deliver(delivery("hanging", stage=n + 1))
        await door.deliver(delivery("chain-1"))
        await eventually(lambda: [chain for chain, _, _ in temporal.sent] == ["chain-1"])
        temporal.hanging = ""


@timed(lease=1.0)
async def test_a_delivery_that_waited_too_long_is_left_to_a_claim(
    door: Door, database: Database, temporal: Switchable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease might end during the try: another process would send it at the same time."""
    monkeypatch.setattr(door.forwarder._sender, "_places", places := Places(1, slow=3600.0))
    async with places.place():
        one = delivery()
        assert await door.deliver(one) is Verdict.ACCEPTED
        await asyncio.sleep(0.6)
    assert temporal.sent == []
    await eventually(lambda: fate_of(database, one) is Fate.TAKEN)


async def test_what_is_at_hand_is_not_read_from_its_json(
    door: Door, database: Database, temporal: Switchable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unread(text: str) -> NoReturn:
        raise AssertionError(text)

    monkeypatch.setattr(sender_module, "read_kept_callback", unread)
    one = delivery()
    assert await door.deliver(one) is Verdict.ACCEPTED
    await eventually(lambda: fate_of(database, one) is Fate.TAKEN)


async def test_without_a_backlog_no_signal_costs_a_claim(
    door: Door, database: Database, temporal: Switchable, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims, claim = 0, door.inbox.claim

    async def counted(most: int) -> list[Queued]:
        nonlocal claims
        claims += 1
        return await claim(most)

    monkeypatch.setattr(door.inbox, "claim", counted)
    began = time.monotonic()
    for n in range(40):
        await door.deliver(delivery(f"chain-{n}"))
    await eventually(lambda: len(temporal.sent) == 40)
    assert claims <= 2 + (time.monotonic() - began) / sender_module.POLL_SECONDS


async def test_a_burst_or_backlog_is_limited_to_some_signals_at_once(database: Database, temporal: Switchable) -> None:
    temporal.there = False
    async with opened(database, temporal) as door:
        for n in range(100):
            await door.deliver(delivery(f"backlog-{n}"))
        temporal.there, temporal.slow = True, 0.02
        burst = [door.deliver(delivery(f"burst-{n}")) for n in range(100)]
        assert set(await asyncio.gather(*burst)) == {Verdict.ACCEPTED}
        await eventually(lambda: len(temporal.sent) == 200)
    assert temporal.most <= sender_module.MOST_LEASED
    assert len(set(temporal.sent)) == 200


async def test_deliveries_of_an_outage_are_sent_after_it_in_order(
    door: Door, database: Database, temporal: Switchable
) -> None:
    temporal.there = False
    kept = [delivery() for _ in range(5)] + [delivery(stage=2)]
    assert {await door.deliver(one) for one in kept} == {Verdict.ACCEPTED}
    assert temporal.sent == []
    temporal.there = True
    await eventually(lambda: len(temporal.sent) == 6)
    assert [sent for _, stage, sent in temporal.sent if stage == 1] == [one.id for one in kept[:5]]
    await eventually(lambda: {fate_of(database, one) for one in kept} == {Fate.TAKEN})


async def test_during_an_outage_temporal_is_asked_seldom(door: Door, temporal: Switchable) -> None:
    temporal.there = False
    for n in range(50):
        await door.deliver(delivery(f"chain-{n}"))
    await asyncio.sleep(1.5)
    assert temporal.asked < 10


async def test_another_process_delivers_what_one_has_left(database: Database, temporal: Switchable) -> None:
    away = Switchable()
    away.there = False
    one = delivery()
    async with opened(database, away) as door:
        assert await door.deliver(one) is Verdict.ACCEPTED
    async with opened(database, temporal):
        await eventually(lambda: fate_of(database, one) is Fate.TAKEN)


@pytest.mark.usefixtures("unhurried_locks")
async def test_two_processes_on_one_store_send_each_delivery_once(database: Database) -> None:
    temporal = Switchable()
    temporal.there = False
    async with opened(database, temporal) as one, opened(database, temporal) as other:
        for n in range(40):
            await (one, other)[n % 2].deliver(delivery(f"chain-{n}"))
        temporal.there = True
        await eventually(lambda: len(temporal.sent) >= 40)
        await asyncio.sleep(0.3)
    assert len(temporal.sent) == len(set(temporal.sent)) == 40


@pytest.mark.usefixtures("unhurried_locks")
async def test_a_stage_stays_in_order_across_processes(database: Database) -> None:
    temporal = Switchable()
    temporal.slow = 0.01
    kept = [delivery(says="progress") for _ in range(20)]
    async with opened(database, temporal) as one, opened(database, temporal) as other:
        for n, each in enumerate(kept):
            await (one, other)[n % 2].deliver(each)
        await eventually(lambda: len(temporal.sent) >= len(kept))
    sent = [sent for _, _, sent in temporal.sent]
    assert sent == [each.id for each in kept]


async def test_a_long_outage_of_the_store_fills_no_log(
    empty_database: Database, temporal: Switchable, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(empty_database, temporal) as door:
        for _ in range(20):
            await door.deliver(delivery())
            await door.forwarder.check()
        migrations.upgrade(empty_database)
        await door.deliver(delivery())
    said = [record.message for record in caplog.records if record.message.startswith("store-")]
    assert said == ["store-away", "store-back"]


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
