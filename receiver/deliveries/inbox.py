"""Inbox: the receiver's hot path into the store: what is kept, how, and who may send it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final
from weakref import WeakSet

from sqlalchemy.engine.interfaces import DBAPICursor

from receiver.deliveries.database import Database, StoreAway
from receiver.deliveries.delivery import Delivery, Fate
from receiver.deliveries.limits import LARGEST_KEPT, RecordBudget, kept_size
from receiver.deliveries.schema import UNREAD, is_unread, to_row
from receiver.deliveries.statements import Conclusion, Depth, First, Queued, Statements
from receiver.deliveries.writer import Job, Writer

logger = logging.getLogger("stagehook.inbox")

WITHIN: Final = 0.7
"""Seconds that a partner's request waits for its commit, before Temporal is asked directly."""

LEASE: Final = 10.0
"""Seconds for which a delivery that is being sent is nobody else's. One try takes 2.2 s at most."""

DEPTH_WITHIN: Final = 0.7
REMEMBERED: Final = 5.0
"""Seconds for which the store is not called ready after a delivery could not be kept."""

SETTLING: Final = {"succeeded", "failed"}
SENT_AGAIN: Final = {Fate.TAKEN, Fate.REFUSED}
"""What is sent once more when its content comes again, for the run may have been reset behind it. Temporal knows by its
request id what it has taken."""

RESTS: Final = 1.0
"""Seconds between two such times: a partner that repeats itself without a pause costs a signal a second."""

MOST_NOTES: Final = 20
MOST_REFUSED: Final = 200
"""Deliveries that are remembered to be recorded, while the store does not keep them: those that Temporal has taken, and
refused ones, of which no long bodies are kept."""


class How(Enum):
    """How a delivery was kept.

    LEASED: new, and to be sent by whoever kept it. QUEUED: new, to be claimed later. AGAIN: its content is kept
    already, and waits for its fate. KNOWN: the same, and has its fate. CONFLICT: the stage is known to have succeeded
    with another content.
    """

    LEASED = "leased"
    QUEUED = "queued"
    AGAIN = "again"
    KNOWN = "known"
    CONFLICT = "conflict"


@dataclass
class _Keep:
    delivery: Delivery
    queued: Queued
    lease: bool


@dataclass(eq=False)
class _Note:
    """A delivery that is recorded and not queued; request_id and callback of one that Temporal has taken."""

    delivery: Delivery
    request_id: str | None = None
    callback: str | None = None


class Inbox:
    """The store, as the receiver uses it.

    Every coroutine raises `StoreAway`; nobody waits for `note` and `conclude`. The writer's jobs are `_Keep`, `_Note`,
    `Conclusion`, or a function of the cursor.
    """

    def __init__(self, database: Database) -> None:
        self._statements = Statements(database)
        self._writer = Writer(database, self._statements.begin, self._work)
        self._budget = RecordBudget()
        self._failed_at = float("-inf")
        self._away: set[str] = set()
        self._notes: WeakSet[_Note] = WeakSet()
        self._refused: WeakSet[_Note] = WeakSet()

    def running(self) -> AbstractAsyncContextManager[None]:
        """Write for as long as the block lasts; at its end, write what is queued."""
        return self._writer.running()

    async def keep(self, delivery: Delivery, queued: Queued, *, lease: bool) -> How:
        """Commit the delivery and queue it for Temporal, unless its content is kept already or comes too late.

        lease: whether the caller would send it at once.
        """
        try:
            how: How = await self._writer.do(_Keep(delivery, queued, lease), within=WITHIN)
        except StoreAway as away:
            self._failed_at = time.monotonic()
            self._note_away("keep", away)
            raise
        self._note_back("keep", "claim")
        return how

    async def promise(self, request_id: str) -> str:
        """Make sure that a content which is kept may be answered 2xx once more, whatever its first request is told.

        Returns "", or the verdict that the first request with it has been told instead.
        """

        def work(cursor: DBAPICursor) -> First | None:
            return self._statements.promise(cursor, request_id)

        first: First | None = await self._writer.do(work, within=WITHIN)
        if first is None:
            raise StoreAway("the content was refused a moment ago, and is recorded no more")
        return first.verdict if first.told else ""

    def note(self, delivery: Delivery) -> None:
        """Record a delivery that is not forwarded, if not too many wait for that already."""
        long = delivery.body is not None and len(delivery.body) > LARGEST_KEPT
        notes, most = (self._notes, MOST_NOTES) if long else (self._refused, MOST_REFUSED)
        if len(notes) < most:
            notes.add(note := _Note(delivery, callback=UNREAD if is_unread(delivery) else None))
            self._writer.put(note)

    def note_taken(self, delivery: Delivery, queued: Queued) -> None:
        """Record a delivery that Temporal has taken while it could not be kept, or that it was kept after all.

        While the store hangs a few are remembered, and the others are recorded nowhere: bodies must not pile up here.
        """
        if len(self._notes) < MOST_NOTES:
            taken = replace(delivery, fate=Fate.TAKEN, fate_at=time.time())
            self._notes.add(note := _Note(taken, queued.request_id, queued.callback))
            self._writer.put(note)
        self.conclude(Conclusion(delivery.id, Fate.TAKEN))

    def conclude(self, conclusion: Conclusion) -> None:
        """Record what became of a try. Should that be lost, the delivery falls due again, and Temporal knows it."""
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
        depth: Depth = await self._writer.do(self._statements.depth, within=DEPTH_WITHIN)
        return depth

    async def check(self) -> None:
        """Raise `StoreAway` unless deliveries can be kept, as far as is known without keeping one."""
        await self._writer.do(self._statements.check, within=DEPTH_WITHIN)
        if time.monotonic() - self._failed_at < REMEMBERED:
            raise StoreAway("a delivery could not be kept a moment ago")

    async def prune(self, before: float) -> int:
        """Delete some deliveries received before that moment, none that is pending or parked; how many."""
        deleted: int = await self._writer.do(lambda cursor: self._statements.prune(cursor, before), within=None)
        return deleted

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
        works = [(job, job.work) for job in jobs]  # once: those who give up take theirs away meanwhile
        if conclusions := [work for _, work in works if isinstance(work, Conclusion)]:
            self._conclude(cursor, conclusions)
        # Before those that are judged: what Temporal has taken is known to them.
        if notes := [work for _, work in works if isinstance(work, _Note)]:
            self._statements.insert(cursor, [_noted(note) for note in notes])
        keeps = [(job, work) for job, work in works if isinstance(work, _Keep)]
        rows = list(self._judge(cursor, keeps)) if keeps else []
        inserted = self._statements.insert(cursor, rows) if rows else set()
        for job, work in works:
            if callable(work):
                job.outcome = work(cursor)
        queued = {row["id"] for row in rows if "request_id" in row}
        return [job for job, keep in keeps if keep.delivery.id in queued - inserted]

    def _conclude(self, cursor: DBAPICursor, conclusions: Sequence[Conclusion]) -> None:
        """Record them; what was refused after all is a refusal like any other, and recorded within the cap."""
        refused = [one for one in conclusions if one.told]
        if over := {one.id for one in refused if not self._budget.allows(one.verdict, one.partner, one.size)}:
            self._statements.drop(cursor, sorted(over))
        self._statements.conclude(cursor, conclusions, time.time())

    def _judge(self, cursor: DBAPICursor, keeps: Sequence[tuple[Job, _Keep]]) -> Iterator[dict[str, Any]]:
        """Decide how each is kept, by what is kept already and by those before it; give the rows to insert."""
        now = time.time()
        known = self._statements.look(cursor, [keep.queued for _, keep in keeps])
        for job, keep in keeps:
            row: dict[str, Any] = {}
            claims, request_id = keep.queued.claims, keep.queued.request_id
            stage = (claims.chain_id, claims.stage)
            first = known.firsts.get(request_id)
            if first and first.id == keep.delivery.id:
                # Its commit was not heard of, and happened all the same: as it was judged then.
                job.outcome = job.outcome or How.QUEUED
                continue
            if first and first.told:
                self._statements.give_up(cursor, first.id)
                first = None
            successes = known.succeeded.get(stage, []) if keep.delivery.says in SETTLING else []
            successes = [success for success in successes if claims.issued_at <= success[0]]
            first = first or next((by for _, body, by in successes if body == keep.delivery.body_digest), None)
            if first:
                job.outcome = How.AGAIN if first.fate is Fate.PENDING else How.KNOWN
                row |= {"verdict": "duplicate", "duplicate_of": first.id}
                if first.status < 300:
                    row["status"] = first.status
                if first.fate in SENT_AGAIN and first.rests is not None and first.rests < now - RESTS:
                    self._statements.requeue(cursor, [first.id], now)
                    known.pending.add(stage)
            elif successes:
                job.outcome = How.CONFLICT
                row |= {"verdict": "conflict", "status": 409}
            else:
                leased = keep.lease and stage not in known.pending
                job.outcome = How.LEASED if leased else How.QUEUED
                row |= {"fate": Fate.PENDING.value, "request_id": request_id, "callback": keep.queued.callback}
                row["due_at"] = now + LEASE if leased else now
                known.pending.add(stage)
                known.firsts[request_id] = First(keep.delivery.id, keep.delivery.status, "accepted", Fate.PENDING)
                yield to_row(keep.delivery) | row
                continue
            size = kept_size(keep.delivery.headers, keep.delivery.target, keep.delivery.body_size)
            if self._budget.allows(row["verdict"], keep.delivery.partner, size):
                row = to_row(keep.delivery) | row
                yield row if len(row["body"] or b"") <= LARGEST_KEPT else {**row, "body": None}


def _noted(note: _Note) -> dict[str, Any]:
    return {**to_row(note.delivery), "request_id": note.request_id, "callback": note.callback}
