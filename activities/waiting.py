"""Waiting runs in the order in which an operator should look at them: those that need a person, then by deadline.

Temporal lists runs by the time of their start only. So all waiting runs are listed, up to a limit, and sorted here by
their search attributes. If there are more, the urgent ones are listed first, so that the limit cuts off others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from temporalio.client import WorkflowExecution

from activities.finding import RunFilter
from activities.listing import Run, count_runs, executions, run_of
from activities.runs import Runs
from workflows.finding import DEADLINE_KEY, STATE_KEY

MOST_SORTED: Final = 2_000
"""Waiting runs that are listed, for a page that shows 50 of them."""

NEVER: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class WaitingRuns:
    """Some of the waiting runs, in order. total: how many there are. sorted_runs: how many were put in order."""

    shown: Sequence[Run]
    total: int
    sorted_runs: int


async def waiting_runs(runs: Runs, where: RunFilter, *, now: datetime, first: int, most: int) -> WaitingRuns:
    """The waiting runs that match, from number `first` on, which begins at 0; at most `most` of them.

    Raises what `list_runs` does.
    """
    where = replace(where, waiting=True)
    total = sum((await count_runs(runs, where)).values())
    found: dict[str, WorkflowExecution] = {}
    for one in [where] if total <= MOST_SORTED else [*_urgent(where, now), where]:
        if len(found) < MOST_SORTED:
            found |= {each.run_id: each for each in await executions(runs, one, limit=MOST_SORTED)}
    in_order = sorted(found.values(), key=_urgency)[:MOST_SORTED]
    shown = [await run_of(one) for one in in_order[first : first + most]]
    return WaitingRuns(shown, max(total, len(in_order)), len(in_order))


def _urgent(where: RunFilter, now: datetime) -> Iterator[RunFilter]:
    """The filters that find the urgent ones of the runs that match."""
    if where.state in {"", "needs_person"}:
        yield replace(where, state="needs_person")
    yield replace(where, due=min(now, where.due or now))


def _urgency(one: WorkflowExecution) -> tuple[bool, datetime]:
    attributes = one.typed_search_attributes
    return attributes.get(STATE_KEY) != "needs_person", attributes.get(DEADLINE_KEY) or NEVER
