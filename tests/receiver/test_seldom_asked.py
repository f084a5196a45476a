"""What is asked seldom: an absent Temporal, and whether the receiver is ready."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from receiver import health as health_module
from receiver.health import Health
from receiver.sending import watch as watch_module
from receiver.sending.direct import Direct
from receiver.sending.forwarder import Unavailable
from receiver.sending.watch import Watch
from receiver.timing import DEFAULT_TIMING
from tests.parts.clocks import Clock
from tests.parts.switchable import Switchable


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
