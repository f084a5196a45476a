"""What is asked seldom: an absent Temporal, a run's pipeline, whether the receiver is ready."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from activities.callback_urls import Claims
from activities.store.calls import CallOrigin, Calls, NotedCall
from activities.store.database import Database
from receiver import health as health_module
from receiver.deliveries.inbox import Inbox
from receiver.health import Health
from receiver.sending import origins as origins_module
from receiver.sending import watch as watch_module
from receiver.sending.direct import Direct
from receiver.sending.forwarder import Unavailable
from receiver.sending.origins import Origins
from receiver.sending.signals import Origin
from receiver.sending.watch import Watch
from receiver.timing import DEFAULT_TIMING
from tests.parts.clocks import Clock
from tests.parts.switchable import Switchable


def claims(chain: str) -> Claims:
    return Claims("run", chain, 1, 1, "bank", 1, 2)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()

    class Time:
        monotonic: Callable[[], float] = clock

    for module in (watch_module, health_module):
        monkeypatch.setattr(module, "time", Time)
    return clock


async def test_an_absent_temporal_is_asked_with_growing_pauses(clock: Clock) -> None:
    temporal = Switchable()
    temporal.there = False
    watch = Watch(temporal)
    pauses = []
    for _ in range(8):
        assert not await watch.is_there()
        pauses.append(watch.seconds_left)
        asked, clock.now = temporal.asked, clock.now + watch.seconds_left - 0.01
        assert not await watch.is_there()
        assert temporal.asked == asked, "not before the pause is over"
        clock.now += 0.02
    first, longest = DEFAULT_TIMING.first_check_pause, DEFAULT_TIMING.longest_check_pause
    expected = [min(longest, first * 2**n) for n in range(8)]
    assert pauses == pytest.approx(expected)
    assert pauses[-1] == longest


async def test_the_pauses_begin_again_after_temporal_was_back(clock: Clock) -> None:
    temporal = Switchable()
    watch = Watch(temporal)
    temporal.there = False
    for _ in range(4):
        await watch.is_there()
        clock.now += watch.seconds_left + 0.01
    temporal.there = True
    assert await watch.is_there()
    temporal.there = False
    await watch.is_there()
    assert watch.seconds_left == pytest.approx(DEFAULT_TIMING.first_check_pause)


async def test_origins_forget_the_oldest_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origins_module, "MOST_ORIGINS", 5)
    temporal = Switchable()
    origins = Origins(temporal, Watch(temporal), Inbox(Database(f"sqlite:///{tmp_path}/deliveries.db")))
    for n in range(12):
        assert (await origins.ask(claims(f"chain-{n}"))).pipeline == "onboarding"
    assert len(origins._known) == 5
    assert origins.known(claims("chain-0")) == Origin()
    assert origins.known(claims("chain-11")).pipeline == "onboarding"
    asked = temporal.asked
    await origins.ask(claims("chain-11"))
    assert temporal.asked == asked, "a known run is not asked about"


async def test_a_recorded_call_tells_the_pipeline_without_temporal(database: Database) -> None:
    """And while Temporal is away; a call that is not recorded is asked about when Temporal is back."""
    temporal = Switchable()
    watch, inbox = Watch(temporal), Inbox(database)
    origins = Origins(temporal, watch, inbox)
    recorded = CallOrigin("cards", "abcdefabcdef", "key", "url")
    await Calls(database).note([NotedCall(claims("chain-1"), recorded, 1.0)])
    async with inbox.running():
        assert await origins.ask(claims("chain-1")) == Origin("cards", "abcdefabcdef")
        assert temporal.asked == 0
        temporal.there = False
        assert not await watch.is_there()
        asked = temporal.asked
        assert (await origins.ask(claims("chain-2"))).pipeline == ""
        assert (await origins.ask(replace(claims("chain-1"), stage=2))).pipeline == "cards", "it is the same run"
        assert temporal.asked == asked
    assert (await Origins(Switchable(), Watch(Switchable()), inbox).ask(claims("chain-1"))).pipeline == "onboarding"


class Checked(Direct):
    """Counts how often it is asked whether it is ready."""

    def __init__(self) -> None:
        self.asked = 0
        self.why = ""

    async def check(self) -> str:
        self.asked += 1
        if self.why:
            raise Unavailable(self.why)
        return ""


@pytest.mark.parametrize("why", ["", "Temporal: no connection"])
async def test_a_finding_is_reused_for_a_while(clock: Clock, why: str) -> None:
    forwarder = Checked()
    forwarder.why = why
    health = Health(forwarder)
    assert [await health.find_out() for _ in range(50)] == [why] * 50
    assert forwarder.asked == 1
    forwarder.why = "changed"
    clock.now += DEFAULT_TIMING.finding_lasts + 0.01
    assert await health.find_out() == "changed"
    assert forwarder.asked == 2
