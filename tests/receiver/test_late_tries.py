"""A delivery that waited for a place until its lease is half over is not sent: another process may claim it soon."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from receiver.deliveries.inbox import Inbox
from receiver.sending.sender import Sender
from receiver.sending.signal import Signal
from receiver.sending.signals import Reached, Signals
from receiver.sending.watch import Watch
from receiver.timing import Timing
from tests.parts.deliveries import delivery, queued

LEASE = 10.0
WAITED = {"less than half of it": (4.9, ["first", "second"]), "more than half of it": (5.1, ["first"])}


class OneByOne:
    """A Temporal that takes a signal once it may."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.may_take = asyncio.Event()

    async def send(self, signal: Signal) -> Reached:
        self.sent.append(signal.request_id)
        await self.may_take.wait()
        return Reached.TAKEN

    async def check(self) -> None:
        return


@pytest.mark.parametrize(("waited", "expected"), WAITED.values(), ids=list(WAITED))
async def test_a_try_does_not_outlast_its_lease(
    monkeypatch: pytest.MonkeyPatch, waited: float, expected: list[str]
) -> None:
    monkeypatch.setattr("receiver.sending.places.MOST_AT_ONCE", 1)
    monkeypatch.setattr("receiver.sending.places.SLOW_SECONDS", 600.0)
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr("receiver.sending.sender.time", SimpleNamespace(monotonic=lambda: clock.now, time=lambda: 1.0))
    inbox: Any = SimpleNamespace(on_concluded=None, conclude=lambda conclusion, soon: None)
    temporal, timing = OneByOne(), Timing(lease=LEASE)
    signals = cast(Signals, temporal)
    sender = Sender(signals, cast(Inbox, inbox), Watch(signals, timing), timing)
    ones = [delivery("chain-1"), delivery("chain-2")]
    for one, request_id in zip(ones, ("first", "second"), strict=True):
        sender.send_soon(queued(one, request_id))
    while not temporal.sent:
        await asyncio.sleep(0)
    clock.now += waited
    temporal.may_take.set()
    while sender._sending:
        await asyncio.sleep(0)
    assert temporal.sent == expected
