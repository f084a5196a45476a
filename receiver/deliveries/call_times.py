"""Call times: when each call was made and when its callback came, from the table of calls and the deliveries.

It reads the latest `most` calls of all partners by their position, and the deliveries of their runs by the index of run
ids. It locks no row, and no other table or index is read, so its cost does not grow with what the store keeps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import sqlalchemy as sa

from workflows.contract import TOKEN_SLACK

MOST_READ: Final = 100_000
"""Calls, and deliveries, that are read for statistics: the latest."""

RUNS_AT_ONCE: Final = 1_000
"""Runs whose deliveries one query reads. Each query stays short, whatever the limit of the connection."""

LATEST_CALLS: Final = """
    SELECT partner, pipeline, stage, workflow_id, chain_id, attempt, issued_at, expires_at, called_at,
        coalesce(later_issued_at, issued_at) > issued_at AS went_on
    FROM (
        SELECT latest.*, max(CASE WHEN attempt = 1 THEN issued_at END) OVER (
            PARTITION BY chain_id ORDER BY stage DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS later_issued_at
        FROM (SELECT * FROM calls ORDER BY position DESC LIMIT :most) AS latest
        WHERE called_at >= :since
    ) AS recent
    WHERE CAST(:partner AS text) IN ('', partner)
    ORDER BY position
"""
"""The latest calls, and whether the run has called a later stage since then.

Stages that run at the same time are first called at the same moment, so `went_on` is false for them.
"""

CUT_CALLS: Final = "SELECT called_at FROM calls ORDER BY position DESC LIMIT 1 OFFSET :most"
"""The first call that `LATEST_CALLS` leaves out."""

CALLBACKS_OF_RUNS: Final = """
    SELECT chain_id, stage, attempt, issued_at, max(received_at) AS heard_at,
        max(CASE WHEN says = 'ask' THEN received_at END) AS asked_at,
        min(CASE WHEN says IN ('succeeded', 'failed') THEN received_at END) AS result_at,
        min(CASE WHEN says IN ('succeeded', 'failed') AND verdict IN ('accepted', 'duplicate') AND fate <> 'refused'
            THEN received_at END) AS taken_at
    FROM deliveries
    WHERE workflow_id IN :runs AND verdict IN ('accepted', 'duplicate', 'conflict', 'gone') AND says <> ''
    GROUP BY chain_id, stage, attempt, issued_at
"""
"""For each call of some runs: its last callback, its last `ask`, its first result, and its first result that was not
refused."""


@dataclass(frozen=True)
class CallTime:
    """A call and its callback. Times are unix seconds.

    open_until: when the stage must be over, by the policies of its definition. went_on: whether the run has called a
    later stage since then, so that it no longer waits for this call. heard_at: the last callback of any kind.
    answered_at: the first callback with a result, late ones included. For a partner whose callbacks only ask us to ask
    for the result, it is the last of these. came_too_late: every result was refused, because the run or the stage was
    over.
    """

    partner: str
    pipeline: str
    stage: int
    chain_id: str
    attempt: int
    issued_at: int
    called_at: float
    open_until: float
    went_on: bool = False
    heard_at: float | None = None
    answered_at: float | None = None
    came_too_late: bool = False

    @property
    def seconds(self) -> float | None:
        """Seconds from the call to its callback, never negative: the clocks of two machines may differ."""
        return None if self.answered_at is None else max(0.0, self.answered_at - self.called_at)


def read_call_times(connection: sa.Connection, since: float, partner: str, most: int) -> list[CallTime]:
    """The latest calls made at or after `since` (unix seconds), in order. partner: "" for all partners."""
    found = connection.execute(sa.text(LATEST_CALLS), {"since": since, "partner": partner, "most": most})
    rows = found.mappings().all()
    callbacks = dict(_callbacks(connection, list(dict.fromkeys(row["workflow_id"] for row in rows))))
    return [_with_callback(_call_time(row), callbacks.get(_key(row))) for row in rows]


def calls_are_cut_at(connection: sa.Connection, since: float, most: int) -> float | None:
    """When the latest call was made that is left out, in unix seconds; None if all calls since then are read."""
    called_at: float | None = connection.execute(sa.text(CUT_CALLS), {"most": most}).scalar()
    return called_at if called_at is not None and called_at >= since else None


def _callbacks(connection: sa.Connection, runs: Sequence[str]) -> Iterator[tuple[tuple[Any, ...], sa.RowMapping]]:
    query = sa.text(CALLBACKS_OF_RUNS).bindparams(sa.bindparam("runs", expanding=True))
    for start in range(0, len(runs), RUNS_AT_ONCE):
        for row in connection.execute(query, {"runs": runs[start : start + RUNS_AT_ONCE]}).mappings():
            yield _key(row), row


def _key(row: sa.RowMapping) -> tuple[Any, ...]:
    return row["chain_id"], row["stage"], row["attempt"], row["issued_at"]


def _call_time(row: sa.RowMapping) -> CallTime:
    return CallTime(
        partner=row["partner"],
        pipeline=row["pipeline"],
        stage=row["stage"],
        chain_id=row["chain_id"],
        attempt=row["attempt"],
        issued_at=row["issued_at"],
        called_at=row["called_at"],
        open_until=row["expires_at"] - TOKEN_SLACK,
        went_on=bool(row["went_on"]),
    )


def _with_callback(call: CallTime, row: sa.RowMapping | None) -> CallTime:
    if row is None:
        return call
    answered_at = row["asked_at"] if row["result_at"] is None else row["result_at"]
    too_late = row["result_at"] is not None and row["taken_at"] is None
    return replace(call, heard_at=row["heard_at"], answered_at=answered_at, came_too_late=too_late)
