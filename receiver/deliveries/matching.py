"""Matching: finds the stage of an event that holds only the partner's own id of the work.

The worker records each call before its request, and the partner's reference once the partner has answered. So an event
finds its call when it arrives, or it waits in the store as `unmatched`, and every receiver matches such deliveries at
each look at the queue. Example: a partner sends an event before it answers the call. The event is committed, the
reference is committed later, and whichever commit comes last, the next look finds both.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine.interfaces import DBAPICursor

from activities.callback_urls import Claims
from activities.store.calls import FIND_CALLS, FIND_ORIGIN, FIND_ORIGINS, HAS_OPEN_CALL
from activities.store.database import Database
from receiver.deliveries.driver import Driver
from receiver.deliveries.queries import (
    IS_UNMATCHED,
    MATCH,
    MATCH_AGAIN,
    MATCHABLE,
    MATCHABLE_OF,
    MAY_MATCH,
    WAIT_TO_MATCH,
)
from receiver.deliveries.rows import claims_in


@dataclass(frozen=True)
class KnownCalls:
    """What the store knows about some references of a partner.

    claims: those of the latest call, by reference. is_waiting: whether the partner has a call whose reference is still
    to come, so that an unknown reference may be known soon.
    """

    claims: dict[str, Claims]
    is_waiting: bool


@dataclass(frozen=True)
class KnownOrigin:
    """What the table of calls tells of a call; see `StageCall`. called_at: unix seconds."""

    pipeline: str
    definition: str
    called_at: float


@dataclass(frozen=True)
class Matched:
    """An unmatched delivery and the call that it is for. callback: what was read from it, as JSON, for no call yet.

    signed_id, part: as in `Delivery`.
    """

    id: str
    claims: Claims
    callback: str
    signed_id: str
    part: int


MakeSignal = Callable[[Matched], tuple[str, str]]
"""Makes the signal of a matched delivery: its request id, and the callback as JSON."""


class Matching:
    """Looks up calls and matches deliveries, in the writer's thread."""

    def __init__(self, database: Database) -> None:
        self._driver = Driver(database)

    def look_up(self, cursor: DBAPICursor, partner: str, references: Sequence[str], at: float) -> KnownCalls:
        """Look up the calls with these references. at: unix seconds, now."""
        # In this order: on PostgreSQL the worker may write a reference between the two statements. Asked the other way
        # round, its call would neither be found nor wait.
        is_waiting = bool(self._driver.rows(cursor, HAS_OPEN_CALL, {"partner": partner, "now": at}))
        parameters = {"partner": partner, **self._driver.texts(set(references))}
        claims = {row["reference"]: claims_in(row) for row in self._driver.rows(cursor, FIND_CALLS, parameters)}
        return KnownCalls(claims, is_waiting)

    def find_origins(self, cursor: DBAPICursor, call_ids: set[str]) -> dict[str, KnownOrigin]:
        """What these calls are of, by call id: the claims' idempotency key."""
        if len(call_ids) == 1:
            rows = self._driver.rows(cursor, FIND_ORIGIN, {"call_id": next(iter(call_ids))})
        else:
            rows = self._driver.rows(cursor, FIND_ORIGINS, self._driver.texts(call_ids))
        return {row["call_id"]: KnownOrigin(row["pipeline"], row["definition"], row["called_at"]) for row in rows}

    def match(self, cursor: DBAPICursor, make_signal: MakeSignal, *, most: int, at: float) -> int:
        """Queue deliveries whose call is known by now, and return how many were matched. at: unix seconds, now.

        Does nothing while another receiver matches.
        """
        [row] = self._driver.rows(cursor, MAY_MATCH, {})
        return self._match(cursor, MATCHABLE, {"most": most}, make_signal, at) if row["may"] else 0

    def match_of(
        self,
        cursor: DBAPICursor,
        partner: str,
        references: Collection[str],
        make_signal: MakeSignal,
        *,
        most: int,
        at: float,
    ) -> int:
        """Like `match`, for these references of a partner, whose calls are known. Waits for another receiver."""
        of = {"partner": partner, **self._driver.texts(set(references))}
        if not references or not self._driver.rows(cursor, IS_UNMATCHED, of):
            return 0
        self._driver.rows(cursor, WAIT_TO_MATCH, {})
        return self._match(cursor, MATCHABLE_OF, {**of, "most": most}, make_signal, at)

    def _match(
        self, cursor: DBAPICursor, query: str, parameters: dict[str, Any], make_signal: MakeSignal, at: float
    ) -> int:
        found = self._driver.rows(cursor, query, parameters)
        for row in found:
            matched = Matched(row["id"], claims_in(row), row["callback"], row["signed_id"], row["part"])
            request_id, callback = make_signal(matched)
            signal = {
                **vars(matched.claims),
                "id": matched.id,
                "request_id": request_id,
                "callback": callback,
                "at": at,
            }
            self._driver.execute(cursor, MATCH, signal)
            if cursor.rowcount == 0:
                self._driver.execute(cursor, MATCH_AGAIN, signal)
        return len(found)
