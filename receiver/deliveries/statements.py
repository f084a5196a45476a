"""Statements: the inbox's SQL, written once with SQLAlchemy for both databases and run on the driver's cursor.

Each method is part of the inbox's transaction. Only `begin` begins a transaction, and nothing here commits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPICursor

from activities.callback_urls import Claims
from receiver.deliveries.content import said_in
from receiver.deliveries.database import LOCKED_MS, TRANSACTION_TIMEOUT_SINCE, Database
from receiver.deliveries.delivery import MAX_REFUSED_BODY_BYTES, Fate
from receiver.deliveries.schema import DELIVERIES, REFUSED, ROW_OVERHEAD

PRUNED_TOGETHER: Final = 50
"""Rows deleted in a transaction. Few, so that callbacks do not wait long: each row may have a body of a mebibyte."""

C: Final = DELIVERIES.c
CLAIMS: Final = tuple(C[field.name] for field in fields(Claims))
QUEUED: Final = (C.id, *CLAIMS, C.callback, C.request_id, C.tries, C.pipeline, C.fate, C.received_at, C.fate_at)
INSERTED: Final = [column.name for column in DELIVERIES.c if column.name != "position"]
FROM_THE_FIRST: Final[Any] = sa.literal_column("0")
"""Offset 0 as a literal: SQLAlchemy would make it a parameter, under a name that only its own execution knows."""

MOST_COUNTED: Final = 10_000
"""Limit of counting a queue: the cost of a gauge must not grow with the queue."""

OLDEST_AMONG: Final = 100
"""The oldest delivery is searched among this many at the queue's head. SQLite reads through their bodies."""

TOLD: Final = {"gone", "unknown"}
"""Verdicts that follow from Temporal's answer to the signal."""

EMPTY: Final = {"request_id": None, "callback": None, "due_at": None, "promised": None}


@dataclass(frozen=True)
class Queued:
    """A delivery that waits for Temporal.

    callback: the signal's argument, as JSON. tries: tries that failed through the delivery's own fault.
    pipeline: "" if it is still to be asked for.
    fate: TAKEN if Temporal has taken it before, and it is sent again. since: when it was queued, in unix seconds.
    earlier_id: see `content.earlier_request_id`; known only while the delivery is being received, otherwise "".
    """

    id: str
    claims: Claims
    callback: str
    request_id: str
    tries: int = 0
    pipeline: str = ""
    fate: Fate = Fate.PENDING
    since: float = 0.0
    earlier_id: str = ""


@dataclass(frozen=True)
class Conclusion:
    """The result of a try. due_at: when the next try is due, in unix seconds; None if there is no next try.

    verdict, status: the refusal that the partner is told; "" and 0 leave the recorded answer as it is.
    if_promised: the fate to record instead of a refusal, if another request with the same content was answered 2xx;
    verdict and status are then left as well.
    """

    id: str
    fate: Fate
    reason: str = ""
    tries: int = 0
    due_at: float | None = None
    verdict: str = ""
    status: int = 0
    if_promised: Fate = Fate.REFUSED

    @property
    def told(self) -> bool:
        """Whether its partner was told that the run takes it no more."""
        return self.fate is Fate.REFUSED and self.verdict != ""


@dataclass(frozen=True)
class Depth:
    """The length of the queue: pending deliveries, when the oldest was queued (unix seconds, 0.0 if none), and parked.

    Counts stop at `MOST_COUNTED`; the oldest is searched among the first `OLDEST_AMONG` of the queue.
    """

    pending: int
    oldest: float
    parked: int


@dataclass(frozen=True)
class First:
    """The first delivery with a content.

    rests: when its signal got its fate, in unix seconds; None while it is queued.
    request_id: the request id of its signal; None if it was given up, so that the content counts as new.
    bare: its callback is not kept, because Temporal took it while the store was away.
    """

    id: str
    status: int
    verdict: str
    fate: Fate
    rests: float | None = None
    request_id: str | None = None
    bare: bool = False

    @property
    def told(self) -> bool:
        """Whether its partner was told that the run takes it no more."""
        return self.fate is Fate.REFUSED and self.verdict in TOLD


@dataclass(frozen=True)
class Success:
    """A delivery that reports success and that Temporal took: what identifies its content, and the call it answers."""

    attempt: int
    issued_at: int
    signed_id: str
    body_digest: str
    first: First


@dataclass
class Known:
    """What the store knows about some contents and stages. A stage is given as chain id and number.

    firsts: the first deliveries, by request id. pending: stages with a queued delivery. succeeded: by stage, the
    successes that Temporal took.
    """

    firsts: dict[str, First]
    pending: set[tuple[str, int]]
    succeeded: dict[tuple[str, int], list[Success]]


class Statements:
    """The statements, compiled for one database."""

    def __init__(self, database: Database) -> None:
        self._is_sqlite = database.is_sqlite
        self._begin = "BEGIN IMMEDIATE" if database.is_sqlite else _begin_postgres(database)
        requests, chains = self._list_of("requests"), self._list_of("chains")
        ours = (C.chain_id.in_(chains), C.request_id.is_not(None))
        taken = (C.says == sa.literal_column("'succeeded'"), C.fate == sa.literal_column("'taken'"))
        rests, bare = sa.case((C.due_at.is_(None), C.fate_at)), C.callback.is_(None)
        first = (C.id, C.status, C.verdict, C.fate, rests, C.request_id, bare)
        self._first = database.sql(sa.select(*first).where(C.id == sa.bindparam("of")))
        self._firsts = database.sql(sa.select(C.request_id, *first).where(C.request_id.in_(requests)))
        pending = sa.select(C.chain_id, C.stage).distinct().where(*ours, _is_queued(DELIVERIES))
        self._pending = database.sql(pending)
        success = (C.chain_id, C.stage, C.attempt, C.issued_at, C.signed_id, C.body_digest)
        self._succeeded = database.sql(sa.select(*success, *first).where(*ours, *taken).order_by(C.position))
        ids = C.id.in_(self._list_of("ids"))
        self._callbacks = database.sql(sa.select(C.id, C.callback).where(ids))
        self._sizes = database.sql(sa.select(C.id, C.partner, _stored_size()).where(ids))
        self._insert = database.sql(_insertion(is_sqlite=self._is_sqlite))
        self._conclude = database.sql(_conclusion())
        refused = C.fate == sa.literal_column("'refused'")
        requeue = sa.update(DELIVERIES).where(C.id == sa.bindparam("of"), C.due_at.is_(None))
        again = sa.case((refused, sa.literal_column("'pending'")), else_=C.fate)
        self._requeue = database.sql(
            requeue.values(
                due_at=sa.bindparam("at"), fate_at=sa.bindparam("at"), tries=sa.literal_column("0"), fate=again
            )
        )
        self._drop = database.sql(sa.delete(DELIVERIES).where(C.id == sa.bindparam("of"), C.promised.is_(None)))
        self._give_up = database.sql(
            sa.update(DELIVERIES).where(C.id == sa.bindparam("of")).values(request_id=sa.null())
        )
        of_one = sa.update(DELIVERIES).where(C.id == sa.bindparam("of"))
        still_queued = of_one.where(C.due_at.is_not(None))
        self._promise = database.sql(still_queued.values(promised=sa.literal_column("1")))
        completed = of_one.where(C.callback.is_(None))
        self._complete = database.sql(completed.values(callback=sa.bindparam("given")))
        self._answer = database.sql(of_one.values(status=sa.bindparam("answered")))
        named: dict[str, Any] = {"pipeline": sa.bindparam("named"), "definition": sa.bindparam("defined")}
        self._describe = database.sql(of_one.values(named))
        self._claim = database.sql(_claim())
        self._depth = database.sql(_depth())
        none = sa.select(C.position).where(sa.false()).with_for_update()
        self._check = database.sql(none)
        old: tuple[Any, Any] = (sa.bindparam("before"), sa.bindparam("most"))
        self._prune = [database.sql(pruning(*old, refused=refused)) for refused in (False, True)]

    def _list_of(self, name: str) -> Any:
        """A subquery whose rows are the texts of a single list parameter; see `_texts`."""
        if self._is_sqlite:
            return sa.select(sa.func.json_each(sa.bindparam(name)).table_valued("value").c.value)
        return sa.select(sa.func.unnest(sa.bindparam(name, type_=postgresql.ARRAY(sa.Text))))

    def _texts(self, texts: set[str]) -> Any:
        return json.dumps(sorted(texts)) if self._is_sqlite else sorted(texts)

    def begin(self, cursor: DBAPICursor) -> None:
        """Begin a writing transaction, on a connection made by `Database.connect`."""
        cursor.execute(self._begin)

    def _bound_idling(self, cursor: DBAPICursor) -> None:
        """Restore an older PostgreSQL's limit on idling after `executemany`; see `TRANSACTION_TIMEOUT_SINCE`."""
        connection: Any = getattr(cursor, "connection", None)
        if not self._is_sqlite and connection.info.server_version < TRANSACTION_TIMEOUT_SINCE:
            cursor.execute("SELECT 1")

    def look(self, cursor: DBAPICursor, queued: Sequence[Queued]) -> Known:
        """Look up what is known about the contents and stages of these deliveries."""
        chains = {"chains": self._texts({one.claims.chain_id for one in queued})}
        requests = {id_ for one in queued for id_ in (one.request_id, one.earlier_id) if id_}
        firsts = _all(cursor, self._firsts, {"requests": self._texts(requests)})
        succeeded: dict[tuple[str, int], list[Success]] = {}
        for chain, stage, attempt, issued_at, signed_id, digest, *first in _all(cursor, self._succeeded, chains):
            success = Success(attempt, issued_at, signed_id, digest, _first(*first))
            succeeded.setdefault((chain, stage), []).append(success)
        return Known(
            firsts={key: _first(*first) for key, *first in firsts},
            pending=set(_all(cursor, self._pending, chains)),
            succeeded=succeeded,
        )

    def said(self, cursor: DBAPICursor, ids: Sequence[str]) -> dict[str, str]:
        """Digests of what the kept callbacks of these deliveries say, by delivery id; see `content.said_in`."""
        return {id_: said_in(callback) for id_, callback in _all(cursor, self._callbacks, self._ids(ids))}

    def sizes(self, cursor: DBAPICursor, ids: Sequence[str]) -> dict[str, tuple[str, int]]:
        """By delivery id: the partner, and the bytes that the row takes once the delivery is refused."""
        rows = _all(cursor, self._sizes, self._ids(ids))
        return {id_: (partner, size) for id_, partner, size in rows}

    def _ids(self, ids: Sequence[str]) -> dict[str, Any]:
        return {"ids": self._texts(set(ids))}

    def insert(self, cursor: DBAPICursor, rows: Sequence[Mapping[str, Any]]) -> set[str]:
        """Insert deliveries, and return the ids of the inserted ones: another process may have been faster.

        A delivery whose id or request id exists already is skipped.
        """
        complete = [{**EMPTY, **row} for row in rows]
        if self._is_sqlite:  # BEGIN IMMEDIATE excludes other writers: none was faster
            cursor.executemany(self._insert, complete)
            return {str(row["id"]) for row in complete}
        inserted: set[str] = set()
        many: Any = cursor  # psycopg's `returning`: one round trip for all rows, and a result set for each row
        many.executemany(self._insert, complete, returning=True)
        while True:
            inserted.update(id_ for (id_,) in many.fetchall())
            if not many.nextset():
                break
        self._bound_idling(cursor)
        return inserted

    def conclude(self, cursor: DBAPICursor, conclusions: Sequence[Conclusion], at: float) -> None:
        """Record the results of tries. at: unix seconds, now. If a row is no longer queued, only a final fate counts.

        Example: another process has parked the delivery in the meantime. If this try was taken, that is recorded; if it
        is to be retried in 4 s, that is ignored.
        """
        rows = [
            {
                **vars(one),
                "fate": one.fate.value,
                "if_promised": one.if_promised.value,
                "told": int(one.told),
                "over": int(one.due_at is None),
                "final": int(one.fate in {Fate.TAKEN, Fate.REFUSED}),
                "at": at,
            }
            for one in conclusions
        ]
        cursor.executemany(self._conclude, rows)
        self._bound_idling(cursor)

    def requeue(self, cursor: DBAPICursor, ids: Sequence[str], at: float) -> None:
        """Queue deliveries again that are no longer queued, due at `at` (unix seconds). Taken ones keep their fate."""
        cursor.executemany(self._requeue, [{"of": id_, "at": at} for id_ in ids])
        self._bound_idling(cursor)

    def promise(self, cursor: DBAPICursor, id_: str) -> First | None:
        """Record that a repeat of this delivery's content is answered 2xx, if the delivery is still queued.

        Returns the delivery as it then is, or None if it is not kept.
        """
        cursor.execute(self._promise, {"of": id_})
        return self.first(cursor, id_)

    def first(self, cursor: DBAPICursor, id_: str) -> First | None:
        """The delivery of this id; None if it is not kept."""
        rows = _all(cursor, self._first, {"of": id_})
        return _first(*rows[0]) if rows else None

    def complete(self, cursor: DBAPICursor, id_: str, callback: str) -> None:
        """Add the callback to a delivery that was kept without it. The callback comes from a repeat of its content."""
        cursor.execute(self._complete, {"of": id_, "given": callback})

    def give_up(self, cursor: DBAPICursor, id_: str) -> None:
        """Give up a delivery's request id, so that its content counts as new."""
        cursor.execute(self._give_up, {"of": id_})

    def drop(self, cursor: DBAPICursor, ids: Sequence[str]) -> None:
        """Delete these deliveries, except promised ones."""
        cursor.executemany(self._drop, [{"of": id_} for id_ in ids])
        self._bound_idling(cursor)

    def describe(self, cursor: DBAPICursor, id_: str, pipeline: str, definition: str) -> None:
        """Record the pipeline that a delivery is for."""
        cursor.execute(self._describe, {"of": id_, "named": pipeline, "defined": definition})

    def answer(self, cursor: DBAPICursor, id_: str, status: int) -> None:
        """Record the status that a delivery was answered with."""
        cursor.execute(self._answer, {"of": id_, "answered": status})

    def claim(self, cursor: DBAPICursor, *, most: int, at: float, until: float) -> list[Queued]:
        """Lease deliveries that are due at `at`, until `until` (unix seconds); of each stage, only the oldest queued.

        Example: two receivers claim at the same time. On PostgreSQL each skips the rows that the other has locked; on
        SQLite the second waits for the first. Either way no delivery is leased twice.
        """
        rows = _all(cursor, self._claim, {"most": most, "at": at, "never": at + FURTHEST, "until": until})
        return [
            Queued(id_, Claims(*claims), callback, key, tries, pipeline, Fate(fate), anew or since)
            for id_, *claims, callback, key, tries, pipeline, fate, since, anew in sorted(rows)
        ]

    def depth(self, cursor: DBAPICursor) -> Depth:
        """The length of the queue."""
        ((pending, since, parked),) = _all(cursor, self._depth, {})
        return Depth(pending, since or 0.0, parked)

    def check(self, cursor: DBAPICursor) -> None:
        """Raise the driver's error unless the table can be written to; no row is read."""
        cursor.execute(self._check, {})

    def prune(self, cursor: DBAPICursor, before: float, *, refused: bool = False) -> int:
        """Delete some deliveries received before this moment, except pending and parked ones. Returns how many.

        before: unix seconds. refused: delete only refused requests.
        """
        cursor.execute(self._prune[refused], {"before": before, "most": PRUNED_TOGETHER})
        return cursor.rowcount


FURTHEST: Final = 3600.0
"""Seconds, far more than any pause and any difference between two clocks. A delivery due later than that was scheduled
by a wrong clock, and counts as due."""

PARKED: Final = (C.fate == sa.literal_column("'parked'"), C.callback.is_not(None))
"""Deliveries that wait for an operator of this store. A delivery imported as parked has no callback."""


def _begin_postgres(database: Database) -> str:
    """BEGIN, and the settings that SQLite gets once per connection, in a single round trip."""
    return f"""
        BEGIN;
        SELECT {database.bounds(database.transaction_seconds)},
            set_config('lock_timeout', '{LOCKED_MS}ms', true),
            set_config('synchronous_commit', coalesce(nullif(current_setting('synchronous_commit'), 'off'), 'on'), true)
    """


def pruning(before: Any, most: Any, *, refused: bool = False) -> sa.Delete:
    """A statement that deletes `most` deliveries received before `before`, except pending and parked ones.

    refused: only refused requests; the query uses their index.
    """
    done = sa.and_(C.received_at < before, C.due_at.is_(None), sa.not_(sa.and_(*PARKED)))
    old = sa.select(C.position).where(done, *([sa.text(REFUSED)] if refused else []))
    old = old.limit(most).offset(FROM_THE_FIRST)
    return sa.delete(DELIVERIES).where(C.position.in_(old.scalar_subquery()))


def _first(
    id_: str, status: int, verdict: str, fate: str, rests: float | None, request_id: str | None, bare: object
) -> First:
    return First(id_, status, verdict, Fate(fate), rests, request_id, bool(bare))


def _stored_size() -> sa.ColumnElement[int]:
    """Bytes of a refused delivery's row. A large body counts as 0: `_conclusion` removes it."""
    is_large = C.body_size > sa.literal_column(str(MAX_REFUSED_BODY_BYTES))
    zero: Any = sa.literal_column("0")
    texts = [sa.func.coalesce(sa.func.length(column), zero) for column in C if isinstance(column.type, sa.Text)]
    body = sa.case((is_large, zero), else_=sa.func.coalesce(sa.func.length(C.body), zero))
    return sum(texts, body + sa.literal_column(str(ROW_OVERHEAD)))


def _is_queued(deliveries: sa.FromClause) -> sa.ColumnElement[bool]:
    """Whether a delivery is queued, in a form that uses the index by stage and not the index of the whole queue.

    In quiet times PostgreSQL's statistics say that the queue is empty. With a backlog it would then read the whole
    queue for each row.
    """
    return sa.func.coalesce(deliveries.c.due_at, sa.literal_column("-1")) >= sa.literal_column("0")


def _insertion(*, is_sqlite: bool) -> sa.ClauseElement:
    values: dict[str, Any] = {name: sa.bindparam(name) for name in INSERTED}
    if is_sqlite:
        return sqlite.insert(DELIVERIES).values(values).on_conflict_do_nothing()
    return postgresql.insert(DELIVERIES).values(values).on_conflict_do_nothing().returning(C.id)


def _conclusion() -> sa.ClauseElement:
    is_large = C.body_size > sa.literal_column(str(MAX_REFUSED_BODY_BYTES))
    is_told = sa.bindparam("told", type_=sa.Integer) == sa.literal_column("1")
    is_promised = C.promised.is_not(None)
    is_over = sa.bindparam("over", type_=sa.Integer) == sa.literal_column("1")
    refused = sa.and_(is_told, sa.not_(is_promised))

    def if_refused(name: str, column: sa.Column[Any]) -> sa.ColumnElement[Any]:
        return sa.case((refused, sa.bindparam(name, type_=column.type)), else_=column)

    return (
        sa.update(DELIVERIES)
        .where(
            C.id == sa.bindparam("id"),
            sa.or_(sa.bindparam("final", type_=sa.Integer) == sa.literal_column("1"), C.due_at.is_not(None)),
        )
        .values(
            fate=sa.case((sa.and_(is_told, is_promised), sa.bindparam("if_promised")), else_=sa.bindparam("fate")),
            fate_reason=sa.bindparam("reason"),
            fate_at=sa.case((is_over, sa.bindparam("at", type_=sa.Float)), else_=C.fate_at),
            tries=sa.bindparam("tries"),
            due_at=sa.bindparam("due_at"),
            verdict=if_refused("verdict", C.verdict),
            status=if_refused("status", C.status),
            body=sa.case((sa.and_(refused, is_large), sa.null()), else_=C.body),
        )
    )


def _claim() -> sa.ClauseElement:
    earlier = DELIVERIES.alias("earlier")
    waits = sa.exists().where(
        _is_queued(earlier),
        earlier.c.chain_id == C.chain_id,
        earlier.c.stage == C.stage,
        earlier.c.position < C.position,
    )
    is_due = sa.or_(C.due_at <= sa.bindparam("at"), C.due_at > sa.bindparam("never"))
    due = (
        sa.select(C.position)
        .where(C.due_at.is_not(None), is_due, ~waits)
        .order_by(C.position)
        .limit(sa.bindparam("most"))
        .offset(FROM_THE_FIRST)
        .with_for_update(skip_locked=True, of=DELIVERIES)
    )
    return (
        sa.update(DELIVERIES)
        .where(C.position.in_(due.scalar_subquery()))
        .values(due_at=sa.bindparam("until"))
        .returning(*QUEUED)
    )


def _depth() -> sa.ClauseElement:
    """Count pending and parked deliveries, and find the oldest pending, reading only the heads of their indexes.

    A delivery that was queued again, by an operator or by a repeat of its content, counts as waiting since `fate_at`.
    """

    def counted(*where: sa.ColumnElement[bool]) -> sa.ScalarSelect[Any]:
        found = sa.select(C.position).where(*where).limit(sa.literal_column(str(MOST_COUNTED)))
        return sa.select(sa.func.count()).select_from(found.offset(FROM_THE_FIRST).subquery()).scalar_subquery()

    queued = C.due_at.is_not(None)
    since = sa.case((C.fate_at > sa.literal_column("0"), C.fate_at), else_=C.received_at).label("since")
    head = sa.select(since).where(queued).order_by(C.position).limit(sa.literal_column(str(OLDEST_AMONG)))
    oldest = sa.select(sa.func.min(head.offset(FROM_THE_FIRST).subquery().c.since)).scalar_subquery()
    return sa.select(counted(queued), oldest, counted(*PARKED))


def _all(cursor: DBAPICursor, sql: str, parameters: Mapping[str, Any]) -> list[Any]:
    cursor.execute(sql, parameters)
    return [tuple(row) for row in cursor.fetchall()]
