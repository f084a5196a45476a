"""Calls with known times, and their callbacks, written straight into a store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from activities.callback_urls import Claims
from activities.store.calls import CallOrigin, NotedCall
from activities.store.database import Database
from activities.store.schema import CALLS, DELIVERIES
from receiver.deliveries.delivery import Delivery, Fate, new_id
from receiver.deliveries.rows import to_row
from tests.parts.deliveries import delivery
from workflows.contract import TOKEN_SLACK
from workflows.durations import DAY

NOW = 1_800_000_000.0
"""Unix seconds, at which the statistics of these tests are read."""


def call(run: object, ago: float, *, pipeline: str = "onboarding", now: float = NOW, **claims: Any) -> NotedCall:
    """A call that was made `ago` seconds before `now`: the bank's, of stage 2, which may be open for a year."""
    made_at, expires_at = now - ago, int(now + 365 * DAY + TOKEN_SLACK)
    made = Claims(f"run-{run}", f"chain-{run}", 2, 1, "bank", int(made_at), expires_at)
    return NotedCall(replace(made, **claims), CallOrigin(pipeline, "0123456789ab", "", "url"), made_at)


def callback(of: NotedCall, after: float, **changes: Any) -> Delivery:
    """The callback of a call, `after` seconds after it."""
    at = of.called_at + after
    return delivery(**{**vars(of.claims), "id": new_id(at), "received_at": at, "fate": Fate.TAKEN, **changes})


def note(database: Database, calls: Iterable[NotedCall], callbacks: Iterable[Delivery] = ()) -> None:
    """Write calls and callbacks into the store."""
    rows = [
        {
            **vars(one.claims),
            **vars(one.origin),
            "call_id": one.claims.idempotency_key,
            "reference": "",
            "called_at": one.called_at,
        }
        for one in calls
    ]
    with database.begin() as connection:
        connection.execute(sa.insert(CALLS), rows)
        if made := [to_row(one) for one in callbacks]:
            connection.execute(sa.insert(DELIVERIES), made)
