"""Archive: the operator's view of the store. Each query runs in its own SQLAlchemy transaction."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import islice
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from activities.callback_urls import Claims
from activities.environment import is_text
from activities.store.database import Database
from activities.store.errors import StoreAway
from activities.store.packing import unpack_row
from activities.store.schema import CALLS, DELIVERIES, RECORD
from receiver.deliveries.delivery import Delivery, Fate
from receiver.deliveries.errors import NeverForwarded, NoSuchDelivery, PartlyAdded
from receiver.deliveries.filters import ANY, MAY_CHANGE, Filters
from receiver.deliveries.queries import PRUNABLE, PRUNABLE_REFUSED, PRUNE, PRUNE_REFUSED
from receiver.deliveries.rows import to_delivery, to_row

C: Final = DELIVERIES.c
PAGE: Final = 200
"""Deliveries that are read at once. Each body may have a mebibyte."""

HAS_BODY: Final = sa.or_(C.body.is_not(None), C.packed.is_not(None))
NO_BYTES: Final = sa.case((HAS_BODY, sa.literal(b"", sa.LargeBinary))).label("body")

WITHOUT_BODY: Final = tuple(NO_BYTES if column is C.body else column for column in RECORD)
"""The columns of a `Delivery` without its body: b"" replaces a kept body, and a missing body is None.

A packed row is read whole, for its headers.
"""

HEX: Final = re.compile("[0-9a-f]+")

UPDATED: Final = {"pipeline", "definition", "verdict", "status", "fate", "fate_reason", "fate_at", "tries"}
"""Columns that are updated when more is known. All others hold what was received."""


class ReadAgain(NamedTuple):
    """What the partner's fixed file reads in a delivery's body. claims, callback, request_id: as in `Queued`."""

    claims: Claims
    callback: str
    request_id: str
    says: str


class Added(NamedTuple):
    """The result of an import. added, present: numbers of deliveries that were new, and that the store had already.

    differing: ids under which the store has a different delivery.
    """

    added: int
    present: int
    differing: list[str]


class ArchivePlace(NamedTuple):
    """A place in the order of receipt. received_at: unix seconds."""

    received_at: float
    position: int


class ArchivePage(NamedTuple):
    """Some deliveries, newest first, and the place before which there are more; None if these are the last."""

    deliveries: list[Delivery]
    end: ArchivePlace | None


class Archive:
    """The deliveries of a store. Every method raises `StoreAway`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def latest(self, filters: Filters = ANY, *, limit: int = 50) -> list[Delivery]:
        """The newest deliveries, oldest first, without bodies: b"" replaces a body."""
        return self.page(filters, limit=limit).deliveries[::-1]

    def page(self, filters: Filters = ANY, *, limit: int = 50, before: ArchivePlace | None = None) -> ArchivePage:
        """The newest deliveries, or the newest before a place, newest first, without bodies as in `latest`."""
        query = sa.select(*WITHOUT_BODY, C.position).where(filters.where())
        if before:
            query = query.where(sa.tuple_(C.received_at, C.position) < sa.tuple_(*map(sa.literal, before)))
        newest = query.order_by(C.received_at.desc(), C.position.desc()).limit(limit + 1)
        with self._database.begin() as connection:
            rows = connection.execute(newest).mappings().all()
        kept = rows[:limit]
        last = ArchivePlace(kept[-1]["received_at"], kept[-1]["position"]) if len(rows) > limit else None
        return ArchivePage([to_delivery(dict(row)) for row in kept], last)

    def every(self, filters: Filters = ANY) -> Iterator[Delivery]:
        """All selected deliveries in the order of receipt, read a page at a time."""
        after: tuple[float, int] | None = None
        while True:
            query = sa.select(*RECORD, C.position).where(filters.where())
            if after:
                query = query.where(sa.tuple_(C.received_at, C.position) > sa.tuple_(*map(sa.literal, after)))
            with self._database.begin() as connection:
                page = connection.execute(query.order_by(C.received_at, C.position).limit(PAGE)).mappings().all()
            for row in page:
                yield to_delivery(dict(row))
            if len(page) < PAGE:
                return
            after = (page[-1]["received_at"], page[-1]["position"])

    def since(self, position: int) -> tuple[list[Delivery], int]:
        """Deliveries recorded after this position, without bodies as in `latest`, and the position of the last."""
        newer = sa.select(*WITHOUT_BODY, C.position).where(C.position > position).order_by(C.position).limit(2 * PAGE)
        with self._database.begin() as connection:
            rows = connection.execute(newer).mappings().all()
        return [to_delivery(dict(row)) for row in rows], rows[-1]["position"] if rows else position

    def behind(self, begin: int, end: int, known: Collection[str]) -> list[Delivery]:
        """Deliveries after `begin` and up to `end` that are not in `known`: a page, without bodies as in `latest`."""
        there = sa.select(C.id).where(C.position > begin, C.position <= end).order_by(C.position)
        with self._database.begin() as connection:
            ids = [id_ for id_ in connection.execute(there).scalars() if id_ not in known][:PAGE]
            late = sa.select(*WITHOUT_BODY).where(C.id.in_(ids)).order_by(C.position)
            rows = connection.execute(late).mappings().all() if ids else []
        return [to_delivery(dict(row)) for row in rows]

    def newest(self, limit: int) -> tuple[set[str], int]:
        """The ids of the last `limit` recorded deliveries, and the position of the last, read together."""
        last = sa.select(C.id, C.position).order_by(C.position.desc()).limit(limit)
        with self._database.begin() as connection:
            rows = connection.execute(last).all()
        return {row.id for row in rows}, rows[0].position if rows else 0

    def later(self, ids: Collection[str], filters: Filters) -> tuple[list[Delivery], list[str]]:
        """Of these ids, the deliveries that the filters now select, and the ids that they may still select later.

        The deliveries are without bodies, as in `latest`.
        """
        found: list[Delivery] = []
        open_: list[str] = []
        left = iter(ids)
        while page := list(islice(left, PAGE)):
            of_page = C.id.in_(page)
            # The order matters: a delivery that changes between the two queries is found by the second.
            changing = sa.select(C.id).where(of_page, MAY_CHANGE)
            chosen = sa.select(*WITHOUT_BODY).where(of_page, filters.where()).order_by(C.received_at, C.position)
            with self._database.begin() as connection:
                waiting = connection.execute(changing).scalars().all()
                rows = [dict(row) for row in connection.execute(chosen).mappings()]
            found += map(to_delivery, rows)
            open_ += [id_ for id_ in waiting if id_ not in {row["id"] for row in rows}]
        return found, open_

    def end(self) -> int:
        """The position of the last delivery; 0 in an empty store."""
        with self._database.begin() as connection:
            return connection.execute(sa.select(sa.func.max(C.position))).scalar() or 0

    def before(self, at: float) -> int:
        """The position before the first delivery received at or after `at`; the last position if there is none."""
        oldest = sa.select(C.position, C.received_at).order_by(C.position).limit(PAGE).subquery()
        # With an offset, because PostgreSQL would look for the least position through all rows from the oldest on.
        since = sa.select(C.position).where(C.received_at >= at).offset(0).subquery()
        with self._database.begin() as connection:
            near = sa.select(sa.func.min(oldest.c.position)).where(oldest.c.received_at >= at)
            if (position := connection.execute(near).scalar()) is None:
                position = connection.execute(sa.select(sa.func.min(since.c.position))).scalar()
        return self.end() if position is None else position - 1

    def get(self, id_: str) -> Delivery:
        """The delivery of this id, or of the only id that begins with it; raises `NoSuchDelivery`."""
        return to_delivery(self._row(id_))

    def named(self, ids: Sequence[str]) -> list[Delivery]:
        """The deliveries of these ids or prefixes, each once, in the order of receipt; raises `NoSuchDelivery`."""
        rows = {row["id"]: row for row in map(self._row, ids)}.values()
        return [to_delivery(row) for row in sorted(rows, key=lambda row: (row["received_at"], row["position"]))]

    def those(self, ids: Sequence[str]) -> list[Delivery]:
        """The deliveries of these ids that are still there, with their bodies, in the order of receipt."""
        found: list[Delivery] = []
        for start in range(0, len(ids), PAGE):
            query = sa.select(*RECORD).where(C.id.in_(ids[start : start + PAGE]))
            with self._database.begin() as connection:
                found += [to_delivery(dict(row)) for row in connection.execute(query).mappings()]
        return sorted(found, key=lambda one: (one.received_at, one.part))

    def with_requests(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """These deliveries, the requests that they are parts of, and the parts of the requests among them."""
        found = {one.id: one for one in deliveries}
        wholes = [one.part_of for one in deliveries if one.part and one.part_of not in found]
        for column, ids in ((C.id, wholes), (C.part_of, [one.id for one in deliveries if one.is_at_one_url])):
            for start in range(0, len(ids), PAGE):
                query = sa.select(*RECORD).where(column.in_(ids[start : start + PAGE]))
                with self._database.begin() as connection:
                    rows = connection.execute(query).mappings().all()
                found |= {row["id"]: to_delivery(dict(row)) for row in rows if row["id"] not in found}
        return sorted(found.values(), key=lambda one: (one.received_at, one.part))

    def _row(self, id_: str) -> dict[str, Any]:
        found: Sequence[sa.RowMapping] = []
        with self._database.begin() as connection:
            for named in _by_id(id_) if is_text(id_) else []:
                found = connection.execute(sa.select(*RECORD, C.position).where(named).limit(2)).mappings().all()
                if found:
                    break
        if not id_ or len(found) != 1:
            raise NoSuchDelivery(
                f"{'several deliveries begin' if found and id_ else 'no delivery begins'} with {id_!r}"
            )
        return dict(found[0])

    def add(self, deliveries: Sequence[Delivery]) -> Added:
        """Import deliveries, to be shown and replayed, never forwarded. Existing deliveries stay as they are.

        Adds a page at a time, so that a receiver on the same store does not wait. Raises `PartlyAdded` if the store
        goes away in between.
        """
        added, differing = 0, list[str]()
        for start in range(0, len(deliveries), PAGE):
            try:
                more, other = self._add_page(deliveries[start : start + PAGE])
            except StoreAway as error:
                raise PartlyAdded(f"{error}, after {added} of {len(deliveries)} were added") from error
            added += more
            differing += other
        return Added(added, len(deliveries) - added - len(differing), differing)

    def _add_page(self, deliveries: Sequence[Delivery]) -> tuple[int, list[str]]:
        insert = sqlite.insert if self._database.is_sqlite else postgresql.insert
        added, differing = 0, list[str]()
        with self._database.begin() as connection:
            for delivery in deliveries:
                row = to_row(delivery)
                insertion = insert(DELIVERIES).values(row).on_conflict_do_nothing(index_elements=[C.id])
                if connection.execute(insertion.returning(C.id)).all():
                    added += 1
                    continue
                there = connection.execute(sa.select(*RECORD).where(C.id == delivery.id)).mappings()
                differing += [delivery.id for one in there if not _is_same(row, to_row(to_delivery(dict(one))))]
        return added, differing

    def held(self, id_: str) -> tuple[Delivery, str | None]:
        """The delivery as in `get`, and the callback kept for its signal; None if it is never forwarded."""
        delivery = self.get(id_)
        callback: str | None = self._kept(delivery.id, C.callback)
        return delivery, callback

    def kept_body(self, id_: str) -> bytes | None:
        """The body of this delivery as it is kept, with its tokens; None if it was not kept."""
        body = self._kept(id_, C.body)
        return None if body is None else bytes(body)

    def _kept(self, id_: str, column: sa.Column[Any]) -> Any:
        """The value of a column, from a row that may be packed; None if the delivery is not kept."""
        with self._database.begin() as connection:
            row = connection.execute(sa.select(column, C.packed).where(C.id == id_)).mappings().first()
        return unpack_row(dict(row))[column.name] if row else None

    def find_call(self, partner: str, reference: str) -> Claims | None:
        """The claims of the partner's latest call with this reference."""
        query = (
            sa.select(*(CALLS.c[field.name] for field in fields(Claims)))
            .where(CALLS.c.partner == partner, CALLS.c.reference == reference)
            .order_by(CALLS.c.called_at.desc(), CALLS.c.position.desc())
        )
        with self._database.begin() as connection:
            row = connection.execute(query.limit(1)).mappings().first()
        return Claims(**row) if row else None

    def release(
        self, id_: str, at: float, again: ReadAgain | None = None, *, expected_fate: Fate | None = None
    ) -> Delivery:
        """Queue a delivery whose signal is no longer pending; raises `NoSuchDelivery` for any other delivery.

        again: what its body says, if it was read again. expected_fate: a delivery with another fate stays as it is;
        None for any. Raises `NeverForwarded` if it has no signal.
        """
        delivery, callback = self.held(id_)
        if callback is None:
            raise NeverForwarded(f"the delivery {delivery.id} was imported, or was never to be forwarded from here")
        # A refused delivery may have given up its request id.
        key: Any = again.request_id if again else sa.func.coalesce(C.request_id, C.id)
        values = {"fate": Fate.PENDING.value, "fate_at": at, "tries": 0, "due_at": at, "request_id": key}
        if again:
            values |= {"callback": again.callback, "says": again.says, **vars(again.claims)}
        other = DELIVERIES.alias("other")
        same = sa.and_(other.c.request_id == key, other.c.id != delivery.id)
        held = sa.and_(C.id == delivery.id, C.due_at.is_(None), C.callback.is_not(None))
        if expected_fate is not None:
            held = sa.and_(held, C.fate == expected_fate.value)
        with self._database.begin() as connection:
            first = sa.exists(sa.select(other.c.id).where(same))
            released = connection.execute(sa.update(DELIVERIES).where(held, ~first).values(values)).rowcount
            now = connection.execute(sa.select(C.due_at, C.fate).where(C.id == delivery.id)).first()
        if not released:
            if now is not None and now.due_at is not None:
                why = "is pending already: it is sent by itself"
            elif expected_fate is not None and now is not None and now.fate != expected_fate.value:
                why = f"is {now.fate} by now: another command has released it"
            else:
                why = "says what another delivery has said, which is kept already"
            raise NoSuchDelivery(f"the delivery {delivery.id} {why}")
        return self.get(delivery.id)

    def prune(self, before: float, *, refused: bool = False) -> int:
        """Delete deliveries received before this moment, except pending and parked ones. Returns how many.

        before: unix seconds. refused: delete only refused requests.
        """
        prunable, prune = (PRUNABLE_REFUSED, PRUNE_REFUSED) if refused else (PRUNABLE, PRUNE)
        deleted, is_left = 0, True
        while is_left:
            with self._database.begin() as connection:
                some = connection.exec_driver_sql(self._database.sql(prune), {"before": before, "most": PAGE}).rowcount
            deleted += some
            if not some:  # all are deleted, or a receiver has just deleted the same ones
                with self._database.begin() as connection:
                    left = connection.exec_driver_sql(self._database.sql(prunable), {"before": before, "most": 1})
                    is_left = left.first() is not None
        return deleted


def _by_id(id_: str) -> Iterator[sa.ColumnElement[bool]]:
    """Conditions for the delivery of this id, or else those that begin with it; the quickest first.

    The second, for an id made by `new_id`, finds the index in any order of letters. The last reads the whole table: it
    is for an imported id of another form.
    """
    yield C.id == id_
    if HEX.fullmatch(id_):
        yield sa.and_(C.id >= id_, C.id < f"{id_}g")
    # Not LIKE: SQLite's ignores case.
    yield sa.func.substr(C.id, 1, len(id_)) == id_


def _is_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two rows record the same request."""
    return all(value == other[name] for name, value in one.items() if name not in UPDATED)
