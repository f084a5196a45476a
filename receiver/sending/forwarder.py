"""Forwarder: makes a callback durable, and says how to answer it.

There are two: `Stored` commits callbacks in the store and sends them from there; `Direct` needs no store, and waits for
Temporal.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from receiver.answers import Verdict
from receiver.deliveries.delivery import Delivery
from receiver.sending.signal import Signal


class Unavailable(Exception):
    """Neither the store nor Temporal took a delivery. The message says why, for our log."""


class Forwarder(Protocol):
    """Delivers callbacks to runs. Everything else happens while the block of `running` runs."""

    async def deliver(self, delivery: Delivery, signal: Signal) -> Verdict:
        """Make the delivery durable, and return the verdict to answer it with. Raises `Unavailable`."""

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
