"""Statements: runs the `queries` on the driver's cursor, and turns rows into objects.

Each method is part of the inbox's transaction. Only `begin` begins a transaction, and nothing here commits.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from operator import itemgetter
from typing import Any, Final, NamedTuple, cast

from sqlalchemy.engine.interfaces import DBAPICursor

from activities.store.calls import PRUNE_CALLS
from activities.store.database import Database
from activities.store.packing import unpack_row
from receiver.deliveries import queries
from receiver.deliveries.content import said_in
from receiver.deliveries.delivery import MAX_REFUSED_BODY_BYTES, Fate
from receiver.deliveries.driver import Driver
from receiver.deliveries.queue import NO_STAGE, Conclusion, Depth, Queued
from receiver.deliveries.rows import ROW_OVERHEAD, claims_in
from workflows.durations import HOUR, MINUTE

MOST_COUNTED: Final = 10_000
"""Limit of counting a queue: the cost of a gauge must not grow with the queue."""

OLDEST_AMONG: Final = 100
"""The oldest delivery is searched among this many at the queue's head. SQLite reads through their bodies."""

FURTHEST: Final = HOUR + 10 * MINUTE
"""Seconds, ten minutes more than any pause, which is more than two clocks differ. A delivery due later than that was
scheduled by a wrong clock. It is claimed where what is due leaves room."""

REFUSAL_VERDICTS: Final = {"gone", "unknown"}
"""Verdicts that follow from Temporal's answer to the signal."""

NOT_QUEUED: Final = {"request_id": None, "callback": None, "due_at": None, "promised": None}
"""The inbox's columns of a delivery that is only recorded."""


@dataclass(frozen=True)
class First:
    """The first delivery with a content.

    concluded_at: when its signal got its fate, in unix seconds; None while it is queued.
    request_id: the request id of its signal; None if it was given up, so that the content counts as new.
    bare: its callback is not kept, because Temporal took it while the store was away.
    promised: a repeat of the content was answered 2xx while the delivery was queued, so every further repeat is.
    """

    id: str
    status: int
    verdict: str
    fate: Fate
    concluded_at: float | None = None
    request_id: str | None = None
    bare: bool = False
    promised: bool = False

    @property
    def told(self) -> bool:
        """Whether its partner was answered that the run no longer takes it."""
        return self.fate is Fate.REFUSED and self.verdict in REFUSAL_VERDICTS and not self.promised


@dataclass(frozen=True)
class Success:
    """A delivery that reports success and that Temporal took: what identifies its content, and the call it answers."""

    attempt: int
    issued_at: int
    signed_id: str
    body_digest: str
    first: First


class Pruned(NamedTuple):
    """Rows that a transaction deleted, and the seconds that the database took for it, without the commit."""

    rows: int
    seconds: float


@dataclass
class Lookup:
    """What the store knows about some contents and stages. A stage is given as chain id and number.

    firsts: the first deliveries, by request id. queued: stages with a queued delivery. successes: by stage, the
    successes that Temporal took.
    """

    firsts: dict[str, First]
    queued: set[tuple[str, int]]
    successes: dict[tuple[str, int], list[Success]]


class Statements:
    """The statements of one database."""

    def __init__(self, database: Database) -> None:
        self._is_sqlite = database.is_sqlite
        self._driver = Driver(database)
        self._begin_statement = database.begin_statement

    # --- transactions

    def begin(self, cursor: DBAPICursor) -> None:
        """Begin a writing transaction, on a connection made by `Database.connect`."""
        cursor.execute(self._begin_statement(cast(Any, cursor).connection))

    def check(self, cursor: DBAPICursor) -> None:
        """Raise the driver's error unless the table can be written to; no row is read."""
        self._driver.execute(cursor, queries.CHECK_WRITABLE, {})

    # --- what is known about new deliveries

    def look(self, cursor: DBAPICursor, queued: Sequence[Queued]) -> Lookup:
        """Look up what is known about the contents and stages of these deliveries."""
        found: dict[str, list[dict[str, Any]]] = {"first": [], "success": [], "queued": []}
        for row in self._looked_up(cursor, queued):
            found[row["found"]].append(row)
        successes: dict[tuple[str, int], list[Success]] = {}
        for row in sorted(found["success"], key=itemgetter("position")):
            successes.setdefault(_stage(row), []).append(_success(row))
        firsts = {str(row["request_id"]): _first(row) for row in found["first"]}
        return Lookup(firsts=firsts, queued=set(map(_stage, found["queued"])), successes=successes)

    def _looked_up(self, cursor: DBAPICursor, queued: Sequence[Queued]) -> list[dict[str, Any]]:
        if len(queued) == 1:
            (one,) = queued
            ids = {"request_id": one.request_id, "earlier_id": one.earlier_id or one.request_id}
            stage = {"chain_id": one.claims.chain_id, "stage": one.claims.stage}
            return self._driver.rows(cursor, queries.LOOK_ONE, ids | stage)
        requests = {id_ for one in queued for id_ in (one.request_id, one.earlier_id) if id_}
        chains = self._driver.texts({one.claims.chain_id for one in queued})
        return self._driver.rows(cursor, queries.LOOK, chains | self._driver.texts(requests, "request_ids"))

    def _queued_stages(self, cursor: DBAPICursor, stages: set[tuple[str, int]]) -> set[tuple[str, int]]:
        """Those of these stages that have a queued delivery, as chain id and number."""
        asked = [{"chain_id": chain_id, "stage": stage} for chain_id, stage in stages]
        return {_stage(row) for one in asked for row in self._driver.rows(cursor, queries.QUEUED_STAGE, one)}

    def first(self, cursor: DBAPICursor, id_: str) -> First | None:
        """The delivery of this id; None if it is not kept."""
        rows = self._driver.rows(cursor, queries.FIRST, {"id": id_})
        return _first(rows[0]) if rows else None

    def said(self, cursor: DBAPICursor, ids: Sequence[str]) -> dict[str, str]:
        """Digests of what the kept callbacks of these deliveries say, by delivery id; see `content.said_in`."""
        rows = self._driver.rows(cursor, queries.CALLBACKS, self._driver.texts(set(ids)))
        return {row["id"]: said_in(row["callback"]) for row in map(unpack_row, rows)}

    # --- new deliveries, and repeats of their content

    def insert(self, cursor: DBAPICursor, rows: Sequence[Mapping[str, Any]]) -> set[str]:
        """Insert deliveries, and return the ids of the inserted ones: another process may have been faster.

        A delivery whose id or request id exists already is skipped.
        """
        complete = [{**NOT_QUEUED, **row} for row in rows]
        if self._is_sqlite:  # BEGIN IMMEDIATE excludes other writers: none was faster
            self._driver.execute_many(cursor, queries.INSERT, complete)
            return {str(row["id"]) for row in complete}
        return set(self._driver.returned_by_many(cursor, queries.INSERT, complete))

    def promise(self, cursor: DBAPICursor, id_: str) -> First | None:
        """Record that a repeat of this delivery's content is answered 2xx, if the delivery is still queued.

        Returns the delivery as it then is, or None if it is not kept.
        """
        self._driver.execute(cursor, queries.PROMISE, {"id": id_})
        return self.first(cursor, id_)

    def complete(self, cursor: DBAPICursor, id_: str, callback: str) -> None:
        """Add the callback to a delivery that was kept without it. The callback comes from a repeat of its content."""
        self._driver.execute(cursor, queries.COMPLETE, {"id": id_, "callback": callback})

    def requeue(self, cursor: DBAPICursor, ids: Sequence[str], at: float) -> None:
        """Queue deliveries again that are no longer queued, due at `at` (unix seconds). Taken ones keep their fate."""
        self._driver.execute_many(cursor, queries.REQUEUE, [{"id": id_, "at": at} for id_ in ids])

    def give_up(self, cursor: DBAPICursor, id_: str) -> None:
        """Give up a delivery's request id, so that its content counts as new."""
        self._driver.execute(cursor, queries.GIVE_UP, {"id": id_})

    def insert_taken(self, cursor: DBAPICursor, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert deliveries that Temporal took, so that their contents are known as accepted from now on.

        Example: the store is slow. A receiver stops waiting for it and signals Temporal, which takes the callback: 202.
        Only then does the store commit the same delivery, as a conflict with the stage's first success. The partner was
        answered 202 already, so each repeat of the content is answered 202.
        """
        # In this order: while another process records the refusal of a queued delivery, the first waits for its commit.
        self._driver.execute_many(cursor, queries.PROMISE_CONTENT, rows)
        self._driver.execute_many(cursor, queries.GIVE_UP_REFUSAL, rows)
        self.insert(cursor, rows)
        self._driver.execute_many(cursor, queries.ADOPT, rows)
        self._driver.execute_many(cursor, queries.ADOPT_AGAIN, rows)

    def describe(self, cursor: DBAPICursor, rows: Sequence[Mapping[str, Any]]) -> None:
        """Record the pipelines that deliveries are for, if they are not recorded. rows: see `queries.DESCRIBE`."""
        self._driver.execute_many(cursor, queries.DESCRIBE, rows)

    def answer(self, cursor: DBAPICursor, id_: str, status: int) -> None:
        """Record the status that a delivery was answered with."""
        self._driver.execute(cursor, queries.ANSWER, {"id": id_, "status": status})

    # --- the queue

    def claim(self, cursor: DBAPICursor, *, most: int, at: float, until: float, newest: bool = False) -> list[Queued]:
        """Lease deliveries that are due at `at`, until `until` (unix seconds); of each stage, only the oldest queued.

        newest: begin with those that fell due last, instead of first.

        Example: two receivers claim at the same time. On PostgreSQL each skips the rows that the other has locked; on
        SQLite the second waits for the first. Either way no delivery is leased twice.
        """
        claim = queries.CLAIM_NEWEST if newest else queries.CLAIM
        rows: list[dict[str, Any]] = []
        # Not in one statement: no index leads to both.
        for since, before in ((0.0, at), (at + FURTHEST, inf)):
            if len(rows) < most:
                moments = {"since": since, "before": before, "until": until}
                rows += self._driver.rows(cursor, claim, {"most": most - len(rows), **moments})
        return sorted(map(_queued, rows), key=lambda queued: queued.id)

    def claim_next(
        self, cursor: DBAPICursor, stages: Iterable[tuple[str, int]], *, at: float, until: float
    ) -> list[Queued]:
        """Lease the oldest queued delivery of each of these stages, if it is due at `at`, until `until`.

        A stage is given as chain id and number.
        """
        moments = {"since": 0.0, "before": at, "until": until}
        rows: list[dict[str, Any]] = []
        for chain_id, stage in sorted(stages):  # in every process in the same order: none waits for another in a circle
            rows += self._driver.rows(cursor, queries.CLAIM_NEXT, {"chain_id": chain_id, "stage": stage, **moments})
        return list(map(_queued, rows))

    def conclude(self, cursor: DBAPICursor, conclusions: Sequence[Conclusion], at: float) -> set[tuple[str, int]]:
        """Record the results of tries. at: unix seconds, now. If a row is no longer queued, only a final fate counts.

        Returns the stages with further queued deliveries, as chain id and number, as far as the conclusions name them.

        Example: another process has parked the delivery in the meantime. If this try was taken, that is recorded; if it
        is to be retried in 4 s, that is ignored.
        """
        rows = [
            {
                **vars(one),
                "chain_id": one.stage[0],
                "stage": one.stage[1],
                "fate": one.fate.value,
                "if_promised": one.if_promised.value,
                "told": int(one.told),
                "over": int(one.due_at is None),
                "final": int(one.fate in {Fate.TAKEN, Fate.REFUSED}),
                "at": at,
                "longest": MAX_REFUSED_BODY_BYTES,
            }
            for one in conclusions
        ]
        if self._is_sqlite:
            self._driver.execute_many(cursor, queries.CONCLUDE, rows)
        elif len(found := self._driver.returned_by_many(cursor, queries.CONCLUDE, rows)) == len(rows):
            return {one.stage for one, has_next in zip(conclusions, found, strict=True) if has_next}
        # A delivery that was deleted, because its refusal is over the budget of records, says nothing of its stage.
        return self._queued_stages(cursor, {one.stage for one in conclusions} - {NO_STAGE})

    def sizes(self, cursor: DBAPICursor, ids: Sequence[str]) -> dict[str, tuple[str, int]]:
        """By delivery id: the partner, and the bytes that the row takes once the delivery is refused."""
        parameters = {**self._driver.texts(set(ids)), "longest": MAX_REFUSED_BODY_BYTES}
        rows = self._driver.rows(cursor, queries.SIZES, parameters)
        return {row["id"]: (row["partner"], row["size"] + ROW_OVERHEAD) for row in rows}

    def drop(self, cursor: DBAPICursor, ids: Sequence[str]) -> None:
        """Delete these deliveries, except promised ones."""
        self._driver.execute_many(cursor, queries.DROP, [{"id": id_} for id_ in ids])

    def depth(self, cursor: DBAPICursor) -> Depth:
        """The length of the queue."""
        (row,) = self._driver.rows(cursor, queries.DEPTH, {"most": MOST_COUNTED, "among": OLDEST_AMONG})
        return Depth(row["pending"], row["oldest"] or 0.0, row["parked"])

    # --- retention

    def prune(self, cursor: DBAPICursor, before: float, most: int, *, refused: bool = False) -> Pruned:
        """Delete at most `most` deliveries received before this moment, except pending and parked ones.

        before: unix seconds. refused: delete only refused requests.
        """
        return self._prune(cursor, queries.PRUNE_REFUSED if refused else queries.PRUNE, before, most)

    def prune_calls(self, cursor: DBAPICursor, before: float, most: int) -> Pruned:
        """Delete at most `most` calls that expired before this moment. before: unix seconds."""
        return self._prune(cursor, PRUNE_CALLS, before, most)

    def _prune(self, cursor: DBAPICursor, query: str, before: float, most: int) -> Pruned:
        began = time.monotonic()
        self._driver.execute(cursor, query, {"before": before, "most": most})
        return Pruned(cursor.rowcount, time.monotonic() - began)


def _first(row: Mapping[str, Any]) -> First:
    return First(
        id=row["id"],
        status=row["status"],
        verdict=row["verdict"],
        fate=Fate(row["fate"]),
        concluded_at=row["concluded_at"],
        request_id=row["request_id"],
        bare=bool(row["bare"]),
        promised=bool(row["promised"]),
    )


def _success(row: Mapping[str, Any]) -> Success:
    return Success(row["attempt"], row["issued_at"], row["signed_id"], row["body_digest"], _first(row))


def _queued(row: Mapping[str, Any]) -> Queued:
    row = unpack_row(row)
    return Queued(
        id=row["id"],
        claims=claims_in(row),
        callback=row["callback"],
        request_id=row["request_id"],
        tries=row["tries"],
        fate=Fate(row["fate"]),
        since=row["since"],
    )


def _stage(row: Mapping[str, Any]) -> tuple[str, int]:
    return row["chain_id"], row["stage"]
