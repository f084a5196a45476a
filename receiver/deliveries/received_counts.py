"""Received counts: what the deliveries of some time tell of each partner: refusals, repeats, and when it was heard.

It reads the latest `most` deliveries by the index of their times, and the parked ones by theirs. It locks no row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from receiver.deliveries.filters import FIRST_REFUSAL
from receiver.deliveries.statements import MOST_COUNTED

LATEST_DELIVERIES: Final = """
    SELECT partner, verdict, status >= :first_refusal AS is_refusal, reason, says <> '' AS is_read,
        sum(CASE WHEN workflow_id = '' AND verdict IN ('duplicate', 'conflict') THEN 0 ELSE 1 END) AS count,
        max(received_at) AS last_at
    FROM (
        SELECT partner, verdict, status, reason, says, workflow_id, received_at FROM deliveries
        WHERE received_at >= :since ORDER BY received_at DESC LIMIT :most
    ) AS latest
    WHERE partner <> '' AND CAST(:partner AS text) IN ('', partner)
    GROUP BY partner, verdict, status >= :first_refusal, reason, says <> ''
"""
"""The latest deliveries, counted by partner, verdict and reason.

A duplicate or conflict without a run is a request that carries several events: its events are counted in its place.
"""

CUT_DELIVERIES: Final = """
    SELECT received_at FROM deliveries WHERE received_at >= :since ORDER BY received_at DESC LIMIT 1 OFFSET :most
"""
"""The first delivery that `LATEST_DELIVERIES` leaves out."""

PARKED: Final = """
    SELECT partner, count(*) AS count FROM (
        SELECT partner FROM deliveries WHERE fate = 'parked' AND callback IS NOT NULL LIMIT :most
    ) AS held GROUP BY partner
"""
"""The deliveries that wait for an operator, counted by partner; see `queries.DEPTH`."""

FROM_THE_PARTNER: Final = {"accepted", "duplicate", "conflict", "ignored", "unmatched", "unreadable", "broken"}
"""Verdicts of requests whose body signature was verified, if the partner has a scheme."""


@dataclass(frozen=True)
class Refusals:
    """Requests that were answered 4xx or 5xx for one reason. verdict: the name of an `answers.Verdict`."""

    verdict: str
    reason: str
    count: int


@dataclass(frozen=True)
class ReceivedCounts:
    """What was received from a partner. refused: by verdict and reason, the most frequent first.

    last_heard: when the last request came that was proven to be the partner's, in unix seconds.
    """

    refused: tuple[Refusals, ...] = ()
    duplicates: int = 0
    conflicts: int = 0
    parked: int = 0
    last_heard: float | None = None


def read_received(connection: sa.Connection, since: float, partner: str, most: int) -> dict[str, ReceivedCounts]:
    """What was received at or after `since` (unix seconds), by partner. partner: "" for all partners."""
    parameters = {"since": since, "partner": partner, "most": most, "first_refusal": FIRST_REFUSAL}
    by_partner: dict[str, list[sa.RowMapping]] = {}
    for row in connection.execute(sa.text(LATEST_DELIVERIES), parameters).mappings():
        by_partner.setdefault(row["partner"], []).append(row)
    parked = _parked(connection, partner)
    return {name: _counts(by_partner.get(name, []), parked.get(name, 0)) for name in {*by_partner, *parked}}


def deliveries_are_cut_at(connection: sa.Connection, since: float, most: int) -> float | None:
    """When the latest delivery came that is left out, in unix seconds; None if all deliveries since then are read."""
    received_at: float | None = connection.execute(sa.text(CUT_DELIVERIES), {"since": since, "most": most}).scalar()
    return received_at


def _parked(connection: sa.Connection, partner: str) -> dict[str, int]:
    rows = connection.execute(sa.text(PARKED), {"most": MOST_COUNTED}).mappings()
    return {row["partner"]: row["count"] for row in rows if partner in {"", row["partner"]}}


def _counts(rows: Iterable[sa.RowMapping], parked: int) -> ReceivedCounts:
    refusals, verdicts, heard = Counter[tuple[str, str]](), Counter[str](), list[float]()
    for row in rows:
        verdicts[row["verdict"]] += row["count"]
        if row["is_refusal"]:
            refusals[row["verdict"], row["reason"]] += row["count"]
        # A closed URL is answered before the body is read, so that only a callback that was read is proven.
        if row["verdict"] in FROM_THE_PARTNER or (row["verdict"] == "gone" and row["is_read"]):
            heard.append(row["last_at"])
    return ReceivedCounts(
        refused=tuple(Refusals(*what, count) for what, count in refusals.most_common() if count),
        duplicates=verdicts["duplicate"],
        conflicts=verdicts["conflict"],
        parked=parked,
        last_heard=max(heard, default=None),
    )
