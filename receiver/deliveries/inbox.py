"""Inbox: the receiver's hot path into the store.

One thread writes on one connection of the driver. What has queued while a commit ran is committed together: under load
one wait for the disk is shared by all who wait, and alone nobody waits for company.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final, TypeAlias

from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor

from receiver.deliveries.database import Database, StoreAway
from receiver.deliveries.delivery import Delivery, Fate
from receiver.deliveries.limits import LARGEST_BODY, RecordBudget, kept_size
from receiver.deliveries.schema import to_row
from receiver.deliveries.statements import Conclusion, Depth, First, Queued, Statements

logger = logging.getLogger("stagehook.inbox")

WITHIN: Final = 0.7
"""Seconds that a partner's request waits for its commit, before Temporal is asked directly."""

LEASE: Final = 10.0
"""Seconds for which a delivery that is being sent is nobody else's. One try takes 2.2 s at most."""

ENDS_WITHIN: Final = 2.0
"""Seconds for what is queued when the receiver stops."""

DEPTH_WITHIN: Final = 0.7
REMEMBERED: Final = 5.0
"""Seconds for which the store is not called ready after a delivery could not be kept."""

SETTLING: Final = {"succeeded", "failed"}

MOST_TOGETHER: Final = 500
MOST_WAITING: Final = 2_000
"""Jobs that may wait for the thread; more would only be answered too late."""


class How(Enum):
    """How a delivery was kept.

    LEASED: new, and to be sent by whoever kept it. QUEUED: new, to be claimed later. AGAIN: its content is kept
    already. CONFLICT: the stage is known to have succeeded with another content.
    """

    LEASED = "leased"
    QUEUED = "queued"
    AGAIN = "again"
    CONFLICT = "conflict"


@dataclass(frozen=True)
class Kept:
    """What became of a delivery in the store. first: of one that came again, the delivery that had its request id."""

    how: How
    first: First | None = None


@dataclass
class _Keep:
    delivery: Delivery
    queued: Queued
    lease: bool


@dataclass
class _Note:
    """A delivery that is recorded and not queued; request_id and callback of one that Temporal has taken."""

    delivery: Delivery
    request_id: str | None = None
    callback: str | None = None


Work: TypeAlias = _Keep | _Note | Conclusion | Callable[[DBAPICursor], Any]


@dataclass(eq=False)
class _Job:
    """Something for the thread to do. result: None if nobody waits for it."""

    work: Work
    result: asyncio.Future[Any] | None = None
    abandoned: bool = False
    outcome: Any = field(default=None, init=False)


class Inbox:
    """The store, as the receiver uses it.

    Every coroutine raises `StoreAway`; nobody waits for `note` and `conclude`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._statements = Statements(database)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._connection: DBAPIConnection | None = None
        self._budget = RecordBudget()
        self._failed_at = float("-inf")
        self._is_away = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write for as long as the block lasts; at its end, write what is queued."""
        self._loop = asyncio.get_running_loop()
        # A daemon: a store that hangs must not keep the process from ending.
        thread = threading.Thread(target=self._run, name="inbox", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._jobs.put(None)
            await asyncio.to_thread(thread.join, ENDS_WITHIN)
            self._loop = None

    async def keep(self, delivery: Delivery, queued: Queued, *, lease: bool) -> Kept:
        """Commit the delivery and queue it for Temporal, unless its content is kept already or comes too late.

        lease: whether the caller would send it at once.
        """
        try:
            kept: Kept = await self._do(_Keep(delivery, queued, lease), WITHIN)
        except StoreAway:
            self._failed_at = time.monotonic()
            raise
        return kept

    def note(self, delivery: Delivery) -> None:
        """Record a delivery that is not forwarded."""
        self._put(_Job(_Note(delivery)))

    def note_taken(self, delivery: Delivery, queued: Queued) -> None:
        """Record a delivery that Temporal has taken while it could not be kept, unless it was kept after all."""
        taken = replace(delivery, fate=Fate.TAKEN, fate_at=time.time())
        self._put(_Job(_Note(taken, queued.request_id, queued.callback)))

    def conclude(self, conclusion: Conclusion) -> None:
        """Record what became of a try. Should that be lost, the delivery falls due again, and Temporal knows it."""
        self._put(_Job(conclusion))

    def note_answer(self, id_: str, status: int) -> None:
        """Record the status that a delivery was answered with, where it is not its verdict's."""
        self._put(_Job(lambda cursor: self._statements.answer(cursor, id_, status)))

    def note_origin(self, id_: str, pipeline: str, definition: str) -> None:
        """Record the pipeline that a delivery is for."""
        self._put(_Job(lambda cursor: self._statements.describe(cursor, id_, pipeline, definition)))

    async def claim(self, most: int) -> list[Queued]:
        """Lease deliveries that are due; of a stage only the oldest that is queued."""

        def work(cursor: DBAPICursor) -> list[Queued]:
            now = time.time()
            return self._statements.claim(cursor, most=most, at=now, until=now + LEASE)

        # However long it takes: what was leased is to be sent, not to be left until the lease is over.
        claimed: list[Queued] = await self._do(work, None)
        return claimed

    async def depth(self) -> Depth:
        """How long the queue is."""
        depth: Depth = await self._do(self._statements.depth, DEPTH_WITHIN)
        return depth

    async def check(self) -> None:
        """Raise `StoreAway` unless deliveries can be kept, as far as is known without keeping one."""
        await self.depth()
        if time.monotonic() - self._failed_at < REMEMBERED:
            raise StoreAway("a delivery could not be kept a moment ago")

    async def prune(self, before: float) -> int:
        """Delete some deliveries received before that moment, none that is pending or parked; how many."""
        deleted: int = await self._do(lambda cursor: self._statements.prune(cursor, before), None)
        return deleted

    # --- from the event loop to the thread

    async def _do(self, work: Work, within: float | None) -> Any:
        if self._loop is None:
            raise StoreAway("the inbox is not running")
        result: asyncio.Future[Any] = self._loop.create_future()
        job = _Job(work, result)
        self._put(job)
        try:
            async with asyncio.timeout(within):
                outcome = await result
        except TimeoutError as error:
            self._note_away(why := f"no commit within {within:g} s")
            raise StoreAway(why) from error
        except StoreAway as away:
            self._note_away(str(away))
            raise
        finally:
            # While the store hangs, bodies that nobody waits for any more must not pile up before the thread.
            job.abandoned = True
            job.work = _nothing
        if self._is_away:
            self._is_away = False
            logger.warning("store-back")
        return outcome

    def _note_away(self, why: str) -> None:
        """Tell the log, once an outage: many ask meanwhile, and for long."""
        if not self._is_away:
            self._is_away = True
            logger.warning("store-away", extra={"why": why})

    def _put(self, job: _Job) -> None:
        if self._jobs.qsize() < MOST_WAITING:
            self._jobs.put(job)
        elif job.result is not None:
            job.result.set_exception(StoreAway("too many deliveries wait for the store"))

    # --- in the thread

    def _run(self) -> None:
        stopping = False
        while not stopping:
            jobs = [self._jobs.get()]
            with contextlib.suppress(queue.Empty):
                while len(jobs) < MOST_TOGETHER:
                    jobs.append(self._jobs.get_nowait())
            stopping = None in jobs
            try:
                self._commit([job for job in jobs if job is not None])
            except Exception:
                # The thread is all there is; those who wait for these jobs give up by themselves.
                logger.exception("inbox-failed")
        self._disconnect()

    def _commit(self, jobs: Sequence[_Job], *, alone: bool = False) -> None:
        """Do the jobs in one transaction; should that fail, each in its own, so that none spoils the others'.

        alone: this is that second time, on a new connection.
        """
        jobs = [job for job in jobs if not job.abandoned]
        if not jobs:
            return
        try:
            again = self._transact(jobs)
        except Exception as error:
            self._disconnect()
            away = error if isinstance(error, StoreAway) else StoreAway(f"{type(error).__name__}: {error}")
            if alone or not self._is_there():
                self._hand_over(jobs, away)
                return
            for job in jobs:
                self._commit([job], alone=True)
        else:
            self._hand_over([job for job in jobs if job not in again])
            self._commit(again)

    def _transact(self, jobs: Sequence[_Job]) -> list[_Job]:
        """Returns the jobs that another process was faster with: done again, they see what it has committed."""
        if self._connection is None:
            self._connection = self._database.connect()
        with self._database.reaching():
            cursor = self._connection.cursor()
            try:
                self._statements.begin(cursor)
                again = self._work(cursor, jobs)
                self._connection.commit()
            finally:
                cursor.close()
        return again

    def _work(self, cursor: DBAPICursor, jobs: Sequence[_Job]) -> list[_Job]:
        if conclusions := [job.work for job in jobs if isinstance(job.work, Conclusion)]:
            self._statements.conclude(cursor, conclusions, time.time())
        # Before those that are judged: what Temporal has taken is known to them.
        if notes := [job.work for job in jobs if isinstance(job.work, _Note)]:
            self._statements.insert(cursor, [_noted(note) for note in notes])
        keeps = [(job, job.work) for job in jobs if isinstance(job.work, _Keep)]
        rows = list(self._judge(cursor, keeps)) if keeps else []
        inserted = self._statements.insert(cursor, rows) if rows else set()
        for job in jobs:
            if callable(job.work):
                job.outcome = job.work(cursor)
        wanted = {row["id"] for row in rows}
        return [job for job, keep in keeps if keep.delivery.id in wanted - inserted]

    def _judge(self, cursor: DBAPICursor, keeps: Sequence[tuple[_Job, _Keep]]) -> Iterator[dict[str, Any]]:
        """Decide how each is kept, by what is kept already and by those before it; give the rows to insert."""
        now = time.time()
        known = self._statements.look(cursor, [keep.queued for _, keep in keeps])
        for job, keep in keeps:
            row, claims, request_id = to_row(keep.delivery), keep.queued.claims, keep.queued.request_id
            stage = (claims.chain_id, claims.stage)
            first = known.firsts.get(request_id)
            if first and first.id == keep.delivery.id:
                # Its commit was not heard of, and happened all the same.
                job.outcome = Kept(How.QUEUED)
                continue
            successes = known.succeeded.get(stage, []) if keep.delivery.says in SETTLING else []
            successes = [success for success in successes if claims.issued_at <= success[0]]
            same = first or next((by for _, body, by in successes if body == keep.delivery.body_digest), None)
            if same:
                job.outcome = Kept(How.AGAIN, first)
                row |= {"verdict": "duplicate", "duplicate_of": same.id, "status": same.status}
            elif successes:
                job.outcome = Kept(How.CONFLICT)
                row |= {"verdict": "conflict", "status": 409}
            else:
                leased = keep.lease and stage not in known.pending
                job.outcome = Kept(How.LEASED if leased else How.QUEUED)
                row |= {"fate": Fate.PENDING.value, "request_id": request_id, "callback": keep.queued.callback}
                row["due_at"] = now + LEASE if leased else now
                known.pending.add(stage)
                known.firsts[request_id] = First(keep.delivery.id, keep.delivery.status, Fate.PENDING)
                yield row
                continue
            size = kept_size(keep.delivery.headers, keep.delivery.target, keep.delivery.body_size)
            if self._budget.allows(row["verdict"], keep.delivery.partner, size):
                yield row if len(row["body"] or b"") <= LARGEST_BODY else {**row, "body": None}

    def _is_there(self) -> bool:
        try:
            self._connection = self._database.connect()
        except StoreAway:
            return False
        return True

    def _disconnect(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(self._database.driver_error):
                self._connection.close()
        self._connection = None

    def _hand_over(self, jobs: Sequence[_Job], error: StoreAway | None = None) -> None:
        waited_for = [job for job in jobs if job.result is not None]
        if waited_for and (loop := self._loop) is not None:
            # A loop that has closed has nobody left who waits.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_resolve, waited_for, error)


def _noted(note: _Note) -> dict[str, Any]:
    return {**to_row(note.delivery), "request_id": note.request_id, "callback": note.callback}


def _nothing(cursor: DBAPICursor) -> None:
    """What is left to do for those who have given up."""


def _resolve(jobs: Sequence[_Job], error: StoreAway | None) -> None:
    for job in jobs:
        if job.result is None or job.result.done():
            continue
        if error is None:
            job.result.set_result(job.outcome)
        else:
            job.result.set_exception(error)
