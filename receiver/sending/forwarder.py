"""Forwarder: makes a callback durable, and says how to answer it.

There are two: `Stored` commits callbacks in the store and sends them from there; `Direct` needs no store, and waits for
Temporal.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from receiver.answers import Verdict
from receiver.deliveries.batch import Batch
from receiver.deliveries.delivery import Delivery
from receiver.deliveries.matching import KnownCalls
from receiver.sending.signal import Signal
from workflows.contract import Answer


class Unavailable(Exception):
    """Neither the store nor Temporal took a delivery. The message says why, for our log."""


class Forwarder(Protocol):
    """Delivers callbacks to runs. Everything else happens while the block of `running` runs.

    keeps: whether it has a store, which can keep a callback to be sent later.
    """

    keeps: bool

    @property
    def outage(self) -> str:
        """The word for the cause of the present outage of Temporal (`activities.connection_errors`), or ""."""

    async def deliver(
        self, delivery: Delivery, signal: Signal, *, at_one_url: bool = False, later: float = 0.0
    ) -> Verdict:
        """Make the delivery durable, and return the verdict to answer it with. Raises `Unavailable`.

        at_one_url: it came to a partner's one webhook URL. There a run that is over is answered 2xx, and a run that
        Temporal does not know is kept for an operator, or is `Unavailable`. later: seconds until the signal may be
        sent; only if it `keeps`.
        """

    async def find_calls(self, partner: str, references: Sequence[str]) -> KnownCalls:
        """Look up the calls that have these references. Raises `Unavailable`, always without a store."""

    async def keep_unmatched(self, delivery: Delivery, answer: Answer) -> None:
        """Keep a delivery whose call is not known yet. Raises `Unavailable`, always without a store."""

    async def keep_batch(self, batch: Batch) -> None:
        """Keep the events of a request, and set how each was kept. Raises `Unavailable`, always without a store."""

    def may_note(self, verdict: Verdict, partner: str, at_least: int) -> bool:
        """Whether a refused request of at least `at_least` bytes may be recorded."""

    def note(self, delivery: Delivery) -> None:
        """Record a refused delivery."""

    def note_answer(self, id_: str, status: int) -> None:
        """Record that a kept delivery was answered with the partner's own status."""

    async def check(self) -> str:
        """Raise `Unavailable` unless a callback could be answered 2xx now. Returns what is away regardless, or ""."""

    def running(self) -> AbstractAsyncContextManager[None]:
        """Do the work in the background while the block runs. At its end, finish the signals that are on their way."""
