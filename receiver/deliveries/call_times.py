"""Call times: when each call was made and when its callback came, from the table of calls and the deliveries.

It reads the latest `most` calls of all partners by their position, and the deliveries of their runs by the index of run
ids. It locks no row, and no other table or index is read, so its cost does not grow with what the store keeps.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from activities.store.dialects import POSTGRES, SQLITE
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
        FROM (
            SELECT position, partner, pipeline, stage, workflow_id, chain_id, attempt, issued_at, expires_at, called_at
            FROM calls ORDER BY position DESC LIMIT :most
        ) AS latest
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
            THEN received_at END) AS taken_at,
        min(CASE WHEN verdict <> 'conflict' AND (says = 'succeeded' OR verdict = 'gone' OR fate = 'refused')
            THEN received_at END) AS over_at
    FROM deliveries
    WHERE workflow_id {among_texts} AND verdict IN ('accepted', 'duplicate', 'conflict', 'gone') AND says <> ''
    GROUP BY chain_id, stage, attempt, issued_at
"""
"""For each call of some runs: its last callback, its last `ask`, its first result, its first result that was not
refused, and its first callback that settles the stage whichever call is the latest, or that found the run over."""


class CallTime(NamedTuple):
    """A call and its callback. Times are unix seconds.

    open_until: when the stage must be over, by the policies of its definition. went_on: whether the run has called a
    later stage since then, so that it no longer waits for this call. heard_at: the last callback of any kind.
    answered_at: the first callback with a result, late ones included. For a partner whose callbacks only ask us to ask
    for the result, it is the last of these. came_too_late: every result was refused, because the run or the stage was
    over. over_at: the first callback after which the stage is over, though a later call may have been the latest: a
    success, or a callback that came when the run was over.
    """

    partner: str
    pipeline: str
    stage: int
    chain_id: str
    attempt: int
    issued_at: int
    called_at: float
    open_until: float
    went_on: bool
    heard_at: float | None
    answered_at: float | None
    came_too_late: bool
    over_at: float | None

    @property
    def seconds(self) -> float | None:
        """Seconds from the call to its callback, never negative: the clocks of two machines may differ."""
        return None if self.answered_at is None else max(0.0, self.answered_at - self.called_at)


NO_CALLBACKS: Final = (None, None, None, None, None)
"""The columns of `CALLBACKS_OF_RUNS` that are times, for a call without callbacks."""


def read_call_times(connection: sa.Connection, since: float, partner: str, most: int) -> list[CallTime]:
    """The latest calls made at or after `since` (unix seconds), in order. partner: "" for all partners."""
    rows = connection.execute(sa.text(LATEST_CALLS), {"since": since, "partner": partner, "most": most}).all()
    runs = list(dict.fromkeys(row.workflow_id for row in rows))
    callbacks: dict[tuple[Any, ...], Sequence[Any]] = {}
    for start in range(0, len(runs), RUNS_AT_ONCE):
        for chain_id, stage, attempt, issued_at, *times in _callbacks(connection, runs[start : start + RUNS_AT_ONCE]):
            callbacks[chain_id, stage, attempt, issued_at] = times
    return [_call_time(row, callbacks) for row in rows]


def calls_are_cut_at(connection: sa.Connection, since: float, most: int) -> float | None:
    """When the latest call was made that is left out, in unix seconds; None if all calls since then are read."""
    called_at: float | None = connection.execute(sa.text(CUT_CALLS), {"most": most}).scalar()
    return called_at if called_at is not None and called_at >= since else None


def _callbacks(connection: sa.Connection, runs: Sequence[str]) -> Sequence[Sequence[Any]]:
    is_sqlite = connection.dialect.name == "sqlite"
    query = sa.text(CALLBACKS_OF_RUNS.format_map(SQLITE if is_sqlite else POSTGRES))
    return connection.execute(query, {"texts": json.dumps(runs) if is_sqlite else runs}).all()


def _call_time(row: Sequence[Any], callbacks: Mapping[tuple[Any, ...], Sequence[Any]]) -> CallTime:
    partner, pipeline, stage, _, chain_id, attempt, issued_at, expires_at, called_at, went_on = row
    times = callbacks.get((chain_id, stage, attempt, issued_at), NO_CALLBACKS)
    heard_at, asked_at, result_at, taken_at, over_at = times
    return CallTime(
        partner=partner,
        pipeline=pipeline,
        stage=stage,
        chain_id=chain_id,
        attempt=attempt,
        issued_at=issued_at,
        called_at=called_at,
        open_until=expires_at - TOKEN_SLACK,
        went_on=bool(went_on),
        heard_at=heard_at,
        answered_at=asked_at if result_at is None else result_at,
        came_too_late=result_at is not None and taken_at is None,
        over_at=over_at,
    )
