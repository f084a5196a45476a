"""Inbox: the receiver's hot path into the store. It keeps deliveries, and leases them to the sender."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakSet

from sqlalchemy.engine.interfaces import DBAPICursor

from activities.store.database import Database
from activities.store.errors import StoreAway
from receiver.budget import RecordBudget
from receiver.deliveries.batch import Batch
from receiver.deliveries.delivery import MAX_REFUSED_BODY_BYTES, Delivery
from receiver.deliveries.judging import Judge, Keep, Kept
from receiver.deliveries.keeping import Keeping
from receiver.deliveries.matching import KnownCalls, MakeSignal, Matching
from receiver.deliveries.memory import TakenMemory
from receiver.deliveries.queue import Concluded, Conclusion, Depth, Queued
from receiver.deliveries.rows import UNREAD_CALLBACK, is_unread, stored_size, to_row
from receiver.deliveries.statements import First, Pruned, Statements
from receiver.deliveries.writer import JobKind, Writer
from receiver.timing import DEFAULT_TIMING, Timing

logger = logging.getLogger("stagehook.inbox")

FAILURE_MEMORY: Final = 5.0
"""Seconds for which the store counts as not ready after a delivery could not be kept."""

TAKEN_TOGETHER: Final = 200
TAKEN_ENDS_WITHIN: Final = 3.0
"""Seconds for which a receiver that stops waits for the store to come back, if it alone knows what Temporal took."""

MATCHED_TOGETHER: Final = 200

MOST_REFUSED: Final = 200
MOST_LONG_REFUSED: Final = 20
"""Refused requests that wait in memory for the store: at most 200, and 20 more whose bodies are kept whole because
their partner's file had an error."""


@dataclass(eq=False)
class _Note:
    """A refused request: recorded, never queued."""

    row: dict[str, Any]


class Inbox:
    """The receiver's side of the store.

    Every coroutine raises `StoreAway`; `note` and `conclude` do not wait for the store.
    packs: whether new queued deliveries are packed; see `packing`.
    on_concluded: called in the event loop with what was found out while results were recorded.
    room_for_next: how many deliveries may be leased now, each together with the result of the one before it in its
    stage. Called in the writer's thread.
    """

    def __init__(self, database: Database, timing: Timing = DEFAULT_TIMING, *, packs: bool = False) -> None:
        self._timing = timing
        self.budget = RecordBudget()
        self._statements = Statements(database)
        self._taken = TakenMemory()
        judge = Judge(self._statements, self.budget, timing)
        self._matching = Matching(database)
        self._work = work = Keeping(self._statements, judge, self._matching, self._taken, self.budget, packs=packs)
        self._writer = Writer(database, self._statements.begin)
        self._conclusions: JobKind[Conclusion, None] = self._writer.add_kind(self._conclude_all)
        self._notes: JobKind[_Note, None] = self._writer.add_kind(self._insert_notes)
        self._keeps: JobKind[Keep, Kept] = self._writer.add_kind(work.keep)
        self._batches: JobKind[Batch, None] = self._writer.add_kind(work.keep_batches)
        self.on_concluded: Callable[[Concluded], None] = lambda concluded: None
        self.room_for_next: Callable[[], int] = lambda: 0
        self._failed_at = float("-inf")
        self._away: set[str] = set()
        self._has_taken = asyncio.Event()
        self._newest_first = True
        self._refused: WeakSet[_Note] = WeakSet()
        self._long_refused: WeakSet[_Note] = WeakSet()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write while the block runs. At its end, write what is still queued."""
        async with self._writer.running():
            writing = asyncio.create_task(self._write_taken())
            try:
                yield
            finally:
                writing.cancel()
                with suppress(TimeoutError):
                    async with asyncio.timeout(TAKEN_ENDS_WITHIN):
                        await self._write_all_taken()

    async def keep(self, delivery: Delivery, queued: Queued, *, lease: bool, later: float = 0.0) -> Kept:
        """Commit the delivery and queue it for Temporal, unless its content is kept already or comes too late.

        lease: whether the caller can send it at once. later: seconds until it may be sent.
        """
        async with self._keeping():
            return await self._keeps.do(Keep(delivery, queued, lease, later=later), within=self._timing.commit_timeout)

    async def keep_batch(self, batch: Batch) -> None:
        """Commit the events of a request and queue those whose stage is known; sets how each was kept."""
        async with self._keeping():
            await self._batches.do(batch, within=self._timing.commit_timeout)

    async def keep_unmatched(self, row: dict[str, Any]) -> None:
        """Commit a delivery that waits for its call. row: see `rows.unmatched_row`."""
        async with self._keeping():
            await self._writer.do(
                lambda cursor: self._statements.insert(cursor, [row]), within=self._timing.commit_timeout
            )

    async def find_calls(self, partner: str, references: Sequence[str], make_signal: MakeSignal) -> KnownCalls:
        """Look up the calls that have these references, and queue what has waited for them."""

        def work(cursor: DBAPICursor) -> tuple[KnownCalls, int]:
            now = time.time()
            known = self._matching.look_up(cursor, partner, references, now)
            return known, self._matching.match_of(
                cursor, partner, known.claims, make_signal, most=MATCHED_TOGETHER, at=now
            )

        while True:
            known, matched = await self._writer.do(work, within=self._timing.query_timeout)
            if matched < MATCHED_TOGETHER:
                return known

    async def match(self, make_signal: MakeSignal) -> int:
        """Queue unmatched deliveries whose call is known by now. Returns how many were matched."""

        def work(cursor: DBAPICursor) -> int:
            return self._matching.match(cursor, make_signal, most=MATCHED_TOGETHER, at=time.time())

        return await self._writer.do(work, within=None)

    @asynccontextmanager
    async def _keeping(self) -> AsyncIterator[None]:
        """Note whether deliveries can be kept."""
        try:
            yield
        except StoreAway as away:
            self._failed_at = time.monotonic()
            self._note_away("keep", away)
            raise
        self._note_back("keep", "claim")

    async def promise(self, first: First) -> str:
        """Record that repeats of a content are answered 2xx. From then on its first request cannot be refused.

        first: the delivery that brought the content. Returns "" if a repeat may be answered 2xx, or the verdict that
        the first request has already been told.
        """

        def work(cursor: DBAPICursor) -> First | None:
            return self._statements.promise(cursor, first.id)

        found = await self._writer.do(work, within=self._timing.commit_timeout)
        if found is None:
            raise StoreAway("the content was refused a moment ago, and its record is deleted")
        return found.verdict if found.told else ""

    async def tell(self, refusal: Conclusion) -> bool:
        """Record that a delivery's run no longer takes it. Returns whether its partner may be told so.

        False if another request with this content was promised a 2xx: then this request is answered 2xx too.
        """

        def work(cursor: DBAPICursor) -> bool:
            self._conclude(cursor, [refusal])
            found = self._statements.first(cursor, refusal.id)
            return found is None or found.told

        return await self._writer.do(work, within=self._timing.commit_timeout)

    def may_note(self, verdict: str, partner: str, at_least: int) -> bool:
        """Whether a refused request of at least `at_least` bytes may be recorded. False is counted as unrecorded."""
        return self.budget.may_allow(verdict, partner, at_least)

    def note(self, delivery: Delivery) -> None:
        """Record a refused request, if the budget allows and not too many are waiting to be recorded."""
        row = to_row(delivery) | {"callback": UNREAD_CALLBACK if is_unread(delivery) else None}
        if not self.budget.allows(delivery.verdict, delivery.partner, stored_size(row)):
            return
        long = delivery.body is not None and len(delivery.body) > MAX_REFUSED_BODY_BYTES
        notes, most = (self._long_refused, MOST_LONG_REFUSED) if long else (self._refused, MOST_REFUSED)
        if len(notes) < most:
            notes.add(note := _Note(row))
            self._notes.put(note)

    def record_taken(self, delivery: Delivery, queued: Queued) -> None:
        """Remember a delivery that Temporal took while the store was away, until the store has it."""
        self._taken.add(delivery, queued)
        self._has_taken.set()

    def has_taken(self, queued: Queued) -> bool:
        """Whether Temporal took this content while the store was away, as far as this process knows."""
        return self._taken.has(queued)

    def conclude(self, conclusion: Conclusion, *, soon: bool = False) -> None:
        """Record the result of a try. If the record is lost, the delivery is sent again; Temporal drops the repeat.

        soon: not only together with what is to be written next.
        """
        self._conclusions.put(conclusion, soon=soon)

    async def flush(self) -> None:
        """Wait until what was concluded is committed, and `on_concluded` was called for it."""
        await self._writer.do(lambda cursor: None, within=None)

    def note_answer(self, id_: str, status: int) -> None:
        """Record the HTTP status of a delivery's answer, where it differs from the verdict's status."""
        self._writer.put(lambda cursor: self._statements.answer(cursor, id_, status))

    async def claim(self, most: int) -> list[Queued]:
        """Lease at most `most` due deliveries, of each stage only the oldest in the queue.

        Every other claim begins with what fell due last. Example: an outage has left a queue that takes an hour. A
        callback that arrives now settles its stage within seconds, and the queue is sent with half of the places.

        Example: stage 1 has A (due) and B (due, newer); stage 2 has C (not due) and D (due, newer). Only A is leased:
        B waits for A, and D waits for C.
        """
        self._newest_first = not self._newest_first
        newest = self._newest_first

        def work(cursor: DBAPICursor) -> list[Queued]:
            now = time.time()
            return self._statements.claim(cursor, most=most, at=now, until=now + self._timing.lease, newest=newest)

        try:
            # No time limit: a lease committed after we gave up would leave its deliveries unsent until it expires.
            claimed = await self._writer.do(work, within=None)
        except StoreAway as away:
            self._note_away("claim", away)
            raise
        self._note_back("claim")
        return claimed

    async def depth(self) -> Depth:
        """The length of the queue, as far as it is counted; see `Depth`."""
        return await self._writer.do(self._statements.depth, within=self._timing.query_timeout)

    async def check(self) -> None:
        """Raise `StoreAway` if deliveries cannot be kept, as far as can be found out without keeping one."""
        await self._writer.do(self._statements.check, within=self._timing.query_timeout)
        if time.monotonic() - self._failed_at < FAILURE_MEMORY:
            raise StoreAway("a delivery could not be kept a moment ago")

    async def prune(self, before: float, most: int, *, refused: bool = False) -> Pruned:
        """Delete at most `most` deliveries received before this moment, except pending and parked ones.

        before: unix seconds. refused: delete only refused requests.
        """

        def work(cursor: DBAPICursor) -> Pruned:
            return self._statements.prune(cursor, before, most, refused=refused)

        return await self._writer.do(work, within=None)

    async def prune_calls(self, before: float, most: int) -> Pruned:
        """Delete at most `most` calls whose callback URLs expired before this moment, in unix seconds."""

        def work(cursor: DBAPICursor) -> Pruned:
            return self._statements.prune_calls(cursor, before, most)

        return await self._writer.do(work, within=None)

    async def _write_taken(self) -> None:
        """Write the deliveries that Temporal took while the store was away, whenever there are some."""
        while await self._has_taken.wait():
            self._has_taken.clear()
            await self._write_all_taken()

    async def _write_all_taken(self) -> None:
        """Write these deliveries, `TAKEN_TOGETHER` at a time. Waits for the store as long as it is away."""
        while rows := self._taken.oldest(TAKEN_TOGETHER):
            try:
                await self._write_rows(rows)
            except StoreAway:
                await asyncio.sleep(self._timing.taken_pause)
            else:
                self._taken.remove(rows)

    async def _write_rows(self, rows: Sequence[dict[str, Any]]) -> None:
        await self._writer.do(lambda cursor: self._work.insert_taken(cursor, rows), within=None)

    def _note_away(self, what: str, away: StoreAway) -> None:
        """Log the outage once: during a long outage there are many failures."""
        if not self._away:
            logger.warning("store-away", extra={"why": str(away)})
        self._away.add(what)

    def _note_back(self, *what: str) -> None:
        if self._away and not self._away.difference(what):
            logger.warning("store-back")
        self._away.difference_update(what)

    # --- in the writer's thread

    def _conclude_all(self, cursor: DBAPICursor, conclusions: Sequence[Conclusion]) -> dict[Conclusion, None]:
        stages, now = self._conclude(cursor, conclusions), time.time()
        next_: list[Queued] = []
        if stages and (room := self.room_for_next()) > 0:
            among = sorted(stages)[:room]
            next_ = self._statements.claim_next(cursor, among, at=now, until=now + self._timing.lease)
        concluded = Concluded(len(next_) < len(stages), next_, self._describe_late(cursor, conclusions))
        if concluded.has_next or concluded.next or concluded.call_times:
            self._writer.tell_once_committed(self.on_concluded, concluded)
        return dict.fromkeys(conclusions)

    def _describe_late(self, cursor: DBAPICursor, conclusions: Sequence[Conclusion]) -> list[tuple[str, float]]:
        """Look up calls that were not known when their deliveries were kept. Returns the times that they took.

        Example: a callback overtakes the record of its call, which the worker writes behind the call.
        """
        calls = {one: one.call.idempotency_key for one in conclusions if one.call}
        found = self._matching.find_origins(cursor, set(calls.values())) if calls else {}
        known = [(one, found[id_]) for one, id_ in calls.items() if id_ in found]
        if known:
            self._statements.describe(
                cursor, [{"id": one.id, "pipeline": of.pipeline, "definition": of.definition} for one, of in known]
            )
        return [(one.call.partner, one.settled_at - of.called_at) for one, of in known if one.call and one.settled_at]

    def _insert_notes(self, cursor: DBAPICursor, notes: Sequence[_Note]) -> dict[_Note, None]:
        self._work.insert_refused(cursor, [note.row for note in notes])
        return dict.fromkeys(notes)

    def _conclude(self, cursor: DBAPICursor, conclusions: Sequence[Conclusion]) -> set[tuple[str, int]]:
        """Record results. A delivery that ends as refused counts against the record budget, or is deleted.

        Returns the stages with further queued deliveries.
        """
        if refused := {one.id: one.verdict for one in conclusions if one.told}:
            sizes = self._statements.sizes(cursor, list(refused))
            if over := [id_ for id_, of in sizes.items() if not self.budget.allows(refused[id_], *of)]:
                self._statements.drop(cursor, sorted(over))
        return self._statements.conclude(cursor, conclusions, time.time())
