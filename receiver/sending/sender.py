"""Sender: signals the store's queued deliveries to Temporal. Every process on the store takes part.

Deliveries of one stage are sent in order. Each delivery is leased by one process at a time, and retried until Temporal
takes it. A delivery that Temporal keeps refusing while it takes others is parked. A delivery that hangs delays its own
stage only.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final

from activities.store.errors import StoreAway
from receiver.answers import Verdict
from receiver.deliveries.delivery import Fate
from receiver.deliveries.inbox import Inbox
from receiver.deliveries.matching import KnownOrigin
from receiver.deliveries.queue import Concluded, Conclusion, Queued
from receiver.sending import places
from receiver.sending.places import Places
from receiver.sending.refusals import VERDICTS, refusal
from receiver.sending.retries import Retries
from receiver.sending.signal import Signal, read_kept_callback
from receiver.sending.signals import BUDGET_SECONDS, Reached, Signals, TemporalAway
from receiver.sending.unmatched import signal_of
from receiver.sending.watch import Watch
from receiver.timing import DEFAULT_TIMING, Timing

logger = logging.getLogger("stagehook.sender")

MOST_LEASED: Final = 64
"""Deliveries that a process leases at once: those on their way to Temporal, and those that wait for a place."""

CLAIMED_FROM: Final = MOST_LEASED // 4
"""With so much room, further deliveries are claimed. Claims of a few at a time would cost more than the signals."""

LEASED_IN_LINE: Final = MOST_LEASED // 2
"""While fewer deliveries are leased, the next delivery of a stage is leased together with the result before it. With
more, long queues of single stages would take every place: then it is claimed from the whole queue."""

MATCH_SECONDS: Final = 0.5
"""The shortest time between two looks for deliveries whose call has become known. Each look reads all that wait."""

POLL_SECONDS: Final = 1.0
"""How often a process looks for deliveries that became due, or that another process has left."""


OnCallTime = Callable[[str, float], None]
"""Called with the partner, and the seconds from a call to its callback."""


@dataclass
class _Sending:
    """A delivery that is being sent. The task's result is the verdict to answer, or None if it is retried or parked.

    origin: what its call is of, if that is known. in_line: see `Sender.send_soon`.
    awaited: the delivery's own HTTP request is waiting for the task.
    told: that request gets the refusal, unless another request with the same content was promised a 2xx.
    on_its_way: Temporal has not answered yet. Afterwards only the store is waited for.
    """

    task: asyncio.Task[Verdict | None]
    origin: KnownOrigin | None = None
    in_line: bool = False
    awaited: bool = False
    told: bool = False
    on_its_way: bool = True


class Sender:
    """Sends the deliveries of one store.

    on_call_time: called with the partner and the seconds from a call to its result, when Temporal first takes it.
    """

    def __init__(
        self,
        signals: Signals,
        inbox: Inbox,
        watch: Watch,
        timing: Timing = DEFAULT_TIMING,
        on_call_time: OnCallTime | None = None,
    ) -> None:
        self._signals = signals
        self._inbox = inbox
        self._watch = watch
        self._timing = timing
        self._on_call_time = on_call_time
        self._retries = Retries(watch, timing)
        self._places = Places(places.MOST_AT_ONCE, places.SLOW_SECONDS)
        self._sending: dict[str, _Sending] = {}
        self._claiming: asyncio.Task[int] | None = None
        self._matched_at = float("-inf")
        self._reserved = 0
        self._wake = asyncio.Event()
        self._has_room = asyncio.Event()
        self._company: asyncio.Future[None] | None = None
        inbox.on_concluded = self._follow

    # --- what is received

    @contextmanager
    def leasing(self) -> Iterator[bool]:
        """Yield whether the delivery being kept could be sent at once. Its slot is reserved while the block runs."""
        lease = not self._watch.is_away and self._room > 0
        with self._reserving(int(lease)):
            yield lease

    def send_soon(self, queued: Queued, origin: KnownOrigin | None = None, *, in_line: bool = False) -> None:
        """Send a delivery that this process has leased.

        origin: what its call is of, if that is known. in_line: it has waited for another one of its stage, and others
        may wait for it.
        """
        if queued.id in self._sending:
            return  # claimed a second time, because a try took longer than its lease
        sending = _Sending(asyncio.create_task(self._send(queued)), origin, in_line)
        self._sending[queued.id] = sending
        sending.task.add_done_callback(lambda _: self._forget(queued.id))
        if self._company is not None and not self._company.done() and self._has_company(sending):
            self._company.set_result(None)

    def _forget(self, id_: str) -> None:
        del self._sending[id_]
        if self._room >= CLAIMED_FROM:
            self._has_room.set()

    def wake(self) -> None:
        """Look for due deliveries now, before the next poll."""
        self._wake.set()

    async def answer(self, id_: str, *, within: float) -> Verdict | None:
        """The verdict by Temporal for this request's own delivery, or None if it is not known soon.

        That is after `within` seconds, or as soon as another delivery is being sent: in a burst no answer waits.
        A refusal is returned only once it is committed; `Verdict.UNAVAILABLE` if the store went away before that.
        """
        sending = self._sending.get(id_)
        if sending is None or self._has_company(sending):
            return None
        sending.awaited = True
        try:
            await self._wait_alone(sending, within)
        finally:
            sending.awaited = False
        if sending.told:
            await asyncio.wait([sending.task])
        return sending.task.result() if sending.task.done() else None

    async def wait(self, id_: str, *, within: float) -> None:
        """Wait for another request's delivery of the same content, if this process is sending nothing else."""
        sending = self._sending.get(id_)
        if sending is not None and not self._has_company(sending):
            await self._wait_alone(sending, within)

    def _has_company(self, sending: _Sending) -> bool:
        """Whether another delivery is on its way to Temporal."""
        # Not one whose refusal is being recorded. Example: it is over the budget of records, so its row is deleted, and
        # the same content at the next moment is a new delivery. Both must be answered alike.
        return any(other.on_its_way for other in self._sending.values() if other is not sending)

    async def _wait_alone(self, sending: _Sending, within: float) -> None:
        """Wait for the only delivery that is being sent, until another one is being sent."""
        if self._company is None or self._company.done():
            self._company = asyncio.get_running_loop().create_future()
        either: list[asyncio.Future[Any]] = [sending.task, self._company]
        await asyncio.wait(either, timeout=within, return_when=asyncio.FIRST_COMPLETED)

    # --- sending what is kept

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send the queue while the block runs. At its end, finish the signals that are on their way."""
        loop = asyncio.create_task(self._run())
        self._inbox.room_for_next = lambda: LEASED_IN_LINE - len(self._sending)
        try:
            yield
        finally:
            self._inbox.room_for_next = lambda: 0
            loop.cancel()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BUDGET_SECONDS):
                    # A result that is being committed, or a claim that is under way, adds more to send.
                    with contextlib.suppress(StoreAway):
                        await self._inbox.flush()
                    while unfinished := self._unfinished():
                        await asyncio.wait(unfinished)
            for task in self._unfinished():
                task.cancel()

    def _unfinished(self) -> set[asyncio.Task[Any]]:
        claiming = {self._claiming} if self._claiming and not self._claiming.done() else set()
        return {*claiming, *(sending.task for sending in self._sending.values())}

    @property
    def _room(self) -> int:
        """How many more deliveries may be sent at once."""
        return MOST_LEASED - len(self._sending) - self._reserved

    @contextmanager
    def _reserving(self, places: int) -> Iterator[None]:
        """Reserve this many slots while it is not yet known which deliveries will be sent."""
        self._reserved += places
        try:
            yield
        finally:
            self._reserved -= places

    async def _run(self) -> None:
        await self._watch.is_there()  # connect now, so that the first callback's answer does not wait for it
        while True:
            self._wake.clear()
            try:
                await self._send_what_is_due()
            except Exception:
                # Keep the loop alive: the deliveries stay queued, and nothing else in this process sends them.
                logger.exception("sender-failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(POLL_SECONDS, self._watch.seconds_left)):
                    await self._wake.wait()

    async def _send_what_is_due(self) -> None:
        while not self._watch.is_away:
            if self._watch.was_away and not await self._watch.is_there():
                return
            if (room := self._room) < CLAIMED_FROM:
                await self._until_there_is_room()
                continue
            most = (room + 1) // 2  # the other half is for callbacks that arrive meanwhile
            # Shielded: a claim that is committed has to be sent, also while the receiver stops.
            self._claiming = asyncio.create_task(self._claim(most))
            if await asyncio.shield(self._claiming) < most:
                return

    async def _claim(self, most: int) -> int:
        """Lease due deliveries and start sending them. Returns how many were leased.

        Example: 64 slots, 10 in use. At most 27 deliveries are claimed, and 27 slots are left for new callbacks.
        """
        try:
            with self._reserving(most):
                await self._match()
                claimed = await self._inbox.claim(most)
        except StoreAway:
            return 0  # the inbox has logged it
        for queued in claimed:
            self.send_soon(queued)
        return len(claimed)

    async def _match(self) -> None:
        """Queue the deliveries whose call has become known, if the last look is long enough ago. Raises `StoreAway`."""
        if time.monotonic() - self._matched_at < MATCH_SECONDS:
            return
        self._matched_at = time.monotonic()
        await self._inbox.match(signal_of)

    async def _until_there_is_room(self) -> None:
        """Wait until enough deliveries have been sent. Those that hang delay this for as long as a try may take."""
        self._has_room.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):  # slots may also be reserved for deliveries that are being kept
                await self._has_room.wait()

    async def _send(self, queued: Queued) -> Verdict | None:
        """Try once, and record the result. Returns the verdict, or None if the delivery is retried or parked."""
        leased_at = time.monotonic()
        async with self._places.place():
            if time.monotonic() - leased_at > self._timing.lease / 2:
                return None  # a try would outlast the lease: whichever process is free claims the delivery next
            return await self._try(queued)

    async def _try(self, queued: Queued) -> Verdict | None:
        try:
            callback = queued.at_hand or read_kept_callback(queued.callback)
        except Exception as error:
            # The stored text would be just as unreadable on the next try.
            self._park(queued, f"what is kept cannot be read: {error}")
            return None
        began = time.monotonic()
        try:
            reached = await self._signals.send(Signal(queued.claims, callback, queued.request_id, queued.earlier_id))
            self._sending[queued.id].on_its_way = False
        except Exception as error:
            # Whatever the client raises, the other deliveries go on.
            if not isinstance(error, TemporalAway):
                logger.exception("delivery-failed", extra={"delivery": queued.id})
            self._conclude(await self._retries.after(error, queued, began))
            return None
        if reached is Reached.TAKEN:
            self._retries.note_taken()
        if reached is Reached.TAKEN or queued.fate is Fate.TAKEN:
            is_result = queued.fate is not Fate.TAKEN and callback.answer.settles
            self._conclude_taken(queued, is_result=is_result)
            return Verdict.ACCEPTED
        return await self._conclude_refused(queued, reached)

    def _conclude_taken(self, queued: Queued, *, is_result: bool) -> None:
        """Record that Temporal has taken a delivery. is_result: it is the first signal of a partner's result."""
        origin, claims = self._sending[queued.id].origin, queued.claims
        settled_at = (queued.since or time.time()) if is_result else 0.0
        taken = Conclusion(
            queued.id,
            Fate.TAKEN,
            tries=queued.tries,
            stage=queued.stage,
            call=claims if origin is None else None,
            settled_at=settled_at,
        )
        self._inbox.conclude(taken, soon=self._sending[queued.id].in_line)
        if origin is not None and settled_at:
            self._count_call_time(claims.partner, settled_at - origin.called_at)

    def _follow(self, concluded: Concluded) -> None:
        """Count call times, and send what has waited for what was concluded."""
        for partner, seconds in concluded.call_times:
            self._count_call_time(partner, seconds)
        for queued in concluded.next:
            self.send_soon(queued, in_line=True)
        if concluded.has_next:
            self.wake()

    def _count_call_time(self, partner: str, seconds: float) -> None:
        if self._on_call_time is not None:
            self._on_call_time(partner, max(0.0, seconds))

    async def _conclude_refused(self, queued: Queued, reached: Reached) -> Verdict:
        sending, why = self._sending[queued.id], f"the run is {reached.value}"
        sending.told = sending.awaited
        if sending.told:
            return await self._tell(queued, VERDICTS[reached], why)
        self._conclude_late(queued, reached, why)
        return Verdict.ACCEPTED

    def _conclude_late(self, queued: Queued, reached: Reached, why: str) -> None:
        """Record a refusal of a delivery that was answered 202."""
        if reached is Reached.UNKNOWN:
            # Temporal did know the run when the call was made: this may be a different Temporal.
            self._park(queued, why)
            return
        logger.warning("delivery-too-late", extra={"delivery": queued.id, "why": why})
        self._conclude(Conclusion(queued.id, Fate.REFUSED, why, queued.tries, stage=queued.stage))

    async def _tell(self, queued: Queued, verdict: Verdict, why: str) -> Verdict:
        """Refuse the delivery, unless another process has promised a 2xx for its content; see `judging`."""
        try:
            told = await self._inbox.tell(refusal(queued, verdict, why))
        except StoreAway:
            # Unknown: whether the refusal was recorded, and so how repeats of this content are answered.
            self._inbox.note_answer(queued.id, Verdict.UNAVAILABLE.status)
            return Verdict.UNAVAILABLE
        self.wake()  # the next delivery of this stage may have waited for it
        if not told:
            logger.warning("delivery-too-late", extra={"delivery": queued.id, "why": f"{why}, and was answered 202"})
        return verdict if told else Verdict.ACCEPTED

    def _park(self, queued: Queued, why: str) -> None:
        self._conclude(Conclusion(queued.id, Fate.PARKED, why, queued.tries, stage=queued.stage))

    def _conclude(self, conclusion: Conclusion) -> None:
        if conclusion.fate is Fate.PARKED:
            logger.error("delivery-parked", extra={"delivery": conclusion.id, "why": conclusion.reason})
        self._inbox.conclude(conclusion)
