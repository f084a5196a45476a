"""Many deliveries at once, after an outage or beside another process: few signals at once, each sent once, in order."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any, NoReturn

import pytest

from activities.store import migrations
from activities.store.database import Database
from receiver.answers import Verdict
from receiver.deliveries.delivery import Fate
from receiver.deliveries.queue import Queued
from receiver.sending import places as places_module
from receiver.sending import sender as sender_module
from receiver.sending.places import Places
from tests.parts.deliveries import delivery
from tests.parts.doors import Door, fate_of, opened
from tests.parts.switchable import Switchable
from tests.parts.waits import eventually
from tests.stores import FOR_EVER, timed


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


async def test_a_line_goes_on_by_claims_where_others_need_the_places(
    database: Database, temporal: Switchable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "LEASED_IN_LINE", 2)
    monkeypatch.setattr(sender_module, "POLL_SECONDS", FOR_EVER)
    temporal.hanging, ones = "hanging", [delivery(says="progress") for _ in range(3)]
    async with opened(database, temporal) as door:
        monkeypatch.setattr(door.inbox._statements, "claim_next", None)
        for n in range(2):
            await door.deliver(delivery("hanging", stage=n + 1))
        for one in ones:
            await door.deliver(one)
        await eventually(lambda: [id_ for _, _, id_ in temporal.sent] == [one.id for one in ones])
        temporal.hanging = ""


async def test_what_is_leased_with_a_fate_is_sent_before_a_stop(
    database: Database, temporal: Switchable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receiver is stopped while the fate is committed: nothing is on its way, and no claim is under way."""
    ones, leased, released = [delivery(says="progress") for _ in range(2)], threading.Event(), threading.Event()
    async with opened(database, temporal) as door:
        claim_next = door.inbox._statements.claim_next

        def slowly(*args: Any, **options: Any) -> list[Queued]:
            found = claim_next(*args, **options)
            leased.set()
            released.wait()
            return found

        monkeypatch.setattr(door.inbox._statements, "claim_next", slowly)
        monkeypatch.setattr(sender_module, "POLL_SECONDS", FOR_EVER)
        temporal.answering.clear()
        for one in ones:
            await door.deliver(one)
        await asyncio.sleep(1.2)  # the last claim before the stop
        temporal.answering.set()
        await eventually(leased.is_set)
        temporal.slow = 0.1
        asyncio.get_running_loop().call_later(0.1, released.set)
    assert [fate_of(database, one) for one in ones] == [Fate.TAKEN, Fate.TAKEN]


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
