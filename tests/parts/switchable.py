"""A Temporal for the receiver that a test takes away, slows down, or lets refuse a run."""

from __future__ import annotations

import asyncio

from temporalio.client import Client

from receiver.sending.signal import Signal
from receiver.sending.signals import Reached, Signals, TemporalAway


class Switchable(Signals):
    """Stands for a Temporal that a test takes away, slows down, or lets refuse one run.

    It answers no signal while `answering` is not set.
    """

    def __init__(self) -> None:
        self.there = True
        self.slow = 0.0
        self.answering = asyncio.Event()
        self.answering.set()
        self.hanging = ""
        self.asked = self.at_once = self.most = 0
        self.sent: list[tuple[str, int, str]] = []
        self.answers: dict[str, Reached | Exception] = {}

    async def client(self) -> Client:
        raise TemporalAway("no client")

    async def send(self, signal: Signal, *, within: float = 2.2) -> Reached:
        claims = signal.claims
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(self.slow)
        await self.answering.wait()
        while claims.chain_id == self.hanging:
            await asyncio.sleep(0.01)
        self.at_once -= 1
        if not self.there:
            raise TemporalAway("no connection")
        answer = self.answers.get(claims.workflow_id, Reached.TAKEN)
        if isinstance(answer, Exception):
            raise answer
        self.sent.append((claims.chain_id, claims.stage, signal.request_id))
        return answer

    async def check(self, *, within: float = 2.2) -> None:
        self.asked += 1
        if not self.there:
            raise TemporalAway("no connection")
