"""Writer: a thread that writes to the store, on a single connection of the driver.

All jobs that queued while a commit ran are committed together. Under load they share one wait for the disk; a job that
arrives alone is committed at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor

from activities.store.database import Database
from activities.store.errors import StoreAway, StoreMute

logger = logging.getLogger("stagehook.store")

WorkT = TypeVar("WorkT", bound=Hashable)
OutcomeT = TypeVar("OutcomeT")

ENDS_WITHIN: Final = 2.0
"""Seconds to write what is queued when the receiver stops."""

MAX_MUTE_PAUSE: Final = 30.0
"""Maximum seconds between two attempts while the server does not answer. Each attempt may leave a process on the server
that waits for a standby and that no client can end. Such processes must not use up the server's connections."""

GATHERED_SECONDS: Final = 0.02
"""How long a job for which no caller waits may wait for others. A delivery of the same stage, which has to wait for the
job, may be in another process's hands."""

MAX_JOBS_TOGETHER: Final = 500
MAX_QUEUED_JOBS: Final = 2_000
"""Jobs that may wait for the thread. Further ones would only be answered too late."""


@dataclass(eq=False)
class Job(Generic[WorkT, OutcomeT]):
    """A unit of work for the thread.

    kind: does the work. work: what to do; None once the caller has stopped waiting.
    result: resolved with the outcome, or None if no caller waits. soon: whether it is done without waiting for further
    jobs. outcome: set once the work is done.
    """

    kind: JobKind[WorkT, OutcomeT]
    work: WorkT | None
    result: asyncio.Future[OutcomeT] | None = None
    soon: bool = False
    outcome: OutcomeT = field(init=False)


class JobKind(Generic[WorkT, OutcomeT]):
    """A kind of work. In each transaction, all work of a kind is done together.

    run: does several pieces of work, and returns their outcomes by piece. A piece without an outcome is repeated in
    another transaction.
    """

    def __init__(self, writer: Writer, run: Callable[[DBAPICursor, Sequence[WorkT]], Mapping[WorkT, OutcomeT]]) -> None:
        self._writer = writer
        self._run = run

    async def do(self, work: WorkT, *, within: float | None) -> OutcomeT:
        """Do the work, and return its outcome once it is committed. Raises `StoreAway`. within: seconds, or None."""
        return await self._writer.do_job(Job(self, work), within=within)

    def put(self, work: WorkT, *, soon: bool = False) -> None:
        """Queue the work without waiting. Failures are not reported, and work is dropped if the queue is full.

        soon: as soon as if a caller waited.
        """
        self._writer.put_job(Job(self, work, soon=soon))

    def transact(self, cursor: DBAPICursor, jobs: Sequence[Job[WorkT, OutcomeT]]) -> list[Job[WorkT, OutcomeT]]:
        """Do the jobs of this kind in the thread's transaction. Returns the jobs to repeat."""
        # Read once: a request that gives up sets its job's work to None.
        works = [(job, work) for job in jobs if (work := job.work) is not None]
        outcomes = self._run(cursor, [work for _, work in works]) if works else {}
        for job, work in works:
            if work in outcomes:
                job.outcome = outcomes[work]
        return [job for job, work in works if work not in outcomes]


class Writer:
    """Does jobs in transactions. begin: begins a transaction."""

    def __init__(self, database: Database, begin: Callable[[DBAPICursor], None]) -> None:
        self._database = database
        self._begin = begin
        self._kinds: list[JobKind[Any, Any]] = []
        self._calls: JobKind[Callable[[DBAPICursor], Any], Any] = JobKind(self, _call_each)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._jobs: queue.SimpleQueue[Job[Any, Any] | None] = queue.SimpleQueue()
        self._connection: DBAPIConnection | None = None
        self._file: tuple[int, int] | None = None
        self._told: list[Callable[[], None]] = []
        self._pause = 0.0
        self._mute_until = float("-inf")

    def add_kind(
        self, run: Callable[[DBAPICursor, Sequence[WorkT]], Mapping[WorkT, OutcomeT]]
    ) -> JobKind[WorkT, OutcomeT]:
        """Add a kind of work. A transaction does the kinds in the order in which they were added, then all calls."""
        kind = JobKind(self, run)
        self._kinds.append(kind)
        return kind

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write while the block runs. At its end, write what is still queued."""
        self._loop = asyncio.get_running_loop()
        # A daemon: a store that hangs must not keep the process from ending.
        thread = threading.Thread(target=self._run, name="store", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._jobs.put(None)
            await asyncio.to_thread(thread.join, ENDS_WITHIN)
            self._loop = None

    # --- in the event loop

    async def do(self, call: Callable[[DBAPICursor], OutcomeT], *, within: float | None) -> OutcomeT:
        """Call a function of the cursor; see `Kind.do`."""
        outcome: OutcomeT = await self._calls.do(call, within=within)
        return outcome

    def put(self, call: Callable[[DBAPICursor], object]) -> None:
        """Queue a call of a function of the cursor; see `Kind.put`."""
        self._calls.put(call)

    async def do_job(self, job: Job[WorkT, OutcomeT], *, within: float | None) -> OutcomeT:
        """Queue a job, and wait for it; see `Kind.do`."""
        if self._loop is None:
            raise StoreAway("the store is not in use")
        result: asyncio.Future[OutcomeT] = self._loop.create_future()
        job.result, job.soon = result, True
        self.put_job(job)
        # `asyncio.timeout` would cost four times as much, for each callback.
        timer = None if within is None else self._loop.call_later(within, _give_up, result, within)
        try:
            return await result
        finally:
            if timer is not None:
                timer.cancel()
            # While the store hangs, bodies of requests that gave up must not pile up in the queue.
            job.work = None

    def put_job(self, job: Job[WorkT, OutcomeT]) -> None:
        """Queue a job without waiting; see `Kind.put`."""
        if self._jobs.qsize() < MAX_QUEUED_JOBS:
            self._jobs.put(job)
        elif job.result is not None:
            job.result.set_exception(StoreAway("too many deliveries wait for the store"))

    # --- in the thread

    def _run(self) -> None:
        while self._do_what_is_queued():
            pass
        self._disconnect()

    def _do_what_is_queued(self) -> bool:
        """Wait for jobs, and do them all. Returns whether the thread goes on. No job stays referenced afterwards."""
        jobs = self._next_jobs()
        todo = [job for job in jobs if job is not None]
        try:
            self._commit(todo)
        except Exception as error:
            # This is the only thread: it must live on, and the callers of these jobs must get an answer.
            logger.exception("store-failed")
            self._hand_over(todo, StoreAway(f"{type(error).__name__}: {error}"))
        return None not in jobs

    def _next_jobs(self) -> list[Job[Any, Any] | None]:
        """Wait for a job, and take all that are queued. None among them ends the thread.

        While none of them is to be done soon, further jobs are awaited for `GATHERED_SECONDS`. Example: the fate of a
        callback is then committed together with the next callback.
        """
        jobs = [self._jobs.get()]
        until = time.monotonic() + GATHERED_SECONDS
        with contextlib.suppress(queue.Empty):
            while len(jobs) < MAX_JOBS_TOGETHER:
                if jobs[-1] is None or jobs[-1].soon:
                    until = 0.0
                left = until and until - time.monotonic()
                jobs.append(self._jobs.get(timeout=left) if left > 0 else self._jobs.get_nowait())
        return jobs

    def _commit(self, jobs: Sequence[Job[Any, Any]], *, alone: bool = False) -> None:
        """Do the jobs in one transaction. If it fails, do each in its own, so that a bad job does not fail the others.

        Jobs without a waiting caller are retried together, by kind, and dropped if they fail again: they may all wait
        for the same lock. alone: this is the second attempt, on a new connection.

        Example: two `Keep` jobs and 50 conclusions fail together. Each `Keep` gets its own transaction, and the 50
        conclusions share a third.
        """
        jobs = [job for job in jobs if job.work is not None]  # the others' callers have stopped waiting
        if not jobs:
            return
        if time.monotonic() < self._mute_until:
            self._hand_over(jobs, StoreAway(f"the store {self._database} did not answer a moment ago"))
            return
        try:
            again = self._transact(jobs)
        except Exception as error:
            self._disconnect()
            away = error if isinstance(error, StoreAway) else StoreAway(f"{type(error).__name__}: {error}")
            if isinstance(away, StoreMute):
                self._rest()
            if alone or not self._is_there():
                self._hand_over(jobs, away)
                return
            for job in jobs:
                if job.result is not None:
                    self._commit([job], alone=True)
            unheard = [job for job in jobs if job.result is None]
            for kind in dict.fromkeys(job.kind for job in unheard):
                self._commit([job for job in unheard if job.kind is kind], alone=True)
        else:
            self._hand_over([job for job in jobs if job not in again])
            self._commit(again)

    def _transact(self, jobs: Sequence[Job[Any, Any]]) -> list[Job[Any, Any]]:
        """Do the jobs in one transaction. Returns jobs to repeat: another process has just committed their content."""
        connection = self._connection or self._connect()
        if self._database.file() != self._file:
            # SQLite would go on writing to the deleted file.
            raise StoreAway(f"the file of the store {self._database} was removed or replaced")
        with self._database.reaching():
            cursor = connection.cursor()
            self._told.clear()
            try:
                self._begin(cursor)
                again = self._do_each_kind(cursor, jobs)
                connection.commit()
            finally:
                cursor.close()
        self._pause = 0.0
        for tell in self._told:
            tell()
        self._told.clear()
        return again

    def _do_each_kind(self, cursor: DBAPICursor, jobs: Sequence[Job[Any, Any]]) -> list[Job[Any, Any]]:
        again: list[Job[Any, Any]] = []
        for kind in (*self._kinds, self._calls):
            again += kind.transact(cursor, [job for job in jobs if job.kind is kind])
        return again

    def _rest(self) -> None:
        """Pause after a transaction without an answer: 0 s after the first, then 1, 3, 7, 15 and 30 s."""
        self._mute_until = time.monotonic() + self._pause
        self._pause = min(MAX_MUTE_PAUSE, 2 * self._pause + 1)

    def _connect(self) -> DBAPIConnection:
        self._connection = connection = self._database.connect()
        self._file = self._database.file()
        return connection

    def _is_there(self) -> bool:
        try:
            self._connect()
        except Exception:  # of the driver, or of a machine without file descriptors
            return False
        return True

    def _disconnect(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(self._database.driver_error):
                self._connection.close()
        self._connection = None

    def tell_once_committed(self, call: Callable[[OutcomeT], object], told: OutcomeT) -> None:
        """Call a function in the event loop once the thread's transaction is committed, or not at all.

        Example: a delivery is leased together with a result. If the commit fails, both are done again, and the delivery
        would be sent twice.
        """
        self._told.append(lambda: self._tell_loop(call, told))

    def _tell_loop(self, call: Callable[[OutcomeT], object], told: OutcomeT) -> None:
        """Call a function in the event loop, from the thread."""
        if (loop := self._loop) is not None:
            with contextlib.suppress(RuntimeError):  # the loop has closed
                loop.call_soon_threadsafe(call, told)

    def _hand_over(self, jobs: Sequence[Job[Any, Any]], error: StoreAway | None = None) -> None:
        waited_for = [job for job in jobs if job.result is not None]
        if waited_for:
            self._tell_loop(lambda jobs: _resolve(jobs, error), waited_for)


def _call_each(
    cursor: DBAPICursor, calls: Sequence[Callable[[DBAPICursor], Any]]
) -> Mapping[Callable[[DBAPICursor], Any], Any]:
    return {call: call(cursor) for call in calls}


def _give_up(result: asyncio.Future[Any], within: float) -> None:
    if not result.done():
        result.set_exception(StoreAway(f"no commit within {within:g} s"))


def _resolve(jobs: Sequence[Job[Any, Any]], error: StoreAway | None) -> None:
    for job in jobs:
        if job.result is None or job.result.done():
            continue
        if error is None:
            job.result.set_result(job.outcome)
        else:
            job.result.set_exception(error)
