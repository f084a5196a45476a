"""Forwarder: makes a callback durable, and says how to answer it.

With a store, the callback is committed there, and the sender signals the run: at once, or later if Temporal is
unreachable. Without a store, or while the store is unreachable, the callback is durable only once Temporal takes it.
"""

from __future__ import annotations

import time
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from typing import Final

from receiver.answers import Verdict
from receiver.deliveries.database import StoreAway
from receiver.deliveries.delivery import Delivery
from receiver.deliveries.inbox import FAILURE_MEMORY, Inbox
from receiver.deliveries.judging import How, Kept
from receiver.deliveries.queue import Queued
from receiver.deliveries.statements import First
from receiver.sending.sender import MOST_TRIES, VERDICTS, Sender, refusal
from receiver.sending.signal import Signal
from receiver.sending.signals import BUDGET_SECONDS, Reached, SignalRefused, Signals, TemporalAway

WAIT_FOR_FATE: Final = 0.2
"""Seconds that an answer waits to learn whether it should be 410 or 404. The delivery is committed: 202 is safe."""

DIRECTLY_WITHIN: Final = 1.6
"""Seconds for Temporal after the store has failed. With the store's 0.7 s, the answer is within the promised 2.5 s."""

STORE_AWAY: Final = "; the store is away"
"""Appended to the reason that Temporal is away. /readyz is public, so the text does not say where the store is."""


class Unavailable(Exception):
    """Neither the store nor Temporal took a delivery. The message says why, for our log."""


class Forwarder:
    """Delivers callbacks to runs.

    inbox: the store, or None to run without a store. most_tries: see `Sender`.
    """

    def __init__(self, signals: Signals, inbox: Inbox | None = None, *, most_tries: int = MOST_TRIES) -> None:
        self._signals = signals
        self._inbox = inbox
        self._sender = None if inbox is None else Sender(signals, inbox, most_tries=most_tries)
        self._failed_at = float("-inf")
        self._failing: set[str] = set()

    async def deliver(self, delivery: Delivery, signal: Signal) -> Verdict:
        """Make the delivery durable, and return the verdict to answer it with. Raises `Unavailable`."""
        if self._inbox is None or self._sender is None:
            return VERDICTS[await self._send_directly(signal, BUDGET_SECONDS, "")]
        origin = self._sender.known_origin(delivery)
        known = replace(delivery, pipeline=origin.pipeline, definition=origin.definition)
        queued = Queued(
            delivery.id,
            signal.claims,
            signal.text,
            signal.request_id,
            pipeline=origin.pipeline,
            earlier_id=signal.earlier_id,
        )
        if self._inbox.has_taken(queued):
            return Verdict.DUPLICATE
        try:
            with self._sender.leasing() as lease:
                kept = await self._inbox.keep(known, queued, lease=lease)
        except StoreAway:
            return await self._deliver_without_store(self._inbox, known, signal, queued)
        return await self._answer(self._inbox, self._sender, queued, kept)

    async def _deliver_without_store(self, inbox: Inbox, delivery: Delivery, signal: Signal, queued: Queued) -> Verdict:
        """Signal Temporal directly. The store may still commit the delivery too late; its row then gets this answer.

        If Temporal says that the run is gone, the answer is 503, not 410 or 404: the store may hold this content as
        answered 202 before.
        """
        try:
            reached = await self._send_directly(signal, DIRECTLY_WITHIN, STORE_AWAY)
        except Unavailable:
            inbox.note_answer(delivery.id, Verdict.UNAVAILABLE.status)
            raise
        if reached is not Reached.TAKEN:
            inbox.note_answer(delivery.id, Verdict.UNAVAILABLE.status)
            raise Unavailable(f"Temporal: the run is {reached.value}{STORE_AWAY}")
        inbox.record_taken(delivery, queued)
        return Verdict.ACCEPTED

    async def _answer(self, inbox: Inbox, sender: Sender, queued: Queued, kept: Kept) -> Verdict:
        """The verdict for a delivery, by how it was kept."""
        if kept.how is How.LEASED:
            sender.send_soon(queued)
            told = await sender.answer(queued.request_id, within=WAIT_FOR_FATE)
            if told is Verdict.UNAVAILABLE:
                raise Unavailable("the store: it went away before a refusal was recorded")
            return told or Verdict.ACCEPTED
        sender.wake()
        if kept.how is How.QUEUED:
            return Verdict.ACCEPTED
        sender.add_origin(queued)
        if kept.first is None:
            return Verdict.CONFLICT
        if kept.how is How.TOLD:
            return Verdict[kept.first.verdict.upper()]
        if kept.how is How.KNOWN:
            return Verdict.DUPLICATE
        await sender.wait(kept.first.request_id or "", within=WAIT_FOR_FATE)
        return await self._answer_again(inbox, queued, kept.first)

    async def _answer_again(self, inbox: Inbox, queued: Queued, first: First) -> Verdict:
        """The answer to a duplicate: 202, or the first delivery's refusal. Which of the two is decided in the store."""
        try:
            told = await inbox.promise(first)
        except StoreAway as error:
            inbox.note_answer(queued.id, Verdict.UNAVAILABLE.status)
            raise Unavailable(f"the store: {error}") from error
        if not told:
            return Verdict.DUPLICATE
        verdict = Verdict[told.upper()]
        inbox.conclude(refusal(queued, verdict, "the same content was refused"))
        return verdict

    def may_note(self, verdict: Verdict, partner: str, at_least: int) -> bool:
        """Whether a store is used, and its budget has room for a refused request of at least `at_least` bytes."""
        return self._inbox is not None and self._inbox.may_note(verdict.name.lower(), partner, at_least)

    def note(self, delivery: Delivery) -> None:
        """Record a refused delivery. Without a store, do nothing."""
        if self._sender is not None:
            self._sender.note(delivery)

    def note_answer(self, id_: str, status: int) -> None:
        """Record that a stored delivery was answered with the partner's own status."""
        if self._inbox is not None:
            self._inbox.note_answer(id_, status)

    async def check(self) -> str:
        """Raise `Unavailable` unless a callback could be answered 2xx now. Returns what is away regardless, or ""."""
        store = ""
        try:
            if self._inbox is not None:
                await self._inbox.check()
                return ""
        except StoreAway:
            store = STORE_AWAY
        try:
            await self._signals.check(within=DIRECTLY_WITHIN)
        except TemporalAway as error:
            raise Unavailable(f"Temporal: {error}{store}") from error
        # If a single run fails, that run may be at fault, not Temporal.
        if len(self._failing) > 1 and time.monotonic() - self._failed_at < FAILURE_MEMORY:
            raise Unavailable(f"Temporal: took no signal a moment ago{store}")
        return store.removeprefix("; ")

    def running(self) -> AbstractAsyncContextManager[None]:
        """Send the store's queue while the block runs. At its end, finish the signals that are on their way."""
        return nullcontext() if self._sender is None else self._sender.running()

    async def _send_directly(self, signal: Signal, within: float, store: str) -> Reached:
        try:
            reached = await self._signals.send(signal, within=within)
        except TemporalAway as error:
            if not isinstance(error, SignalRefused):
                self._failed_at = time.monotonic()
                self._failing = {signal.claims.chain_id, *list(self._failing)[:1]}
            raise Unavailable(f"Temporal: {error}{store}") from error
        if reached is Reached.TAKEN:
            self._failing.clear()
        return reached
