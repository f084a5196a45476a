"""Deliveries that Temporal does not take: whose fault it is, what becomes of them, and that nobody else has to wait."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from activities.store.database import Database
from receiver.answers import Verdict
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Fate
from receiver.sending.retries import UNDECIDED_FOR
from receiver.sending.signals import SignalRefused, TemporalAway
from tests.parts.deliveries import delivery
from tests.parts.doors import Door, fate_of, opened
from tests.parts.switchable import Switchable
from tests.parts.waits import eventually
from tests.stores import PATIENT

HURRIED = replace(PATIENT, longest_retry_pause=0.05, undecided_pause=0.05, longest_check_pause=0.05, most_tries=2)


@pytest.fixture
def polling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let deliveries that become due be tried soon."""
    monkeypatch.setattr("receiver.sending.sender.POLL_SECONDS", 0.05)


async def three_tries(temporal: Switchable) -> None:
    """Wait until a delivery has failed three times: after each failure Temporal is checked, and once at the start."""
    await eventually(lambda: temporal.asked >= 1 + 3)


async def test_one_that_hangs_holds_up_only_its_own_stage(door: Door, temporal: Switchable) -> None:
    temporal.hanging = "chain-h"
    assert await door.deliver(delivery("chain-h")) is Verdict.ACCEPTED
    for n in range(2):
        await door.deliver(delivery("chain-g", says="progress"), str(n))
    await eventually(lambda: len(temporal.sent) == 2)
    assert temporal.at_once == 1, "it still hangs"
    temporal.hanging = ""


async def test_a_poisoned_delivery_is_parked_and_holds_up_nobody(database: Database, temporal: Switchable) -> None:
    temporal.answers["poisoned"] = SignalRefused("INVALID_ARGUMENT")
    poisoned, good = delivery("chain-p", workflow_id="poisoned"), delivery("chain-g")
    async with opened(database, temporal, replace(HURRIED, most_tries=3)) as door:
        assert await door.deliver(poisoned) is Verdict.ACCEPTED
        assert await door.deliver(good) is Verdict.ACCEPTED
        await eventually(lambda: fate_of(database, poisoned) is Fate.PARKED)
        assert fate_of(database, good) is Fate.TAKEN
        found = Archive(database).get(poisoned.id)
        assert "INVALID_ARGUMENT, in 3 tries" in found.fate_reason

        temporal.answers.clear()
        Archive(database).release(poisoned.id, time.time())
        await eventually(lambda: fate_of(database, poisoned) is Fate.TAKEN)


@pytest.mark.usefixtures("polling")
async def test_a_temporal_that_answers_and_takes_nothing_parks_nothing(
    database: Database, temporal: Switchable
) -> None:
    """It may be able to read and not to write: that is an outage, and says nothing of the deliveries."""
    temporal.answers["run"] = TemporalAway("no answer in time")
    one = delivery()
    async with opened(database, temporal, HURRIED) as door:
        await door.deliver(one)
        await three_tries(temporal)
        found = Archive(database).get(one.id)
        assert (found.fate, found.tries, found.fate_reason) == (Fate.PENDING, 0, "no answer in time")
        temporal.answers.clear()
        await eventually(lambda: fate_of(database, one) is Fate.TAKEN)


@pytest.mark.usefixtures("polling")
async def test_one_that_nobody_takes_for_a_day_is_parked_all_the_same(database: Database, temporal: Switchable) -> None:
    """Whose fault it is nobody knows, where nothing else comes; somebody has to look."""
    temporal.answers["run"] = TemporalAway("no answer in time")
    one = delivery(received_at=time.time() - UNDECIDED_FOR)
    async with opened(database, temporal, HURRIED) as door:
        await door.deliver(one)
        await three_tries(temporal)
        assert fate_of(database, one) is Fate.PENDING, "an outage may have lasted for that day"
    async with opened(database, temporal, replace(HURRIED, settled_after=0.0)):
        await eventually(lambda: fate_of(database, one) is Fate.PARKED)


async def test_one_that_is_never_taken_while_others_are_is_parked(database: Database, temporal: Switchable) -> None:
    temporal.slow, temporal.answers["poisoned"] = 0.1, TemporalAway("no answer in time")
    poisoned = delivery("chain-p", workflow_id="poisoned")
    async with opened(database, temporal, HURRIED) as door:
        await door.deliver(poisoned)
        while fate_of(database, poisoned) is not Fate.PARKED:
            await door.deliver(delivery("chain-g", says="progress"))


async def test_whatever_one_delivery_raises_the_others_go_on(database: Database, temporal: Switchable) -> None:
    temporal.answers["poisoned"] = ZeroDivisionError("a bug")
    async with opened(database, temporal, HURRIED) as door:
        poisoned, good = delivery("chain-p", workflow_id="poisoned"), delivery("chain-g")
        await door.deliver(poisoned)
        await door.deliver(good)
        await eventually(lambda: fate_of(database, poisoned) is Fate.PARKED)
        await eventually(lambda: fate_of(database, good) is Fate.TAKEN)
