"""Direct: the forwarder without a store. A callback is durable once Temporal has taken it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Final

from receiver.answers import Verdict
from receiver.deliveries.batch import Batch
from receiver.deliveries.delivery import Delivery
from receiver.deliveries.inbox import FAILURE_MEMORY
from receiver.deliveries.matching import KnownCalls
from receiver.sending.forwarder import Unavailable
from receiver.sending.outages import Outages
from receiver.sending.refusals import VERDICTS
from receiver.sending.signal import Signal
from receiver.sending.signals import BUDGET_SECONDS, Reached, SignalRefused, Signals, TemporalAway
from workflows.contract import Answer

CHECK_TIMEOUT: Final = 1.6
"""Seconds for Temporal in a readiness check, which may have waited for the store before."""


NO_STORE: Final = "this needs a store: set DATABASE_URL"


class Direct:
    """Signals Temporal while the partner's request waits. Nothing is recorded; see `Forwarder` for the methods."""

    keeps = False

    def __init__(self, signals: Signals, outages: Outages | None = None) -> None:
        self._signals = signals
        self._outages = outages or Outages()
        self._failed_at = float("-inf")
        self._failing: set[str] = set()

    @property
    def outage(self) -> str:
        """The word for the cause of the present outage of Temporal, or ""."""
        return self._outages.cause

    async def deliver(
        self, delivery: Delivery, signal: Signal, *, at_one_url: bool = False, later: float = 0.0
    ) -> Verdict:
        """Signal the run, and return the verdict by Temporal's answer. Raises `Unavailable`."""
        reached = await self.send(signal, within=BUDGET_SECONDS)
        if at_one_url and reached is Reached.UNKNOWN:
            raise Unavailable("Temporal: the run is unknown, and without a store nothing keeps the callback")
        return VERDICTS[reached]

    async def find_calls(self, partner: str, references: Sequence[str]) -> KnownCalls:
        """Raise `Unavailable`: references are looked up in the store."""
        raise Unavailable(NO_STORE)

    async def keep_unmatched(self, delivery: Delivery, answer: Answer) -> None:
        """Raise `Unavailable`."""
        raise Unavailable(NO_STORE)

    async def keep_batch(self, batch: Batch) -> None:
        """Raise `Unavailable`."""
        raise Unavailable(NO_STORE)

    async def send(self, signal: Signal, *, within: float) -> Reached:
        """Signal the run. Raises `Unavailable`. within: seconds."""
        try:
            reached = await self._signals.send(signal, within=within)
        except TemporalAway as error:
            if not isinstance(error, SignalRefused):
                self._failed_at = time.monotonic()
                self._failing = {signal.claims.chain_id, *list(self._failing)[:1]}
            self._outages.note(error)
            raise Unavailable(f"Temporal: {error}") from error
        if reached is Reached.TAKEN:
            self._failing.clear()
            self._outages.end()
        return reached

    async def check(self) -> str:
        """Raise `Unavailable` unless Temporal would take a callback now. Returns ""."""
        try:
            await self._signals.check(within=CHECK_TIMEOUT)
        except TemporalAway as error:
            self._outages.begin(error)
            raise Unavailable(f"Temporal: {error}") from error
        self._outages.end()
        # If a single run fails, that run may be at fault, not Temporal.
        if len(self._failing) > 1 and time.monotonic() - self._failed_at < FAILURE_MEMORY:
            raise Unavailable("Temporal: took no signal a moment ago")
        return ""

    def may_note(self, verdict: Verdict, partner: str, at_least: int) -> bool:
        """False: nothing is recorded."""
        return False

    def note(self, delivery: Delivery) -> None:
        """Do nothing."""

    def note_answer(self, id_: str, status: int) -> None:
        """Do nothing."""

    def running(self) -> AbstractAsyncContextManager[None]:
        """Do nothing in the background: every signal is sent while its request waits."""
        return nullcontext()
