"""Stored: the forwarder with a store. A callback is durable once it is committed, and the sender signals its run.

While the store is unreachable, Temporal is signalled directly, and the callback is durable once Temporal takes it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from activities.store.errors import StoreAway
from receiver.answers import Verdict
from receiver.deliveries.batch import Batch
from receiver.deliveries.delivery import Delivery
from receiver.deliveries.inbox import Inbox
from receiver.deliveries.judging import How, Kept
from receiver.deliveries.matching import KnownCalls
from receiver.deliveries.queue import Queued
from receiver.deliveries.statements import First
from receiver.sending.direct import Direct
from receiver.sending.forwarder import Unavailable
from receiver.sending.outages import Outages
from receiver.sending.refusals import refusal
from receiver.sending.sender import OnCallTime, Sender
from receiver.sending.signal import Signal
from receiver.sending.signals import Reached, Signals
from receiver.sending.unmatched import signal_of, unmatched_row
from receiver.sending.watch import Watch
from receiver.timing import DEFAULT_TIMING, Timing
from workflows.contract import Answer

FALLBACK_TIMEOUT: Final = 1.6
"""Seconds for Temporal after the store has failed. With the store's 0.7 s, the answer is within the promised 2.5 s."""

STORE_AWAY: Final = "the store is away"
"""What is said of the store beside Temporal. /readyz is public, so the text does not say where the store is."""


class Stored:
    """Keeps callbacks in the store and sends them from there. See `Forwarder` for the methods.

    inbox: not running yet; `running` runs it too. on_call_time: see `Sender`.
    """

    keeps = True

    def __init__(
        self,
        signals: Signals,
        inbox: Inbox,
        timing: Timing = DEFAULT_TIMING,
        on_call_time: OnCallTime | None = None,
    ) -> None:
        self._inbox = inbox
        self._timing = timing
        outages = Outages()
        self._direct = Direct(signals, outages)
        self._sender = Sender(signals, inbox, Watch(signals, timing, outages), timing, on_call_time)

    @property
    def outage(self) -> str:
        """The word for the cause of the present outage of Temporal, or ""."""
        return self._direct.outage

    async def deliver(
        self, delivery: Delivery, signal: Signal, *, at_one_url: bool = False, later: float = 0.0
    ) -> Verdict:
        """Commit the delivery, or have Temporal take it, and return the verdict. Raises `Unavailable`."""
        queued = _queued(delivery, signal)
        if self._inbox.has_taken(queued):
            return Verdict.DUPLICATE
        try:
            with self._sender.leasing() as lease:
                kept = await self._inbox.keep(delivery, queued, lease=lease and not later, later=later)
        except StoreAway as away:
            if later:
                raise Unavailable(f"the store: {away}") from away
            return await self._deliver_without_store(delivery, signal, queued)
        if at_one_url and kept.how is How.LEASED:
            # Not awaited: whatever Temporal says, the answer is 2xx.
            self._sender.send_soon(queued, kept.origin)
            return Verdict.ACCEPTED
        return await self._answer(queued, kept)

    async def find_calls(self, partner: str, references: Sequence[str]) -> KnownCalls:
        """Look up the calls that have these references, and queue what has waited for them. Raises `Unavailable`."""
        with _reaching_store():
            return await self._inbox.find_calls(partner, references, signal_of)

    async def keep_unmatched(self, delivery: Delivery, answer: Answer) -> None:
        """Keep a delivery whose call is not known yet. Raises `Unavailable`."""
        with _reaching_store():
            await self._inbox.keep_unmatched(unmatched_row(delivery, answer))
        self._sender.wake()

    async def keep_batch(self, batch: Batch) -> None:
        """Keep the events of a request, and set how each was kept. Raises `Unavailable`."""
        with _reaching_store():
            await self._inbox.keep_batch(batch)
        self._sender.wake()

    async def _deliver_without_store(self, delivery: Delivery, signal: Signal, queued: Queued) -> Verdict:
        """Signal Temporal directly. The store may still commit the delivery too late; its row then gets this answer."""
        try:
            await self._send_directly(signal)
        except Unavailable:
            self._inbox.note_answer(delivery.id, Verdict.UNAVAILABLE.status)
            raise
        self._inbox.record_taken(delivery, queued)
        return Verdict.ACCEPTED

    async def _send_directly(self, signal: Signal) -> None:
        """Raise `Unavailable` unless Temporal takes the signal.

        If Temporal says that the run is gone, the answer is 503, not 410 or 404: this content may have been answered
        202 before.
        """
        with _store_away():
            reached = await self._direct.send(signal, within=FALLBACK_TIMEOUT)
            if reached is not Reached.TAKEN:
                raise Unavailable(f"Temporal: the run is {reached.value}")

    async def _answer(self, queued: Queued, kept: Kept) -> Verdict:
        """The verdict for a delivery, by how it was kept."""
        if kept.how is How.LEASED:
            self._sender.send_soon(queued, kept.origin)
            told = await self._sender.answer(queued.id, within=self._timing.fate_wait)
            if told is Verdict.UNAVAILABLE:
                raise Unavailable("the store: it went away before a refusal was recorded")
            return told or Verdict.ACCEPTED
        self._sender.wake()
        if kept.how is How.QUEUED:
            return Verdict.ACCEPTED
        if kept.first is None:
            return Verdict.CONFLICT
        if kept.how is How.TOLD:
            return Verdict[kept.first.verdict.upper()]
        if kept.how is How.KNOWN:
            return Verdict.DUPLICATE
        await self._sender.wait(kept.first.id, within=self._timing.fate_wait)
        return await self._answer_again(queued, kept.first)

    async def _answer_again(self, queued: Queued, first: First) -> Verdict:
        """The answer to a duplicate: 202, or the first delivery's refusal. Which of the two is decided in the store."""
        try:
            told = await self._inbox.promise(first)
        except StoreAway as error:
            self._inbox.note_answer(queued.id, Verdict.UNAVAILABLE.status)
            raise Unavailable(f"the store: {error}") from error
        if not told:
            return Verdict.DUPLICATE
        verdict = Verdict[told.upper()]
        self._inbox.conclude(refusal(queued, verdict, "the same content was refused"))
        return verdict

    def may_note(self, verdict: Verdict, partner: str, at_least: int) -> bool:
        """Whether the budget has room for a refused request of at least `at_least` bytes."""
        return self._inbox.may_note(verdict.name.lower(), partner, at_least)

    def note(self, delivery: Delivery) -> None:
        """Record a refused delivery."""
        self._inbox.note(delivery)

    def note_answer(self, id_: str, status: int) -> None:
        """Record that a kept delivery was answered with the partner's own status."""
        self._inbox.note_answer(id_, status)

    async def check(self) -> str:
        """Raise `Unavailable` unless the store or Temporal would take a callback. Returns that the store is away."""
        try:
            await self._inbox.check()
        except StoreAway:
            with _store_away():
                await self._direct.check()
            return STORE_AWAY
        return ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write to the store and send its queue while the block runs. At its end, finish both."""
        async with self._inbox.running(), self._sender.running():
            yield


def _queued(delivery: Delivery, signal: Signal) -> Queued:
    return Queued(
        delivery.id,
        signal.claims,
        signal.text,
        signal.request_id,
        earlier_id=signal.earlier_id,
        at_hand=signal.callback,
    )


@contextmanager
def _reaching_store() -> Iterator[None]:
    """Turn `StoreAway` into `Unavailable`, for what only the store can do."""
    try:
        yield
    except StoreAway as error:
        raise Unavailable(f"the store: {error}") from error


@contextmanager
def _store_away() -> Iterator[None]:
    """Add to the reason that nothing took a callback that the store is away."""
    try:
        yield
    except Unavailable as error:
        raise Unavailable(f"{error}; {STORE_AWAY}") from error
