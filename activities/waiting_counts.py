"""Waiting counts: how many open runs wait for each partner, are overdue, or need a person."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities.finding import AttributesOff, RunFilter, runs_query

COUNTED_AT_ONCE: Final = 4
"""Requests that are on their way together: a gauge must not compete with callbacks."""


ALL_RUNS: Final = RunFilter()


@dataclass(frozen=True)
class WaitingCounts:
    """The open runs with a stage of a partner. overdue: past their next deadline. needing_person: see `escalate`."""

    waiting: int
    overdue: int
    needing_person: int


async def count_waiting(
    client: Client, partners: Iterable[str], where: RunFilter = ALL_RUNS
) -> Mapping[str, WaitingCounts]:
    """Count the open runs of each partner that match, in at most three requests for each.

    Raises `RPCError`, and `AttributesOff` if the namespace lacks search attributes.
    """
    free, now = asyncio.Semaphore(COUNTED_AT_ONCE), datetime.now(UTC)

    async def count(one: RunFilter) -> int:
        async with free:
            return (await client.count_workflows(runs_query(one.query()))).count

    async def count_of(partner: str) -> WaitingCounts:
        of_partner = replace(where, partner=partner, waiting=True)
        overdue = replace(of_partner, due=min(now, where.due or now))
        needing = replace(of_partner, state="needs_person")
        can_need = where.state in {"", "needs_person"}
        waiting, late = await asyncio.gather(count(of_partner), count(overdue))
        return WaitingCounts(waiting, late, await count(needing) if waiting and can_need else 0)

    names = list(partners)
    try:
        return dict(zip(names, await asyncio.gather(*map(count_of, names)), strict=True))
    except RPCError as error:
        if error.status is RPCStatusCode.INVALID_ARGUMENT:
            raise AttributesOff(f"the namespace {client.namespace} lacks search attributes") from error
        raise
