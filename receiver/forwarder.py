"""Forwarder: makes a callback durable, and says how to answer it.

With a store it is committed there, and `receiver.sender` signals the run: at once if it can, later if Temporal is away.
Without one, or while it is away, Temporal itself is the only durable place.
"""

from __future__ import annotations

import json
import time
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import asdict, replace
from typing import Final

from activities.callback_urls import Claims
from receiver.answers import Verdict
from receiver.deliveries.database import StoreAway
from receiver.deliveries.delivery import Delivery
from receiver.deliveries.inbox import REMEMBERED, How, Inbox
from receiver.deliveries.limits import kept_size
from receiver.deliveries.statements import Queued
from receiver.sender import MOST_TRIES, VERDICTS, Sender, refusal
from receiver.signals import BUDGET_SECONDS, Reached, SignalRefused, Signals, TemporalAway
from workflows.contract import Callback

WAIT_FOR_FATE: Final = 0.2
"""Seconds that an answer waits to be a 410 or 404 where it could; the delivery is safe, so it need not."""

DIRECTLY_WITHIN: Final = 1.6
"""Seconds for Temporal when the store has not taken a delivery: with the store's own 0.7 s it is within the 2.5 s."""

STORE_AWAY: Final = "; the store is away"
"""What is added to why Temporal is away. Readiness is public; where the store is, is not."""


class Unavailable(Exception):
    """Neither the store nor Temporal has taken a delivery. The message says why, for our log."""


class Forwarder:
    """Delivers callbacks to runs.

    inbox: the store; None for none. most_tries: see `Sender`.
    """

    def __init__(self, signals: Signals, inbox: Inbox | None = None, *, most_tries: int = MOST_TRIES) -> None:
        self._signals = signals
        self._inbox = inbox
        self._sender = None if inbox is None else Sender(signals, inbox, most_tries=most_tries)
        self._failed_at = float("-inf")
        self._failing: set[str] = set()

    async def deliver(self, delivery: Delivery, callback: Callback, request_id: str) -> Verdict:
        """Make the delivery durable, and say how to answer it; raises `Unavailable`."""
        claims = delivery.claims
        assert claims is not None
        if self._inbox is None or self._sender is None:
            return VERDICTS[await self._send_directly(claims, callback, request_id, BUDGET_SECONDS, "")]
        origin = self._sender.known_origin(delivery)
        known = replace(delivery, pipeline=origin.pipeline, definition=origin.definition)
        queued = Queued(
            delivery.id,
            claims,
            json.dumps(asdict(callback)),
            request_id,
            pipeline=origin.pipeline,
            size=kept_size(delivery.headers, delivery.target, delivery.body_size),
        )
        try:
            with self._sender.leasing() as lease:
                how = await self._inbox.keep(known, queued, lease=lease)
        except StoreAway:
            # Should it be kept after all, a moment too late, it is recorded as it was answered.
            try:
                reached = await self._send_directly(claims, callback, request_id, DIRECTLY_WITHIN, STORE_AWAY)
            except Unavailable:
                self._inbox.note_answer(delivery.id, Verdict.UNAVAILABLE.status)
                raise
            if reached is Reached.TAKEN:
                self._inbox.note_taken(known, queued)
            else:
                self._inbox.conclude(refusal(queued, VERDICTS[reached], f"the run is {reached.value}"))
            return VERDICTS[reached]
        if how is How.LEASED:
            self._sender.send_soon(queued)
            told = await self._sender.fate(request_id, within=WAIT_FOR_FATE)
            return VERDICTS[told] if told else Verdict.ACCEPTED
        self._sender.wake()
        if how is How.QUEUED:
            return Verdict.ACCEPTED
        self._sender.add_origin(queued)
        if how is How.CONFLICT:
            return Verdict.CONFLICT
        if how is How.KNOWN:
            return Verdict.DUPLICATE
        await self._sender.wait(request_id, within=WAIT_FOR_FATE)
        return await self._answer_again(self._inbox, queued)

    async def _answer_again(self, inbox: Inbox, queued: Queued) -> Verdict:
        """The answer to a duplicate: the first one's, if that is no 202; to be asked where all processes say it."""
        try:
            told = await inbox.promise(queued.request_id)
        except StoreAway as error:
            inbox.note_answer(queued.id, Verdict.UNAVAILABLE.status)
            raise Unavailable(f"the store: {error}") from error
        if not told:
            return Verdict.DUPLICATE
        verdict = Verdict[told.upper()]
        inbox.conclude(refusal(queued, verdict, "the same content was refused"))
        return verdict

    @property
    def records(self) -> bool:
        """Whether there is a store."""
        return self._inbox is not None

    def note(self, delivery: Delivery) -> None:
        """Record a refused delivery; without a store it is not recorded."""
        if self._sender is not None:
            self._sender.note(delivery)

    def note_answer(self, id_: str, status: int) -> None:
        """Record that a delivery which is recorded was answered in its partner's own way."""
        if self._inbox is not None:
            self._inbox.note_answer(id_, status)

    async def check(self) -> str:
        """What is away although a callback could be answered 2xx now, or ""; raises `Unavailable` if none could."""
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
        # One run alone may be at fault itself.
        if len(self._failing) > 1 and time.monotonic() - self._failed_at < REMEMBERED:
            raise Unavailable(f"Temporal: took no signal a moment ago{store}")
        return store.removeprefix("; ")

    def running(self) -> AbstractAsyncContextManager[None]:
        """Deliver what is kept for as long as the block lasts; at its end, what is on its way is finished."""
        return nullcontext() if self._sender is None else self._sender.running()

    async def _send_directly(
        self, claims: Claims, callback: Callback, request_id: str, within: float, store: str
    ) -> Reached:
        try:
            reached = await self._signals.send(claims, callback, request_id, within=within)
        except TemporalAway as error:
            if not isinstance(error, SignalRefused):
                self._failed_at = time.monotonic()
                self._failing = {claims.chain_id, *list(self._failing)[:1]}
            raise Unavailable(f"Temporal: {error}{store}") from error
        if reached is Reached.TAKEN:
            self._failing.clear()
        return reached
