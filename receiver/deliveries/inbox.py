"""Inbox: the receiver's hot path into the store: what is kept, and who may send it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakSet

from sqlalchemy.engine.interfaces import DBAPICursor

from receiver.budget import RecordBudget
from receiver.deliveries.database import Database, StoreAway
from receiver.deliveries.delivery import MAX_REFUSED_BODY_BYTES, Delivery, Fate
from receiver.deliveries.judging import LEASE, Judge, Keep, Kept
from receiver.deliveries.memory import REASON, TakenMemory
from receiver.deliveries.schema import UNREAD, is_unread, stored_size, to_row
from receiver.deliveries.statements import Conclusion, Depth, First, Queued, Statements
from receiver.deliveries.writer import Job, Writer

logger = logging.getLogger("stagehook.inbox")

COMMIT_TIMEOUT: Final = 0.7
"""Seconds that a partner's request waits for its commit, before Temporal is asked directly."""

QUERY_TIMEOUT: Final = 0.7
FAILURE_MEMORY: Final = 5.0
"""Seconds for which the store is not called ready after a delivery could not be kept."""

TAKEN_TOGETHER: Final = 200
TAKEN_PAUSE: Final = 0.5
"""Seconds between two attempts to write what Temporal has taken while the store is away."""

MOST_REFUSED: Final = 200
MOST_LONG_REFUSED: Final = 20
"""Refused requests that are remembered to be recorded, while the store does not keep them: at most so many, and so many
whose bodies are kept whole because their partner's file had an error."""


@dataclass(eq=False)
class _Note:
    """A refused request, to be recorded and not queued."""

    row: dict[str, Any]


class Inbox:
    """The store, as the receiver uses it.

    Every coroutine raises `StoreAway`; `note` and `conclude` do not wait. The writer's jobs are `Keep`, `_Note`,
    `Conclusion`, or a function of the cursor.
    """

    def __init__(self, database: Database) -> None:
        self.budget = RecordBudget()
        self._statements = Statements(database)
        self._judge = Judge(self._statements, self.budget)
        self._writer = Writer(database, self._statements.begin, self._work)
        self._failed_at = float("-inf")
        self._away: set[str] = set()
        self._taken = TakenMemory()
        self._has_taken = asyncio.Event()
        self._refused: WeakSet[_Note] = WeakSet()
        self._long_refused: WeakSet[_Note] = WeakSet()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write for as long as the block lasts; at its end, write what is queued."""
        async with self._writer.running():
            writing = asyncio.create_task(self._write_taken())
            try:
                yield
            finally:
                writing.cancel()
                if rows := self._taken.oldest(TAKEN_TOGETHER):
                    self._writer.put(lambda cursor: self._insert_taken(cursor, rows))

    async def keep(self, delivery: Delivery, queued: Queued, *, lease: bool) -> Kept:
        """Commit the delivery and queue it for Temporal, unless its content is kept already or comes too late.

        lease: whether the caller would send it at once.
        """
        try:
            kept: Kept = await self._writer.do(Keep(delivery, queued, lease), within=COMMIT_TIMEOUT)
        except StoreAway as away:
            self._failed_at = time.monotonic()
            self._note_away("keep", away)
            raise
        self._note_back("keep", "claim")
        return kept

    async def promise(self, first: First) -> str:
        """Make sure that a content which is kept may be answered 2xx again, whatever its first request is told.

        first: the delivery that brought it. Returns "", or the verdict that its request has been told instead.
        """

        def work(cursor: DBAPICursor) -> First | None:
            return self._statements.promise(cursor, first.id)

        found: First | None = await self._writer.do(work, within=COMMIT_TIMEOUT)
        if found is None:
            raise StoreAway("the content was refused a moment ago, and its record is deleted")
        return found.verdict if found.told else ""

    async def tell(self, refusal: Conclusion) -> bool:
        """Record that a delivery's run takes it no more, and whether its partner may be told so.

        False if its content has been promised to another request: then it is answered 2xx here too.
        """

        def work(cursor: DBAPICursor) -> bool:
            self._conclude(cursor, [refusal])
            found = self._statements.first(cursor, refusal.id)
            return found is None or found.told

        told: bool = await self._writer.do(work, within=COMMIT_TIMEOUT)
        return told

    def may_note(self, verdict: str, partner: str, at_least: int) -> bool:
        """Whether a refused request of at least so many bytes may be recorded; False is counted."""
        return self.budget.may_allow(verdict, partner, at_least)

    def note(self, delivery: Delivery) -> None:
        """Record a refused request within the budget, if not too many wait for that already."""
        row = to_row(delivery) | {"callback": UNREAD if is_unread(delivery) else None}
        if not self.budget.allows(delivery.verdict, delivery.partner, stored_size(row)):
            return
        long = delivery.body is not None and len(delivery.body) > MAX_REFUSED_BODY_BYTES
        notes, most = (self._long_refused, MOST_LONG_REFUSED) if long else (self._refused, MOST_REFUSED)
        if len(notes) < most:
            notes.add(note := _Note(row))
            self._writer.put(note)

    def record_taken(self, delivery: Delivery, queued: Queued) -> None:
        """Remember a delivery that Temporal has taken while it could not be kept, until the store has it."""
        self._taken.add(delivery, queued)
        self._has_taken.set()

    def has_taken(self, queued: Queued) -> bool:
        """Whether Temporal has taken this content while the store was away, as far as this process knows."""
        return self._taken.has(queued)

    def conclude(self, conclusion: Conclusion) -> None:
        """Record what became of a try. If that is lost, the delivery falls due again, and Temporal knows it."""
        self._writer.put(conclusion)

    def note_answer(self, id_: str, status: int) -> None:
        """Record the status that a delivery was answered with, where it is not its verdict's."""
        self._writer.put(lambda cursor: self._statements.answer(cursor, id_, status))

    def note_origin(self, id_: str, pipeline: str, definition: str) -> None:
        """Record the pipeline that a delivery is for."""
        self._writer.put(lambda cursor: self._statements.describe(cursor, id_, pipeline, definition))

    async def claim(self, most: int) -> list[Queued]:
        """Lease deliveries that are due; of a stage only the oldest that is queued."""

        def work(cursor: DBAPICursor) -> list[Queued]:
            now = time.time()
            return self._statements.claim(cursor, most=most, at=now, until=now + LEASE)

        try:
            # However long it takes: what was leased is to be sent, not to be left until the lease is over.
            claimed: list[Queued] = await self._writer.do(work, within=None)
        except StoreAway as away:
            self._note_away("claim", away)
            raise
        self._note_back("claim")
        return claimed

    async def depth(self) -> Depth:
        """How long the queue is, as far as it is counted."""
        depth: Depth = await self._writer.do(self._statements.depth, within=QUERY_TIMEOUT)
        return depth

    async def check(self) -> None:
        """Raise `StoreAway` unless deliveries can be kept, as far as is known without keeping one."""
        await self._writer.do(self._statements.check, within=QUERY_TIMEOUT)
        if time.monotonic() - self._failed_at < FAILURE_MEMORY:
            raise StoreAway("a delivery could not be kept a moment ago")

    async def prune(self, before: float, *, refused: bool = False) -> int:
        """Delete some deliveries received before that moment, none that is pending or parked; how many.

        refused: only requests that were refused.
        """

        def work(cursor: DBAPICursor) -> int:
            return self._statements.prune(cursor, before, refused=refused)

        deleted: int = await self._writer.do(work, within=None)
        return deleted

    async def _write_taken(self) -> None:
        """Write what Temporal has taken while the store was away, a few deliveries at a time."""
        while await self._has_taken.wait():
            self._has_taken.clear()
            while rows := self._taken.oldest(TAKEN_TOGETHER):
                try:
                    await self._write_rows(rows)
                except StoreAway:
                    await asyncio.sleep(TAKEN_PAUSE)
                else:
                    self._taken.remove(rows)

    async def _write_rows(self, rows: Sequence[dict[str, Any]]) -> None:
        await self._writer.do(lambda cursor: self._insert_taken(cursor, rows), within=None)

    def _note_away(self, what: str, away: StoreAway) -> None:
        """Tell the log, once an outage: many ask meanwhile, and for long."""
        if not self._away:
            logger.warning("store-away", extra={"why": str(away)})
        self._away.add(what)

    def _note_back(self, *what: str) -> None:
        if self._away and not self._away.difference(what):
            logger.warning("store-back")
        self._away.difference_update(what)

    # --- in the writer's thread

    def _work(self, cursor: DBAPICursor, jobs: Sequence[Job]) -> list[Job]:
        works = [(job, job.work) for job in jobs]  # once: a request that gives up takes its work away meanwhile
        if conclusions := [work for _, work in works if isinstance(work, Conclusion)]:
            self._conclude(cursor, conclusions)
        if notes := [work for _, work in works if isinstance(work, _Note)]:
            self._statements.insert(cursor, [note.row for note in notes])
        keeps = [(job, work) for job, work in works if isinstance(work, Keep)]
        # First: what Temporal has taken of these stages is known to those who judge them.
        if taken := self._taken.of_stages({keep.stage for _, keep in keeps}):
            self._insert_taken(cursor, taken)
        again = self._keep(cursor, keeps) if keeps else []
        for job, work in works:
            if callable(work):
                job.outcome = work(cursor)
        return again

    def _keep(self, cursor: DBAPICursor, keeps: Sequence[tuple[Job, Keep]]) -> list[Job]:
        """Judge and insert; returns the jobs to be judged again, because another process was faster.

        Example: ten requests bring one content, and another process inserts it in between. The first of the ten is left
        out, and the other nine were judged by it: all ten are judged again, by the row that is there.
        """
        rows = list(self._judge.judge(cursor, keeps))
        new = [row for row in rows if "request_id" in row]
        lost = {row["id"] for row in new} - (self._statements.insert(cursor, new) if new else set())
        if rest := [row for row in rows if "request_id" not in row and row["duplicate_of"] not in lost]:
            self._statements.insert(cursor, rest)
        return [job for job, keep in keeps if lost & {keep.delivery.id, job.outcome.first_id}]

    def _insert_taken(self, cursor: DBAPICursor, rows: Sequence[dict[str, Any]]) -> None:
        """Insert what Temporal has taken; a delivery that was committed late is there already, and pending."""
        self._statements.insert(cursor, rows)
        taken = [Conclusion(row["id"], Fate.TAKEN, REASON) for row in rows]
        self._statements.conclude(cursor, taken, time.time())

    def _conclude(self, cursor: DBAPICursor, conclusions: Sequence[Conclusion]) -> None:
        """Record them; what was refused after all is a refusal like any other, and recorded within its budget."""
        if refused := {one.id: one.verdict for one in conclusions if one.told}:
            sizes = self._statements.sizes(cursor, list(refused))
            if over := [id_ for id_, of in sizes.items() if not self.budget.allows(refused[id_], *of)]:
                self._statements.drop(cursor, sorted(over))
        self._statements.conclude(cursor, conclusions, time.time())
