"""Forwarder: the one sender of `advance_stage` signals on behalf of partners.

With a store it delivers what is recorded: at once if it can, later if Temporal is away, in order within a stage, from
any process that serves the store. Without one, or while it is away, Temporal itself is the only durable place.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from typing import Final

from temporalio.converter import value_to_type

from activities.callback_urls import Claims
from receiver.answers import Verdict
from receiver.deliveries.database import StoreAway
from receiver.deliveries.delivery import Delivery, Fate
from receiver.deliveries.inbox import Inbox, Kept
from receiver.deliveries.statements import Conclusion, Queued
from receiver.signals import BUDGET_SECONDS, Origin, Reached, Signals, TemporalAway
from receiver.watch import Watch
from workflows.contract import Callback

logger = logging.getLogger("stagehook.forwarder")

WAIT_FOR_FATE: Final = 0.2
"""Seconds that an answer waits to be a 410 or 404 where it could; the delivery is safe, so it need not."""

DIRECTLY_WITHIN: Final = 1.6
"""Seconds for Temporal when the store has not taken a delivery: with the store's own 0.7 s it is within the 2.5 s."""

MOST_AT_ONCE: Final = 64
"""Signals on their way at once."""

POLL_SECONDS: Final = 1.0
"""How often a process looks for deliveries that fell due, or that another process has left."""

MOST_TRIES: Final = 16
"""Tries of one delivery that failed while Temporal was there: after some 40 minutes it is parked."""

LONGEST_PAUSE: Final = 300.0
STORE_AWAY: Final = "; the store is away"
"""What is added to why Temporal is away. Readiness is public; where the store is, is not."""

VERDICTS: Final = {
    Reached.TAKEN: Verdict.ACCEPTED,
    Reached.FINISHED: Verdict.GONE,
    Reached.REPLACED: Verdict.GONE,
    Reached.UNKNOWN: Verdict.UNKNOWN,
}


class Unavailable(Exception):
    """Neither the store nor Temporal has taken a delivery. The message says why, for our log."""


@dataclass
class _Sending:
    """A delivery on its way. waiters: requests whose answer waits for its fate."""

    task: asyncio.Task[Reached | None]
    waiters: int = 0


class Forwarder:
    """Delivers callbacks to runs.

    inbox: the store; None for none. most_tries: after so many a delivery that Temporal does not take is parked.
    """

    def __init__(self, signals: Signals, inbox: Inbox | None = None, *, most_tries: int = MOST_TRIES) -> None:
        self._signals = signals
        self._inbox = inbox
        self._most_tries = most_tries
        self._sending: dict[str, _Sending] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._reserved = 0
        self._wake = asyncio.Event()
        self._watch = Watch(signals)

    # --- what the callback endpoint asks

    async def deliver(self, delivery: Delivery, callback: Callback, request_id: str) -> Verdict:
        """Make the delivery durable, and say how to answer it; raises `Unavailable`."""
        claims = delivery.claims
        assert claims is not None
        if self._inbox is None:
            return await self._deliver_directly(claims, callback, request_id, BUDGET_SECONDS, "")
        queued = Queued(delivery.id, claims, json.dumps(asdict(callback)), request_id)
        origin = self._signals.known_origin(claims) or Origin()
        known = replace(delivery, pipeline=origin.pipeline, definition=origin.definition)
        lease = not self._watch.is_away and self._room > 0
        self._reserved += lease
        try:
            kept = await self._inbox.keep(known, queued, lease=lease)
        except StoreAway as away:
            logger.warning("store-away", extra={"why": str(away)})
            return await self._deliver_directly(claims, callback, request_id, DIRECTLY_WITHIN, STORE_AWAY)
        finally:
            self._reserved -= lease
        if kept is Kept.LEASED:
            self._send_soon(queued)
        elif kept is Kept.QUEUED:
            self._wake.set()
        if not origin.pipeline:
            self._in_background(self._add_origin(delivery.id, claims))
        return Verdict.CONFLICT if kept is Kept.CONFLICT else await self._verdict(request_id)

    def note(self, delivery: Delivery) -> None:
        """Record a refused delivery, with the pipeline that it was for."""
        if self._inbox is not None:
            self._in_background(self._note(self._inbox, delivery))

    def note_answer(self, id_: str, status: int) -> None:
        """Record that a delivery which is recorded was answered in its partner's own way."""
        if self._inbox is not None:
            self._inbox.note_answer(id_, status)

    async def check(self) -> None:
        """Raise `Unavailable` unless a callback could be answered 2xx now."""
        store = ""
        try:
            if self._inbox is not None:
                await self._inbox.check()
                return
        except StoreAway as away:
            logger.warning("store-away", extra={"why": str(away)})
            store = STORE_AWAY
        try:
            await self._signals.check()
        except TemporalAway as error:
            raise Unavailable(f"Temporal: {error}{store}") from error

    @property
    def _room(self) -> int:
        """How many more may be sent at once."""
        return MOST_AT_ONCE - len(self._sending) - self._reserved

    async def _verdict(self, request_id: str) -> Verdict:
        """The verdict on a delivery that is kept: by its fate, if that is known soon enough."""
        if sending := self._sending.get(request_id):
            sending.waiters += 1
            await asyncio.wait([sending.task], timeout=WAIT_FOR_FATE)
            sending.waiters -= 1
            if sending.task.done() and (reached := sending.task.result()) is not None:
                return VERDICTS[reached]
        return Verdict.ACCEPTED

    async def _deliver_directly(
        self, claims: Claims, callback: Callback, request_id: str, within: float, store: str
    ) -> Verdict:
        try:
            return VERDICTS[await self._signals.send(claims, callback, request_id, within=within)]
        except TemporalAway as error:
            raise Unavailable(f"Temporal: {error}{store}") from error

    async def _note(self, inbox: Inbox, delivery: Delivery) -> None:
        origin = await self._ask_origin(delivery.claims)
        inbox.note(replace(delivery, pipeline=origin.pipeline, definition=origin.definition))

    # --- sending what is kept

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Deliver what is queued for as long as the block lasts; at its end, what is on its way is finished."""
        loop = asyncio.create_task(self._run())
        try:
            yield
        finally:
            loop.cancel()
            unfinished = {loop, *self._background, *(sending.task for sending in self._sending.values())}
            _, late = await asyncio.wait(unfinished, timeout=BUDGET_SECONDS)
            for task in late:
                task.cancel()

    async def _run(self) -> None:
        while self._inbox is not None:
            try:
                await self._send_what_is_due(self._inbox)
            except StoreAway as away:
                logger.warning("store-away", extra={"why": str(away)})
            except Exception:
                # The deliveries stay queued; nobody else would send them.
                logger.exception("forwarder-failed")
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(POLL_SECONDS, self._watch.seconds_left)):
                    await self._wake.wait()

    async def _send_what_is_due(self, inbox: Inbox) -> None:
        while not self._watch.is_away:
            if self._watch.was_away and not await self._watch.is_there():
                return
            if self._room <= 0:
                await self._until_one_is_sent()
                continue
            claimed = await inbox.claim(self._room)
            for queued in claimed:
                self._send_soon(queued)
                # It may have been received while Temporal could not be asked.
                self._in_background(self._add_origin(queued.id, queued.claims))
            if not claimed:
                return
            await self._until_one_is_sent()

    async def _until_one_is_sent(self) -> None:
        tasks = [sending.task for sending in self._sending.values()]
        if tasks:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(POLL_SECONDS / 10)  # places are reserved, for what is being kept

    def _send_soon(self, queued: Queued) -> None:
        if queued.request_id in self._sending:
            return  # claimed again, because a try has outlasted its lease
        sending = _Sending(asyncio.create_task(self._send(queued)))
        self._sending[queued.request_id] = sending
        sending.task.add_done_callback(lambda _: self._sending.pop(queued.request_id))

    async def _send(self, queued: Queued) -> Reached | None:
        """Try once, and record what became of it; None if the delivery is to be tried again, or is parked."""
        try:
            callback: Callback = value_to_type(Callback, json.loads(queued.callback))
        except (TypeError, ValueError) as error:
            self._park(queued, f"what is kept cannot be read: {error}")
            return None
        try:
            reached = await self._signals.send(queued.claims, callback, queued.request_id)
        except TemporalAway as error:
            await self._put_off(queued, str(error))
            return None
        except Exception as error:
            # Whatever one delivery does to the client, the others go on.
            logger.exception("delivery-failed", extra={"delivery": queued.id})
            await self._put_off(queued, f"{type(error).__name__}: {error}")
            return None
        self._reached(queued, reached)
        return reached

    def _reached(self, queued: Queued, reached: Reached) -> None:
        why = f"the run is {reached.value}"
        is_told = self._sending[queued.request_id].waiters > 0
        if reached is Reached.TAKEN:
            self._conclude(Conclusion(queued.id, Fate.TAKEN, tries=queued.tries))
        elif reached is Reached.UNKNOWN and not is_told:
            # It was answered 202, and Temporal knew the run once: this may be another Temporal.
            self._park(queued, why)
        else:
            # Should the run come back by a reset, the same content is new again.
            refused = Conclusion(queued.id, Fate.REFUSED, why, queued.tries, forget=True)
            if is_told:
                verdict = VERDICTS[reached]
                refused = replace(refused, verdict=verdict.name.lower(), status=verdict.status)
            else:
                logger.warning("delivery-too-late", extra={"delivery": queued.id, "why": why})
            self._conclude(refused)
        self._wake.set()  # the next one of this stage may have waited for it

    async def _add_origin(self, id_: str, claims: Claims) -> None:
        origin = await self._ask_origin(claims)
        if self._inbox is not None and origin.pipeline:
            self._inbox.note_origin(id_, origin.pipeline, origin.definition)

    async def _put_off(self, queued: Queued, why: str) -> None:
        """Lay the failure to Temporal's charge if it answers nobody now, else to the delivery's."""
        if not await self._watch.is_there():
            due_at = time.time() + self._watch.seconds_left
            self._conclude(Conclusion(queued.id, Fate.PENDING, why, queued.tries, due_at=due_at))
            return
        tries = queued.tries + 1
        if tries >= self._most_tries:
            self._park(queued, f"{why}, in {tries} tries")
        else:
            due_at = time.time() + min(LONGEST_PAUSE, 2.0**tries)
            self._conclude(Conclusion(queued.id, Fate.PENDING, why, tries, due_at=due_at))

    def _park(self, queued: Queued, why: str) -> None:
        logger.error("delivery-parked", extra={"delivery": queued.id, "why": why})
        self._conclude(Conclusion(queued.id, Fate.PARKED, why, queued.tries))

    def _conclude(self, conclusion: Conclusion) -> None:
        assert self._inbox is not None
        self._inbox.conclude(conclusion)

    async def _ask_origin(self, claims: Claims | None) -> Origin:
        try:
            return await self._signals.origin(claims) if claims and not self._watch.is_away else Origin()
        except TemporalAway:
            return Origin()

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
