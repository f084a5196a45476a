"""Sender: delivers what the store keeps, from whichever process takes it up.

In order within a stage, each leased by one process at a time, again until it is taken, never for ever: what Temporal
does not take while it takes others is parked. One that hangs holds up its own stage and no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from temporalio.converter import value_to_type

from activities.partners.answers import checked
from receiver.answers import Verdict
from receiver.deliveries.database import StoreAway
from receiver.deliveries.delivery import Delivery, Fate
from receiver.deliveries.inbox import Inbox
from receiver.deliveries.statements import Conclusion, Queued
from receiver.sending.origins import Origins
from receiver.sending.signals import BUDGET_SECONDS, Origin, Reached, SignalRefused, Signals, TemporalAway
from receiver.sending.watch import Watch
from workflows.contract import Callback

T = TypeVar("T")

logger = logging.getLogger("stagehook.sender")

MOST_AT_ONCE: Final = 64
"""Signals on their way at once."""

POLL_SECONDS: Final = 1.0
"""How often a process looks for deliveries that fell due, or that another process has left."""

MOST_TRIES: Final = 16
"""Tries of one delivery that failed while Temporal took others: after some 40 minutes it is parked."""

LONGEST_PAUSE: Final = 300.0
UNDECIDED_PAUSE: Final = 10.0
"""Seconds to the next try where Temporal answers, but takes nothing: it may be able to read and not to write."""

UNDECIDED_FOR: Final = 24 * 3600.0
"""Seconds after which such a delivery is parked all the same: nobody knows whose fault it is, so somebody must look."""

SETTLED_AFTER: Final = 3600.0
"""Seconds after an outage, however long it was, in which none is parked so: Temporal has a backlog to take."""

VERDICTS: Final = {
    Reached.TAKEN: Verdict.ACCEPTED,
    Reached.FINISHED: Verdict.GONE,
    Reached.REPLACED: Verdict.GONE,
    Reached.UNKNOWN: Verdict.UNKNOWN,
}


@dataclass
class _Sending:
    """A delivery on its way; the task's result is its answer, None if there is none yet.

    awaited: its own request waits for that. told: that request is told so, unless another one was promised a 2xx.
    """

    task: asyncio.Task[Verdict | None]
    awaited: bool = False
    told: bool = False


class Sender:
    """Sends the deliveries of one store.

    most_tries: after so many a delivery that Temporal does not take is parked.
    """

    def __init__(self, signals: Signals, inbox: Inbox, *, most_tries: int = MOST_TRIES) -> None:
        self._signals = signals
        self._inbox = inbox
        self._most_tries = most_tries
        self._watch = Watch(signals)
        self._origins = Origins(signals, self._watch)
        self._sending: dict[str, _Sending] = {}
        self._taken_at = float("-inf")
        self._background: set[asyncio.Task[Any]] = set()
        self._reserved = 0
        self._wake = asyncio.Event()

    # --- what is received

    @contextmanager
    def leasing(self) -> Iterator[bool]:
        """Whether what is being kept could be sent at once; its place is reserved until the block ends."""
        lease = not self._watch.is_away and self._room > 0
        with self._reserving(int(lease)):
            yield lease

    def send_soon(self, queued: Queued) -> None:
        """Send a delivery that this process has leased."""
        if queued.request_id in self._sending:
            return  # claimed again, because a try has outlasted its lease
        sending = _Sending(asyncio.create_task(self._send(queued)))
        self._sending[queued.request_id] = sending
        sending.task.add_done_callback(lambda _: self._sending.pop(queued.request_id))

    def wake(self) -> None:
        """Look at once for what is due."""
        self._wake.set()

    async def answer(self, request_id: str, *, within: float) -> Verdict | None:
        """The answer to this request's own delivery by Temporal's word; None if that is not known within so long.

        A refusal is given only once it is committed; `Verdict.UNAVAILABLE` where the store went away meanwhile.
        """
        sending = self._sending.get(request_id)
        if sending is None:
            return None
        sending.awaited = True
        try:
            await asyncio.wait([sending.task], timeout=within)
        finally:
            sending.awaited = False
        if sending.told:
            await asyncio.wait([sending.task])
        return sending.task.result() if sending.task.done() else None

    async def wait(self, request_id: str, *, within: float) -> None:
        """Wait for the answer to another request's delivery with this content, if it is on its way from here."""
        if sending := self._sending.get(request_id):
            await asyncio.wait([sending.task], timeout=within)

    # --- which pipeline it is for

    def known_origin(self, delivery: Delivery) -> Origin:
        """What is known of the delivery's run."""
        return self._origins.known(delivery.claims) if delivery.claims else Origin()

    def add_origin(self, queued: Queued) -> None:
        """Find out which pipeline a delivery that is kept was for, unless that is known, and record it."""
        if not queued.pipeline:
            self._in_background(self._add_origin(queued))

    def note(self, delivery: Delivery) -> None:
        """Record a delivery that is not sent, with the pipeline that it was for."""
        self._in_background(self._note(delivery))

    # --- sending what is kept

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send what is queued for as long as the block lasts; at its end, what is on its way is finished."""
        loop = asyncio.create_task(self._run())
        try:
            yield
        finally:
            loop.cancel()
            self._origins.stop()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BUDGET_SECONDS):
                    # What is being claimed is still to be sent.
                    while unfinished := self._unfinished():
                        await asyncio.wait(unfinished)
            for task in self._unfinished():
                task.cancel()

    def _unfinished(self) -> set[asyncio.Task[Any]]:
        return {*self._background, *(sending.task for sending in self._sending.values())}

    @property
    def _room(self) -> int:
        """How many more may be sent at once."""
        return MOST_AT_ONCE - len(self._sending) - self._reserved

    @contextmanager
    def _reserving(self, places: int) -> Iterator[None]:
        """Keep some of that room while it is not known yet what will be sent."""
        self._reserved += places
        try:
            yield
        finally:
            self._reserved -= places

    async def _run(self) -> None:
        await self._watch.is_there()  # connects ahead of the first callback, whose answer does not wait for that
        while True:
            self._wake.clear()
            try:
                await self._send_what_is_due()
            except Exception:
                # The deliveries stay queued; nobody else would send them.
                logger.exception("sender-failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(POLL_SECONDS, self._watch.seconds_left)):
                    await self._wake.wait()

    async def _send_what_is_due(self) -> None:
        while not self._watch.is_away:
            if self._watch.was_away and not await self._watch.is_there():
                return
            if (room := self._room) <= 0:
                await self._until_one_is_sent()
                continue
            most = (room + 1) // 2  # the other half is for what is received meanwhile
            if not await asyncio.shield(self._in_background(self._claim(most))):
                return
            await self._until_one_is_sent()

    async def _claim(self, most: int) -> int:
        """Lease what is due, and send it; how many were leased."""
        try:
            with self._reserving(most):
                claimed = await self._inbox.claim(most)
        except StoreAway:
            return 0  # the inbox has said so
        for queued in claimed:
            self.send_soon(queued)
        return len(claimed)

    async def _until_one_is_sent(self) -> None:
        """Wait until there is room, or more to send: one that hangs is not waited for."""
        waking = asyncio.ensure_future(self._wake.wait())
        tasks = [sending.task for sending in self._sending.values()]
        try:
            # Without a task places are reserved, for what is being kept.
            within = None if tasks else POLL_SECONDS / 10
            await asyncio.wait([waking, *tasks], timeout=within, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waking.cancel()
        self._wake.clear()

    async def _send(self, queued: Queued) -> Verdict | None:
        """Try once, and record what became of it; its answer, None if the delivery is tried again, or is parked."""
        try:
            callback = read_kept(queued.callback)
        except Exception as error:
            # Whatever stands there, it would be no other the next time.
            self._park(queued, f"what is kept cannot be read: {error}")
            return None
        began = time.monotonic()
        try:
            reached = await self._signals.send(queued.claims, callback, queued.request_id, earlier_id=queued.earlier_id)
        except TemporalAway as error:
            own_fault = isinstance(error, SignalRefused) or self._taken_at > began - UNDECIDED_PAUSE
            await self._put_off(queued, str(error), own_fault=own_fault)
            return None
        except Exception as error:
            # Whatever one delivery does to the client, the others go on.
            logger.exception("delivery-failed", extra={"delivery": queued.id})
            await self._put_off(queued, f"{type(error).__name__}: {error}", own_fault=True)
            return None
        answer = await self._reached(queued, reached)
        self.add_origin(queued)
        self._wake.set()  # the next delivery of this stage may have waited for it
        return answer

    async def _reached(self, queued: Queued, reached: Reached) -> Verdict:
        sending, why = self._sending[queued.request_id], f"the run is {reached.value}"
        if reached is Reached.TAKEN:
            self._taken_at = time.monotonic()
        if reached is Reached.TAKEN or queued.fate is Fate.TAKEN:
            self._inbox.conclude(Conclusion(queued.id, Fate.TAKEN, tries=queued.tries))
            return Verdict.ACCEPTED
        sending.told = sending.awaited
        if sending.told:
            return await self._tell(queued, VERDICTS[reached], why)
        self._conclude_late(queued, reached, why)
        return Verdict.ACCEPTED

    def _conclude_late(self, queued: Queued, reached: Reached, why: str) -> None:
        """Record a refusal of a delivery that was answered 202."""
        if reached is Reached.UNKNOWN:
            # Temporal knew the run once: this may be another Temporal.
            self._park(queued, why)
            return
        logger.warning("delivery-too-late", extra={"delivery": queued.id, "why": why})
        self._inbox.conclude(Conclusion(queued.id, Fate.REFUSED, why, queued.tries))

    async def _tell(self, queued: Queued, verdict: Verdict, why: str) -> Verdict:
        """Refuse the delivery, unless another process has promised its content a 2xx; see `judging`."""
        try:
            told = await self._inbox.tell(refusal(queued, verdict, why))
        except StoreAway:
            # Whether the refusal is recorded is unknown, and so is what others are told.
            self._inbox.note_answer(queued.id, Verdict.UNAVAILABLE.status)
            return Verdict.UNAVAILABLE
        if not told:
            logger.warning("delivery-too-late", extra={"delivery": queued.id, "why": f"{why}, and was answered 202"})
        return verdict if told else Verdict.ACCEPTED

    async def _put_off(self, queued: Queued, why: str, *, own_fault: bool) -> None:
        """Lay the failure to Temporal's charge if it answers nobody now, else to the delivery's.

        own_fault: whether Temporal refused this very one, or has taken another since it was tried last.
        """
        is_there, now = await self._watch.is_there(), time.time()
        for_long = queued.since and now - queued.since > UNDECIDED_FOR and self._watch.there_for > SETTLED_AFTER
        if not (is_there and (own_fault or for_long)):
            due_at = now + (UNDECIDED_PAUSE if is_there else self._watch.seconds_left)
            self._inbox.conclude(Conclusion(queued.id, queued.fate, why, queued.tries, due_at=due_at))
            return
        tries = queued.tries + 1
        if own_fault and tries < self._most_tries:
            due_at = time.time() + min(LONGEST_PAUSE, 2.0**tries)
            self._inbox.conclude(Conclusion(queued.id, queued.fate, why, tries, due_at=due_at))
        elif queued.fate is Fate.TAKEN:
            self._inbox.conclude(Conclusion(queued.id, Fate.TAKEN, why, tries))
        else:
            self._park(queued, f"{why}, in {tries} tries")

    def _park(self, queued: Queued, why: str) -> None:
        logger.error("delivery-parked", extra={"delivery": queued.id, "why": why})
        self._inbox.conclude(Conclusion(queued.id, Fate.PARKED, why, queued.tries))

    async def _add_origin(self, queued: Queued) -> None:
        origin = await self._origins.ask(queued.claims)
        if origin.pipeline:
            self._inbox.note_origin(queued.id, origin.pipeline, origin.definition)

    async def _note(self, delivery: Delivery) -> None:
        origin = await self._origins.ask(delivery.claims) if delivery.claims else Origin()
        self._inbox.note(replace(delivery, pipeline=origin.pipeline, definition=origin.definition))

    def _in_background(self, work: Coroutine[None, None, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task


def refusal(queued: Queued, verdict: Verdict, why: str) -> Conclusion:
    """What is recorded of a delivery whose partner is told that its run takes it no more.

    A little later the same content is new again, for the run may have come back by a reset.
    """
    return Conclusion(
        queued.id,
        Fate.REFUSED,
        why,
        queued.tries,
        verdict=verdict.name.lower(),
        status=verdict.status,
        # As where a run is unknown after a 202; see `_conclude_late`.
        if_promised=Fate.PARKED if verdict is Verdict.UNKNOWN else Fate.REFUSED,
    )


def read_kept(text: str) -> Callback:
    """The callback of a kept delivery; raises whatever its text leads to. An earlier version has checked no answers."""
    callback: Callback = value_to_type(Callback, json.loads(text))
    return replace(callback, answer=checked(callback.answer))
