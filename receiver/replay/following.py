"""Aims for deliveries that are replayed as they are recorded, so that the later ones are not known yet."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from activities.callback_urls import Claims
from activities.runs import Runs
from receiver.deliveries.delivery import Delivery
from receiver.replay.aims import NamedRun
from receiver.replay.sending import Replayed
from receiver.replay.stand_ins import StandIns
from workflows.durations import DAY

MOST_OPEN: Final = 50
"""Stand-ins that are open at the same time. The oldest is ended when there are more."""

Call = tuple[str, int, int, int]
"""What a call's deliveries have in common: chain, stage, attempt and time of the call."""


@dataclass
class AimedCall:
    """A call whose deliveries are sent to one run. sent: its deliveries, each with its answer."""

    aim: StandIns
    sent: list[Replayed] = field(default_factory=list)


class LiveAim:
    """Aims at the captured runs that exist, and at a stand-in for each call of the others.

    Duplicates of a callback go to the same stand-in. It stays open until there are many, or until `aclose`.
    """

    def __init__(self, runs: Runs, task_queue: str) -> None:
        self._runs = runs
        self._task_queue = task_queue
        self._calls: dict[Call, AimedCall] = {}

    async def claims(self, delivery: Delivery) -> Claims:
        """The claims for the delivery's new token. Raises `NoStandIn`, and `TemporalUnreachable`."""
        call = _call_of(delivery)
        if call not in self._calls:
            there = {delivery.chain_id} if await self._runs.has(delivery.workflow_id, delivery.chain_id) else set()
            aim = StandIns(self._runs, [delivery], self._task_queue, lasting=DAY, there=there)
            aim.check()
            self._calls[call] = AimedCall(aim)
        return await self._calls[call].aim.claims(delivery)

    async def note_sent(self, replayed: Sequence[Replayed]) -> None:
        """Note what was sent, and end the oldest stand-ins if there are too many."""
        for one in replayed:
            self._calls[_call_of(one.delivery)].sent.append(one)
        while len(self._calls) > MOST_OPEN:
            await _end(self._calls.pop(next(iter(self._calls))))

    async def aclose(self) -> int:
        """End the stand-ins. Returns how many stay open: Temporal is away, or they lack what was answered 2xx."""
        calls, self._calls = list(self._calls.values()), {}
        return sum(await asyncio.gather(*map(_end, calls)))


class LiveNamedRun:
    """Aims at the open stages of a named run. A stage may be called again meanwhile, so nothing is remembered."""

    def __init__(self, runs: Runs, workflow_id: str) -> None:
        self._runs = runs
        self._workflow_id = workflow_id

    async def claims(self, delivery: Delivery) -> Claims:
        """The open stage's claims. Raises `NoSuchStage` if the run does not reach the stage in time."""
        return await NamedRun(self._runs, self._workflow_id).claims(delivery)

    async def note_sent(self, replayed: Sequence[Replayed]) -> None:
        """Do nothing: nothing was begun."""

    async def aclose(self) -> int:
        """Return 0: nothing was begun."""
        return 0


def _call_of(delivery: Delivery) -> Call:
    return delivery.chain_id, delivery.stage, delivery.attempt, delivery.issued_at


async def _end(aimed: AimedCall) -> bool:
    """End the call's stand-in; True if it is left open."""
    try:
        late = await aimed.aim.late(aimed.sent)
        await aimed.aim.aclose()
    except Exception:  # such as an absent Temporal; the other stand-ins must be ended too
        return True
    return bool(late)
